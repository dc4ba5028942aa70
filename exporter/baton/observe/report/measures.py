"""The figures of a report: time by phase and reason, and what no failure in few tries shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from baton.domain.ledger import Event
from baton.domain.samples import ALL_SHOWN, Sample, highest_rate, sample
from baton.domain.words import TakeoverOutcome, TakeoverPhase, TakeoverReason
from baton.observe.report.history import Case
from baton.observe.report.telling import LATENCY, Said, length_us, phase_lines, times
from baton.observe.wording import duration

#: What is measured of a takeover: the phases that latency consists of, latency, and progress,
#: which contains the time of the user's own nodes.
MEASURES = (*(phase.value for phase in LATENCY), "latency", TakeoverPhase.PROGRESS.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure of the takeovers of one reason."""

    name: str
    reason: TakeoverReason
    sample: Sample
    said: Said

    def to_dict(self) -> dict[str, Any]:
        """Plain values, times in seconds."""
        found = self.sample
        between = found.middle_between
        return {
            "measure": self.name,
            "reason": self.reason.value,
            "unit": "seconds",
            "n": found.n,
            "values": None if found.values is None else [seconds(us) for us in found.values],
            "min": seconds(found.least),
            "median": seconds(found.middle),
            "median_95_percent_interval": None if between is None else [*map(seconds, between)],
            "max": seconds(found.greatest),
            "p95": None if found.p95 is None else seconds(found.p95),
        }


def seconds(us: float) -> float:
    """Microseconds in seconds."""
    return round(us / 1e6, 6)


def measures(cases: Sequence[Case]) -> Iterator[Measure]:
    """Every figure there is something to say about; reasons are never mixed."""
    for reason in TakeoverReason:
        for name in MEASURES:
            found = [
                (us, lines)
                for case in cases
                if case.takeover.reason is reason and (us := _of(case, name)) is not None
                for lines in [_lines(case, name)]
            ]
            figures = sample(us for us, _ in found)
            if figures is not None:
                lines = tuple(line for _, told in found for line in told)
                said = Said(_sentence(name, reason, figures), lines)
                yield Measure(name=name, reason=reason, sample=figures, said=said)


def _of(case: Case, name: str) -> int | None:
    return length_us(case.takeover, None if name == "latency" else TakeoverPhase(name))


def _lines(case: Case, name: str) -> tuple[Event, ...]:
    if name != "latency":
        return phase_lines(case, TakeoverPhase(name))
    return tuple(event for event in (case.claim, case.restored) if event is not None)


def _sentence(name: str, reason: TakeoverReason, found: Sample) -> str:
    head = f"{name} after {reason.value}, n = {found.n}: "
    if found.n == 1:
        return f"{head}{duration(found.greatest)}, and one value is no distribution"
    least, middle, most = (
        duration(round(us)) for us in (found.least, found.middle, found.greatest)
    )
    told = f"{head}min {least}, median {middle}, max {most}"
    if found.middle_between is not None:
        low, high = map(duration, found.middle_between)
        told += f" (95% interval of the median {low} to {high})"
    if found.p95 is not None:
        return f"{told}, p95 {duration(found.p95)}"
    few = "" if found.n > ALL_SHOWN else ", all values in report.json"
    return f"{told}; too few for percentiles{few}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How often something that did not happen may still happen.

    Attributes:
        what: what was looked for.
        failures: how often it was seen.
        tries: in how many tries.
        highest_rate: the highest rate that no failure leaves likely; None where one was seen.
    """

    what: str
    failures: int
    tries: int
    highest_rate: float | None
    said: Said

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        rate = self.highest_rate
        return {
            "what": self.what,
            "failures": self.failures,
            "tries": self.tries,
            "highest_rate_95_percent": None if rate is None else round(rate, 6),
        }


def abandoned(cases: Sequence[Case]) -> Bound | None:
    """Takeovers whose successor was lost too; None if none has come to an end yet."""
    ended = [case for case in cases if case.takeover.outcome is not None]
    if not ended:
        return None
    failed = [case for case in ended if case.takeover.outcome is TakeoverOutcome.ABANDONED]
    lines = tuple(line for case in failed or ended for line in case.lines[-1:])
    text = f"{len(failed)} of {times(len(ended), 'takeover')} lost the successor as well"
    rate = None
    if not failed:
        rate = highest_rate(len(ended))
        text += (
            f"; so few show no more than a rate below {rate:.1%}, and only if they were"
            " independent, which takeovers of one incident are not"
        )
    return Bound(
        what="abandoned takeovers",
        failures=len(failed),
        tries=len(ended),
        highest_rate=rate,
        said=Said(f"{text}.", lines),
    )
