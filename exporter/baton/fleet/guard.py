"""The handler that LangGraph calls around every node of a leased run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from langgraph.callbacks import GraphCallbackHandler, GraphResumeEvent

from baton.fleet.lease import Lease
from baton.fleet.points import Point, reach


class NodeGuard(GraphCallbackHandler):
    """Refuses to start a node without a sure lease, and times those that run.

    ``LeaseLost`` is a GraphBubbleUp: LangGraph neither retries the node nor records an error.
    """

    raise_error = True
    # In an async graph a handler that is not inline costs a hop to a thread per call.
    run_inline = True
    ignore_llm = True
    ignore_chat_model = True
    ignore_retriever = True
    ignore_agent = True
    ignore_custom_event = True

    def __init__(
        self,
        lease: Lease,
        *,
        on_node: Callable[[str, float], None],
        on_resumed: Callable[[str], None],
    ) -> None:
        """Guard one run.

        Args:
            lease: the run's lease.
            on_node: told the name of each node that ended and its duration in seconds.
            on_resumed: told the checkpoint id, once the graph's state is loaded.
        """
        self._lease = lease
        self._on_node = on_node
        self._on_resumed: Callable[[str], None] | None = on_resumed
        self._running: dict[UUID, tuple[str, float]] = {}

    def on_chain_start(
        self, serialized: dict[str, Any], inputs: Any, *, run_id: UUID, **about: Any
    ) -> None:
        """Let a node start only under a sure lease."""
        del serialized, inputs
        metadata = about.get("metadata")
        name = about.get("name")
        # Parts of a node carry its metadata too; only the node itself carries its name.
        if not metadata or name != metadata.get("langgraph_node"):
            return
        self._lease.check()
        reach(Point.STEP_BEGIN, self._lease.task_id)
        self._running[run_id] = (name, time.perf_counter())

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **about: Any) -> None:
        """Time a node that ended well."""
        del outputs, about
        if run_id in self._running:
            reach(Point.STEP_END, self._lease.task_id)
        self._ended(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **about: Any) -> None:
        """Time a node that ended badly; an interrupt comes this way too."""
        del error, about
        self._ended(run_id)

    def _ended(self, run_id: UUID) -> None:
        begun = self._running.pop(run_id, None)
        if begun is not None:
            name, at = begun
            self._on_node(name, time.perf_counter() - at)

    def on_resume(self, event: GraphResumeEvent) -> None:
        """The state is loaded, and no node has started yet; subgraphs resume later and again."""
        report, self._on_resumed = self._on_resumed, None
        if report is not None:
            report(event.checkpoint_id)
