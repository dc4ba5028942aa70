"""``baton tasks``: what an operator sees and does, and what is refused."""

from __future__ import annotations

import json

import pytest
from tests.support.command import Command
from tests.support.house import SECOND, House, ManualClock, Member

from baton.domain.transitions import OPERATOR_ACTIONS
from baton.domain.words import TakeoverReason, TaskState
from baton.fleet.store import Store
from baton.observe.trouble import Trouble, trouble_of, troubles


def bring_to(house: House, state: TaskState, task_id: str) -> Member | None:
    """A task in a state, and its last holder."""
    house.submit(task_id)
    if state is TaskState.PENDING:
        return None
    member = house.session(f"w-{task_id}")
    if state is TaskState.QUARANTINED:
        assert member.claims(fruitless_max=0).quarantined == (task_id,)
        return None
    claim = member.claim()
    member.put(claim)
    match state:
        case TaskState.INTERRUPTED:
            member.interrupted(claim)
        case TaskState.DONE:
            member.done(claim)
        case TaskState.FAILED:
            member.failed(claim)
    return member


@pytest.fixture
def filled(command: Command) -> Command:
    """A store with a task in each state, named after it."""
    with command.house() as house:
        for state in TaskState:
            if state is not TaskState.PENDING:
                bring_to(house, state, state.value)
        bring_to(house, TaskState.PENDING, "pending")
    return command


# Seeing


def test_tasks_are_listed_newest_first(filled: Command) -> None:
    """A table for people; also without the word list."""
    said = filled.on("tasks", "list")
    head, *lines = said.out.splitlines()
    assert head.split()[:4] == ["TASK", "POOL", "GRAPH", "STATE"]
    assert lines[0].split()[:4] == ["pending", "default", "g", "pending"]
    assert {line.split()[0] for line in lines} == {state.value for state in TaskState}
    assert filled.on("tasks").out.splitlines()[0] == head


@pytest.mark.parametrize(
    ("words", "tasks"),
    [
        (("--state", "failed"), {"failed"}),
        (("--pool", "batch"), set()),
        (("--limit", "1"), {"pending"}),
    ],
)
def test_tasks_are_chosen(filled: Command, words: tuple[str, ...], tasks: set[str]) -> None:
    """For machines as JSON, without the input itself."""
    said = filled.on("tasks", "list", "--json", *words)
    found = json.loads(said.out)
    assert {task["task_id"] for task in found} == tasks
    assert all("input" not in task for task in found)
    assert ("--limit" in said.err) == ("--limit" in words)


def test_an_empty_store_has_no_tasks(command: Command) -> None:
    """Which is said, rather than shown as a bare head."""
    with command.house():
        pass
    assert command.on("tasks").out == "no tasks\n"
    assert command.on("tasks", "--troubled").out == "no task is in trouble\n"
    assert json.loads(command.on("tasks", "--json").out) == []


def test_the_troubled_come_with_a_mend(filled: Command) -> None:
    """Those that need somebody; what is done, or waits for an answer, needs nobody."""
    found = json.loads(filled.on("tasks", "--troubled", "--json").out)
    assert [task["task_id"] for task in found] == ["quarantined", "failed", "pending"]
    assert all(task["what"] and task["mend"] for task in found)
    table = filled.on("tasks", "--troubled").out
    assert "ValueError: no" in table
    assert "start a worker with --graph g=… --pool default" in table
    assert (
        "--troubled looks at every state"
        in filled.on("tasks", "--troubled", "--state", "failed").complaint
    )


def test_a_task_is_shown_whole(filled: Command) -> None:
    """What it is, what befell it, and what may be done now."""
    said = filled.on("tasks", "show", "failed")
    assert said.code == 0
    facts = dict(line.split(None, 1) for line in said.out.split("\n\n")[0].splitlines())
    assert facts["state"] == "failed"
    assert facts["error"] == "ValueError: no"
    assert "retry" in said.out
    shown = json.loads(filled.on("tasks", "show", "interrupted", "--json").out)
    assert shown["actions"] == ["cancel", "resume"]
    assert [event["type"] for event in shown["events"]][-1] == "interrupted"


# Acting

#: The states in which each action is legal, and the state it leads to.
LEGAL = {
    **{name: (states, after) for name, (states, after) in OPERATOR_ACTIONS.items() if after},
    "resume": (frozenset({TaskState.INTERRUPTED}), TaskState.PENDING),
}


def words_of(action: str, task_id: str) -> tuple[str, ...]:
    """How an action is typed."""
    answer = ("--value", '{"approved": true}') if action == "resume" else ()
    return ("tasks", action, task_id, *answer)


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("action", sorted(LEGAL))
def test_an_action_is_done_or_refused(filled: Command, action: str, state: TaskState) -> None:
    """Where it is legal it is an event; elsewhere it is one line, and nothing changes."""
    states, after = LEGAL[action]
    before = filled.contents()
    if state not in states:
        complaint = filled.on(*words_of(action, state.value)).complaint
        assert f"{state.value!r} is {state.value}, and {action} is only for" in complaint
        assert filled.contents() == before
        return
    said = filled.on(*words_of(action, state.value), "--json")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out)["state"] == after
    with filled.house() as house:
        assert house.state(state.value) is after
        assert house.last(f"task:{state.value}").reason == TakeoverReason.OPERATOR


@pytest.mark.parametrize("action", sorted(LEGAL))
def test_an_unknown_task_is_named(filled: Command, action: str) -> None:
    """With the verb that lists those there are."""
    before = filled.contents()
    complaint = filled.on(*words_of(action, "t-9")).complaint
    assert "'t-9'" in complaint
    assert "`baton tasks list`" in complaint
    assert filled.contents() == before


@pytest.mark.parametrize("value", ["yes", "null", "@nowhere.json"])
def test_an_answer_has_to_be_json(filled: Command, value: str) -> None:
    """Text wants its quotes, and null is no answer to LangGraph."""
    before = filled.contents()
    assert "--value" in filled.on("tasks", "resume", "interrupted", "--value", value).complaint
    assert filled.contents() == before


def test_an_action_is_told_to_people(filled: Command) -> None:
    """One line: what was done, and where the task stands."""
    said = filled.on("tasks", "release", "active")
    assert said.out.startswith("task active: release; it is pending, run ")


# Trouble


def only(store: Store) -> Trouble:
    """The one trouble that there is."""
    (trouble,) = troubles(store)
    assert trouble_of(store, trouble.task) == trouble
    return trouble


def test_a_cancelled_task_is_no_trouble(house: House) -> None:
    """Somebody has dealt with it."""
    house.submit()
    house.store.cancel("t-1")
    assert troubles(house.store) == []


def test_a_running_task_is_no_trouble(house: House) -> None:
    """Nor is one that waits while a worker is there for it."""
    member = house.session()
    house.submit()
    member.claim()
    assert troubles(house.store) == []
    assert trouble_of(house.store, house.store.task("t-1")) is None


def test_a_silent_holder_is_trouble(house: House, clock: ManualClock) -> None:
    """Since its last heartbeat, and only once that is older than its TTL."""
    member = house.session()
    house.submit()
    member.claim()
    since = clock.now_us()
    clock.forward(14)
    assert troubles(house.store) == []
    clock.forward(1)
    found = only(house.store)
    assert (found.since, "w-1" in found.what) == (since, True)


def test_a_lost_holder_is_trouble_until_somebody_takes_over(
    house: House, clock: ManualClock
) -> None:
    """And what to do depends on whether anybody could."""
    member = house.session()
    house.submit()
    member.claim()
    clock.forward(1)
    house.bury(member)
    found = only(house.store)
    assert "w-1 was lost" in found.what
    assert found.since == clock.now_us() - SECOND
    assert "--graph g=…" in found.mend


def test_a_lost_holder_in_somebodys_own_runtime_is_theirs(house: House) -> None:
    """No worker of ours will take it."""
    member = house.session("app-1", kind="embedded")
    member.lease("thread-1")
    house.bury(member)
    assert "runtime" in only(house.store).mend


def test_a_suspect_task_is_watched(house: House) -> None:
    """One takeover that brought nothing may be chance."""
    house.submit()
    first = house.session("w-1")
    first.claim()
    house.bury(first)
    house.session("w-2").claim()
    assert "1 takeover that brought nothing" in only(house.store).what


def test_a_run_left_unfinished_waits(house: House) -> None:
    """Until somebody continues it."""
    member = house.session()
    house.submit()
    member.drained(member.claim())
    assert "left unfinished (drained)" in only(house.store).what
