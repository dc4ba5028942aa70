"""LangGraph's own conformance suite, on the fenced saver and on the stock one it stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityReport
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from tests.support.postgres import PostgresServer

import baton
from baton.fleet.saver import FencedSaver


async def fenced(url: str) -> CapabilityReport:
    """The suite on our saver, which leases each of the suite's threads as it writes it."""

    @checkpointer_test(name="fenced")
    async def make() -> AsyncIterator[FencedSaver]:
        with baton.open(url) as fleet:
            yield fleet.saver(auto_lease=True)

    return await validate(make)


async def stock_on_sqlite() -> CapabilityReport:
    """The suite on the stock saver."""

    @checkpointer_test(name="stock")
    async def make() -> AsyncIterator[AsyncSqliteSaver]:
        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            yield saver

    return await validate(make)


async def stock_on_postgres(url: str) -> CapabilityReport:
    """The same for PostgreSQL."""

    @checkpointer_test(name="stock")
    async def make() -> AsyncIterator[AsyncPostgresSaver]:
        async with AsyncPostgresSaver.from_conn_string(url) as saver:
            await saver.setup()
            yield saver

    return await validate(make)


async def test_the_fence_takes_nothing_from_the_saver(tmp_path: Path) -> None:
    """The same capabilities, the same number of tests, and all of them passed."""
    ours, theirs = await fenced(f"sqlite:///{tmp_path / 'fleet.db'}"), await stock_on_sqlite()
    detected = compare(ours, theirs)
    assert detected == {"put", "put_writes", "get_tuple", "list", "delete_thread"}
    assert sum(result.tests_passed for result in ours.results.values()) == 58


async def test_nor_on_postgresql(postgres: PostgresServer) -> None:
    """Where the stock saver can prune as well."""
    with postgres.database() as url, postgres.empty_database() as other_url:
        ours, theirs = await fenced(url), await stock_on_postgres(other_url)
    detected = compare(ours, theirs)
    assert detected == {"put", "put_writes", "get_tuple", "list", "delete_thread", "prune"}
    assert sum(result.tests_passed for result in ours.results.values()) == 66


def compare(ours: CapabilityReport, theirs: CapabilityReport) -> set[str]:
    """Both pass the same tests; returns the capabilities that were tested."""
    assert ours.conformance_level() == theirs.conformance_level() == "FULL"
    assert ours.results.keys() == theirs.results.keys()
    for capability, expected in theirs.results.items():
        found = ours.results[capability]
        assert found.failures == expected.failures == [], capability
        assert found == expected, capability
    return {name for name, result in ours.results.items() if result.detected}
