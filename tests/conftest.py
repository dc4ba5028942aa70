"""What all tests share: a mark for each folder, and the programs that have to be there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.charter import Judge, judges
from tests.support.postgres import PostgresServer, postgres_server
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parent
FOLDERS = ("unit", "property", "integration", "chaos")

#: Hypothesis takes five minutes at most to make a failure small. Cut short in it, a test would
#: show a time-out and not what failed.
SHRINKING_SECONDS = 360


def pytest_configure(config: pytest.Config) -> None:
    """Hold the charter against a run of all tests."""
    if judges(config):
        config.pluginmanager.register(Judge(), "charter")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its folder, so that ``-m`` can choose by cost."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder not in FOLDERS:
            raise pytest.UsageError(f"{item.path}: tests live in one of {', '.join(FOLDERS)}")
        item.add_marker(folder)
        if folder == "property":
            item.add_marker(pytest.mark.timeout(SHRINKING_SECONDS))


class OneChaosTestAtATime(LoadScopeScheduling):
    """Hand out tests one by one, but all chaos tests to the same worker.

    Two at once would starve each other of processor time, and judge that as a fault. xdist's own
    ``--dist loadgroup`` is for this, but its release 3.8 does not group at all under pytest 9.2,
    and says nothing (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return "chaos" if nodeid.startswith("tests/chaos/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Schedule as above wherever tests run in parallel."""
    return OneChaosTestAtATime(config, log)


def program(*names: str) -> str:
    """Return the path of a program of Prometheus, or fail the test in one line.

    A test that needs it is never skipped: `make test` has put it there or said why it could not.
    """
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        pytest.fail(f"no {names[0]} here; tools/prometheus.sh gets it or says how", pytrace=False)
    return found


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The path of a Prometheus server."""
    return program("prometheus")


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus's own checker of rules and configuration."""
    return program("promtool")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, started when the first test needs it."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a PostgreSQL database with a fresh store."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def alertmanager() -> str:
    """The path of an Alertmanager; Debian has another name for it."""
    return program("alertmanager", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def amtool() -> str:
    """The path of Alertmanager's own checker of its configuration."""
    return program("amtool")
