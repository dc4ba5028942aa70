"""A worker in this process runs every kind of graph to its end, on either kind of store."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send, interrupt
from tests.support.runs import State, in_a_row, says, side_by_side, wait_until

import baton
from baton.domain.ledger import task_chain
from baton.domain.words import TaskState
from baton.errors import BadInput, IllegalTransition
from baton.fleet.driver import Hooks
from baton.fleet.sqlite_store import SqliteStore

Graph = StateGraph[Any, Any, Any, Any]

#: These hold for any store.
BOTH_STORES = True


@pytest.fixture
def fleet(store_url: str) -> Iterator[baton.Fleet]:
    """A fleet on a store of its own."""
    with baton.open(store_url, kind="worker") as fleet:
        yield fleet


def fan_out() -> Graph:
    """Ten leaves side by side, more than LangGraph's pool has threads here."""
    graph: Graph = StateGraph(State)
    graph.add_node("plan", says("plan"))
    graph.add_node("leaf", lambda state: {"seen": [state["item"]]})
    graph.add_node("join", says("join"))
    graph.add_edge(START, "plan")
    graph.add_conditional_edges(
        "plan", lambda _: [Send("leaf", {"item": f"leaf-{i}"}) for i in range(10)], ["leaf"]
    )
    graph.add_edge("leaf", "join")
    graph.add_edge("join", END)
    return graph


def with_subgraph() -> Graph:
    """A node that is a graph itself."""
    return in_a_row(
        before=says("before"),
        inner=in_a_row(one=says("one"), two=says("two")).compile(),
        after=says("after"),
    )


def asynchronous() -> Graph:
    """Nodes that only an event loop can run."""

    async def node(state: State) -> State:
        del state
        return {"seen": ["async"]}

    return in_a_row(first=node, second=node)


def asking() -> Graph:
    """A node that waits for somebody's answer."""
    return in_a_row(before=says("before"), ask=lambda _: {"seen": [interrupt("which?")]})


class Talk(TypedDict):
    """A conversation."""

    messages: Annotated[list[BaseMessage], add_messages]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent() -> Graph:
    """The prebuilt tool node behind a chat model that follows a script."""
    call = ToolCall(name="add", args={"a": 2, "b": 3}, id="call-1")
    script = iter([AIMessage("", tool_calls=[call], id="m-1"), AIMessage("It is 5.", id="m-2")])
    model = GenericFakeChatModel(messages=script)
    graph: Graph = StateGraph(Talk)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([add]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph


def work(fleet: baton.Fleet, graph: Graph, **settings: Any) -> None:
    """Run one worker until nothing is left to do."""
    worker = baton.Worker(
        fleet, {"g": graph}, worker_id="w-1", until_idle=True, poll_seconds=0.01, **settings
    )
    worker.run()


def values(fleet: baton.Fleet, graph: Graph, task_id: str) -> dict[str, Any]:
    """The final state of a task."""
    config = {"configurable": {"thread_id": task_id}}
    state: dict[str, Any] = fleet.attach(graph).get_state(config).values  # type: ignore[arg-type]
    return state


def undisturbed(graph: Graph, value: Any) -> dict[str, Any]:
    """What the graph comes to without Baton."""
    config = {"configurable": {"thread_id": "control"}}
    compiled = graph.compile(checkpointer=InMemorySaver())
    compiled.invoke(value, config, durability="sync")  # type: ignore[arg-type]
    state: dict[str, Any] = compiled.get_state(config).values  # type: ignore[arg-type]
    return state


@pytest.mark.parametrize(
    "make", [lambda: in_a_row(a=says("a"), b=says("b")), fan_out, with_subgraph]
)
def test_a_graph_comes_to_what_it_comes_to_without_baton(fleet: baton.Fleet, make: Any) -> None:
    """Leases, fences and guards leave the result alone."""
    fleet.submit("g", {"seen": ["in"]}, task_id="t-1")
    work(fleet, make())
    assert fleet.task("t-1").state is TaskState.DONE
    assert values(fleet, make(), "t-1") == undisturbed(make(), {"seen": ["in"]})


def test_an_async_graph_runs_on_a_loop_of_its_own(fleet: baton.Fleet) -> None:
    """The worker sees that only an event loop can run it."""
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, asynchronous())
    assert values(fleet, asynchronous(), "t-1") == {"seen": ["async", "async"]}


def test_a_prebuilt_agent_calls_its_tool(fleet: baton.Fleet) -> None:
    """A chat model that asks for a tool, LangGraph's own tool node, and the model again."""
    fleet.submit("g", {"messages": [HumanMessage("2 + 3?", id="m-0")]}, task_id="t-1")
    work(fleet, agent())
    texts = [message.content for message in values(fleet, agent(), "t-1")["messages"]]
    assert texts == ["2 + 3?", "", "5", "It is 5."]


def test_an_interrupt_waits_for_its_answer(fleet: baton.Fleet) -> None:
    """The lease is given back; the answer begins a new run, which finishes."""
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, asking())
    before = fleet.task("t-1")
    assert before.state is TaskState.INTERRUPTED
    assert before.session_id is None
    run_id = fleet.resume("t-1", "this one")
    work(fleet, asking())
    after = fleet.task("t-1")
    assert after.state is TaskState.DONE
    assert after.run_id == run_id != before.run_id
    assert values(fleet, asking(), "t-1") == {"seen": ["before", "this one"]}


def test_an_answer_nobody_asked_for_is_refused(fleet: baton.Fleet) -> None:
    """Only an interrupted task can be resumed."""
    fleet.submit("g", {"seen": []}, task_id="t-1")
    with pytest.raises(IllegalTransition, match="pending, and resume is only for interrupted"):
        fleet.resume("t-1", "what?")


def test_a_static_breakpoint_is_an_interrupt_too(fleet: baton.Fleet) -> None:
    """A graph compiled to stop before a node leaves the task interrupted, not done."""
    graph = in_a_row(a=says("a"), b=says("b")).compile(interrupt_before=["b"])
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, graph)
    assert fleet.task("t-1").state is TaskState.INTERRUPTED


def test_a_node_that_raises_fails_its_run_and_keeps_the_words_out_of_the_ledger(
    fleet: baton.Fleet,
) -> None:
    """People read the error with the task; the ledger keeps its type and its digest."""

    def breaks(state: State) -> State:
        del state
        raise ValueError("secret-of-the-user")

    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, in_a_row(breaks=breaks))
    task = fleet.task("t-1")
    assert (task.state, task.error) == (TaskState.FAILED, "ValueError: secret-of-the-user")
    last = fleet.store.chain(task_chain("t-1"))[-1]
    assert (last.type, last.reason) == ("failed", "ValueError")
    assert all("secret-of-the-user" not in event.payload for event in fleet.store.events())


def test_a_failed_task_is_retried_from_its_last_checkpoint(fleet: baton.Fleet) -> None:
    """What was durable is not run again."""
    runs: list[str] = []
    broken = threading.Event()

    def first(state: State) -> State:
        del state
        runs.append("first")
        return {"seen": ["first"]}

    def second(state: State) -> State:
        del state
        runs.append("second")
        if not broken.is_set():
            broken.set()
            raise ValueError("once")
        return {"seen": ["second"]}

    graph = in_a_row(first=first, second=second)
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, graph)
    fleet.store.retry("t-1")
    work(fleet, graph)
    assert runs == ["first", "second", "second"]
    assert values(fleet, graph, "t-1") == {"seen": ["first", "second"]}


@contextmanager
def stock_saver(store_url: str) -> Iterator[BaseCheckpointSaver[str]]:
    """LangGraph's own saver on the same tables."""
    if store_url.startswith("sqlite"):
        with SqliteSaver.from_conn_string(store_url.removeprefix("sqlite:///")) as saver:
            yield saver
    else:
        with PostgresSaver.from_conn_string(store_url) as saver:
            yield saver


def test_a_stock_saver_reads_what_the_worker_wrote(fleet: baton.Fleet, store_url: str) -> None:
    """Checkpoints stay in LangGraph's own tables, stamped with the lease that wrote them."""
    graph = in_a_row(a=says("a"))
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, graph)
    with stock_saver(store_url) as stock:
        found = list(stock.list({"configurable": {"thread_id": "t-1"}}))
    assert [one.metadata["step"] for one in found] == [1, 0, -1]
    assert {one.metadata["lease_epoch"] for one in found} == {1}  # type: ignore[typeddict-item]
    assert {one.metadata["baton_worker"] for one in found} == {"w-1"}  # type: ignore[typeddict-item]


def test_a_stock_saver_goes_on_with_what_the_worker_wrote(
    fleet: baton.Fleet, store_url: str
) -> None:
    """Leaving Baton is as easy as coming: the stock saver answers the interrupt and finishes."""
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, asking())
    config = {"configurable": {"thread_id": "t-1"}}
    with stock_saver(store_url) as stock:
        graph = asking().compile(checkpointer=stock)
        output = graph.invoke(Command(resume="by hand"), config, durability="sync")  # type: ignore[arg-type]
    assert output == {"seen": ["before", "by hand"]}


def test_concurrency_is_used_and_bounded(fleet: baton.Fleet) -> None:
    """Three slots run three tasks at once, and never four."""
    running = 0
    most = 0
    lock, together = threading.Lock(), threading.Barrier(3)

    def node(state: State) -> State:
        nonlocal running, most
        del state
        with lock:
            running += 1
            most = max(most, running)
        together.wait(20)
        with lock:
            running -= 1
        return {"seen": ["done"]}

    for index in range(6):
        fleet.submit("g", {"seen": []}, task_id=f"t-{index}")
    work(fleet, in_a_row(node=node), concurrency=3)
    assert most == 3
    assert {task.state for task in fleet.store.tasks()} == {TaskState.DONE}


def test_a_worker_takes_only_its_own_pool_and_graphs(fleet: baton.Fleet) -> None:
    """What belongs to others stays pending."""
    fleet.submit("g", {"seen": []}, task_id="mine")
    fleet.submit("other", {"seen": []}, task_id="other-graph")
    fleet.submit("g", {"seen": []}, task_id="other-pool", pool="elsewhere")
    work(fleet, in_a_row(a=says("a")))
    states = {task.task_id: task.state for task in fleet.store.tasks()}
    assert states == {
        "mine": TaskState.DONE,
        "other-graph": TaskState.PENDING,
        "other-pool": TaskState.PENDING,
    }


def test_a_drain_hands_the_run_over_at_the_next_super_step(fleet: baton.Fleet) -> None:
    """The node at hand finishes, the next does not start here, and the successor does not wait."""
    started, proceed = threading.Event(), threading.Event()

    def slow(state: State) -> State:
        del state
        started.set()
        assert proceed.wait(20)
        return {"seen": ["slow"]}

    graph = in_a_row(slow=slow, next=says("next"))
    fleet.submit("g", {"seen": []}, task_id="t-1")
    first = baton.Worker(fleet, {"g": graph}, worker_id="w-1", poll_seconds=0.01)
    thread = threading.Thread(target=first.run)
    thread.start()
    assert started.wait(20)
    first.drain()
    wait_until(lambda: any(e.type == "session_draining" for e in fleet.store.events()), "the drain")
    proceed.set()
    thread.join(20)
    assert fleet.task("t-1").state is TaskState.PENDING
    work(fleet, graph)
    claims = [e for e in fleet.store.chain(task_chain("t-1")) if e.type == "claimed"]
    assert [event.reason for event in claims] == [None, "drained"]
    assert values(fleet, graph, "t-1") == {"seen": ["slow", "next"]}


def test_the_hooks_hear_of_nodes_writes_and_heartbeats(fleet: baton.Fleet) -> None:
    """What a worker measures reaches whoever exports it."""
    nodes: list[tuple[str, str]] = []
    writes: list[float] = []
    hooks = Hooks(on_node=lambda g, n, _: nodes.append((g, n)), on_write=writes.append)
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, side_by_side(left=says("left"), right=says("right")), hooks=hooks)
    assert sorted(nodes) == [("g", "after"), ("g", "left"), ("g", "right")]
    assert len(writes) == len([e for e in fleet.store.events() if e.type == "step"])


def test_nodes_of_subgraphs_are_guarded_too(fleet: baton.Fleet) -> None:
    """Each node at any depth is seen, and the graph that was passed in stays as it was."""
    nodes: list[str] = []
    graph = with_subgraph()
    fleet.submit("g", {"seen": []}, task_id="t-1")
    work(fleet, graph, hooks=Hooks(on_node=lambda _, node, __: nodes.append(node)))
    assert sorted(nodes) == ["after", "before", "inner", "one", "two"]


@pytest.mark.parametrize("graph", ["not a graph", None])
def test_what_is_no_graph_is_refused(fleet: baton.Fleet, graph: Any) -> None:
    """One line that says what is needed."""
    with pytest.raises(BadInput, match="neither a StateGraph nor a compiled graph"):
        baton.Worker(fleet, {"g": graph}, worker_id="w-1")


@pytest.mark.parametrize(
    ("setting", "name"), [("worker_id", "a b"), ("pool", ""), ("worker_id", "../x")]
)
def test_names_that_do_not_travel_are_refused(fleet: baton.Fleet, setting: str, name: str) -> None:
    """Names end up in metrics, files and commands."""
    settings = {"worker_id": "w-1", "pool": "default", setting: name}
    with pytest.raises(BadInput, match=f"{setting.removesuffix('_id')} '{name}'"):
        baton.Worker(fleet, {"g": in_a_row(a=says("a"))}, **settings)  # type: ignore[arg-type]


def test_no_warning_is_left_to_the_user(fleet: baton.Fleet) -> None:
    """LangGraph has nothing to complain about in the way its parts are used."""
    fleet.submit("g", {"seen": []}, task_id="t-1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        work(fleet, in_a_row(a=says("a")))
    assert fleet.task("t-1").state is TaskState.DONE


def test_what_the_store_cannot_keep_fails_the_task(fleet: baton.Fleet) -> None:
    """A row beyond SQLite's limit, a NUL in PostgreSQL's JSON: no other worker need try."""
    if isinstance(fleet.store, SqliteStore):
        fleet.store.data.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    first, second = ({"seen": [half], "item": "\0"} for half in ("x" * 60_000, "y" * 60_000))
    graph = in_a_row(first=lambda _: first, second=lambda _: second)
    fleet.submit("g", {"seen": []}, task_id="t-1")
    baton.Worker(fleet, {"g": graph}, worker_id="w-1", until_idle=True).run()
    task = fleet.task("t-1")
    assert (task.state, task.epoch) == (TaskState.FAILED, 1)
    assert "cannot keep what is written" in (task.error or "")


def test_a_result_that_sqlite_cannot_keep_fails_its_task_and_no_other(tmp_path: Path) -> None:
    """It is not kept for a later try, in which everybody's transactions would fail of it."""
    with baton.open(f"sqlite:///{tmp_path / 'fleet.db'}", kind="worker") as fleet:
        assert isinstance(fleet.store, SqliteStore)
        fleet.store.data.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        graphs = {
            "huge": in_a_row(a=lambda _: {"item": "x" * 120_000}),
            "fit": in_a_row(a=says("a")),
        }
        for name in graphs:
            fleet.submit(name, {"seen": []}, task_id=name)
        baton.Worker(fleet, graphs, worker_id="w-1", concurrency=2, until_idle=True).run()
        assert [fleet.task(name).state for name in graphs] == [TaskState.FAILED, TaskState.DONE]
        assert "cannot keep what is written" in (fleet.task("huge").error or "")
