"""What a soak on real processes measures beside its counts: how quick takeovers were, what leaks.

The tasks of one cycle share its trouble, so that their takeovers are not independent of each other:
every interval here is of cycles, one value of each, and not of takeovers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from baton.domain.figures import median_interval
from baton.domain.ledger import Event
from baton.domain.samples import P95_LEAST
from baton.domain.takeovers import Takeover, TakeoverTracker
from baton.domain.words import TakeoverOutcome, TakeoverPhase
from baton.prove.scenarios.engine import Performance

#: The whole of a takeover, beside its phases.
LATENCY = "latency"

#: From so many values on the greatest lies above the 99th percentile 95 times in 100.
P99_LEAST = 299

#: What workers are watched for, as the engine calls it, and what it is called.
WATCHED = {
    "worker_memory_bytes": "most memory of a worker, bytes",
    "worker_open_files": "most open files of a worker",
}

#: How fast the longest-lived worker of a cycle grew, as the engine calls it.
GROWTH = {
    "worker_memory_bytes_per_minute": "growth of a worker's memory, bytes per minute",
    "worker_open_files_per_minute": "growth of a worker's open files, per minute",
}

#: Microseconds that takeovers took, by reason and phase.
Took = Mapping[str, Mapping[str, Sequence[int]]]


def took(events: Iterable[Event]) -> dict[str, dict[str, list[int]]]:
    """How long each takeover of a ledger took, by reason and phase, in microseconds.

    Args:
        events: in the order of the tail.
    """
    tracker, last = TakeoverTracker(), dict[tuple[str, int], Takeover]()
    for event in events:
        for takeover in tracker.apply(event):
            last[takeover.task_id, takeover.epoch] = takeover
    found: dict[str, dict[str, list[int]]] = {}
    for takeover in last.values():
        if takeover.outcome is TakeoverOutcome.ABANDONED:
            continue
        values = {phase.value: takeover.phase_us(phase) for phase in TakeoverPhase}
        for name, value in {**values, LATENCY: takeover.latency_us}.items():
            if value is not None:
                found.setdefault(takeover.reason.value, {}).setdefault(name, []).append(value)
    return found


def timing(performance: Performance | None) -> dict[str, Any]:
    """What is kept of one cycle.

    Args:
        performance: of the cycle; None where there was none.
    """
    if performance is None:
        return {}
    names = ("real_seconds", "processes", *WATCHED, *GROWTH)
    figures = {name: performance.figures[name] for name in names if name in performance.figures}
    return {**figures, "took": took(performance.trial.events)}


def measured(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All cycles together.

    Args:
        rows: what was kept of each.
    """
    found: dict[str, Any] = {"takeover_seconds": _takeovers([row.get("took", {}) for row in rows])}
    for name in GROWTH:
        values = [row[name] for row in rows if name in row]
        found[name] = {"cycles": len(values)}
        if values:
            found[name] |= asdict(median_interval(values))
    return found


def _takeovers(cycles: Sequence[Took]) -> dict[str, dict[str, Any]]:
    reasons = sorted({reason for cycle in cycles for reason in cycle})
    phases = (LATENCY, *(phase.value for phase in TakeoverPhase))
    return {
        reason: {
            phase: spread([cycle.get(reason, {}).get(phase, ()) for cycle in cycles])
            for phase in phases
        }
        for reason in reasons
    }


def spread(cycles: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What the values of some cycles show, in seconds; a percentile only if they can show it.

    Args:
        cycles: the microseconds of each cycle.
    """
    some = [sorted(cycle) for cycle in cycles if cycle]
    every = sorted(value for cycle in some for value in cycle)
    n = len(every)
    if not n:
        return {"takeovers": 0, "cycles": 0}
    middles, most = ([_at(q, cycle) / 1e6 for cycle in some] for q in (0.5, 1.0))
    return {
        "takeovers": n,
        "cycles": len(some),
        "median": _at(0.5, every) / 1e6,
        "p95": _at(0.95, every) / 1e6 if n >= P95_LEAST else None,
        "p99": _at(0.99, every) / 1e6 if n >= P99_LEAST else None,
        "most": every[-1] / 1e6,
        "median_of_a_cycle": asdict(median_interval(middles)),
        "most_of_a_cycle": asdict(median_interval(most)),
    }


def _at(q: float, ordered: Sequence[int]) -> int:
    return ordered[math.ceil(q * len(ordered)) - 1]


def table(found: Mapping[str, Any]) -> str:
    """The takeovers for people, in Markdown.

    Args:
        found: from ``measured``.
    """
    head = "| reason | phase | takeovers | median | p95 | p99 | most | of a cycle: median | most |"
    lines = [head, "|---|---|---:|---:|---:|---:|---:|---|---|"]
    for reason, phases in found["takeover_seconds"].items():
        for phase, one in phases.items():
            if one["takeovers"]:
                cells = (
                    *(_seconds(one[name]) for name in ("median", "p95", "p99", "most")),
                    *(_between(one[f"{name}_of_a_cycle"]) for name in ("median", "most")),
                )
                lines.append(
                    f"| `{reason}` | {phase} | {one['takeovers']:,} | {' | '.join(cells)} |"
                )
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "too few" if value is None else f"{value:.3f} s"


def _between(found: Mapping[str, float | None]) -> str:
    if found["low"] is None or found["high"] is None:
        return f"{found['estimate']:.3f} s (too few for an interval)"
    return f"{found['estimate']:.3f} s ({found['low']:.3f} to {found['high']:.3f})"
