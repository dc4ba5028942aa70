"""Random scenarios beside the directed ones, and the least part of one that still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from baton.fleet.points import Point
from baton.prove.scenarios.engine import Engine
from baton.prove.scenarios.judging import Judgement
from baton.prove.scenarios.model import (
    ALL,
    ASSERTION_IDS,
    HOLDER,
    SUCCESSOR,
    Bounds,
    Do,
    Expect,
    Fault,
    Of,
    Scenario,
    Timing,
    Topology,
    Worker,
)
from baton.prove.scenarios.running import Done, perform_one

#: What holds whatever befalls a fleet, as long as workers come back and outages end.
INVARIANT = ("C2", "C3", "C4", "C5", "C6", "C8", "C9", "C10", "C11", "C12", "C13", "L1")

_KILLED_AT = tuple(point for point in Point if point is not Point.CLAIM_BEFORE)
_FROZEN_AT = tuple(point for point in Point if point is not Point.CKPT_WRITE)
_GRAPHS = ("agent", "anode", "ask", "chain", "fan", "pace", "sub")
_LIMIT_SECONDS = 240.0


def swarm(count: int, seed: int) -> Iterator[Scenario]:
    """Random scenarios; the same seed gives the same ones.

    Args:
        count: how many.
        seed: decides what is in them, and what chance decides while they are performed.
    """
    for number in range(1, count + 1):
        yield _random(number, seed, Random(f"swarm/{seed}/{number}"))  # noqa: S311 - replayed, not secret


def _random(number: int, seed: int, chance: Random) -> Scenario:
    workers = tuple(
        Worker(name=f"w-{n}", concurrency=chance.choice((1, 1, 2)))
        for n in range(1, chance.randrange(2, 5))
    )
    graphs = sorted(chance.sample(_GRAPHS, chance.randrange(1, 3)))
    faults = tuple(_fault(f"f{n}", chance, workers) for n in range(1, chance.randrange(2, 7)))
    return Scenario(
        id=f"swarm-{seed}-{number}",
        title=f"Random scenario {number} of seed {seed}",
        hypothesis="Whatever befalls the fleet, nothing is lost, forked, or done by two.",
        tags=("swarm",),
        topology=Topology(
            workers=workers,
            tasks={graph: chance.randrange(1, 4) for graph in graphs},
            hosts=chance.choice(("shared", "apart")),
        ),
        timing=Timing(limit_seconds=_LIMIT_SECONDS),
        faults=faults,
        expect=Expect(assertions=INVARIANT, bounds=Bounds()),
        seed=seed,
    )


def _fault(name: str, chance: Random, workers: Sequence[Worker]) -> Fault:
    actor = chance.choice((HOLDER, SUCCESSOR, ALL, workers[chance.randrange(len(workers))].name))
    tenths = chance.randrange(5, 81)
    plain = Fault(name=name, do=Do.SIGKILL, actor=actor, nth=chance.randrange(1, 7))
    makers: tuple[Callable[[], Fault], ...] = (
        lambda: replace(plain, at=chance.choice(_KILLED_AT), back_after_seconds=tenths / 10),
        lambda: replace(plain, at=chance.choice(_KILLED_AT), back_after_seconds=tenths / 10),
        lambda: replace(
            plain, do=Do.SIGSTOP, at=chance.choice(_FROZEN_AT), for_seconds=tenths / 10
        ),
        lambda: replace(
            plain, do=Do.SIGTERM, at=chance.choice(_KILLED_AT), back_after_seconds=tenths / 10
        ),
        lambda: replace(
            plain,
            do=Do.OUTAGE,
            at=chance.choice(_KILLED_AT),
            for_seconds=tenths / 10,
            of=chance.choice(tuple(Of)),
        ),
        lambda: replace(
            plain, do=Do.DROP_ACK, at=chance.choice((Point.HB_AFTER_WRITE, Point.CKPT_AFTER_WRITE))
        ),
        lambda: replace(plain, do=Do.DELAY, at=Point.CKPT_BEFORE, for_seconds=tenths / 10),
        lambda: replace(plain, do=Do.FAIL_WRITE, at=Point.CKPT_WRITE),
        lambda: replace(plain, do=Do.BLOCK_LOOP, at=Point.STEP_BEGIN, for_seconds=tenths / 10),
        lambda: replace(
            plain, do=Do.CLOCK_OFFSET, at=Point.HB_BEFORE, seconds=float(chance.randrange(1, 9))
        ),
    )
    return chance.choice(makers)()


def shrink(
    failed: Done,
    engine: Engine,
    told: Callable[[int], None] = lambda faults: None,  # noqa: ARG005
) -> tuple[Scenario, int]:
    """The fewest faults that still break the same assertion, by delta debugging.

    Args:
        failed: a scenario that failed.
        engine: what performs it.
        told: how many faults are left, after each success.

    Returns:
        The scenario with those faults, all of which have to fire, and how often it was performed.
    """
    wanted, runs = _broken(failed), 0

    def fails(faults: Sequence[Fault]) -> bool:
        nonlocal runs
        runs += 1
        return _broken(perform_one(_with(failed.scenario, faults), engine, failed.seed)) == wanted

    faults, parts = list(failed.scenario.faults), 2
    while len(faults) > 1:
        size = -(-len(faults) // parts)
        for start in range(0, len(faults), size):
            rest = faults[:start] + faults[start + size :]
            if rest and fails(rest):
                faults, parts = rest, max(2, parts - 1)
                told(len(faults))
                break
        else:
            if size == 1:
                break
            parts = min(len(faults), parts * 2)
    least = _with(failed.scenario, faults)
    named = tuple(name for name in ASSERTION_IDS if name in {*least.expect.assertions, "V1"})
    must_fire = tuple(fault.name for fault in faults)
    return (
        replace(
            least,
            id=f"{least.id}-shrunk",
            origin="",
            seed=failed.seed,
            expect=replace(least.expect, must_fire=must_fire, assertions=named),
        ),
        runs,
    )


def _broken(done: Done) -> str:
    failed = done.result.judgement is Judgement.FAIL
    return done.result.reason.partition(":")[0] if failed else ""


def _with(scenario: Scenario, faults: Sequence[Fault]) -> Scenario:
    """The scenario with these faults only; what came after one that is gone comes at once."""
    kept = {fault.name for fault in faults}
    return replace(
        scenario,
        faults=tuple(
            fault if fault.after in (None, *kept) else replace(fault, after=None)
            for fault in faults
        ),
        expect=replace(
            scenario.expect,
            must_fire=tuple(name for name in scenario.expect.must_fire if name in kept),
        ),
    )
