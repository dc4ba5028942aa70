"""What a performed scenario shows: its assertions, its expectations, one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
class Beside:
    """What was tried beside the performance: nothing that it left can tell of it.

    Attributes:
        finding: what it came to.
        otherwise: what becomes of a performance that passed, if it is not met.
    """

    finding: Finding
    otherwise: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one scenario.

    Attributes:
        verdicts: of all assertions, or where only those asked for are judged, of those.
        asked: the assertions that it asks for.
        findings: of the performance.
        beside: what was tried beside it.
    """

    judgement: Judgement
    reason: str
    verdicts: tuple[Verdict, ...] = ()
    asked: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    beside: tuple[Beside, ...] = ()

    @property
    def expectations(self) -> tuple[Finding, ...]:
        """Everything that was expected, of the performance and beside it."""
        return (*self.findings, *(one.finding for one in self.beside))


def with_beside(result: Result, one: Beside) -> Result:
    """A result that also tells of something that was tried beside the performance."""
    found = replace(result, beside=(*result.beside, one))
    if one.finding.met is False and result.judgement is Judgement.PASS:
        reason = f"{one.finding.name}: {one.finding.text}"
        return replace(found, judgement=one.otherwise, reason=reason)
    return found


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


def conclude(
    wanted: Wanted,
    trial: Trial,
    *,
    fired: Mapping[str, str] | None,
    unwatched: str = "",
    asked_only: bool = False,
) -> Result:
    """Judge a performance.

    Args:
        wanted: what the scenario asks for.
        trial: what it left behind.
        fired: the alerts that fired, and when; None where nothing evaluated them.
        unwatched: why nothing evaluated them although something had to; then what asks for an
            alert, or for its silence, cannot pass.
        asked_only: judge by the assertions that are asked for, and by no others.
    """
    verdicts = judge(trial, wanted.assertions if asked_only else None)
    findings = tuple(_findings(wanted, trial, fired, unwatched))
    judgement, reason = _verdict(wanted.assertions, verdicts, findings)
    if judgement is Judgement.PASS and unwatched:
        for finding in findings:
            if finding.met is None:
                judgement, reason = Judgement.INCONCLUSIVE, f"{finding.name}: {finding.text}"
                break
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


def _findings(
    wanted: Wanted, trial: Trial, fired: Mapping[str, str] | None, unwatched: str
) -> Iterator[Finding]:
    events = trial.events
    takeovers = sum(event.type == EventType.CLAIMED and bool(event.reason) for event in events)
    refusals = sum(event.type == EventType.WRITE_REFUSED for event in events)
    duplicates = sum(event.type == EventType.EFFECT_DEDUPLICATED for event in events)
    yield _counted("takeovers", wanted.takeovers, takeovers)
    yield _counted("refused writes", wanted.refusals, refusals)
    yield _counted("recognised effects", wanted.duplicates, duplicates)
    nobody = f"not evaluated: {unwatched}" if unwatched else "not evaluated by this engine"
    for name in wanted.alerts:
        met = None if fired is None else name in fired
        yield Finding(name=f"alert {name}", met=met, text=_seen(fired, name, nobody))
    for name in wanted.silent:
        met = None if fired is None else name not in fired
        yield Finding(name=f"silence of {name}", met=met, text=_seen(fired, name, nobody))


def _counted(name: str, wanted: Range, found: int) -> Finding:
    return Finding(name=name, met=found in wanted, text=f"{found}, and {wanted} expected")


def _seen(fired: Mapping[str, str] | None, name: str, nobody: str) -> str:
    return nobody if fired is None else fired.get(name, "was silent")
