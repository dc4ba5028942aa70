"""A copy of a SQLite store, put back under real processes, and an operator who accepts it.

Everybody is killed, the copy takes the place of the data, and everybody starts again: they are
refused, until the operator has done what `baton store accept-restore` does.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from baton.errors import BadInput, StoreRestored
from baton.fleet.fleet import Fleet
from baton.fleet.sqlite_files import parse_url, position_of
from baton.fleet.store import open_store
from baton.prove.proc.process import Process

#: How long an operator takes, in microseconds.
_ACCEPT_US = 1_000_000

#: Told what was seen.
See = Callable[[str], None]


class Trial(Protocol):
    """What a restore is done to."""

    people: Fleet
    processes: list[Process]

    @property
    def now(self) -> int:
        """Microseconds since the beginning."""

    def at(self, when_us: int, job: Callable[[], object]) -> None:
        """Let something happen at a time."""

    def open_store(self) -> None:
        """Let the people around the fleet open its store."""

    def close_store(self) -> None:
        """Let them leave it."""

    def start_all(self) -> Sequence[Process]:
        """Start every worker that has no process; returns the new ones."""


class Restoring:
    """One store's copy, and whether it is just being put back."""

    def __init__(self, trial: Trial, url: str) -> None:
        """Copy nothing yet.

        Args:
            trial: whose workers use the store.
            url: the store, a SQLite file.
        """
        self._trial, self._url = trial, url
        #: Nobody has the store open: there is nothing to ask of it.
        self.under_way = False

    @property
    def _path(self) -> Path:
        return parse_url(self._url).path

    @property
    def _copy(self) -> Path:
        return self._path.with_name(f"{self._path.name}.copy")

    def snapshot(self, see: See) -> None:
        """Copy the data while they are in use, as a backup does."""
        with (
            closing(sqlite3.connect(self._path)) as data,
            closing(sqlite3.connect(self._copy)) as copy,
        ):
            data.backup(copy)
            # What is written meanwhile is behind the copy.
            see(f"copied as of position {position_of(copy)}")

    def restore(self, see: See) -> None:
        """Kill everybody; the rest follows once they are gone."""
        self.under_way = True
        left = {process for process in self._trial.processes if not process.dead}

        def ended(process: Process) -> None:
            left.discard(process)
            if not left:
                self._put_back(see)

        for process in tuple(left):
            process.doomed = True
            process.when_ended(lambda code, process=process: ended(process))  # type: ignore[misc]  # noqa: ARG005
            process.signal(signal.SIGKILL)
        if not left:
            self._put_back(see)

    def _put_back(self, see: See) -> None:
        self._trial.close_store()
        for kept in ("-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{kept}").unlink(missing_ok=True)
        shutil.copyfile(self._copy, self._path)
        for process in self._trial.start_all():
            process.when_ended(lambda code, name=process.name: self._refused(see, name, code))  # type: ignore[misc]
        self._trial.at(self._trial.now + _ACCEPT_US, lambda: self._accept(see))

    @staticmethod
    def _refused(see: See, name: str, code: int) -> None:
        if code == StoreRestored.exit_code:
            see(f"{name} refused the copy")

    def _accept(self, see: See) -> None:
        try:
            with closing(open_store(self._url, create=False, accept_restored=True)) as store:
                tasks = store.accept_restore()
        except BadInput:
            # Sessions that were cut off count as running until their TTL has passed.
            self._trial.at(self._trial.now + _ACCEPT_US, lambda: self._accept(see))
            return
        self._trial.open_store()
        self.under_way = False
        self._trial.start_all()
        see(f"accepted as of position {self._position()}, the epochs of {tasks} tasks raised")

    def _position(self) -> int:
        return int(self._trial.people.store.data.rows("position")[0][0])
