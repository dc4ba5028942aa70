"""Breakages of what Baton shows, keeps and hides: evidence and secrets; see breakages.py."""

from __future__ import annotations

import time
from typing import Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from tests.integration import test_writelock as locks
from tests.support.breaking import Breakage, both, rewritten

from baton.domain import checks
from baton.domain.continuity import bounds
from baton.domain.gate import judging, selftest
from baton.domain.packet import manifest, risks
from baton.fleet import moves, saver, transactions, writelock
from baton.fleet.sqlite_write import SqliteWrite
from baton.observe import server
from baton.observe.collector import StoreCollector
from baton.observe.report import picture
from baton.prove.gate import material
from baton.prove.scenarios.reader import Table
from baton.prove.sim.clocks import StoreTime

_I, _U = "tests/integration", "tests/unit"


def _stale(patch: pytest.MonkeyPatch) -> None:
    """While the store is away, what was read last is served on."""
    real = StoreCollector._read  # noqa: SLF001 - the plant

    def read(self: Any) -> Any:
        try:
            self.__dict__["_last"] = real(self)
        except Exception:
            if "_last" not in self.__dict__:
                raise
        return self.__dict__["_last"]

    patch.setattr(StoreCollector, "_read", read)


def _in_the_text(patch: pytest.MonkeyPatch) -> None:
    """The fence asks by a statement that has the task's name in it."""
    rewritten(
        SqliteWrite.fence,
        "execute(_FENCE, key)",
        "execute(_FENCE.replace('?', f\"'{key.task_id}'\", 1), key[1:])",
    )(patch)


def _without_the_list(patch: pytest.MonkeyPatch) -> None:
    """Checkpoints are read through a serializer of Baton's own, which builds any type."""
    real = saver.FencedSqliteSaver.get_tuple

    def get_tuple(self: Any, config: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self, "serde", JsonPlusSerializer(allowed_msgpack_modules=True))
            return real(self, config)

    patch.setattr(saver.FencedSqliteSaver, "get_tuple", get_tuple)


_ACT = writelock._Watchdog._act  # noqa: SLF001

SHOWN = (
    Breakage(
        row="GR-EVID-01",
        what="whatever an event hashes to, it is taken for unedited",
        check=(
            f"{_U}/test_verify.py"
            "::test_a_planted_fault_is_found_by_its_check[hash_mismatch: a worker edited]"
        ),
        plant=rewritten(checks.hash_mismatch, "if found == event.hash", "if found"),
        costly=True,
    ),
    Breakage(
        row="GR-EVID-02",
        what="a claim is committed before its event is written",
        check=(
            f"{_I}/test_claim_batches.py"
            "::test_a_kill_at_any_point_of_a_batch_leaves_each_task_claimed_once_or_claimable"
        ),
        plant=rewritten(
            moves.claim,
            "    write.append_tasks(\n",
            '    write.cursor.execute("COMMIT")\n'
            '    write.cursor.execute("BEGIN IMMEDIATE")\n'
            "    write.append_tasks(\n",
        ),
        costly=True,
    ),
    Breakage(
        row="GR-EVID-03",
        what="a file that the manifest does not name is let be",
        check=f"{_I}/test_packet.py::test_any_removed_or_added_file_is_named",
        plant=rewritten(
            manifest._differences,  # noqa: SLF001
            'yield Problem(name, "was added: the manifest does not name it")',
            "continue",
        ),
        costly=True,
    ),
    Breakage(
        row="GR-EVID-04",
        what="what needs a coverage that is missing is judged all the same",
        check=f"{_U}/test_gate_policy.py::test_what_rests_on_what_does_not_hold_is_blocked",
        plant=lambda patch: patch.setattr(judging, "_blocked", lambda *_: None),
        costly=True,
    ),
    Breakage(
        row="GR-EVID-05",
        what="a replay reads answers that were changed",
        check=f"{_I}/test_gate_answers.py::test_what_was_kept_and_changed_is_refused",
        plant=rewritten(material._kept, "!= digest", "is None"),  # noqa: SLF001
        costly=True,
    ),
    Breakage(
        row="GR-EVID-06",
        what="a packet without a signature says nothing of it",
        check=f"{_I}/test_packet.py::test_what_is_unsigned_is_said",
        plant=rewritten(risks._unsigned, 'if not release.get("signed_by"):', "if False:"),  # noqa: SLF001
        costly=True,
    ),
    Breakage(
        row="GR-EVID-07",
        what="the gate finds no flaw in itself, whatever it sees",
        check=f"{_U}/test_gate_policy.py::test_the_gate_has_no_flaw",
        plant=rewritten(selftest.flaws, "return found + _flaws_of_deciding()", "return []"),
    ),
    Breakage(
        row="GR-EVID-08",
        what="a fault that did not fire is taken for one that did",
        check=f"{_I}/test_sim.py::test_a_fault_that_does_not_fire_shows_nothing",
        plant=rewritten(bounds.fault_fired, "if not fault.fired:", "if False:"),
        costly=True,
    ),
    Breakage(
        row="GR-EVID-09",
        what="the host's clock gets into a simulated trial",
        check=(f"{_I}/test_sim.py::test_the_same_seed_leaves_the_same_bytes_twice"),
        plant=lambda patch: patch.setattr(
            StoreTime,
            "wall_us",
            lambda _: time.time_ns() // 1000,
        ),
        apart=True,
    ),
    Breakage(
        row="GR-EVID-10",
        what="an id that is there and empty counts as an id",
        check=f"{_U}/test_verify.py::test_each_missing_id_is_found_by_name",
        plant=rewritten(checks.correlation_missing, 'in (None, "")', "is None"),
        costly=True,
    ),
    Breakage(
        row="GR-EVID-11",
        what="while the store is away, what was read last is served on",
        check=f"{_I}/test_exporter.py::test_a_store_that_vanishes_is_down_and_one_that_returns_is_up",
        plant=_stale,
        costly=True,
    ),
    Breakage(
        row="GR-EVID-12",
        what="what a verifier cannot judge again is not told",
        check=f"{_I}/test_packet.py::test_what_was_not_judged_is_listed",
        plant=rewritten(risks._words, "if taken:", "if False:"),  # noqa: SLF001
        costly=True,
    ),
    Breakage(
        row="GR-SEC-01",
        what="the ledger tells a task's input",
        check=f"{_I}/test_guardrails.py::test_no_value_of_a_user_leaves_the_store",
        plant=rewritten(
            transactions.Store.submit,
            '"input_digest": input_digest',
            '"input_digest": str(input_[1])',
        ),
        costly=True,
    ),
    Breakage(
        row="GR-SEC-02",
        what="a server listens on every interface, whatever it is told",
        check=(
            f"{_I}/test_guardrails.py"
            "::test_servers_listen_on_loopback_unless_they_are_told_otherwise"
        ),
        plant=rewritten(server._bind, "found[0][4], pages", "('0.0.0.0', port), pages"),  # noqa: SLF001
    ),
    Breakage(
        row="GR-SEC-03",
        what="a task's name is put into the text of a statement",
        check=(
            f"{_I}/test_guardrails.py"
            "::test_a_hostile_name_is_a_name[sqlite-'; DROP TABLE baton_task; --]"
        ),
        plant=_in_the_text,
    ),
    Breakage(
        row="GR-SEC-04",
        what="a key that nobody knows is passed over",
        check=f"{_U}/test_scenarios.py::test_what_is_wrong_is_named_by_line",
        plant=rewritten(Table.end, "if key not in self._asked:", "if False:"),
        costly=True,
    ),
    Breakage(
        row="GR-SEC-05",
        what="checkpoints are read through a serializer of Baton's own, which builds any type",
        check=f"{_I}/test_guardrails.py::test_a_checkpoint_builds_no_type_that_is_not_on_the_list",
        plant=_without_the_list,
        costly=True,
    ),
    Breakage(
        row="GR-SEC-06",
        what="an application that stands still with the write lock is killed",
        check=f"{_I}/test_writelock.py::test_a_stopped_application_is_reported_and_left_alone",
        plant=both(
            rewritten(_ACT, "elif not holder.killable:", "elif False:"),
            # So that the check does not wait for what comes no more.
            lambda patch: patch.setattr(locks, "DEADLINE_SECONDS", 3.0),
        ),
        costly=True,
    ),
    Breakage(
        row="GR-SEC-07",
        what="a name is put into the report's page as it is",
        check=f"{_I}/test_report.py::test_names_cannot_break_out_of_the_pages",
        plant=rewritten(picture.clean, "return escape(", "return str("),
        costly=True,
    ),
)
