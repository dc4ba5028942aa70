"""Store time and the monotonic clock of this process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol


class StoreClock(Protocol):
    """The one clock that leases are judged by."""

    def now_us(self) -> int:
        """Store time in microseconds; it never steps and never runs back."""

    def wall_us(self) -> int:
        """Wall-clock time in microseconds since the Unix epoch; it may step."""


def boot_time_us() -> int:
    """Microseconds since boot, counting the time the machine was suspended where it can."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1000


def wall_us() -> int:
    """Wall-clock microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def boot_id() -> str:
    """A name for this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        # Without the kernel's own name the start of the boot, to the minute, serves.
        return f"boot-{round((wall_us() - boot_time_us()) / 60_000_000)}"


class HostClock:
    """Boot time plus an offset that the store fixed once for this boot.

    The offset makes store time read like wall time, and keeps it running forward over a
    restart of the machine; within a boot no clock adjustment reaches it.
    """

    def __init__(self, offset_us: int) -> None:
        """Take the offset.

        Args:
            offset_us: what to add to boot time, in microseconds.
        """
        self._offset_us = offset_us

    def now_us(self) -> int:
        """Store time in microseconds."""
        return boot_time_us() + self._offset_us

    def wall_us(self) -> int:
        """Wall-clock microseconds since the Unix epoch."""
        return wall_us()
