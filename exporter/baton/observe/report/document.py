"""The report in plain values: report.json, from which the other two files are rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from baton.domain.continuity import ASSERTIONS, Outcome
from baton.domain.ledger import Event
from baton.domain.words import TakeoverPhase
from baton.observe.report import measures, telling
from baton.observe.report.drawing import drawn
from baton.observe.report.findings import Findings, Judged, Ledger, TaskView
from baton.observe.report.history import Case, PutAside, place
from baton.observe.report.scope import Scope, moment
from baton.observe.report.sections import OUTCOMES, SECTIONS, witnesses
from baton.observe.report.telling import Said
from baton.observe.timeline import timeline

FORMAT = "1.0.0"

#: The exit codes of a report: what it says, and not how it went.
HELD, BROKEN, UNSAID = 0, 1, 2

#: A line as a statement names it.
_Line = dict[str, Any]


class _Lines:
    """The ledger lines that a report names; each is listed in it once."""

    def __init__(self) -> None:
        self.named: dict[tuple[str, int], Event] = {}

    def __call__(self, events: Iterable[Event]) -> list[_Line]:
        """Name some lines, each once, in the order of the ledger."""
        found = {place(event): event for event in events}
        self.named.update(found)
        return [line_of(event) for event in sorted(found.values(), key=lambda one: one.seq)]

    def said(self, said: Said) -> dict[str, Any]:
        """A statement with the lines it rests on; one without any speaks of the findings."""
        ground = "lines" if said.lines else "findings"
        return {
            "text": said.text,
            "command": said.command,
            "rests_on": "every line" if said.whole else ground,
            "lines": self(said.lines),
        }


def line_of(event: Event) -> _Line:
    """How a line of the ledger is named."""
    return {"chain": event.chain, "n": event.n, "hash": event.hash}


def build(ledger: Ledger, scope: Scope, version: str) -> dict[str, Any]:
    """Make the report.

    Args:
        ledger: everything there is.
        scope: what the report is about.
        version: of Baton.
    """
    found, name = Findings(ledger, scope), _Lines()
    judged = found.judged
    sections = [
        {"id": id_, "question": question, "statements": [name.said(one) for one in answer(found)]}
        for id_, question, answer in SECTIONS
    ]
    takeovers = [_takeover(case, found, name) for case in found.cases]
    takeovers += [_put_aside(one, found, name) for one in found.put_aside]
    drawing = drawn(found, name)
    tasks = [_task(view, name) for view in found.tasks]
    figures = list(measures.measures(found.cases)) if found.trusted else []
    bound = measures.abandoned(found.cases) if found.trusted else None
    return {
        "format": FORMAT,
        "exit_code": exit_code(found, judged),
        "about": str(scope),
        "scope": _scope(scope),
        "store_id": ledger.store_id,
        "baton": version,
        "as_of": moment(found.events[-1].wall) if found.events else None,
        "ledger": _ledger(found),
        "sections": sections,
        "takeovers": takeovers,
        "tasks": tasks,
        "continuity": _continuity(found, judged, name),
        "measures": [{**one.to_dict(), **name.said(one.said)} for one in figures],
        "bounds": [] if bound is None else [{**bound.to_dict(), **name.said(bound.said)}],
        "timeline": drawing,
        "lines": _listed(found, name.named),
    }


def exit_code(found: Findings, judged: Judged | None) -> int:
    """0 if nothing was lost or done twice, 1 if so or if the ledger is no good, 2 if unknown."""
    if found.altered or (judged is not None and judged.outcome is Outcome.FAIL):
        return BROKEN
    return HELD if judged is not None and judged.outcome is Outcome.PASS else UNSAID


def _scope(scope: Scope) -> dict[str, Any]:
    times = {"since": scope.since_us, "until": scope.until_us}
    told = {key: None if us is None else moment(us) for key, us in times.items()}
    return {"kind": scope.kind, "task_id": scope.task, "worker_id": scope.worker, **told}


def _ledger(found: Findings) -> dict[str, Any]:
    ledger, events = found.ledger, found.events
    return {
        "events": len(ledger.events),
        "events_read": len(events),
        "complete": ledger.complete,
        "sealed": ledger.seal is not None,
        "trusted": not found.altered,
        "summary": found.verifier.summary(),
        "findings": [
            {"check": one.check, "chain": one.chain, "n": one.n, "detail": one.detail}
            for one in found.wrong
        ],
        "in_doubt": sorted(found.doubtful),
        "pruned": sorted(found.pruned),
    }


def _takeover(case: Case, found: Findings, name: _Lines) -> dict[str, Any]:
    takeover = case.takeover
    return {
        "kind": "takeover",
        "task_id": takeover.task_id,
        "run_id": takeover.run_id,
        "pool": takeover.pool,
        "graph": takeover.graph,
        "external": takeover.external,
        "reason": takeover.reason.value,
        "cause": name.said(telling.cause(case)),
        "before": _holder(takeover.from_worker, takeover.from_session, takeover.from_epoch),
        "after": _holder(takeover.to_worker, takeover.to_session, takeover.epoch),
        "evidence": takeover.evidence,
        "silence_seconds": _seconds(takeover.silence_us),
        "phases": [
            {
                "phase": phase.value,
                "seconds": _seconds(telling.length_us(takeover, phase)),
                "lines": name(telling.phase_lines(case, phase)),
            }
            for phase in TakeoverPhase
        ],
        "latency_seconds": _seconds(telling.length_us(takeover)),
        "stage": takeover.stage.value,
        "outcome": None if takeover.outcome is None else takeover.outcome.value,
        "steps_replayed": case.replayed,
        "effects": {
            "recorded": len(case.effects),
            "deduplicated": len(case.repeats),
            "lines": name([*case.effects, *case.repeats]),
        },
        "writes_refused": {"count": len(case.refused), "lines": name(case.refused)},
        "continuity": _of_task(takeover.task_id, found, name),
        "lines": name(case.lines),
    }


def _put_aside(aside: PutAside, found: Findings, name: _Lines) -> dict[str, Any]:
    event, data = aside.event, aside.event.data
    last = aside.cases[-1] if aside.cases else None
    told: Mapping[str, Any] = {} if aside.lost is None else aside.lost.data
    sign, lost_at = _whole(told, "last_sign_at"), _whole(told, "lost_at")
    times: dict[TakeoverPhase, int] = {}
    if sign is not None and lost_at is not None:
        times = {TakeoverPhase.DETECT: lost_at - sign, TakeoverPhase.CLAIM: event.at - lost_at}
    lines = (event,) if aside.lost is None else (aside.lost, event)
    return {
        "kind": "quarantine",
        "task_id": event.task_id,
        "run_id": event.run_id,
        "pool": last.takeover.pool if last else None,
        "graph": last.takeover.graph if last else None,
        "external": False,
        "reason": event.reason,
        "cause": name.said(telling.quarantine_cause(aside)),
        "before": _holder(
            data.get("previous_worker"),
            data.get("previous_session"),
            last.takeover.epoch if last else None,
        ),
        "after": None,
        "evidence": None if aside.lost is None else aside.lost.reason,
        "silence_seconds": _seconds(told.get("silence_us")),
        "phases": [
            {
                "phase": phase.value,
                "seconds": _seconds(times.get(phase)),
                "lines": name(lines if phase in times else ()),
            }
            for phase in TakeoverPhase
        ],
        "latency_seconds": None,
        "stage": "put_aside",
        "outcome": "quarantined",
        "steps_replayed": 0,
        "effects": {"recorded": 0, "deduplicated": 0, "lines": []},
        "writes_refused": {"count": 0, "lines": []},
        "continuity": _of_task(event.task_id or "", found, name),
        "lines": name((*(one.claim for one in aside.cases), *lines)),
    }


def _whole(data: Mapping[str, Any], key: str) -> int | None:
    value = data.get(key)
    return value if type(value) is int else None


def _holder(worker: str | None, session: str | None, epoch: int | None) -> dict[str, Any]:
    return {"worker_id": worker, "session_id": session, "epoch": epoch}


def _of_task(task_id: str, found: Findings, name: _Lines) -> dict[str, Any]:
    """Whether anything of one task was lost or done twice."""
    last = found.whole.last.get(task_id)
    ground = () if last is None else (last,)
    judged = found.judged_of(task_id)
    if judged is None:
        return {"outcome": OUTCOMES[Outcome.UNKNOWN], "text": "in doubt", "lines": name(ground)}
    broken = ", ".join(one.assertion for one in judged.broken)
    text = f"{len(judged.checked)} assertions judged" + (f", broken: {broken}" if broken else "")
    lines = [line for one in judged.broken for line in witnesses(found, one)]
    outcome = OUTCOMES[judged.outcome]
    return {"outcome": outcome, "text": text, "lines": name(lines or ground)}


def _task(view: TaskView, name: _Lines) -> dict[str, Any]:
    return {
        "task_id": view.task_id,
        "state": view.state.value,
        "holder": view.holder,
        "waits_because": view.orphaned,
        "external": view.external,
        "lines": name((view.last,)),
    }


def _continuity(found: Findings, judged: Judged | None, name: _Lines) -> dict[str, Any]:
    if judged is None:
        return {"outcome": OUTCOMES[Outcome.UNKNOWN], "assertions": [], "not_judged": []}
    return {
        "outcome": OUTCOMES[judged.outcome],
        "assertions": [
            {
                "id": one.assertion,
                "title": ASSERTIONS[one.assertion].title,
                "outcome": OUTCOMES[one.outcome],
                "checked": one.checked,
                "violations": one.violations,
                "text": one.text,
                "lines": name(witnesses(found, one)),
            }
            for one in judged.checked
        ],
        "not_judged": [
            {
                "id": one.assertion,
                "title": ASSERTIONS[one.assertion].title,
                "why": one.text,
            }
            for one in judged.verdicts
            if not one.checked
        ],
    }


def _listed(found: Findings, named: dict[tuple[str, int], Event]) -> list[dict[str, Any]]:
    """Every line that is named, in words, in the order of the ledger."""
    rows = {(row.chain, row.n): row for row in timeline(found.events)}
    events = sorted(named.values(), key=lambda event: event.seq)
    return [
        {
            **line_of(event),
            "id": f"L{number}",
            "time": moment(event.wall),
            "since_seconds": measures.seconds(rows[event.chain, event.n].since_us),
            "event": event.type,
            "task_id": event.task_id,
            "worker_id": event.worker_id,
            "epoch": event.epoch,
            "text": rows[event.chain, event.n].text,
        }
        for number, event in enumerate(events, 1)
    ]


def _seconds(us: object) -> float | None:
    return measures.seconds(us) if isinstance(us, int) else None
