"""What an operator may do to a task; each act is an event of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from baton.domain.ledger import task_chain
from baton.domain.transitions import OPERATOR_ACTIONS
from baton.domain.words import EventType, TakeoverReason, TaskState
from baton.errors import BadInput, IllegalTransition, UnknownTask
from baton.fleet import moves
from baton.fleet.model import Row, Typed
from baton.fleet.reading import Reading
from baton.fleet.write import Write


class Operating(Reading):
    """The verbs of ``baton tasks`` and ``baton store``, as transactions."""

    #: Makes run ids; random in production, seeded under simulation.
    _new_id: Callable[[], str]

    def request_resume(self, task_id: str, value: Typed, value_digest: str) -> str:
        """Store the value an interrupt waits for and make the task pending.

        Returns:
            The id of the run that begins.

        Raises:
            UnknownTask: there is no such task.
            IllegalTransition: it is not interrupted.
        """
        with self.data.write() as write:
            row = _existing(write, task_id)
            _legal(row, "resume", (TaskState.INTERRUPTED,))
            return self._reopen(
                write, row, EventType.RESUME_REQUESTED, {"value_digest": value_digest}, value
            )

    def retry(self, task_id: str) -> str:
        """Begin a new run of a task that failed or was quarantined, from its last checkpoint."""
        with self.data.write() as write:
            row = _existing(write, task_id)
            _legal(row, "retry", OPERATOR_ACTIONS["retry"][0])
            if row["pruned"]:
                detail = f"task {task_id!r} was pruned, its checkpoints with it; submit it anew"
                raise BadInput(detail=f"{detail} under another id")
            return self._reopen(write, row, EventType.OPERATOR_ACTION, {"action": "retry"}, None)

    def _reopen(
        self,
        write: Write,
        row: Row,
        type_: EventType,
        data: dict[str, Any],
        value: Typed | None,
    ) -> str:
        run_id = self._new_id()
        resume_type, resume = value or (None, None)
        about = {"task": row["task_id"], "run": run_id, "at": write.at}
        write.run("reopen", {**about, "resume_type": resume_type, "resume": resume})
        # A task that was over is met again: its reader may have forgotten where it belongs.
        data = {**data, "graph": row["graph"], "pool": row["pool"]}
        self._append_operator(write, row, type_, data, run_id=run_id)
        return run_id

    def take_away(self, task_id: str, action: str) -> None:
        """Take a lease from its holder: ``release`` for anybody, ``takeover`` for somebody else."""
        with self.data.write() as write:
            row = _existing(write, task_id)
            _legal(row, action, OPERATOR_ACTIONS[action][0])
            moves.vacate(
                write,
                row,
                EventType.OPERATOR_ACTION,
                TakeoverReason.OPERATOR,
                {"action": action},
                keep_out=action == "takeover",
            )

    def cancel(self, task_id: str) -> None:
        """End a task for good; its holder, if any, is refused from now on."""
        with self.data.write() as write:
            row = _existing(write, task_id)
            _legal(row, "cancel", OPERATOR_ACTIONS["cancel"][0])
            about = {"task": task_id, "at": write.at}
            write.run("cancel", {**about, "error": "cancelled by an operator"})
            epoch = row["epoch"] + 1
            data = {"action": "cancel"}
            self._append_operator(write, row, EventType.OPERATOR_ACTION, data, epoch=epoch)

    def accept_restore(self) -> int:
        """Raise every epoch above whatever this store had given out; returns the number of tasks.

        Raises:
            BadInput: workers are still running on it.
        """
        now, live = self.peers()
        fresh = [s.spec.worker_id for s in live if now - s.beat_at < s.spec.ttl_us]
        if fresh:
            raise BadInput(detail=f"workers {', '.join(fresh)} are running; stop them first")
        position, epoch = self.sessions.witness()
        with self.data.write() as write:
            rows = write.all("all_task_ids")
            before = {row["task_id"]: row for row in rows}
            write.run("raise_epochs", {"above": epoch, "at": write.at})
            data = {
                "action": "accept_restore",
                "witness_epoch": epoch,
                "witness_position": position,
            }
            for task_id in before:
                row = write.task(task_id)
                self._append_operator(write, row, EventType.OPERATOR_ACTION, data)
        self.sessions.accept_restore(self.store_id, self.data.position)
        return len(before)

    @staticmethod
    def _append_operator(
        write: Write,
        row: Row,
        type_: EventType,
        data: dict[str, Any],
        *,
        run_id: str | None = None,
        epoch: int | None = None,
    ) -> None:
        write.append_task(
            row["task_id"],
            write.head(task_chain(row["task_id"])),
            type_,
            data,
            run_id=run_id or row["run_id"],
            epoch=row["epoch"] if epoch is None else epoch,
            reason=TakeoverReason.OPERATOR.value,
        )


def _existing(write: Write, task_id: str) -> Row:
    row: Row | None = write.task(task_id)
    if row is None:
        raise UnknownTask(task_id=task_id)
    return row


def _legal(row: Row, verb: str, states: Iterable[TaskState]) -> None:
    if row["state"] not in {state.value for state in states}:
        raise IllegalTransition(
            task_id=row["task_id"],
            state=row["state"],
            verb=verb,
            legal=" or ".join(sorted(state.value for state in states)),
        )
