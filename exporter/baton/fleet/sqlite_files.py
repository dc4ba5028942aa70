"""Opening the two SQLite files of a store, and saying plainly why one cannot be opened."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from baton.errors import (
    BadInput,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreNewer,
    StoreRestored,
    StoreUnfit,
    StoreUnreachable,
)
from baton.fleet import clock
from baton.fleet.migrating import refuse_a_break
from baton.fleet.sql import queries, script

#: Bump with each new sqlite_data_NNNN.sql.
SCHEMA = 3

#: Those of them that processes of an earlier version cannot live with; all others only add.
BREAKING: frozenset[int] = frozenset()

#: Between two tries to put a new file into WAL mode, in seconds.
_SWITCH_EVERY_SECONDS = 0.005

_SYNCHRONOUS = ("off", "normal", "full", "extra")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a store is and how hard it writes.

    Attributes:
        path: the data file.
        synchronous: SQLite's setting for the data file; ``full`` survives a power cut.
    """

    path: Path
    synchronous: str = "full"

    @property
    def url(self) -> str:
        """The store as the command line takes it."""
        return f"sqlite:///{self.path}"

    def beside(self, suffix: str) -> Path:
        """A file that belongs to this store."""
        return self.path.with_name(self.path.name + suffix)


def parse_url(url: str) -> Location:
    """Read ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

    Args:
        url: the store; ``?synchronous=normal`` trades the last commits on a power cut for speed.

    Raises:
        BadInput: the URL does not name a file.
    """
    parts = urlsplit(url)
    name = parts.path.removeprefix("/")
    if not url.startswith("sqlite:///") or not name:
        raise BadInput(detail=f"store {url!r} is not of the form sqlite:///fleet.db")
    options = parse_qs(parts.query)
    synchronous = options.pop("synchronous", ["full"])[-1].lower()
    if options or synchronous not in _SYNCHRONOUS:
        raise BadInput(
            detail=f"store {url!r}: the only option is synchronous={'|'.join(_SYNCHRONOUS)}"
        )
    return Location(Path(name), synchronous)


class plain_errors:  # noqa: N801 - reads as the verb it is; no generator, as every read passes here
    """Turn SQLite's errors into ours."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        """For the store of this name."""
        self._url = url

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Say an error of SQLite in our words."""
        if isinstance(error, sqlite3.DatabaseError):
            raise plain_error(self._url, error) from error


def plain_error(url: str, error: sqlite3.DatabaseError) -> Exception:
    """What one of SQLite's errors means to whoever uses the store."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return StoreBusy(holder="another process")
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return StoreCorrupt(url=url, detail=text)
    if isinstance(error, sqlite3.IntegrityError):
        return error
    if isinstance(error, sqlite3.DataError):
        return StoreUnfit(url=url, detail=text)
    return StoreError(url=url, detail=text)


def connect(path: str | Path, *, synchronous: str, busy_seconds: float) -> sqlite3.Connection:
    """A connection in WAL mode under manual transactions, usable from any thread."""
    connection = sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )
    with closed_on_failure(connection):
        _switch_to_wal(connection, busy_seconds)
        for pragma in pragmas(synchronous):
            connection.execute(pragma)
    return connection


@contextmanager
def closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep a connection open only if what follows succeeds."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _switch_to_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    # SQLite waits for locks, but not where several connections switch a new file at once.
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(_SWITCH_EVERY_SECONDS)
        else:
            return


def pragmas(synchronous: str) -> tuple[str, ...]:
    """What a connection is set to, besides WAL mode."""
    # Four times the default: a checkpoint of the log costs two fsyncs that a writer waits for.
    return (f"PRAGMA synchronous = {synchronous}", "PRAGMA wal_autocheckpoint = 4000")


def open_data(
    location: Location, *, create: bool, accept_restored: bool = False, break_older: bool = False
) -> sqlite3.Connection:
    """Open the data file, creating or migrating it where that is asked for.

    Args:
        location: where the store is.
        create: make or migrate it; False for whoever only looks.
        accept_restored: migrate what is there even if it is an older copy, in order to accept that.
        break_older: migrate it to what earlier versions cannot live with, if none of them lives.

    Raises:
        StoreUnreachable: it is not there, or its folder cannot be written.
        StoreBusy: another process keeps it locked.
        StoreCorrupt: it is not a database, or damaged.
        StoreNewer: a newer Baton has written it.
        StoreRestored: its schema is an earlier one, because it is an older copy.
    """
    path = location.path
    if not create and not path.exists():
        detail = "there is no such file; `baton store migrate` makes one"
        raise StoreUnreachable(url=location.url, detail=detail)
    if not path.parent.is_dir():
        raise StoreUnreachable(url=location.url, detail=f"no folder {path.parent}")
    try:
        with plain_errors(location.url):
            connection = connect(path, synchronous=location.synchronous, busy_seconds=60)
    except (StoreCorrupt, StoreBusy):
        raise
    except StoreError as error:
        raise StoreUnreachable(url=location.url, detail=error.fields["detail"]) from error
    with closed_on_failure(connection), plain_errors(location.url):
        found = schema_of(connection)
        if found > SCHEMA:
            raise StoreNewer(url=location.url, found=found, known=SCHEMA)
        if found < SCHEMA:
            if found and not accept_restored:
                _check_before(location, connection)
            _may_migrate(location.url, found, create=create or accept_restored)
            refuse_a_break(
                location.url,
                found,
                BREAKING,
                asked=break_older,
                alive=lambda: _alive(location, connection),
            )
            prepare_data(connection, found)
    return connection


def _may_migrate(url: str, found: int, *, create: bool) -> None:
    if create:
        return
    if found == 0:
        detail = "the file is no Baton store; `baton store migrate` makes it one"
    else:
        detail = f"its schema is {found}; `baton store migrate` brings it to {SCHEMA}"
    raise StoreUnreachable(url=url, detail=detail)


@contextmanager
def _sessions_as_they_are(location: Location) -> Iterator[sqlite3.Connection | None]:
    """The sessions file of an earlier version, only to be read; None where there is none."""
    path = location.beside(".sessions")
    if not path.exists():
        yield None
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection if _has(connection, "witness") else None


def _check_before(location: Location, data: sqlite3.Connection) -> None:
    # A refused copy is left as it was put there.
    with _sessions_as_they_are(location) as sessions:
        if sessions is not None:
            _check_owner(location, sessions, store_id_of(data))
            check_restored(location, data, sessions)


def _alive(location: Location, data: sqlite3.Connection) -> list[str]:
    """The workers whose sessions have shown life within their TTL."""
    row = data.execute("SELECT offset_us FROM baton_boot WHERE boot_id = ?", (clock.boot_id(),))
    found = row.fetchone()
    if found is None:
        # Nobody has worked on it since this host was started.
        return []
    now_us = clock.HostClock(found[0]).now_us()
    with _sessions_as_they_are(location) as sessions:
        if sessions is None:
            return []
        rows = sessions.execute(queries("sqlite_sessions.sql")["alive"], (now_us,)).fetchall()
    return [row[0] for row in rows]


def prepare_data(
    connection: sqlite3.Connection, found: int = 0, *, store_id: str | None = None
) -> None:
    """Bring the data file to this version's schema, in one transaction.

    Args:
        connection: the data file.
        found: its schema version; 0 for a new file or one with LangGraph's tables only.
        store_id: the name of a new store; a random one by default.
    """
    from langgraph.checkpoint.sqlite import SqliteSaver

    SqliteSaver(connection).setup()
    for version in range(found + 1, SCHEMA + 1):
        body = script(f"sqlite_data_{version:04d}.sql")
        # A second process may have been quicker; its schema is as good as ours.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if schema_of(connection) < version:
                for statement in _statements(body):
                    connection.execute(statement)
                connection.execute(
                    "INSERT OR REPLACE INTO baton_meta VALUES ('schema', ?)", (str(version),)
                )
                connection.execute(
                    "INSERT OR IGNORE INTO baton_meta VALUES ('store_id', ?)",
                    (store_id or secrets.token_hex(8),),
                )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _statements(body: str) -> Iterator[str]:
    statement = ""
    for line in body.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def schema_of(connection: sqlite3.Connection) -> int:
    """The schema version of a data file; 0 where Baton has not been yet."""
    known = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'baton_meta'"
    ).fetchone()
    if known is None:
        return 0
    row = connection.execute("SELECT value FROM baton_meta WHERE key = 'schema'").fetchone()
    return int(row[0]) if row else 0


def store_id_of(connection: sqlite3.Connection) -> str:
    """The name that this data file was given when it was made."""
    row = connection.execute("SELECT value FROM baton_meta WHERE key = 'store_id'").fetchone()
    return str(row[0])


def position_of(connection: sqlite3.Connection) -> int:
    """How far the ledger of a data file goes."""
    return int(connection.execute(queries("sqlite_data.sql")["position"]).fetchone()[0])


def open_sessions(
    location: Location, store_id: str, *, accept_restored: bool = False
) -> sqlite3.Connection:
    """Open the sessions file beside the data file.

    Args:
        location: where the store is.
        store_id: the data file's own name.
        accept_restored: open it even if it is another store's, in order to accept that.

    Raises:
        StoreRestored: it belongs to another data file.
    """
    path = location.beside(".sessions")
    with plain_errors(f"sqlite:///{path}"):
        # Short patience: a heartbeat that waits longer than this has failed.
        connection = connect(path, synchronous="normal", busy_seconds=1.0)
        with closed_on_failure(connection):
            prepare_sessions(connection, store_id)
            if not accept_restored:
                _check_owner(location, connection, store_id)
    return connection


def _check_owner(location: Location, sessions: sqlite3.Connection, store_id: str) -> None:
    row = sessions.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
    if row[0] != store_id:
        name = location.beside(".sessions").name
        raise StoreRestored(url=location.url, detail=f"{name} beside it belongs to store {row[0]}")


def prepare_sessions(connection: sqlite3.Connection, store_id: str) -> None:
    """Make the tables and indexes of the sessions file that are not there."""
    if _has(connection, "session_ended"):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _has(connection, "session"):
            for statement in _statements(script("sqlite_sessions_0001.sql")):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('store_id', ?)", (store_id,))
            connection.execute("INSERT INTO witness VALUES (?, 0, 0)", (store_id,))
        for statement in _statements(script("sqlite_sessions_0002.sql")):
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _has(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,))
    return found.fetchone() is not None


def host_clock(connection: sqlite3.Connection) -> clock.HostClock:
    """The store's clock on this host, with the offset fixed for this boot.

    Args:
        connection: the data file, which keeps one offset per boot.
    """
    boot = clock.boot_id()
    row = connection.execute("SELECT offset_us FROM baton_boot WHERE boot_id = ?", (boot,))
    if (found := row.fetchone()) is not None:
        return clock.HostClock(found[0])
    now_us = clock.boot_time_us()
    last = connection.execute("SELECT at FROM baton_event ORDER BY seq DESC LIMIT 1").fetchone()
    offset_us = max(clock.wall_us(), last[0] + 1 if last else 0) - now_us
    connection.execute("INSERT OR IGNORE INTO baton_boot VALUES (?, ?)", (boot, offset_us))
    row = connection.execute("SELECT offset_us FROM baton_boot WHERE boot_id = ?", (boot,))
    return clock.HostClock(row.fetchone()[0])


def check_restored(
    location: Location, data: sqlite3.Connection, sessions: sqlite3.Connection
) -> None:
    """Refuse a data file that is older than what its sessions have seen of it.

    Raises:
        StoreRestored: the ledger ends before the witness.
    """
    # The witness first: others may be writing, and what has been seen by then is there for good.
    witness = sessions.execute(queries("sqlite_sessions.sql")["witness"]).fetchone()[0] or 0
    position = position_of(data)
    if position < witness:
        raise StoreRestored(
            url=location.url,
            detail=f"its ledger ends at {position}, and {witness} has been seen",
        )
