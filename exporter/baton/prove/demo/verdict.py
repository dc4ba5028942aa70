"""The demo's verdict: every claim it makes, checked against what the fleet has left behind.

Pure: evidence in, findings out. A check passes only on evidence; where there is none, because a
fault did not fire or a wait ran out, it is inconclusive, which is not a pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from baton.domain.takeovers import Takeover
from baton.domain.verify import verify
from baton.domain.words import EffectOutcome, TakeoverPhase, TakeoverReason, TaskState
from baton.observe.wording import duration
from baton.prove.demo.sink import Publication
from baton.prove.demo.view import View

#: As many takeovers of one reason are listed one by one; of more, the median and the worst.
_FEW = 3


class Outcome(StrEnum):
    """What a check came to, the best first."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"

    @property
    def exit_code(self) -> int:
        """0, 2 and 1: continuity was violated is the worst one can say."""
        return {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 2, Outcome.FAIL: 1}[self]


@dataclass(slots=True, kw_only=True)
class Fault:
    """One thing that was done to a worker on purpose.

    Attributes:
        reason: the takeover reason that has to follow.
        signal: what was sent.
        tasks: what the session held when it was hit.
        at: store time in microseconds; None if the fault never fired.
    """

    reason: TakeoverReason
    signal: str
    worker_id: str = ""
    session_id: str = ""
    tasks: tuple[str, ...] = ()
    at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything there is to judge by.

    Attributes:
        view: the ledger of the fleet.
        results: the final graph state of each task, as the store's saver gives it.
        control: the same of an undisturbed run.
        publications: what the sink holds.
        expected: task, function and findings of every publication of the undisturbed run.
        faults: what was done.
        prometheus: takeovers by reason as Prometheus counts them; None where there is none.
    """

    view: View
    results: Mapping[str, Any]
    control: Mapping[str, Any]
    publications: Sequence[Publication]
    expected: Sequence[tuple[str, str, str]]
    faults: Sequence[Fault]
    prometheus: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to, in words."""

    check: str
    outcome: Outcome
    text: str


def judge(evidence: Evidence) -> list[Finding]:
    """Every check, in the order in which a reader wants to know."""
    findings = [check(evidence) for check in _CHECKS]
    findings += [_fault(evidence, fault) for fault in evidence.faults]
    findings.append(_zombie(evidence))
    if evidence.prometheus is not None:
        findings.append(_prometheus(evidence, evidence.prometheus))
    return findings


def worst(findings: Sequence[Finding]) -> Outcome:
    """The verdict over all."""
    order = list(Outcome)
    return max((finding.outcome for finding in findings), key=order.index)


def _finding(check: str, text: str, *, broken: bool = False, unknown: bool = False) -> Finding:
    if broken:
        return Finding(check, Outcome.FAIL, text)
    return Finding(check, Outcome.INCONCLUSIVE if unknown else Outcome.PASS, text)


def _results(evidence: Evidence) -> Finding:
    tasks = evidence.view.tasks
    ended_badly = [
        f"{task.task_id} is {task.state}"
        for task in tasks.values()
        if task.state in (TaskState.FAILED, TaskState.QUARANTINED, TaskState.INTERRUPTED)
    ]
    done = [task_id for task_id, task in tasks.items() if task.state is TaskState.DONE]
    differ = [f"{task_id} differs" for task_id in done if _result(evidence, task_id) != "same"]
    equal = len(done) - len(differ)
    text = f"{equal} of {len(evidence.control)} tasks ended as in an undisturbed run"
    bad = [*ended_badly, *differ]
    if bad:
        text += f": {', '.join(bad)}"
    unknown = len(done) < len(evidence.control) or not done
    return _finding("results", text, broken=bool(bad), unknown=unknown)


def _result(evidence: Evidence, task_id: str) -> str:
    if task_id not in evidence.results or task_id not in evidence.control:
        return "absent"
    return "same" if evidence.results[task_id] == evidence.control[task_id] else "other"


def _effects(evidence: Evidence) -> Finding:
    found = [(one.task_id, one.function, one.findings) for one in evidence.publications]
    missing = Counter(evidence.expected) - Counter(found)
    surplus = Counter(found) - Counter(evidence.expected)
    attempts = sum(one.attempts for one in evidence.publications)
    answered = evidence.view.effects[EffectOutcome.DEDUPLICATED]
    text = (
        f"{len(found)} of {len(evidence.expected)} publications, each once; of the repeats,"
        f" once() answered {answered} and the sink {attempts - len(found)}"
    )
    done = all(task.state is TaskState.DONE for task in evidence.view.tasks.values())
    if surplus:
        text = f"{surplus.total()} publications that no undisturbed run makes"
    elif missing and done:
        text = f"{missing.total()} publications are missing"
    lost = bool(missing) and done
    return _finding("effects", text, broken=bool(surplus) or lost, unknown=bool(missing))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _ledger(evidence: Evidence) -> Finding:
    events = evidence.view.events
    found = verify(events)
    text = f"{len(events)} events in {len({event.chain for event in events})} hash chains verify"
    if found:
        text = f"{len(found)} findings, the first: {found[0]}"
    return _finding("ledger", text, broken=bool(found), unknown=not events)


def _single_writer(evidence: Evidence) -> Finding:
    """In the order of commits, a task's epochs never fall, and each is one session's."""
    epochs: dict[str, int] = {}
    owners: dict[tuple[str, int], str | None] = {}
    wrong: list[str] = []
    for event in evidence.view.events:
        if not event.chain.startswith("task:") or event.session_id is None:
            continue
        task_id, epoch = str(event.task_id), event.epoch or 0
        owner = owners.setdefault((task_id, epoch), event.session_id)
        if owner != event.session_id or epoch < epochs.get(task_id, 0):
            wrong.append(f"{task_id} at {event.n}")
        epochs[task_id] = max(epoch, epochs.get(task_id, 0))
    text = f"each of {len(owners)} epochs was written by one session, and none after the next began"
    if wrong:
        text = f"a superseded writer was let in: {', '.join(wrong[:_FEW])}"
    return _finding("one writer", text, broken=bool(wrong), unknown=not owners)


_CHECKS: tuple[Callable[[Evidence], Finding], ...] = (_results, _effects, _ledger, _single_writer)


def _fault(evidence: Evidence, fault: Fault) -> Finding:
    check = fault.reason.value
    if fault.at is None:
        return _finding(check, f"{fault.signal} was never sent: no worker was right", unknown=True)
    taken = [
        one for one in evidence.view.taken_from(fault.session_id) if one.latency_us is not None
    ]
    what = f"{fault.worker_id} got {fault.signal} while it held {_tasks(len(fault.tasks))}"
    odd = sorted({one.reason.value for one in taken if one.reason is not fault.reason})
    if odd:
        return _finding(check, f"{what}; taken over as {', '.join(odd)}", unknown=True)
    if not taken:
        return _finding(check, f"{what}; no takeover was seen", unknown=True)
    slowest = duration(max(one.latency_us or 0 for one in taken))
    return _finding(check, f"{what}; {len(taken)} taken over, within {slowest}")


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _zombie(evidence: Evidence) -> Finding:
    frozen = [
        fault
        for fault in evidence.faults
        if fault.reason is TakeoverReason.HEARTBEAT_LOST and fault.at is not None
    ]
    sessions = {fault.session_id for fault in frozen}
    refused = [one for one in evidence.view.refusals if one.session_id in sessions]
    if not refused:
        return _finding("zombie", "no write of a thawed worker reached the fence", unknown=True)
    names = ", ".join(sorted({fault.worker_id for fault in frozen}))
    text = f"{names} woke up and wrote {_times(len(refused))} too late, and was refused"
    return _finding("zombie", text)


def _prometheus(evidence: Evidence, counted: Mapping[str, int]) -> Finding:
    ended = [one for one in evidence.view.takeovers if one.outcome is not None]
    ours = Counter(one.reason.value for one in ended)
    said = ", ".join(f"{reason} {count}" for reason, count in sorted(counted.items())) or "none"
    agrees = dict(ours) == dict(counted)
    text = f"counts the same takeovers as the ledger: {said}"
    if not agrees:
        text = f"counts {said}, and the ledger has {dict(sorted(ours.items()))}"
    return _finding("prometheus", text, unknown=not agrees)


# Latencies


def _measures(takeover: Takeover) -> dict[str, int | None]:
    phases: dict[str, int | None] = {
        phase.value: takeover.phase_us(phase) for phase in TakeoverPhase
    }
    progress = phases.pop(TakeoverPhase.PROGRESS.value)
    return {**phases, "latency": takeover.latency_us, TakeoverPhase.PROGRESS.value: progress}


#: What a row of the latency table gives when it stands for one takeover.
EACH = "each"
#: The columns of the latency table; progress stands apart, as it contains the user's own nodes.
MEASURES = ("detect", "claim", "restore", "latency", "progress")


def latencies(takeovers: Sequence[Takeover]) -> list[tuple[str, int, str, list[int | None]]]:
    """Rows of reason, number of takeovers, what the row gives, and microseconds by measure.

    Few takeovers are listed each; of many, the median and the largest value.
    """
    rows: list[tuple[str, int, str, list[int | None]]] = []
    for reason in TakeoverReason:
        measured = [_measures(one) for one in takeovers if one.reason is reason]
        values = {name: [one[name] for one in measured] for name in MEASURES}
        if len(measured) <= _FEW:
            each = [[values[name][place] for name in MEASURES] for place in range(len(measured))]
            rows += [(reason.value, len(measured), EACH, row) for row in each]
            continue
        known = [[us for us in values[name] if us is not None] for name in MEASURES]
        rows += [
            (reason.value, len(measured), word, [round(pick(us)) if us else None for us in known])
            for word, pick in (("median", median), ("max", max))
        ]
    return rows
