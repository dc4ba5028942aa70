"""What a store's rows say at one moment: sessions, leases and tasks as points of a scrape.

Everything here is about now. What has happened is counted from the ledger (``tail.py``).

* A worker shows its newest session, for as long as that lives and for a while after its end.
* Ages are differences of the store's clock, and a timestamp is the wall time of the scrape less
  an age: no worker's clock is ever asked.
* A session that stopped by its own will owes no heartbeat, so it has no heartbeat series; one
  that was lost keeps them, so that an alert on its age goes on firing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from baton.domain import catalogue as c
from baton.domain.metric import Metric
from baton.domain.transitions import freshness, lease_state
from baton.domain.words import LeaseState, SessionState
from baton.fleet.model import Session
from baton.fleet.store import Store
from baton.observe.exposition import Point, Snapshot

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by both clocks, in microseconds."""

    store_us: int
    wall_us: int

    def age_seconds(self, at_us: int) -> float:
        """How long ago something was, never less than nothing."""
        return max(0, self.store_us - at_us) / 1e6

    def unix_seconds(self, at_us: int) -> float:
        """When something was, or will be, as the scraper's clock has it."""
        return (self.wall_us - (self.store_us - at_us)) / 1e6

    def past_unix_seconds(self, at_us: int) -> float:
        """When something was that has surely been, even if it was read a moment later."""
        return self.unix_seconds(min(at_us, self.store_us))


class Look:
    """One look at a store: each thing is read once, when it is first asked for."""

    def __init__(self, store: Store, *, expected: Collection[str], retention_us: int) -> None:
        """Begin to look.

        Args:
            store: the open store.
            expected: pools that are known without any session or task.
            retention_us: for how long a session that has ended is still shown.
        """
        self.store = store
        self._expected = expected
        self._retention_us = retention_us

    @cached_property
    def held(self) -> list[tuple[str, str, int, bool]]:
        """Session, pool, number of held tasks, and whether they are external."""
        return self.store.leases()

    @cached_property
    def recent(self) -> list[Session]:
        """The sessions that live or ended a while ago, each worker's newest last."""
        # The leases are read first, so that whoever held one then has a row now.
        _ = self.held
        found = self.store.sessions.recent(self.store.clock.now_us() - self._retention_us)
        return sorted(
            found, key=lambda s: (s.spec.worker_id, s.started_at, s.live, s.spec.session_id)
        )

    @cached_property
    def holders(self) -> dict[str, Session]:
        """By id, the sessions that are shown or hold a lease."""
        known = {session.spec.session_id: session for session in self.recent}
        for session_id in sorted({row[0] for row in self.held} - known.keys()):
            session = self.store.sessions.get(session_id)
            if session is not None:
                known[session_id] = session
        return known

    @cached_property
    def workers(self) -> list[Session]:
        """Each worker's newest session, in the order of the workers' names."""
        return list({session.spec.worker_id: session for session in self.recent}.values())

    @cached_property
    def tasks(self) -> list[tuple[str, str, str, int]]:
        """Tasks by pool, graph and state."""
        return self.store.counts()

    @cached_property
    def pools(self) -> list[str]:
        """Every pool that anything is known of."""
        return sorted(
            {
                *self._expected,
                *(session.spec.pool for session in self.recent),
                *(pool for _, pool, *_ in self.held),
                *(pool for pool, *_ in self.tasks),
            }
        )

    @cached_property
    def served(self) -> list[tuple[str, str]]:
        """Every pool and graph that has tasks, or a worker that would run them."""
        offered = {
            (session.spec.pool, graph) for session in self.workers for graph in session.spec.graphs
        }
        return sorted(offered | {(pool, graph) for pool, graph, *_ in self.tasks})

    @cached_property
    def moment(self) -> Moment:
        """The moment of this look, by both clocks."""
        return Moment(self.store.clock.now_us(), self.store.clock.wall_us())


def sessions(look: Look) -> Snapshot:
    """The workers, each by its newest session."""
    now = look.moment
    leases = Counter[str]()
    for session_id, _, tasks, _ in look.held:
        leases[session_id] += tasks
    points: dict[Metric, list[Point]] = {c.WORKERS: []}
    by_state = Counter[Labels]()
    for session in look.workers:
        held = leases[session.spec.session_id]
        state = _worker_state(session, held)
        by_state[session.spec.pool, state.value] += 1
        for metric, value in _worker(session, state, held, now):
            points.setdefault(metric, []).append(value)
    points[c.WORKERS] = counted(c.WORKERS, by_state, pool=look.pools)
    return {**points, **_settings(look.workers)}


def leases(look: Look) -> Snapshot:
    """The leases, and the takeovers that nobody has made yet."""
    now = look.moment
    held, pending = Counter[Labels](), Counter[Labels]()
    expired, waiting = _Oldest(), _Oldest()
    for session_id, pool, tasks, external in look.held:
        session = look.holders.get(session_id)
        state = LeaseState.EXPIRED if session is None else _lease_state(session, now)
        held[pool, state.value] += tasks
        # Nobody is to claim an external task, so nobody is late to do it.
        if state is LeaseState.EXPIRED and session is not None and not external:
            expired.note(pool, _expires_at(session))
        if not external and (session is None or not session.live):
            pending[pool,] += tasks
            if session is not None:
                waiting.note(pool, session.last_sign_at or session.beat_at)
    for pool, runs, since in look.store.vacated():
        pending[pool,] += runs
        waiting.note(pool, since)
    return {
        c.LEASES: counted(c.LEASES, held, pool=look.pools),
        c.LEASE_EXPIRY_TIMESTAMP: _expiries(look),
        c.LEASE_OLDEST_EXPIRED_TIMESTAMP: expired.points(now),
        c.TAKEOVERS_PENDING: counted(c.TAKEOVERS_PENDING, pending, pool=look.pools),
        c.TAKEOVER_OLDEST_PENDING_TIMESTAMP: waiting.points(now),
    }


def tasks(look: Look) -> Snapshot:
    """The tasks, and since when the oldest of them waits."""
    now = look.moment
    counts: dict[Labels, int] = {(pool, graph, state): n for pool, graph, state, n in look.tasks}
    queued = _Oldest()
    for pool, since in look.store.oldest_pending():
        queued.note(pool, since)
    zeros = [
        labels
        for pool, graph in look.served
        for labels in c.TASKS.label_sets(pool=[pool], graph=[graph])
    ]
    return {
        c.TASKS: filled(zeros, counts),
        c.QUEUE_OLDEST_PENDING_TIMESTAMP: queued.points(now),
    }


def counted(metric: Metric, values: Mapping[Labels, float], **given: Iterable[str]) -> list[Point]:
    """``values``, and 0 for every series of ``metric`` that is known without them."""
    return filled(metric.label_sets(**given), values)


def filled(zeros: Iterable[Labels], values: Mapping[Labels, float]) -> list[Point]:
    """``values``, and 0 where they say nothing."""
    every = dict.fromkeys(zeros, 0.0) | dict(values)
    return [Point(labels, value) for labels, value in every.items()]


class _Oldest:
    """The oldest moment of each pool; a pool without one is left out."""

    def __init__(self) -> None:
        self._at_us: dict[str, int] = {}

    def note(self, pool: str, at_us: int) -> None:
        self._at_us[pool] = min(at_us, self._at_us.get(pool, at_us))

    def points(self, now: Moment) -> list[Point]:
        return [Point((pool,), now.past_unix_seconds(at)) for pool, at in self._at_us.items()]


def _worker_state(session: Session, held: int) -> SessionState:
    """The row says where the session stands; whether it is busy is a matter of its leases."""
    if session.state in (SessionState.IDLE, SessionState.BUSY):
        return SessionState.BUSY if held else SessionState.IDLE
    return session.state


def _worker(
    session: Session, state: SessionState, held: int, now: Moment
) -> Iterator[tuple[Metric, Point]]:
    spec = session.spec
    labels = (spec.worker_id, spec.pool)
    about = (spec.host, spec.kind, spec.version, ",".join(spec.graphs))
    yield c.WORKER_INFO, Point((*labels, *about), 1)
    yield c.WORKER_STATE, Point(labels, state.value)
    yield c.WORKER_LEASES, Point(labels, held)
    yield c.WORKER_SLOTS, Point(labels, spec.concurrency)
    if state is not SessionState.STOPPED:
        age_us = now.store_us - session.beat_at
        fresh = freshness(age_us, interval_us=spec.interval_us, ttl_us=spec.ttl_us)
        yield c.WORKER_HEARTBEAT_AGE, Point(labels, now.age_seconds(session.beat_at))
        yield c.WORKER_HEARTBEAT_TIMESTAMP, Point(labels, now.past_unix_seconds(session.beat_at))
        yield c.WORKER_HEARTBEAT_FRESHNESS, Point(labels, fresh.value)


def _settings(workers: Iterable[Session]) -> Snapshot:
    """What the sessions of a pool were started with; the dead count only where nobody lives."""
    by_pool: dict[str, list[Session]] = {}
    for session in workers:
        by_pool.setdefault(session.spec.pool, []).append(session)
    interval, ttl = [], []
    for pool, members in by_pool.items():
        asked = [session.spec for session in members if session.live]
        asked = asked or [session.spec for session in members]
        interval.append(Point((pool,), max(spec.interval_us for spec in asked) / 1e6))
        ttl.append(Point((pool,), max(spec.ttl_us for spec in asked) / 1e6))
    return {c.HEARTBEAT_INTERVAL: interval, c.LEASE_TTL: ttl}


def _lease_state(session: Session, now: Moment) -> LeaseState:
    spec = session.spec
    age_us = now.store_us - session.beat_at
    fresh = freshness(age_us, interval_us=spec.interval_us, ttl_us=spec.ttl_us)
    return lease_state(session.state, fresh)


def _expires_at(session: Session) -> int:
    """When the session's leases expire: with its TTL, or with its end if that came first."""
    expiry = session.beat_at + session.spec.ttl_us
    return expiry if session.ended_at is None else min(expiry, session.ended_at)


def _expiries(look: Look) -> list[Point]:
    holding = {row[0] for row in look.held}
    return [
        Point(
            (session.spec.worker_id, session.spec.pool),
            look.moment.unix_seconds(_expires_at(session)),
        )
        for session in look.workers
        if session.spec.session_id in holding
    ]
