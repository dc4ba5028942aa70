"""What the options of the command line are made of, each refused with a line that helps."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from baton.errors import BadInput
from baton.fleet.naming import checked_name

T = TypeVar("T")


def seconds(text: str) -> float:
    """A length of time above 0."""
    number = _number(text)
    if not (number > 0 and math.isfinite(number)):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def duration(text: str) -> float:
    """A length of time with its unit, in seconds; none at all is one too."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number = _number(text[:-1])
    if text[-1:] not in units or not (number >= 0 and math.isfinite(number)):
        raise ArgumentTypeError(f"{text!r} is not a duration, such as 30d, 12h, 90m or 45s")
    return number * units[text[-1]]


def moment(text: str) -> float:
    """A time of day, in seconds since the Unix epoch: as a number, or as ISO 8601 with a zone."""
    try:
        found = float(text)
    except ValueError:
        found = _iso(text)
    if not (math.isfinite(found) and 0 < found < datetime.max.replace(tzinfo=UTC).timestamp()):
        raise ArgumentTypeError(f"{text!r} is no time, such as 2026-01-31T12:00:00Z")
    return found


def count(text: str) -> int:
    """A number of things, at least one."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole_number(text: str) -> int:
    """A number of things, perhaps none."""
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def name(what: str) -> Callable[[str], str]:
    """A name fit for metrics, file names and commands."""
    return lambda text: checked_name(what, text)


def pair(
    what: str, form: str, example: str, convert: Callable[[str], T]
) -> Callable[[str], tuple[str, T]]:
    """``NAME=VALUE``.

    Args:
        what: whose name it is.
        form: how it is written, such as ``POOL=N``.
        example: one that works.
        convert: reads the value.
    """

    def read(text: str) -> tuple[str, T]:
        key, equals, value = text.partition("=")
        try:
            if key and equals and value:
                return checked_name(what, key), convert(value)
        except ArgumentTypeError as error:
            raise ArgumentTypeError(f"{text!r} is not {form}: {error}") from error
        raise ArgumentTypeError(f"{text!r} is not {form}, such as {example}")

    return read


def once_each(option: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Pairs by their names.

    Raises:
        BadInput: a name is given twice.
    """
    found: dict[str, T] = {}
    for key, value in pairs:
        if key in found:
            raise BadInput(detail=f"{option} names {key!r} twice; give it once")
        found[key] = value
    return found


def json_value(option: str, text: str) -> Any:
    """A JSON value, written out or read from ``@FILE``.

    Args:
        option: what it was given as, for messages.
        text: the JSON, or ``@`` and the name of a file.

    Raises:
        BadInput: it is not there, is not JSON, or is ``null``, which LangGraph takes for nothing.
    """
    origin = f"{option} {text}" if text.startswith("@") else option
    source = _read(origin, Path(text[1:])) if text.startswith("@") else text
    try:
        value = json.loads(source, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadInput(
            detail=f"{origin} is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(detail=f"{origin} is not JSON: {error}") from error
    if value is None:
        raise BadInput(detail=f"{origin} is null, which LangGraph takes for no value at all")
    return value


def _read(origin: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(detail=f"{origin}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(detail=f"{origin} is not UTF-8 text (byte {error.start})") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _iso(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    if found.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} has no time zone; add Z")
    return found.timestamp()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
