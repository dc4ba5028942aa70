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

from langgraph.errors import GraphDrained
from langgraph.pregel import Pregel
from langgraph.runtime import RunControl
from langgraph.types import Command

from baton.domain.words import EventType, TakeoverOutcome, TakeoverReason
from baton.errors import LeaseLost, LeaseRequired, StoreError, StoreUnfit
from baton.fleet.guard import needs_async
from baton.fleet.lease import Lease
from baton.fleet.points import Point, reach
from baton.fleet.saver import FencedSaver
from baton.fleet.store import Store

#: There is nothing left to run; None would be to go on.
NOTHING = object()


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
        saver: FencedSaver,
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
        lease.on_node = on_node

    def execute(self) -> Ended:
        """Run to the end, whatever it is; only the end of the process stops this short."""
        self.open()
        try:
            try:
                value = self.begin()
                if value is not NOTHING:
                    self._call(value)
            except Exception as error:  # noqa: BLE001 - whatever a graph raises is how its run ended
                return self.close(error)
            return self.close(None)
        finally:
            self._lease.forget()

    def open(self) -> RunControl:
        """Let the nodes find the lease, and the lease ask the run to stop."""
        control = self._lease.control = self._lease.control or RunControl()
        self._lease.remember()
        return control

    def close(self, error: Exception | None) -> Ended:
        """Record how the run ended.

        Args:
            error: what the graph raised; None if it returned.

        Raises:
            StoreUnfit: the store cannot keep what the run has written, and not even its failure.
        """
        lease = self._lease
        try:
            return self._finished() if error is None else self._stopped_by(error)
        except LeaseLost as lost:
            lease.lost = lease.lost or lost.why
            return Ended("lost")
        except StoreUnfit:
            raise
        except (StoreError, LeaseRequired) as trouble:
            return Ended("lost", store_trouble=True, error=str(trouble))

    def _stopped_by(self, error: Exception) -> Ended:
        if isinstance(error, GraphDrained):
            reach(Point.RELEASE_BEFORE, self._lease.task_id)
            with self._lease.refusals():
                self._store.release(self._lease.claim, EventType.DRAINED, TakeoverReason.DRAINED)
            return Ended("drained")
        if isinstance(error, StoreUnfit):
            # No other worker could write it either.
            return self._fail(error)
        if isinstance(error, (LeaseLost, StoreError, LeaseRequired)):
            raise error
        return self._fail(error)

    def _finished(self) -> Ended:
        # Read back, and not what the graph returned: a successor that finds nothing left to do
        # must come to the same digest, and a graph may return less than its state.
        state = self._graph.get_state(self._lease.config)
        if state.tasks:
            self._finish(EventType.INTERRUPTED, {})
            return Ended("interrupted")
        reach(Point.DONE_BEFORE, self._lease.task_id)
        self._finish(EventType.DONE, {"state_digest": self._digest(state.values)})
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
        with self._lease.refusals():
            self._store.finish(self._lease.claim, self._worker_id, type_, data, error)

    def begin(self) -> Any:
        """How to begin or continue the graph, as its checkpoints and its task demand.

        Returns:
            What to invoke it with; ``NOTHING`` if nothing is left to run.
        """
        claim = self._lease.claim
        found = self._saver.get_tuple(self._lease.config)
        if found is not None or claim.reason is not None:
            reach(Point.RESUME_LOAD, claim.task_id)
        step_id = "" if found is None else found.config["configurable"]["checkpoint_id"]
        if found is None:
            if claim.reason is not None:
                self._resumed(TakeoverOutcome.RESTARTED, step_id)
            return self._input()
        if claim.resume is not None:
            self._lease.when_restored(lambda: self._resumed(TakeoverOutcome.RESUMED, step_id))
            return Command(resume=self._saver.serde.loads_typed(claim.resume))
        if self._graph.get_state(self._lease.config).tasks:
            self._lease.when_restored(lambda: self._resumed(TakeoverOutcome.RESUMED, step_id))
            return None
        if claim.reason is not None:
            self._resumed(TakeoverOutcome.COMPLETED, step_id)
        return NOTHING

    def _input(self) -> Any:
        stored = self._lease.claim.input
        return None if stored is None else self._saver.serde.loads_typed(stored)

    def _resumed(self, outcome: TakeoverOutcome, step_id: str) -> None:
        with self._lease.refusals():
            self._store.resumed(self._lease.claim, self._worker_id, outcome, step_id)

    def _call(self, value: Any) -> None:
        config, control = self._lease.config, self._lease.control
        if needs_async(self._graph):
            asyncio.run(self._graph.ainvoke(value, config, durability="sync", control=control))
        else:
            self._graph.invoke(value, config, durability="sync", control=control)

    def _digest(self, values: Any) -> str:
        return hashlib.sha256(self._saver.serde.dumps_typed(values)[1]).hexdigest()
