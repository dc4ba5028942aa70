"""One collection, and one rendering per format, for all scrapes that overlap.

A scrape shares a collection only if it arrived before that collection ended; so its values are
never older than the time that collecting takes, and nothing is kept for the scrape after. Sixteen
scrapers at once then cost the store one read, and the process one text per format and encoding.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable

from baton.observe.exposition import Snapshot, content_type, render

#: Seconds that a scrape waits for a collection that another scrape began.
COLLECTION_TIMEOUT_SECONDS = 30.0
#: Level 1 is four times as fast as zlib's usual level, for a fifth more bytes.
_GZIP_LEVEL = 1


class SharedCollection:
    """Gives each scrape its body, and collects no more often than it must."""

    def __init__(self, collect: Callable[[], Snapshot]) -> None:
        """Share ``collect`` among concurrent scrapes.

        Args:
            collect: gives the values of one scrape; never runs twice at a time.
        """
        self._collect = collect
        self._lock = threading.Lock()
        self._running: _Flight | None = None

    def body(self, accept: str, *, compressed: bool) -> tuple[bytes, str]:
        """The body of a scrape and its content type.

        Args:
            accept: the scraper's ``Accept`` header.
            compressed: whether the body is to be gzipped.

        Raises:
            TimeoutError: the collection that this scrape shares takes too long.
            RuntimeError: the collection failed, for each scrape that shares it; its cause says why.
        """
        with self._lock:
            first = self._running is None
            flight = self._running = self._running or _Flight()
        if first:
            self._land(flight)
        return flight.body(accept, compressed=compressed)

    def _land(self, flight: _Flight) -> None:
        try:
            flight.run(self._collect)
        finally:
            # In this order nobody can join a collection that has ended.
            with self._lock:
                self._running = None
            flight.ended.set()


class _Flight:
    """A collection under way, then its values, then the bodies made of them."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._snapshot: Snapshot | None = None
        self._error: Exception | None = None
        self._rendering = threading.Lock()
        self._bodies: dict[tuple[str, bool], bytes] = {}

    def run(self, collect: Callable[[], Snapshot]) -> None:
        try:
            # Whatever is lazy in the snapshot is drawn here, as several renderings read it.
            self._snapshot = {metric: list(points) for metric, points in collect().items()}
        except Exception as error:  # noqa: BLE001 - raised again by each scrape that shares it
            self._error = error

    def body(self, accept: str, *, compressed: bool) -> tuple[bytes, str]:
        if not self.ended.wait(COLLECTION_TIMEOUT_SECONDS):
            raise TimeoutError(f"no values within {COLLECTION_TIMEOUT_SECONDS} s")
        if self._snapshot is None:
            raise RuntimeError("the collection failed") from self._error
        kind = content_type(accept)
        with self._rendering:
            if (kind, False) not in self._bodies:
                self._bodies[kind, False] = render(self._snapshot, accept)[0]
            if (kind, compressed) not in self._bodies:
                plain = self._bodies[kind, False]
                self._bodies[kind, True] = gzip.compress(plain, _GZIP_LEVEL, mtime=0)
            return self._bodies[kind, compressed], kind
