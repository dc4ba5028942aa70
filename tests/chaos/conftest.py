"""Fixtures of the chaos tests: one maker of processes, one fleet per test, one control run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.continuity import Control, take_control
from tests.chaos.harness import Fleet, Maker


@pytest.fixture(scope="session")
def maker() -> Iterator[Maker]:
    """The process that forks those on trial; what it has left is ended with it."""
    made = Maker()
    yield made
    made.close()


@pytest.fixture
def fleet(tmp_path: Path, maker: Maker) -> Iterator[Fleet]:
    """A fleet of its own for a test; its processes are ended with it, however it went."""
    made = Fleet(tmp_path, maker)
    yield made
    made.close()


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory, maker: Maker) -> Control:
    """What each graph comes to when nothing disturbs it."""
    made = Fleet(tmp_path_factory.mktemp("control"), maker)
    try:
        return take_control(made)
    except BaseException as error:
        for title, text in made.report():
            error.add_note(f"{title}\n{text}")
        raise
    finally:
        made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the processes wrote when a test has failed."""
    report = yield
    fleet = getattr(item, "funcargs", {}).get("fleet")
    if call.when == "call" and report.failed and isinstance(fleet, Fleet):
        report.sections += fleet.report()
    return report
