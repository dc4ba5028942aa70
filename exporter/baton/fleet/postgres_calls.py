"""Calls over a connection that somebody answers in time, or that end with the connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from baton.errors import ConnectionCut
from baton.fleet.postgres_connect import BROKEN, Connection, plain_error, shut

#: How often overdue calls are looked for, in seconds.
_WATCH_EVERY_SECONDS = 0.1


class Deadlines:
    """Ends calls that nobody answers, by closing their connection under them."""

    def __init__(self, url: str, now_and_then: Callable[[], None]) -> None:
        """Prepare; the thread starts with the first call.

        Args:
            url: for error messages.
            now_and_then: what else that thread does, several times a second.
        """
        self._url = url
        self._now_and_then = now_and_then
        self._lock = threading.Lock()
        self._due: dict[Connection, float] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def begin(self, connection: Connection, seconds: float) -> None:
        """Give up a connection on which a call takes longer than this."""
        # Nobody is woken: this is on the way of every super-step, and the thread looks by itself.
        self._due[connection] = time.monotonic() + seconds
        if self._thread is None:
            self._start()

    def end(self, connection: Connection) -> None:
        """The call is over."""
        self._due.pop(connection, None)

    @contextmanager
    def within(self, connection: Connection, seconds: float) -> Iterator[None]:
        """Whatever is asked of a connection here is answered in time, or it is closed.

        Args:
            connection: the caller's own.
            seconds: the time.

        Raises:
            ConnectionCut: the connection broke.
        """
        self.begin(connection, seconds)
        try:
            yield
        except BROKEN as error:
            raise_plain(connection, self._url, error)
        finally:
            self.end(connection)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="baton-deadlines", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_WATCH_EVERY_SECONDS):
            now = time.monotonic()
            for connection, due in tuple(self._due.items()):
                if due < now and self._due.pop(connection, None) is not None:
                    shut(connection)
            self._now_and_then()


def raise_plain(connection: Connection, url: str, error: BaseException) -> NoReturn:
    """Raise what an error means to whoever uses the store; a connection that broke is closed.

    Args:
        connection: what the call was made over.
        url: for error messages.
        error: what came of it.
    """
    plain = plain_error(url, error)
    if isinstance(plain, ConnectionCut):
        connection.close()
    if plain is error:
        raise error
    raise plain from error
