"""A trial that a real Prometheus watches: it lasts until the alerts have had their time.

When every task is over, the alerts that the scenario expects have a while to fire, and those that
must stay silent a while in which they could. Then people do what an operator does about a page:
they start again whoever is gone. The alerts have a while to end too; then everybody goes home.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from baton.observe.alerts import alerts
from baton.observe.settings import Settings
from baton.prove.proc.trial import ProcTrial
from baton.prove.proc.watchtower import NotWatched, Watchtower
from baton.prove.proc.worker import Spec
from baton.prove.scenarios.arrivals import us
from baton.prove.scenarios.engine import AlertFact
from baton.prove.scenarios.model import Scenario, Worker

#: How long an alert that is expected may take to fire, and to end, in TTLs.
_FIRE_TTLS = 10.0
_END_TTLS = 15.0

#: Between two looks at the alerts, in microseconds.
_LOOK_US = 250_000


class WatchedTrial(ProcTrial):
    """A trial beside which an exporter and a Prometheus run."""

    def __init__(
        self, scenario: Scenario, seed: int, work: Path, store_url: str, program: str
    ) -> None:
        """Start the maker, the exporter and Prometheus.

        Args:
            scenario: what to perform.
            seed: decides what chance decides here.
            work: an empty folder.
            store_url: an empty store.
            program: the path of a Prometheus server.
        """
        self._ttl_us = us(scenario.timing.ttl_seconds)
        super().__init__(_longer(scenario), seed, work, store_url)
        self._expected = set(scenario.expect.alerts)
        self._fired: set[str] = set()
        self._over_since: int | None = None
        self._mended_at: int | None = None
        self._next_look = self._ended_at = 0
        self._wall_zero = self._wall_left = 0.0
        #: Why nothing was seen of the alerts; empty if they were.
        self.unwatched = ""
        try:
            self._tower = Watchtower(
                program,
                store_url,
                work / "watch",
                ttl_seconds=scenario.timing.ttl_seconds,
                workers=len(scenario.topology.workers),
            )
        except BaseException:
            super().close()
            raise
        names = {*scenario.expect.silent}
        holds = [one.hold_seconds for one in alerts(Settings()) if one.name in names]
        held = self._tower.scale.hold_seconds(max(holds, default=0.0))
        self._settle_us = us(held) + 2 * self._ttl_us

    def run(self) -> None:
        """Perform, once Prometheus looks; see ``ProcTrial.run``."""
        try:
            self._tower.ready()
        except NotWatched as error:
            self.unwatched = str(error)
        super().run()

    def alerts(self) -> tuple[AlertFact, ...] | None:
        """What fired, from the beginning until everybody went home; None if that is not known."""
        if not self.unwatched:
            try:
                return self._tower.seen(self._wall_zero, self._wall_left or time.time())
            except NotWatched as error:
                self.unwatched = str(error)
        return None

    def close(self) -> None:
        """End whatever runs."""
        self._tower.close()
        super().close()

    def _begin(self) -> None:
        self._wall_zero = time.time()
        super()._begin()

    def _spec(self, worker: Worker) -> Spec:
        return replace(super()._spec(worker), metrics=True)

    def _unfinished(self) -> bool:
        if super()._unfinished():
            return True
        watching = not self.unwatched and self._watching()
        if not watching and not self._wall_left:
            self._wall_left = time.time()
        return watching

    def _watching(self) -> bool:
        """Whether the alerts still have to have their time, now that every task is over."""
        now = self.now
        if self._wall_left or now < self._next_look:
            return not self._wall_left
        self._next_look = now + _LOOK_US
        firing = self._tower.firing()
        self._fired |= firing
        if self._over_since is None:
            self._over_since = now
        if self._mended_at is None:
            waited = now - self._over_since
            seen = self._expected <= self._fired and waited >= self._settle_us
            if seen or waited >= _FIRE_TTLS * self._ttl_us:
                self._mended_at = now
                self._mend()
            return True
        if firing & self._expected:
            self._ended_at = now
        # One that has ended is one that stays away for a while.
        calm = now - max(self._ended_at, self._mended_at) >= self._ttl_us
        return not calm and now - self._mended_at < _END_TTLS * self._ttl_us

    def _mend(self) -> None:
        """Start again whoever is gone, as an operator would, if a page has told of it."""
        if self._expected:
            there = {one.name for one in self.processes if not (one.dead or one.frozen)}
            for worker in self.scenario.topology.workers:
                if worker.name not in there:
                    self._start(self._spec(worker))


def _longer(scenario: Scenario) -> Scenario:
    """The same, with the time that the alerts have."""
    timing = scenario.timing
    more = (_FIRE_TTLS + _END_TTLS) * timing.ttl_seconds
    return replace(scenario, timing=replace(timing, limit_seconds=timing.limit_seconds + more))
