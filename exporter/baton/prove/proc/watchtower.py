"""What watches a trial: an exporter on its store, and a Prometheus with Baton's rules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from baton import content
from baton.domain.catalogue import SOURCE_UP
from baton.prove.demo.cast import free_port
from baton.prove.demo.prometheus import Prometheus, arguments
from baton.prove.proc.scaling import Scale
from baton.prove.scenarios.engine import AlertFact

#: How long a server may take until it answers, in seconds.
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.05

#: How long a server has for an orderly end, in seconds.
_GRACE_SECONDS = 5.0

#: The alert that always fires: how long it was seen is how long the rules were evaluated.
WATCHDOG = "BatonWatchdog"

#: Less than this part of a trial seen is nothing that silence could be read from.
_SEEN_LEAST = 0.8

#: For so many scrapes what was seen last counts as what is.
_LOOKBACK = 6

#: Runs a program until its own standard input ends, which it does with whoever started it.
_LEASH = '"$@" & child=$!; cat > /dev/null; kill -TERM $child; wait $child'


class NotWatched(Exception):
    """What was to watch does not run, or has seen too little; says why."""


class _Leashed:
    """A process that ends with this one, however this one ends."""

    def __init__(self, name: str, command: Iterable[str], folder: Path, store: str = "") -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._leash = subprocess.Popen(
                ["sh", "-c", _LEASH, name, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The store's URL may hold a password, which a command line would show.
                env={**os.environ, **({"BATON_STORE": store} if store else {})},
                start_new_session=True,
            )

    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")

    def end(self) -> None:
        """End it, and wait until it is gone."""
        assert self._leash.stdin is not None
        with suppress(OSError):
            self._leash.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._leash.wait(_GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._leash.pid, signal.SIGKILL)
        self._leash.wait()


class Watchtower:
    """An exporter and a Prometheus beside one trial."""

    def __init__(
        self, program: str, store_url: str, folder: Path, *, ttl_seconds: float, workers: int
    ) -> None:
        """Start both; ``ready`` waits for them.

        Args:
            program: the path of a Prometheus server.
            store_url: the trial's store, which is there.
            folder: for their files.
            ttl_seconds: of the trial's sessions; all times of the rules are made as short.
            workers: how many there should be.
        """
        self.scale = Scale(ttl_seconds)
        exporter, server = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.prometheus = Prometheus(server)
        folder.mkdir()
        words = (*("-m", "baton", "exporter"), "--listen", exporter, "--expect")
        serving = _Leashed(
            "exporter", (sys.executable, *words, f"default={workers}"), folder, store_url
        )
        config, self._data = folder / "prometheus.json", folder / "tsdb"
        config.write_text(self._configuration(exporter, folder), encoding="utf-8")
        command = arguments(program, config, self._data, server)
        # A gap in what it sees is a gap, and not what was before it.
        command.append(f"--query.lookback-delta={round(_LOOKBACK * self.scale.scrape_seconds)}s")
        scraping = _Leashed("prometheus", command, folder)
        self._all = (scraping, serving)

    def _configuration(self, exporter: str, folder: Path) -> str:
        rules = self.scale.write(content.root() / "alerts", folder)
        every = f"{round(self.scale.scrape_seconds * 1000)}ms"
        discovery = {"url": f"http://{exporter}/sd/workers", "refresh_interval": every}
        document = {
            "global": {
                "scrape_interval": every,
                "scrape_timeout": every,
                "evaluation_interval": every,
            },
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [
                {"job_name": "baton-exporter", "static_configs": [{"targets": [exporter]}]},
                {"job_name": "baton-worker", "http_sd_configs": [discovery]},
            ],
        }
        return json.dumps(document, indent=1)

    def ready(self) -> None:
        """Wait until Prometheus has read the store and evaluates the rules.

        Raises:
            NotWatched: it does not.
        """
        scraping, serving = self._all
        _until(
            lambda: self.prometheus.is_ready(self._data),
            f"Prometheus does not answer; last words: {scraping.last_words()}",
        )
        _until(
            lambda: bool(self._ask(f"{SOURCE_UP.name} == 1")) and self.firing() == {WATCHDOG},
            f"Prometheus does not see the store; last words of the exporter:"
            f" {serving.last_words()}",
        )

    def firing(self) -> set[str]:
        """The names of the alerts that fire now; none while nobody answers."""
        return set(self._ask('ALERTS{alertstate="firing"}', "alertname"))

    def _ask(self, query: str, label: str = "job") -> list[str]:
        with suppress(OSError):
            return [found.labels.get(label, "") for found in self.prometheus.ask(query)]
        return []

    def seen(self, since: float, until: float) -> tuple[AlertFact, ...]:
        """The alerts that fired in a span of time.

        Args:
            since: when it began, in seconds of the wall clock.
            until: when it ended.

        Raises:
            NotWatched: Prometheus saw too little of it.
        """
        every = self.scale.scrape_seconds
        try:
            fired = self._samples('ALERTS{alertstate="firing"}', "alertname", since, until)
            sources = self._samples(f"{SOURCE_UP.name} == 1", "job", since, until)
        except OSError as error:
            raise NotWatched(f"Prometheus gives no answer: {error}") from error
        wanted = (until - since) / every
        for what, samples in (
            ("evaluated the rules", fired.pop(WATCHDOG, [])),
            ("saw the store", sources.get("baton-exporter", [])),
        ):
            share = len(samples) / wanted
            if share < _SEEN_LEAST:
                raise NotWatched(f"Prometheus {what} for {share:.0%} of the trial only")
        return tuple(
            AlertFact(
                name=name,
                fired_after_seconds=round(times[0] - since, 3),
                resolved_after_seconds=(
                    round(times[-1] + every - since, 3) if times[-1] + 2 * every < until else None
                ),
            )
            for name, times in sorted(fired.items())
        )

    def _samples(
        self, query: str, label: str, since: float, until: float
    ) -> dict[str, list[float]]:
        """When each value of a label was seen, in order."""
        found: dict[str, set[float]] = {}
        every = self.scale.scrape_seconds
        for labels, times in self.prometheus.evaluate(query, since, until, every):
            found.setdefault(labels.get(label, ""), set()).update(times)
        return {name: sorted(times) for name, times in found.items()}

    def close(self) -> None:
        """End both."""
        for one in self._all:
            one.end()


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotWatched(otherwise)
        time.sleep(_POLL_SECONDS)
