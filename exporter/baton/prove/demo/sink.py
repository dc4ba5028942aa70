"""Where the demo's findings go: something outside of the fleet that honours effect keys.

A target that honours the key is what makes an effect happen once: the first publication under a
key stands, and every further attempt is counted and changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

_PATIENCE_SECONDS = 30.0

_CREATE = """
CREATE TABLE IF NOT EXISTS publication (
    effect_key TEXT PRIMARY KEY,
    task_id TEXT NOT NULL,
    function TEXT NOT NULL,
    findings TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID
"""
_PUBLISH = """
INSERT INTO publication (effect_key, task_id, function, findings) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET attempts = attempts + 1
"""
_READ = """
SELECT effect_key, task_id, function, findings, attempts FROM publication
ORDER BY task_id, function, effect_key
"""


class Publication(NamedTuple):
    """What was published under one key.

    Attributes:
        attempts: how often somebody tried; the first one counted.
    """

    effect_key: str
    task_id: str
    function: str
    findings: str
    attempts: int


class Sink:
    """A SQLite file of publications, for many processes."""

    def __init__(self, path: Path) -> None:
        """Name the file; ``create`` makes it.

        Args:
            path: the file.
        """
        self.path = path

    def create(self) -> None:
        """Make the file and its table."""
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_CREATE)

    def publish(self, effect_key: str, task_id: str, function: str, findings: str) -> None:
        """Publish under a key; doing it again changes nothing but the count of attempts.

        Raises:
            sqlite3.Error: the file cannot be written.
        """
        with self._connection() as connection:
            connection.execute(_PUBLISH, (effect_key, task_id, function, findings))

    def publications(self) -> list[Publication]:
        """Everything published, by task and function."""
        with self._connection() as connection:
            return [Publication(*row) for row in connection.execute(_READ)]

    def is_free(self, patience_seconds: float) -> bool:
        """Whether a writer gets its turn within this time; a frozen process may be holding it."""
        try:
            with self._connection(patience_seconds) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

    @contextmanager
    def _connection(
        self, patience_seconds: float = _PATIENCE_SECONDS
    ) -> Iterator[sqlite3.Connection]:
        # One connection per call: publications are seconds apart, and come from many threads.
        with closing(sqlite3.connect(self.path, timeout=patience_seconds)) as connection:
            # Synced by the system, not at each commit: a crash of a process loses nothing.
            connection.execute("PRAGMA synchronous = OFF")
            with connection:
                yield connection
