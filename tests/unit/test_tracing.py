"""The trace of a worker on trial tells the moments that the worker itself goes by."""

from __future__ import annotations

from typing import Any

from tests.support.house import ManualClock, numbered

from baton.domain.continuity.model import TraceKind
from baton.fleet import messages as m
from baton.fleet.store import memory_store
from baton.prove.scenarios.tracing import TracedDriver


class Traced(TracedDriver):
    """Keeps its trace, and what it tells the protocol."""

    def now_us(self) -> int:
        """A clock that was read at another moment."""
        return 0

    def note(self, kind: TraceKind, *, at_us: int | None = None, **fields: int) -> None:
        """Keep it."""
        del fields
        self.lines.append((kind, at_us))

    def tell(self, event: m.Event) -> None:
        """Keep it."""
        self.told.append(event)

    lines: list[tuple[TraceKind, int | None]]
    told: list[m.Event]


class Blind:
    """Sees nobody's death, and leaves no lock behind."""

    def hold(self, session_id: str) -> None:
        """There is nobody to see it."""


def test_a_renewal_counts_from_the_same_moment_in_the_trace() -> None:
    """Or the worker goes on by one moment, and C13 judges by another."""
    store: Any = memory_store(ManualClock(), numbered("id"))
    store.evidence = lambda on_gone, on_wake: Blind()  # noqa: ARG005
    config = m.WorkerConfig(worker_id="w", graphs=("g",), interval_seconds=1, ttl_seconds=3)
    driver = Traced(store, config, kind="worker")
    driver.lines, driver.told = [], []
    driver._open_session()  # noqa: SLF001 - one lane's work, without the lane
    assert driver.session is not None
    driver._send_beat(driver.session.session_id)  # noqa: SLF001
    (done,) = driver.told
    assert isinstance(done, m.BeatDone)
    assert (TraceKind.BEAT_SENT, round(done.sent_at * 1e6)) in driver.lines
