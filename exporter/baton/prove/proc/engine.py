"""The ``proc`` engine: a scenario on real processes, with real signals and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from baton.domain.continuity.model import Control, ControlTask, Trial
from baton.errors import BadInput, EngineFailed, EngineRefuses
from baton.prove.demo.prometheus import find_program
from baton.prove.proc import facts
from baton.prove.proc.faults import refused_by_proc
from baton.prove.proc.trial import ProcTrial
from baton.prove.proc.vitals import store_bytes
from baton.prove.proc.watched import WatchedTrial
from baton.prove.scenarios.counters import counters_of
from baton.prove.scenarios.engine import Performance, Progress
from baton.prove.scenarios.judging import expected_of
from baton.prove.scenarios.model import Scenario
from baton.prove.scenarios.sinks import sink_of

#: Why nothing can evaluate alerts.
NO_PROMETHEUS = "no prometheus beside this Python or on PATH; install it, or leave --prometheus out"


class ProcEngine:
    """Performs scenarios on real processes; the same faults strike at the same points."""

    name = "proc"

    def __init__(self, server: str | None = None, *, watched: bool = False) -> None:
        """Nothing runs yet.

        Args:
            server: the URL of a PostgreSQL server for the stores, whose user may make databases;
                None for stores in SQLite files.
            watched: whether a Prometheus has to judge the alerts that scenarios speak of.
        """
        self._server, self._watched = server, watched
        self._undisturbed: dict[str, ControlTask] = {}

    def probe(self) -> None:
        """Make sure that there can be a store.

        Raises:
            BadInput: the server cannot be reached, or lets nobody make a database.
        """
        if self._server is not None:
            from baton.prove.proc.databases import database

            with database(self._server):
                pass

    def supports(self, scenario: Scenario) -> str | None:
        """Why a scenario cannot be performed here; None if it can."""
        return scenario.refused_by.get(self.name) or refused_by_proc(
            scenario, postgres=self._server is not None
        )

    def perform(self, scenario: Scenario, seed: int, work: Path, progress: Progress) -> Performance:
        """Perform a scenario; see ``Engine.perform``."""
        if (why := self.supports(scenario)) is not None:
            raise EngineRefuses(scenario=scenario.id, engine=self.name, why=why)
        try:
            with (
                self._store(work) as url,
                closing(self._trial(scenario, seed, work, url)) as trial,
            ):
                # Meanwhile the maker of the processes gets ready.
                progress("running undisturbed")
                control = self._control(scenario, work)
                progress("running on real processes")
                trial.run()
                lasted_us = trial.now
                alerts = trial.alerts() if isinstance(trial, WatchedTrial) else None
                trial.end()
                progress("looking at what is left")
                seen = self._seen(trial, control, lasted_us)
                return replace(seen, alerts=alerts, unwatched=self._why_not(scenario, trial))
        except BadInput:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise EngineFailed(scenario=scenario.id, engine=self.name, why=why) from error

    def _trial(self, scenario: Scenario, seed: int, work: Path, url: str) -> ProcTrial:
        program = find_program() if self._watches(scenario) else None
        if program is None:
            return ProcTrial(scenario, seed, work, url)
        return WatchedTrial(scenario, seed, work, url, program)

    def _watches(self, scenario: Scenario) -> bool:
        """Whether a Prometheus has to look on: where no alert is spoken of, nothing is judged."""
        return self._watched and bool(scenario.expect.alerts or scenario.expect.silent)

    def _why_not(self, scenario: Scenario, trial: ProcTrial) -> str:
        if isinstance(trial, WatchedTrial):
            return trial.unwatched
        return NO_PROMETHEUS if self._watches(scenario) else ""

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

    @contextmanager
    def _store(self, work: Path) -> Iterator[str]:
        """The URL of an empty store."""
        if self._server is None:
            yield f"sqlite:///{work}/fleet.db"
        else:
            from baton.prove.proc.databases import database

            with database(self._server) as url:
                yield url

    def _seen(self, trial: ProcTrial, control: Control, lasted_us: int) -> Performance:
        """What a trial left behind, after all of its processes are gone."""
        scenario, people = trial.scenario, trial.people
        events = facts.events_of(people)
        faults = trial.director.facts(scenario.expect.must_fire)
        healed_at_us = trial.zero_store_us + trial.director.healed_at
        task_ids = scenario.topology.task_ids
        sink = sink_of(trial.sink)
        return Performance(
            trial=Trial(
                events=events,
                accepted=frozenset(trial.accepted),
                control=control,
                results=facts.results_of(people, events),
                checkpoints=facts.checkpoints_of(people, task_ids),
                replays=facts.replays_of(people, task_ids),
                trace=tuple(trial.trace),
                sink=sink,
                counters=counters_of(people.store) if "C14" in scenario.expect.assertions else None,
                faults=faults,
                expected=expected_of(scenario, events, faults, healed_at_us=healed_at_us),
            ),
            figures={
                "real_seconds": lasted_us / 1e6,
                "processes": len(trial.processes),
                "effect_attempts": sum(entry.attempts for entry in sink),
                "store_bytes": store_bytes(trial.url),
                **trial.vitals.figures(),
            },
        )
