"""The ledger of real graphs: it verifies, however often their workers die inside of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from tests.support.house import House
from tests.support.runs import Runs, State, in_a_row, runs_on

import baton
from baton.domain.catalogue import EFFECTS, RUNS, STEPS, STEPS_REPLAYED
from baton.domain.folds import Fold
from baton.domain.ledger import Event
from baton.domain.shapes import SHAPES
from baton.domain.verify import verify
from baton.domain.words import EventType
from baton.errors import LeaseLost
from baton.fleet.lease import Lease
from baton.fleet.runner import Ended, Run
from baton.observe.timeline import timeline

VALUE = ("json", b'"yes"')


class Dying:
    """Lets the worker die the first time each of the named nodes runs."""

    def __init__(self, *nodes: str) -> None:
        """Name the nodes in which a worker dies once."""
        self.left = set(nodes)
        self.die: Callable[[], None] = lambda: None

    def says(self, name: str) -> Callable[[State], State]:
        """A node that says its name and has an effect, unless its worker dies in it."""

        def node(state: State) -> State:
            baton.once(f"{name}-{len(state.get('seen', []))}", str)
            if name in self.left:
                self.left.remove(name)
                self.die()
            return {"seen": [name]}

        return node


def graph_of(dying: Dying) -> Any:
    """Subgraphs with and without a memory of their own, siblings, a loop, and a question."""
    inner = in_a_row(a=dying.says("a"), b=dying.says("b")).compile()
    lasting = in_a_row(c=dying.says("c"), d=dying.says("d")).compile(checkpointer=True)

    def ask(state: State) -> State:
        del state
        return {"seen": [interrupt("may I?")]}

    def again(state: State) -> str:
        return "lasting" if state["seen"].count("c") < 2 else END

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    graph.add_node("first", dying.says("first"))
    graph.add_node("inner", inner)
    graph.add_node("lasting", lasting)
    graph.add_node("leaf", dying.says("leaf"))
    graph.add_node("ask", ask)
    graph.add_edge(START, "first")
    graph.add_edge("first", "inner")
    graph.add_edge("inner", "lasting")
    graph.add_conditional_edges("lasting", lambda _: [Send("leaf", {}) for _ in range(3)], ["leaf"])
    graph.add_edge("leaf", "ask")
    graph.add_conditional_edges("ask", again, ["lasting", END])
    return graph


@pytest.fixture
def runs(house: House) -> Iterator[Runs]:
    """Runs on a store in memory."""
    with runs_on(house) as runs:
        yield runs


def execute(runs: Runs, lease: Lease, dying: Dying) -> Ended:
    """Run to the end, or until the worker dies."""

    def die() -> None:
        runs.house.bury(runs.member(lease))
        raise LeaseLost(lease.task_id, lease.epoch)

    dying.die = die
    graph = graph_of(dying).compile(checkpointer=runs.saver)
    return Run(runs.house.store, runs.saver, graph, lease, lambda _name, _seconds: None).execute()


def finished(runs: Runs, dying: Dying) -> list[Event]:
    """Bring a task to its end, with as many workers as it takes; its answers are all yes."""
    runs.house.submit("t-1", value=b'{"seen": []}')
    lease = runs.lease()
    worker = 1
    while (ended := execute(runs, lease, dying)).how != "done":
        assert ended.how in ("lost", "interrupted"), ended
        if ended.how == "interrupted":
            runs.house.store.request_resume("t-1", VALUE, "digest")
        worker += 1
        lease = runs.lease(worker_id=f"w-{worker}")
    return runs.house.events()


def folded(events: list[Event]) -> Fold:
    """The fold of a ledger."""
    fold = Fold()
    for event in events:
        fold.apply(event)
    return fold


def test_an_undisturbed_run_verifies(runs: Runs) -> None:
    """Every step follows the last one of its namespace, in subgraphs and loops too."""
    events = finished(runs, Dying())
    assert [str(finding) for finding in verify(events)] == []
    namespaces = {event.data["ns"].partition(":")[0] for event in events if event.type == "step"}
    assert namespaces == {"", "inner", "lasting"}


@pytest.mark.parametrize(
    "nodes", [("first",), ("a",), ("b",), ("c",), ("d",), ("leaf",), ("first", "b", "d", "leaf")]
)
def test_a_run_that_was_taken_over_verifies(runs: Runs, nodes: tuple[str, ...]) -> None:
    """Wherever its worker died: between nodes of a subgraph, and beside siblings."""
    events = finished(runs, Dying(*nodes))
    assert [str(finding) for finding in verify(events)] == []
    taken = [event for event in events if event.type == EventType.CLAIMED and event.reason]
    assert [event.reason for event in taken] == ["crashed"] * len(nodes)
    assert {event.run_id for event in taken} <= {event.run_id for event in events}


def test_runs_write_what_the_model_says(runs: Runs) -> None:
    """Every key of every payload is in the model, those of the end of a run included."""
    for event in finished(runs, Dying("b")):
        shape = SHAPES[EventType(event.type)]
        keys = {*shape.payload, *(shape.with_reason if event.reason else ())}
        assert keys <= set(event.data) <= keys | set(shape.further)
        assert (event.type == EventType.DONE) == ("state_digest" in event.data)


def test_a_disturbed_run_comes_to_what_a_calm_one_comes_to(runs: Runs) -> None:
    """With Send, subgraphs and questions, wherever its workers died: the same state in the end."""
    calm = finished(runs, Dying())[-1]
    with runs_on(House.in_memory()[0]) as others:
        end = finished(others, Dying("first", "a", "b", "c", "d", "leaf"))[-1]
        others.house.store.close()
    assert (calm.type, end.type) == ("done", "done")
    assert calm.data["state_digest"] == end.data["state_digest"]


@pytest.mark.parametrize("tries", [1, 2])
def test_what_was_lost_before_its_first_step_begins_from_its_input(runs: Runs, tries: int) -> None:
    """However many workers die before the first checkpoint: nothing of the task is forgotten."""
    runs.house.submit("t-1", value=b'{"seen": ["given"]}')
    for number in range(tries):
        member = runs.house.session(f"lost-{number}")
        assert member.claim().input == ("json", b'{"seen": ["given"]}')
        runs.house.bury(member)
    lease = runs.lease()
    graph = in_a_row(a=lambda _: {"seen": ["a"]}).compile(checkpointer=runs.saver)
    ended = Run(runs.house.store, runs.saver, graph, lease, lambda _name, _seconds: None).execute()
    assert ended.how == "done"
    assert graph.get_state(lease.config).values["seen"] == ["given", "a"]
    (resumed,) = (one for one in runs.house.store.chain("task:t-1") if one.type == "resumed")
    assert resumed.data["outcome"] == "restarted"


def test_the_counts_of_a_disturbed_run_are_those_of_its_events(runs: Runs) -> None:
    """Effects are recorded once, and each takeover is one step that began again."""
    calm = folded(finished(runs, Dying()))
    with runs_on(House.in_memory()[0]) as others:
        fold = folded(finished(others, Dying("first", "b", "leaf")))
        others.house.store.close()
    recorded, deduplicated = ("default", "recorded"), ("default", "deduplicated")
    assert fold.counters[EFFECTS][recorded] == calm.counters[EFFECTS][recorded]
    assert calm.counters[EFFECTS][deduplicated] == 0
    assert fold.counters[EFFECTS][deduplicated] >= 3
    assert fold.counters[STEPS_REPLAYED][("default",)] == 3
    assert fold.counters[STEPS][("default", "g")] == calm.counters[STEPS][("default", "g")]
    for each in (calm, fold):
        assert each.counters[RUNS][("default", "g", "done")] == 1
        assert each.counters[RUNS][("default", "g", "interrupted")] == 2


def test_task_run_and_step_lead_to_one_another(runs: Runs) -> None:
    """From any one of the three ids the other two and the timeline are found."""
    events = finished(runs, Dying("b"))
    by_task = timeline(events, task="t-1")
    run_ids = {row.run_id for row in by_task if row.run_id}
    assert len(run_ids) == 3  # two answers, each of which begins a run
    steps = [event for event in events if event.type == EventType.STEP]
    assert {event.run_id for event in steps} == run_ids
    for run_id in run_ids:
        assert {row.task_id for row in timeline(events, run=run_id)} == {"t-1"}
    for event in steps:
        (row,) = [
            row for row in timeline(events, step=event.step_id) if row.event == EventType.STEP
        ]
        assert (row.task_id, row.run_id, row.step_id) == ("t-1", event.run_id, event.step_id)


def test_a_step_id_is_the_id_of_its_checkpoint(runs: Runs) -> None:
    """In the graph and in the graphs inside it; effects name the step that they ran in."""
    events = finished(runs, Dying())
    stored = {found.config["configurable"]["checkpoint_id"] for found in runs.saver.list(None)}
    steps = {event.step_id for event in events if event.type == EventType.STEP}
    assert steps == stored
    effects = {event.step_id for event in events if event.type == EventType.EFFECT}
    assert effects
    assert effects <= steps
