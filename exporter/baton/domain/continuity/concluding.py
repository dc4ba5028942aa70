"""What a performed scenario shows: its assertions, its expectations, one verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from baton.domain.continuity import judge
from baton.domain.continuity.model import Outcome, Trial, Verdict
from baton.domain.words import EventType


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """How many of something are expected; None leaves an end open."""

    at_least: int = 0
    at_most: int | None = None

    def __contains__(self, count: int) -> bool:
        return self.at_least <= count and (self.at_most is None or count <= self.at_most)

    def __str__(self) -> str:
        if self.at_most is None:
            return f"{self.at_least} or more"
        return (
            str(self.at_least)
            if self.at_least == self.at_most
            else f"{self.at_least} to {self.at_most}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a scenario holds against what happened.

    Attributes:
        assertions: what must pass.
        takeovers: how many claims continue a run that another session left unfinished.
        refusals: how many writes the fence refuses.
        duplicates: how often an effect is recognised as recorded already.
        alerts: alerts that must fire.
        silent: alerts that must not.
    """

    assertions: tuple[str, ...]
    takeovers: Range = field(default_factory=Range)
    refusals: Range = field(default_factory=Range)
    duplicates: Range = field(default_factory=Range)
    alerts: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def conclude(wanted: Wanted, trial: Trial, fired: Collection[str] | None) -> Result:
    """Judge a performance.

    Args:
        wanted: what the scenario asks for.
        trial: what it left behind.
        fired: the alerts that fired; None where nothing evaluated them.
    """
    verdicts = judge(trial)
    findings = tuple(_findings(wanted, trial, fired))
    judgement, reason = _verdict(wanted.assertions, verdicts, findings)
    return Result(
        judgement=judgement,
        reason=reason,
        verdicts=verdicts,
        asked=wanted.assertions,
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


def _findings(wanted: Wanted, trial: Trial, fired: Collection[str] | None) -> Iterator[Finding]:
    events = trial.events
    takeovers = sum(event.type == EventType.CLAIMED and bool(event.reason) for event in events)
    refusals = sum(event.type == EventType.WRITE_REFUSED for event in events)
    duplicates = sum(event.type == EventType.EFFECT_DEDUPLICATED for event in events)
    yield _counted("takeovers", wanted.takeovers, takeovers)
    yield _counted("refused writes", wanted.refusals, refusals)
    yield _counted("recognised effects", wanted.duplicates, duplicates)
    for name in wanted.alerts:
        met = None if fired is None else name in fired
        yield Finding(name=f"alert {name}", met=met, text=_alert_text(met, "fired", "was silent"))
    for name in wanted.silent:
        met = None if fired is None else name not in fired
        yield Finding(
            name=f"silence of {name}", met=met, text=_alert_text(met, "was silent", "fired")
        )


def _counted(name: str, wanted: Range, found: int) -> Finding:
    return Finding(name=name, met=found in wanted, text=f"{found}, and {wanted} expected")


def _alert_text(met: bool | None, yes: str, no: str) -> str:  # noqa: FBT001 - a state of three
    if met is None:
        return "not evaluated by this engine"
    return yes if met else no
