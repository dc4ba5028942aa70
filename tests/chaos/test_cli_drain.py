"""``baton worker --drain-timeout`` bounds the exit of the command itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.runs import wait_until

import baton
from baton.domain.words import TaskState

#: A node that never ends, and says when it has begun.
STUCK = """
import threading
from typing import TypedDict
from langgraph.graph import END, START, StateGraph
class State(TypedDict):
    n: int
def node(state):
    open("begun", "w").close()
    threading.Event().wait()
graph = StateGraph(State)
graph.add_node("a", node)
graph.add_node("b", node)
graph.add_edge(START, "a")
graph.add_edge(START, "b")
graph.add_edge("a", END)
graph.add_edge("b", END)
"""


def test_a_node_that_never_ends_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    """Its task is handed over, and the process is gone well before anybody would kill it."""
    (tmp_path / "stuck.py").write_text(STUCK, encoding="utf-8")
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    with baton.open(url) as fleet:
        fleet.submit("g", {"n": 0}, task_id="t-1")
        command = ["worker", "--store", url, "--graph", "g=stuck:graph", "--drain-timeout", "0.5"]
        process = subprocess.Popen(
            [sys.executable, "-m", "baton", *command], cwd=tmp_path, stderr=subprocess.DEVNULL
        )
        try:
            wait_until((tmp_path / "begun").exists, "the node begins")
            os.kill(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            assert process.wait(max(0.0, deadline - time.monotonic())) == 0
            assert fleet.task("t-1").state is TaskState.PENDING
        finally:
            process.kill()
            process.wait()
