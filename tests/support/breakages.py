"""What breaks each guardrail of the charter: a small change to the code, or to a file it ships.

The broken thing is Baton itself, as somebody might write it by mistake; the check that sees it is
one of those that the charter names for the row. What concerns the fleet's writes and sessions is
here; ``breakages_told.py`` has LangGraph and the contract, ``breakages_shown.py`` evidence and
secrets.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.integration import test_writelock as locks
from tests.support.breakages_shown import SHOWN
from tests.support.breakages_told import TOLD
from tests.support.breaking import Breakage, Plant, both, restated, rewritten
from tests.support.house import SECOND

from baton.domain.words import TakeoverReason, TaskState
from baton.fleet import (
    evidence,
    moves,
    pacing,
    protocol,
    saver,
    sqlite_files,
    sqlite_sessions,
    sqlite_write,
    writelock,
)
from baton.fleet import messages as m
from baton.fleet.driver import Driver
from baton.fleet.effects import Effect
from baton.fleet.lease import lease_of
from baton.fleet.model import EPOCH, SESSION, LeaseKey
from baton.fleet.points import Point, reach
from baton.fleet.runner import Run
from baton.prove.sim.clocks import EPOCH_US

_SESSIONS = sqlite_sessions._SQL  # noqa: SLF001 - statements are broken there
_PROTOCOL = protocol.WorkerProtocol
_I, _U = "tests/integration", "tests/unit"


def any_session(patch: pytest.MonkeyPatch) -> None:
    """The fence asks for the epoch, and not for who holds it."""
    for name in ("_FENCE", "_FENCE_ONLY"):
        text = getattr(sqlite_write, name)
        anybody = re.sub(r"(t\.)?session_id = \?", "? IS NOT NULL", text)
        assert anybody != text
        patch.setattr(sqlite_write, name, anybody)


def taken_from_the_living(statement: str, old: str, new: str, *, after_seconds: float) -> Plant:
    """Claims find tasks of live sessions too, and take those that were claimed so long ago."""
    finds = restated(sqlite_write.SQL, statement, old, new)
    real = moves.cause_of

    def cause_of(write: Any, row: Any, task: Any, holder: Any, ends: Any = None) -> Any:
        found = real(write, row, task, holder, ends)
        old_enough = write.at - (row["claimed_at"] or write.at) >= after_seconds * SECOND
        if found is not None or task.state is not TaskState.ACTIVE or not old_enough:
            return found
        return moves.Cause(
            reason=TakeoverReason.PROGRESS_STALLED,
            session_id=task.session_id,
            worker_id=task.worker_id,
            epoch=task.epoch,
            last_sign_at=write.at,
            lost_at=write.at,
            evidence=None,
            silence_us=0,
            fruitless=0,
        )

    return both(finds, lambda patch: patch.setattr(moves, "cause_of", cause_of))


def _read_otherwise(read: Any) -> Plant:
    """A successor is given another checkpoint than the newest that its predecessor left."""
    real = saver.FencedSqliteSaver.get_tuple

    def get_tuple(self: Any, config: Any) -> Any:
        found = real(self, config)
        if found is None or config["configurable"].get(EPOCH, 1) == 1:
            return found
        about = config["configurable"]
        lease = lease_of(LeaseKey(str(about["thread_id"]), about[EPOCH], about[SESSION]))
        left = lease is not None and lease.claim.reason is not None
        if not left or found.metadata.get(EPOCH) == about[EPOCH]:
            return found
        return read(found, lambda config: real(self, config))

    return lambda patch: patch.setattr(saver.FencedSqliteSaver, "get_tuple", get_tuple)


def _untried(self: Effect) -> None:
    """An effect is looked for, and never found."""
    self.lease.check()
    reach(Point.EFFECT_BEFORE, self.lease.task_id)


def _own_clock(patch: pytest.MonkeyPatch) -> None:
    """Silence is measured by the clock of whoever looks."""
    real = Driver._look_at_peers  # noqa: SLF001 - the plant

    def look(self: Any) -> m.Event:
        process = getattr(self, "_process", None)
        if process is None:
            return real(self)
        _, sessions = self._store.peers()
        return m.PeersSeen(EPOCH_US + process.clock.now_us(), tuple(sessions))

    patch.setattr(Driver, "_look_at_peers", look)


def _spares(patch: pytest.MonkeyPatch) -> None:
    """What stands still with the write lock is told of, and is not ended."""
    rewritten(writelock._Watchdog._act, "elif kill(holder.process):", "elif False:")(patch)  # noqa: SLF001
    # So that the check does not wait for it as long as it would on a machine under load.
    patch.setattr(locks, "DEADLINE_SECONDS", 1.5)


FLEET = (
    Breakage(
        row="GR-REL-01",
        what="the fence asks for the epoch, and not for who holds it",
        check=f"{_I}/test_store_tasks.py::test_the_fence_compares_epoch_and_session",
        plant=any_session,
    ),
    Breakage(
        row="GR-REL-02",
        what="a successor goes back by a step",
        check=f"{_I}/test_saver.py::test_a_successor_goes_on_where_the_lost_one_was",
        plant=_read_otherwise(
            lambda found, read: read(found.parent_config) if found.metadata["step"] == 1 else found
        ),
        costly=True,
    ),
    Breakage(
        row="GR-REL-03",
        what="the results of a step are made durable in a commit of their own",
        check=f"{_I}/test_saver.py::test_a_super_step_is_one_commit",
        plant=rewritten(
            saver.FencedSaver.put,
            "            self._data.put(key, run_id, worker_id, record)",
            "            self._data.flush()\n"
            "            self._data.put(key, run_id, worker_id, record)",
        ),
        costly=True,
    ),
    Breakage(
        row="GR-REL-04",
        what="an operator takes a task away and leaves its epoch as it was",
        check=f"{_I}/test_store_tasks.py::test_epochs_only_rise",
        plant=rewritten(moves.vacate, "int(reason is TakeoverReason.OPERATOR)", "0"),
    ),
    Breakage(
        row="GR-REL-05",
        what="a claim takes what another has just claimed",
        check=f"{_I}/test_store_tasks.py::test_of_two_claimants_one_wins",
        plant=taken_from_the_living(
            "pending",
            "state = 'pending'",
            "(state = 'pending' OR"
            " claimed_at = :now AND state = 'active' AND session_id <> :session)",
            after_seconds=0,
        ),
    ),
    Breakage(
        row="GR-REL-06",
        what="a peer counts as silent after less than half of its TTL",
        check=f"{_I}/test_sim.py::test_every_scenario_holds[Z05]",
        plant=rewritten(
            _PROTOCOL._peers_seen,  # noqa: SLF001
            "session.spec.ttl_us - event.now_us",
            "session.spec.ttl_us * 2 // 5 - event.now_us",
        ),
        costly=True,
    ),
    Breakage(
        row="GR-REL-07",
        what="a heartbeat that failed does not end the count of those in a row",
        check=f"{_U}/test_protocol.py::test_a_failed_heartbeat_begins_the_count_anew",
        plant=rewritten(_PROTOCOL._failed, "self._streak = 0", "pass"),  # noqa: SLF001
    ),
    Breakage(
        row="GR-REL-08",
        what="two heartbeats count as a pair however long the worker slept between them",
        check=f"{_U}/test_protocol.py::test_nobody_is_buried_because_somebody_slept[undertaker]",
        plant=rewritten(_PROTOCOL._acknowledge, "apart <= 2 * interval and ", ""),  # noqa: SLF001
    ),
    Breakage(
        row="GR-REL-09",
        what="nodes start until the very end of the TTL",
        check=(
            f"{_U}/test_protocol.py::test_leases_are_confirmed_from_when_the_heartbeat_was_sent"
        ),
        plant=rewritten(
            _PROTOCOL._acknowledge,  # noqa: SLF001
            "self.config.ttl_seconds - self.config.margin_seconds",
            "self.config.ttl_seconds",
        ),
    ),
    Breakage(
        row="GR-REL-10",
        what="a session that was declared lost may renew itself",
        check=f"{_I}/test_store_sessions.py::test_loss_is_final",
        plant=restated(_SESSIONS, "heartbeat", "'lost', ", ""),
    ),
    Breakage(
        row="GR-REL-11",
        what="a drain takes twice as long as it may",
        check=f"{_U}/test_protocol.py::test_a_drain_is_bounded",
        plant=rewritten(_PROTOCOL._drain, "now + self.config", "now + 2 * self.config"),  # noqa: SLF001
    ),
    Breakage(
        row="GR-REL-12",
        what="nobody looks whether a session's lock is free",
        check=f"{_I}/test_evidence.py::test_a_lock_is_held_until_the_holder_dies",
        plant=lambda patch: patch.setattr(evidence, "_nobody_holds", lambda _: None),
        costly=True,
    ),
    Breakage(
        row="GR-REL-13",
        what="a worker that stands still with the write lock is told of, and not ended",
        check=f"{_I}/test_writelock.py::test_an_acquire_with_a_timeout_kills_a_stopped_worker_too",
        plant=_spares,
        costly=True,
    ),
    Breakage(
        row="GR-REL-14",
        what="fruitless takeovers are not counted",
        check=(
            f"{_I}/test_store_tasks.py"
            "::test_a_task_that_takes_workers_with_it_runs_alone_and_is_put_aside"
        ),
        plant=lambda patch: patch.setattr(moves.Progress, "fruitless", lambda *_: 0),
    ),
    Breakage(
        row="GR-REL-15",
        what="a task without a deadline is taken from a live worker after an hour",
        check=f"{_I}/test_store_tasks.py::test_tasks_without_a_deadline_may_take_their_time",
        plant=taken_from_the_living(
            "stalled",
            "deadline_us IS NOT NULL AND external = 0",
            "external = 0 AND claimed_at + 3600000000 < :now OR deadline_us IS NOT NULL",
            after_seconds=3600,
        ),
    ),
    Breakage(
        row="GR-REL-16",
        what="a successor is not given the input that its predecessor was",
        check=(
            f"{_I}/test_ledger_of_runs.py"
            "::test_what_was_lost_before_its_first_step_begins_from_its_input[1]"
        ),
        plant=rewritten(
            Run._input,  # noqa: SLF001
            "None if stored is None",
            "None if stored is None or self._lease.claim.reason",
        ),
    ),
    Breakage(
        row="GR-REL-17",
        what="an effect is tried again although its result is recorded",
        check=f"{_I}/test_effects.py::test_an_effect_is_not_repeated_after_a_crash",
        plant=lambda patch: patch.setattr(Effect, "_find", _untried),
    ),
    Breakage(
        row="GR-REL-18",
        what="a resume value stays with the task after it was used",
        check=(
            f"{_I}/test_store_operator.py::test_the_value_is_cleared_with_the_write_that_records_it"
        ),
        plant=restated(
            sqlite_write.SQL,
            "clear_resume",
            "resume_type = NULL, resume = NULL",
            "resume_type = resume_type",
        ),
    ),
    Breakage(
        row="GR-REL-19",
        what="whoever is woken claims at once, however many there are",
        check=f"{_U}/test_pacing.py::test_five_hundred_idle_workers_do_not_stampede",
        plant=rewritten(pacing.wake_seconds, "SLOT_SECONDS * draw", "0 * draw"),
        costly=True,
    ),
    Breakage(
        row="GR-REL-20",
        what="a ledger that ends before what has been seen of it is taken for whole",
        check=f"{_I}/test_store_files.py::test_an_older_copy_is_refused_until_it_is_accepted",
        plant=rewritten(sqlite_files.check_restored, "if position < witness:", "if False:"),
        costly=True,
    ),
    Breakage(
        row="GR-REL-21",
        what="silence is measured by the clock of whoever looks",
        check=f"{_I}/test_sim.py::test_every_scenario_holds[T01]",
        plant=_own_clock,
        costly=True,
    ),
    Breakage(
        row="GR-REL-22",
        what="workers find the threads of other applications among what waits",
        check=f"{_I}/test_store_tasks.py::test_workers_never_claim_external_threads",
        plant=restated(sqlite_write.SQL, "pending", "external = 0", "external >= 0"),
    ),
)

#: In the order of the charter.
BREAKAGES = (*FLEET, *TOLD, *SHOWN)
