"""The PostgreSQL store: one schema, for processes on many hosts."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from baton.domain.words import EventType, TakeoverOutcome, TakeoverReason
from baton.errors import (
    CommitUnknown,
    ConnectionCut,
    ServerFull,
    StoreBusy,
    StoreError,
    StoreNewer,
    StoreUnreachable,
)
from baton.fleet import clock
from baton.fleet.clock import StoreClock
from baton.fleet.evidence import OnGone
from baton.fleet.lingering import LINGER_SECONDS
from baton.fleet.migrating import refuse_a_break
from baton.fleet.model import Claim, ClaimRequest, Claims, LeaseKey, Typed
from baton.fleet.postgres_connect import Timeouts, plain_errors, pool_options, shown
from baton.fleet.postgres_data import DataTables
from baton.fleet.postgres_pool import Pool
from baton.fleet.postgres_sessions import SessionTable, alive_on
from baton.fleet.postgres_watch import ConnectionEvidence
from baton.fleet.sql import script
from baton.fleet.transactions import Store

if TYPE_CHECKING:
    from baton.fleet.postgres_saver import FencedPostgresSaver
    from baton.fleet.saver import Leases

T = TypeVar("T")

#: Bump with each new postgres_NNNN.sql.
SCHEMA = 3

#: Those of them that processes of an earlier version cannot live with; all others only add.
BREAKING: frozenset[int] = frozenset()

#: The oldest server whose functions and guarantees are all there.
_SERVER_MIN = 140000

#: Between two tries to be the one who migrates, in seconds.
_TRY_EVERY_SECONDS = 0.05

#: How long a migration by somebody else is waited for, in seconds.
_MIGRATION_SECONDS = 60.0

_ABOUT = """
SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'),
    pg_is_in_recovery(), current_schema(), to_regclass('baton_meta') IS NOT NULL
"""


class ServerClock:
    """The server's clock, and this process's own wall clock beside it."""

    def __init__(self, pool: Pool) -> None:
        """Ask through a pool."""
        self._pool = pool

    def now_us(self) -> int:
        """Store time in microseconds; a round trip."""
        return int(self._pool.ask("SELECT baton_now()"))

    def wall_us(self) -> int:
        """Wall-clock microseconds since the Unix epoch."""
        return clock.wall_us()


class PostgresStore(Store):
    """A store in one schema of a PostgreSQL database."""

    def __init__(
        self,
        pool: Pool,
        store_clock: StoreClock,
        *,
        store_id: str,
        new_id: Callable[[], str],
        linger_seconds: float | None,
    ) -> None:
        """Put the tables together.

        Args:
            pool: where connections come from.
            store_clock: the store's clock.
            store_id: the store's own name.
            new_id: makes run ids.
            linger_seconds: see ``DataTables``.
        """
        tables = DataTables(pool, store_clock, store_id, linger_seconds=linger_seconds)
        pool.check_each(tables.check)
        super().__init__(
            tables,
            SessionTable(pool),
            store_clock,
            url=pool.url,
            store_id=store_id,
            new_id=new_id,
        )
        self._tables = tables
        self._pool = pool
        self._unsure: dict[str, CommitUnknown] = {}

    def saver(self, leases: Leases, *, auto_lease: bool = False) -> FencedPostgresSaver:
        """The fenced checkpointer over LangGraph's own tables in this schema."""
        from baton.fleet.postgres_saver import FencedPostgresSaver

        return FencedPostgresSaver(self._tables, leases, auto_lease=auto_lease, serde=self.serde)

    def evidence(self, on_gone: OnGone, on_wake: Callable[[], None]) -> ConnectionEvidence:
        """What the server knows of its connections, and of tasks that wait."""
        return ConnectionEvidence(self._pool, self.store_id, on_gone, on_wake)

    def claim(self, request: ClaimRequest) -> Claims:
        """``Store.claim``; what was won without our learning of it is handed over first.

        Raises:
            LeaseLost: the claimant's own session is over.
        """
        unsure = self._unsure.get(request.session_id)
        if unsure is not None:
            outcome = self._tables.outcome(unsure.xid)
            del self._unsure[request.session_id]
            if outcome == "committed" and isinstance(unsure.outcome, Claims):
                return unsure.outcome
        try:
            return super().claim(request)
        except CommitUnknown as unknown:
            self._unsure[request.session_id] = unknown
            raise

    # What ends a run well is worth a second try: the first has left no trace.

    def resumed(self, claim: Claim, worker_id: str, outcome: TakeoverOutcome, step_id: str) -> None:
        """See ``Store.resumed``."""
        self._twice(lambda: super(PostgresStore, self).resumed(claim, worker_id, outcome, step_id))

    def finish(
        self,
        claim: Claim,
        worker_id: str,
        type_: EventType,
        data: dict[str, Any],
        error: str | None = None,
    ) -> None:
        """See ``Store.finish``."""
        self._twice(lambda: super(PostgresStore, self).finish(claim, worker_id, type_, data, error))

    def release(self, claim: Claim, type_: EventType, reason: TakeoverReason) -> None:
        """See ``Store.release``."""
        self._twice(lambda: super(PostgresStore, self).release(claim, type_, reason))

    def effect(self, claim: Claim, worker_id: str, effect_key: str, step_id: str) -> Typed | None:
        """See ``Store.effect``."""
        return self._twice(
            lambda: super(PostgresStore, self).effect(claim, worker_id, effect_key, step_id)
        )

    def record_effect(
        self, claim: Claim, worker_id: str, effect_key: str, step_id: str, result: Typed
    ) -> None:
        """See ``Store.record_effect``."""
        self._twice(
            lambda: super(PostgresStore, self).record_effect(
                claim, worker_id, effect_key, step_id, result
            )
        )

    def refused(self, key: LeaseKey) -> None:
        """See ``Store.refused``."""
        self._twice(lambda: super(PostgresStore, self).refused(key))

    @staticmethod
    def _twice(call: Callable[[], T]) -> T:
        try:
            return call()
        except CommitUnknown:
            raise
        except ConnectionCut:
            return call()


def open_postgres(
    url: str,
    *,
    create: bool,
    accept_restored: bool,
    break_older: bool = False,
    patience_seconds: float,
    new_id: Callable[[], str],
    store_clock: StoreClock | None = None,
    linger_seconds: float | None = LINGER_SECONDS,
) -> PostgresStore:
    """Open a store in the schema that a URL leads to, making it where there is none.

    Args:
        url: ``postgresql://…``; the schema is the first of its ``search_path``, and
            ``connections=N`` says how many this process has in normal operation.
        create: make or migrate the tables; False for whoever only looks.
        accept_restored: migrate what is there, in order to accept it; nothing more, because the
            sessions went back in time with the data, and only processes that live through a
            restore can tell.
        break_older: migrate it to what earlier versions cannot live with, if none of them lives.
        patience_seconds: the TTL, which all bounds of connections lie below.
        new_id: makes session and run ids.
        store_clock: for trials that move the time; the server's own by default.
        linger_seconds: how long pending writes are parked at most; None leaves them to what
            comes next.

    Raises:
        BadInput, StoreUnreachable, StoreNewer: as their messages say.
    """
    url, connections = pool_options(url)
    name = shown(url)
    part, half = patience_seconds / 3, patience_seconds / 2
    timeouts = Timeouts(lock=part, idle=part, statement=half, call=half)
    pool = Pool(url, name, timeouts, connections=connections)
    try:
        store_id = _prepare(
            pool, name, create=create, accept=accept_restored, break_older=break_older
        )
    except BaseException:
        pool.close()
        raise
    return PostgresStore(
        pool,
        store_clock or ServerClock(pool),
        store_id=store_id,
        new_id=new_id,
        linger_seconds=linger_seconds,
    )


def _prepare(pool: Pool, url: str, *, create: bool, accept: bool, break_older: bool) -> str:
    """Make or migrate the tables where that is asked for; returns the store's id."""
    try:
        # A server that is full for a moment, as after many kills, may have room in the next.
        connection: Any = pool.first()
    except ServerFull as full:
        detail = (
            f"it has no connection left ({full.fields['detail']}); start fewer workers, or raise"
            " its limit (docs/postgresql.md, Connections)"
        )
        raise StoreUnreachable(url=url, detail=detail) from full
    except StoreError as error:
        raise StoreUnreachable(url=url, detail=error.fields.get("detail", error)) from error
    with connection, plain_errors(url):
        known = _look_over(connection, url)
        if not known and not create:
            detail = "the schema has no Baton store; `baton store migrate` makes one"
            raise StoreUnreachable(url=url, detail=detail)
        found = _schema_of(connection, url, known=known)
        if found < SCHEMA:
            if not create and not accept:
                detail = f"its schema is {found}; `baton store migrate` brings it to {SCHEMA}"
                raise StoreUnreachable(url=url, detail=detail)
            _migrate(connection, url, break_older=break_older)
        row = connection.execute("SELECT value FROM baton_meta WHERE key = 'store_id'").fetchone()
        return str(row[0])


def _look_over(connection: Any, url: str) -> bool:
    """Refuse a server that will not do; returns whether Baton's tables are there."""
    version, encoding, standby, schema, known = connection.execute(_ABOUT).fetchone()
    detail = None
    if version < _SERVER_MIN:
        detail = f"the server is of version {version // 10000}; Baton needs 14 or later"
    elif encoding != "UTF8":
        detail = f"the database is encoded in {encoding}; Baton needs UTF8"
    elif standby:
        detail = "the server is a standby; name the primary"
    elif schema is None:
        detail = "its search_path leads to no schema; make one, or name another"
    if detail is not None:
        raise StoreUnreachable(url=url, detail=detail)
    return bool(known)


def _schema_of(connection: Any, url: str, *, known: bool) -> int:
    if not known:
        return 0
    row = connection.execute("SELECT value FROM baton_meta WHERE key = 'schema'").fetchone()
    found = int(row[0]) if row else 0
    if found > SCHEMA:
        raise StoreNewer(url=url, found=found, known=SCHEMA)
    return found


def _migrate(connection: Any, url: str, *, break_older: bool) -> None:
    """Bring the schema up to date, one process at a time."""
    from langgraph.checkpoint.postgres import PostgresSaver

    key = int.from_bytes(hashlib.sha256(b"migrate").digest()[:8]) >> 2
    give_up_at = time.monotonic() + _MIGRATION_SECONDS
    # Tried and not waited for: LangGraph builds its indexes concurrently, which waits for every
    # statement that is under way, those that wait for a lock included.
    while not connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()[0]:
        if time.monotonic() > give_up_at:
            raise StoreBusy(holder="another process that migrates it")
        threading.Event().wait(_TRY_EVERY_SECONDS)
    try:
        # Another process may have been quicker; its schema is as good as ours.
        found = _schema_of(connection, url, known=_look_over(connection, url))
        refuse_a_break(url, found, BREAKING, asked=break_older, alive=lambda: alive_on(connection))
        connection.execute("SET statement_timeout = 0; SET lock_timeout = 0", prepare=False)
        PostgresSaver(connection).setup()
        for version in range(found, SCHEMA):
            _step(connection, version + 1)
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


def _step(connection: Any, version: int) -> None:
    with connection.transaction():
        connection.execute(script(f"postgres_{version:04d}.sql"), prepare=False)
        connection.execute(
            "INSERT INTO baton_meta VALUES ('schema', %s) ON CONFLICT (key) DO UPDATE"
            " SET value = excluded.value",
            (str(version),),
        )
        connection.execute(
            "INSERT INTO baton_meta VALUES ('store_id', %s) ON CONFLICT DO NOTHING",
            (secrets.token_hex(8),),
        )
