"""The six questions of somebody in an incident, in the order in which they are asked."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from baton.domain.continuity import ASSERTIONS, Outcome, Verdict
from baton.domain.ledger import Event
from baton.domain.words import TakeoverReason, TaskState
from baton.observe.report.findings import Findings, TaskView
from baton.observe.report.history import place
from baton.observe.report.measures import abandoned, measures
from baton.observe.report.telling import Said, handed_over, set_aside, some, times, took
from baton.observe.wording import duration

_T = TaskState

#: The states that end a run; a task in one of ``_NEEDS`` waits for a person.
_OVER = (_T.DONE, _T.FAILED, _T.QUARANTINED)
_NEEDS = (_T.FAILED, _T.QUARANTINED, _T.INTERRUPTED)

_LOST = (TakeoverReason.CRASHED, TakeoverReason.HEARTBEAT_LOST)

#: What a verdict is called in the report.
OUTCOMES: Mapping[Outcome, str] = {
    Outcome.PASS: "held",
    Outcome.FAIL: "broken",
    Outcome.UNKNOWN: "cannot be said",
}


def doubt(found: Findings) -> Said:
    """Why what is asked cannot be said of all that was asked for."""
    if not found.doubtful:
        return Said("The ledger is cut off in its last line, so what is not in it may be.", ())
    wrong = [one for one in found.altered if one.chain in found.doubtful]
    checks = some(one.check for one in wrong)
    return Said(
        f"Cannot be said: the ledger was altered or is damaged ({times(len(wrong), 'finding')}:"
        f" {checks}), and what rests on {times(len(found.doubtful), 'chain')} in doubt"
        " is left out.",
        (),
    )


def over(found: Findings) -> Iterator[Said]:
    """Is it over?"""
    tasks = found.tasks
    if not found.trusted:
        yield doubt(found)
    orphans = [task for task in tasks if task.orphaned]
    going = [task for task in tasks if task.state is _T.ACTIVE and not task.orphaned]
    waiting = [task for task in tasks if task.state is _T.PENDING and not task.orphaned]
    needing = [task for task in tasks if task.state in _NEEDS]
    if found.trusted:
        yield _verdict(found, tasks, orphans, going + waiting, needing)
    for task in orphans:
        lines = (task.last,) if task.gone is None else (task.last, task.gone)
        yield Said(f"{task.task_id} waits for a successor: {task.orphaned}.", lines)
    for state in TaskState:
        those = [task for task in tasks if task.state is state and not task.orphaned]
        if those:
            names = some(task.task_id for task in those)
            text = f"{times(len(those), 'task')} {'is' if len(those) == 1 else 'are'} {state}"
            yield Said(f"{text}: {names}.", tuple(task.last for task in those))


def _verdict(
    found: Findings,
    tasks: list[TaskView],
    orphans: list[TaskView],
    going: list[TaskView],
    needing: list[TaskView],
) -> Said:
    if not tasks:
        return Said("No task is concerned.", found.ends(), whole=True)
    lines = tuple(task.last for task in orphans or going or needing or tasks)
    if orphans:
        return Said(f"No: {times(len(orphans), 'task')} without a living holder.", lines)
    need = f"{times(len(needing), 'task')} wait{'s' if len(needing) == 1 else ''} for a person"
    if going:
        and_need = f", and {need}" if needing else ""
        return Said(
            f"The takeovers are; {times(len(going), 'task')} still to be finished{and_need}.", lines
        )
    if needing:
        return Said(f"Yes, nothing runs any more, but {need}.", lines)
    return Said(f"Yes: {times(len(tasks), 'task')} done.", lines)


def continuity(found: Findings) -> Iterator[Said]:
    """Was anything lost or done twice?"""
    judged = found.judged
    if judged is None:
        yield doubt(found)
        return
    yield {
        Outcome.PASS: Said(
            f"No, as far as a ledger tells: {times(len(judged.checked), 'assertion')} held, none"
            f" was broken. {times(len(judged.verdicts) - len(judged.checked), 'other')} could not"
            " be judged from a ledger alone, or had nothing to judge.",
            found.ends(),
            whole=True,
        ),
        Outcome.FAIL: Said(
            f"Yes: {times(len(judged.broken), 'assertion')} broken.",
            tuple(line for one in judged.broken for line in witnesses(found, one)),
        ),
        Outcome.UNKNOWN: Said(
            f"Cannot be said: {'what there was' if found.pruned else 'there was nothing'} to check"
            f"{' was pruned' if found.pruned else ''}.",
            found.ends(),
            whole=True,
        ),
    }[judged.outcome]
    for verdict in sorted(judged.checked, key=lambda one: one.outcome is not Outcome.FAIL):
        title = ASSERTIONS[verdict.assertion].title
        text = f"{verdict.assertion} {title}: {OUTCOMES[verdict.outcome]}; {verdict.text}."
        lines = witnesses(found, verdict)
        yield Said(text, lines or found.ends(), whole=not lines)
    yield from _writes(found)
    yield from _pruned(found)


def _pruned(found: Findings) -> Iterator[Said]:
    """What a report without archives cannot know of."""
    if found.pruned:
        gone = times(len(found.pruned), "chain")
        text = f"{gone} pruned, and told of only with the archives: --archive PATH."
        yield Said(text, tuple(line for line in found.events if line.chain in found.pruned))


def _writes(found: Findings) -> Iterator[Said]:
    refused = found.history.refusals
    if refused:
        count, who = len(refused), some(one.worker_id or "a session unknown" for one in refused)
        text = (
            f"{times(count, 'late write')} of {who} {'was' if count == 1 else 'were'} refused:"
            " the fence held, and none is in the state."
        )
        yield Said(text, tuple(refused))
    else:
        yield Said("No late write reached the fence.", found.ends(), whole=True)
    cases = found.cases
    repeats = [event for case in cases for event in case.repeats]
    if repeats:
        text = f"{times(len(repeats), 'effect')} asked for again, and not repeated."
        yield Said(text, tuple(repeats))
    replayed = [case for case in cases if case.replayed]
    if replayed:
        total = sum(case.replayed for case in replayed)
        text = (
            f"{times(total, 'step')} that had begun, and {'was' if total == 1 else 'were'} not"
            " durable, ran again: their nodes ran more than once, no durable step did."
        )
        lines = (line for case in replayed for line in (case.claim, case.restored) if line)
        yield Said(text, tuple(lines))


def witnesses(found: Findings, verdict: Verdict) -> tuple[Event, ...]:
    """The ledger lines that a verdict names."""
    lines = (found.line(witness) for witness in verdict.witnesses)
    return tuple(line for line in lines if line is not None)


def handovers(found: Findings) -> Iterator[Said]:
    """Which tasks, from whom to whom?"""
    cases, aside = found.cases, found.put_aside
    if not found.trusted:
        yield doubt(found)
    elif found.pruned:
        yield from _pruned(found)
    elif not cases and not aside:
        yield Said("None: no task changed hands.", found.ends(), whole=True)
    yield from map(handed_over, cases)
    yield from map(set_aside, aside)


def actions(found: Findings) -> Iterator[Said]:
    """What to do now?"""
    if not found.trusted:
        if found.doubtful:
            yield Said(
                "Copy the store away before anything else, and find out who wrote to it.",
                (),
                "baton ledger verify",
            )
        else:
            yield Said("Export the ledger again; this copy of it is cut off.", ())
        return
    told = list(_todo(found))
    if told:
        yield from told
    else:
        yield Said("Nothing: no task waits for anybody.", found.ends(), whole=True)


#: What to do about a task in a state, and the verb for it.
_TODO: Mapping[TaskState, tuple[str, str]] = {
    _T.QUARANTINED: ("Find out what in {} ends its workers, then begin a new run", "retry"),
    _T.FAILED: ("See why {} failed, then begin a new run if that helps", "retry"),
    _T.INTERRUPTED: ("Answer what {} asks", "resume"),
}


def _todo(found: Findings) -> Iterator[Said]:
    judged = found.judged
    if judged is not None and judged.outcome is Outcome.FAIL:
        broken = (line for one in judged.broken for line in witnesses(found, one))
        text = "Stop the fleet and keep the store: a guarantee was broken."
        yield Said(text, tuple(broken), "baton ledger verify --continuity")
    for task in found.tasks:
        name = task.task_id
        if task.orphaned:
            text = f"See that a worker with room runs for the pool of {name}."
            yield Said(text, (task.last,), f"baton tasks show {shlex.quote(name)}")
        elif task.state in _TODO:
            text, verb = _TODO[task.state]
            value = " --value JSON" if verb == "resume" else ""
            command = f"baton tasks {verb} {shlex.quote(name)}{value}"
            yield Said(f"{text.format(name)}.", (task.last,), command)
    refused = found.history.refusals
    for worker in sorted({event.worker_id for event in refused if event.worker_id}):
        lines = tuple(event for event in refused if event.worker_id == worker)
        text = f"Look at the host of {worker}: it stood still or was cut off, and came back."
        yield Said(text, lines, f"baton ledger timeline --worker {shlex.quote(worker)}")


def slowness(found: Findings) -> Iterator[Said]:
    """Why did it take as long?"""
    if not found.trusted:
        yield doubt(found)
        return
    yield from _pruned(found)
    cases = found.cases
    known = [(case, said) for case in cases if (said := took(case, found.whole)) is not None]
    if not cases:
        if not found.pruned:
            text = "Nothing was taken over, so nothing took long."
            yield Said(text, found.ends(), whole=True)
    elif not known:
        text = "No takeover has been restored, so none has a latency."
        yield Said(text, tuple(case.claim for case in cases))
    else:
        slowest = max((case for case, _ in known), key=lambda case: case.takeover.latency_us or 0)
        longest = slowest.takeover.latency_us or 0
        text = f"The slowest of {times(len(known), 'takeover')} took {duration(longest)}."
        yield Said(text, tuple(slowest.lines))
    yield from (said for _, said in known)
    yield from (one.said for one in measures(cases))


def recurrence(found: Findings) -> Iterator[Said]:
    """Will it recur?"""
    if not found.trusted:
        yield doubt(found)
        return
    cases = found.cases
    unplanned = [case for case in cases if case.takeover.reason in _LOST]
    lost = {place(case.lost): case.lost for case in unplanned if case.lost is not None}
    by_worker = Counter(event.worker_id or "a worker unknown" for event in lost.values())
    for worker, count in sorted(by_worker.items()):
        lines = tuple(
            one for one in lost.values() if (one.worker_id or "a worker unknown") == worker
        )
        reasons = some((one.reason or "unknown" for one in lines), 9)
        text = f"{worker} was lost {times(count, 'time')} while it held work ({reasons})"
        again = "; more than once is a pattern" if count > 1 else ""
        why = "; why is not in a ledger, but in the log of its host"
        yield Said(f"{text}{again}{why}.", lines)
    by_task = Counter(case.takeover.task_id for case in unplanned)
    for task_id, count in sorted(by_task.items()):
        if count > 1:
            lines = tuple(one.claim for one in unplanned if one.takeover.task_id == task_id)
            text = f"{task_id} lost its holder {times(count, 'time')}: it may be the cause itself."
            yield Said(text, lines)
    planned = [case for case in cases if case.takeover.reason is TakeoverReason.DRAINED]
    if planned:
        text = f"{times(len(planned), 'takeover')} planned, and will recur with every rotation."
        yield Said(text, tuple(case.claim for case in planned))
    if (bound := abandoned(cases)) is not None:
        yield bound.said
    if found.pruned:
        yield from _pruned(found)
    elif not cases:
        yield Said("Nothing happened that could.", found.ends(), whole=True)


#: The questions with their answers, in their order.
SECTIONS: tuple[tuple[str, str, Callable[[Findings], Iterator[Said]]], ...] = (
    ("over", "Is it over?", over),
    ("continuity", "Was anything lost or done twice?", continuity),
    ("handovers", "Which tasks, from whom to whom?", handovers),
    ("actions", "What to do now?", actions),
    ("slowness", "Why did it take as long?", slowness),
    ("recurrence", "Will it recur?", recurrence),
)
