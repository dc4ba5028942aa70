"""What a performed scenario shows: its assertions, its expectations, one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from baton.domain.continuity import judge, lease_words
from baton.domain.continuity.model import Expected, FaultFact, Outcome, Verdict
from baton.domain.ledger import Event
from baton.domain.words import EventType
from baton.prove.scenarios.engine import AlertFact, Performance
from baton.prove.scenarios.model import Expect, Range, Scenario


class Judgement(StrEnum):
    """What came of a scenario, the best first."""

    PASS = "PASS"  # noqa: S105 - a verdict, and no password
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    ERROR = "ERROR"


#: What the command ends with.
EXIT_CODES = {
    Judgement.PASS: 0,
    Judgement.FAIL: 1,
    Judgement.INCONCLUSIVE: 2,
    Judgement.ERROR: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One expectation of a scenario, held against what happened.

    Attributes:
        name: what was expected to be so.
        met: whether it was; None where this engine does not tell.
        text: what was found.
    """

    name: str
    met: bool | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one scenario.

    Attributes:
        verdicts: of all assertions, those included that the scenario does not ask for.
        asked: the assertions that it asks for.
    """

    judgement: Judgement
    reason: str
    verdicts: tuple[Verdict, ...] = ()
    asked: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def worst(judgements: Iterable[Judgement]) -> Judgement:
    """The worst of several; INCONCLUSIVE if there are none."""
    order = list(Judgement)
    return max(judgements, key=order.index, default=Judgement.INCONCLUSIVE)


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


def conclude(scenario: Scenario, performance: Performance) -> Result:
    """Judge a performance.

    Args:
        scenario: the scenario.
        performance: what it left behind.
    """
    verdicts = judge(performance.trial)
    findings = tuple(_findings(scenario, performance))
    judgement, reason = _verdict(scenario.expect.assertions, verdicts, findings)
    if judgement is Judgement.PASS and performance.unwatched:
        for finding in findings:
            if finding.met is None:
                judgement, reason = Judgement.INCONCLUSIVE, f"{finding.name}: {finding.text}"
                break
    return Result(
        judgement=judgement,
        reason=reason,
        verdicts=verdicts,
        asked=scenario.expect.assertions,
        findings=findings,
    )


def _verdict(
    asked: Iterable[str], verdicts: Iterable[Verdict], findings: Iterable[Finding]
) -> tuple[Judgement, str]:
    wanted = [verdict for verdict in verdicts if verdict.assertion in set(asked)]
    broken = [verdict for verdict in wanted if verdict.outcome is Outcome.FAIL]
    for verdict in broken:
        # Where one of V1 to V3 fails it is not the fleet that failed: nothing was shown.
        if not verdict.assertion.startswith("V"):
            return Judgement.FAIL, f"{verdict.assertion}: {verdict.text}"
    for verdict in broken:
        return Judgement.INCONCLUSIVE, f"{verdict.assertion}: {verdict.text}"
    for finding in findings:
        if finding.met is False:
            return Judgement.FAIL, f"{finding.name}: {finding.text}"
    for verdict in wanted:
        if verdict.outcome is Outcome.UNKNOWN:
            return Judgement.INCONCLUSIVE, f"{verdict.assertion}: {verdict.text}"
    return Judgement.PASS, ""


def _findings(scenario: Scenario, performance: Performance) -> Iterator[Finding]:
    expect, events = scenario.expect, performance.trial.events
    takeovers = sum(event.type == EventType.CLAIMED and bool(event.reason) for event in events)
    refusals = sum(event.type == EventType.WRITE_REFUSED for event in events)
    duplicates = sum(event.type == EventType.EFFECT_DEDUPLICATED for event in events)
    yield _counted("takeovers", expect.takeovers, takeovers)
    yield _counted("refused writes", expect.refusals, refusals)
    yield _counted("recognised effects", expect.duplicates, duplicates)
    yield from _alerts(expect, performance)


def _alerts(expect: Expect, performance: Performance) -> Iterator[Finding]:
    """What became of the alerts that a scenario speaks of."""
    if performance.alerts is None:
        why = performance.unwatched
        text = f"not evaluated: {why}" if why else "not evaluated by this engine"
        for name in expect.alerts:
            yield Finding(name=f"alert {name}", met=None, text=text)
        for name in expect.silent:
            yield Finding(name=f"silence of {name}", met=None, text=text)
        return
    fired = {fact.name: fact for fact in performance.alerts}
    for name in expect.alerts:
        fact = fired.get(name)
        yield Finding(name=f"alert {name}", met=fact is not None, text=_alert_text(fact))
    for name in expect.silent:
        fact = fired.get(name)
        yield Finding(name=f"silence of {name}", met=fact is None, text=_alert_text(fact))


def _counted(name: str, wanted: Range, found: int) -> Finding:
    return Finding(name=name, met=found in wanted, text=f"{found}, and {wanted} expected")


def _alert_text(fact: AlertFact | None) -> str:
    if fact is None:
        return "was silent"
    ended = fact.resolved_after_seconds
    then = "and did not end" if ended is None else f"and ended after {ended:.1f} s"
    return f"fired after {fact.fired_after_seconds:.1f} s {then}"
