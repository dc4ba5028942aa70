"""Breakages of what Baton promises beside LangGraph and to earlier versions; see breakages.py."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from langgraph._internal._constants import TASKS
from langgraph.checkpoint.sqlite import SqliteSaver
from tests.integration import test_compat as compat_checks
from tests.integration import test_guardrails as guardrail_checks
from tests.support.breaking import ROOT, Breakage, Plant, rewritten
from tests.unit import test_durability as durability_checks
from tests.unit import test_langgraph_only as policy_checks

from baton.cli import tasks
from baton.domain import compat, ledger
from baton.fleet import saver, sqlite_files
from baton.fleet.model import EPOCH
from baton.fleet.runner import Run

_I, _U = "tests/integration", "tests/unit"


def _policy_over(name: str, old: str, new: str) -> Plant:
    """A file of the checkout that says something else, among a few that say what they said.

    The policy reads files, so it is given a folder of its own; reading all of the checkout takes
    seconds, and what it looks for stands in one file.
    """

    def plant(patch: pytest.MonkeyPatch) -> None:
        folder = Path(tempfile.mkdtemp())
        for kept in ("pyproject.toml", "README.md", "exporter/baton/cli/worker.py", name):
            (folder / kept).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / kept, folder / kept)
        _changed(folder / name, old, new)
        patch.setattr(policy_checks, "ROOT", folder)

    return plant


def _changed(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{file.name} has no {old!r}"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


class _OwnForm:
    """LangGraph's serializer, under a name that only this one knows."""

    own = "own:"

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def dumps_typed(self, value: Any) -> tuple[str, bytes]:
        return self._inner.dumps_typed(value)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return self._inner.loads_typed((data[0].removeprefix(self.own), data[1]))


def _own_form(patch: pytest.MonkeyPatch) -> None:
    real = saver.FencedSqliteSaver.__init__

    def begin(self: Any, *args: Any, **more: Any) -> None:
        real(self, *args, **more)
        # The simulator reads its own store in memory; the stock saver is given a file.
        if self._file.connection.execute("PRAGMA database_list").fetchone()[2]:
            self.serde = _OwnForm(self.serde)

    patch.setattr(saver.FencedSqliteSaver, "__init__", begin)
    rewritten(
        saver.FencedSaver._encode,  # noqa: SLF001 - the plant
        "encoded = self.serde.dumps_typed(value)",
        "kind, data = self.serde.dumps_typed(value)\n"
        '            encoded = (getattr(self.serde, "own", "") + kind, data)',
    )(patch)


def _loose(patch: pytest.MonkeyPatch) -> None:
    """A run within two packages further: a copy of them, in which one call asks for less."""
    folder = Path(tempfile.mkdtemp()) / "baton"
    shutil.copytree(durability_checks.PACKAGE / "fleet", folder / "fleet")
    old, new = (
        'ainvoke(value, config, durability="sync"',
        'ainvoke(value, config, durability="exit"',
    )
    _changed(folder / "fleet" / "runner.py", old, new)
    patch.setattr(durability_checks, "PACKAGE", folder)


def _unleased(patch: pytest.MonkeyPatch) -> None:
    """Whoever brings no lease writes as the stock saver does."""
    for name in ("put", "put_writes"):
        real, stock = getattr(saver.FencedSaver, name), getattr(SqliteSaver, name)

        def write(
            self: Any, config: Any, *more: Any, _real: Any = real, _stock: Any = stock
        ) -> Any:
            leased = EPOCH in config["configurable"] or self._auto_lease
            return (_real if leased else _stock)(self, config, *more)

        patch.setattr(saver.FencedSaver, name, write)


def _forgetful(patch: pytest.MonkeyPatch) -> None:
    """What was sent by Send and had not begun is forgotten with the worker that died."""
    real = saver.FencedSqliteSaver.get_tuple

    def get_tuple(self: Any, config: Any) -> Any:
        found = real(self, config)
        if found is not None and config["configurable"].get(EPOCH, 1) > 1:
            found.checkpoint["channel_values"].pop(TASKS, None)
        return found

    patch.setattr(saver.FencedSqliteSaver, "get_tuple", get_tuple)


def _first_version_only(patch: pytest.MonkeyPatch) -> None:
    """A run that another version has left begins anew."""
    real = Run.begin

    def begin(self: Any) -> Any:
        sessions = {one.spec.session_id: one.spec for one in self._store.sessions.recent(0)}
        before, own = self._lease.claim.previous_worker, self._lease.session.session_id
        versions = {one.version for one in sessions.values() if one.worker_id == before}
        if versions and own in sessions and sessions[own].version not in versions:
            return self._input()
        return real(self)

    patch.setattr(Run, "begin", begin)


def _takes_away(patch: pytest.MonkeyPatch) -> None:
    """A migration drops a column."""
    folder = Path(tempfile.mkdtemp()) / "sql"
    shutil.copytree(guardrail_checks.SQL, folder)
    script = folder / "sqlite_data_0002.sql"
    script.write_text(f"{script.read_text()}\nALTER TABLE baton_task DROP COLUMN error;\n")
    patch.setattr(guardrail_checks, "SQL", folder)


_METRIC = compat_checks.BROKEN["a label more, which splits every series"][0]

TOLD = (
    Breakage(
        row="GR-LGO-01",
        what="the package requires a task queue that runs graphs",
        check=f"{_U}/test_langgraph_only.py::test_assets_are_clean[dependency]",
        plant=_policy_over("pyproject.toml", "dependencies = [", 'dependencies = ["dramatiq>=1",'),
        apart=True,
    ),
    Breakage(
        row="GR-LGO-02",
        what="`baton worker` has an option that selects what runs the graph",
        check=f"{_U}/test_langgraph_only.py::test_assets_are_clean[switch]",
        plant=_policy_over(
            "exporter/baton/cli/worker.py", '"--worker-id"', '"--agent-' + 'runtime"'
        ),
        apart=True,
    ),
    Breakage(
        row="GR-LGO-03",
        what="the front page speaks of an older path",
        check=f"{_U}/test_langgraph_only.py::test_assets_are_clean[wording]",
        plant=_policy_over("README.md", "\n\n", "\n\nThe " + "leg" + "acy path stays.\n\n"),
        apart=True,
    ),
    Breakage(
        row="GR-LGO-04",
        what="the results of nodes are written in a form that only Baton reads",
        check=f"{_I}/test_saver.py::test_stock_saver_reads_everything",
        plant=_own_form,
        costly=True,
    ),
    Breakage(
        row="GR-LGO-05",
        what="a run asks for durability at its end only",
        check=f"{_U}/test_durability.py::test_no_graph_runs_with_another_durability",
        plant=_loose,
        apart=True,
    ),
    Breakage(
        row="GR-LGO-06",
        what="whoever brings no lease writes past the fence",
        check=f"{_I}/test_saver.py::test_a_put_without_a_lease_is_refused",
        plant=_unleased,
        costly=True,
    ),
    Breakage(
        row="GR-LGO-07",
        what="what was sent by Send and had not begun is forgotten with the worker that died",
        check=f"{_I}/test_ledger_of_runs.py::test_a_disturbed_run_comes_to_what_a_calm_one_comes_to",
        plant=_forgetful,
        costly=True,
    ),
    Breakage(
        row="GR-LGO-08",
        what="a run that asks something is taken for finished",
        check=f"{_I}/test_worker.py::test_an_interrupt_waits_for_its_answer",
        plant=rewritten(Run._finished, "if state.tasks:", "if state.tasks and not state.next:"),  # noqa: SLF001
        costly=True,
    ),
    Breakage(
        row="GR-COMP-01",
        what="a metric has one more label",
        check=f"{_I}/test_compat.py::test_this_version_keeps_the_promise",
        plant=_METRIC,
        costly=True,
    ),
    Breakage(
        row="GR-COMP-02",
        what="what was removed is taken for an addition",
        check=f"{_I}/test_compat.py::test_what_is_taken_away_fails_by_name[a metric]",
        plant=rewritten(
            compat.Difference.breaks.fget,  # type: ignore[attr-defined]
            "self.kind is not Kind.ADDED",
            "self.kind is Kind.CHANGED",
        ),
        costly=True,
    ),
    Breakage(
        row="GR-COMP-03",
        what="a verb that only looks makes the store that is not there, and ends in 0",
        check=f"{_I}/test_cli.py::test_a_store_that_is_not_there_is_not_made[tasks list]",
        plant=rewritten(tasks._open, "create=False", "create=True"),  # noqa: SLF001
    ),
    Breakage(
        row="GR-COMP-04",
        what="two ways to write a letter are one before they are hashed",
        check=f"{_U}/test_ledger.py::test_an_event_is_encoded_and_hashed_as_agreed[composed]",
        plant=rewritten(
            ledger.netstring,
            "text = value if type(value) is str else str(value)",
            "text = __import__('unicodedata').normalize('NFC', str(value))",
        ),
    ),
    Breakage(
        row="GR-COMP-05",
        what="a store of a later schema is opened",
        check=f"{_I}/test_store_files.py::test_a_newer_schema_is_refused",
        plant=rewritten(sqlite_files.open_data, "if found > SCHEMA:", "if False:"),
        costly=True,
    ),
    Breakage(
        row="GR-COMP-06",
        what="a migration drops a column",
        check=f"{_I}/test_guardrails.py::test_a_migration_script_only_adds[sqlite_data_0002.sql]",
        plant=_takes_away,
    ),
    Breakage(
        row="GR-COMP-07",
        what="a run that another version has left begins anew",
        check=f"{_I}/test_sim.py::test_every_scenario_holds[R03]",
        plant=_first_version_only,
        costly=True,
    ),
)
