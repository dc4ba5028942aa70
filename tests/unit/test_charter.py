"""The charter is explicit, complete, checkable and equal to its rendered page."""

from __future__ import annotations

import ast
import dataclasses
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import charter as support
from tests.support.charter import standing
from tools import render_charter as tool

ROOT = Path(__file__).resolve().parents[2]
TASKS = [f"DKT-{number:03}" for number in range(47, 56)]
CRITERIA_PER_TASK = 3
GUARDRAIL = re.compile(r"GR-(REL|LGO|COMP|EVID|SEC)-\d\d")
CRITERION = re.compile(r"AC-(?P<task>0\d\d)-(?P<criterion>\d)[a-z]?")
TEST_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NEVER_RUN = re.compile(r"mark\.(skip|xfail)\b")


charter = tool.load()
rows = [row for section in tool.sections(charter) for row in tool.rows_of(charter, section)]


def problem(check: str, root: Path = ROOT) -> str | None:
    """Say why a check does not exist under root, or None; nothing is imported or run."""
    match check.split():
        case ["python", script, *_]:
            return None if (root / script).is_file() else f"no script {script}"
        case ["make", target]:
            makefile = root / "Makefile"
            rules = makefile.read_text(encoding="utf-8") if makefile.is_file() else ""
            found = re.search(rf"^{re.escape(target)}:", rules, re.MULTILINE)
            return None if found else f"no target {target} in the Makefile"
        case [node] if node.startswith("tests/"):
            return _node_problem(node, root)
    return f"neither a test nor a command: {check}"


def _node_problem(node: str, root: Path) -> str | None:
    name, *path = node.partition("[")[0].split("::")
    file = root / name
    if not (file.is_file() and file.name.startswith("test_")):
        return f"no test file {name}"
    body = _parsed(file, file.read_text(encoding="utf-8"))
    for part in path:
        found = [each for each in body if getattr(each, "name", None) == part]
        if not found:
            return f"no {part} in {name}"
        body = found if isinstance(found[0], TEST_FUNCTIONS) else getattr(found[0], "body", [])
    tests = [each for each in _functions(body) if each.name.startswith("test_")]
    if not tests:
        return f"no test in {node}"
    skipped = [each.name for each in tests if any(map(_never_runs, each.decorator_list))]
    return f"{skipped[0]} is marked so that it does not count" if skipped else None


@cache
def _parsed(file: Path, text: str) -> list[ast.stmt]:
    del file
    return ast.parse(text).body


def _functions(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    inner = [each for outer in body if isinstance(outer, ast.ClassDef) for each in outer.body]
    return [each for each in (*body, *inner) if isinstance(each, TEST_FUNCTIONS)]


def _never_runs(decorator: ast.expr) -> bool:
    return NEVER_RUN.search(ast.unparse(decorator)) is not None


def test_ids_are_unique_and_well_formed() -> None:
    """Every row has an id of its family or task, and no id stands twice."""
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids))
    for family in charter["guardrails"]:
        for row in family["rows"]:
            assert GUARDRAIL.fullmatch(row["id"])
            assert row["id"].startswith(family["id"])
    for task in charter["acceptance"]:
        for row in task["rows"]:
            match = CRITERION.fullmatch(row["id"])
            assert match
            assert task["id"] == f"DKT-{match['task']}"


def test_every_criterion_has_a_row() -> None:
    """Each acceptance criterion of each task has at least one row, and no other is invented."""
    expected = {(task, str(number)) for task in TASKS for number in range(1, CRITERIA_PER_TASK + 1)}
    matches = [CRITERION.fullmatch(row.id) for row in rows]
    assert {(f"DKT-{each['task']}", each["criterion"]) for each in matches if each} == expected


def test_rows_say_what_passes() -> None:
    """A row states what holds, when it passes and what evidence it leaves."""
    for row in rows:
        assert all(text.strip() for text in (row.statement, row.passes_when, row.evidence)), row.id


def test_checks_and_rows_match() -> None:
    """There is one line under `checks` for each row, in the same order, and no other."""
    assert list(charter["checks"]) == [row.id for row in rows]


def test_bound_checks_exist() -> None:
    """Every check that a row names is a test or command of this repository."""
    problems = {(row.id, problem(check)) for row in rows for check in row.checks}
    assert {(row_id, why) for row_id, why in problems if why} == set()


def test_unbound_rows_name_their_milestone() -> None:
    """A row is bound, or it names the known milestone that will bind it."""
    for row in rows:
        assert row.checks or row.bound_by in charter["milestones"], row.id


def test_page_is_rendered_from_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed page equals its data, and an edited page is reported and left alone."""
    assert tool.main(["--check"]) == 0
    edited = tmp_path / tool.PAGE.name
    edited.write_text(tool.PAGE.read_text(encoding="utf-8") + "by hand\n", encoding="utf-8")
    monkeypatch.setattr(tool, "PAGE", edited)
    assert tool.main(["--check"]) == 1
    assert edited.read_text(encoding="utf-8").endswith("by hand\n")
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0


def test_page_tells_bound_from_unbound() -> None:
    """The page marks exactly the unbound rows, and counts both kinds."""
    page = tool.render(charter)
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines()}
    for row in rows:
        assert ("**unbound**" in lines[row.id]) == (not row.checks), row.id
    bound = sum(bool(row.checks) for row in rows)
    assert f"**{bound} of {len(rows)} rows are bound**" in page


def test_release_needs_every_row_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--complete` passes only when no row is unbound, and names the row that is."""
    check = "tests/unit/test_charter.py"
    all_bound = {**charter, "checks": {row.id: {"check": check} for row in rows}}
    one_open = {"GR-REL-01": {"check": "unbound", "bound_by": "packet"}}
    monkeypatch.setattr(tool, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(tool, "load", lambda: all_bound)
    assert tool.main(["--complete"]) == 0
    monkeypatch.setattr(
        tool, "load", lambda: {**all_bound, "checks": {**all_bound["checks"], **one_open}}
    )
    assert tool.main(["--complete"]) == 1
    assert capsys.readouterr().err == "GR-REL-01 has no check: it waits for packet\n"


@pytest.mark.parametrize(
    "check",
    [
        "tests/unit/test_none.py",
        "tests/unit/test_one.py::test_gone",
        "tests/unit/test_one.py::TestIt::test_gone",
        "tests/unit/test_one.py::helper",
        "tests/unit/test_two.py",
        "tests/unit/test_two.py::TestOther::test_skipped",
        "tests/unit/helpers.py",
        "python tools/gone.py",
        "make gone",
        "looked at by hand",
        "",
    ],
)
def test_planted_bad_check_is_found(check: str, tmp_path: Path) -> None:
    """A check that names no test or command of the repository is a problem."""
    _plant(tmp_path)
    assert problem(check, tmp_path)


@pytest.mark.parametrize(
    "check",
    [
        "tests/unit/test_one.py",
        "tests/unit/test_one.py::test_it",
        "tests/unit/test_one.py::test_it[sqlite]",
        "tests/unit/test_one.py::TestIt",
        "tests/unit/test_one.py::TestIt::test_inner",
        "python tools/run.py --check",
        "make release-check",
    ],
)
def test_good_check_is_accepted(check: str, tmp_path: Path) -> None:
    """Files, functions, methods, scripts and make targets are accepted when they exist."""
    _plant(tmp_path)
    assert problem(check, tmp_path) is None


def _plant(root: Path) -> None:
    (root / "tests" / "unit").mkdir(parents=True)
    (root / "tools").mkdir()
    (root / "tools" / "run.py").write_text("", encoding="utf-8")
    (root / "Makefile").write_text("release-check: test\n\ttrue\n", encoding="utf-8")
    (root / "tests" / "unit" / "helpers.py").write_text("def test_x(): ...\n", encoding="utf-8")
    (root / "tests" / "unit" / "test_one.py").write_text(
        "def helper(): ...\n"
        "async def test_it(): ...\n"
        "class TestIt:\n    def test_inner(self): ...\n",
        encoding="utf-8",
    )
    (root / "tests" / "unit" / "test_two.py").write_text(
        "import pytest\nclass TestOther:\n    @pytest.mark.skip\n    def test_skipped(self): ...\n",
        encoding="utf-8",
    )


ROW = tool.Row(
    id="GR-X-01",
    statement="s",
    passes_when="p",
    evidence="e",
    checks=("tests/a.py::test_a", "tests/b.py::test_b[one]", "tests/c.py"),
    bound_by="",
)
RAN = {
    "tests/a.py::test_a[x]": "passed",
    "tests/a.py::test_a[y]": "passed",
    "tests/b.py::test_b[one]": "passed",
    "tests/c.py::TestC::test_c": "passed",
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"tests/a.py::test_a[y]": "failed"}, "tests/a.py::test_a failed"),
        ({"tests/a.py::test_a[x]": "skipped"}, "tests/a.py::test_a skipped"),
        ({"tests/b.py::test_b[one]": None}, "tests/b.py::test_b[one] did not run"),
        ({"tests/b.py::test_b[two]": "failed"}, None),
        ({"tests/c.py::TestC::test_c": "failed"}, "tests/c.py failed"),
        ({"tests/a.py::test_ab": "failed"}, None),
    ],
)
def test_a_row_passes_by_what_its_checks_came_to(change: dict[str, Any], why: str | None) -> None:
    """Each of them ran, none was skipped, and all passed."""
    outcomes = {name: said for name, said in {**RAN, **change}.items() if said}
    assert standing([ROW], outcomes) == ({} if why is None else {"GR-X-01": why})


def test_a_row_that_rests_on_commands_alone_does_not_pass() -> None:
    """Nothing that `make test` runs would show it."""
    row = dataclasses.replace(ROW, checks=("make release-check",))
    assert standing([row], RAN) == {"GR-X-01": "it has no check that is a test"}


def test_each_failing_check_fails_the_rows_that_name_it_and_no_other() -> None:
    """One at a time, over the whole charter; and each bound row has its own share of the tests."""
    bound = [row for row in rows if row.checks]
    outcomes = {check: "passed" for row in bound for check in row.checks}
    assert standing(rows, outcomes) == {}
    for broken in outcomes:
        failing = standing(rows, {**outcomes, broken: "failed"}).keys()
        named = {row.id for row in bound if any(_same(broken, one) for one in row.checks)}
        assert failing == named, broken


def _same(broken: str, check: str) -> bool:
    return broken == check or broken.startswith(f"{check}[")


@pytest.mark.parametrize(
    ("phases", "outcome"),
    [
        ([("setup", "passed"), ("call", "passed"), ("teardown", "passed")], "passed"),
        ([("setup", "passed"), ("call", "failed"), ("teardown", "passed")], "failed"),
        ([("setup", "failed")], "failed"),
        ([("setup", "skipped")], "skipped"),
        ([("setup", "passed"), ("call", "passed"), ("teardown", "failed")], "failed"),
    ],
)
def test_a_run_of_all_tests_fails_by_its_rows(
    phases: list[tuple[str, str]], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the plugin of `make test` does: it hears of each phase, and sets the exit code."""
    row = dataclasses.replace(ROW, checks=("tests/a.py::test_a",))
    monkeypatch.setattr(support, "rows", lambda: [row])
    judge = support.Judge()
    for when, said in phases:
        report = SimpleNamespace(nodeid="tests/a.py::test_a", when=when, outcome=said)
        judge.pytest_runtest_logreport(report)  # type: ignore[arg-type]
    session = SimpleNamespace(exitstatus=0)
    judge.pytest_sessionfinish(session, 0)  # type: ignore[arg-type]
    assert judge.outcomes == {"tests/a.py::test_a": outcome}
    assert (session.exitstatus == 0) == (outcome == "passed")
    assert list(judge.failing) == ([] if outcome == "passed" else ["GR-X-01"])


def test_an_interrupted_run_is_not_judged() -> None:
    """Its rows did not run, and it fails by itself."""
    judge = support.Judge()
    judge.pytest_sessionfinish(SimpleNamespace(exitstatus=2), 2)  # type: ignore[arg-type]
    assert judge.failing == {}


def test_rollout_plan_holds_every_task_in_its_wave() -> None:
    """The plan's waves are those of the charter, and each wave comes after what it needs."""
    plan = (tool.SPEC / "rollout-plan.md").read_text(encoding="utf-8")
    planned = {
        task: int(wave)
        for wave, tasks in re.findall(r"^\| (\d) \| ([^|]+) \|", plan, re.MULTILINE)
        for task in tasks.strip().split(", ")
    }
    waves = {task["id"]: task["wave"] for task in charter["acceptance"]}
    assert planned == waves
    assert list(waves) == TASKS
    for task in charter["acceptance"]:
        assert all(waves.get(need, -1) < task["wave"] for need in task["needs"]), task["id"]
