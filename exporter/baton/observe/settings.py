"""What an operator may change about boards and rules: one frozen record, and its YAML file.

Whatever scales with a fleet is not here: alerts read each pool's own TTL and heartbeat interval
from the metrics that tell them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from baton.domain.catalogue import TAKEOVER_BUCKETS
from baton.domain.words import TakeoverReason
from baton.errors import BadInput


class Board(StrEnum):
    """The dashboards, by their uid: links between them and from alerts are made of these."""

    FLEET = "baton-fleet"
    TAKEOVERS = "baton-takeovers"
    WORKER = "baton-worker"
    RUNS = "baton-runs"
    CONTINUITY = "baton-continuity"
    EXPORTER = "baton-exporter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How long a takeover may take, from the last sign of life to the first node at the successor.

    Nothing bounds the other reasons: a stuck worker's deadline is its graph's own affair, and an
    operator's takeover waits for the operator.

    Attributes:
        crashed_seconds: after evidence of death. The kernel tells within milliseconds and a
            PostgreSQL watcher looks several times a second, so a second is long; what exceeds it
            is a fleet without a free slot, or a state that takes long to load.
        heartbeat_lost_beyond_ttl_seconds: after silence, on top of the pool's own TTL, which has
            to pass in any case: the next heartbeat of a peer notices, claims and restores.
        drained_seconds: after a planned release; nobody waits for a TTL then.
    """

    crashed_seconds: float = 1.0
    heartbeat_lost_beyond_ttl_seconds: float = 5.0
    drained_seconds: float = 5.0

    def fixed(self) -> dict[TakeoverReason, float]:
        """Budgets that do not depend on a pool's TTL, in seconds, by reason."""
        return {
            TakeoverReason.CRASHED: self.crashed_seconds,
            TakeoverReason.DRAINED: self.drained_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where panels change colour and alerts begin to count.

    Attributes:
        heartbeat_stale_intervals: a heartbeat older than this many of its pool's intervals.
        heartbeats_stale_ratio: this part of a pool's workers silent is the fleet's trouble.
        heartbeats_stale_workers: and at least so many.
        fleet_min_ratio: live workers to expected ones.
        lease_expired_ttls: a lease that nobody took for this many TTLs.
        renewal_margin_ratio: time left on a lease, as part of the TTL, when it is renewed late.
        progress_stalled_seconds: a busy worker without a durable write for so long.
        queue_wait_seconds: a task may wait so long for a worker.
        takeover_storm: unplanned takeovers within five minutes that are a storm.
        flapping_losses: lost sessions within half an hour, if the fleet has fewer workers.
        checkpoint_write_seconds: the 99th percentile of a checkpoint's write.
        ledger_lag_seconds: how far the counters may lag behind the ledger.
        clock_skew_ratio: exporter's clock against Prometheus's, as part of the TTL.
        takeover_objective: the part of takeovers that has to stay within its budget.
        takeovers_per_day: with fewer a day, no share of them is judged.
    """

    heartbeat_stale_intervals: float = 3.0
    heartbeats_stale_ratio: float = 0.2
    heartbeats_stale_workers: float = 2.0
    fleet_min_ratio: float = 0.8
    lease_expired_ttls: float = 2.0
    renewal_margin_ratio: float = 0.33
    progress_stalled_seconds: float = 900.0
    queue_wait_seconds: float = 300.0
    takeover_storm: float = 10.0
    flapping_losses: float = 4.0
    checkpoint_write_seconds: float = 1.0
    ledger_lag_seconds: float = 30.0
    clock_skew_ratio: float = 0.25
    takeover_objective: float = 0.99
    takeovers_per_day: float = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that boards and rules are rendered from, beside the catalogue.

    Attributes:
        exporter_job: regular expression of the ``job`` label of the exporters. Two exporters of
            one store share a job; exporters of different stores must not.
        worker_job: regular expression of the ``job`` label of workers with metrics of their own.
        pools: only these pools; all of them if there are none.
        fleet_labels: labels that tell fleets apart beside ``job``; they survive aggregation.
        runbook_url: where docs/runbook.md is published; an alert's name is its anchor.
        dashboard_url: where Grafana is.
        budgets: how long takeovers may take.
        thresholds: where panels change colour and alerts begin to count.
        hold_seconds: by alert, how long it has to last instead of what the alert says.
        keep_firing_seconds: how long a page outlives its series. Longer than it takes to notice
            that the source or the exporter is gone, so that nobody reads their silence as a mend.
    """

    exporter_job: str = "baton-exporter"
    worker_job: str = "baton-worker"
    pools: tuple[str, ...] = ()
    fleet_labels: tuple[str, ...] = ("cluster", "namespace")
    runbook_url: str = "docs/runbook.md"
    dashboard_url: str = "http://localhost:3000"
    budgets: Budgets = field(default_factory=Budgets)
    thresholds: Thresholds = field(default_factory=Thresholds)
    hold_seconds: Mapping[str, float] = field(default_factory=lambda: types.MappingProxyType({}))
    keep_firing_seconds: float = 300.0

    @property
    def by_fleet(self) -> tuple[str, ...]:
        """The labels that tell fleets apart."""
        return (*self.fleet_labels, "job")

    @property
    def by_pool(self) -> tuple[str, ...]:
        """The labels that tell pools apart."""
        return (*self.by_fleet, "pool")

    @property
    def by_worker(self) -> tuple[str, ...]:
        """The labels that tell workers apart."""
        return (*self.by_pool, "worker")

    @property
    def pool_regex(self) -> str | None:
        """What the ``pool`` label has to match; None for any."""
        return "|".join(self.pools) or None

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read settings; what the file leaves out keeps its default.

        Args:
            path: a YAML file.

        Raises:
            BadInput: the file cannot be read, or says something that is none of the above.
        """
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(detail=f"cannot read --config {path}: {error}") from error
        except yaml.YAMLError as error:
            said = " ".join(str(error).split())
            raise BadInput(detail=f"--config {path} is no YAML: {said}") from error
        try:
            settings: Settings = _record(cls, {} if found is None else found, "")
            _check(settings)
        except ValueError as error:
            raise BadInput(detail=f"--config {path}: {error}") from error
        return settings


def _record(kind: type[Any], found: Any, place: str) -> Any:
    """A frozen record from what YAML said."""
    _demand(isinstance(found, dict), f"{place or 'the file'} has to be a table, not {found!r}")
    hints = typing.get_type_hints(kind)
    names = [each.name for each in dataclasses.fields(kind)]
    values = {}
    for key, value in found.items():
        where = f"{place}.{key}" if place else str(key)
        _demand(key in names, f"{where} is unknown; known are {', '.join(names)}")
        values[key] = _value(hints[key], value, where)
    return kind(**values)


def _value(kind: Any, found: Any, place: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast("type[Any]", kind), found, place)
    if kind is float:
        return _positive(found, place)
    if kind is str:
        return _text(found, place)
    if typing.get_origin(kind) is tuple:
        _demand(isinstance(found, list), f"{place} has to be a list, not {found!r}")
        return tuple(_text(each, place) for each in found)
    _demand(isinstance(found, dict), f"{place} has to be a table of seconds, not {found!r}")
    return types.MappingProxyType(
        {_text(key, place): _positive(value, f"{place}.{key}") for key, value in found.items()}
    )


def _positive(found: Any, place: str) -> float:
    fits = type(found) in (int, float) and 0 <= found < float("inf")
    _demand(fits, f"{place} has to be a number of at least 0, not {found!r}")
    return float(found)


def _text(found: Any, place: str) -> str:
    fits = isinstance(found, str) and bool(found.strip())
    _demand(fits, f"{place} has to be text, not {found!r}")
    return str(found)


#: Shares of a whole.
_RATIOS = (
    "heartbeats_stale_ratio",
    "fleet_min_ratio",
    "renewal_margin_ratio",
    "clock_skew_ratio",
    "takeover_objective",
)


def _check(settings: Settings) -> None:
    """Refuse what is a number, and yet makes no rule."""
    for name in _RATIOS:
        share = getattr(settings.thresholds, name)
        _demand(0 < share < 1, f"thresholds.{name} is a share, between 0 and 1")
    for reason, seconds in settings.budgets.fixed().items():
        bounds = ", ".join(f"{bound:g}" for bound in TAKEOVER_BUCKETS)
        said = f"budgets.{reason}_seconds has to be one of {bounds}"
        _demand(seconds in TAKEOVER_BUCKETS, said)


def _demand(fits: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a condition
    if not fits:
        raise ValueError(otherwise)
