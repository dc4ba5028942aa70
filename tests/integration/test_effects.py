"""``baton.once``: recorded once under the fence, recognised afterwards, by a stable key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send
from tests.support.runs import Graph, Runs, State, in_a_row, says

import baton
from baton.errors import BadInput, LeaseLost, LeaseRequired

#: These hold for any store.
BOTH_STORES = True


class Target:
    """Something outside that things happen to."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.got: list[tuple[str, Any]] = []

    def send(self, key: str, value: Any = None) -> str:
        """Happen once more."""
        self.got.append((key, value))
        return f"receipt {len(self.got)}"


class CrashError(Exception):
    """The process would be gone now."""


def invoke(runs: Runs, graph: Graph, value: Any, config: RunnableConfig) -> Any:
    """Run a graph on the fenced saver."""
    compiled = graph.compile(checkpointer=runs.saver)
    return compiled.invoke(value, config, durability="sync")


def effects(runs: Runs) -> list[str]:
    """The types of the ledger's effect events."""
    return [e.type for e in runs.house.store.chain("task:t-1") if e.type.startswith("effect")]


def test_an_effect_is_recorded_with_its_result(runs: Runs) -> None:
    """By its key and not by its value, on the step that it belongs to."""
    target = Target()

    def node(state: State) -> State:
        del state
        receipt = baton.once("mail", target.send, baton.effect_key("mail"), value="secret")
        return {"seen": [receipt]}

    lease = runs.lease()
    assert invoke(runs, in_a_row(node=node), {"seen": []}, lease.config)["seen"] == ["receipt 1"]
    (event,) = [e for e in runs.house.store.chain("task:t-1") if e.type.startswith("effect")]
    ((key, value),) = target.got
    assert (event.type, event.data, value) == ("effect", {"effect_key": key}, "secret")
    assert (event.epoch, event.worker_id, event.run_id) == (1, "w-1", lease.claim.run_id)
    steps = [e.step_id for e in runs.house.store.chain("task:t-1") if e.type == "step"]
    assert event.step_id == steps[-2]
    assert "secret" not in "".join(e.payload for e in runs.house.events())


def test_an_effect_is_not_repeated_after_a_crash(runs: Runs) -> None:
    """Its result was recorded, and the node was not: another worker finds it."""
    target, crashes = Target(), [True]

    def node(state: State) -> State:
        del state
        receipt = baton.once("mail", target.send, baton.effect_key("mail"))
        if crashes.pop():
            crashes.append(False)
            raise CrashError
        return {"seen": [receipt]}

    lease = runs.lease()
    with pytest.raises(CrashError):
        invoke(runs, in_a_row(node=node), {"seen": []}, lease.config)
    crashes[:] = [False]
    successor = runs.supersede(lease)
    result = invoke(runs, in_a_row(node=node), None, successor.config)
    assert result["seen"] == ["receipt 1"]
    assert len(target.got) == 1
    assert effects(runs) == ["effect", "effect_deduplicated"]


def test_an_effect_that_was_not_recorded_is_repeated_under_the_same_key(runs: Runs) -> None:
    """So that a target that honours the key does it once all the same."""
    target = Target()

    def crashing_send(key: str) -> str:
        target.send(key)
        if len(target.got) == 1:
            raise CrashError
        return "receipt"

    def node(state: State) -> State:
        del state
        return {"seen": [baton.once("mail", crashing_send, baton.effect_key("mail"))]}

    lease = runs.lease()
    with pytest.raises(CrashError):
        invoke(runs, in_a_row(node=node), {"seen": []}, lease.config)
    assert effects(runs) == []
    successor = runs.supersede(lease)
    assert invoke(runs, in_a_row(node=node), None, successor.config)["seen"] == ["receipt"]
    keys = [key for key, _ in target.got]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_retry_of_the_node_finds_its_effects(runs: Runs) -> None:
    """LangGraph calls the node again under the same id."""
    target, tries = Target(), []

    def node(state: State) -> State:
        del state
        tries.append(1)
        receipt = baton.once("mail", target.send, baton.effect_key("mail"))
        if len(tries) < 3:
            raise ConnectionError
        return {"seen": [receipt]}

    graph: Graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    graph.add_node("node", node, retry_policy=policy)
    graph.add_edge(START, "node")
    assert invoke(runs, graph, {"seen": []}, runs.lease().config)["seen"] == ["receipt 1"]
    assert (len(tries), len(target.got)) == (3, 1)
    assert effects(runs) == ["effect", "effect_deduplicated", "effect_deduplicated"]


def test_effects_of_one_node_are_told_apart_by_their_names(runs: Runs) -> None:
    """And one name in one node is one effect."""
    target = Target()

    def node(state: State) -> State:
        del state
        receipts = [baton.once(name, target.send, name) for name in ("a", "b", "a")]
        return {"seen": receipts}

    result = invoke(runs, in_a_row(node=node), {"seen": []}, runs.lease().config)
    assert result["seen"] == ["receipt 1", "receipt 2", "receipt 1"]
    assert [key for key, _ in target.got] == ["a", "b"]


def spread(work: Callable[[State], Any], width: int) -> Graph:
    """A graph that does the same to several things at once."""
    graph: Graph = StateGraph(State)
    graph.add_node("begin", says("begin"))
    graph.add_node("work", work)
    graph.add_edge(START, "begin")
    sends = [Send("work", {"item": "the same"}) for _ in range(width)]
    graph.add_conditional_edges("begin", lambda _: sends, ["work"])
    graph.add_edge("work", END)
    return graph


def test_siblings_of_a_send_have_keys_of_their_own(runs: Runs) -> None:
    """Even if they do the same to the same."""
    target, lock = Target(), threading.Lock()

    def send(key: str) -> str:
        with lock:
            return target.send(key)

    def work(state: State) -> State:
        del state
        return {"seen": [baton.once("mail", send, baton.effect_key("mail"))]}

    invoke(runs, spread(work, 5), {"seen": []}, runs.lease().config)
    assert len({key for key, _ in target.got}) == 5
    assert effects(runs) == ["effect"] * 5


def test_one_name_in_two_steps_or_two_tasks_is_two_effects(runs: Runs) -> None:
    """A key names the step and the task it belongs to."""
    keys: list[str] = []

    def node(state: State) -> State:
        del state
        keys.append(baton.effect_key("mail"))
        return {}

    graph = in_a_row(first=node, second=node)
    for task_id in ("t-1", "t-2"):
        invoke(runs, graph, {"seen": []}, runs.lease(task_id).config)
    assert len(keys) == len(set(keys)) == 4
    assert all(len(key) == 64 for key in keys)


def test_an_effect_in_a_graph_inside_a_graph(runs: Runs) -> None:
    """It runs under the lease of the whole, and is recognised there."""
    target, broken = Target(), True

    def effect(state: State) -> State:
        del state
        return {"seen": [baton.once("mail", target.send, "x")]}

    def then(state: State) -> State:
        del state
        if broken:
            raise CrashError
        return {}

    inner = in_a_row(effect=effect).compile()

    def outer(state: State) -> Any:
        found = inner.invoke(state)
        then(state)
        return {"seen": found["seen"][-1:]}

    graph = in_a_row(outer=outer)
    lease = runs.lease()
    with pytest.raises(CrashError):
        invoke(runs, graph, {"seen": []}, lease.config)
    broken = False
    successor = runs.supersede(lease)
    assert invoke(runs, graph, None, successor.config)["seen"] == ["receipt 1"]
    assert len(target.got) == 1


def test_a_superseded_worker_causes_no_effect(runs: Runs) -> None:
    """The fence is asked before the function is called."""
    target, lease = Target(), runs.lease()

    def node(state: State) -> State:
        del state
        runs.supersede(lease)
        return {"seen": [baton.once("mail", target.send, "x")]}

    with pytest.raises(LeaseLost) as lost:
        invoke(runs, in_a_row(node=node), {"seen": []}, lease.config)
    assert lost.value.why == "superseded"
    assert target.got == []
    assert lease.lost == "superseded"
    refused = runs.house.last(f"session:{lease.claim.key.session_id}")
    assert refused.type == "write_refused"
    found = runs.saver.get_tuple(lease.config)
    assert found is not None
    assert "__error__" not in {channel for _, channel, _ in found.pending_writes or []}


def test_a_result_that_comes_after_the_takeover_is_not_recorded(runs: Runs) -> None:
    """What has happened cannot be recalled; the successor's key tells the target."""
    target, lease = Target(), runs.lease()

    def slow(key: str) -> str:
        if len(target.got) == 0:
            runs.supersede(lease)
        return target.send(key)

    def node(state: State) -> State:
        del state
        return {"seen": [baton.once("mail", slow, baton.effect_key("mail"))]}

    with pytest.raises(LeaseLost):
        invoke(runs, in_a_row(node=node), {"seen": []}, lease.config)
    assert effects(runs) == []
    assert len(target.got) == 1


@pytest.mark.parametrize("why", ["expired", "lost"])
def test_a_worker_that_may_have_lost_its_lease_causes_no_effect(runs: Runs, why: str) -> None:
    """Its own session says so before the store is asked."""
    target, lease = Target(), runs.lease()
    session = lease.session

    def node(state: State) -> State:
        del state
        session.end(why)
        return {"seen": [baton.once("mail", target.send, "x")]}

    with pytest.raises(LeaseLost) as lost:
        invoke(runs, in_a_row(node=node), {"seen": []}, lease.config)
    assert lost.value.why == why
    assert target.got == []


def test_outside_a_node_it_says_so() -> None:
    """There is nothing that an effect could belong to."""
    for call in (lambda: baton.once("mail", str), lambda: baton.effect_key("mail")):
        with pytest.raises(BadInput) as bad:
            call()
        assert str(bad.value) == "baton.once and baton.effect_key work inside a node only"


def test_without_a_lease_it_is_refused(runs: Runs) -> None:
    """A graph on another checkpointer has nobody to record its effects."""
    target = Target()

    def node(state: State) -> State:
        del state
        return {"seen": [baton.once("mail", target.send, "x")]}

    graph = in_a_row(node=node).compile(checkpointer=InMemorySaver())
    runs.lease()
    with pytest.raises(LeaseRequired, match="no lease for thread 't-1'"):
        graph.invoke({"seen": []}, {"configurable": {"thread_id": "t-1"}})
    assert target.got == []


def test_results_come_back_as_they_were(runs: Runs) -> None:
    """Whatever LangGraph's serializer makes of them, on the first run too."""
    values = [None, 0, "", b"x", {"a": [1, {"b": None}]}, Path("x/y"), (1, 2)]
    found: list[Any] = []

    def node(state: State) -> State:
        del state
        for number, value in enumerate(values * 2):
            name = str(number % len(values))
            found.append(baton.once(name, lambda value=value: value))
        return {}

    invoke(runs, in_a_row(node=node), {"seen": []}, runs.lease().config)
    assert found[len(values) :] == found[: len(values)] == [*values[:-1], [1, 2]]
    assert effects(runs).count("effect_deduplicated") == len(values)


# In an event loop


async def test_an_asynchronous_node_calls_an_ordinary_function(runs: Runs) -> None:
    """The same as in a synchronous one."""
    target, broken = Target(), True

    async def node(state: State) -> State:
        del state
        receipt = baton.once("mail", target.send, baton.effect_key("mail"))
        await asyncio.sleep(0)
        if broken:
            raise CrashError
        return {"seen": [receipt]}

    lease = runs.lease()
    graph = in_a_row(node=node).compile(checkpointer=runs.saver)
    with pytest.raises(CrashError):
        await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    broken = False
    successor = runs.supersede(lease)
    result = await graph.ainvoke(None, successor.config, durability="sync")
    assert result["seen"] == ["receipt 1"]
    assert len(target.got) == 1
    assert effects(runs) == ["effect", "effect_deduplicated"]


async def test_an_asynchronous_effect_is_awaited(runs: Runs) -> None:
    """Its result is recorded, and not the promise of it."""
    target, broken = Target(), True

    async def send(key: str, *, value: int) -> str:
        await asyncio.sleep(0)
        return target.send(key, value)

    async def node(state: State) -> State:
        del state
        receipt = await baton.once("mail", send, baton.effect_key("mail"), value=7)
        if broken:
            raise CrashError
        return {"seen": [receipt]}

    lease = runs.lease()
    graph = in_a_row(node=node).compile(checkpointer=runs.saver)
    with pytest.raises(CrashError):
        await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    broken = False
    successor = runs.supersede(lease)
    result = await graph.ainvoke(None, successor.config, durability="sync")
    assert result["seen"] == ["receipt 1"]
    assert [value for _, value in target.got] == [7]
    assert effects(runs) == ["effect", "effect_deduplicated"]


async def test_the_promise_of_an_effect_is_refused(runs: Runs) -> None:
    """A function that only begins an async one would be recorded before anything happened."""
    target = Target()

    async def send() -> str:
        return target.send("x")

    async def node(state: State) -> State:
        del state
        await baton.once("mail", lambda: send())  # noqa: PLW0108 - the mistake to be caught
        return {}

    graph = in_a_row(node=node).compile(checkpointer=runs.saver)
    with pytest.raises(BadInput, match="needs the async function itself, to await it"):
        await graph.ainvoke({"seen": []}, runs.lease().config, durability="sync")
    assert target.got == []
    assert effects(runs) == []


async def test_siblings_in_a_loop_do_not_mix_their_effects(runs: Runs) -> None:
    """Each awaits, and goes on in its own name."""
    target = Target()

    async def send(key: str) -> str:
        await asyncio.sleep(0)
        target.send(key)
        return key

    async def work(state: State) -> State:
        del state
        await asyncio.sleep(0)
        key = baton.effect_key("mail")
        assert await baton.once("mail", send, key) == key
        return {"seen": [key]}

    lease = runs.lease()
    graph = spread(work, 6).compile(checkpointer=runs.saver)
    result = await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    assert len(set(result["seen"])) == 7
    assert effects(runs) == ["effect"] * 6


async def test_a_superseded_worker_causes_no_asynchronous_effect(runs: Runs) -> None:
    """The fence is asked before the function is called."""
    target, lease = Target(), runs.lease()

    async def send() -> str:
        return target.send("x")

    async def node(state: State) -> State:
        del state
        runs.supersede(lease)
        return {"seen": [await baton.once("mail", send)]}

    graph = in_a_row(node=node).compile(checkpointer=runs.saver)
    with pytest.raises(LeaseLost):
        await graph.ainvoke({"seen": []}, lease.config, durability="sync")
    assert target.got == []
