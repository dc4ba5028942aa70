"""Archives of finished tasks: JSON Lines files whose chains can be verified without their store.

A file begins with a line that says what it is, has the events of each chain from the first to the
last in the form of ``baton ledger export``, and ends with a line that counts them. It is written
under another name and renamed once it is on the disk: a file with an archive's name is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baton.domain.ledger import Event, event_from_dict
from baton.errors import BadInput

_FORMAT = "baton-archive-1"
_SUFFIX = ".jsonl"


@contextmanager
def opened_folder(folder: Path) -> Iterator[None]:
    """Make a folder for archives if it is not there, and have it to oneself.

    Raises:
        BadInput: it cannot be, or another process prunes into it.
    """
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise BadInput(detail=f"--archive {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(detail=f"--archive {folder}: another process prunes into it") from error
        yield


def archive_path(folder: Path, name: str) -> Path:
    """The file of an archive."""
    return folder / f"{name}{_SUFFIX}"


def write_archive(path: Path, store_id: str, chains: Mapping[str, Sequence[Event]]) -> None:
    """Put chains into a file that is on the disk when this returns.

    Args:
        path: from ``archive_path``; there is no such file yet.
        store_id: the store that the chains are from.
        chains: by name, each from its first event to its last.

    Raises:
        BadInput: it cannot be written, and there is no such file then.
    """
    part = path.with_suffix(".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            _line(file, {"format": _FORMAT, "store_id": store_id})
            for events in chains.values():
                for event in events:
                    _line(file, event.to_dict())
            _line(file, {"end": {"chains": len(chains), "events": sum(map(len, chains.values()))}})
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise BadInput(detail=f"cannot write archive {path}: {error.strerror}") from error


def _line(file: Any, value: Mapping[str, Any]) -> None:
    file.write(f"{json.dumps(value)}\n")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_archives(place: Path) -> Iterator[Event]:
    """The events of an archive, or of every archive in a folder, in the order of their names.

    A chain that was archived again after it had gone on is in two files; its events come once.

    Args:
        place: a file or a folder.

    Raises:
        BadInput: there is none, or one is no archive or not whole.
    """
    paths = sorted(place.glob(f"*{_SUFFIX}")) if place.is_dir() else [place]
    if not paths:
        raise BadInput(detail=f"--archive {place} has no archives in it")
    heads: dict[str, dict[int, str]] = {}
    for path in paths:
        for event in _read(path):
            known = heads.setdefault(event.chain, {})
            if known.get(event.n) != event.hash:
                known[event.n] = event.hash
                yield event


def _read(path: Path) -> Iterator[Event]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from _events(path, file)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(detail=f"archive {path} cannot be read: {error}") from error


def _events(path: Path, lines: Iterable[str]) -> Iterator[Event]:
    events, ended = 0, False
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            if number == 1:
                _check_format(fields)
            elif "end" in fields:
                ended = fields["end"]["events"] == events
            else:
                event = event_from_dict(fields)
                events += 1
                yield event
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(detail=f"archive {path}, line {number}: {error}") from error
    if not ended:
        raise BadInput(detail=f"archive {path} is not whole: its last line does not count it")


def _check_format(fields: Any) -> None:
    if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
        raise ValueError(f"this is no archive: its format is not {_FORMAT}")
