"""What the rows of tasks and sessions mean, in whichever store they are."""

from __future__ import annotations

import json

from baton.domain.words import SessionState, TaskState
from baton.fleet.model import Row, Session, SessionSpec, Task


def task_of(row: Row) -> Task:
    """A row of ``baton_task``."""
    return Task(
        task_id=row["task_id"],
        pool=row["pool"],
        graph=row["graph"],
        state=TaskState(row["state"]),
        external=bool(row["external"]),
        epoch=row["epoch"],
        session_id=row["session_id"],
        worker_id=row["worker_id"],
        run_id=row["run_id"],
        input=None if row["input"] is None else (row["input_type"], row["input"]),
        input_digest=row["input_digest"],
        submitted_at=row["submitted_at"],
        ready_at=row["ready_at"],
        claimed_at=row["claimed_at"],
        ended_at=row["ended_at"],
        fruitless=row["fruitless"],
        deadline_us=row["deadline_us"],
        vacated_reason=row["vacated_reason"],
        error=row["error"],
    )


def session_of(row: Row) -> Session:
    """A row of the sessions' table."""
    spec = SessionSpec(
        session_id=row["session_id"],
        worker_id=row["worker_id"],
        pool=row["pool"],
        kind=row["kind"],
        interval_us=row["interval_us"],
        ttl_us=row["ttl_us"],
        concurrency=row["concurrency"],
        graphs=tuple(json.loads(row["graphs"])),
        version=row["version"],
        metrics_address=row["metrics_address"],
        host=row["host"],
        pid=row["pid"],
        start_ticks=row["start_ticks"],
        boot_id=row["boot_id"],
        pid_namespace=row["pid_namespace"],
        lock_path=row["lock_path"],
        lock_inode=row["lock_inode"],
    )
    return Session(
        spec=spec,
        state=SessionState(row["state"]),
        started_at=row["started_at"],
        beat=row["beat"],
        beat_at=row["beat_at"],
        ended_at=row["ended_at"],
        evidence=row["evidence"],
        last_sign_at=row["last_sign_at"],
        silence_us=row["silence_us"],
    )
