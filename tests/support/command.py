"""Running the command line inside the test's own process, and stores for it to work on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.house import House

from baton.cli import main
from baton.fleet.store import open_store


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of an error, without its beginning; there must be nothing else."""
        assert self.code == 4, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("baton: ")
        return line.removeprefix("baton: ")


class Command:
    """``baton``, with a store at hand that is not there yet."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        """Work in a folder.

        Args:
            capsys: reads what is printed.
            folder: where the store would be.
        """
        self._capsys = capsys
        self.path = folder / "fleet.db"
        self.url = f"sqlite:///{self.path}"

    def __call__(self, *words: str) -> Said:
        """Run a command as it is."""
        code = main(words)
        return Said(code, *self._capsys.readouterr())

    def on(self, *words: str) -> Said:
        """Run a command on the store."""
        return self(*words, "--store", self.url)

    @contextmanager
    def house(self) -> Iterator[House]:
        """The store, made if it is not there, and the means to act on it."""
        with closing(open_store(self.url)) as store:
            yield House(store, store.clock)

    def contents(self) -> str:
        """Everything in the data file, to see whether a command has changed it."""
        with closing(sqlite3.connect(self.path)) as connection:
            return "\n".join(connection.iterdump())

    def untouched(self) -> bool:
        """Whether no store was made."""
        return not list(self.path.parent.glob("fleet.db*"))
