"""Connections to a PostgreSQL server: the only module that knows psycopg.

Everything a frozen or cut-off process could hold is bounded here: locks and open transactions by
the server's timeouts, calls that nobody answers by a deadline on this side.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.rows import dict_row

from baton.errors import (
    BadInput,
    ConnectionCut,
    ServerFull,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreUnfit,
)

#: The SQLSTATE by which the store's own functions refuse a superseded lease.
_REFUSED = "BT001"

#: A lock or a statement took longer than its bound, or two waited for each other.
_BUSY = ("55P03", "57014", "40P01", "40001")

#: What is written is too large or too deep for the server, whoever writes it and whenever.
_TOO_MUCH = "54"

#: The server ended the connection because its transaction stood still or took too long.
_ENDED = ("25P03", "25P04")

#: How the server says that it takes no more connections; libpq hands on no SQLSTATE for it.
_FULL = ("too many clients", "too many connections", "connection slots are reserved")

#: How a pooler says that it does not hand on what a connection is to be started with.
_NO_OPTIONS = "unsupported startup parameter: options"

#: How many connections a process has in normal operation, unless its URL says otherwise.
CONNECTIONS = 2

#: What it may have at most, while somebody waits behind a long statement.
MOST = 8

#: The option of a store's URL that says so; everything else in it is libpq's.
_OPTION = "connections"


#: What ends a call, and is told to the caller in our own words.
BROKEN = (psycopg.Error, ConnectionCut)


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
    # ``cursor.description`` would make an object of each column, for every statement.
    found = cursor.pgresult
    names = range(found.nfields) if found else ()
    places = {found.fname(place).decode(): place for place in names}
    return lambda values: Row(places, values)


#: A value as PostgreSQL's binary protocol has it.
Value = bytes | None

#: The numbers of its own types, which are the same on every server.
_OIDS = {"bytea": 17, "int8": 20, "int4": 23, "text": 25, "jsonb": 3802}

#: As plain numbers, which is how libpq tells them: an enumeration's members are slow to come by.
_ROWS, _IDLE = int(ExecStatus.TUPLES_OK), int(TransactionStatus.IDLE)

#: Values and results are binary: a text is told by its length, and not by where its NUL is.
_BINARY = 1


#: A whole number as an ``int4`` and as an ``int8``.
INT4, INT8 = struct.Struct("!i"), struct.Struct("!q")


def jsonb(text: bytes) -> bytes:
    """A JSON text as a ``jsonb``."""
    return b"\x01" + text


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement of which a connection keeps the plan.

    Attributes:
        name: by which it keeps it.
        text: with ``$1`` and on.
        types: of its values, by their names.
    """

    name: bytes
    text: bytes
    types: tuple[str, ...]


class Connection(psycopg.Connection[Row]):
    """A connection that knows what was prepared on it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin with nothing."""
        super().__init__(*args, **kwargs)
        self._statements: set[bytes] = set()
        #: What those who use it remember as long as it lasts, by whatever they like.
        self.notes: dict[Any, Any] = {}

    def ask_prepared(self, statement: Prepared, values: Sequence[Value]) -> list[bytes] | None:
        """The one row that a statement answers with, which is a transaction of its own.

        ``execute`` finds out anew each time how each value is to be sent, and makes a row of the
        answer: for a super-step that takes longer than all else that is done here. Only for
        whoever has the connection to himself.

        Returns:
            None if there is none, and if a row that it would write is there already: nothing is
            written.
        """
        # Its stubs forget that a value may be NULL.
        given: Sequence[bytes] = values  # type: ignore[assignment]
        formats = [_BINARY] * len(values)
        for _ in range(2):
            if statement.name not in self._statements:
                self._prepare(statement)
            result = self.pgconn.exec_prepared(
                statement.name, given, formats, result_format=_BINARY
            )
            self._hand_on_notifies()
            if result.status == _ROWS:
                if not result.ntuples:
                    return None
                return [result.get_value(0, place) or b"" for place in range(result.nfields)]
            error = self._error(result)
            if isinstance(error, psycopg.errors.UniqueViolation):
                return None
            if not isinstance(error, psycopg.errors.InvalidSqlStatementName):
                raise error
            # psycopg forgets all that is prepared when a transaction is rolled back.
            self._statements.clear()
        raise error

    def _prepare(self, statement: Prepared) -> None:
        oids = [_OIDS[type_] for type_ in statement.types]
        result = self.pgconn.prepare(statement.name, statement.text, oids)
        if result.status != ExecStatus.COMMAND_OK:
            raise self._error(result)
        self._statements.add(statement.name)

    def _error(self, result: Any) -> psycopg.Error:
        if self.pgconn.status == ConnStatus.BAD:
            # What libpq says by itself has no SQLSTATE, by which psycopg would know it.
            return psycopg.OperationalError(result.get_error_message())
        return psycopg.errors.error_from_result(result)

    def _hand_on_notifies(self) -> None:
        # What came in between would otherwise be found when something else comes.
        while notify := self.pgconn.notifies():
            if self.pgconn.notify_handler is not None:
                self.pgconn.notify_handler(notify)


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


def pool_options(url: str) -> tuple[str, int]:
    """A store's URL as libpq takes it, and how many connections it asks for.

    Raises:
        BadInput: it asks for what cannot be.
    """
    parts = urlsplit(url)
    found = [pair.partition("=") for pair in parts.query.split("&") if pair]
    asked = [value for name, _, value in found if name == _OPTION]
    if not asked:
        return url, CONNECTIONS
    if len(asked) > 1 or not asked[0].isdecimal() or not CONNECTIONS <= int(asked[0]) <= MOST:
        value = "&".join(asked)
        detail = f"{_OPTION}={value} in the store's URL is no number from {CONNECTIONS} to {MOST}"
        raise BadInput(detail=detail)
    rest = "&".join("".join(pair) for pair in found if pair[0] != _OPTION)
    return urlunsplit(parts._replace(query=rest)), int(asked[0])


def dsn_of(url: str, timeouts: Timeouts) -> str:
    """A store's URL with the bounds of its connections.

    Args:
        url: ``postgresql://…``; what it sets itself stands.
        timeouts: the bounds.
    """
    given = conninfo_to_dict(url)
    options = f"{timeouts.options} {given.pop('options', None) or ''}"
    defaults: dict[str, Any] = {
        "connect_timeout": max(2, round(timeouts.call)),
        "tcp_user_timeout": round(timeouts.call * 1000),
        "keepalives_idle": max(1, round(timeouts.call)),
        "keepalives_interval": max(1, round(timeouts.call / 3)),
        "fallback_application_name": "baton",
        "client_encoding": "utf8",
    }
    return make_conninfo(**{**defaults, **given, "options": options.strip()})


def address_of(url: str) -> tuple[str, int]:
    """Where a store's server listens: a host, or the folder of its socket, and its port."""
    about = conninfo_to_dict(url)
    return str(about.get("host") or "127.0.0.1"), int(about.get("port") or 5432)


def plain_error(url: str, error: BaseException) -> BaseException:
    """What one of PostgreSQL's errors means to whoever uses the store; others are what they are."""
    if not isinstance(error, psycopg.Error):
        return error
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    state = error.sqlstate or ""
    if state == _REFUSED:
        return FenceRefused(detail)
    if state in _BUSY:
        return StoreBusy(holder=f"another transaction of {url} ({detail})")
    if isinstance(error, psycopg.DataError) or state.startswith(_TOO_MUCH):
        return StoreUnfit(url=url, detail=detail)
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


class Anchor:
    """The connection that a session keeps, and lends for moments."""

    def __init__(self) -> None:
        """Begin without one."""
        self.connection: Any = None
        self._lock = threading.Lock()
        self._owner: int | None = None

    @contextmanager
    def held(self, wait_seconds: float = -1) -> Iterator[Any]:
        """The connection for one caller alone; None if there is none to be had in time.

        Args:
            wait_seconds: how long to wait for whoever has it; for ever if negative.
        """
        me = threading.get_ident()
        if self._owner == me or not self._lock.acquire(timeout=wait_seconds):
            yield None
            return
        self._owner = me
        try:
            yield None if self.connection is None or self.connection.closed else self.connection
        finally:
            self._owner = None
            self._lock.release()


class Listener:
    """An ear for what is notified on a connection that others use as well."""

    def __init__(self, connection: Any, url: str, channel: str, stir: Callable[[], None]) -> None:
        """Listen.

        Args:
            connection: what it is heard on.
            url: for error messages.
            channel: what to listen to.
            stir: ends a ``wait``; called when somebody else's statement brought a notification.
        """
        self._connection: psycopg.Connection[Row] = connection
        self._url = url
        self._stir = stir
        self._told = False
        connection.add_notify_handler(self._tell)
        connection.execute(f'LISTEN "{channel}"')

    def _tell(self, _: object) -> None:
        self._told = True
        self._stir()

    def wait(self, wake: socket.socket, seconds: float) -> bool:
        """Wait for news or for ``wake``; returns whether there is something to be taken.

        Raises:
            ConnectionCut: the connection has ended.
        """
        with plain_errors(self._url):
            ours, theirs = wake.fileno(), self._connection.fileno()
        ready, _, _ = select.select([ours, theirs], [], [], seconds)
        if ours in ready:
            wake.recv(4096)
        return self._told or theirs in ready

    def take(self) -> bool:
        """Whether anything was notified; only for whoever has the connection to himself.

        Raises:
            ConnectionCut: the connection has ended.
        """
        with plain_errors(self._url):
            pgconn = self._connection.pgconn
            pgconn.consume_input()
            while pgconn.notifies():
                self._told = True
        told, self._told = self._told, False
        return told


def shut(connection: Connection) -> None:
    """End a connection under whoever waits for it."""
    with suppress(OSError, psycopg.Error):
        duplicate = socket.socket(fileno=socket.dup(connection.fileno()))
        try:
            duplicate.shutdown(socket.SHUT_RDWR)
        finally:
            duplicate.close()


def connect(dsn: str, url: str) -> Connection:
    """A connection in autocommit, whose rows are ``Row``.

    Args:
        dsn: from ``dsn_of``.
        url: for error messages.

    Raises:
        ServerFull, ConnectionCut: as their messages say.
    """
    try:
        return _connect(dsn)
    except psycopg.OperationalError as error:
        text = str(error)
        if _NO_OPTIONS in text:
            # A pooler, which is asked for them once it has turned out to be one.
            return connect(make_conninfo(dsn, options=""), url)
        if any(words in text for words in _FULL):
            raise ServerFull(url=url, detail=text.strip().rpartition("FATAL:  ")[2]) from error
        raise plain_error(url, error) from error


def _connect(dsn: str) -> Connection:
    return Connection.connect(dsn, autocommit=True, prepare_threshold=0, row_factory=_rows)


def options_of(dsn: str) -> str:
    """What the server is to be started with for a connection, from ``dsn_of``."""
    return str(conninfo_to_dict(dsn).get("options") or "")


def is_idle(connection: psycopg.Connection[Row]) -> bool:
    """Whether no transaction is open on a connection."""
    return connection.pgconn.transaction_status == _IDLE
