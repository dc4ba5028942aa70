"""Hundreds of idle workers that are woken at once do not ask the store at once."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from baton.domain.words import SessionState
from baton.fleet import messages as m
from baton.fleet.model import Beat, Claim, Claims, LeaseKey, Session, SessionSpec
from baton.fleet.pacing import PROMPT, SLOT_SECONDS, poll_seconds, wake_seconds
from baton.fleet.protocol import WorkerProtocol

draws = st.floats(0, 1, exclude_max=True)


@given(standbys=st.integers(1, PROMPT), draw=draws)
def test_a_few_never_wait_for_each_other(standbys: int, draw: float) -> None:
    """A lone standby least of all."""
    assert wake_seconds(standbys, draw) == 0
    assert poll_seconds(0.2, standbys, draw) == 0.2


@given(standbys=st.integers(PROMPT + 1, 10_000), draw=draws)
def test_many_wait_within_a_window_that_grows_with_them(standbys: int, draw: float) -> None:
    """So that the store is asked at one rate however many they are."""
    assert 0 <= wake_seconds(standbys, draw) <= standbys * SLOT_SECONDS
    every = poll_seconds(0.2, standbys, draw)
    assert every >= max(0.2, standbys * SLOT_SECONDS) / 2
    assert every <= max(0.2, standbys * SLOT_SECONDS) * 1.5


def idle_session(number: int, room: int) -> Session:
    """A worker as its peers see it, with a heartbeat that nobody finds too old."""
    spec = SessionSpec(
        session_id=f"s-{number}",
        worker_id=f"w-{number}",
        pool="default",
        kind="worker",
        interval_us=5_000_000,
        ttl_us=15_000_000,
        concurrency=room,
        graphs=("g",),
    )
    return Session(spec=spec, state=SessionState.IDLE, started_at=0, beat=1, beat_at=10**15)


@dataclass
class Crowd:
    """Protocols under one virtual clock, and a store that answers each claim after a while."""

    workers: int
    room: int
    left: int = 0
    claim_seconds: float = 0.02
    now: float = 0.0
    asking: int = 0
    most: int = 0
    attempts: int = 0
    first_at: float | None = None
    done_at: float | None = None
    _queue: list[tuple[float, int, int, m.Event]] = field(default_factory=list)
    _timers: dict[tuple[int, str], int] = field(default_factory=dict)
    _order: count[int] = field(default_factory=count)
    _tasks: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.members = []
        sessions = tuple(idle_session(number, self.room) for number in range(self.workers))
        for number in range(self.workers):
            draw = Random(f"pacing/{number}").random  # noqa: S311 - replayed, not secret
            config = m.WorkerConfig(worker_id=f"w-{number}", graphs=("g",), concurrency=self.room)
            self.members.append(WorkerProtocol(config, draw))
            self._tell(number, m.SessionOpened(f"s-{number}", Beat(accepted=True, at_us=0), 0.0))
            self.members[-1].on(m.PeersSeen(0, sessions), 0.0)
        # All are idle, and each has found nothing at its last look.
        self.run_until(5.0)
        self.lose(0)

    def lose(self, leases: int) -> None:
        """So many are there to claim from now on; count from here."""
        self.left, self.most, self.attempts = leases, 0, 0
        self.lost_at = self.now

    def wake(self) -> None:
        """Tell all of them at once."""
        for number in range(self.workers):
            self._tell(number, m.Woken())

    def run_until(self, until: float) -> None:
        """Let time pass."""
        while self._queue and self._queue[0][0] <= until:
            self.now, order, number, event = heapq.heappop(self._queue)
            if isinstance(event, m.Tick):
                if self._timers.get((number, event.name)) != order:
                    continue
                del self._timers[number, event.name]
            if isinstance(event, m.ClaimDone):
                self.asking -= 1
            self._tell(number, event)
        self.now = until

    def _tell(self, number: int, event: m.Event) -> None:
        for command in self.members[number].on(event, self.now):
            if isinstance(command, m.SetTimer) and command.name == "claim":
                order = self._at(command.at, number, m.Tick("claim"))
                self._timers[number, "claim"] = order
            elif isinstance(command, m.TryClaim):
                self._claim(number, command)

    def _claim(self, number: int, command: m.TryClaim) -> None:
        self.attempts += 1
        self.asking += 1
        self.most = max(self.most, self.asking)
        taken = min(self.left, command.limit)
        self.left -= taken
        if taken and self.first_at is None:
            self.first_at = self.now - self.lost_at
        if taken and not self.left:
            self.done_at = self.now - self.lost_at
        won = tuple(self._won(number) for _ in range(taken))
        self._at(self.now + self.claim_seconds, number, m.ClaimDone(Claims(won=won), 0))

    def _won(self, number: int) -> Claim:
        return Claim(
            key=LeaseKey(f"t-{next(self._tasks)}", 2, f"s-{number}"),
            graph="g",
            run_id="r",
            claimed_at=0,
            input=None,
            resume=None,
            reason=None,
        )

    def _at(self, when: float, number: int, event: m.Event) -> int:
        order = next(self._order)
        heapq.heappush(self._queue, (when, order, number, event))
        return order


def test_five_hundred_idle_workers_do_not_stampede() -> None:
    """Few ask at a time, the first of them at once, and nothing that is lost is left for long."""
    crowd = Crowd(workers=500, room=2)
    # A burst of submits that others have taken already.
    for _ in range(100):
        crowd.wake()
        crowd.run_until(crowd.now + 0.01)
    crowd.run_until(crowd.now + 3)
    assert crowd.most <= 4 * PROMPT
    # However often it is woken, each asks twice in a window on the average.
    assert 0 < crowd.attempts <= 3 * 4 / SLOT_SECONDS

    crowd.lose(1000)
    crowd.wake()
    crowd.run_until(crowd.now + 3)
    assert crowd.left == 0
    assert crowd.first_at is not None
    assert crowd.first_at <= 10 * SLOT_SECONDS
    assert crowd.done_at is not None
    assert crowd.done_at <= 500 * SLOT_SECONDS + 2 * crowd.claim_seconds
    assert crowd.most <= 4 * PROMPT


def test_a_lone_standby_among_many_busy_ones_does_not_wait() -> None:
    """Those that hold a task have no room for another."""
    crowd = Crowd(workers=1, room=1)
    busy = tuple(idle_session(number, 1) for number in range(500))
    holders = frozenset(f"s-{number}" for number in range(1, 500))
    worker = crowd.members[0]
    worker.on(m.Tick("claim"), crowd.now)
    worker.on(m.ClaimDone(Claims(holders=holders), 0), crowd.now)
    worker.on(m.PeersSeen(0, busy), crowd.now)
    assert worker.on(m.Woken(), crowd.now) == [m.TryClaim("s-0", 1, 0)]
