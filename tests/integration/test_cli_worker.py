"""``baton worker``: finds its graphs, runs them, and is refused in one line what cannot work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.command import Command

from baton.domain import catalogue as c
from baton.domain.metric import Source
from baton.domain.words import TaskState

DEADLINE_SECONDS = 30.0

#: A module with a graph in every form that is taken, and some that are not.
GRAPHS = """
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    x: int

def add(state: State) -> State:
    return {"x": state.get("x", 0) + 1}

def build() -> StateGraph:
    graph = StateGraph(State)
    graph.add_node("add", add)
    graph.add_edge(START, "add")
    return graph

class Holder:
    graph = build()

graph = build()
compiled = build().compile()
number = 3

def needs(something):
    return build()

def fails():
    raise ValueError("out of\\ncheese")
"""


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, and fail if it takes too long."""
    give_up = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < give_up, "the condition never came true"
        pause.wait(0.01)


@pytest.fixture
def app(command: Command, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of graphs in the current folder, under a name that no other test has imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"app_{abs(hash(request.node.nodeid))}"
    command.path.with_name(f"{name}.py").write_text(GRAPHS)
    return name


def work(command: Command, *words: str) -> int:
    """Run a worker in this process until nothing is left to do."""
    return command.on("worker", "--until-idle", "--poll", "0.01", *words).code


@pytest.mark.parametrize("attribute", ["graph", "compiled", "build", "Holder.graph"])
def test_a_graph_is_found_in_the_current_folder_and_run(
    command: Command, app: str, attribute: str
) -> None:
    """As a StateGraph, compiled, made by a function, or inside of something."""
    command.on("submit", "--graph", "add", "--task", "t-1")
    assert work(command, "--graph", f"add={app}:{attribute}", "--worker-id", "w-1") == 0
    with command.house() as house:
        assert house.state("t-1") is TaskState.DONE
        assert house.last("task:t-1").worker_id == "w-1"


def test_a_worker_serves_several_graphs_of_its_pool(command: Command, app: str) -> None:
    """And leaves those of another pool alone."""
    for graph, pool in (("a", "default"), ("b", "default"), ("a", "batch")):
        command.on("submit", "--graph", graph, "--task", f"{pool}-{graph}", "--pool", pool)
    assert work(command, "--graph", f"a={app}:graph", "--graph", f"b={app}:compiled") == 0
    with command.house() as house:
        states = {task.task_id: task.state.value for task in house.store.tasks()}
    assert states == {"default-a": "done", "default-b": "done", "batch-a": "pending"}


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("APP", "'APP' is not module:attribute"),
        ("APP:", "'APP:' is not module:attribute"),
        ("nowhere:graph", "no module 'nowhere' in "),
        ("APP.inner:graph", "APP"),
        ("APP:missing", "module 'APP' has no 'missing'; it has compiled, graph"),
        ("APP:number", "APP:number is int, neither a StateGraph nor a compiled graph"),
        ("APP:needs", "calling APP:needs failed: TypeError"),
        ("APP:fails", "calling APP:fails failed: ValueError: out of cheese ("),
        ("needs_more:graph", "No module named 'no_such_dependency' (/"),
        ("leaves:graph", "importing leaves failed: SystemExit: 7"),
        ("misspelled:graph", "importing misspelled failed: SyntaxError"),
    ],
)
def test_a_graph_that_cannot_be_had_is_named(
    command: Command, app: str, place: str, named: str
) -> None:
    """In one line, with the place in the code where it broke; and no store is made."""
    Path("needs_more.py").write_text("import no_such_dependency\n")
    Path("leaves.py").write_text("raise SystemExit(7)\n")
    Path("misspelled.py").write_text("graph = (\n")
    complaint = command.on("worker", "--graph", f"add={place.replace('APP', app)}").complaint
    assert complaint.startswith("no graph 'add': ")
    assert named.replace("APP", app) in complaint
    assert command.untouched()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--graph", "APP:graph"), "is not NAME=MODULE:ATTRIBUTE, such as"),
        (("--graph", "a b=APP:graph"), "graph 'a b'"),
        (("--graph", "add=APP:graph"), "--graph names 'add' twice"),
        (("--worker-id", "w/1"), "worker 'w/1'"),
        (("--pool", ""), "pool ''"),
        (("--ttl", "0"), "--ttl: '0' is not a number of seconds above 0"),
        (("--ttl", "nan"), "--ttl"),
        (("--ttl", "3", "--heartbeat", "2"), "--heartbeat 2 must be above 0 and at most half"),
        (("--concurrency", "0"), "--concurrency"),
        (("--fruitless-max", "-1"), "--fruitless-max"),
        (("--progress-deadline", "add"), "'add' is not NAME=SECONDS, such as review=300"),
        (("--progress-deadline", "add=soon"), "'soon' is not a number of seconds"),
        (("--progress-deadline", "other=3"), "progress deadline for 'other'"),
        (("--metrics", "9000"), "'9000' is not HOST:PORT"),
    ],
)
def test_settings_that_cannot_work_make_no_store(
    command: Command, app: str, words: tuple[str, ...], named: str
) -> None:
    """Each is refused before anything is opened."""
    given = ("worker", "--graph", f"add={app}:graph", *words)
    assert named in command.on(*(word.replace("APP", app) for word in given)).complaint
    assert command.untouched()


def test_a_port_in_use_is_named_and_makes_no_store(command: Command, app: str) -> None:
    """With the option that chooses another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("worker", "--graph", f"add={app}:graph", "--metrics", address)
        complaint = command.on(*words).complaint
    assert address in complaint
    assert "--metrics" in complaint
    assert command.untouched()


@pytest.fixture
def process(command: Command, app: str) -> Iterator[subprocess.Popen[str]]:
    """``baton worker`` as a process of its own, with metrics and JSON logs."""
    words = ["worker", "--graph", f"add={app}:graph", "--worker-id", "w-1", "--ttl", "1.5"]
    running = subprocess.Popen(
        [sys.executable, "-m", "baton", *words, "--metrics", "127.0.0.1:0", "--log", "json"],
        env={**os.environ, "BATON_STORE": command.url},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def address_of(command: Command) -> str | None:
    """Where the worker says that it serves its metrics."""
    if not command.path.exists():
        return None
    with command.house() as house:
        found = [session.spec.metrics_address for session in house.store.peers()[1]]
    return found[0] if found else None


def test_a_worker_serves_what_only_it_can_time_and_drains(
    command: Command, process: subprocess.Popen[str]
) -> None:
    """Its own families alone, at the address that service discovery gives out; then exit 0."""
    command.on("submit", "--graph", "add", "--task", "t-1")
    until(lambda: address_of(command) is not None)

    def samples() -> dict[tuple[str, ...], float]:
        with urllib.request.urlopen(f"http://{address_of(command)}/metrics") as page:
            text = page.read().decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    until(lambda: samples().get((f"{c.NODE_DURATION.name}_count", "add", "add")) == 1)
    until(lambda: samples()[f"{c.HEARTBEAT_DURATION.name}_count", "accepted"] > 0)
    found = samples()
    assert found[f"{c.CHECKPOINT_WRITE.name}_count",] >= 3
    assert found[f"{c.HEARTBEAT_DURATION.name}_count", "refused"] == 0
    names = {name for metric in c.served_by(Source.WORKER) for name in metric.sample_names}
    assert {name for name, *_ in found} == names
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["message"] for line in lines] == [
        "session started",
        "task claimed",
        "run ended",
        "session stopped",
    ]
    claimed = lines[1]
    assert (claimed["worker_id"], claimed["task_id"], claimed["epoch"]) == ("w-1", "t-1", 1)
    assert claimed["session_id"] == lines[0]["session_id"]
    with command.house() as house:
        assert claimed["run_id"] == house.store.task("t-1").run_id
