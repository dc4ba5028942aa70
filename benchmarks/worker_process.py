"""One worker of the takeover benchmark: ``python -m benchmarks.worker_process URL NAME TTL``."""

from __future__ import annotations

import sys
import time
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

import baton

#: Long enough to be killed in the middle, short enough to see progress at once.
_STEP_SECONDS = 0.05


class Counting(TypedDict):
    """How many steps are done."""

    n: int


def counting(steps: int, seconds: float) -> StateGraph[Counting, None, Counting, Counting]:
    """A node that counts, slowly or not."""

    def count(state: Counting) -> Counting:
        time.sleep(seconds)
        return {"n": state["n"] + 1}

    builder = StateGraph(Counting)
    builder.add_node("count", count)
    builder.add_edge(START, "count")
    builder.add_conditional_edges("count", lambda s: "count" if s["n"] < steps else END)
    return builder


def main(url: str, worker_id: str, ttl_seconds: float) -> None:
    """Work until killed."""
    fleet = baton.open(url, kind="worker", ttl_seconds=ttl_seconds)
    graphs = {"slow": counting(20, _STEP_SECONDS * 20), "quick": counting(3, 0.0)}
    baton.Worker(fleet, graphs, worker_id=worker_id, ttl_seconds=ttl_seconds).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
