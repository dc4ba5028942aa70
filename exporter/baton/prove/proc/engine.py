"""The ``proc`` engine: a scenario on real processes, with real signals and a real store."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from baton.domain.continuity.model import Control, ControlTask, Trial
from baton.errors import EngineFailed, EngineRefuses
from baton.prove.proc import facts
from baton.prove.proc.faults import refused_by_proc
from baton.prove.proc.trial import ProcTrial
from baton.prove.scenarios.engine import Performance, Progress
from baton.prove.scenarios.judging import expected_of
from baton.prove.scenarios.model import Scenario


class ProcEngine:
    """Performs scenarios on real processes; the same faults strike at the same points."""

    name = "proc"

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._undisturbed: dict[str, ControlTask] = {}

    def supports(self, scenario: Scenario) -> str | None:
        """Why a scenario cannot be performed here; None if it can."""
        return scenario.refused_by.get(self.name) or refused_by_proc(scenario)

    def perform(self, scenario: Scenario, seed: int, work: Path, progress: Progress) -> Performance:
        """Perform a scenario; see ``Engine.perform``."""
        if (why := self.supports(scenario)) is not None:
            raise EngineRefuses(scenario=scenario.id, engine=self.name, why=why)
        try:
            progress("running undisturbed")
            control = self._control(scenario, work)
            progress("running on real processes")
            return self._perform(scenario, seed, work, control)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise EngineFailed(scenario=scenario.id, engine=self.name, why=why) from error

    def _control(self, scenario: Scenario, work: Path) -> Control:
        counts = scenario.topology.tasks
        for graph in counts:
            if graph not in self._undisturbed:
                url = f"sqlite:///{work}/control-{graph}.db"
                self._undisturbed[graph] = facts.control_of(graph, url)
        return Control(
            tasks={
                task_id: self._undisturbed[task_id.rpartition("-")[0]]
                for task_id in scenario.topology.task_ids
            },
            projection=facts.PROJECTION,
        )

    def _perform(self, scenario: Scenario, seed: int, work: Path, control: Control) -> Performance:
        with closing(ProcTrial(scenario, seed, work, f"sqlite:///{work}/fleet.db")) as trial:
            trial.run()
            trial.end()
            events = facts.events_of(trial.people)
            faults = trial.director.facts(scenario.expect.must_fire)
            healed_at_us = trial.zero_store_us + trial.director.healed_at
            seen = Trial(
                events=events,
                accepted=frozenset(trial.accepted),
                control=control,
                results=facts.results_of(trial.people, events),
                checkpoints=facts.checkpoints_of(trial.people),
                replays=facts.replays_of(trial.people, scenario.topology.task_ids),
                trace=tuple(trial.trace),
                sink=trial.sink_entries(),
                faults=faults,
                expected=expected_of(scenario, events, faults, healed_at_us=healed_at_us),
            )
            return Performance(
                trial=seen,
                figures={
                    "real_seconds": trial.now / 1e6,
                    "processes": len(trial.processes),
                    "effect_attempts": sum(entry.attempts for entry in seen.sink or ()),
                },
            )
