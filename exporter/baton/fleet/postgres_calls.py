"""Calls over a connection that somebody answers in time, or that end with the connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from baton.errors import ConnectionCut
from baton.fleet.postgres_connect import Connection, plain_error, shut

#: How often overdue calls are looked for, in seconds.
_WATCH_EVERY_SECONDS = 0.1


class Deadlines:
    """Ends calls that nobody answers, by closing their connection under them."""

    def __init__(self, now_and_then: Callable[[], None]) -> None:
        """Prepare; the thread starts with the first call.

        Args:
            now_and_then: what else that thread does, several times a second.
        """
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


class Call:
    """A block in which a connection answers in time, or is closed; its errors become ours.

    A class, since a generator would cost a super-step several times as much.
    """

    __slots__ = ("_connection", "_deadlines", "_seconds", "_url")

    def __init__(self, deadlines: Deadlines, connection: Any, url: str, seconds: float) -> None:
        """Prepare.

        Args:
            deadlines: who looks for overdue calls.
            connection: the caller's own.
            url: for error messages.
            seconds: the time.
        """
        self._deadlines = deadlines
        self._connection = connection
        self._url = url
        self._seconds = seconds

    def __enter__(self) -> None:
        """Begin."""
        self._deadlines.begin(self._connection, self._seconds)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """End."""
        self._deadlines.end(self._connection)
        if error is not None:
            self._raise_plain(error)

    def _raise_plain(self, error: BaseException) -> None:
        plain = plain_error(self._url, error)
        if isinstance(plain, ConnectionCut):
            self._connection.close()
        if plain is not error:
            raise plain from error


class Hand(threading.local):
    """What each thread has in hand."""

    connection: Any = None


class Lender(Protocol):
    """Whose connections are lent: a pool."""

    url: str
    deadlines: Deadlines
    hand: Hand
    #: How long a call may take.
    call_seconds: float

    def find(self, *, urgent: bool) -> tuple[Any, Callable[[], None] | None]:
        """A connection, and how it is given back unless by ``give_back``."""

    def give_back(self, connection: Any) -> None:
        """Take a connection back."""


class Loan(Call):
    """A connection in one thread's hand, from the lender and back to it."""

    __slots__ = ("_before", "_lender", "_otherwise", "_urgent")

    def __init__(self, lender: Lender, *, urgent: bool) -> None:
        """Prepare.

        Args:
            lender: whose connection it will be.
            urgent: it may be one of those that are left free.
        """
        # Its base's own would be one call more on the way of every super-step, as would its end.
        self._deadlines, self._seconds = lender.deadlines, lender.call_seconds
        self._url = lender.url
        self._lender = lender
        self._urgent = urgent

    def __enter__(self) -> Any:
        """Begin, with a connection.

        Raises:
            ConnectionCut, StoreBusy, StoreError: there is none to be had.
        """
        lender = self._lender
        hand = lender.hand
        # A thread that has a connection may need a second one: it must not wait for itself.
        before = self._before = hand.connection
        connection, self._otherwise = lender.find(urgent=self._urgent or before is not None)
        hand.connection = self._connection = connection
        self._deadlines.begin(connection, self._seconds)
        return connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End, and give it back."""
        self._deadlines.end(self._connection)
        try:
            if error is not None:
                self._raise_plain(error)
        finally:
            self._lender.hand.connection = self._before
            if self._otherwise is None:
                self._lender.give_back(self._connection)
            else:
                self._otherwise()
