"""The write path of a PostgreSQL store: a super-step is one statement, and so one flush.

Pending writes of nodes are *parked* for a few milliseconds, because the checkpoint that follows
can carry them in its own commit, as on SQLite. A read, another transaction, or the flusher thread
takes them along; each lease's in a transaction of its own, since nobody here has to queue.

A connection may break at any moment. What may be done twice is done again on a new one; for
the rest the server is asked what became of the transaction, by its number.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from baton import errors
from baton.domain.ledger import step_payload
from baton.errors import BadInput, BatonError, CommitUnknown, ConnectionCut, StoreRestored
from baton.fleet.clock import StoreClock
from baton.fleet.lingering import LINGER_SECONDS, Linger
from baton.fleet.model import Checkpoint, LeaseKey, ParkedWrite
from baton.fleet.points import Point, reach
from baton.fleet.postgres_connect import FenceRefused, plain_errors
from baton.fleet.postgres_pool import Pool
from baton.fleet.postgres_step import LeaseSteps
from baton.fleet.postgres_write import SQL, PostgresWrite

#: A connection remembers so many leases.
_LEASES_MAX = 1024

#: Between two questions after the outcome of a transaction, in seconds.
_ASK_EVERY_SECONDS = 0.05


class DataTables:
    """Tasks, their ledger, their effects and LangGraph's checkpoints, through a few connections."""

    def __init__(
        self,
        pool: Pool,
        clock: StoreClock,
        store_id: str,
        *,
        linger_seconds: float | None = LINGER_SECONDS,
    ) -> None:
        """Work through a pool.

        Args:
            pool: where connections come from.
            clock: the store's clock, of which only the wall time is asked here.
            store_id: what every new connection has to lead to.
            linger_seconds: how long pending writes are parked at most; None leaves them to
                whatever comes next.
        """
        self._pool = pool
        self._clock = clock
        self._store_id = store_id
        self._linger = (
            None
            if linger_seconds is None
            else Linger(linger_seconds, oldest=self._parked_longest, flush=self._flush_due)
        )
        self.url = pool.url
        self.sql = SQL
        self.position = 0
        self.on_lost: Callable[[errors.LeaseLost, LeaseKey], None] | None = None
        self._pid = os.getpid()
        #: What every mark of this store begins with.
        self._mark: int | None = None
        # Held while parked writes are on their way, so that whoever comes after can wait; and how
        # many have taken it, as to look at a number costs less than to try a lock.
        self._flushing = threading.RLock()
        self._flushes = 0
        self._park_lock = threading.Lock()
        self._parked: dict[LeaseKey, list[ParkedWrite]] = {}
        #: By lease, since when something is parked.
        self._since: dict[LeaseKey, float] = {}

    def refuse_a_forked_child(self) -> None:
        """Stop a child that uses what its parent opened.

        Raises:
            BadInput: this process is not the one that opened the store.
        """
        if os.getpid() != self._pid:
            raise BadInput(detail="this fleet was opened before a fork; open it in each process")

    def check(self, connection: Any) -> None:
        """Refuse a connection that leads to another store, or to an older copy of this one.

        Raises:
            StoreRestored: it does.
        """
        # What was seen before the question: others in this process go on meanwhile.
        seen = self.position
        found = connection.execute("SELECT value FROM baton_meta WHERE key = 'store_id'").fetchone()
        if found is None or found[0] != self._store_id:
            raise StoreRestored(url=self.url, detail="it was another store a moment ago")
        position = connection.execute(SQL["position"]).fetchone()[0]
        if position < seen:
            detail = f"its ledger ends at {position}, and {seen} has been seen"
            raise StoreRestored(url=self.url, detail=detail)

    # Transactions

    @contextmanager
    def write(self) -> Iterator[PostgresWrite]:
        """A transaction: commits at the end, rolls back on any exception.

        Raises:
            CommitUnknown: the server was lost at the commit, and did not come back in time.
        """
        self.refuse_a_forked_child()
        self.flush()
        with self._pool.begun(self._begin) as (connection, write):
            try:
                yield write
            except BaseException:
                with suppress(BatonError), plain_errors(self.url):
                    connection.execute("ROLLBACK", prepare=False)
                raise
            try:
                with plain_errors(self.url):
                    connection.execute("COMMIT", prepare=False)
            except ConnectionCut as cut:
                # What broke is given back first, so that the question goes another way.
                unsure = cut
            else:
                self.position = max(self.position, write.seq)
                return
        if self._settled(write, unsure) != "committed":
            raise unsure
        self.position = max(self.position, write.seq)

    def _begin(self, connection: Any) -> PostgresWrite:
        cursor = connection.cursor()
        cursor.execute(SQL["begin"], prepare=False)
        cursor.nextset()
        at, xid = cursor.fetchone()
        return PostgresWrite(cursor, self.url, at, self._clock.wall_us(), xid)

    def _settled(self, write: PostgresWrite, cut: ConnectionCut) -> str:
        try:
            return self.outcome(write.xid)
        except ConnectionCut:
            detail = cut.fields["detail"]
            raise CommitUnknown(
                url=self.url, detail=detail, xid=write.xid, outcome=write.outcome
            ) from cut

    def outcome(self, xid: str) -> str:
        """What became of a transaction whose answer was lost: ``committed`` or ``aborted``.

        Raises:
            ConnectionCut: the server does not say.
        """
        give_up_at = time.monotonic() + self._pool.call_seconds
        while True:
            found = self._pool.retry(
                lambda connection, _: connection.execute(SQL["outcome"], (xid,)).fetchone()[0]
            )
            if found != "in progress":
                # None: so old that the server has forgotten it, which no claim of ours can be.
                return found or "aborted"
            if time.monotonic() > give_up_at:
                raise ConnectionCut(url=self.url, detail=f"transaction {xid} does not end")
            threading.Event().wait(_ASK_EVERY_SECONDS)

    # Reading

    @contextmanager
    def read(self) -> Iterator[Any]:
        """A cursor for reading, after everything parked is durable."""
        self.refuse_a_forked_child()
        self.flush()
        # It answers before it is handed out: what follows cannot be begun again from here.
        with self._pool.begun(lambda connection: connection.execute("SELECT 1")) as (found, _):
            yield found.cursor()

    def rows(self, name: str, parameters: Any = ()) -> list[Any]:
        """All rows of a named query."""
        self.refuse_a_forked_child()
        self.flush()
        return self._pool.retry(
            lambda connection, _: connection.execute(SQL[name], parameters).fetchall()
        )

    def tail(self, after_seq: int, limit: int) -> list[Any]:
        """Events after a place of the tail, as far as nothing can come between them any more."""
        return self.rows("tail", (after_seq, limit))

    # Pending writes

    def park(self, key: LeaseKey, writes: list[ParkedWrite]) -> None:
        """Keep pending writes for the checkpoint that follows, for the linger at most."""
        with self._park_lock:
            self._since.setdefault(key, time.monotonic())
            self._parked.setdefault(key, []).extend(writes)
        if self._linger is not None:
            self._linger.parked()

    def _parked_longest(self) -> float | None:
        with self._park_lock:
            return min(self._since.values(), default=None)

    def flush(self) -> None:
        """Make everything parked durable now."""
        if not self._parked and not self._flushes:
            return
        with self._underway():
            for key in tuple(self._parked):
                self._flush(key)

    def _flush_due(self, parked_by: float) -> None:
        # What was parked a moment ago is left to its own checkpoint, which spares it a commit.
        with self._underway():
            for key, since in tuple(self._since.items()):
                if since <= parked_by:
                    self._flush(key)

    @contextmanager
    def _underway(self) -> Iterator[None]:
        with self._flushing:
            # Before anything is taken, so that whoever finds nothing parked sees where it went.
            self._flushes += 1
            try:
                yield
            finally:
                self._flushes -= 1

    def _take(self, key: LeaseKey) -> list[ParkedWrite]:
        with self._park_lock:
            self._since.pop(key, None)
            return self._parked.pop(key, [])

    def _park_again(self, key: LeaseKey, writes: list[ParkedWrite]) -> None:
        with self._park_lock:
            self._since.setdefault(key, time.monotonic())
            self._parked[key] = writes + self._parked.get(key, [])

    def _flush(self, key: LeaseKey) -> None:
        parked = self._take(key)
        if not parked:
            return
        try:
            self._write(key, parked, resume=False)
        except errors.LeaseLost as lost:
            # Nobody waits for these, so nobody else would put it on record.
            with self._pool.begun(self._begin) as (connection, write):
                write.refuse(key)
                connection.execute("COMMIT", prepare=False)
            if self.on_lost is not None:
                self.on_lost(lost, key)
        except BaseException:
            self._park_again(key, parked)
            raise

    def write_now(self, key: LeaseKey, writes: list[ParkedWrite], *, resume: bool) -> None:
        """Make pending writes durable at once: interrupts, errors and resume values.

        Raises:
            LeaseLost: the fence refused.
        """
        self.refuse_a_forked_child()
        self.flush()
        self._write(key, writes, resume=resume)

    def _write(self, key: LeaseKey, writes: list[ParkedWrite], *, resume: bool) -> None:
        replace = bool(writes) and all(last_stands for last_stands, _ in writes)
        values = (*key, resume, replace, *_arrays(row[1:] for _, row in writes))
        self._fenced(key, lambda connection, _: connection.execute(SQL["write"], values))

    def _fenced(self, key: LeaseKey, call: Callable[[Any, bool], Any]) -> Any:
        try:
            return self._pool.retry(call)
        except FenceRefused as refused:
            raise errors.LeaseLost(key.task_id, key.epoch) from refused

    # Checkpoints

    def put(self, key: LeaseKey, run_id: str, worker_id: str, checkpoint: Checkpoint) -> None:
        """Make a super-step durable: its pending writes, its checkpoint and its event.

        Raises:
            LeaseLost: the fence refused; nothing was written.
        """
        # The hot path: one call for each super-step of every run.
        self.refuse_a_forked_child()
        parked: list[ParkedWrite] = []
        if key in self._parked or self._flushes:
            # Earlier ones may be on their way, which the checkpoint must not overtake; those that
            # came back go with it.
            with self._flushing:
                parked = self._take(key)
        c = checkpoint
        payload = step_payload(c.digest, c.ns, c.parent_id, c.source, c.step, len(parked))

        def send(connection: Any, again: bool) -> Any:  # noqa: FBT001 - Pool.retry's signature
            wall = self._clock.wall_us()
            reach(Point.CKPT_WRITE, key.task_id)
            if not again:
                # Not when it was sent before: it may have taken effect.
                steps = connection.notes.get(key)
                if steps is None:
                    steps = self._steps(connection, key, run_id, worker_id)
                step = steps.statement(c, parked, payload, wall)
                found = None if step is None else connection.ask_prepared(*step)
                if found is not None:
                    return steps.written(found)
                steps.forget()
            # Refused, or one of its rows is taken: this looks anew, and tells which.
            about = (*key, run_id, worker_id, c.checkpoint_id, payload, wall, again)
            checkpoint_ = (c.ns, c.parent_id, c.blob.decode(), c.metadata.decode())
            arrays = (*_arrays(c.channels), *_arrays(row[1:] for _, row in parked))
            return connection.execute(SQL["put"], (*about, *checkpoint_, *arrays)).fetchone()[0]

        try:
            seq = self._pool.retry(send)
        except FenceRefused as refused:
            # Its parked writes are refused with it, not kept for a later try.
            raise errors.LeaseLost(key.task_id, key.epoch) from refused
        except BaseException:
            self._park_again(key, parked)
            raise
        self.position = max(self.position, seq)

    def _steps(self, connection: Any, key: LeaseKey, run_id: str, worker_id: str) -> LeaseSteps:
        if self._mark is None:
            self._mark = int(connection.execute(SQL["mark"]).fetchone()[0])
        if len(connection.notes) >= _LEASES_MAX:
            connection.notes.clear()
        steps = connection.notes[key] = LeaseSteps(key, run_id, worker_id, self._mark)
        return steps

    def delete_thread(self, key: LeaseKey) -> None:
        """Forget a task's checkpoints and pending writes; its ledger stays.

        Raises:
            LeaseLost: the fence refused.
        """
        with self.write() as write:
            write.fence(key)
            for name in ("delete_checkpoints", "delete_channels", "delete_writes"):
                write.run(name, (key.task_id,))

    def close(self) -> None:
        """Make what is parked durable, and park no more; the sessions close the connections."""
        try:
            self.flush()
        finally:
            if self._linger is not None:
                self._linger.end()


def _arrays(rows: Iterable[Sequence[Any]]) -> tuple[list[list[str]], list[bytes | None]]:
    """Rows as the store's functions take them: their values, and all that stands before as text."""
    rows = tuple(rows)
    return [[str(value) for value in row[:-1]] for row in rows], [row[-1] for row in rows]
