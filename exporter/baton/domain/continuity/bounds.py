"""How fast and how calm (L1 to L4), and whether the trial shows anything at all (V1 to V3).

Where one of V1 to V3 fails, it is not the fleet that failed: the trial is inconclusive.
"""

from __future__ import annotations

from collections import deque

from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import FOUND, assertion, judged
from baton.domain.continuity.tally import NotJudgedError, Tally, line_of
from baton.domain.words import EventType

_E = EventType
_SECOND_US = 1_000_000


@assertion("L1", "Everything comes to an end", "Is every task over soon after the trouble ended?")
def progress(reading: Reading) -> Tally:
    """L1: everything comes to an end.

    Each accepted task (each submitted one, where nobody says) is done, failed, put aside or
    waits for an answer; no later than ``converge_within_us`` after ``healed_at_us``, if given.
    """
    trial, expected = reading.trial, reading.trial.expected
    timed = expected.healed_at_us is not None and expected.converge_within_us is not None
    if trial.accepted is None and not timed:
        raise NotJudgedError("the accepted tasks, or a moment by which they have to be over")
    until = (expected.healed_at_us or 0) + (expected.converge_within_us or 0) if timed else None
    tally = Tally()
    for task_id in sorted(reading.words if trial.accepted is None else trial.accepted):
        settled_at = reading.settled_at(task_id)
        wrong = None
        if settled_at is None:
            wrong = f"{task_id} came to no end"
        elif until is not None and settled_at > until:
            wrong = f"{task_id} was over {settled_at - until} us too late"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("L2", "Takeovers are quick", "Did any takeover take longer than it may?")
def takeovers_bounded(reading: Reading) -> Tally:
    """L2: takeovers are quick.

    For each restored takeover whose reason has a bound: detect + claim + restore <= the bound
    of its reason, in store time.
    """
    bounds = reading.trial.expected.takeover_max_us
    if bounds is None:
        raise NotJudgedError("bounds for takeovers")
    tally = Tally()
    for takeover in reading.takeovers:
        bound, took = bounds.get(takeover.reason), takeover.latency_us
        if bound is not None and took is not None:
            wrong = f"{takeover.task_id} took {took} us, and {bound} us is the most"
            tally.check(wrong if took > bound else None, reading.claim_line(takeover))
    return tally


@assertion("L3", "No stampede", "Were there too many claims or conflicts at once?")
def calm(reading: Reading) -> Tally:
    """L3: no stampede.

    In no second of store time, (t - 1 s, t] for the time t of any claim, are there more claims
    than the cap; and no more refused writes in all than the most expected.
    """
    expected = reading.trial.expected
    cap, most = expected.claims_per_second_max, expected.conflicts_max
    if cap is None and most is None:
        raise NotJudgedError("a cap for claims or conflicts")
    tally, window = Tally(), deque[tuple[int, str]]()
    events = reading.trial.events
    if cap is not None:
        claims = [(e.at, line_of(e)) for e in events if e.type == _E.CLAIMED]
        for at, line in sorted(claims):
            window.append((at, line))
            while window[0][0] <= at - _SECOND_US:
                window.popleft()
            wrong = f"{len(window)} claims in a second, and {cap} is the most"
            full = len(window) > cap
            tally.check(wrong if full else None, *((x for _, x in window) if full else (line,)))
    if most is not None:
        refused = [line_of(event) for event in events if event.type == _E.WRITE_REFUSED]
        wrong = f"{len(refused)} refused writes, and {most} is the most"
        if events:
            tally.check(wrong if len(refused) > most else None, *refused)
    return tally


@assertion("L4", "Nobody is taken who lives", "Was a task taken although its holder renewed?")
def no_false_takeover(reading: Reading) -> Tally:
    """L4: nobody is taken who lives.

    Each session lost by silence was silent for its TTL; no task that has to stay quiet is taken
    over; and there are as many takeovers of each reason as are expected.
    """
    tally, expected = reading.of_ledger("L4"), reading.trial.expected
    taken: dict[str, list[str]] = {}
    by_reason: dict[str, list[str]] = {}
    for takeover in reading.takeovers:
        line = reading.claim_line(takeover)
        taken.setdefault(takeover.task_id, []).append(line)
        by_reason.setdefault(takeover.reason, []).append(line)
    for task_id in expected.quiet:
        lines = taken.get(task_id)
        if task_id in reading.tasks:
            wrong = f"{task_id} was taken over" if lines else None
            tally.check(wrong, *(lines or [reading.last_line(task_id)]))
    if expected.takeovers is not None and reading.trial.events:
        due = expected.takeovers
        for reason in sorted({*due, *by_reason}):
            lines, wanted = by_reason.get(reason, []), due.get(reason, 0)
            wrong = f"{len(lines)} takeovers for {reason}, and {wanted} are expected"
            shown = lines or [line_of(reading.trial.events[-1])]
            tally.check(wrong if len(lines) != wanted else None, *shown)
    return tally


@assertion("V1", "The fault happened", "Was every fault that had to happen seen to?", "faults")
def fault_fired(reading: Reading) -> Tally:
    """V1: the fault happened.

    Each fault that must fire fired at least once, and an effect of it was observed from outside,
    such as the signal that waitpid tells of.
    """
    tally = Tally()
    lines: dict[object, list[str]] = {}
    for event in reading.trial.events:
        if event.type == _E.FAULT_INJECTED:
            lines.setdefault(event.data.get("fault"), []).append(line_of(event))
    for fault in reading.trial.faults or ():
        if fault.must_fire:
            wrong = None
            if not fault.fired:
                wrong = f"{fault.name} never fired"
            elif not fault.observed:
                wrong = f"{fault.name} fired, and nothing was seen of it"
            tally.check(wrong, *lines.get(fault.name, ()))
    return tally


@assertion("V2", "The checkers can fail", "Was each assertion seen to fail?", "mutants_killed")
def oracle_alive(reading: Reading) -> Tally:
    """V2: the checkers can fail.

    For each assertion that the scenario requires (each of C1 to C14 and L1 to L4, where it names
    none), a planted bug was seen to fail it in this build.
    """
    tally = Tally()
    required = reading.trial.expected.assertions or tuple(sorted(FOUND))
    for name in required:
        if not name.startswith("V"):
            alive = name in (reading.trial.mutants_killed or ())
            tally.check(None if alive else f"no planted bug was seen to fail {name}")
    return tally


@assertion("V3", "Something was checked", "Did every required assertion have anything to check?")
def non_empty(reading: Reading) -> Tally:
    """V3: something was checked.

    For each assertion that the scenario requires (C10, where it names none): it was judged, and
    more than 0 things were held against it.
    """
    tally = Tally()
    for name in reading.trial.expected.assertions or ("C10",):
        if name == "V3":
            continue
        verdict = judged(FOUND[name], reading)
        empty = not verdict.judged or not verdict.checked
        wrong = f"{name} had nothing to check ({verdict.text})" if empty else None
        tally.check(wrong, *verdict.witnesses[:1])
    return tally
