"""Claiming tasks: what was left behind first, then what waits."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from baton.domain.ledger import event_from_row, session_chain
from baton.domain.words import Evidence, TaskState
from baton.errors import LeaseLost, StoreError
from baton.fleet import moves
from baton.fleet.model import Claim, ClaimRequest, Claims, Loss, Row, Session, SessionSpec, Task
from baton.fleet.operating import Operating
from baton.fleet.points import Point, reach
from baton.fleet.rows import task_of
from baton.fleet.write import Write

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
            return Claims()
        # The witness rises before the epochs do, so that a restored copy rises above them.
        self._epoch_seen = max(self._epoch_seen, *(task.epoch + 1 for task in candidates))
        self.sessions.raise_witness(request.session_id, self._epoch_seen)
        reach(Point.CLAIM_BEFORE, request.session_id)
        with self.data.write() as write:
            # Inside the transaction, so that whoever settles our own loss has either done so
            # before, and we see it, or comes after, and sees what we took.
            if not self.sessions.may_claim(write, request.session_id):
                raise LeaseLost("", 0, "stopped")
            for session in ended.values():
                moves.record_loss(write, session)
            write.outcome = claims = _claim_each(write, request, candidates, ended)
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

    def _candidates(self, request: ClaimRequest, ended: Iterable[str]) -> list[Task]:
        """What there is to claim, as it looks before the transaction; each is looked at again."""
        held: list[Row] = []
        stalled: list[Row] = []
        pending: list[Row] = []
        with self.data.read() as cursor:
            for session_id in ended:
                held += cursor.execute(self.data.sql["held"], (session_id,)).fetchall()
            for graph in request.graphs:
                about = {
                    "pool": request.pool,
                    "graph": graph,
                    "session": request.session_id,
                    "now": self.clock.now_us(),
                    "avoid_us": request.avoid_us,
                    "limit": request.limit,
                }
                stalled += cursor.execute(self.data.sql["stalled"], about).fetchall()
                pending += cursor.execute(self.data.sql["pending"], about).fetchall()
        left_behind = [
            row
            for row in held
            if row["graph"] in request.graphs
            and row["pool"] == request.pool
            and not row["external"]
        ]
        pending.sort(key=lambda row: row["ready_at"])
        return [task_of(row) for row in (*left_behind, *stalled, *pending)]

    def _settle(self, ended: Iterable[Session]) -> None:
        """Put aside the ended sessions that have nothing left for workers to claim."""
        for session in ended:
            with self.data.write() as write:
                at_rest = self.sessions.at_rest(write, session.spec.session_id)
                rows = write.all("held", (session.spec.session_id,))
                recorded = moves.record_loss(write, session)
            if at_rest and recorded and all(row["external"] for row in rows):
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


def _claim_each(
    write: Write, request: ClaimRequest, candidates: list[Task], ended: dict[str, Session]
) -> Claims:
    won: list[Claim] = []
    aside: list[str] = []
    alone_waiting = False
    for found in candidates:
        row = write.free_task(found.task_id)
        if row is None:
            continue
        task = task_of(row)
        if (task.epoch, task.state) != (found.epoch, found.state):
            continue
        cause = moves.cause_of(write, row, task, ended.get(task.session_id or ""))
        if cause is None and task.state is TaskState.ACTIVE:
            continue
        fruitless = cause.fruitless if cause else 0
        if fruitless >= request.fruitless_max:
            moves.quarantine(write, task, cause, fruitless)
            aside.append(task.task_id)
            continue
        if fruitless and (request.running or won):
            alone_waiting = True
            continue
        won.append(
            moves.claim(
                write,
                row,
                cause,
                session_id=request.session_id,
                worker_id=request.worker_id,
                fruitless=fruitless,
                deadline_us=request.deadlines_us.get(task.graph),
            )
        )
        if fruitless or len(won) >= request.limit:
            break
    return Claims(won=tuple(won), quarantined=tuple(aside), alone_waiting=alone_waiting)
