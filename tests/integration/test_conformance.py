"""LangGraph's own conformance suite, on the fenced saver and on the stock one it stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityReport
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

import baton
from baton.fleet.saver import FencedSqliteSaver


async def fenced(folder: Path) -> CapabilityReport:
    """The suite on our saver, which leases each of the suite's threads as it writes it."""

    @checkpointer_test(name="fenced")
    async def make() -> AsyncIterator[FencedSqliteSaver]:
        with baton.open(f"sqlite:///{folder / 'fleet.db'}") as fleet:
            yield fleet.saver(auto_lease=True)

    return await validate(make)


async def stock() -> CapabilityReport:
    """The suite on the stock saver."""

    @checkpointer_test(name="stock")
    async def make() -> AsyncIterator[AsyncSqliteSaver]:
        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            yield saver

    return await validate(make)


async def test_the_fence_takes_nothing_from_the_saver(tmp_path: Path) -> None:
    """The same capabilities, the same number of tests, and all of them passed."""
    ours, theirs = await fenced(tmp_path), await stock()
    assert ours.conformance_level() == theirs.conformance_level() == "FULL"
    assert ours.results.keys() == theirs.results.keys()
    for capability, expected in theirs.results.items():
        found = ours.results[capability]
        assert found.failures == expected.failures == [], capability
        assert found == expected, capability
    detected = {name for name, result in ours.results.items() if result.detected}
    assert detected == {"put", "put_writes", "get_tuple", "list", "delete_thread"}
    assert sum(result.tests_passed for result in ours.results.values()) == 58
