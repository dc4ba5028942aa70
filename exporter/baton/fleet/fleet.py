"""A fleet as an application sees it: open, submit, lease, resume."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal, Self

from baton import errors
from baton.domain.words import EventType, Evidence, TakeoverReason
from baton.errors import LeaseHeld, StoreUnreachable
from baton.fleet import messages as m
from baton.fleet.driver import Driver
from baton.fleet.lease import Lease, LiveSession, lease_of
from baton.fleet.model import Claim, LeaseKey, Loss, Task, Typed
from baton.fleet.naming import checked_name
from baton.fleet.process import ProcessIdentity, is_alive
from baton.fleet.store import PATIENCE_SECONDS, Store, new_id, open_store

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.pregel import Pregel

    from baton.fleet.guard import AnyGraph
    from baton.fleet.saver import FencedSaver

#: How often a lease that somebody else holds is asked for again while waiting, in seconds.
_LEASE_POLL_SECONDS = 0.05


def open(  # noqa: A001 - baton.open is the published name
    url: str,
    *,
    create: bool = True,
    kind: Literal["worker", "embedded"] = "embedded",
    ttl_seconds: float = PATIENCE_SECONDS,
    serde: SerializerProtocol | None = None,
) -> Fleet:
    """Open a fleet's store.

    Args:
        url: ``sqlite:///fleet.db``, ``sqlite:////absolute/fleet.db`` or ``postgresql://…``.
        create: make or migrate the store; False for whoever only looks.
        kind: ``worker`` lets others kill this process if it freezes with the write lock.
        ttl_seconds: the TTL of leases taken with ``fleet.lease``.
        serde: what checkpoints, inputs and results of effects are written and read through, such
            as a serializer of LangGraph's with an allow-list of your own, or one that encrypts;
            the same for all who run the fleet's tasks. LangGraph's own if there is none.

    Raises:
        BadInput, StoreUnreachable, StoreCorrupt, StoreNewer, StoreRestored: as they say.
    """
    store = open_store(url, create=create, kind=kind, patience_seconds=ttl_seconds)
    store.serde = serde
    return Fleet(store, kind=kind, ttl_seconds=ttl_seconds)


class Fleet:
    """One store, and whatever this process does with it."""

    def __init__(self, store: Store, *, kind: str, ttl_seconds: float) -> None:
        """Wrap an open store.

        Args:
            store: from ``open_store``.
            kind: ``worker`` or ``embedded``.
            ttl_seconds: the TTL of leases taken with ``lease``.
        """
        self.store = store
        self.kind = kind
        self.version = package_version()
        self._ttl_seconds = ttl_seconds
        self._drivers: list[Driver] = []
        self._embedded: tuple[Driver, threading.Thread] | None = None
        self._start_lock = threading.Lock()
        self._auto: dict[str, Lease] = {}
        self._auto_lock = threading.Lock()
        store.data.on_lost = self._lost
        self._saver: FencedSaver | None = None

    def __enter__(self) -> Self:
        """Use the fleet in a ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # Tasks

    def submit(
        self, graph: str, value: Any, *, task_id: str | None = None, pool: str = "default"
    ) -> str:
        """Accept a task; accepting it twice with the same input is accepting it once.

        Args:
            graph: the name that workers know the graph by.
            value: the graph's input.
            task_id: the LangGraph thread id; a fresh one by default.
            pool: whose workers may run it.

        Raises:
            TaskConflict: the id stands for another graph, pool or input.
        """
        task_id = checked_name("task", task_id or f"t-{new_id()}")
        typed = self._encode(value)
        self.store.submit(
            task_id,
            graph=checked_name("graph", graph),
            pool=checked_name("pool", pool),
            input_=typed,
            input_digest=_digest(typed),
        )
        return task_id

    def resume(self, task_id: str, value: Any) -> str:
        """Answer an interrupt; returns the id of the run that begins.

        Raises:
            UnknownTask, IllegalTransition: there is no such task, or it is not interrupted.
        """
        typed = self._encode(value)
        return self.store.request_resume(task_id, typed, _digest(typed))

    def task(self, task_id: str) -> Task:
        """One task as the store knows it.

        Raises:
            UnknownTask: there is no such task.
        """
        return self.store.task(task_id)

    def _encode(self, value: Any) -> Typed:
        return self.saver().serde.dumps_typed(value)

    # Checkpoints

    def saver(self, *, auto_lease: bool = False) -> FencedSaver:
        """The fenced checkpointer; a put without a lease is refused, reads are free.

        Args:
            auto_lease: lease threads by itself as they are written, for conformance tests.
        """
        if auto_lease:
            return self.store.saver(self, auto_lease=True)
        # Made when it is asked for: whoever only looks at a fleet needs no LangGraph.
        with self._start_lock:
            if self._saver is None:
                self._saver = self.store.saver(self)
        return self._saver

    def attach(self, graph: AnyGraph) -> Pregel[Any, Any, Any, Any]:
        """A copy of a graph that writes through the fenced saver and guards every node.

        Args:
            graph: a StateGraph or a compiled graph.

        Raises:
            BadInput: it is neither.
        """
        from baton.fleet.guard import attached

        return attached(graph, self.saver())

    # Leases in somebody's own runtime

    @contextmanager
    def lease(
        self, thread_id: str, *, pool: str = "default", wait_seconds: float = 0.0
    ) -> Iterator[Lease]:
        """Lease a thread: ``graph.invoke(x, lease.config, durability="sync")`` inside.

        The run is recorded as done at the end, as failed when the body raises, and as
        interrupted when an interrupt was the last thing written.

        Args:
            thread_id: the LangGraph thread.
            pool: under which pool its metrics appear.
            wait_seconds: how long to wait for another holder to let go.

        Raises:
            LeaseHeld: another live session holds it.
            LeaseLost: it was taken over meanwhile; raised at the end if nothing raised it before.
        """
        from langgraph.errors import GraphDrained

        task_id, pool = checked_name("task", thread_id), checked_name("pool", pool)
        lease = self._take(task_id, pool, wait_seconds)
        try:
            yield lease
        except errors.LeaseLost:
            raise
        except GraphDrained:
            # The run stopped between two steps on request; whoever leases next goes on with it.
            with lease.refusals():
                self.store.release(lease.claim, EventType.DRAINED, TakeoverReason.DRAINED)
            raise
        except BaseException as error:
            self._end(lease, EventType.FAILED, error)
            raise
        else:
            interrupted = lease.interrupted
            self._end(lease, EventType.INTERRUPTED if interrupted else EventType.DONE, None)
        finally:
            self._drop(lease)

    def _take(self, task_id: str, pool: str, wait_seconds: float) -> Lease:
        session = self._session(pool)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                claim = self._claim(task_id, pool, session)
            except LeaseHeld:
                if time.monotonic() >= deadline:
                    raise
                threading.Event().wait(_LEASE_POLL_SECONDS)
            else:
                return self._hold(claim, session)

    def _claim(self, task_id: str, pool: str, session: LiveSession) -> Claim:
        about = {
            "session_id": session.session_id,
            "worker_id": session.worker_id,
            "pool": pool,
        }
        try:
            return self.store.lease(task_id, **about)
        except LeaseHeld as held:
            if not self._is_over(str(held.fields["session_id"])):
                raise
            return self.store.lease(task_id, **about)

    def _is_over(self, session_id: str) -> bool:
        """Whether a session is over, buried here if nobody was quicker."""
        holder = self.store.sessions.get(session_id)
        if holder is None:
            return False
        if holder.live and is_alive(holder.spec.identity) is False:
            self.store.bury(Loss(session_id=session_id, evidence=Evidence.PIDFD))
            return True
        return not holder.live

    def _hold(self, claim: Claim, session: LiveSession) -> Lease:
        lease = Lease(self.store, claim, session)
        lease.remember()
        for driver in self._drivers:
            driver.add_lease(lease)
        return lease

    def _drop(self, lease: Lease) -> None:
        lease.forget()
        for driver in self._drivers:
            driver.drop_lease(lease)

    def _end(self, lease: Lease, type_: EventType, error: BaseException | None) -> None:
        text = None if error is None else f"{type(error).__name__}: {error}"
        data: dict[str, Any] = {"external": True}
        if error is not None and text is not None:
            data["error_type"] = type(error).__name__
            data["error_digest"] = hashlib.sha256(text.encode()).hexdigest()
        try:
            self.store.finish(lease.claim, lease.session.worker_id, type_, data, text)
        except errors.LeaseLost:
            self.store.refused(lease.claim.key)
            if error is None:
                raise

    def _session(self, pool: str) -> LiveSession:
        """This process's own session, started when it is first needed."""
        self.store.data.refuse_a_forked_child()
        with self._start_lock:
            if self._embedded is None:
                self._embedded = self._start_embedded(pool)
        driver = self._embedded[0]
        session = driver.wait_opened(self._ttl_seconds)
        if session is None:
            if driver.fatal is not None:
                raise driver.fatal
            raise StoreUnreachable(url=self.store.url, detail="no session could be started")
        return session

    def _start_embedded(self, pool: str) -> tuple[Driver, threading.Thread]:
        identity = ProcessIdentity.of_self()
        config = m.WorkerConfig(
            worker_id=f"{identity.host}-{identity.pid}",
            pool=pool,
            interval_seconds=self._ttl_seconds / 3,
            ttl_seconds=self._ttl_seconds,
            concurrency=0,
        )
        driver = Driver(self.store, config, kind="embedded", version=self.version)
        self.register(driver)

        def run() -> None:
            # What went wrong is kept in ``fatal`` and raised where a lease is asked for.
            with suppress(StoreUnreachable):
                driver.run()

        thread = threading.Thread(target=run, name="baton-session", daemon=True)
        thread.start()
        return driver, thread

    # What the saver asks

    def register(self, driver: Driver) -> None:
        """Let refusals reach the leases of a driver."""
        self._drivers.append(driver)

    def held(self, task_id: str, *, lease: bool) -> RunnableConfig | None:
        """The config of the lease this process holds; leased on the spot if ``lease`` says so."""
        if lease:
            # LangGraph writes from several threads, and one lease serves them all.
            with self._auto_lock:
                found = self._auto.get(task_id)
                if found is None or found.lost:
                    found = self._auto[task_id] = self._take(task_id, "default", 0.0)
            return found.config
        for driver in self._drivers:
            for one in driver.leases():
                if one.task_id == task_id and one.lost is None:
                    return one.config
        return None

    def refused(self, lost: errors.LeaseLost, key: LeaseKey) -> None:
        """Mark a lease as lost and record the refusal."""
        self._lost(lost, key)
        self.store.refused(key)

    def _lost(self, lost: errors.LeaseLost, key: LeaseKey) -> None:
        lease = lease_of(key)
        if lease is not None:
            lease.lost = lease.lost or lost.why

    def close(self) -> None:
        """Release what is leased, end this process's own session, and close the store."""
        for lease in self._auto.values():
            with suppress(errors.LeaseLost):
                self._end(lease, EventType.DONE, None)
            self._drop(lease)
        if self._embedded is not None:
            driver, thread = self._embedded
            driver.tell(m.DrainRequested())
            thread.join(self._ttl_seconds)
        self.store.close()


def _digest(typed: Typed) -> str:
    return hashlib.sha256(typed[0].encode() + b"\0" + typed[1]).hexdigest()


def package_version() -> str:
    """The version of the installed package."""
    try:
        return version("langgraph-baton")
    except PackageNotFoundError:
        return "0+source"
