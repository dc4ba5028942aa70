"""A guard before every node: it starts under a sure lease, or not at all.

The guard wraps the body of each node of a graph and of its subgraphs. It is not a callback
handler, which LangGraph would call several times for every node: that cost ten times as much.
A graph that a node's body invokes by hand is not wrapped; the fence stops it at its first write.
"""

from __future__ import annotations

import time
from copy import copy
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from baton.errors import BadInput
from baton.fleet.lease import Lease, lease_in
from baton.fleet.points import Point, reach
from baton.fleet.saver import FencedSaver

AnyGraph = StateGraph[Any, Any, Any, Any] | Pregel[Any, Any, Any, Any]


class GuardedNode(Runnable[Any, Any]):
    """The body of a node, behind the lease of the run that it belongs to.

    ``LeaseLost`` is a GraphBubbleUp: LangGraph neither retries the node nor records an error.
    """

    def __init__(self, node: str, bound: Runnable[Any, Any]) -> None:
        """Guard one node.

        Args:
            node: its name in the graph.
            bound: its body.
        """
        self.node = node
        self.bound = bound

    def invoke(self, input: Any, config: RunnableConfig | None = None, **more: Any) -> Any:  # noqa: A002 - the Runnable signature
        """Run the body, if the lease allows it."""
        lease = lease_in(config) if config else None
        if lease is None:
            return self.bound.invoke(input, config, **more)
        began = enter(lease)
        try:
            output = self.bound.invoke(input, config, **more)
            reach(Point.STEP_END, lease.task_id)
            return output
        finally:
            lease.on_node(self.node, time.perf_counter() - began)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **more: Any) -> Any:  # noqa: A002 - the Runnable signature
        """``invoke`` for a body that needs an event loop."""
        lease = lease_in(config) if config else None
        if lease is None:
            return await self.bound.ainvoke(input, config, **more)
        began = enter(lease)
        try:
            output = await self.bound.ainvoke(input, config, **more)
            reach(Point.STEP_END, lease.task_id)
            return output
        finally:
            lease.on_node(self.node, time.perf_counter() - began)


def enter(lease: Lease) -> float:
    """Start a node under a sure lease.

    Returns:
        The moment, on ``time.perf_counter``.

    Raises:
        LeaseLost: the lease is not ours any more.
    """
    lease.check()
    lease.restored()
    # The report is a write: a store may take its time for it, and a process may stand still in it.
    lease.check()
    reach(Point.STEP_BEGIN, lease.task_id)
    return time.perf_counter()


def attached(graph: AnyGraph, saver: FencedSaver) -> Pregel[Any, Any, Any, Any]:
    """A copy of a graph that writes through the fenced saver, with a guard before every node.

    Args:
        graph: a StateGraph or a compiled graph; it stays as it is.
        saver: the fenced checkpointer.

    Raises:
        BadInput: it is neither.
    """
    compiled = graph.compile() if isinstance(graph, StateGraph) else graph
    if not isinstance(compiled, Pregel):
        raise BadInput(detail=f"{graph!r} is neither a StateGraph nor a compiled graph")
    copied = _guarded(compiled)
    copied.checkpointer = saver
    return copied


def _guarded(graph: Pregel[Any, Any, Any, Any]) -> Pregel[Any, Any, Any, Any]:
    nodes = {}
    for name, node in graph.nodes.items():
        body: Any = node.bound
        if name.startswith("__"):
            # LangGraph's own entry node has no body of anybody's.
            nodes[name] = node
            continue
        if isinstance(body, Pregel):
            body = _guarded(body)
        nodes[name] = node.copy({"bound": GuardedNode(name, body)})
    # Not ``graph.copy``: it makes a new graph from some of the old one's attributes.
    copied = copy(graph)
    copied.nodes = nodes
    return copied


def needs_async(graph: Any) -> bool:
    """Whether a graph has a node that only an event loop can run, at any depth."""
    return any(
        _async_only(node.bound) or any(needs_async(child) for child in node.subgraphs or ())
        for node in graph.nodes.values()
    )


def _async_only(runnable: Any) -> bool:
    if isinstance(runnable, GuardedNode):
        return _async_only(runnable.bound)
    if hasattr(runnable, "afunc") and getattr(runnable, "func", None) is None:
        return True
    return any(_async_only(step) for step in getattr(runnable, "steps", ()))
