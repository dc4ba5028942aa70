"""The store that an exporter reads: opened once, and again whenever it went away and came back.

A file that was removed can be read to the end of time by whoever has it open. So each look first
compares the files by their place and number on the disk with those that were opened. A server
tells by itself: its connections break.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from baton.errors import BatonError
from baton.fleet.store import Store, files_of, open_store

_Identity = tuple[tuple[int, int] | None, ...]


class StoreSource:
    """Gives the open store, or says why there is none."""

    def __init__(self, url: str) -> None:
        """Open the store; it is never created.

        Args:
            url: the store, as ``open_store`` takes it.

        Raises:
            BadInput, StoreUnreachable, StoreCorrupt, StoreNewer, StoreRestored: as they say.
        """
        self.url = url
        self._files = files_of(url)
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._opened: _Identity = ()
        self.store()

    def store(self) -> Store:
        """The store as it is now.

        Raises:
            BatonError: there is none, or none that can be read.
        """
        with self._lock:
            if self._store is not None and self._opened != self._identity():
                self._drop()
            if self._store is None:
                self._store = open_store(self.url, create=False)
                # Afterwards, because opening may make the sessions file.
                self._opened = self._identity()
            return self._store

    def doubt(self) -> None:
        """Open the store anew before it is read again, as a read has failed."""
        with self._lock:
            self._drop()

    def close(self) -> None:
        """Close the store."""
        self.doubt()

    def _drop(self) -> None:
        if self._store is not None:
            with suppress(BatonError):  # It is given up either way.
                self._store.close()
        self._store = None

    def _identity(self) -> _Identity:
        return tuple(map(_place, self._files))


def _place(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
