"""A Prometheus of the demo's own: its configuration, and a client for the questions it is asked."""

from __future__ import annotations

import glob
import http.client
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from baton import content
from baton.domain.catalogue import (
    TAKEOVER_LATENCY,
    TAKEOVERS,
    TASKS,
    WORKER_HEARTBEAT_TIMESTAMP,
    WORKERS,
    WRITES_REFUSED,
)
from baton.observe.wording import duration

#: Between two scrapes, so that a takeover shows while one still looks.
SCRAPE_SECONDS = 1
_TIMEOUT_SECONDS = 2.0
_EXPORTER_JOB = "baton-exporter"


def find_program() -> str | None:
    """The path of a Prometheus server; one beside this Python comes first."""
    folders = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    return shutil.which("prometheus", path=os.pathsep.join(folders))


def rule_files() -> Path:
    """The folder of the rules that ship with Baton."""
    return content.root() / "alerts"


def configuration(exporter: str, rules: Path | None = None) -> str:
    """The configuration, in JSON, which is YAML too; it loads the rules that ship with Baton.

    Args:
        exporter: ``HOST:PORT`` of the exporter, which also tells where the workers are.
        rules: a folder with those rules, as the server sees it; None for where they ship.
    """
    folder = glob.escape(str(rule_files() if rules is None else rules))
    discovery = {"url": f"http://{exporter}/sd/workers", "refresh_interval": f"{SCRAPE_SECONDS}s"}
    jobs = [
        {"job_name": _EXPORTER_JOB, "static_configs": [{"targets": [exporter]}]},
        {"job_name": "baton-worker", "http_sd_configs": [discovery]},
    ]
    document = {
        "global": {
            "scrape_interval": f"{SCRAPE_SECONDS}s",
            "evaluation_interval": f"{SCRAPE_SECONDS}s",
        },
        "rule_files": [f"{folder}/*.rules.yaml"],
        "scrape_configs": jobs,
    }
    return json.dumps(document, indent=2)


def arguments(program: str, config: Path, data: Path, address: str) -> list[str]:
    """The command that starts a server.

    Args:
        program: from ``find_program``.
        config: the file with ``configuration``.
        data: the folder of its time series.
        address: ``HOST:PORT`` to listen on.
    """
    return [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask, in words and in PromQL.

    Attributes:
        words: as the reader sees it.
        query: as Prometheus sees it.
        tell: the answer in words.
    """

    words: str
    query: str
    tell: Callable[[list[Sample]], str]


def questions(pool: str) -> tuple[Question, ...]:
    """What the demo asks, in terms of the catalogue.

    Args:
        pool: the demo's pool.
    """
    of_pool = f'{{pool="{pool}"}}'
    buckets = TAKEOVER_LATENCY.sample_names[0] + of_pool
    return (
        Question("workers", f"sum by (state) ({WORKERS.name}{of_pool}) > 0", _counts("state")),
        Question("tasks", f"sum by (state) ({TASKS.name}{of_pool}) > 0", _counts("state")),
        Question("takeovers", takeovers_by_reason(pool), _counts("reason")),
        Question(
            "median takeover",
            # Of all since the start, and so without rate(): a demo is shorter than a window.
            f"histogram_quantile(0.5, sum by (le, reason) ({buckets})) > 0",
            _by("reason", _short),
        ),
        Question(
            "oldest heartbeat",
            f"topk(1, time() - {WORKER_HEARTBEAT_TIMESTAMP.name}{of_pool})",
            _by("worker", _short),
        ),
        Question("refused writes", f"sum({WRITES_REFUSED.name}{of_pool})", _number),
    )


def takeovers_by_reason(pool: str) -> str:
    """The query for takeovers that came to an outcome, by reason."""
    return f'sum by (reason) ({TAKEOVERS.name}{{pool="{pool}"}}) > 0'


def _counts(label: str) -> Callable[[list[Sample]], str]:
    return _by(label, lambda value: f"{value:.0f}")


def _by(label: str, tell: Callable[[float], str]) -> Callable[[list[Sample]], str]:
    def said(samples: list[Sample]) -> str:
        ordered = sorted(samples, key=lambda sample: sample.labels.get(label, ""))
        return ", ".join(f"{one.labels.get(label, '')} {tell(one.value)}" for one in ordered)

    return said


def _number(samples: list[Sample]) -> str:
    return f"{samples[0].value:.0f}" if samples else ""


def _short(seconds: float) -> str:
    return duration(round(seconds * 1e6))


class Prometheus:
    """A server to ask."""

    def __init__(self, address: str) -> None:
        """Name the server.

        Args:
            address: ``HOST:PORT``.
        """
        self.address = address

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.address}"

    def ask(self, query: str) -> list[Sample]:
        """An instant query (https://prometheus.io/docs/prometheus/latest/querying/api/).

        Raises:
            OSError: no answer, or one that is no vector.
        """
        answer = self._get(f"/api/v1/query?{urlencode({'query': query})}")
        try:
            found = answer["data"]["result"]
            return [Sample(one["metric"], float(one["value"][1])) for one in found]
        except (KeyError, TypeError, ValueError) as error:
            raise OSError(f"{self.address} answers {query!r} with {answer!r}") from error

    def is_ready(self, data: Path) -> bool:
        """Whether it can be asked, and is the one meant: a port may have gone to somebody else.

        Args:
            data: the folder of its time series.
        """
        try:
            flags = self._get("/api/v1/status/flags")
            return bool(flags["data"]["storage.tsdb.path"] == str(data)) and bool(
                self.ask("vector(1)")
            )
        except (OSError, KeyError, TypeError):
            return False

    def scraped_since(self) -> float | None:
        """When the exporter was scraped well for the first time, Unix seconds; None if never.

        Raises:
            OSError: no answer.
        """
        found = self.ask(
            f'min(min_over_time((timestamp(up{{job="{_EXPORTER_JOB}"}} == 1))[10m:1s]))'
        )
        return found[0].value if found else None

    def targets_up(self, pool: str) -> tuple[int, int]:
        """How many targets were scraped well at the last attempt, of how many.

        Args:
            pool: whose workers are counted; the exporter, which is in no pool, always is.

        Raises:
            OSError: no answer.
        """
        ups = [one for one in self.ask("up") if one.labels.get("pool", pool) == pool]
        return sum(one.value == 1 for one in ups), len(ups)

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(self.address, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{self.address} gives no answer: {error}") from error
        finally:
            connection.close()
