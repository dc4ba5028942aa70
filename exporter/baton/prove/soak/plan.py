"""What a cycle of a soak performs: drawn from one generator, whose state is in each checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from baton.fleet.points import Point
from baton.prove.scenarios.engine import Engine
from baton.prove.scenarios.library import every
from baton.prove.scenarios.model import (
    ALL,
    Bounds,
    Do,
    Expect,
    Fault,
    Scenario,
    Timing,
    Topology,
    Worker,
)
from baton.prove.scenarios.swarm import swarm

#: Of so many cycles one is a random scenario and one is of the library; the others are relays.
_OF = 20

#: Seeds of cycles are below this.
_SEEDS = 2**31

#: How many tasks a relay hands on at once.
RUNNERS = 64

#: What a relay must show; its tasks have no effects.
_RELAY = ("C1", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C12", "C13", "L1", "V1")


class Plan:
    """The cycles of a soak, one after another; the same generator gives the same ones."""

    def __init__(self, engine: Engine, chance: Random) -> None:
        """Draw from a generator.

        Args:
            engine: only what it can perform is drawn.
            chance: its state is what a checkpoint keeps.
        """
        self._chance = chance
        self._engine = engine
        self._directed = tuple(one for one in every() if engine.supports(one) is None)

    def next(self) -> tuple[Scenario, int]:
        """The next scenario, and what decides for chance in it."""
        draw, seed = self._chance.randrange(_OF), self._chance.randrange(_SEEDS)
        makers: dict[int, Callable[[int], Scenario]] = {0: self._random, 1: self._named}
        scenario = makers.get(draw, relay)(seed)
        if self._engine.supports(scenario) is not None:
            scenario = self._named(seed)
        return scenario, seed

    def _named(self, seed: int) -> Scenario:
        return self._directed[seed % len(self._directed)]

    @staticmethod
    def _random(seed: int) -> Scenario:
        (scenario,) = swarm(1, seed)
        return scenario


def relay(seed: int, *, deaths: int = 19, runners: int = RUNNERS) -> Scenario:
    """Two workers that kill each other's time: whoever holds everything dies, again and again.

    Args:
        seed: which one it is; chance in it is decided by the engine's own seed.
        deaths: how often a worker dies; each needs a step of every task, of which there are 20.
        runners: how many tasks there are.
    """
    # Everybody has taken a step since the takeover, or it would be a fruitless one; a run's
    # beginning takes two more. A few are well into the step that follows.
    die = Fault(
        name="die",
        do=Do.SIGKILL,
        actor=ALL,
        at=Point.CKPT_AFTER_WRITE,
        nth=3 * runners + 2,
        back_after_seconds=0.2,
    )
    again = replace(die, name="die-again", nth=runners + 2, times=deaths - 1, after="die")
    faults = (die, again) if deaths > 1 else (die,)
    return Scenario(
        id=f"relay-{seed}",
        title="A relay",
        hypothesis="However often its holder dies, a task goes on where it was.",
        tags=("relay",),
        topology=Topology(
            workers=(
                Worker(name="w-1", concurrency=runners),
                Worker(name="w-2", concurrency=runners),
            ),
            tasks={"relay": runners},
        ),
        timing=Timing(poll_seconds=1.0, limit_seconds=600.0),
        faults=faults,
        expect=Expect(
            assertions=_RELAY,
            must_fire=tuple(fault.name for fault in faults),
            bounds=Bounds(converge_seconds=120),
        ),
        seed=seed,
    )
