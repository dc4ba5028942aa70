"""A worker: a process that runs graphs for a fleet, takes over from the dead, and drains."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from baton.domain.words import TakeoverReason
from baton.errors import BadInput
from baton.fleet import messages as m
from baton.fleet.driver import Driver, Hooks
from baton.fleet.guard import AnyGraph
from baton.fleet.lease import Lease
from baton.fleet.naming import checked_name
from baton.fleet.process import ProcessIdentity
from baton.fleet.runner import Run

if TYPE_CHECKING:
    from baton.fleet.fleet import Fleet

_log = logging.getLogger("baton.worker")


class Worker:
    """Runs the graphs it was given on the tasks it can claim."""

    #: What carries out its protocol; a worker on trial has one that writes a trace.
    driver_class: ClassVar[type[Driver]] = Driver

    def __init__(  # noqa: PLR0913 - the settings of a worker
        self,
        fleet: Fleet,
        graphs: Mapping[str, AnyGraph],
        *,
        worker_id: str | None = None,
        pool: str = "default",
        ttl_seconds: float = 15.0,
        heartbeat_seconds: float | None = None,
        concurrency: int = 1,
        drain_timeout_seconds: float = 30.0,
        progress_deadlines_seconds: Mapping[str, float] | None = None,
        fruitless_max: int = 3,
        poll_seconds: float = 0.2,
        until_idle: bool = False,
        metrics_address: str | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """Prepare a worker; ``run`` starts it.

        Args:
            fleet: the fleet it works for.
            graphs: by name, a StateGraph or a compiled graph.
            worker_id: stable over restarts; the host name and process id by default.
            pool: the set of interchangeable workers it belongs to.
            ttl_seconds: silence after which others may take its tasks.
            heartbeat_seconds: between two renewals; a third of the TTL by default.
            concurrency: how many tasks at once.
            drain_timeout_seconds: how long a drain waits for running super-steps.
            progress_deadlines_seconds: by graph, how long a task may go without a durable write
                before others may take it from this live worker.
            fruitless_max: takeovers in a row that brought nothing before a task is quarantined.
            poll_seconds: how often an idle worker looks for tasks.
            until_idle: return once nothing is left to do.
            metrics_address: where this process exports its own metrics, for service discovery.
            hooks: who is told of measurements.

        Raises:
            BadInput: a setting that cannot work.
        """
        if not graphs:
            raise BadInput(detail="a worker needs at least one graph")
        identity = ProcessIdentity.of_self()
        name = worker_id or f"{identity.host}-{os.getpid()}"
        self.fleet = fleet
        self.config = m.WorkerConfig(
            worker_id=checked_name("worker", name),
            pool=checked_name("pool", pool),
            graphs=tuple(sorted(checked_name("graph", graph) for graph in graphs)),
            interval_seconds=ttl_seconds / 3 if heartbeat_seconds is None else heartbeat_seconds,
            ttl_seconds=ttl_seconds,
            concurrency=concurrency,
            poll_seconds=poll_seconds,
            drain_timeout_seconds=drain_timeout_seconds,
            deadlines_seconds=dict(progress_deadlines_seconds or {}),
            fruitless_max=fruitless_max,
            until_idle=until_idle,
        )
        self._hooks = hooks or Hooks()
        self._graphs = {name: fleet.attach(graph) for name, graph in graphs.items()}
        self._driver = self.driver_class(
            fleet.store,
            self.config,
            kind=fleet.kind,
            runner=self._run_task,
            version=fleet.version,
            metrics_address=metrics_address,
            hooks=self._hooks,
        )
        fleet.register(self._driver)

    def run(self) -> None:
        """Work until drained by SIGTERM, SIGINT or ``drain``; blocks.

        Raises:
            BatonError: the store turned out to be unusable.
        """
        with self._signals():
            self._driver.run()

    def drain(self) -> None:
        """Finish the running super-steps, hand over the tasks, and let ``run`` return."""
        self._driver.tell(m.DrainRequested())

    @property
    def stuck(self) -> bool:
        """Whether ``run`` returned at its drain timeout, with something still under way.

        That is a node that does not end, or a store that does not answer. Python would wait for
        the one at its own end, and ``fleet.close`` for the other; a process that is to go at
        once leaves by ``os._exit``, and others see that it has gone.
        """
        return self._driver.stuck

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT drain, where this is the thread that may say so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, lambda *_: self.drain()) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run_task(self, lease: Lease) -> bool:
        claim = lease.claim
        about = {
            "task_id": lease.task_id,
            "run_id": claim.run_id,
            "epoch": lease.epoch,
            "session_id": claim.key.session_id,
            "graph": claim.graph,
        }
        if claim.reason is None:
            _log.info("task claimed", extra=about)
        else:
            reason: TakeoverReason = claim.reason
            more = {"reason": reason.value, "previous_worker": claim.previous_worker}
            _log.warning("task taken over", extra={**about, **more})
        ended = Run(
            self.fleet.store,
            self.fleet.saver(),
            self._graphs[claim.graph],
            lease,
            lambda node, seconds: self._hooks.on_node(claim.graph, node, seconds),
        ).execute()
        level = logging.INFO if ended.error is None else logging.ERROR
        _log.log(level, "run ended", extra={**about, "how": ended.how, "error": ended.error})
        return ended.store_trouble
