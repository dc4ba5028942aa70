"""Takeovers that the simulator performs in a second of CPU time.

Each is a whole one: the lease of a worker that was killed is claimed under a new epoch, the state
is restored from its checkpoint, a step is taken and made durable; all by production's protocol over
the real SQLite store in memory, each event hashed into its chain. The worlds are the relays of the
soak, and what they left behind is judged, which is told beside it.

The one bar here that is absolute: the best of several worlds counts, as in every other benchmark.
"""

from __future__ import annotations

from pathlib import Path

from baton.domain.words import EventType
from baton.prove.scenarios.judging import Judgement, conclude
from baton.prove.sim.engine import SimEngine
from baton.prove.soak.plan import relay
from benchmarks.harness import Figure, measure, say

BAR = 1000.0


def figures(worlds: int) -> list[Figure]:
    """Perform and judge so many relays.

    Args:
        worlds: how many, with some 1,170 takeovers each.

    Raises:
        RuntimeError: one of them did not pass.
    """
    engine = SimEngine(asked_only=True)
    _timed(engine, 0)  # what is the same in every world, such as a run of each graph undisturbed
    took = []
    for seed in range(1, worlds + 1):
        took.append(_timed(engine, seed))
        say(f"world {seed} of {worlds}")
    performing = min(seconds / takeovers for takeovers, seconds, _ in took)
    judging = min(seconds / takeovers for takeovers, _, seconds in took)
    total = sum(takeovers for takeovers, _, _ in took)
    return [
        Figure(
            name="simulated takeovers / CPU-second, real store, hash chains",
            value=1 / performing,
            bar=BAR,
            at_most=False,
            unit="",
            detail=f"best of {worlds} worlds, {total:,} takeovers, 0 violations;"
            f" {1 / (performing + judging):.0f} with the judging",
        )
    ]


def _timed(engine: SimEngine, seed: int) -> tuple[int, float, float]:
    """How many takeovers a world has, and the CPU-seconds of performing and of judging it."""
    scenario, kept = relay(seed), []
    performing = measure(
        lambda: kept.append(engine.perform(scenario, seed, Path(), lambda line: None))  # noqa: ARG005
    )
    (performance,) = kept
    results = []
    judging = measure(lambda: results.append(conclude(scenario, performance)))
    (result,) = results
    if result.judgement is not Judgement.PASS:
        raise RuntimeError(f"{scenario.id}: {result.judgement}: {result.reason}")
    events = performance.trial.events
    takeovers = sum(event.type == EventType.CLAIMED and bool(event.reason) for event in events)
    return takeovers, performing.cpu, judging.cpu
