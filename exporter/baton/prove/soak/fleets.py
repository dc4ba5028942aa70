"""What a cycle of a soak on real processes is: a fleet that works while its workers are killed.

A trial of one scenario takes as long as ten kills. Here a fleet stays for a minute or two, tasks of
every graph keep coming, and every other second one of its workers, whichever chance names, is
killed, frozen beyond its TTL or asked to leave, at a moment that chance names too; and comes back.
Some are met at a named point of the lifecycle, now and then all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from baton.fleet.points import Point
from baton.prove.scenarios.model import (
    ALL,
    ASSERTION_IDS,
    Bounds,
    Do,
    Expect,
    Fault,
    Scenario,
    Timing,
    Topology,
    Worker,
)

#: Seeds of cycles are below this.
_SEEDS = 2**31

#: Points that a busy fleet passes all the time, so that a fault there is sure to happen.
_POINTS = (
    *(Point.CLAIM_AFTER, Point.STEP_BEGIN, Point.EFFECT_BEFORE, Point.EFFECT_AFTER),
    *(Point.STEP_END, Point.WRITES_BEFORE, Point.WRITES_AFTER, Point.CKPT_BEFORE),
    *(Point.CKPT_WRITE, Point.CKPT_AFTER_WRITE, Point.DONE_BEFORE, Point.DONE_AFTER),
    *(Point.HB_BEFORE, Point.HB_AFTER_WRITE),
)

#: What happens, and how often out of a hundred times.
_KINDS = {"kill": 68, "point": 12, "freeze": 10, "drain": 8, "all": 2}

#: How many tasks of each graph there are for one of the others.
_WEIGHTS = {"agent": 2, "anode": 2, "ask": 2, "chain": 3, "fan": 3, "pace": 3, "sub": 3}

#: In what share of the cycles one worker is left alone; and what cannot leave one alone.
_SPARED = 0.5
_UNSPARING = ("point", "all")

#: Everything that a trial on real processes can show; how quick a takeover was is measured.
_ASKED = tuple(name for name in ASSERTION_IDS if name not in ("L2", "L3", "V2"))


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a cycle is.

    Attributes:
        workers: how many there are at a time; each runs two tasks at once.
        seconds: for how long they are disturbed.
        apart: between two disturbances, the least and the most, in seconds.
        submit_every_seconds: between two tasks.
        ttl_seconds: of the sessions; nodes and freezes take so long in proportion to it.
        rest_seconds: who was disturbed is left alone for so long that it can be there again.
        graphs: what comes, and how often in comparison.
    """

    workers: int = 5
    seconds: float = 80.0
    apart: tuple[float, float] = (0.9, 2.1)
    submit_every_seconds: float = 0.7
    ttl_seconds: float = 1.5
    rest_seconds: float = 2.5
    graphs: Mapping[str, int] = field(default_factory=lambda: _WEIGHTS)


#: How large the cycles of a soak are.
SHAPE = Shape()


class FleetPlan:
    """The cycles of a soak on real processes; the same generator gives the same ones."""

    def __init__(self, chance: Random, shape: Shape | None = None) -> None:
        """Draw from a generator.

        Args:
            chance: its state is what a checkpoint keeps.
            shape: how large the cycles are.
        """
        self._chance = chance
        self._shape = shape or SHAPE

    def next(self) -> tuple[Scenario, int]:
        """The next cycle, and what decides for chance in it."""
        seed = self._chance.randrange(_SEEDS)
        return fleet(seed, self._shape), seed


def fleet(seed: int, shape: Shape) -> Scenario:
    """One cycle.

    Args:
        seed: decides who is disturbed, how and when.
        shape: how large it is.
    """
    chance = Random(f"fleet/{seed}")  # noqa: S311 - replayed, not secret
    names = tuple(f"w-{number}" for number in range(1, shape.workers + 1))
    faults = tuple(_faults(chance, shape, names))
    return Scenario(
        id=f"fleet-{seed}",
        title="A fleet under fire",
        hypothesis="However many of its workers are killed, frozen or sent away, nothing is lost.",
        tags=("fleet",),
        topology=Topology(
            workers=tuple(Worker(name=name, concurrency=2) for name in names),
            tasks=_tasks(shape),
            hosts=chance.choice(("shared", "shared", "apart")),
        ),
        timing=Timing(
            ttl_seconds=shape.ttl_seconds,
            heartbeat_seconds=round(shape.ttl_seconds / 3, 3),
            node_seconds=round(shape.ttl_seconds * 0.4, 3),
            poll_seconds=0.1,
            answer_after_seconds=0.5,
            limit_seconds=5 * shape.seconds + 300,
            submit_every_seconds=shape.submit_every_seconds,
        ),
        faults=faults,
        expect=Expect(
            assertions=_ASKED,
            must_fire=tuple(fault.name for fault in faults),
            bounds=Bounds(converge_seconds=240),
        ),
        seed=seed,
    )


def _tasks(shape: Shape) -> dict[str, int]:
    """So many tasks of each graph that they keep coming until the end."""
    wanted = shape.seconds / shape.submit_every_seconds
    share = wanted / sum(shape.graphs.values())
    return {graph: max(1, round(weight * share)) for graph, weight in shape.graphs.items()}


def _faults(chance: Random, shape: Shape, names: tuple[str, ...]) -> Iterator[Fault]:
    """One disturbance after another, each of a worker that should be there by then."""
    # In every other cycle one is left alone, to see whether it grows as it works.
    spared = chance.random() < _SPARED
    disturbed = names[1:] if spared else names
    first, alone = _first(chance, shape, disturbed)
    yield first
    rested = dict.fromkeys(disturbed, 0.0) | {first.actor: alone + shape.rest_seconds}
    now, number = alone, 1
    kinds, weights = tuple(_KINDS), tuple(_KINDS.values())
    while (now := now + chance.uniform(*shape.apart)) < shape.seconds:
        kind = chance.choices(kinds, weights)[0]
        if (kind == "point" and now > shape.seconds * 0.75) or (spared and kind in _UNSPARING):
            # Nobody may come past a point any more; or the wrong one.
            kind = "kill"
        there = [name for name, until in rested.items() if until <= now]
        if not there or (kind == "all" and len(there) < len(names)):
            continue
        number += 1
        plain = Fault(
            name=f"{kind}-{number}",
            do=Do.SIGKILL,
            actor=chance.choice(there),
            after=first.name,
            after_seconds=round(now, 3),
            back_after_seconds=round(chance.uniform(0.2, 1.0), 3),
        )
        fault = _MAKERS[kind](plain, chance, shape.ttl_seconds)
        lasts = fault.for_seconds or fault.back_after_seconds or 0.0
        hit = names if kind == "all" else () if kind == "point" else (fault.actor,)
        rested |= dict.fromkeys(hit, now + lasts + shape.rest_seconds)
        yield fault


def _first(chance: Random, shape: Shape, disturbed: tuple[str, ...]) -> tuple[Fault, float]:
    """One that is surely found silent, without which nothing shows that only the silent are.

    It stands still at the beginning of a step, so that it holds a task; and everything else waits
    until it goes on, so that somebody is there to take the task over.

    Returns:
        The fault, and for how many seconds after it the others have to wait.
    """
    lasts = round(chance.uniform(2.5, 3.5) * shape.ttl_seconds, 3)
    fault = Fault(
        name="silence-1",
        do=Do.SIGSTOP,
        actor=chance.choice(disturbed),
        at=Point.STEP_BEGIN,
        for_seconds=lasts,
    )
    return fault, lasts


def _point(plain: Fault, chance: Random, _: float) -> Fault:
    return replace(plain, actor=ALL, at=chance.choice(_POINTS), nth=chance.randrange(1, 9))


def _freeze(plain: Fault, chance: Random, ttl: float) -> Fault:
    seconds = round(chance.uniform(0.3, 3.0) * ttl, 3)
    return replace(plain, do=Do.SIGSTOP, for_seconds=seconds, back_after_seconds=None)


_MAKERS: dict[str, Callable[[Fault, Random, float], Fault]] = {
    "kill": lambda plain, *_: plain,
    "point": _point,
    "freeze": _freeze,
    "drain": lambda plain, *_: replace(plain, do=Do.SIGTERM),
    "all": lambda plain, *_: replace(plain, actor=ALL),
}
