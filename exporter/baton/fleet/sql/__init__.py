"""Named SQL: every statement lives in a .sql file, under a name and a line that says why."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HEADING = re.compile(r"^-- (?P<name>[a-z_]+): .+$", re.MULTILINE)


@cache
def queries(file_name: str) -> dict[str, str]:
    """The statements of a file, by name.

    Args:
        file_name: a file in this folder; each statement follows a line ``-- name: purpose``.
    """
    parts = _HEADING.split(script(file_name))
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def script(file_name: str) -> str:
    """The whole text of a file in this folder."""
    return (Path(__file__).parent / file_name).read_text(encoding="utf-8")


def schemas() -> dict[str, int]:
    """The newest schema of each store's files, by what they are called."""
    found: dict[str, int] = {}
    for path in sorted(Path(__file__).parent.glob("*_[0-9][0-9][0-9][0-9].sql")):
        name, _, number = path.stem.rpartition("_")
        found[name] = int(number)
    return found
