"""Claiming tasks: what was left behind first, then what waits."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from baton import errors
from baton.domain.ledger import event_from_row, session_chain
from baton.domain.words import Evidence, TaskState
from baton.errors import StoreError
from baton.fleet import moves
from baton.fleet.model import ClaimRequest, Claims, Loss, Row, Session, SessionSpec
from baton.fleet.operating import Operating
from baton.fleet.points import Point, reach
from baton.fleet.rows import task_of
from baton.fleet.write import Ends, Found, Write

#: How many tasks one transaction claims at most. It bounds for how long the store's one writer, or
#: the rows of a lost session, are ours: some ten milliseconds, and in a freeze no more than these.
#: Smaller batches cost more than their commits, because the runs of the first one begin while the
#: next is still to be claimed.
CLAIM_BATCH = 256

#: So many sessions are remembered as met; then it begins anew.
_MET_MAX = 10_000


class Claiming(Operating):
    """How a session comes by tasks, its own loss and that of others included."""

    #: Sessions that have held tasks, and that the sessions file knew.
    _met: set[str]

    def claim(self, request: ClaimRequest) -> Claims:
        """Claim tasks for a session: first those left behind, then those that wait.

        Raises:
            LeaseLost: the claimant's own session is over.
        """
        holders = {row["session_id"] for row in self.data.rows("holders")}
        for session_id in sorted(holders - self._met):
            self._known(session_id)
        # Whoever was met once stays: most of them hold nothing for a moment between two tasks.
        self._met = holders if len(self._met) > _MET_MAX else self._met | holders
        ended = {session.spec.session_id: session for session in self.sessions.unsettled()}
        candidates = self._candidates(request, ended)
        if not candidates:
            self._settle(ended.values())
            return Claims(holders=frozenset(holders))
        # The witness rises before the epochs do, so that a restored copy rises above them.
        self._epoch_seen = max(self._epoch_seen, *(found.epoch + 1 for found in candidates))
        self.sessions.raise_witness(request.session_id, self._epoch_seen)
        reach(Point.CLAIM_BEFORE, request.session_id)
        with self.data.write() as write:
            # Inside the transaction, so that whoever settles our own loss has either done so
            # before, and we see it, or comes after, and sees what we took.
            if not self.sessions.may_claim(write, request.session_id):
                raise errors.LeaseLost("", 0, "stopped")
            for session in ended.values():
                moves.record_loss(write, session)
            claims = _claim_batch(write, request, candidates, ended)
            write.outcome = claims = replace(claims, holders=frozenset(holders))
        for claim in claims.won:
            reach(Point.CLAIM_AFTER, claim.task_id)
        # What is won is won; whoever claims next can settle as well.
        with suppress(StoreError):
            self._settle(ended.values())
        return claims

    def _known(self, session_id: str) -> Session:
        """A session that holds or held a task.

        The sessions file is not synced, so its last rows may go with the host. Such a session is
        entered again as its chain tells of it, and as lost: its process went with the host too.
        """
        found = self.sessions.get(session_id)
        if found is not None:
            return found
        with self.data.write() as write:
            # Under the write lock: another claimant may be entering the same one.
            if self.sessions.get(session_id) is None:
                self.sessions.start(*_as_told(write, session_id))
        self.sessions.lose(Loss(session_id=session_id, evidence=Evidence.TTL))
        return self._known(session_id)

    def _candidates(self, request: ClaimRequest, ended: Iterable[str]) -> list[Found]:
        """What there is to claim, as it looks before the transaction; each is looked at again."""
        left_behind: list[Row] = []
        stalled: list[Row] = []
        pending: list[Row] = []
        with self.data.read() as cursor:
            for session_id in ended:
                about_it = (session_id, request.pool)
                left = cursor.execute(self.data.sql["left_behind"], about_it).fetchall()
                left_behind += (row for row in left if row["graph"] in request.graphs)
            for graph in request.graphs:
                about = {
                    "pool": request.pool,
                    "graph": graph,
                    "session": request.session_id,
                    "now": self.clock.now_us(),
                    "avoid_us": request.avoid_us,
                    "limit": min(request.limit, CLAIM_BATCH),
                }
                stalled += cursor.execute(self.data.sql["stalled"], about).fetchall()
                pending += cursor.execute(self.data.sql["pending"], about).fetchall()
        pending.sort(key=lambda row: row["ready_at"])
        # One that was left behind may be beyond its deadline as well.
        found = {row["task_id"]: row for row in (*left_behind, *stalled, *pending)}
        return [Found(task_id, row["epoch"], row["state"]) for task_id, row in found.items()]

    def _settle(self, ended: Iterable[Session]) -> None:
        """Put aside the ended sessions that have nothing left for workers to claim."""
        for session in ended:
            with self.data.write() as write:
                at_rest = self.sessions.at_rest(write, session.spec.session_id)
                left = write.one("leaves_any", (session.spec.session_id,))
                recorded = moves.record_loss(write, session)
            if at_rest and recorded and left is None:
                self.sessions.settle(session.spec.session_id)


def _as_told(write: Write, session_id: str) -> tuple[SessionSpec, int]:
    """A session and its start, from the first event of its chain."""
    started = event_from_row(tuple(write.all("chain", (session_chain(session_id),))[0]))
    about = started.data
    spec = SessionSpec(
        session_id=session_id,
        worker_id=started.worker_id or "",
        pool=about["pool"],
        kind=about["kind"],
        interval_us=about["interval_us"],
        ttl_us=about["ttl_us"],
        version=about["version"],
        host=about["host"],
        pid=about["pid"],
    )
    return spec, started.at


def _claim_batch(
    write: Write, request: ClaimRequest, candidates: list[Found], ended: dict[str, Session]
) -> Claims:
    """Claim what may be claimed, up to what was asked for and to the bound of a transaction."""
    batch = _Batch(write, request, ended)
    left = candidates
    while left and (room := batch.room()):
        rows = write.free_tasks(left, room)
        active = [row["task_id"] for row in rows if row["state"] == TaskState.ACTIVE]
        ends = write.ends(active)
        for row in rows:
            batch.consider(row, ends.get(row["task_id"]))
        if len(rows) < room:
            break
        # Whatever stands before the last of them was taken by others.
        last = rows[-1]["task_id"]
        left = left[1 + next(n for n, found in enumerate(left) if found.task_id == last) :]
    return batch.claims()


class _Batch:
    """What one transaction claims."""

    def __init__(self, write: Write, request: ClaimRequest, ended: dict[str, Session]) -> None:
        self._write, self._request, self._ended = write, request, ended
        self._grants: list[moves.Grant] = []
        self._aside: list[str] = []
        self._alone_waiting = False

    def room(self) -> int:
        """How many more it may claim; whoever takes a suspect task takes nothing beside it."""
        if self._grants and self._grants[-1].fruitless:
            return 0
        return min(self._request.limit, CLAIM_BATCH) - len(self._grants)

    def consider(self, row: Row, ends: Ends | None) -> None:
        """Look at a task that is ours until the end of the transaction."""
        if not self.room():
            return
        task = task_of(row)
        holder = self._ended.get(task.session_id or "")
        cause = moves.cause_of(self._write, row, task, holder, ends)
        if cause is None and task.state is TaskState.ACTIVE:
            return
        fruitless = cause.fruitless if cause else 0
        if fruitless >= self._request.fruitless_max:
            moves.quarantine(self._write, task, cause, fruitless)
            self._aside.append(task.task_id)
        elif fruitless and (self._request.running or self._grants):
            self._alone_waiting = True
        else:
            deadline_us = self._request.deadlines_us.get(task.graph)
            self._grants.append(moves.Grant(task, cause, task.run_id, fruitless, deadline_us))

    def claims(self) -> Claims:
        """Claim them."""
        request = self._request
        return Claims(
            won=moves.claim(self._write, request.session_id, request.worker_id, self._grants),
            quarantined=tuple(self._aside),
            alone_waiting=self._alone_waiting,
            more=len(self._grants) == CLAIM_BATCH < request.limit,
        )
