"""The ``sim`` engine: a scenario in virtual time, over production's protocol, store and fence."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from baton.domain.continuity.model import (
    CheckpointFact,
    Control,
    ControlTask,
    ReplayFact,
    Trial,
)
from baton.domain.continuity.portable import effects_of, steps_of
from baton.domain.ledger import Event
from baton.domain.words import EventType
from baton.errors import EngineFailed, EngineRefuses
from baton.prove.scenarios.counters import counters_of
from baton.prove.scenarios.engine import Performance, Progress
from baton.prove.scenarios.judging import expected_of
from baton.prove.scenarios.model import Expect, Scenario, Timing, Topology, Worker
from baton.prove.scenarios.sinks import sink_of
from baton.prove.sim.clocks import EPOCH_US
from baton.prove.sim.faults import refused_by_sim
from baton.prove.sim.machine import log_after
from baton.prove.sim.shapes import SHAPES
from baton.prove.sim.trial import SimTrial

_SERDE = JsonPlusSerializer()


class SimEngine:
    """Performs scenarios in virtual time; one seed, one outcome."""

    name = "sim"

    def __init__(self, *, asked_only: bool = False) -> None:
        """Perform scenarios.

        Args:
            asked_only: take down, and have judged, only what a scenario asks for. Thousands of
                cycles of a soak are worth it; a scenario that somebody looks at is not.
        """
        self._asked_only = asked_only

    def supports(self, scenario: Scenario) -> str | None:
        """Why a scenario cannot be performed here; None if it can."""
        return scenario.refused_by.get(self.name) or refused_by_sim(scenario)

    def perform(self, scenario: Scenario, seed: int, work: Path, progress: Progress) -> Performance:
        """Perform a scenario; see ``Engine.perform``. Nothing is written to ``work``."""
        del work, progress
        if (why := self.supports(scenario)) is not None:
            raise EngineRefuses(scenario=scenario.id, engine=self.name, why=why)
        try:
            return perform(scenario, seed, asked_only=self._asked_only)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise EngineFailed(scenario=scenario.id, engine=self.name, why=why) from error


def perform(scenario: Scenario, seed: int, *, asked_only: bool = False) -> Performance:
    """Perform a scenario that the engine supports.

    Args:
        scenario: the scenario.
        seed: decides everything that chance decides.
        asked_only: see ``SimEngine``.
    """
    asked = scenario.expect.assertions
    control = Control(
        tasks={
            f"{graph}-{number}": _undisturbed(graph)
            for graph, count in scenario.topology.tasks.items()
            for number in range(1, count + 1)
        }
    )
    with _quiet(), closing(SimTrial(scenario, seed)) as trial:
        trial.run()
        events = _events(trial)
        faults = trial.director.facts(scenario.expect.must_fire)
        seen = Trial(
            events=events,
            accepted=frozenset(trial.accepted),
            control=control,
            results=_results(events),
            checkpoints=_checkpoints(trial),
            replays=None if asked_only and "C11" not in asked else _replays(trial),
            trace=tuple(trial.trace),
            sink=sink_of(trial.sink),
            counters=counters_of(trial.people) if "C14" in asked else None,
            faults=faults,
            expected=expected_of(
                scenario, events, faults, healed_at_us=EPOCH_US + trial.director.healed_at
            ),
        )
        return Performance(
            trial=seen,
            figures={
                "simulated_seconds": trial.world.now / 1e6,
                "handled": trial.world.handled,
                "store_bytes": trial.memory.size_bytes(),
                "effect_attempts": sum(entry.attempts for entry in seen.sink or ()),
            },
            asked_only=asked_only,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what workers log of a simulated world out of the log of this one."""
    log = logging.getLogger("baton.worker")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@cache
def _undisturbed(graph: str) -> ControlTask:
    """What a graph does when nothing happens to it."""
    scenario = Scenario(
        id="control",
        title="Control",
        hypothesis="Nothing happens.",
        tags=(),
        topology=Topology(workers=(Worker(name="w-1"),), tasks={graph: 1}),
        timing=Timing(node_seconds=0.01),
        faults=(),
        expect=Expect(),
    )
    with _quiet(), closing(SimTrial(scenario, 0)) as trial:
        trial.run()
        events = [event for event in _events(trial) if event.task_id is not None]
        digest = _results(events).get(f"{graph}-1", "the control run did not end")
        return ControlTask(steps=steps_of(events), effects=effects_of(events), state_digest=digest)


def _events(trial: SimTrial) -> tuple[Event, ...]:
    after, found = 0, list[Event]()
    while page := trial.people.events(after):
        after = page[-1].seq
        found += page
    return tuple(found)


def _results(events: Sequence[Event]) -> dict[str, str]:
    return {
        event.task_id or "": event.data["state_digest"]
        for event in events
        if event.type == EventType.DONE
    }


def _checkpoints(trial: SimTrial) -> tuple[CheckpointFact, ...]:
    rows = trial.memory.data.execute(
        "SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata"
        " FROM checkpoints ORDER BY thread_id, checkpoint_ns, checkpoint_id"
    )
    return tuple(
        CheckpointFact(
            task_id=task_id,
            step_id=step_id,
            parent_id=parent_id,
            step=json.loads(metadata)["step"],
            digest=hashlib.sha256(blob).hexdigest(),
            ns=ns,
        )
        for task_id, ns, step_id, parent_id, blob, metadata in rows
    )


def _replays(trial: SimTrial) -> tuple[ReplayFact, ...]:
    """Every super-step of a graph itself once more: by its rules, and by its recorded writes."""
    rows = trial.memory.data.execute(
        "SELECT thread_id, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
        " FROM checkpoints WHERE checkpoint_ns = '' ORDER BY thread_id, checkpoint_id"
    ).fetchall()
    values = {row[1]: _SERDE.loads_typed((row[3], row[4]))["channel_values"] for row in rows}
    found = []
    for task_id, step_id, parent_id, _, _, metadata in rows:
        step = json.loads(metadata)["step"]
        if step < 0 or parent_id not in values:
            continue
        before = values[parent_id]
        by_rule = log_after(before, step, SHAPES[task_id.rpartition("-")[0]])
        recorded = by_rule if step == 0 else [*before["log"], *_written(trial, task_id, parent_id)]
        found.append(
            ReplayFact(
                task_id=task_id,
                step_id=step_id,
                parent_id=parent_id,
                step=step,
                recorded=_digest(values[step_id]["log"]),
                replayed=(_digest(by_rule), _digest(recorded)),
            )
        )
    return tuple(found)


def _written(trial: SimTrial, task_id: str, checkpoint_id: str) -> list[str]:
    """What the calls of a super-step wrote, in the order of the calls."""
    rows = trial.memory.data.execute(
        "SELECT type, value FROM writes WHERE thread_id = ? AND checkpoint_ns = ''"
        " AND checkpoint_id = ? AND channel = 'log' ORDER BY CAST(task_path AS INTEGER)",
        (task_id, checkpoint_id),
    )
    return [out for type_, value in rows for out in _SERDE.loads_typed((type_, value))]


def _digest(log: list[str]) -> str:
    return hashlib.sha256(json.dumps(log).encode()).hexdigest()
