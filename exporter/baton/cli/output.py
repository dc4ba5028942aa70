"""What verbs print: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

#: How many things pass between two signs of life on a terminal.
_COUNT_EVERY = 5_000

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, default=str))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns under their names, as wide as they have to be."""
    lines = [[*map(_cell, row)] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one a line; what is None is left out."""
    said = [(name, value) for name, value in facts if value is not None]
    width = max(len(name) for name, _ in said)
    for name, value in said:
        print(f"{name.ljust(width)}  {_cell(value)}")


def ago(since_us: int, now_us: int) -> str:
    """How long ago something was, short enough for a column.

    Args:
        since_us: store time, in microseconds.
        now_us: store time now.
    """
    seconds = max(0, now_us - since_us) / 1e6
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s"


def counted(things: Iterable[T], what: str) -> Iterator[T]:
    """Pass things on and count them on a terminal, as long work should show that it goes on."""
    if not sys.stderr.isatty():
        yield from things
        return
    number = 0
    for number, thing in enumerate(things, 1):
        if number % _COUNT_EVERY == 0:
            print(f"\r{number} {what}", end="", file=sys.stderr, flush=True)
        yield thing
    if number >= _COUNT_EVERY:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _cell(value: object) -> str:
    """Text on one line; a dash for what is not there."""
    return " ".join(str(value).split()) if value not in (None, "") else "-"
