"""What no run could ever do: contradictions inside a scenario, told before anything is started."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from baton.prove.scenarios.model import HOLDER, STORE, SUCCESSOR, Do, Fault, Scenario
from baton.prove.scenarios.reader import Table

_LETTER = re.compile(r"H(\d+)|[XFIQDE]")
_ENDS = ("D", "E", "Q")

#: What each fault must say besides its name and its actor.
_NEEDS = {
    Do.DELAY: ("for_seconds",),
    Do.BLOCK_LOOP: ("at", "for_seconds"),
    Do.BARRIER: ("at",),
    Do.FAIL_WRITE: ("at",),
    Do.DROP_ACK: ("at",),
    Do.CLOCK_OFFSET: ("seconds",),
    Do.CLOCK_RATE: ("rate",),
    Do.RESUBMIT: ("task",),
}

#: The fields that only some faults have a use for.
_ONLY = {
    "seconds": (Do.CLOCK_OFFSET,),
    "rate": (Do.CLOCK_RATE,),
    "parties": (Do.BARRIER,),
    "of": (Do.OUTAGE, Do.DELAY, Do.DROP_ACK),
    "back_after_seconds": (Do.SIGKILL, Do.SIGTERM),
}


def check(scenario: Scenario, table: Table) -> None:
    """Refuse a scenario that contradicts itself.

    Args:
        scenario: as it was read.
        table: the file, for the lines.

    Raises:
        BadScenario: what contradicts what.
    """
    for key, what, mend in _contradictions(scenario):
        place = table.maybe(key) or table.place
        place.wrong(what, mend)
    known: set[str] = set()
    copied = False
    for place, fault in zip(
        table.need("faults").items() if "faults" in table else [], scenario.faults, strict=True
    ):
        for what, mend in _of_fault(fault, known, copied):
            place.wrong(f"fault {fault.name!r} {what}", mend)
        known.add(fault.name)
        copied = copied or fault.do is Do.SNAPSHOT


def _of_fault(fault: Fault, known: set[str], copied: bool) -> Iterator[tuple[str, str]]:  # noqa: FBT001 - private, and read where it is called
    if fault.name in known:
        yield "has the name of another", "give each fault its own name"
    if fault.after is not None and fault.after not in known:
        yield f"comes after {fault.after!r}, which is not above it", "name a fault further up"
    plain = Fault(name="", do=fault.do)
    for field in _NEEDS.get(fault.do, ()):
        if getattr(fault, field) == getattr(plain, field):
            yield f"says {fault.do} and not {field}", f"add `{field}: …`"
    for field, users in _ONLY.items():
        if getattr(fault, field) != getattr(plain, field) and fault.do not in users:
            yield f"has {field}, of which {fault.do} makes nothing", f"remove `{field}`"
    yield from _of_moment(fault)
    if fault.actor == STORE and fault.do not in (
        Do.CLOCK_OFFSET,
        Do.SNAPSHOT,
        Do.RESTORE,
        Do.OUTAGE,
    ):
        yield f"cannot {fault.do} the store", "choose another actor"
    if fault.do is Do.RESTORE and not copied:
        yield "puts back what nobody copied", "add a snapshot above it"
    if fault.rate <= 0:
        yield "lets time stand still", "write a rate above 0"


def _of_moment(fault: Fault) -> Iterator[tuple[str, str]]:
    if fault.at is not None:
        return
    if fault.nth > 1 or (fault.task and fault.do is not Do.RESUBMIT):
        yield "counts arrivals at no point", "add `at: …`"
    if fault.actor in (HOLDER, SUCCESSOR):
        yield f"has no point at which its {fault.actor} is known", "add `at: …` or name a worker"


def _contradictions(scenario: Scenario) -> Iterator[tuple[str, str, str]]:
    expect, faults = scenario.expect, scenario.faults
    if both := sorted(set(expect.alerts) & set(expect.silent)):
        yield "expect", f"alert {both[0]} must fire and be silent", "remove it from one list"
    if not faults and expect.takeovers.at_least:
        yield "expect", "takeovers are expected of nothing", "add a fault, or expect none"
    if not faults and expect.alerts:
        yield "expect", "alerts are expected of nothing", "add a fault, or expect none"
    fewest = most = 0
    for task, words in expect.lease.items():
        for word in words:
            if wrong := wrong_word(word):
                yield "expect", f"lease word {word!r} of {task} cannot be: {wrong}", "mend the word"
        counts = [takeovers_in(word) for word in words]
        fewest, most = fewest + min(counts), most + max(counts)
    if set(expect.lease) == set(scenario.topology.task_ids):
        wanted = expect.takeovers
        if most < wanted.at_least or (wanted.at_most is not None and fewest > wanted.at_most):
            yield (
                "expect",
                f"{wanted} takeovers are expected, and the lease words tell of {fewest} to {most}",
                "let them agree",
            )
    if loud := [
        t for t in expect.quiet_tasks if min(map(takeovers_in, expect.lease.get(t, ("H1 D",))))
    ]:
        yield "expect", f"task {loud[0]} is to be quiet and to be taken over", "choose one"


def takeovers_in(word: str) -> int:
    """How many takeovers a lease word tells of."""
    letters = word.split()
    return sum(
        after.startswith("H") and before in ("X", "F") for before, after in pairwise(letters)
    )


def wrong_word(word: str) -> str | None:
    """Why a lease word cannot be; None if it can."""
    held, epoch, before = False, 0, ""
    for letter in word.split():
        found = _LETTER.fullmatch(letter)
        if found is None:
            return f"{letter!r} is no letter of it"
        if before in _ENDS:
            return f"{letter} follows the end {before}"
        if found[1] is not None:
            if held:
                return f"{letter} follows {before}, which still holds"
            if int(found[1]) <= epoch:
                return f"{letter} does not raise the epoch {epoch}"
            held, epoch = True, int(found[1])
        elif letter == "Q":
            if before not in ("X", "F"):
                return "only a task that was left is put aside"
        elif not held:
            return f"{letter} is for a task that is held"
        else:
            held = False
        before = letter
    return None if before else "it is empty"
