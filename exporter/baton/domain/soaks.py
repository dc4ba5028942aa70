"""What a soak comes to, from what it counted: one judgement, one digest over all of its cycles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from baton.domain.continuity.concluding import Judgement

#: What a soak counts.
COUNTED = (
    "cycles",
    "passed",
    "failed",
    "inconclusive",
    "errors",
    "takeovers",
    "events",
    "faults_planned",
    "faults_fired",
    "violations",
    "simulated_us",
    "repeated",
    "differing",
)


def judgement_of(counts: Mapping[str, int]) -> Judgement:
    """What came of a soak as a whole: the worst of its cycles."""
    if counts["errors"]:
        return Judgement.ERROR
    if counts["failed"] or counts["differing"]:
        return Judgement.FAIL
    nothing = not counts["cycles"] or not counts["takeovers"] or not counts["faults_fired"]
    return Judgement.INCONCLUSIVE if counts["inconclusive"] or nothing else Judgement.PASS


def head_after(before: str, line: str) -> str:
    """The digest of all cycles up to one.

    Args:
        before: the digest of those before it.
        line: its record, as it is written.
    """
    return hashlib.sha256(f"{before}\n{line}".encode()).hexdigest()


def counts_of(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What some cycles counted, all together."""
    found = dict.fromkeys(COUNTED, 0)
    for record in records:
        for name in COUNTED:
            found[name] += record.get(name, 0)
    return found
