"""One guardrail is broken at a time, in the code itself: exactly its own row of the charter fails.

Each row stands here with one of its checks, quick enough to be asked under every breakage.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from tests.integration import test_guardrails as guardrails
from tests.integration import test_store_sessions as sessions
from tests.integration import test_store_tasks as tasks
from tests.property import test_gate as gate
from tests.support.charter import rows, standing
from tests.support.house import SECOND, House
from tests.unit import test_gate_policy as policy

from baton import cli
from baton.cli import exporter
from baton.domain.gate import words
from baton.domain.words import TakeoverReason, TaskState
from baton.fleet import moves, sqlite_sessions, sqlite_write

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Guardrail:
    """A row, one of its checks, and what breaks it."""

    check: Callable[..., Any]
    wants: tuple[str, ...]
    plant: Plant

    @property
    def node(self) -> str:
        """The check as the charter names it."""
        module = self.check.__module__.replace(".", "/")
        return f"{module}.py::{self.check.__name__}"

    def holds(self) -> bool:
        """Ask the check, on a store of its own."""
        house, clock = House.in_memory()
        try:
            self.check(**{name: {"house": house, "clock": clock}[name] for name in self.wants})
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, it fails
            return False
        finally:
            house.store.close()
        return True


def sql(statements: dict[str, str], name: str, old: str, new: str) -> Plant:
    """A statement of the store that says something else."""
    assert old in statements[name]
    return lambda patch: patch.setitem(statements, name, statements[name].replace(old, new))


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """The fence looks for the task, and not for who holds it."""
    for name in ("_FENCE", "_FENCE_ONLY"):
        text = getattr(sqlite_write, name)
        anybody = re.sub(r"(t\.)?(epoch|session_id) = \?", "? IS NOT NULL", text)
        assert anybody != text
        patch.setattr(sqlite_write, name, anybody)


def taken_from_the_living(statement: str, old: str, new: str, *, after_seconds: float) -> Plant:
    """Claims find tasks of live sessions too, and take those that were claimed so long ago."""
    finds = sql(sqlite_write.SQL, statement, old, new)
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

    def plant(patch: pytest.MonkeyPatch) -> None:
        finds(patch)
        patch.setattr(moves, "cause_of", cause_of)

    return plant


def listens_everywhere(patch: pytest.MonkeyPatch) -> None:
    """The exporter's own default is every interface."""

    def add(verbs: Any) -> None:
        exporter.add(verbs)
        verbs.choices["exporter"].set_defaults(listen="0.0.0.0:9464")

    stand_in = SimpleNamespace(add=add)
    patch.setattr(cli, "VERBS", [stand_in if one is exporter else one for one in cli.VERBS])


GUARDRAILS = {
    "GR-REL-01": Guardrail(tasks.test_the_fence_compares_epoch_and_session, ("house",), no_fence),
    "GR-REL-04": Guardrail(
        tasks.test_epochs_only_rise,
        ("house",),
        sql(sqlite_write.SQL, "claim", "epoch = epoch + 1", "epoch = max(epoch, 1)"),
    ),
    "GR-REL-05": Guardrail(
        tasks.test_of_two_claimants_one_wins,
        ("house",),
        taken_from_the_living(
            "pending",
            "state = 'pending'",
            "(state = 'pending' OR state = 'active' AND claimed_at + 1000000 > :now)",
            after_seconds=0,
        ),
    ),
    "GR-REL-10": Guardrail(
        sessions.test_loss_is_final,
        ("house",),
        sql(sqlite_sessions._SQL, "heartbeat", "'lost', ", ""),  # noqa: SLF001 - the plant
    ),
    "GR-REL-15": Guardrail(
        tasks.test_tasks_without_a_deadline_may_take_their_time,
        ("house", "clock"),
        taken_from_the_living(
            "stalled",
            "deadline_us IS NOT NULL AND external = 0",
            "external = 0 AND claimed_at + 3600000000 < :now OR deadline_us IS NOT NULL",
            after_seconds=3600,
        ),
    ),
    "GR-REL-22": Guardrail(
        tasks.test_workers_never_claim_external_threads,
        ("house",),
        sql(sqlite_write.SQL, "pending", "external = 0", "external >= 0"),
    ),
    "GR-COMP-03": Guardrail(
        policy.test_exit_codes,
        (),
        lambda patch: patch.setitem(words.EXIT_CODES, words.Decision.NO_GO, 5),  # type: ignore[arg-type]
    ),
    "GR-EVID-04": Guardrail(
        gate.test_no_combination_of_unknowns_goes,
        (),
        lambda patch: patch.setitem(
            words._DECISIONS,  # type: ignore[arg-type]  # noqa: SLF001 - the plant
            words.Status.INCONCLUSIVE,
            words.Decision.GO,
        ),
    ),
    "GR-SEC-02": Guardrail(
        guardrails.test_servers_listen_on_loopback_unless_they_are_told_otherwise,
        (),
        listens_everywhere,
    ),
}


@pytest.fixture(scope="module")
def charter() -> list[Any]:
    """The rows, as far as they stand here."""
    return [row for row in rows() if row.id in GUARDRAILS]


def test_each_stands_here_with_a_check_of_its_row(charter: list[Any]) -> None:
    """And unbroken, each holds."""
    assert [row.id for row in charter] == list(GUARDRAILS)
    for row in charter:
        assert GUARDRAILS[row.id].node in row.checks
        assert GUARDRAILS[row.id].holds(), row.id


@pytest.mark.parametrize("broken", GUARDRAILS)
def test_exactly_the_broken_row_fails(
    broken: str, charter: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the charter's rows, by what each one's check comes to while the breakage is there."""
    GUARDRAILS[broken].plant(monkeypatch)
    outcomes = {check: "passed" for row in charter for check in row.checks}
    for one in GUARDRAILS.values():
        outcomes[one.node] = "passed" if one.holds() else "failed"
    assert list(standing(charter, outcomes)) == [broken]
