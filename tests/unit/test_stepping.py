"""A step of the wall clock reaches every process of a trial, and nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from baton.fleet import clock
from baton.prove.proc.clockwork import step_wall
from baton.prove.proc.process import Process
from baton.prove.proc.stepping import Stepping
from baton.prove.proc.worker import Spec


class Line:
    """What a process is told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.said: list[dict[str, Any]] = []

    def send(self, **message: Any) -> None:
        """Keep it."""
        self.said.append(message)


@pytest.fixture(autouse=True)
def _real_time() -> Iterator[None]:
    yield
    step_wall(0.0)


def processes(count: int) -> list[Process]:
    """Some that have begun."""
    made = []
    for number in range(count):
        spec = Spec(process="", worker_id="w", control="", folder="", store_url="", graphs=())
        process = Process(f"p-{number}", spec)
        process.channel = Line()  # type: ignore[assignment]
        made.append(process)
    return made


def test_a_step_is_over_once_every_process_sees_it() -> None:
    """One obeys, one ends before it can, and one has never begun."""
    trial = processes(3)
    trial[2].channel = None
    stepping = Stepping(type("Trial", (), {"processes": trial})())
    done: list[bool] = []
    stepping.step(-3_600.0, lambda: done.append(True))
    told = trial[0].channel.said[0]  # type: ignore[union-attr]
    assert (told["do"], told["seconds"]) == ("wall", -3_600.0)
    assert not done
    trial[0].hear({"say": "obeyed", "order": told["order"]})
    assert not done
    trial[1].end(-9)
    assert done == [True]
    assert stepping.seconds == -3_600.0


def test_only_the_wall_clock_steps() -> None:
    """Store time is the boot clock."""
    before = clock.boot_time_us()
    step_wall(-3_600.0)
    assert abs(time.time_ns() // 1000 - 3_600_000_000 - clock.wall_us()) < 60_000_000
    assert 0 <= clock.boot_time_us() - before < 60_000_000
    step_wall(0.0)
    assert abs(time.time_ns() // 1000 - clock.wall_us()) < 60_000_000
