"""The timeline as data: lanes of workers, their leases, losses and late writes, and the phases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from baton.domain.ledger import Event
from baton.domain.takeovers import PHASES
from baton.domain.words import EventType, TakeoverPhase
from baton.observe.report.findings import Findings
from baton.observe.report.history import Case, Lease
from baton.observe.report.measures import seconds

_E = EventType

#: More than this nobody can tell apart in one picture; what is left out is counted.
LEASES_MAX = 300
TAKEOVERS_MAX = 40

#: Names lines and has them listed in the report.
_Name = Callable[[Iterable[Event]], list[dict[str, Any]]]

#: How the line that ends a lease is told.
_ENDED = {
    _E.CLAIMED: "taken over",
    _E.RELEASED: "given back",
    _E.DRAINED: "given back",
    _E.INTERRUPTED: "waits for an answer",
    _E.DONE: "done",
    _E.FAILED: "failed",
    _E.QUARANTINED: "put aside",
    _E.OPERATOR_ACTION: "taken by an operator",
}


def drawn(found: Findings, name: _Name) -> dict[str, Any] | None:
    """What there is to draw, in seconds since its beginning; None for nothing."""
    shown = [event for event in found.events if found.scope.covers(event)]
    if not shown:
        return None
    start, end = min(event.at for event in shown), max(event.at for event in shown)
    leases = [
        lease
        for lease in found.whole.leases
        if lease.claim.at <= end and (lease.end is None or lease.end.at >= start)
    ]
    # Where there are too many, those that changed hands are what a report is about.
    leases.sort(key=lambda one: (one.end is None or one.end.type == _E.DONE, one.claim.at))
    kept = sorted(leases[:LEASES_MAX], key=lambda one: (one.claim.at, one.claim.seq))
    slowest = sorted(found.cases, key=lambda one: -(one.takeover.latency_us or 0))
    cases = sorted(slowest[:TAKEOVERS_MAX], key=lambda one: one.claim.seq)
    scale = _Scale(start, end)
    return {
        "seconds": seconds(end - start),
        "lanes": _lanes(kept, shown, scale, name),
        "takeovers": [_phases(case, scale, name) for case in cases],
        "left_out": {
            "leases": len(leases) - len(kept),
            "takeovers": len(found.cases) - len(cases),
        },
    }


class _Scale:
    """Store time as seconds since the beginning, within the picture."""

    def __init__(self, start: int, end: int) -> None:
        self._start, self._end = start, end

    def __call__(self, at: int) -> float:
        """Where a store time lies."""
        return seconds(min(max(at, self._start), self._end) - self._start)

    @property
    def end(self) -> float:
        """The end of the picture."""
        return seconds(self._end - self._start)


def _lanes(
    leases: list[Lease], shown: list[Event], scale: _Scale, name: _Name
) -> list[dict[str, Any]]:
    marks: dict[str, list[dict[str, Any]]] = {}
    for event in shown:
        if event.worker_id and (mark := _mark(event, scale, name)) is not None:
            marks.setdefault(event.worker_id, []).append(mark)
    bars: dict[str, list[dict[str, Any]]] = {}
    for lease in leases:
        bars.setdefault(lease.claim.worker_id or "", []).append(_bar(lease, scale, name))
    return [
        {"worker_id": worker, "rows": _stack(bars.get(worker, [])), "marks": marks.get(worker, [])}
        for worker in sorted(marks.keys() | bars.keys())
    ]


def _bar(lease: Lease, scale: _Scale, name: _Name) -> dict[str, Any]:
    claim, end = lease.claim, lease.end
    ended = "still held" if end is None else _ENDED.get(EventType(end.type), end.type)
    return {
        "task_id": claim.task_id,
        "epoch": claim.epoch,
        "from": scale(claim.at),
        "to": scale.end if end is None else scale(end.at),
        "ended": ended,
        "lines": name((claim,) if end is None else (claim, end)),
    }


def _stack(bars: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Bars in as few rows as they need so as not to overlap."""
    rows: list[list[dict[str, Any]]] = []
    for bar in bars:
        row = next((row for row in rows if row[-1]["to"] <= bar["from"]), None)
        if row is None:
            rows.append([bar])
        else:
            row.append(bar)
    return rows


def _mark(event: Event, scale: _Scale, name: _Name) -> dict[str, Any] | None:
    at, text = event.at, None
    if event.type == _E.SESSION_LOST:
        lost_at = event.data.get("lost_at")
        at = lost_at if type(lost_at) is int else at
        text = f"{event.worker_id} lost ({event.reason})"
    elif event.type == _E.WRITE_REFUSED:
        text = f"a late write of {event.worker_id} on {event.task_id} refused"
    elif event.type == _E.FAULT_INJECTED:
        text = "a fault was injected"
    elif event.type in (_E.SESSION_STARTED, _E.SESSION_STOPPED):
        text = f"{event.worker_id} {'began' if event.type == _E.SESSION_STARTED else 'stopped'}"
    if text is None:
        return None
    return {"kind": event.type, "at": scale(at), "text": text, "lines": name((event,))}


def _phases(case: Case, scale: _Scale, name: _Name) -> dict[str, Any]:
    takeover = case.takeover
    parts = []
    for phase in TakeoverPhase:
        begin, end = (getattr(takeover, field) for field in PHASES[phase])
        if begin is not None and end is not None and begin <= end:
            length = seconds(end - begin)
            part = {"phase": phase.value, "from": scale(begin), "to": scale(end)}
            parts.append({**part, "seconds": length})
    return {
        "task_id": takeover.task_id,
        "epoch": takeover.epoch,
        "after": takeover.to_worker,
        "reason": takeover.reason.value,
        "parts": parts,
        "lines": name(case.lines),
    }
