"""A worker's own clock, made to leap or to run at another rate.

It stands in the place of the module ``time`` where the driver and the lease look at the monotonic
clock. Store time is none of a worker's business, and stays what it is. The wall clock that its
store writes beside it can be made to step (``step_wall``).
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import Any

from baton.fleet import clock, driver, lease

_WALL_US = clock.wall_us


class ShiftedClock:
    """The module ``time``, except that its monotonic clock can be shifted."""

    def __init__(self) -> None:
        """Go as the real one does."""
        self._lock = threading.Lock()
        self._real = self._shown = time.monotonic()
        self._rate = 1.0

    def __getattr__(self, name: str) -> Any:
        """Everything else is the real thing."""
        return getattr(time, name)

    def monotonic(self) -> float:
        """The shifted clock, in seconds."""
        with self._lock:
            return self._shown + (time.monotonic() - self._real) * self._rate

    def shift(self, *, offset_seconds: float = 0.0, rate: float | None = None) -> None:
        """Leap, or go on at another rate.

        Args:
            offset_seconds: how far to leap, forward or back.
            rate: seconds shown for each real one from here on.
        """
        shown, now = self.monotonic(), time.monotonic()
        with self._lock:
            self._real, self._shown = now, shown + offset_seconds
            self._rate = self._rate if rate is None else rate

    def real_seconds(self, shown_seconds: float | None) -> float | None:
        """How long to wait for so much of the shown time to pass."""
        return None if shown_seconds is None else shown_seconds / self._rate

    def install(self) -> None:
        """Become the clock of this process's worker; to be called before there is one."""
        shifted = self

        class Waiting(SimpleQueue[Any]):
            """The driver's queue: its waits pass as fast as its clock does."""

            def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - the queue's own signature
                return super().get(block, shifted.real_seconds(timeout))

        vars(driver)["SimpleQueue"] = Waiting
        for module in (driver, lease):
            vars(module)["time"] = self


def step_wall(seconds: float) -> None:
    """Let this process see a wall clock that is off; by 0 seconds, the real one again.

    Args:
        seconds: how far, forward or back.
    """
    offset_ns = round(seconds * 1e9)
    vars(clock)["wall_us"] = (
        (lambda: (time.time_ns() + offset_ns) // 1000) if offset_ns else _WALL_US
    )
