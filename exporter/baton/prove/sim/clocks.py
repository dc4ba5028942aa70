"""The clocks of a trial: the store's, and each process's own, which can be made to go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from baton.fleet import driver, lease
from baton.prove.sim.world import World

#: What store time reads when a trial begins, in microseconds: some time in 2026.
EPOCH_US = 1_767_225_600_000_000


class StoreTime:
    """Store time, which does not step, and the host's wall clock, which may."""

    def __init__(self, world: World) -> None:
        """Go with the world's time."""
        self._world = world
        self.wall_offset_us = 0

    def now_us(self) -> int:
        """Store time in microseconds."""
        return EPOCH_US + self._world.now

    def wall_us(self) -> int:
        """Wall-clock time in microseconds."""
        return EPOCH_US + self._world.now + self.wall_offset_us


class ProcessClock:
    """A process's own monotonic clock, in whole microseconds."""

    def __init__(self, world: World) -> None:
        """Go as the world's time does."""
        self._world = world
        self._from = self._shown = world.now
        self._rate_permille = 1000

    def now_us(self) -> int:
        """What it shows."""
        return self._shown + (self._world.now - self._from) * self._rate_permille // 1000

    def shift(self, *, offset_us: int = 0, rate_permille: int | None = None) -> None:
        """Leap, or go on at another rate.

        Args:
            offset_us: how far to leap, forward or back.
            rate_permille: thousandths of a second shown for each real second from here on.
        """
        self._shown, self._from = self.now_us() + offset_us, self._world.now
        self._rate_permille = rate_permille or self._rate_permille

    def world_us(self, shown_seconds: float) -> int:
        """When it will show so much, in the world's time; not before."""
        left = round(shown_seconds * 1e6) - self._shown
        return self._from - (-left * 1000) // self._rate_permille


class _Shown:
    """The module ``time``, whose monotonic clock is that of the process that asks."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        """The clock of the process that is running, in seconds."""
        return self._now_us() / 1e6

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        return self._now_us() * 1000


@contextmanager
def shown(now_us: Callable[[], int], new_id: Callable[[], str]) -> Iterator[None]:
    """While this lasts, the driver and the leases of this process see a trial's time and ids.

    Args:
        now_us: the clock of whichever process is running.
        new_id: in place of random ids.
    """
    places: tuple[tuple[Any, str, Any], ...] = (
        (driver, "time", _Shown(now_us)),
        (lease, "time", _Shown(now_us)),
        (driver, "new_id", new_id),
    )
    before = [(module, name, vars(module)[name]) for module, name, _ in places]
    for module, name, value in places:
        vars(module)[name] = value
    try:
        yield
    finally:
        for module, name, value in before:
            vars(module)[name] = value
