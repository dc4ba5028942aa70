"""The errors that are raised inside a graph, where LangGraph neither retries nor records them.

Import them from ``baton.errors``; they are apart because they cost the import of LangGraph.
"""

from __future__ import annotations

from langgraph.errors import GraphBubbleUp


class LeaseLost(GraphBubbleUp):
    """Another session took the task over, so this write or node start was refused."""

    def __init__(self, task_id: str, epoch: int, why: str = "superseded") -> None:
        """Name the lost lease.

        Args:
            task_id: the task whose lease is lost.
            epoch: the epoch that this process still believed in.
            why: ``superseded`` (the fence said so), ``expired`` (this process could not renew
                in time and stopped itself) or ``stopped`` (its own session gave it up).
        """
        super().__init__(f"lease on task {task_id!r} at epoch {epoch} is lost: {why}")
        self.task_id = task_id
        self.epoch = epoch
        self.why = why


class LeaseRequired(GraphBubbleUp):
    """A checkpoint write arrived without a lease."""

    def __init__(self, task_id: str) -> None:
        """Name the task.

        Args:
            task_id: the thread whose write was refused.
        """
        super().__init__(
            f"no lease for thread {task_id!r}: write inside `with fleet.lease(...) as lease` "
            "and pass lease.config"
        )
        self.task_id = task_id
