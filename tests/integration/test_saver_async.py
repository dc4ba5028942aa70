"""The fenced saver in an event loop: the same promises, and the loop never waits for a commit."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from tests.support.house import on_sqlite
from tests.support.runs import Graph, Runs, State, in_a_row, side_by_side, wait_until

from baton.errors import LeaseLost, LeaseRequired

#: These hold for any store.
BOTH_STORES = True


def says(name: str) -> Callable[[State], Awaitable[State]]:
    """A node that says its name, on the loop."""

    async def node(state: State) -> State:
        del state
        await asyncio.sleep(0)
        return {"seen": [name]}

    return node


async def put_empty(runs: Runs, config: RunnableConfig) -> RunnableConfig:
    """One checkpoint, and the config of the step after it."""
    about: RunnableConfig = {"configurable": {**config["configurable"], "checkpoint_ns": ""}}
    saved = await runs.saver.aput(about, empty_checkpoint(), {"source": "loop", "step": 0}, {})
    here = {"checkpoint_ns": "", "checkpoint_id": saved["configurable"]["checkpoint_id"]}
    return {"configurable": {**config["configurable"], **here}}


@on_sqlite
async def test_a_super_step_is_one_commit(runs: Runs) -> None:
    """As in a synchronous graph."""
    lease = runs.lease()
    found: list[str] = []
    runs.house.store.data.connection.set_trace_callback(
        lambda statement: found.append(statement) if statement == "COMMIT" else None
    )
    graph = in_a_row(**{f"n{n}": says(str(n)) for n in range(6)}).compile(checkpointer=runs.saver)
    result = await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    assert result["seen"] == [str(n) for n in range(6)]
    assert len(found) == runs.house.types("task:t-1").count("step") == 8


async def test_stock_async_saver_reads_everything(tmp_path: Path, file_runs: Runs) -> None:
    """Checkpoints, parents, metadata and pending writes, as ours reads them."""

    async def ask(state: State) -> State:
        del state
        return {"seen": [interrupt("?")]}

    lease = file_runs.lease()
    graph = side_by_side(ask=ask, one=says("one")).compile(checkpointer=file_runs.saver)
    await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    ours = [found async for found in file_runs.saver.alist(None)]
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "fleet.db")) as stock:
        assert [found async for found in stock.alist(None)] == ours
        newest = await stock.aget_tuple({"configurable": {"thread_id": "t-1"}})
    assert newest == await file_runs.saver.aget_tuple({"configurable": {"thread_id": "t-1"}})
    assert newest == ours[0]
    written = {channel for _, channel, _ in ours[0].pending_writes or []}
    assert {"seen", "__interrupt__"} <= written
    assert lease.interrupted


async def test_a_send_is_as_wide_as_its_input(runs: Runs) -> None:
    """Each sibling's result is kept, whatever the order in which they end."""

    async def work(state: State) -> State:
        await asyncio.sleep(0)
        return {"seen": [f"worked on {state['item']}"]}

    graph: Graph = StateGraph(State)
    graph.add_node("begin", lambda _: {})
    graph.add_node("work", work)
    graph.add_edge(START, "begin")
    graph.add_conditional_edges(
        "begin", lambda state: [Send("work", {"item": i}) for i in state["seen"]], ["work"]
    )
    graph.add_edge("work", END)
    lease = runs.lease()
    items = [str(n) for n in range(12)]
    compiled = graph.compile(checkpointer=runs.saver)
    result = await compiled.ainvoke({"seen": items}, lease.config, durability="sync")
    assert result["seen"] == [*items, *(f"worked on {item}" for item in items)]
    last = [e for e in runs.house.store.chain("task:t-1") if e.type == "step"][-1]
    assert last.data["writes"] >= 12


async def test_a_finished_sibling_is_durable_while_another_still_runs(
    tmp_path: Path, file_runs: Runs
) -> None:
    """Seen by another connection, while the loop is free."""
    with closing(sqlite3.connect(tmp_path / "fleet.db", check_same_thread=False)) as other:

        def durable() -> bool:
            query = "SELECT count(*) FROM writes WHERE channel = 'seen'"
            return bool(other.execute(query).fetchone()[0] == 1)

        async def long(state: State) -> State:
            del state
            await asyncio.to_thread(wait_until, durable, "the sibling is durable")
            return {"seen": ["long"]}

        graph = side_by_side(one=says("one"), long=long).compile(checkpointer=file_runs.saver)
        lease = file_runs.lease()
        result = await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    assert sorted(result["seen"]) == ["after", "long", "one"]


async def test_parking_does_not_wait_for_a_transaction(runs: Runs) -> None:
    """Somebody's commit may take long; the loop goes on meanwhile."""
    at = await put_empty(runs, runs.lease().config)
    begun, parked = threading.Event(), threading.Event()
    waited: list[bool] = []

    def slow() -> None:
        with runs.house.store.data.write():
            begun.set()
            waited.append(parked.wait(10))

    transaction = threading.Thread(target=slow)
    transaction.start()
    assert begun.wait(10)
    await runs.saver.aput_writes(at, [("seen", ["a"])], "call-1")
    parked.set()
    transaction.join(10)
    assert waited == [True]
    found = await runs.saver.aget_tuple(at)
    assert found is not None
    assert found.pending_writes == [("call-1", "seen", ["a"])]


@on_sqlite
async def test_special_writes_leave_the_loop_free(runs: Runs) -> None:
    """They commit at once, on a thread."""
    at = await put_empty(runs, runs.lease().config)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with runs.house.store.data.write():
            begun.set()
            go_on.wait(10)

    transaction = threading.Thread(target=slow)
    transaction.start()
    assert begun.wait(10)
    writing = asyncio.create_task(runs.saver.aput_writes(at, [("__interrupt__", ["?"])], "call-1"))
    await asyncio.sleep(0)
    assert not writing.done()
    go_on.set()
    await asyncio.wait_for(writing, 10)
    transaction.join(10)
    connection = runs.house.store.data.connection
    assert [row[0] for row in connection.execute("SELECT channel FROM writes")] == ["__interrupt__"]


async def test_a_superseded_run_ends_with_the_node_it_was_in(runs: Runs) -> None:
    """Its put is refused, its next node is not run, and none of it is written."""
    calls: list[str] = []
    lease = runs.lease()

    async def first(state: State) -> State:
        del state
        calls.append("first")
        runs.supersede(lease)
        return {"seen": ["zombie"]}

    async def second(state: State) -> State:
        del state
        calls.append("second")
        return {}

    graph = in_a_row(first=first, second=second).compile(checkpointer=runs.saver)
    with pytest.raises(LeaseLost):
        await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    assert calls == ["first"]
    found = await runs.saver.aget_tuple(lease.config)
    assert found is not None
    assert found.pending_writes == []
    assert "zombie" not in found.checkpoint["channel_values"]["seen"]


async def test_a_put_without_a_lease_is_refused(runs: Runs) -> None:
    """Before any node has run."""
    runs.lease()
    graph = in_a_row(a=says("a")).compile(checkpointer=runs.saver)
    config: RunnableConfig = {"configurable": {"thread_id": "t-1"}}
    with pytest.raises(LeaseRequired):
        await graph.ainvoke({"seen": []}, config, durability="sync")
    with pytest.raises(LeaseRequired):
        await runs.saver.adelete_thread("t-1")
    assert [found async for found in runs.saver.alist(config)] == []


async def test_listing_may_be_interleaved_with_writing(runs: Runs) -> None:
    """The pages were taken before the first was shown."""
    lease = runs.lease()
    at = lease.config
    for _ in range(3):
        at = await put_empty(runs, at)
    async for _ in runs.saver.alist(lease.config):
        await runs.saver.aput_writes(at, [("seen", ["x"])], "call-1")
        await put_empty(runs, at)
    assert len([found async for found in runs.saver.alist(lease.config, limit=9)]) == 6


async def test_a_failed_node_keeps_what_its_siblings_did(runs: Runs) -> None:
    """Another try runs only the node that failed."""
    broken, calls = True, []
    lease = runs.lease()

    def sibling_done() -> bool:
        found = runs.saver.get_tuple(lease.config)
        assert found is not None
        return ["good"] in [value for _, _, value in found.pending_writes or []]

    async def bad(state: State) -> State:
        del state
        calls.append("bad")
        if broken:
            await asyncio.to_thread(wait_until, sibling_done, "the sibling is done")
            raise ValueError("no")
        return {"seen": ["bad"]}

    async def good(state: State) -> State:
        del state
        calls.append("good")
        return {"seen": ["good"]}

    graph = side_by_side(bad=bad, good=good).compile(checkpointer=runs.saver)
    with pytest.raises(ValueError, match="no"):
        await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    broken = False
    result = await graph.ainvoke(None, lease.config, durability="sync")
    assert sorted(result["seen"]) == ["after", "bad", "good"]
    assert sorted(calls) == ["bad", "bad", "good"]


async def test_an_interrupt_in_a_graph_inside_a_graph_is_answered_by_another(runs: Runs) -> None:
    """The question of the inner graph is durable under the same lease."""

    async def ask(state: State) -> State:
        del state
        return {"seen": [interrupt("?")]}

    inner = in_a_row(ask=ask).compile()
    graph = in_a_row(before=says("before"), inner=inner).compile(checkpointer=runs.saver)
    lease = runs.lease()
    await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    assert lease.interrupted
    successor = runs.supersede(lease)
    result = await graph.ainvoke(Command(resume="yes"), successor.config, durability="sync")
    assert result["seen"][-1] == "yes"


def joined(value: list[str], added: Sequence[list[str]]) -> list[str]:
    """What there was, and what several writes have added."""
    return [*value, *itertools.chain(*added)]


class Deltas(TypedDict):
    """State that is kept as what each step added, and not whole."""

    seen: Annotated[list[str], DeltaChannel(joined)]


@pytest.mark.parametrize("in_loop", [True, False])
async def test_state_kept_as_deltas_is_put_together_again(
    runs: Runs,
    in_loop: bool,  # noqa: FBT001 - a case
) -> None:
    """From the pending writes of the steps before, in a loop and without."""

    def node(state: Any) -> Any:
        return {"seen": [str(len(state["seen"]))]}

    graph: Graph = StateGraph(Deltas)
    before = START
    for name in ("a", "b", "c"):
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    compiled = graph.compile(checkpointer=runs.saver)
    lease = runs.lease()
    if in_loop:
        await compiled.ainvoke({"seen": ["x"]}, lease.config, durability="sync")
        state = await compiled.aget_state(lease.config)
    else:
        await asyncio.to_thread(compiled.invoke, {"seen": ["x"]}, lease.config, durability="sync")
        state = await asyncio.to_thread(compiled.get_state, lease.config)
    assert state.values == {"seen": ["x", "1", "2", "3"]}
