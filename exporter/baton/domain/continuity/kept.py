"""A trial in plain values: kept beside its ledger and its trace, and read again to be judged.

Everything that the assertions may look at is in ``trial.json``, but for the events and the trace,
which have files of their own; so whoever has the three comes to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from baton.domain.continuity.concluding import Beside, Finding, Judgement, Range, Wanted
from baton.domain.continuity.model import (
    CheckpointFact,
    Control,
    ControlTask,
    Expected,
    FaultFact,
    ReplayFact,
    SinkEntry,
    TraceKind,
    TraceLine,
    Trial,
)
from baton.domain.ledger import Event


def facts_of(
    trial: Trial,
    wanted: Wanted,
    *,
    fired: Mapping[str, str] | None,
    unwatched: str = "",
    asked_only: bool = False,
    beside: Iterable[Beside] = (),
) -> dict[str, Any]:
    """Everything that is judged, but for the events and the trace.

    Args:
        trial: what a performance left behind.
        wanted: what the scenario holds against it.
        fired: as ``conclude`` takes it.
        unwatched: as ``conclude`` takes it.
        asked_only: as ``conclude`` takes it.
        beside: what was tried beside it.
    """
    counters = trial.counters
    return {
        "complete": trial.complete,
        "seal": None if trial.seal is None else dict(trial.seal),
        "accepted": None if trial.accepted is None else sorted(trial.accepted),
        "control": None if trial.control is None else asdict(trial.control),
        "results": None if trial.results is None else dict(trial.results),
        "checkpoints": _rows(trial.checkpoints),
        "replays": _rows(trial.replays),
        "traced": trial.trace is not None,
        "sink": _rows(trial.sink),
        "faults": _rows(trial.faults),
        "counters": None
        if counters is None
        else [
            [name, [list(pair) for pair in labels], value]
            for (name, labels), value in sorted(counters.items())
        ],
        "expected": asdict(trial.expected),
        "mutants_killed": None if trial.mutants_killed is None else sorted(trial.mutants_killed),
        "wanted": asdict(wanted),
        "fired": None if fired is None else dict(fired),
        "unwatched": unwatched,
        "asked_only": asked_only,
        "beside": [asdict(one) for one in beside],
    }


def trial_of(
    facts: Mapping[str, Any], events: Sequence[Event], trace: Iterable[Mapping[str, Any]]
) -> Trial:
    """The trial that was kept.

    Args:
        facts: from ``facts_of``, also after it was JSON.
        events: the ledger, in the order of its tail.
        trace: the lines of the workers' trace.

    Raises:
        ValueError, KeyError, TypeError: it is not as it was written.
    """
    counters, expected = facts["counters"], dict(facts["expected"])
    for name in ("quiet", "assertions"):
        expected[name] = tuple(expected[name])
    return Trial(
        events=events,
        complete=facts["complete"],
        seal=facts["seal"],
        accepted=_set(facts["accepted"]),
        control=_control(facts["control"]),
        results=facts["results"],
        checkpoints=_many(CheckpointFact, facts["checkpoints"]),
        replays=_many(ReplayFact, facts["replays"], "replayed"),
        trace=tuple(_line(one) for one in trace) if facts["traced"] else None,
        sink=_many(SinkEntry, facts["sink"]),
        faults=_many(FaultFact, facts["faults"], "observed"),
        counters=None
        if counters is None
        else {
            (name, tuple((label, value) for label, value in labels)): count
            for name, labels, count in counters
        },
        expected=Expected(**expected),
        mutants_killed=_set(facts["mutants_killed"]),
    )


def wanted_in(facts: Mapping[str, Any]) -> Wanted:
    """What the scenario holds against it.

    Raises:
        KeyError, TypeError: it is not as it was written.
    """
    kept = facts["wanted"]
    return Wanted(
        assertions=tuple(kept["assertions"]),
        takeovers=Range(**kept["takeovers"]),
        refusals=Range(**kept["refusals"]),
        duplicates=Range(**kept["duplicates"]),
        alerts=tuple(kept["alerts"]),
        silent=tuple(kept["silent"]),
    )


def beside_in(facts: Mapping[str, Any]) -> tuple[Beside, ...]:
    """What was tried beside it; nothing in what was kept before anything was.

    Raises:
        ValueError, KeyError, TypeError: it is not as it was written.
    """
    return tuple(
        Beside(finding=Finding(**one["finding"]), otherwise=Judgement(one["otherwise"]))
        for one in facts.get("beside", ())
    )


def _rows(facts: Iterable[Any] | None) -> list[dict[str, Any]] | None:
    return None if facts is None else [asdict(one) for one in facts]


def _many(kind: Any, rows: Iterable[Mapping[str, Any]] | None, *lists: str) -> Any:
    if rows is None:
        return None
    return tuple(kind(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in rows)


def _set(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _control(kept: Mapping[str, Any] | None) -> Control | None:
    if kept is None:
        return None
    tasks = {
        task_id: ControlTask(
            steps=tuple(one["steps"]),
            effects=tuple(one["effects"]),
            state_digest=one["state_digest"],
        )
        for task_id, one in kept["tasks"].items()
    }
    return Control(tasks=tasks, projection=tuple(kept["projection"]))


def _line(row: Mapping[str, Any]) -> TraceLine:
    return TraceLine(**{**row, "kind": TraceKind(row["kind"])})
