"""What happens to a task inside a transaction: claimed, vacated, put aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from baton.domain.ledger import canonical_payload, session_chain, task_chain
from baton.domain.words import (
    FRUITLESS_REASONS,
    EventType,
    Evidence,
    SessionState,
    TakeoverReason,
    TaskState,
)
from baton.fleet.model import Claim, LeaseKey, Row, Session, Task
from baton.fleet.rows import task_of
from baton.fleet.write import Ends, Taken, TaskEvent, Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a run needs a successor, as the claim records it.

    Attributes:
        last_sign_at: store time of the last sign of life, or of progress for a stalled task.
        lost_at: store time at which the loss was established.
        fruitless: how many takeovers in a row brought nothing, counting this one.
    """

    reason: TakeoverReason
    session_id: str | None
    worker_id: str | None
    epoch: int
    last_sign_at: int
    lost_at: int
    evidence: str | None
    silence_us: int | None
    fruitless: int


class Progress(NamedTuple):
    """How far the holder of a task has come.

    Attributes:
        sign_at: store time of its last accepted write of any kind.
        work_at: store time of its last durable work, or of its claim.
        durable: whether it made anything durable.
    """

    sign_at: int
    work_at: int
    durable: bool

    def fruitless(self, task: Task, reason: TakeoverReason | None) -> int:
        """How many takeovers in a row brought nothing, if it is taken over now.

        Args:
            task: the task.
            reason: why; None if that says nothing about the task.
        """
        return 0 if self.durable else task.fruitless + (reason in FRUITLESS_REASONS)


def progress_of(write: Write, row: Row) -> Progress:
    """How far the holder of an active task has come."""
    return _progress(row, write.ends([row["task_id"]])[row["task_id"]])


def _progress(row: Row, ends: Ends) -> Progress:
    # Loading the state or recognising an old effect shows life, but brings the run no further.
    bare_at = row["wrote_at"] if row["wrote_epoch"] == row["epoch"] else 0
    return Progress(
        sign_at=max(ends.at, bare_at),
        work_at=max(ends.work_at, bare_at),
        durable=ends.work != EventType.CLAIMED or bare_at > 0,
    )


def cause_of(
    write: Write, row: Row, task: Task, holder: Session | None, ends: Ends | None = None
) -> Cause | None:
    """Why this task needs a takeover; None for a run that has not begun, or one that is well.

    Args:
        write: the claiming transaction.
        row: the task's row as this transaction sees it.
        task: the same, decoded.
        holder: the session that held it, if that session has ended.
        ends: the ends of its chain, for a caller that has asked for many at a time.
    """
    if task.state is TaskState.PENDING:
        return _vacated(row)
    progress = _progress(row, ends) if ends else progress_of(write, row)
    if holder is not None:
        return _ended(task, holder, progress)
    if task.deadline_us is not None and write.at - progress.work_at > task.deadline_us:
        return Cause(
            reason=TakeoverReason.PROGRESS_STALLED,
            session_id=task.session_id,
            worker_id=task.worker_id,
            epoch=task.epoch,
            last_sign_at=progress.work_at,
            lost_at=write.at,
            evidence=None,
            silence_us=write.at - progress.work_at,
            fruitless=progress.fruitless(task, TakeoverReason.PROGRESS_STALLED),
        )
    return None


def _vacated(row: Row) -> Cause | None:
    if row["vacated_reason"] is None:
        return None
    return Cause(
        reason=TakeoverReason(row["vacated_reason"]),
        session_id=row["vacated_session"],
        worker_id=row["vacated_worker"],
        epoch=row["vacated_epoch"] or 0,
        last_sign_at=row["vacated_at"],
        lost_at=row["vacated_at"],
        evidence=None,
        silence_us=0,
        # Whoever vacated it has settled the count.
        fruitless=row["fruitless"],
    )


def _ended(task: Task, holder: Session, progress: Progress) -> Cause:
    reason = TakeoverReason.DRAINED
    if holder.state is SessionState.LOST:
        silent = holder.evidence == Evidence.TTL.value
        reason = TakeoverReason.HEARTBEAT_LOST if silent else TakeoverReason.CRASHED
    ended_at = holder.ended_at or holder.beat_at
    # The end of a stopped session is planned, and known at once. An accepted write is a sign of
    # life too, so long as it came before the loss.
    last_sign_at = max(holder.last_sign_at or holder.beat_at, min(progress.sign_at, ended_at))
    return Cause(
        reason=reason,
        session_id=holder.spec.session_id,
        worker_id=holder.spec.worker_id,
        epoch=task.epoch,
        last_sign_at=min(last_sign_at, ended_at),
        lost_at=ended_at,
        evidence=holder.evidence,
        silence_us=holder.silence_us,
        fruitless=progress.fruitless(task, reason),
    )


def record_loss(write: Write, session: Session) -> bool:
    """Put the loss of a session into its chain, once; returns whether it is there.

    A loss wakes every claimant, and each of them does this: whoever finds another at it passes by.
    """
    if session.state is not SessionState.LOST:
        return True
    chain = session_chain(session.spec.session_id)
    told = write.one("session_told", (chain,))
    if told and told[0] == EventType.SESSION_LOST:
        return True
    if not write.free_chain(chain):
        return False
    # As in ``claim``: nothing is told before it was so.
    write.at = max(write.at, session.ended_at or 0)
    write.append_session(
        session.spec.session_id,
        session.spec.worker_id,
        EventType.SESSION_LOST,
        {
            "evidence": session.evidence,
            "last_sign_at": session.last_sign_at,
            "lost_at": session.ended_at,
            "silence_us": session.silence_us,
        },
        reason=session.evidence,
    )
    return True


class Grant(NamedTuple):
    """A task about to be given to a session, and why."""

    task: Task
    cause: Cause | None
    run_id: str
    fruitless: int = 0
    deadline_us: int | None = None


def claim(
    write: Write, session_id: str, worker_id: str, grants: Sequence[Grant]
) -> tuple[Claim, ...]:
    """Give tasks to a session, each under a new epoch, and record why."""
    if not grants:
        return ()
    # A server's clock may have stepped back since the loss; nobody claims before it.
    write.at = max([write.at, *(g.cause.lost_at for g in grants if g.cause)])
    given = write.take(
        session_id,
        worker_id,
        [Taken(g.task.task_id, g.run_id, g.fruitless, g.deadline_us) for g in grants],
    )
    write.append_tasks(
        EventType.CLAIMED,
        session_id,
        worker_id,
        [
            TaskEvent(
                g.task.task_id,
                g.run_id,
                g.task.epoch + 1,
                g.cause.reason.value if g.cause else None,
                canonical_payload(_claim_data(g.task, g.cause, g.fruitless, g.deadline_us)),
            )
            for g in grants
        ],
    )
    return tuple(_claimed(write, session_id, grant, given[grant.task.task_id]) for grant in grants)


def _claimed(write: Write, session_id: str, grant: Grant, given: Sequence[Any]) -> Claim:
    task, cause = grant.task, grant.cause
    input_type, input_, resume_type, resume = given
    return Claim(
        key=LeaseKey(task.task_id, task.epoch + 1, session_id),
        graph=task.graph,
        run_id=grant.run_id,
        claimed_at=write.at,
        input=None if input_ is None else (input_type, input_),
        resume=None if resume is None else (resume_type, resume),
        reason=cause.reason if cause else None,
        previous_worker=cause.worker_id if cause else None,
        alone=grant.fruitless > 0,
    )


def _claim_data(
    task: Task, cause: Cause | None, fruitless: int, deadline_us: int | None
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "deadline_us": deadline_us,
        "external": task.external,
        "fruitless": fruitless,
        "graph": task.graph,
        "pool": task.pool,
        "ready_at": task.ready_at,
    }
    if cause is not None:
        data |= {
            "evidence": cause.evidence,
            "last_sign_at": cause.last_sign_at,
            "lost_at": cause.lost_at,
            "previous_epoch": cause.epoch,
            "previous_session": cause.session_id,
            "previous_worker": cause.worker_id,
            "silence_us": cause.silence_us,
        }
    return data


def quarantine(write: Write, task: Task, cause: Cause | None, fruitless: int) -> None:
    """Put a task aside that has taken one worker after another with it."""
    write.run("quarantine", {"task": task.task_id, "at": write.at, "fruitless": fruitless})
    write.append_task(
        task.task_id,
        write.head(task_chain(task.task_id)),
        EventType.QUARANTINED,
        {
            "fruitless": fruitless,
            "previous_session": cause.session_id if cause else None,
            "previous_worker": cause.worker_id if cause else None,
        },
        run_id=task.run_id,
        epoch=task.epoch + 1,
        reason=cause.reason.value if cause else None,
    )


def vacate(
    write: Write,
    row: Row,
    type_: EventType,
    reason: TakeoverReason,
    data: dict[str, Any] | None = None,
    *,
    keep_out: bool = False,
    suspect: bool = True,
) -> None:
    """Leave a run unfinished, for another session to continue.

    An operator's hand raises the epoch, because the holder has not agreed.

    Args:
        write: the open transaction.
        row: the task, which is active.
        type_: the event that tells of it.
        reason: why the run is left.
        data: the event's payload.
        keep_out: whether the holder may not claim it again for a TTL.
        suspect: whether the task may be why it is left; an absent store says nothing of it.
    """
    task = task_of(row)
    raise_by = int(reason is TakeoverReason.OPERATOR)
    write.run(
        "vacate",
        {
            "task": task.task_id,
            "at": write.at,
            "reason": reason.value,
            "raise_by": raise_by,
            "avoid": task.session_id if keep_out else None,
            "fruitless": progress_of(write, row).fruitless(task, reason if suspect else None),
        },
    )
    write.append_task(
        task.task_id,
        write.head(task_chain(task.task_id)),
        type_,
        data or {},
        run_id=task.run_id,
        worker_id=task.worker_id,
        session_id=task.session_id,
        epoch=task.epoch + raise_by,
        reason=reason.value,
    )
