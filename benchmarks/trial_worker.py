"""What the workers of the trial run: a short graph with one effect, and the process around it."""

from __future__ import annotations

import logging
import operator
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph

import baton

GRAPH = "errand"

#: Long enough that some kills hit a node's body.
_NODE_SECONDS = 0.002

_NODES = ("read", "pay", "check", "file")


class Errand(TypedDict, total=False):
    """One task's state.

    Attributes:
        n: which errand it is.
        seen: what each node has seen, in order.
        receipt: what the effect returned.
    """

    n: int
    seen: Annotated[list[str], operator.add]
    receipt: str


def errand(pay: Callable[[int], str]) -> StateGraph[Any, Any, Any, Any]:
    """Four nodes in a row, of which the second has an effect.

    Args:
        pay: the effect, given the errand's number.
    """
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Errand)

    def node(name: str) -> Callable[[Errand], Errand]:
        def body(state: Errand) -> Errand:
            time.sleep(_NODE_SECONDS)
            found: Errand = {"seen": [f"{name} {len(state.get('seen', []))} of {state['n']}"]}
            if name == "pay":
                found["receipt"] = pay(state["n"])
            return found

        return body

    before = START
    for name in _NODES:
        builder.add_node(name, node(name))
        builder.add_edge(before, name)
        before = name
    builder.add_edge(before, END)
    return builder


def receipt(n: int) -> str:
    """What a payment returns."""
    return f"receipt of {n}"


def main(url: str, worker_id: str, sink: str) -> None:
    """Work until killed or drained."""
    logging.disable(logging.WARNING)

    def pay(n: int) -> str:
        key = baton.effect_key("pay")

        def into_sink() -> str:
            # One write to a file opened for appending: whole, or not there.
            with Path(sink).open("ab", buffering=0) as file:
                file.write(f"{n} {key}\n".encode())
            return receipt(n)

        return baton.once("pay", into_sink)

    fleet = baton.open(url, kind="worker")
    baton.Worker(fleet, {GRAPH: errand(pay)}, worker_id=worker_id).run()
    fleet.close()
    os._exit(0)
