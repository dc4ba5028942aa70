"""The charter held against a run of the tests: a row passes by what its checks came to.

A row passes if each of its checks is a test that ran and passed. A check that was not collected,
was skipped, or names nothing is none. `make test` ends with this, and `tools/charter.py` asks for
the checks alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Protocol

import pytest

# By name, because mypy knows the tools as scripts and in no package.
_tool = import_module("tools.render_charter")

PASSED = "passed"

#: What a test came to over its three phases, the best first.
_ORDER = (PASSED, "skipped", "failed")


class Row(Protocol):
    """What is asked of a row here."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def passes_when(self) -> str:
        """What has to be so."""

    @property
    def checks(self) -> Sequence[str]:
        """Its checks; none while it is unbound."""

    @property
    def bound_by(self) -> str:
        """Who is to bind it."""


def rows() -> list[Row]:
    """Every row of the charter."""
    charter = _tool.load()
    return [row for section in _tool.sections(charter) for row in _tool.rows_of(charter, section)]


def is_test(check: str) -> bool:
    """Whether a check is a test, or a command otherwise."""
    return check.startswith("tests/")


def by_check(outcomes: Mapping[str, str]) -> Mapping[str, list[str]]:
    """What the tests came to that a check stands for: a file, a test, or one of its parameters."""
    found: dict[str, list[str]] = defaultdict(list)
    for node, outcome in outcomes.items():
        bare = node.partition("[")[0]
        parts = bare.split("::")
        names = {"::".join(parts[:n]) for n in range(1, len(parts) + 1)} | {node}
        for name in names:
            found[name].append(outcome)
    return found


def why_not(row: Row, found: Mapping[str, list[str]]) -> str | None:
    """Why a row does not pass, None if it does.

    Args:
        row: the row.
        found: from ``by_check``.
    """
    checks = [check for check in row.checks if is_test(check)]
    if not checks:
        return "it has no check that is a test"
    for check in checks:
        said = found.get(check, [])
        if not said:
            return f"{check} did not run"
        worst = max(said, key=_ORDER.index)
        if worst != PASSED:
            return f"{check} {worst}"
    return None


def standing(all_rows: Iterable[Row], outcomes: Mapping[str, str]) -> dict[str, str]:
    """The bound rows that do not pass, each with why.

    Args:
        all_rows: of the charter; one that is unbound is told by the charter itself.
        outcomes: what each test came to, by its node id.
    """
    found = by_check(outcomes)
    told = {row.id: why_not(row, found) for row in all_rows if row.checks}
    return {name: why for name, why in told.items() if why is not None}


class Run:
    """A plugin of pytest that notes what each test came to."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst phase of each test; what is expected to fail has shown nothing."""
        outcome = "skipped" if hasattr(report, "wasxfail") else report.outcome
        if report.when == "call" or outcome != PASSED:
            before = self.outcomes.get(report.nodeid, PASSED)
            self.outcomes[report.nodeid] = max(before, outcome, key=_ORDER.index)


class Judge(Run):
    """The same, and a run of all tests fails when a row does not pass."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.failing: dict[str, str] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Judge, unless the run was cut short."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self.failing = standing(rows(), self.outcomes)
            if self.failing:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the rows."""
        if self.failing:
            terminalreporter.section("rows of the charter that do not pass")
            for name, why in self.failing.items():
                terminalreporter.line(f"{name}: {why}")


def judges(config: pytest.Config) -> bool:
    """Whether this is a run of all tests, in the process that hears of each."""
    option = config.option
    return (
        not hasattr(config, "workerinput")
        and config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and not (option.keyword or option.markexpr or option.collectonly or option.maxfail)
        and _tool.DATA.is_file()
    )
