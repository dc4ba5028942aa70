"""A lease as the process that holds it sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from baton import errors
from baton.fleet.model import EPOCH, RUN, SESSION, WORKER, Claim, LeaseKey, Typed

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.runtime import RunControl

    from baton.fleet.store import Store

#: Every lease that this process holds or held a moment ago, for code inside nodes to find.
_LEASES: dict[LeaseKey, Lease] = {}


class LiveSession:
    """What a session's heartbeats tell the runs that depend on them."""

    def __init__(self, session_id: str, worker_id: str) -> None:
        """Begin unconfirmed.

        Args:
            session_id: the session.
            worker_id: its worker.
        """
        self.session_id = session_id
        self.worker_id = worker_id
        self._confirmed_until = float("-inf")
        self._changed = threading.Condition()
        self._over: str | None = None

    def confirm(self, until: float) -> None:
        """The leases are ours until this moment of the monotonic clock."""
        with self._changed:
            self._confirmed_until = until
            self._changed.notify_all()

    def end(self, why: str) -> None:
        """The leases are not ours any more."""
        with self._changed:
            self._over = self._over or why
            self._changed.notify_all()

    @property
    def over(self) -> str | None:
        """Why the session has ended; None while it lives."""
        return self._over

    @property
    def confirmed(self) -> bool:
        """Whether the leases are surely ours at this moment, by our own clock."""
        return time.monotonic() < self._confirmed_until

    def wait_confirmed(self) -> str | None:
        """Wait until the leases are surely ours; returns why they are not.

        A process that slept wakes up here: its next heartbeat decides, not its own guess. The
        wait is bounded by the end of the session, which the driver announces in any case.
        """
        if self.confirmed:
            return self._over
        with self._changed:
            self._changed.wait_for(lambda: self._over is not None or self.confirmed)
        return self._over


class Lease:
    """The right to write on a task, for as long as nobody else has taken it over."""

    def __init__(self, store: Store, claim: Claim, session: LiveSession) -> None:
        """Hold a claim under a session.

        Args:
            store: where the lease was won.
            claim: what was won.
            session: the session that carries it.
        """
        self._store = store
        self.claim = claim
        self.session = session
        self.lost: str | None = None
        #: An interrupt is the last thing that was written.
        self.interrupted = False
        #: Asked to stop at the next super-step.
        self.control: RunControl | None = None
        self.on_write: Callable[[float], None] = lambda seconds: None  # noqa: ARG005
        self.on_node: Callable[[str, float], None] = lambda node, seconds: None  # noqa: ARG005
        self._restoring = threading.Lock()
        self._report_restored: Callable[[], None] | None = None

    @property
    def task_id(self) -> str:
        """The task that is leased: the thread id."""
        return self.claim.task_id

    @property
    def epoch(self) -> int:
        """The fencing token."""
        return self.claim.key.epoch

    @property
    def serde(self) -> SerializerProtocol | None:
        """What values are written and read through; None for LangGraph's own serializer."""
        return self._store.serde

    @property
    def config(self) -> RunnableConfig:
        """What to pass to ``graph.invoke`` so that its checkpoints carry this lease."""
        return {
            "configurable": {
                "thread_id": self.claim.task_id,
                EPOCH: self.claim.key.epoch,
                SESSION: self.claim.key.session_id,
                RUN: self.claim.run_id,
                WORKER: self.session.worker_id,
            }
        }

    def check(self) -> None:
        """Return only while the lease is surely ours; a node starts after this.

        Raises:
            LeaseLost: it is not.
        """
        why = self.lost or self.session.wait_confirmed()
        if why is not None:
            raise errors.LeaseLost(self.task_id, self.epoch, why)

    def when_restored(self, report: Callable[[], None]) -> None:
        """Call ``report`` once, before the first node starts or the first write is made."""
        self._report_restored = report

    def restored(self) -> None:
        """The graph's state is loaded; whoever comes here together waits for the report.

        Raises:
            LeaseLost: the fence refused the report.
        """
        if self._report_restored is None:
            return
        with self._restoring:
            if self._report_restored is not None:
                self._report_restored()
                self._report_restored = None

    def wrote(self, *, interrupt: bool, seconds: float) -> None:
        """Take note of an accepted write.

        Args:
            interrupt: whether it was an interrupt, after which nothing follows.
            seconds: how long it took.
        """
        self.interrupted = interrupt
        self.on_write(seconds)

    def effect(self, effect_key: str, step_id: str) -> Typed | None:
        """The recorded result of an effect, if there is one.

        Raises:
            LeaseLost: the fence refused.
        """
        with self.refusals():
            return self._store.effect(self.claim, self.session.worker_id, effect_key, step_id)

    def record_effect(self, effect_key: str, step_id: str, result: Typed) -> None:
        """Record an effect's result.

        Raises:
            LeaseLost: the fence refused.
        """
        with self.refusals():
            worker_id = self.session.worker_id
            self._store.record_effect(self.claim, worker_id, effect_key, step_id, result)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Put it on record if the fence refuses what the body writes.

        Raises:
            LeaseLost: the fence refused.
        """
        try:
            yield
        except errors.LeaseLost as lost:
            self.lost = self.lost or lost.why
            self._store.refused(self.claim.key)
            raise

    def remember(self) -> None:
        """Let code inside nodes find this lease."""
        _LEASES[self.claim.key] = self

    def forget(self) -> None:
        """The run is over."""
        _LEASES.pop(self.claim.key, None)


def lease_of(key: LeaseKey) -> Lease | None:
    """The lease of this process with that key, if there is one."""
    return _LEASES.get(key)


def lease_in(config: RunnableConfig) -> Lease | None:
    """The lease that a LangGraph config carries, if this process holds it."""
    configurable = config.get("configurable", {})
    if EPOCH not in configurable:
        return None
    key = LeaseKey(str(configurable["thread_id"]), configurable[EPOCH], configurable[SESSION])
    return lease_of(key)
