"""The graphs that the recorded fleets run."""

from __future__ import annotations

import os
import signal
import time
from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class Walk(TypedDict):
    """So many steps of so many seconds are left."""

    left: int
    seconds: float


def _step(state: Walk) -> dict[str, int]:
    time.sleep(state["seconds"])
    return {"left": state["left"] - 1}


def _more(state: Walk) -> str:
    return "step" if state["left"] > 0 else END


def _die(state: Walk) -> dict[str, int]:
    del state
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


walk = StateGraph(Walk)
walk.add_node("step", _step)
walk.add_edge(START, "step")
walk.add_conditional_edges("step", _more)

poison = StateGraph(Walk)
poison.add_node("step", _die)
poison.add_edge(START, "step")
