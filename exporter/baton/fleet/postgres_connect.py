"""Connections to a PostgreSQL server: the only module that knows psycopg.

Everything a frozen or cut-off process could hold is bounded here: locks and open transactions by
the server's timeouts, calls that nobody answers by a deadline on this side.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from baton.errors import BadInput, ConnectionCut, StoreBusy, StoreCorrupt, StoreError

T = TypeVar("T")

#: The SQLSTATE by which the store's own functions refuse a superseded lease.
_REFUSED = "BT001"

#: A lock or a statement took longer than its bound, or two waited for each other.
_BUSY = ("55P03", "57014", "40P01", "40001")

#: The server ended the connection because its transaction stood still or took too long.
_ENDED = ("25P03", "25P04")

#: Between two tries to reach a server that is away, in seconds.
_RETRY_EVERY_SECONDS = 0.05

#: How often overdue calls are looked for, in seconds.
_WATCH_EVERY_SECONDS = 0.1

#: Connections that a pool lends at a time; who comes later waits for one.
_MOST = 8

#: Idle connections that it keeps.
_KEEP = 4


class FenceRefused(Exception):
    """Another epoch or another session holds the task."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What bounds a connection, in seconds; all of them lie below the TTL.

    Attributes:
        lock: how long a statement waits for a lock.
        idle: how long a transaction may stand still; the server then ends it.
        statement: how long a statement may take.
        call: after how long this side gives up a connection on which nobody answers; a call that
            may be made again is given up after twice as long.
    """

    lock: float
    idle: float
    statement: float
    call: float

    @property
    def options(self) -> str:
        """The same as the server's settings."""
        settings = {
            "lock_timeout": self.lock,
            "idle_in_transaction_session_timeout": self.idle,
            "statement_timeout": self.statement,
        }
        return " ".join(f"-c {name}={max(1, round(s * 1000))}" for name, s in settings.items())


class Row:
    """A row, by name or by place, as SQLite's own rows are."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: dict[str, int], values: Sequence[Any]) -> None:
        """Take the places of the columns, and their values."""
        self._places = places
        self._values = values

    def __getitem__(self, key: int | str) -> Any:
        """One value."""
        return self._values[self._places[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        """The values."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many values."""
        return len(self._values)


def _rows(cursor: Any) -> Callable[[Sequence[Any]], Row]:
    places = {column.name: place for place, column in enumerate(cursor.description or ())}
    return lambda values: Row(places, values)


def stock_cursor(connection: psycopg.Connection[Row]) -> Any:
    """A cursor as LangGraph's own saver reads by."""
    return connection.cursor(binary=True, row_factory=dict_row)


def shown(url: str) -> str:
    """A store's URL without its password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise BadInput(detail=f"store URL cannot be read: {str(error).strip()}") from error
    password = parts.get("password")
    return url.replace(f":{password}@", ":***@") if password else url


def dsn_of(url: str, timeouts: Timeouts, *, more_options: str = "") -> str:
    """A store's URL with the bounds of its connections.

    Args:
        url: ``postgresql://…``; what it sets itself stands.
        timeouts: the bounds.
        more_options: further settings of the server's.
    """
    given = conninfo_to_dict(url)
    options = f"{timeouts.options} {more_options} {given.pop('options', None) or ''}"
    defaults: dict[str, Any] = {
        "connect_timeout": max(2, round(timeouts.call)),
        "tcp_user_timeout": round(timeouts.call * 1000),
        "keepalives_idle": max(1, round(timeouts.call)),
        "keepalives_interval": max(1, round(timeouts.call / 3)),
        "fallback_application_name": "baton",
        "client_encoding": "utf8",
    }
    return make_conninfo(**{**defaults, **given, "options": options.strip()})


def plain_error(url: str, error: psycopg.Error) -> Exception:
    """What one of PostgreSQL's errors means to whoever uses the store."""
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    state = error.sqlstate or ""
    if state == _REFUSED:
        return FenceRefused(detail)
    if state in _BUSY:
        return StoreBusy(holder=f"another transaction of {url} ({detail})")
    if state.startswith("XX0"):
        return StoreCorrupt(url=url, detail=detail)
    if state in _ENDED or isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return ConnectionCut(url=url, detail=detail)
    return StoreError(url=url, detail=detail)


@contextmanager
def plain_errors(url: str) -> Iterator[None]:
    """Turn PostgreSQL's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise plain_error(url, error) from error


class _Deadlines:
    """Ends calls that nobody answers, by closing their connection under them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[psycopg.Connection[Row], float] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def within(self, connection: psycopg.Connection[Row], seconds: float) -> Iterator[None]:
        # Nobody is woken: this is on the way of every super-step, and the thread looks by itself.
        self._due[connection] = time.monotonic() + seconds
        if self._thread is None:
            self._start()
        try:
            yield
        finally:
            self._due.pop(connection, None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="baton-deadlines", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_WATCH_EVERY_SECONDS):
            now = time.monotonic()
            for connection, due in tuple(self._due.items()):
                if due < now and self._due.pop(connection, None) is not None:
                    _shut(connection)


class Listener:
    """A connection that does nothing but stay, and hear what is notified."""

    def __init__(self, connection: psycopg.Connection[Row], url: str, channel: str) -> None:
        """Listen.

        Args:
            connection: of the caller's own.
            url: for error messages.
            channel: what to listen to.
        """
        self.connection = connection
        self._url = url
        with plain_errors(url):
            connection.execute(f'LISTEN "{channel}"')

    def wait(self, wake: socket.socket, seconds: float) -> bool:
        """Wait for a notification or for ``wake``; returns whether there was a notification.

        Raises:
            ConnectionCut: the connection has ended.
        """
        ours, theirs = wake.fileno(), self.connection.fileno()
        ready, _, _ = select.select([ours, theirs], [], [], seconds)
        if ours in ready:
            wake.recv(4096)
        if theirs not in ready:
            return False
        with plain_errors(self._url):
            pgconn = self.connection.pgconn
            pgconn.consume_input()
            heard = False
            while pgconn.notifies():
                heard = True
        return heard


def _shut(connection: psycopg.Connection[Row]) -> None:
    with suppress(OSError, psycopg.Error):
        duplicate = socket.socket(fileno=socket.dup(connection.fileno()))
        try:
            duplicate.shutdown(socket.SHUT_RDWR)
        finally:
            duplicate.close()


class Pool:
    """A few connections of one kind, made when they are needed, in autocommit."""

    def __init__(self, dsn: str, url: str, timeouts: Timeouts) -> None:
        """Prepare; nothing is opened yet.

        Args:
            dsn: from ``dsn_of``.
            url: for error messages.
            timeouts: the bounds.
        """
        self.url = url
        self._dsn = dsn
        self._timeouts = timeouts
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Row]] = []
        self._places = threading.Semaphore(_MOST)
        self._placed = threading.local()
        self._closed = False
        self._deadlines = _Deadlines()
        #: Asked of each new connection before it is used.
        self.check: Callable[[psycopg.Connection[Row]], None] = lambda connection: None  # noqa: ARG005

    @property
    def call_seconds(self) -> float:
        """After how long this side gives up a connection on which nobody answers."""
        return self._timeouts.call

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Row]]:
        """A connection for one caller, for as long as a call may take.

        Raises:
            ConnectionCut: there is none to be had, or it broke; idle ones are given up with it.
            StoreBusy, StoreError: as they say.
        """
        with self._lent() as connection:
            yield connection

    def retry(self, call: Callable[[Any, bool], T]) -> T:
        """Make a call that may be made twice, again if the connection breaks under it.

        Args:
            call: told whether it was made before, so that it may have taken effect.

        Raises:
            ConnectionCut: the server stays away for longer than a call may take.
        """

        def attempt(again: bool) -> T:  # noqa: FBT001 - as above
            with self.connection() as connection:
                return call(connection, again)

        return self._until_answered(attempt)

    @contextmanager
    def begun(
        self, begin: Callable[[psycopg.Connection[Row]], T]
    ) -> Iterator[tuple[psycopg.Connection[Row], T]]:
        """A connection on which something has begun, tried anew until it could begin.

        Args:
            begin: what leaves no trace if its connection breaks, such as BEGIN.
        """

        def attempt(_: bool) -> tuple[ExitStack, psycopg.Connection[Row], T]:  # noqa: FBT001
            with ExitStack() as stack:
                connection = stack.enter_context(self._lent())
                began = begin(connection)
                return stack.pop_all(), connection, began

        stack, connection, began = self._until_answered(attempt)
        with stack:
            yield connection, began

    def _until_answered(self, attempt: Callable[[bool], T]) -> T:
        give_up_at = time.monotonic() + 2 * self._timeouts.call
        again = False
        while True:
            try:
                return attempt(again)
            except ConnectionCut:
                again = True
                if time.monotonic() >= give_up_at or self._closed:
                    raise
                threading.Event().wait(_RETRY_EVERY_SECONDS)

    @contextmanager
    def _lent(self) -> Iterator[psycopg.Connection[Row]]:
        with self._place():
            connection = self._take()
            try:
                with plain_errors(self.url), self._deadlines.within(connection, self.call_seconds):
                    yield connection
            except ConnectionCut:
                connection.close()
                raise
            finally:
                self._give_back(connection)

    @contextmanager
    def _place(self) -> Iterator[None]:
        # A thread that has a connection may need a second one: it must not wait for itself.
        if getattr(self._placed, "taken", False):
            yield
            return
        if not self._places.acquire(timeout=self.call_seconds):
            raise StoreBusy(holder=f"{_MOST} other calls of this process")
        self._placed.taken = True
        try:
            yield
        finally:
            self._placed.taken = False
            self._places.release()

    def _take(self) -> psycopg.Connection[Row]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.connect()

    def connect(self) -> psycopg.Connection[Row]:
        """A connection of the caller's own."""
        if self._closed:
            raise StoreError(url=self.url, detail="the store is closed")
        with plain_errors(self.url):
            connection = psycopg.Connection.connect(
                self._dsn, autocommit=True, prepare_threshold=0, row_factory=_rows
            )
        try:
            with plain_errors(self.url):
                self.check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_back(self, connection: psycopg.Connection[Row]) -> None:
        dead: list[psycopg.Connection[Row]] = []
        with self._lock:
            if connection.closed:
                # Whatever ended this one has most likely ended the others too.
                dead, self._idle = self._idle, []
            elif (
                self._closed
                or len(self._idle) >= _KEEP
                or connection.info.transaction_status is not TransactionStatus.IDLE
            ):
                dead = [connection]
            else:
                self._idle.append(connection)
        for one in dead:
            one.close()

    def close(self) -> None:
        """Close what is idle, and the rest as it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._deadlines.close()
