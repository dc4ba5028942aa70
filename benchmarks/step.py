"""What a leased, fenced, ledgered and instrumented super-step costs beside a stock one."""

from __future__ import annotations

import sqlite3
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.fleet.sqlite_files import pragmas
from baton.observe.instruments import WorkerInstruments, hooks_of
from benchmarks.harness import NOISE_MAX, Figure, paired

STEPS = 200

#: The bars of wall time by ``PRAGMA synchronous``, and the bar of CPU time for both.
BARS = {"full": 1.0, "normal": 1.15}
CPU_BAR = 1.15


class Counting(TypedDict):
    """How many steps are done."""

    n: int


def loop_graph(
    begin: Callable[[], None] = lambda: None,
) -> StateGraph[Counting, None, Counting, Counting]:
    """One node that runs ``STEPS`` times: a super-step is all there is.

    Args:
        begin: called as the node begins.
    """

    def count(state: Counting) -> Counting:
        begin()
        return {"n": state["n"] + 1}

    builder = StateGraph(Counting)
    builder.add_node("count", count)
    builder.add_edge(START, "count")
    builder.add_conditional_edges("count", lambda s: "count" if s["n"] < STEPS else END)
    return builder


def limited(config: Any) -> Any:
    """A config that lets all the steps happen."""
    return {**config, "recursion_limit": STEPS + 10}


def stock(folder: Path, synchronous: str) -> Callable[[], None]:
    """The stock saver with the same pragmas and the same durability."""
    connection = sqlite3.connect(folder / f"stock-{synchronous}.db", check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()
    for pragma in pragmas(synchronous):
        connection.execute(pragma)
    graph = loop_graph().compile(checkpointer=saver)

    def run() -> None:
        config = {"configurable": {"thread_id": uuid.uuid4().hex}}
        graph.invoke({"n": 0}, limited(config), durability="sync")

    return run


def fenced(folder: Path, synchronous: str) -> tuple[Callable[[], None], Fleet]:
    """The fenced saver under a lease, with the ledger and the worker's instruments."""
    fleet = open_fleet(f"sqlite:///{folder}/fenced-{synchronous}.db?synchronous={synchronous}")
    graph = fleet.attach(loop_graph())
    hooks = hooks_of(WorkerInstruments())

    def run() -> None:
        with fleet.lease(f"t-{uuid.uuid4().hex}") as lease:
            lease.on_write = hooks.on_write
            lease.on_node = partial(hooks.on_node, "loop")
            graph.invoke({"n": 0}, limited(lease.config), durability="sync")

    return run, fleet


def figures(rounds: int) -> list[Figure]:
    """Both settings of ``synchronous``, wall and CPU."""
    found = []
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name:
        for synchronous, bar in BARS.items():
            base = stock(Path(name), synchronous)
            ours, fleet = fenced(Path(name), synchronous)
            base()
            ours()
            result = paired(base, ours, rounds, judged=("wall", "cpu"))
            fleet.close()
            each = f"stock {result.base_wall / STEPS * 1e6:.0f} µs a step"
            for what, value, limit, noise in (
                ("wall", result.wall, bar, result.wall_noise),
                ("CPU", result.cpu, CPU_BAR, result.cpu_noise),
            ):
                found.append(
                    Figure(
                        name=f"fenced step / stock step, synchronous={synchronous}, {what}",
                        value=value,
                        bar=limit,
                        at_most=True,
                        detail=f"{each}, each against itself {noise:.1%}",
                        void=noise > NOISE_MAX,
                    )
                )
    return found
