"""Log lines for people and for machines, from the same records.

What a message is about travels beside it, as the ``extra`` fields of the standard library's
records: the ids that metrics may not carry as labels. A person reads them behind the message, a
machine finds each under its own key.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

#: The ids that correlate a line with ledger and exemplars, in the order in which they are shown.
CORRELATION = ("task_id", "run_id", "step_id", "session_id", "worker_id", "epoch")

Format = Literal["json", "text"]

#: What every record has; the rest is what its caller said.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@contextmanager
def shown(
    format_: Format, stream: TextIO, about: Mapping[str, object] | None = None
) -> Iterator[None]:
    """Write the log of this process to ``stream``: Baton's news, and everybody's warnings.

    Args:
        format_: ``json`` for one object a line, ``text`` for people.
        stream: where to; standard error, usually.
        about: fields that every JSON line carries, such as ``worker_id``.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(about) if format_ == "json" else Lines())
    root, own = logging.getLogger(), logging.getLogger("baton")
    level = own.level
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    try:
        yield
    finally:
        own.setLevel(level)
        root.removeHandler(handler)


class JsonLines(logging.Formatter):
    """One JSON object a line: ``at level logger message``, then the ids, then the rest."""

    def __init__(self, about: Mapping[str, object] | None = None) -> None:
        """Keep what every line says.

        Args:
            about: fields of every line; what a record says of itself comes before them.
        """
        super().__init__()
        self._about = dict(about or {})

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "at": _moment(record).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields(record, self._about).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Lines(logging.Formatter):
    """A line for people: time, level, message, and what it is about behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, and the traceback under it if there is one."""
        at = _moment(record).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = "".join(f" {name}={_plain(value)}" for name, value in _fields(record, {}).items())
        text = f"{at} {record.levelname:<7} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, tz=UTC)


def _fields(record: logging.LogRecord, about: Mapping[str, object]) -> dict[str, object]:
    """What the record is about, the ids first; what is None was not there to say."""
    given = {**about, **{k: v for k, v in vars(record).items() if k not in _STANDARD}}
    order = [*CORRELATION, *sorted(set(given) - set(CORRELATION))]
    return {name: given[name] for name in order if given.get(name) is not None}


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and text and " " not in text else json.dumps(text)
