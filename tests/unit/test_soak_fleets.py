"""What a soak on real processes is to do, and what it says of takeovers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from baton.domain.continuity.model import FaultFact
from baton.fleet.points import Point
from baton.prove.proc.engine import ProcEngine
from baton.prove.scenarios.arrivals import Arrivals, Planned
from baton.prove.scenarios.model import ALL, Do, Fault
from baton.prove.scenarios.parse import parse
from baton.prove.scenarios.writing import text_of
from baton.prove.soak import real
from baton.prove.soak.fleets import SHAPE, FleetPlan, fleet

SEEDS = range(1, 9)


def test_a_cycle_is_a_scenario_that_a_file_can_say() -> None:
    """A cycle is a scenario that a file can say, and real processes can perform."""
    for seed in SEEDS:
        cycle = fleet(seed, SHAPE)
        again = parse(cycle.id, text_of(cycle))
        faults = tuple(replace(fault, line=0) for fault in again.faults)
        assert replace(again, origin="", digest="", faults=faults) == cycle
        assert ProcEngine().supports(cycle) is None


def test_a_cycle_has_kills_silence_and_nothing_that_may_fail_to_happen() -> None:
    """A cycle has many kills and one freeze beyond the TTL, and all of it has to happen."""
    kinds = Counter[str]()
    for seed in SEEDS:
        cycle = fleet(seed, SHAPE)
        assert cycle.expect.must_fire == tuple(fault.name for fault in cycle.faults)
        kills = sum(fault.do is Do.SIGKILL for fault in cycle.faults)
        assert kills * 3 > SHAPE.seconds
        # Whoever was disturbed is back before it is somebody's turn to disturb it again.
        free = dict.fromkeys(cycle.topology.worker_names, 0.0)
        for fault in cycle.faults:
            kind = fault.name.partition("-")[0]
            assert (fault.actor == ALL) == (kind in ("point", "all"))
            if fault.actor in free:
                assert fault.after_seconds >= free[fault.actor]
                lasts = fault.for_seconds or fault.back_after_seconds or 0.0
                free[fault.actor] = fault.after_seconds + lasts + SHAPE.rest_seconds
            kinds[kind] += 1
    assert set(kinds) == {"kill", "point", "freeze", "silence", "drain", "all"}


def test_the_first_is_silent_beyond_its_ttl_while_it_holds_and_others_are_left_alone() -> None:
    """The first is silent beyond its TTL while it holds a task, and others can take it over."""
    for seed in SEEDS:
        cycle = fleet(seed, SHAPE)
        first, *others = cycle.faults
        assert (first.do, first.at) == (Do.SIGSTOP, Point.STEP_BEGIN)
        assert first.actor in cycle.topology.worker_names
        assert first.for_seconds is not None
        assert first.for_seconds >= 2.5 * cycle.timing.ttl_seconds
        for fault in others:
            assert fault.after == first.name
            assert fault.after_seconds > first.for_seconds


def test_a_plan_goes_on_from_the_state_of_its_generator() -> None:
    """A plan goes on from the state of its generator."""
    chance = Random(3)  # noqa: S311 - replayed, not secret
    plan = FleetPlan(chance)
    plan.next()
    state, following = chance.getstate(), plan.next()
    resumed = Random()  # noqa: S311 - replayed, not secret
    resumed.setstate(state)
    assert FleetPlan(resumed).next() == following


def test_tasks_of_all_graphs_come_in_turn() -> None:
    """Tasks of all graphs come in turn, and all at once unless said otherwise."""
    cycle = fleet(1, SHAPE)
    coming = cycle.timing.submissions(cycle.topology)
    assert {task for _, task in coming[: len(cycle.topology.tasks)]} == {
        f"{graph}-1" for graph in cycle.topology.tasks
    }
    assert coming[2][0] == pytest.approx(2 * SHAPE.submit_every_seconds)
    assert sorted(task for _, task in coming) == sorted(cycle.topology.task_ids)
    at_once = replace(cycle.timing, submit_every_seconds=0.0).submissions(cycle.topology)
    assert at_once == tuple((0.0, task) for task in cycle.topology.task_ids)


class Someone:
    """A process that is there or not."""

    def __init__(self) -> None:
        """Begin gone."""
        self.name, self.dead, self.epochs = "w-1", True, dict[str, int]()


class Rules(Arrivals[Someone]):
    """The rules of faults over one process, and a list of what is to be done later."""

    now = 0

    def __init__(self, fault: Fault) -> None:
        """Plan one fault."""
        super().__init__([fault])
        self.someone = Someone()
        self.later: list[Callable[[], None]] = []
        self.done = 0

    @property
    def everybody(self) -> list[Someone]:
        """The one process."""
        return [self.someone]

    def at(self, when_us: int, job: Callable[[], None]) -> None:
        """Keep it."""
        del when_us
        self.later.append(job)

    def act(self, plan: Planned[Someone], process: Someone | None, about: str) -> None:
        """Count it."""
        del plan, process, about
        self.done += 1

    def epoch_of(self, process: Someone, task_id: str) -> int:
        """No task is known."""
        del process, task_id
        return 0


def test_a_fault_by_the_clock_waits_for_whom_it_is_to_befall() -> None:
    """A fault by the clock waits for whom it is to befall."""
    rules = Rules(Fault(name="kill", do=Do.SIGKILL, actor="w-1"))
    rules.begin()
    for _ in range(3):
        rules.later.pop()()
        assert rules.done == 0
    rules.someone.dead = False
    rules.later.pop()()
    assert (rules.done, rules.later) == (1, [])
    assert rules.facts(()) == (FaultFact(name="kill", must_fire=False, fired=1),)


def test_a_percentile_is_told_only_by_as_many_as_can_show_it() -> None:
    """A percentile is told only by as many as can show it, an interval only by cycles."""
    few = real.spread([[10, 30, 20], []])
    assert (few["takeovers"], few["cycles"], few["median"]) == (3, 1, 20e-6)
    assert (few["p95"], few["p99"], few["most"]) == (None, None, 30e-6)
    assert few["most_of_a_cycle"]["low"] is None
    many = real.spread([[*range(1, 101)]] * 6)
    assert (many["p95"], many["p99"]) == (95e-6, 99e-6)
    assert many["median_of_a_cycle"] == {"estimate": 50e-6, "low": 50e-6, "high": 50e-6}
    assert real.spread([[], []]) == {"takeovers": 0, "cycles": 0}
