"""What a scenario expects, as the assertions take it, and what a performance of it shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from baton.domain.continuity import concluding, lease_words
from baton.domain.continuity.concluding import (
    EXIT_CODES,
    Finding,
    Judgement,
    Result,
    Wanted,
    worst,
)
from baton.domain.continuity.model import Expected, FaultFact
from baton.domain.ledger import Event
from baton.prove.scenarios.engine import Performance
from baton.prove.scenarios.model import Scenario

__all__ = [
    "EXIT_CODES",
    "Finding",
    "Judgement",
    "Result",
    "conclude",
    "expected_of",
    "fired_in",
    "wanted_of",
    "worst",
]


def expected_of(
    scenario: Scenario,
    events: Sequence[Event],
    faults: Iterable[FaultFact],
    *,
    healed_at_us: int,
) -> Expected:
    """What a scenario expects, as the assertions take it.

    Args:
        scenario: the scenario.
        events: the ledger; of several lease words that are right, the one that it has is meant.
        faults: what was seen of the faults: lease words are expected only if all happened.
        healed_at_us: store time from which nothing is disturbed any more.
    """
    expect, bounds = scenario.expect, scenario.expect.bounds
    happened = all(fact.fired for fact in faults if fact.must_fire)
    words = lease_words(events)
    lease = {
        task: words.get(task, "") if words.get(task) in right else right[0]
        for task, right in expect.lease.items()
    }
    converge = bounds.converge_seconds
    return Expected(
        lease=lease if happened else None,
        quiet=expect.quiet_tasks if happened else (),
        assertions=expect.assertions,
        takeover_max_us={
            reason: round(seconds * 1e6) for reason, seconds in bounds.takeover_seconds.items()
        }
        or None,
        claims_per_second_max=bounds.claims_per_second,
        conflicts_max=expect.refusals.at_most,
        healed_at_us=healed_at_us,
        converge_within_us=None if converge is None else round(converge * 1e6),
    )


def wanted_of(scenario: Scenario) -> Wanted:
    """What is held against what happened."""
    expect = scenario.expect
    return Wanted(
        assertions=expect.assertions,
        takeovers=expect.takeovers,
        refusals=expect.refusals,
        duplicates=expect.duplicates,
        alerts=expect.alerts,
        silent=expect.silent,
    )


def fired_in(performance: Performance) -> frozenset[str] | None:
    """The alerts that fired; None where nothing evaluated them."""
    if performance.alerts is None:
        return None
    return frozenset(fact.name for fact in performance.alerts)


def conclude(scenario: Scenario, performance: Performance) -> Result:
    """Judge a performance.

    Args:
        scenario: the scenario.
        performance: what it left behind.
    """
    return concluding.conclude(wanted_of(scenario), performance.trial, fired_in(performance))
