"""Parity: what two engines make of one scenario, without times, names and the kernel's own ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from baton.domain.continuity import lease_words
from baton.domain.continuity.concluding import Beside, with_beside
from baton.prove.scenarios.engine import Performance
from baton.prove.scenarios.judging import Finding, Judgement, Result
from baton.prove.scenarios.model import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A ledger as far as engines have to agree on it.

    Attributes:
        lease: the lease word of each task.
        outcomes: of each assertion that the scenario asks for.
    """

    lease: Mapping[str, str]
    outcomes: Mapping[str, str]


def projected(performance: Performance, result: Result) -> Projection:
    """What is to agree of a judged performance."""
    return Projection(
        lease=lease_words(performance.trial.events),
        outcomes={
            verdict.assertion: verdict.outcome.value
            for verdict in result.verdicts
            if verdict.assertion in result.asked
        },
    )


def apart(scenario: Scenario, one: Projection, other: Projection) -> Iterator[str]:
    """Where two projections disagree, in words.

    Two lease words agree if they are the same or both right by the scenario; where it names none
    for a task, if they have the same end.

    Args:
        scenario: what was performed.
        one: by one engine.
        other: by the other.
    """
    for task_id in scenario.topology.task_ids:
        words = tuple(side.lease.get(task_id, "") for side in (one, other))
        right = scenario.expect.lease.get(task_id)
        ends = {word[-1:] for word in words}
        same = len(ends) == 1 if right is None else set(words) <= set(right)
        if len(set(words)) > 1 and not same:
            yield f"{task_id} reads {words[0] or 'nothing'} here, and {words[1] or 'nothing'} there"
    for assertion in sorted({*one.outcomes, *other.outcomes}):
        here, there = (side.outcomes.get(assertion, "nothing") for side in (one, other))
        if here != there:
            yield f"{assertion} is {here} here, and {there} there"


def compared(result: Result, other: str, differences: tuple[str, ...] | None) -> Result:
    """A result that tells of the parity too; it fails where the engines disagree.

    Args:
        result: of the engine that was asked for.
        other: the name of the engine that it is held against.
        differences: from ``apart``; None if the other cannot perform the scenario.
    """
    met = None if differences is None else not differences
    text = "; ".join(differences or ()) or ("not performed there" if met is None else "the same")
    finding = Finding(name=f"parity with {other}", met=met, text=text)
    return with_beside(result, Beside(finding=finding, otherwise=Judgement.FAIL))
