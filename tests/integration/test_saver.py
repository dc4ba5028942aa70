"""The fenced saver under real graphs: what is durable when, who may write, who may read."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from tests.support.house import House, ManualClock, numbered, on_sqlite
from tests.support.runs import (
    Graph,
    Runs,
    State,
    in_a_row,
    runs_on,
    says,
    side_by_side,
    wait_until,
)

from baton.errors import LeaseLost, LeaseRequired
from baton.fleet.saver import EPOCH, RUN, SESSION, WORKER
from baton.fleet.store import memory_store, open_store

#: These hold for any store, save those that look into its files.
BOTH_STORES = True

# Helpers: what another process would see


@pytest.fixture
def other(tmp_path: Path, file_runs: Runs) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else to the store of ``file_runs``."""
    del file_runs
    with closing(sqlite3.connect(tmp_path / "fleet.db", check_same_thread=False)) as connection:
        yield connection


def channels(connection: sqlite3.Connection) -> list[str]:
    """The channels of all durable pending writes."""
    return [row[0] for row in connection.execute("SELECT channel FROM writes ORDER BY rowid")]


def said(connection: sqlite3.Connection) -> list[str]:
    """What nodes have said in durable pending writes."""
    rows = connection.execute("SELECT type, value FROM writes WHERE channel = 'seen'").fetchall()
    serde = SqliteSaver(connection).serde
    return sorted(word for row in rows for word in serde.loads_typed(row))


def config_at(lease_config: RunnableConfig, checkpoint_id: str) -> RunnableConfig:
    """The config that LangGraph passes on for a step of a run."""
    about = {"checkpoint_ns": "", "checkpoint_id": checkpoint_id}
    return {"configurable": {**lease_config["configurable"], **about}}


def put_empty(runs: Runs, config: RunnableConfig) -> RunnableConfig:
    """One checkpoint, and the config of the step after it."""
    about: RunnableConfig = {"configurable": {**config["configurable"], "checkpoint_ns": ""}}
    saved = runs.saver.put(about, empty_checkpoint(), {"source": "loop", "step": 0}, {})
    return config_at(config, saved["configurable"]["checkpoint_id"])


# One commit for a super-step


def commits(connection: sqlite3.Connection) -> list[str]:
    """A list that grows with each commit of a connection."""
    found: list[str] = []

    def trace(statement: str) -> None:
        if statement == "COMMIT":
            found.append(statement)

    connection.set_trace_callback(trace)
    return found


@on_sqlite
def test_a_super_step_is_one_commit(runs: Runs) -> None:
    """Its pending writes, its checkpoint and its event together; stock needs about two."""
    names = [f"n{number}" for number in range(10)]
    graph = in_a_row(**{name: says(name) for name in names})
    lease = runs.lease()
    ours = commits(runs.house.store.data.connection)
    graph.compile(checkpointer=runs.saver).invoke({"seen": []}, lease.config, durability="sync")
    steps = runs.house.types("task:t-1").count("step")
    assert steps == 12
    assert len(ours) == steps
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        saver = SqliteSaver(connection)
        saver.setup()
        stock = commits(connection)
        plain: RunnableConfig = {"configurable": {"thread_id": "t-1"}}
        graph.compile(checkpointer=saver).invoke({"seen": []}, plain, durability="sync")
    assert len(stock) == 2 * steps - 1


@on_sqlite
def test_a_put_takes_its_pending_writes_along(runs: Runs) -> None:
    """They and the checkpoint that follows from them are in one transaction, writes first."""
    lease = runs.lease()
    at = put_empty(runs, lease.config)
    order: list[str] = []

    def trace(statement: str) -> None:
        words = statement.split()
        if words[0] in ("BEGIN", "COMMIT"):
            order.append(words[0])
        elif words[0] == "INSERT":
            order.append(next(word for word in words if word in TABLES))

    runs.saver.put_writes(at, [("seen", ["a"]), ("other", 1)], "call-1")
    runs.saver.put_writes(at, [("seen", ["b"])], "call-2")
    runs.house.store.data.connection.set_trace_callback(trace)
    put_empty(runs, at)
    assert order == [
        *("BEGIN", "writes", "writes", "writes"),
        *("checkpoints", "baton_event", "COMMIT"),
    ]
    event = runs.house.last("task:t-1")
    assert event.data["writes"] == 3


TABLES = ("writes", "checkpoints", "baton_event")


def test_a_step_says_what_it_made_durable(runs: Runs) -> None:
    """By digest; the state itself stays in the checkpoint."""
    lease = runs.lease()
    graph = in_a_row(a=says("secret")).compile(checkpointer=runs.saver)
    graph.invoke({"seen": []}, lease.config, durability="sync")
    steps = [e for e in runs.house.store.chain("task:t-1") if e.type == "step"]
    history = list(runs.saver.list(lease.config))[::-1]
    assert [e.step_id for e in steps] == [found.checkpoint["id"] for found in history]
    assert [e.data["step"] for e in steps] == [-1, 0, 1]
    assert [e.data["source"] for e in steps] == ["input", "loop", "loop"]
    assert [e.data["parent"] for e in steps] == [None, *(e.step_id for e in steps[:-1])]
    assert len({e.data["digest"] for e in steps}) == 3
    assert {(e.run_id, e.worker_id, e.epoch) for e in steps} == {(lease.claim.run_id, "w-1", 1)}
    assert "secret" not in "".join(e.payload for e in runs.house.events())


# What is durable when


def test_parked_writes_are_durable_soon_without_a_checkpoint(
    file_runs: Runs, other: sqlite3.Connection
) -> None:
    """A node that finished before its siblings is not run again."""
    at = put_empty(file_runs, file_runs.lease().config)
    for n in range(3):
        file_runs.saver.put_writes(at, [(f"channel-{n}", n)], f"call-{n}")
        wait_until(lambda: len(channels(other)) == n + 1, "the write is durable")  # noqa: B023 - waited for in this round
    assert channels(other) == ["channel-0", "channel-1", "channel-2"]


def test_the_flusher_wakes_up_after_a_long_rest(file_runs: Runs, other: sqlite3.Connection) -> None:
    """It sleeps while nothing is parked, and must not sleep through the next."""
    at = put_empty(file_runs, file_runs.lease().config)
    file_runs.saver.put_writes(at, [("first", 1)], "call-1")
    data = file_runs.house.store.data
    wait_until(lambda: data._linger.resting, "the flusher sleeps")  # noqa: SLF001 - nothing else shows it
    file_runs.saver.put_writes(at, [("second", 2)], "call-2")
    wait_until(lambda: channels(other) == ["first", "second"], "the write is durable")


@pytest.mark.parametrize(
    "writes",
    [
        [("__interrupt__", ["?"])],
        [("__error__", "no")],
        [("__resume__", "yes")],
        [("__error__", "no"), ("__error_source_node__", "node")],
        [("seen", ["a"]), ("__resume__", ["yes"])],
    ],
    ids=lambda writes: "+".join(channel for channel, _ in writes),
)
def test_what_no_checkpoint_follows_is_durable_at_once(
    file_runs: Runs, other: sqlite3.Connection, writes: list[tuple[str, Any]]
) -> None:
    """Interrupts, errors and resume values, and what comes in one batch with them."""
    at = put_empty(file_runs, file_runs.lease().config)
    file_runs.saver.put_writes(at, writes, "call-1")
    assert sorted(channels(other)) == sorted(channel for channel, _ in writes)


@on_sqlite
def test_what_cannot_wait_takes_along_what_waits(runs: Runs) -> None:
    """So that no sibling is lost behind an interrupt."""
    at = put_empty(runs, runs.lease().config)
    runs.saver.put_writes(at, [("seen", ["a"])], "call-1")
    runs.saver.put_writes(at, [("__interrupt__", ["?"])], "call-2")
    connection = runs.house.store.data.connection
    assert {row[0] for row in connection.execute("SELECT channel FROM writes")} == {
        "seen",
        "__interrupt__",
    }


def test_reads_see_what_is_parked(runs: Runs) -> None:
    """Reading one's own writes is what LangGraph builds on."""
    at = put_empty(runs, runs.lease().config)
    runs.saver.put_writes(at, [("seen", ["a"])], "call-1")
    found = runs.saver.get_tuple(at)
    assert found is not None
    assert found.pending_writes == [("call-1", "seen", ["a"])]
    runs.saver.put_writes(at, [("seen", ["b"])], "call-2")
    (listed,) = runs.saver.list(at)
    assert listed.pending_writes is not None
    assert len(listed.pending_writes) == 2


def test_the_first_result_of_a_node_stands(runs: Runs) -> None:
    """As in the stock saver: a result may come twice; an interrupt's last one stands."""
    at = put_empty(runs, runs.lease().config)
    saver = runs.saver
    for value in ("first", "second"):
        saver.put_writes(at, [("seen", [value])], "call-1")
        saver.put_writes(at, [("__interrupt__", [value])], "call-1")
    found = saver.get_tuple(at)
    assert found is not None
    assert sorted(found.pending_writes or []) == [
        ("call-1", "__interrupt__", ["second"]),
        ("call-1", "seen", ["first"]),
    ]


def test_a_rollback_keeps_what_was_parked(runs: Runs) -> None:
    """Somebody else's transaction had taken it along, and failed."""
    at = put_empty(runs, runs.lease().config)
    runs.saver.put_writes(at, [("seen", ["a"])], "call-1")
    with failing_transaction(runs):
        runs.saver.put_writes(at, [("seen", ["b"])], "call-2")
    found = runs.saver.get_tuple(at)
    assert found is not None
    assert found.pending_writes == [("call-1", "seen", ["a"]), ("call-2", "seen", ["b"])]


@contextmanager
def failing_transaction(runs: Runs) -> Iterator[None]:
    """Somebody's transaction, which fails after the body."""
    with suppress(ZeroDivisionError), runs.house.store.data.write():
        yield
        raise ZeroDivisionError


class WatchedLock:
    """A lock that tells when somebody has come to it."""

    def __init__(self) -> None:
        """Begin with nobody at it."""
        self._lock = threading.Lock()
        self.reached = threading.Event()

    def acquire(self) -> None:
        """Take it."""
        self.reached.set()
        self._lock.acquire()

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def __enter__(self) -> None:
        """Take it."""
        self.acquire()

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.release()


@on_sqlite
def test_a_read_that_waited_for_a_failing_transaction_sees_what_was_parked(runs: Runs) -> None:
    """It looked while the transaction had taken the writes along, and got its turn after."""
    at = put_empty(runs, runs.lease().config)
    runs.saver.put_writes(at, [("seen", ["a"])], "call-1")
    data = runs.house.store.data
    lock = WatchedLock()
    data.lock = lock  # type: ignore[assignment]
    found: list[CheckpointTuple | None] = []
    reader = threading.Thread(target=lambda: found.append(runs.saver.get_tuple(at)))
    with failing_transaction(runs):
        lock.reached.clear()
        reader.start()
        assert lock.reached.wait(10)
    reader.join(10)
    assert [tuple_.pending_writes for tuple_ in found if tuple_] == [[("call-1", "seen", ["a"])]]


def test_a_finished_sibling_is_durable_while_another_still_runs(
    file_runs: Runs, other: sqlite3.Connection
) -> None:
    """A crash now would run only the long one again."""
    go_on = threading.Event()
    seen: list[str] = []

    def long(state: State) -> State:
        del state
        wait_until(lambda: said(other) == ["one", "two"], "both siblings are durable")
        seen.extend(said(other))
        go_on.set()
        return {"seen": ["long"]}

    graph = side_by_side(one=says("one"), two=says("two"), long=long)
    lease = file_runs.lease()
    result = graph.compile(checkpointer=file_runs.saver).invoke(
        {"seen": []}, lease.config, durability="sync"
    )
    assert go_on.is_set()
    assert seen == ["one", "two"]
    assert sorted(result["seen"]) == ["after", "long", "one", "two"]


def test_a_failed_node_keeps_what_its_siblings_did(runs: Runs) -> None:
    """Its error is recorded, and another try runs only the node that failed."""
    broken, calls = True, []
    lease = runs.lease()

    def pending() -> list[tuple[str, Any]]:
        found = runs.saver.get_tuple(lease.config)
        assert found is not None
        return [(channel, value) for _, channel, value in found.pending_writes or []]

    def bad(state: State) -> State:
        del state
        calls.append("bad")
        if broken:
            wait_until(lambda: ("seen", ["good"]) in pending(), "the sibling has finished")
            raise ValueError("no")
        return {"seen": ["bad"]}

    def good(state: State) -> State:
        del state
        calls.append("good")
        return {"seen": ["good"]}

    graph = side_by_side(bad=bad, good=good).compile(checkpointer=runs.saver)
    with pytest.raises(ValueError, match="no"):
        graph.invoke({"seen": []}, lease.config, durability="sync")
    assert "__error__" in [channel for channel, _ in pending()]
    assert ("seen", ["good"]) in pending()
    broken = False
    result = graph.invoke(None, lease.config, durability="sync")
    assert sorted(result["seen"]) == ["after", "bad", "good"]
    assert sorted(calls) == ["bad", "bad", "good"]


# The fence


def test_a_put_without_a_lease_is_refused(runs: Runs) -> None:
    """Before any node has run, in a line that says what to do; nothing is written."""
    calls: list[str] = []

    def node(state: State) -> State:
        del state
        calls.append("ran")
        return {}

    graph = in_a_row(a=node).compile(checkpointer=runs.saver)
    runs.lease()
    config: RunnableConfig = {"configurable": {"thread_id": "t-1"}}
    with pytest.raises(LeaseRequired) as required:
        graph.invoke({"seen": []}, config, durability="sync")
    assert str(required.value) == (
        "no lease for thread 't-1': write inside `with fleet.lease(...) as lease` "
        "and pass lease.config"
    )
    assert calls == []
    assert list(runs.saver.list(config)) == []
    for write in (
        lambda: put_empty(runs, config),
        lambda: runs.saver.put_writes(config_at(config, "x"), [("seen", [])], "call-1"),
        lambda: runs.saver.delete_thread("t-1"),
    ):
        with pytest.raises(LeaseRequired):
            write()


def test_reading_is_free(runs: Runs) -> None:
    """Anybody may look at anything."""
    lease = runs.lease()
    graph = in_a_row(a=says("a")).compile(checkpointer=runs.saver)
    graph.invoke({"seen": []}, lease.config, durability="sync")
    config: RunnableConfig = {"configurable": {"thread_id": "t-1"}}
    assert graph.get_state(config).values == {"seen": ["a"]}
    assert len(list(graph.get_state_history(config))) == 3
    assert len(list(runs.saver.list(None))) == 3
    assert len(list(runs.saver.list(config, limit=1))) == 1
    assert len(list(runs.saver.list(config, filter={"step": 1}))) == 1


def test_a_superseded_run_ends_with_the_node_it_was_in(runs: Runs) -> None:
    """Its put is refused, its next node is not run, and none of it is written."""
    calls: list[str] = []
    lease = runs.lease()

    def first(state: State) -> State:
        del state
        calls.append("first")
        runs.supersede(lease)
        return {"seen": ["zombie"]}

    def second(state: State) -> State:
        del state
        calls.append("second")
        return {"seen": ["zombie"]}

    graph = in_a_row(first=first, second=second).compile(checkpointer=runs.saver)
    with pytest.raises(LeaseLost) as lost:
        graph.invoke({"seen": ["start"]}, lease.config, durability="sync")
    assert (lost.value.task_id, lost.value.epoch, lost.value.why) == ("t-1", 1, "superseded")
    assert calls == ["first"]
    assert lease.lost == "superseded"
    found = runs.saver.get_tuple(lease.config)
    assert found is not None
    assert found.checkpoint["channel_values"]["seen"] == ["start"]
    assert found.pending_writes == []
    refused = runs.house.last(f"session:{lease.claim.key.session_id}")
    assert (refused.type, refused.task_id, refused.epoch) == ("write_refused", "t-1", 1)


def test_a_successor_goes_on_where_the_lost_one_was(runs: Runs) -> None:
    """Node results that were durable are kept; the one in flight runs again."""
    calls: list[str] = []
    lease = runs.lease()
    successors = []

    def first(state: State) -> State:
        del state
        calls.append("first")
        return {"seen": ["first"]}

    def second(state: State) -> State:
        del state
        calls.append("second")
        if not successors:
            successors.append(runs.supersede(lease))
        return {"seen": ["second"]}

    graph = in_a_row(first=first, second=second).compile(checkpointer=runs.saver)
    with pytest.raises(LeaseLost):
        graph.invoke({"seen": []}, lease.config, durability="sync")
    result = graph.invoke(None, successors[0].config, durability="sync")
    assert result["seen"] == ["first", "second"]
    assert calls == ["first", "second", "second"]
    steps = [e for e in runs.house.store.chain("task:t-1") if e.type == "step"]
    assert [(e.data["step"], e.epoch) for e in steps] == [(-1, 1), (0, 1), (1, 1), (2, 2)]


def test_special_writes_of_a_superseded_run_are_refused(runs: Runs) -> None:
    """An interrupt of a zombie would be answered by nobody."""
    lease = runs.lease()
    at = put_empty(runs, lease.config)
    runs.supersede(lease)
    with pytest.raises(LeaseLost):
        runs.saver.put_writes(at, [("__interrupt__", ["?"])], "call-1")
    assert runs.house.pending_writes("t-1") == 0
    assert lease.lost == "superseded"


def test_parked_writes_of_a_superseded_run_are_dropped_and_recorded(
    file_runs: Runs, other: sqlite3.Connection
) -> None:
    """LangGraph never awaits them, so the flusher has to tell the lease."""
    lease = file_runs.lease()
    at = put_empty(file_runs, lease.config)
    file_runs.supersede(lease)
    file_runs.saver.put_writes(at, [("seen", ["zombie"])], "call-1")
    wait_until(lambda: lease.lost is not None, "the lease learns that it is lost")
    file_runs.house.store.data.flush()
    assert channels(other) == []
    chain = f"session:{lease.claim.key.session_id}"
    assert file_runs.house.types(chain)[-1] == "write_refused"


def test_deleting_a_thread_needs_its_lease(file_runs: Runs) -> None:
    """Late writers would bring it back half; its ledger stays."""
    fleet, saver = file_runs.fleet, file_runs.saver
    graph = in_a_row(a=says("a")).compile(checkpointer=saver)
    with fleet.lease("thread-42") as lease:
        graph.invoke({"seen": []}, lease.config, durability="sync")
        config = lease.config
    with pytest.raises(LeaseRequired):
        saver.delete_thread("thread-42")
    before = file_runs.house.types("task:thread-42")
    with fleet.lease("thread-42"):
        saver.delete_thread("thread-42")
    assert saver.get_tuple(config) is None
    after = file_runs.house.types("task:thread-42")
    assert after == [*before, "claimed", "done"]
    with fleet.lease("thread-42") as lease:
        graph.invoke({"seen": []}, lease.config, durability="sync")
    assert len(list(saver.list(config))) == 3
    end_session(file_runs)


def end_session(runs: Runs) -> None:
    """End the session that ``fleet.lease`` started, and leave the store to its fixture."""
    store, runs.fleet.store = runs.fleet.store, _Unclosed(runs.fleet.store)  # type: ignore[assignment]
    runs.fleet.close()
    runs.fleet.store = store


class _Unclosed:
    """A store that somebody else will close."""

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return (lambda: None) if name == "close" else getattr(self._store, name)


# The same as stock, for whoever reads


def test_each_checkpoint_is_stamped(runs: Runs) -> None:
    """With who wrote it, so that a continuity check needs nothing but the checkpoints."""
    lease = runs.lease()
    graph = in_a_row(a=says("a")).compile(checkpointer=runs.saver)
    graph.invoke({"seen": []}, lease.config, durability="sync")
    for found in runs.saver.list(lease.config):
        stamp = {name: found.metadata[name] for name in (EPOCH, SESSION, RUN, WORKER)}  # type: ignore[literal-required]
        assert stamp == {
            EPOCH: 1,
            SESSION: lease.claim.key.session_id,
            RUN: lease.claim.run_id,
            WORKER: "w-1",
        }


def test_stock_saver_reads_everything(tmp_path: Path, file_runs: Runs) -> None:
    """Checkpoints, parents, metadata and pending writes, as ours reads them."""

    def ask(state: State) -> State:
        del state
        return {"seen": [interrupt("?")]}

    lease = file_runs.lease()
    graph = side_by_side(ask=ask, one=says("one"), two=says("two"))
    graph.compile(checkpointer=file_runs.saver).invoke(
        {"seen": ["start"]}, lease.config, durability="sync"
    )
    ours = list(file_runs.saver.list(None))
    with SqliteSaver.from_conn_string(str(tmp_path / "fleet.db")) as stock:
        assert list(stock.list(None)) == ours
        for found in ours:
            assert stock.get_tuple(found.config) == file_runs.saver.get_tuple(found.config)
        newest = stock.get_tuple({"configurable": {"thread_id": "t-1"}})
    assert newest is not None
    assert newest == ours[0]
    written = {channel for _, channel, _ in newest.pending_writes or []}
    assert {"seen", "__interrupt__"} <= written


def rows(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    """LangGraph's rows, without what differs from run to run: ids, and our stamp."""
    steps: dict[str, int] = {}
    found: list[tuple[object, ...]] = []
    for ns, step_id, parent, type_, metadata in connection.execute(
        "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, metadata"
        " FROM checkpoints ORDER BY checkpoint_id"
    ):
        about = json.loads(metadata)
        steps[step_id] = about["step"]
        # A namespace is the node's name and the id of the call.
        name = ns.partition(":")[0]
        found.append((name, about["step"], about["source"], steps.get(parent), type_))
    query = "SELECT checkpoint_id, task_path, idx, channel, type, value FROM writes"
    for step_id, path, idx, channel, type_, value in connection.execute(query):
        # An interrupt carries an id of its own.
        kept = None if channel == "__interrupt__" else value
        found.append((steps[step_id], path, idx, channel, type_, kept))
    return sorted(found, key=repr)


def fan_out() -> Graph:
    """A graph whose second step is as wide as its input."""

    def work(state: State) -> State:
        return {"seen": [f"worked on {state['item']}"]}

    def spread(state: State) -> list[Send]:
        return [Send("work", {"item": item}) for item in state["seen"]]

    graph: Graph = StateGraph(State)
    graph.add_node("begin", lambda _: {})
    graph.add_node("work", work)
    graph.add_node("after", says("after"))
    graph.add_edge(START, "begin")
    graph.add_conditional_edges("begin", spread, ["work"])
    graph.add_edge("work", "after")
    graph.add_edge("after", END)
    return graph


def nested() -> Graph:
    """A graph with a graph of two steps inside, whose own checkpoints are kept."""
    inner = in_a_row(inner_a=says("inner a"), inner_b=says("inner b")).compile(checkpointer=True)
    return in_a_row(before=says("before"), inner=inner, after=says("after"))


def asking() -> Graph:
    """A graph that stops at a question in the middle of a step."""

    def ask(state: State) -> State:
        del state
        return {"seen": [interrupt("?")]}

    return side_by_side(one=says("one"), ask=ask)


@pytest.mark.parametrize(
    "make",
    [lambda: in_a_row(a=says("a"), b=says("b")), fan_out, nested, asking],
    ids=["row", "fan_out", "nested", "asking"],
)
@on_sqlite
def test_the_rows_are_those_of_the_stock_saver(runs: Runs, make: Any) -> None:
    """Whatever the graph: one after another, wide, nested, or waiting for an answer."""
    value = {"seen": ["x", "y", "z"]}
    lease = runs.lease()
    ours = make().compile(checkpointer=runs.saver).invoke(value, lease.config, durability="sync")
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        saver = SqliteSaver(connection)
        config: RunnableConfig = {"configurable": {"thread_id": "t-1"}}
        theirs = make().compile(checkpointer=saver).invoke(value, config, durability="sync")
        assert ours.keys() == theirs.keys()
        assert ours["seen"] == theirs["seen"]
        runs.house.store.data.flush()
        assert rows(runs.house.store.data.connection) == rows(connection)


def test_a_graph_inside_a_graph_is_fenced_with_it(runs: Runs) -> None:
    """Its checkpoints live in another namespace of the same thread, under the same lease."""
    lease = runs.lease()
    graph = nested().compile(checkpointer=runs.saver)
    result = graph.invoke({"seen": []}, lease.config, durability="sync")
    assert result["seen"][-3:] == ["inner a", "inner b", "after"]
    steps = [e for e in runs.house.store.chain("task:t-1") if e.type == "step"]
    namespaces = {e.data["ns"] for e in steps}
    assert len(namespaces) == 2
    assert "" in namespaces
    assert {e.epoch for e in steps} == {1}


def test_a_superseded_graph_inside_a_graph_stops_too(runs: Runs) -> None:
    """Neither graph goes on."""
    lease, calls = runs.lease(), []

    def steal(state: State) -> State:
        del state
        calls.append("steal")
        runs.supersede(lease)
        return {}

    def more(state: State) -> State:
        del state
        calls.append("more")
        return {}

    inner = in_a_row(steal=steal, more=more).compile(checkpointer=True)
    graph = in_a_row(inner=inner, after=more).compile(checkpointer=runs.saver)
    with pytest.raises(LeaseLost):
        graph.invoke({"seen": []}, lease.config, durability="sync")
    assert calls == ["steal"]


def test_an_interrupt_is_answered_by_another_holder(runs: Runs) -> None:
    """The question is durable, and so is the answer, once it is recorded."""
    lease = runs.lease()
    graph = asking().compile(checkpointer=runs.saver)
    graph.invoke({"seen": []}, lease.config, durability="sync")
    assert lease.interrupted
    successor = runs.supersede(lease)
    result = graph.invoke(Command(resume="yes"), successor.config, durability="sync")
    assert sorted(result["seen"]) == ["after", "one", "yes"]
    assert not successor.interrupted


def test_recording_a_resume_value_clears_it_from_the_task(runs: Runs) -> None:
    """In the same transaction, so that it is neither lost nor given twice."""
    house = runs.house
    lease = runs.lease()
    graph = asking().compile(checkpointer=runs.saver)
    graph.invoke({"seen": []}, lease.config, durability="sync")
    runs.member(lease).interrupted(lease.claim)
    house.store.request_resume("t-1", runs.saver.serde.dumps_typed("yes"), "digest")
    answered = runs.hold(house.session("w-2"))
    assert answered.claim.resume is not None
    graph.invoke(Command(resume="yes"), answered.config, durability="sync")
    house.bury(runs.member(answered))
    assert house.session("w-3").claim().resume is None


def test_listing_may_be_interleaved_with_writing(runs: Runs) -> None:
    """The stock saver would wait for itself here."""
    lease = runs.lease()
    at = lease.config
    for _ in range(3):
        at = put_empty(runs, at)
    for found in runs.saver.list(lease.config):
        runs.saver.put_writes(
            config_at(lease.config, found.checkpoint["id"]), [("seen", ["x"])], "call-1"
        )
        put_empty(runs, at)
    assert len(list(runs.saver.list(lease.config))) == 6


def test_many_runs_share_one_saver() -> None:
    """Several leases in several threads, and nothing of one in the other."""
    clock = ManualClock()
    house = House(memory_store(clock, numbered("id"), linger_seconds=0.001), clock)
    with runs_on(house) as runs:
        graph = fan_out().compile(checkpointer=runs.saver)
        leases = [runs.lease(f"t-{n}", worker_id=f"w-{n}") for n in range(6)]
        results: dict[str, Any] = {}

        def run(number: int) -> None:
            items = [f"{number}.{item}" for item in range(4)]
            lease = leases[number]
            result = graph.invoke({"seen": items}, lease.config, durability="sync")
            results[lease.task_id] = result["seen"]

        threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        for n in range(6):
            items = [f"{n}.{item}" for item in range(4)]
            assert results[f"t-{n}"] == [*items, *(f"worked on {i}" for i in items), "after"]
            assert house.types(f"task:t-{n}").count("step") == 5
    house.store.close()


def test_closing_makes_the_last_parked_write_durable(tmp_path: Path) -> None:
    """Whatever the flusher would have done."""
    path = tmp_path / "fleet.db"
    store = open_store(f"sqlite:///{path}")
    store.data._linger = None  # noqa: SLF001 - the flusher must not be quicker
    with runs_on(House(store, store.clock)) as runs:
        at = put_empty(runs, runs.lease().config)
        runs.saver.put_writes(at, [("seen", ["last"])], "call-1")
        store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert channels(connection) == ["seen"]
