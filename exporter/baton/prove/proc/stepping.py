"""The clock of the store's host, made to step under a fleet of real processes.

This host's own clock is not a trial's to set: every process of a trial sees a wall clock that has
stepped instead, the harness itself included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

from baton.prove.proc.clockwork import step_wall
from baton.prove.proc.process import Process

#: Orders of other kinds have lower numbers.
_FIRST_ORDER = 1_000_000


class Trial(Protocol):
    """Whose clock steps."""

    processes: list[Process]


class Stepping:
    """How far the clock of one store's host is off."""

    def __init__(self, trial: Trial) -> None:
        """It is right.

        Args:
            trial: whose processes use the store.
        """
        self._trial = trial
        self._orders = itertools.count(_FIRST_ORDER)
        #: How far the wall clock is off for whoever begins now.
        self.seconds = 0.0

    def step(self, seconds: float, done: Callable[[], None]) -> None:
        """Step, and say so once every process has.

        Args:
            seconds: how far, forward or back.
            done: told when all see it.
        """
        self.seconds += seconds
        step_wall(self.seconds)
        left = {p.spec.process for p in self._trial.processes if p.channel and not p.dead}

        def obeyed(process: Process) -> None:
            if process.spec.process in left:
                left.discard(process.spec.process)
                if not left:
                    done()

        for process in [p for p in self._trial.processes if p.spec.process in left]:
            order = next(self._orders)
            process.when("obeyed", order, lambda process=process: obeyed(process))  # type: ignore[misc]
            process.when_ended(lambda code, process=process: obeyed(process))  # type: ignore[misc]  # noqa: ARG005
            process.tell("wall", order, seconds=self.seconds)

    def close(self) -> None:
        """Let the harness see the real time again."""
        step_wall(0.0)
