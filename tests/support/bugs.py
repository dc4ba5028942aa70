"""Bugs to plant in production code and in its SQL, and in the harness that judges it.

Nothing in production knows of them: a test puts each in place and takes it out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest

from baton.domain import continuity, ledger
from baton.domain.continuity import ASSERTIONS, registry
from baton.domain.continuity.tally import Tally
from baton.domain.folds import Fold
from baton.domain.words import EventType, TakeoverReason, TaskState
from baton.errors import LeaseLost
from baton.fleet import (
    claiming,
    driver,
    effects,
    moves,
    protocol,
    saver,
    sqlite_data,
    sqlite_sessions,
    sqlite_write,
)
from baton.fleet import messages as m
from baton.fleet.lease import LiveSession
from baton.fleet.model import EPOCH, LeaseKey
from baton.fleet.points import Point, reach
from baton.fleet.sqlite_data import DataFile
from baton.fleet.sqlite_write import SqliteWrite
from baton.fleet.transactions import Store
from baton.fleet.write import TaskEvent
from baton.observe.tail import LedgerTail
from baton.prove.scenarios.model import Do
from baton.prove.sim import faults, machine, worker
from baton.prove.sim.clocks import EPOCH_US

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One planted bug.

    Attributes:
        name: what it is called.
        what: what the broken code does, in one sentence.
        plant: puts it in place.
        harness: it is in the harness and not in what is judged.
        same: why nothing can tell it from healthy code; empty for a bug that must be caught.
    """

    name: str
    what: str
    plant: Plant
    harness: bool = False
    same: str = ""


def replaced(owner: Any, name: str, value: Any) -> Plant:
    """Some part is another."""
    return lambda patch: patch.setattr(owner, name, value)


def edited(statements: dict[str, str], name: str, old: str, new: str) -> Plant:
    """A statement has something else in it."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        assert old in statements[name]
        patch.setitem(statements, name, statements[name].replace(old, new))

    return plant


# The fence


def _head(self: SqliteWrite, key: LeaseKey) -> Any:
    return self.head(f"task:{key.task_id}")


@contextmanager
def _open_fence() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteWrite, "fence", _head)
        patch.setattr(SqliteWrite, "fence_only", lambda self, key: None)  # noqa: ARG005
        yield


def _unfenced(owner: Any, *names: str) -> Plant:
    """Some methods write without the fence."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        for name in names:
            real = getattr(owner, name)

            def write(*args: Any, _real: Any = real, **more: Any) -> Any:
                with _open_fence():
                    return _real(*args, **more)

            patch.setattr(owner, name, write)

    return plant


def _name_fence(patch: pytest.MonkeyPatch) -> None:
    def fence(self: SqliteWrite, key: LeaseKey) -> Any:
        row = self.one("session_worker", (f"session:{key.session_id}",))
        if self.task(key.task_id)["worker_id"] != (row[0] if row else None):
            raise LeaseLost(key.task_id, key.epoch)
        return _head(self, key)

    patch.setattr(SqliteWrite, "fence", fence)
    patch.setattr(SqliteWrite, "fence_only", lambda self, key: fence(self, key) and None)


def _cas_only(patch: pytest.MonkeyPatch) -> None:
    def fence(self: SqliteWrite, key: LeaseKey) -> Any:
        if self.task(key.task_id)["state"] != TaskState.ACTIVE:
            raise LeaseLost(key.task_id, key.epoch)
        return _head(self, key)

    patch.setattr(SqliteWrite, "fence", fence)
    patch.setattr(SqliteWrite, "fence_only", lambda self, key: fence(self, key) and None)


def _stale_release(patch: pytest.MonkeyPatch) -> None:
    def release(self: Store, claim: Any, type_: EventType, reason: TakeoverReason) -> None:
        with self.data.write() as write:
            moves.vacate(write, write.task(claim.task_id), type_, reason)

    patch.setattr(Store, "release", release)


def _foreign_end(patch: pytest.MonkeyPatch) -> None:
    _unfenced(Store, "finish")(patch)


# Claims and epochs


def _epoch_reuse(patch: pytest.MonkeyPatch) -> None:
    edited(sqlite_write.SQL, "claim", "epoch = epoch + 1", "epoch = max(epoch, 1)")(patch)
    patch.setattr(moves, "LeaseKey", lambda task, epoch, by: LeaseKey(task, max(epoch - 1, 1), by))
    patch.setattr(
        moves,
        "TaskEvent",
        lambda task, run, epoch, *more: TaskEvent(task, run, max(epoch - 1, 1), *more),
    )


def _epoch_falls(patch: pytest.MonkeyPatch) -> None:
    """After the restore of a copy, epochs go on from where the copy was."""
    patch.setattr(sqlite_sessions.SessionsFile, "witness", lambda self: (0, 0))  # noqa: ARG005


def _nonatomic(patch: pytest.MonkeyPatch) -> None:
    """What was found before the transaction is believed inside it."""
    seen: dict[tuple[str, str], Any] = {}
    candidates = claiming.Claiming._candidates  # noqa: SLF001 - a bug is planted there
    claim = claiming.Claiming.claim

    def look(self: Any, request: Any, ended: Any) -> Any:
        found = candidates(self, request, ended)
        for task in found:
            seen[request.session_id, task.task_id] = self.data.rows("task", (task.task_id,))[0]
        return found

    def begin(self: Any, request: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(
                SqliteWrite,
                "free_tasks",
                lambda _, found, limit: [
                    seen[request.session_id, one.task_id] for one in found[:limit]
                ],
            )
            return claim(self, request)

    patch.setattr(claiming.Claiming, "_candidates", look)
    patch.setattr(claiming.Claiming, "claim", begin)


def _forgets_loss(patch: pytest.MonkeyPatch) -> None:
    real = claiming.Claiming._candidates  # noqa: SLF001
    patch.setattr(
        claiming.Claiming, "_candidates", lambda self, request, _: real(self, request, ())
    )


# Sessions and time


def _client_clock(patch: pytest.MonkeyPatch) -> None:
    def look(self: Any) -> m.Event:
        _, sessions = self._store.peers()
        now_us = EPOCH_US + self._process.clock.now_us()
        return m.PeersSeen(now_us, tuple(sessions))

    patch.setattr(driver.Driver, "_look_at_peers", look)
    _always_buries(patch)


def _always_buries(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(protocol.WorkerProtocol, "_may_bury", property(lambda _: True))


# Steps, results and effects


def _ack_before_durable(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint is called durable, and is written when the next one or a read comes."""
    real, read = DataFile.put, DataFile.read

    def late(self: Any, wanted: LeaseKey | None = None) -> None:
        waiting = self.__dict__.setdefault("_late", {})
        for key in [key for key in waiting if wanted in (None, key)]:
            real(self, key, *waiting.pop(key))

    def put(self: DataFile, key: LeaseKey, *rest: Any) -> None:
        late(self, key)
        if rest[-1].step >= 1:
            self.__dict__["_late"][key] = rest
        else:
            real(self, key, *rest)

    def look(self: DataFile) -> Any:
        late(self)
        return read(self)

    patch.setattr(DataFile, "put", put)
    patch.setattr(DataFile, "read", look)


def _resume_plus_one(patch: pytest.MonkeyPatch) -> None:
    real = saver.FencedSqliteSaver.get_tuple

    def read(self: Any, config: Any) -> Any:
        found = real(self, config)
        if found is not None and _taken_over(config) and found.metadata["step"] == 2:
            found.metadata["step"] = 3
        return found

    patch.setattr(saver.FencedSqliteSaver, "get_tuple", read)


def _resume_minus_one(patch: pytest.MonkeyPatch) -> None:
    real = saver.FencedSqliteSaver.get_tuple

    def read(self: Any, config: Any) -> Any:
        found = real(self, config)
        if found is None or not _taken_over(config) or found.metadata["step"] != 2:
            return found
        return real(self, found.parent_config or config) or found

    patch.setattr(saver.FencedSqliteSaver, "get_tuple", read)


def _taken_over(config: Any) -> bool:
    return bool(config["configurable"].get(EPOCH, 1) > 1)


def _no_key(patch: pytest.MonkeyPatch) -> None:
    real, number = effects.key_of, count()
    patch.setattr(
        machine, "key_of", lambda task, ns, call, key: real(task, ns, call, f"{key}-{next(number)}")
    )


def _no_record(patch: pytest.MonkeyPatch) -> None:
    def record(self: Any, result: object) -> Any:
        del self
        return effects._SERDE.dumps_typed(result)  # noqa: SLF001

    patch.setattr(effects.Effect, "_record", record)


def _recorded_twice(patch: pytest.MonkeyPatch) -> None:
    def record(self: Store, claim: Any, worker: str, key: str, step: str, result: Any) -> None:
        with self.data.write() as write:
            head = write.fence(claim.key)
            if write.one("effect", (key,)) is None:
                about = (key, claim.task_id, claim.key.epoch, claim.key.session_id)
                write.run("insert_effect", (*about, write.at, *result))
            data = {"effect_key": key}
            self._append(write, claim, worker, head, EventType.EFFECT, data, step_id=step)

    patch.setattr(Store, "record_effect", record)


def _other_digest(patch: pytest.MonkeyPatch) -> None:
    real = ledger.step_payload
    patch.setattr(sqlite_data, "step_payload", lambda _, *more: real("0" * 64, *more))


def _loses_values(patch: pytest.MonkeyPatch) -> None:
    """A successor starts from the right step with nothing in it."""
    real = saver.FencedSqliteSaver.get_tuple

    def read(self: Any, config: Any) -> Any:
        found = real(self, config)
        if found is not None and _taken_over(config) and found.metadata["step"] > 0:
            found.checkpoint["channel_values"]["log"] = found.checkpoint["channel_values"]["log"][
                :1
            ]
        return found

    patch.setattr(saver.FencedSqliteSaver, "get_tuple", read)


def _unchained(patch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = ledger.StepSealer.seal

    def seal(self: ledger.StepSealer, *fields: Any) -> Any:
        *own, _ = fields
        return real(self, *own, ledger.GENESIS)

    patch.setattr(ledger.StepSealer, "seal", seal)


def _counts_twice(patch: pytest.MonkeyPatch) -> None:
    real = Fold.apply

    def take(self: LedgerTail, event: Any) -> None:
        real(self._fold, event)
        if event.type == EventType.STEP:
            self._fold._step(event)  # noqa: SLF001
        self._position, self._last = event.seq, event

    patch.setattr(LedgerTail, "_take", take)


def _done_without_end(patch: pytest.MonkeyPatch) -> None:
    """A run is called done although its state has calls left."""
    real = machine.PlayedGraph.get_state
    patch.setattr(
        machine.PlayedGraph,
        "get_state",
        lambda self, config: machine.State(real(self, config).values, ()),
    )


def _untried(self: effects.Effect) -> None:
    """An effect is looked for, and never found."""
    self.lease.check()
    reach(Point.EFFECT_BEFORE, self.lease.task_id)


def _slow_kernel(patch: pytest.MonkeyPatch) -> None:
    real = driver.Driver._on_gone  # noqa: SLF001

    def on_gone(self: Any, *told: Any) -> None:
        self._process.later(2_000_000, lambda: real(self, *told))

    patch.setattr(worker.SimDriver, "_on_gone", on_gone)


def _impatient(patch: pytest.MonkeyPatch) -> None:
    real = moves.cause_of

    def cause_of(write: Any, row: Any, task: Any, *more: Any) -> Any:
        return real(write, row, replace(task, deadline_us=task.deadline_us or 1), *more)

    patch.setattr(moves, "cause_of", cause_of)
    for old in ("deadline_us IS NOT NULL", "claimed_at + deadline_us < :now"):
        edited(sqlite_write.SQL, "stalled", old, "TRUE")(patch)


# The harness


def _dud(self: Any, plan: Any, process: Any, about: str) -> None:
    """A fault that is noted and does nothing."""
    del self, plan, process, about


def _no_sigkill(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(faults._ACTS, Do.SIGKILL, _dud)  # noqa: SLF001


def _blind(patch: pytest.MonkeyPatch) -> None:
    """A checker that looks at nothing, and has no complaint."""
    blind = replace(ASSERTIONS["C4"], hold=lambda _: Tally())
    patch.setitem(registry.FOUND, "C4", blind)
    patch.setitem(continuity.ASSERTIONS, "C4", blind)


BUGS: tuple[Bug, ...] = (
    Bug(
        name="no_fence_ckpt",
        what="a checkpoint is written without asking whose the lease is",
        plant=_unfenced(DataFile, "_put", "_write_parked"),
    ),
    Bug(
        name="no_fence_sink",
        what="an effect is looked up and recorded without asking whose the lease is",
        plant=_unfenced(Store, "effect", "record_effect"),
    ),
    Bug(name="name_fence", what="the fence asks for the worker's name", plant=_name_fence),
    Bug(
        name="cas_only", what="the fence asks only whether somebody holds the task", plant=_cas_only
    ),
    Bug(name="epoch_reuse", what="a takeover keeps the epoch that it found", plant=_epoch_reuse),
    Bug(
        name="epoch_falls",
        what="nobody remembers the epochs that were given out after the copy",
        plant=_epoch_falls,
    ),
    Bug(
        name="client_clock",
        what="silence is measured by the claimant's own clock",
        plant=_client_clock,
    ),
    Bug(
        name="nonatomic_claim",
        what="a claim believes what it saw before its transaction",
        plant=_nonatomic,
    ),
    Bug(
        name="ack_before_durable",
        what="a checkpoint is called durable before it is",
        plant=_ack_before_durable,
    ),
    Bug(name="resume+1", what="a successor skips the step that was due", plant=_resume_plus_one),
    Bug(name="resume-1", what="a successor goes back by a step", plant=_resume_minus_one),
    Bug(name="no_idem", what="an effect has another key on each try", plant=_no_key),
    Bug(name="no_record", what="the result of an effect is not recorded", plant=_no_record),
    Bug(
        name="no_effect_lookup",
        what="an effect is tried again although its result is recorded",
        plant=replaced(effects.Effect, "_find", _untried),
    ),
    Bug(
        name="recorded_twice",
        what="the record of an effect does not ask for an earlier one",
        plant=_recorded_twice,
        same=(
            "each record follows a lookup under the same lease, and the fence lets no other lease"
            " write in between; the question is asked a second time for callers that do not look"
        ),
    ),
    Bug(
        name="no_reclaim",
        what="nobody looks for what a lost session left behind",
        plant=_forgets_loss,
    ),
    Bug(
        name="stale_release", what="a release does not ask whose the lease is", plant=_stale_release
    ),
    Bug(
        name="foreign_end",
        what="the end of a run does not ask whose the lease is",
        plant=_foreign_end,
    ),
    Bug(
        name="renew_after_expiry",
        what="a session that was declared lost may renew itself",
        plant=edited(
            sqlite_sessions._SQL,  # noqa: SLF001
            "heartbeat",
            "AND state NOT IN ('lost', 'stopped')",
            "AND state <> 'stopped'",
        ),
    ),
    Bug(
        name="no_beat_check",
        what="a session is declared lost although it has renewed since it was looked at",
        plant=edited(
            sqlite_sessions._SQL,  # noqa: SLF001
            "lose",
            "AND (:beat IS NULL OR beat = :beat)",
            "AND (:beat IS NULL OR :beat = :beat)",
        ),
    ),
    Bug(
        name="always_buries",
        what="a worker that has just slept declares its peers lost",
        plant=_always_buries,
    ),
    Bug(
        name="no_self_fence",
        what="a worker in doubt goes on starting nodes",
        plant=replaced(LiveSession, "confirmed", property(lambda _: True)),
    ),
    Bug(
        name="slow_kernel",
        what="the kernel's word of a death is heeded two seconds late",
        plant=_slow_kernel,
    ),
    Bug(
        name="impatient",
        what="a task is taken from whoever has just begun to work on it",
        plant=_impatient,
    ),
    Bug(
        name="lost_writes",
        what="the results of nodes are not kept beside their checkpoint",
        plant=replaced(DataFile, "_insert_writes", staticmethod(lambda *_: None)),
    ),
    Bug(name="other_digest", what="a step's event has another digest", plant=_other_digest),
    Bug(
        name="loses_values",
        what="a successor begins at the right step with nothing in it",
        plant=_loses_values,
    ),
    Bug(name="unchained", what="a step is sealed to nothing before it", plant=_unchained),
    Bug(
        name="no_poison",
        what="fruitless takeovers are not counted",
        plant=replaced(moves.Progress, "fruitless", lambda *_: 0),
    ),
    Bug(name="early_done", what="a run is called done with calls left", plant=_done_without_end),
    Bug(name="counts_twice", what="the exporter counts a step twice", plant=_counts_twice),
    Bug(
        name="dud_fault",
        what="a SIGKILL is noted and kills nobody",
        plant=_no_sigkill,
        harness=True,
    ),
    Bug(
        name="blind_checker",
        what="a checker looks at nothing and has no complaint",
        plant=_blind,
        harness=True,
    ),
)

BY_NAME = {bug.name: bug for bug in BUGS}
