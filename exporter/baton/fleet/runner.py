"""One run of one task: how a graph is begun, continued and finished under a lease.

LangGraph's rules, each of them a trap that was fallen into once:

* always ``durability="sync"``;
* a graph begins from its input only if its thread has no checkpoint at all;
* a resume value is passed only while it is stored with the task;
* a run is finished when its state has no tasks, not when ``next`` is empty.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.pregel import Pregel
from langgraph.runtime import RunControl
from langgraph.types import Command

from baton.domain.words import EventType, TakeoverOutcome, TakeoverReason
from baton.errors import LeaseLost, LeaseRequired, StoreError
from baton.fleet.guard import NodeGuard
from baton.fleet.lease import Lease
from baton.fleet.points import Point, reach
from baton.fleet.saver import FencedSqliteSaver
from baton.fleet.store import Store


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        how: ``done``, ``failed``, ``interrupted``, ``drained`` or ``lost``.
        store_trouble: the store did not answer, so the lease is in doubt.
    """

    how: str
    store_trouble: bool = False
    error: str | None = None


class Run:
    """One lease, one graph, one attempt to bring the run to its end."""

    def __init__(
        self,
        store: Store,
        saver: FencedSqliteSaver,
        graph: Pregel[Any, Any, Any, Any],
        lease: Lease,
        on_node: Callable[[str, float], None],
    ) -> None:
        """Prepare a run.

        Args:
            store: where its end is recorded.
            saver: the fenced checkpointer that ``graph`` was compiled or copied with.
            graph: the graph.
            lease: the lease it runs under.
            on_node: told each node's name and duration in seconds.
        """
        self._store = store
        self._saver = saver
        self._graph = graph
        self._lease = lease
        self._worker_id = lease.session.worker_id
        self._on_node = on_node
        self._restored = False

    def execute(self) -> Ended:
        """Run to the end, whatever it is; only the end of the process stops this short."""
        lease = self._lease
        lease.control = lease.control or RunControl()
        lease.remember()
        try:
            return self._execute(lease.control)
        except LeaseLost as lost:
            lease.lost = lease.lost or lost.why
            return Ended("lost")
        except (StoreError, LeaseRequired) as error:
            return Ended("lost", store_trouble=True, error=str(error))
        finally:
            lease.forget()

    def _execute(self, control: RunControl) -> Ended:
        try:
            output = self._invoke(control)
        except GraphDrained:
            reach(Point.RELEASE_BEFORE, self._lease.task_id)
            self._store.release(self._lease.claim, EventType.DRAINED, TakeoverReason.DRAINED)
            return Ended("drained")
        except (LeaseLost, StoreError, LeaseRequired):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a graph raises is how its run ended
            return self._fail(error)
        if self._unfinished():
            self._finish(EventType.INTERRUPTED, {})
            return Ended("interrupted")
        reach(Point.DONE_BEFORE, self._lease.task_id)
        self._finish(EventType.DONE, {"state_digest": self._digest(output)})
        reach(Point.DONE_AFTER, self._lease.task_id)
        return Ended("done")

    def _fail(self, error: Exception) -> Ended:
        text = f"{type(error).__name__}: {error}"
        data = {
            "error_digest": hashlib.sha256(text.encode()).hexdigest(),
            "error_type": type(error).__name__,
        }
        self._finish(EventType.FAILED, data, error=text)
        return Ended("failed", error=text)

    def _finish(self, type_: EventType, data: dict[str, Any], error: str | None = None) -> None:
        self._store.finish(self._lease.claim, self._worker_id, type_, data, error)

    def _invoke(self, control: RunControl) -> Any:
        """Begin or continue the graph as its checkpoints and its task demand."""
        claim = self._lease.claim
        found = self._saver.get_tuple(self._lease.config)
        if found is not None or claim.reason is not None:
            reach(Point.RESUME_LOAD, claim.task_id)
        if found is None:
            if claim.reason is not None:
                self._resumed(TakeoverOutcome.RESTARTED, "")
            return self._call(self._input(), control)
        if claim.resume is not None:
            return self._call(Command(resume=self._saver.serde.loads_typed(claim.resume)), control)
        if not self._unfinished():
            if claim.reason is not None:
                step_id = found.config["configurable"]["checkpoint_id"]
                self._resumed(TakeoverOutcome.COMPLETED, step_id)
            return self._graph.get_state(self._lease.config).values
        return self._call(None, control)

    def _input(self) -> Any:
        stored = self._lease.claim.input
        return None if stored is None else self._saver.serde.loads_typed(stored)

    def _unfinished(self) -> bool:
        return bool(self._graph.get_state(self._lease.config).tasks)

    def _resumed(self, outcome: TakeoverOutcome, step_id: str) -> None:
        if not self._restored:
            self._restored = True
            self._store.resumed(self._lease.claim, self._worker_id, outcome, step_id)

    def _call(self, value: Any, control: RunControl) -> Any:
        guard = NodeGuard(
            self._lease,
            on_node=self._on_node,
            on_resumed=lambda step_id: self._resumed(TakeoverOutcome.RESUMED, step_id),
        )
        config: RunnableConfig = {**self._lease.config, "callbacks": [guard]}
        if needs_async(self._graph):
            return asyncio.run(
                self._graph.ainvoke(value, config, durability="sync", control=control)
            )
        return self._graph.invoke(value, config, durability="sync", control=control)

    def _digest(self, output: Any) -> str:
        return hashlib.sha256(self._saver.serde.dumps_typed(output)[1]).hexdigest()


def needs_async(graph: Any) -> bool:
    """Whether a graph has a node that only an event loop can run, at any depth."""
    return any(
        _async_only(node.bound) or any(needs_async(child) for child in node.subgraphs or ())
        for node in graph.nodes.values()
    )


def _async_only(runnable: Any) -> bool:
    if hasattr(runnable, "afunc") and getattr(runnable, "func", None) is None:
        return True
    return any(_async_only(step) for step in getattr(runnable, "steps", ()))
