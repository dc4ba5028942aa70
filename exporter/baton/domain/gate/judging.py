"""From answers to results: doubt first, then the limit, then what rests on what, then waivers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from types import MappingProxyType

from baton.domain.gate.answers import Answer, Point, Track, finite, matrix_of, vector_of
from baton.domain.gate.policy import Criterion, Policy, in_order
from baton.domain.gate.words import Doubt, Reason, Status

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How well raw samples cover the window, by the worst of their series; times in seconds.

    Attributes:
        series: how many there are.
        found: samples of the series that has fewest.
        expected: samples that the window should have.
        newest_age: how old the newest sample is, of the series where it is oldest.
        begins_late: how long after the window its first sample is.
        gap: the longest time between two samples.
        resets: how often a value fell back.
    """

    series: int
    found: int
    expected: int
    newest_age: float
    begins_late: float
    gap: float
    resets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a criterion came to, before its limits.

    Attributes:
        value: what is compared.
        text: it in words.
        labels: the series that it is of.
        checked: how many things were looked at.
        broken: the code where the limit is not kept.
        pointers: where in each input it is, as JSON pointers by what the input is for.
        coverage: of the raw samples.
    """

    value: float
    text: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    checked: int = 0
    broken: Reason = Reason.THRESHOLD
    pointers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    coverage: Coverage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one criterion.

    Attributes:
        measured: what there was to compare; None where doubt came first.
        coverage: of the raw samples, also where they were doubted.
        notes: what else a reader should know.
    """

    id: str
    status: Status
    reason: Reason
    detail: str
    next_action: str
    measured: Measured | None = None
    coverage: Coverage | None = None
    margin: float | None = None
    notes: tuple[str, ...] = ()


def survey(tracks: Sequence[Track], policy: Policy, at: float) -> Coverage:
    """How well samples cover the policy's window.

    Raises:
        Doubt: there is no series at all.
    """
    if not tracks:
        raise Doubt(Reason.NO_DATA, "no series has a sample in the window")
    begin = at - policy.window_seconds
    return Coverage(
        series=len(tracks),
        found=min(len(track.times) for track in tracks),
        expected=max(1, int(policy.window_seconds / policy.interval_seconds)),
        newest_age=max(at - track.times[-1] for track in tracks),
        begins_late=max(track.times[0] - begin for track in tracks),
        gap=max(_gap(track.times) for track in tracks),
        resets=max(_falls(track.values) for track in tracks),
    )


def _gap(times: Sequence[float]) -> float:
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def _falls(values: Sequence[float]) -> int:
    return sum(b < a for a, b in itertools.pairwise(values))


def trust(found: Coverage, policy: Policy, resets_max: int | None) -> None:
    """Refuse samples that do not cover the window.

    Args:
        found: from ``survey``.
        policy: says what is enough.
        resets_max: how often the values may fall; None where they are no count.

    Raises:
        Doubt: they do not.
    """
    if found.newest_age > policy.stale_seconds:
        said = f"the newest sample is {found.newest_age:.1f} s old, over {policy.stale_seconds:g} s"
        raise Doubt(Reason.STALE, said)
    if found.begins_late > policy.gap_seconds:
        said = f"samples begin {found.begins_late:.1f} s after the window does"
        raise Doubt(Reason.SHORT_WINDOW, said)
    if found.gap > policy.gap_seconds:
        said = f"{found.gap:.1f} s without a sample, over {policy.gap_seconds:g} s"
        raise Doubt(Reason.GAP, said)
    if found.found < policy.coverage_min * found.expected:
        raise Doubt(Reason.LOW_COVERAGE, f"{found.found} samples of {found.expected}")
    if resets_max is not None and found.resets > resets_max:
        raise Doubt(Reason.RESET, f"a count fell back {found.resets} times")


def judge_query(
    criterion: Criterion,
    policy: Policy,
    at: float,
    answers: Mapping[str, Answer],
    *,
    counts: bool,
    tracks_of: Callable[[Answer, float, float], Sequence[Track]] = matrix_of,
) -> Result:
    """Judge a criterion that is a query.

    Args:
        criterion: what is asked.
        policy: what samples have to be like.
        at: the time that everything was asked about, Unix seconds.
        answers: by what they are for: ``query``, ``samples``, ``enough``.
        counts: whether the samples are those of a count, which may not fall.
        tracks_of: ``matrix_of``, or what remembers its results: many criteria rest on the same
            samples.
    """
    coverage: Coverage | None = None
    try:
        if criterion.samples:
            tracks = tracks_of(answers["samples"], at, policy.window_seconds)
            coverage = survey(tracks, policy, at)
            finite(value for track in tracks for value in track.values)
            trust(coverage, policy, criterion.resets_max if counts else None)
        if criterion.enough is not None:
            _enough(criterion.enough.at_least, vector_of(answers["enough"], at))
        measured = _measure(criterion, vector_of(answers["query"], at))
    except Doubt as doubt:
        return doubted(criterion, doubt, coverage)
    return compared(criterion, replace(measured, coverage=coverage))


def _enough(at_least: float, points: Sequence[Point]) -> None:
    if not points:
        raise Doubt(Reason.NO_DATA, "nothing says how often it happened")
    if len(points) > 1:
        raise Doubt(Reason.MULTI_SERIES, f"{len(points)} series say how often it happened")
    finite(point.value for point in points)
    if points[0].value < at_least:
        raise Doubt(Reason.LOW_SAMPLES, f"it happened {points[0].value:g} times of {at_least:g}")


def _measure(criterion: Criterion, points: Sequence[Point]) -> Measured:
    if not points:
        if criterion.empty_is is None:
            raise Doubt(Reason.NO_DATA, "the query has no series")
        return Measured(value=criterion.empty_is, text="no series, which is that value")
    if len(points) > 1 and not criterion.each:
        raise Doubt(Reason.MULTI_SERIES, f"{len(points)} series, and one was expected")
    if len(points) < criterion.series_min:
        raise Doubt(Reason.MISSING_SERIES, f"{len(points)} series of {criterion.series_min}")
    finite(point.value for point in points)
    place, worst = min(
        enumerate(points), key=lambda one: (criterion.must.margin(one[1].value), one[0])
    )
    return Measured(
        value=worst.value,
        text=f"the worst of {len(points)}" if len(points) > 1 else "",
        labels=dict(sorted(worst.labels.items())),
        checked=len(points),
        pointers={"query": f"/data/result/{place}/value/1"},
    )


def doubted(criterion: Criterion, doubt: Doubt, coverage: Coverage | None = None) -> Result:
    """The result of a criterion that could not be measured."""
    return Result(
        id=criterion.id,
        status=doubt.reason.status,
        reason=doubt.reason,
        detail=doubt.detail,
        next_action=doubt.reason.next_action or criterion.next_action,
        coverage=coverage,
    )


def compared(criterion: Criterion, measured: Measured) -> Result:
    """The result of a criterion that was measured."""
    limit = criterion.must
    reason, said = Reason.OK, f"{measured.value:g} {limit}"
    if not limit.holds(measured.value):
        reason, said = measured.broken, f"{measured.value:g} is not {limit}"
    elif criterion.should is not None and not criterion.should.holds(measured.value):
        limit = criterion.should
        reason, said = Reason.SOFT_LIMIT, f"{measured.value:g} should be {limit}"
    return Result(
        id=criterion.id,
        status=reason.status,
        reason=reason,
        detail="; ".join(filter(None, (said, measured.text))),
        next_action="" if reason is Reason.OK else criterion.next_action,
        measured=measured,
        coverage=measured.coverage,
        margin=criterion.must.margin(measured.value),
    )


def settle(policy: Policy, at: float, judge: Callable[[Criterion], Result]) -> list[Result]:
    """Judge every criterion in order; what rests on what does not hold is blocked.

    Args:
        policy: the criteria and the waivers.
        at: the time that everything was asked about; its day decides whether a waiver stands.
        judge: judges one criterion by itself.
    """
    today = datetime.fromtimestamp(at, UTC).date()
    found: dict[str, Result] = {}
    for criterion in in_order(policy.criteria):
        found[criterion.id] = _blocked(criterion, found) or _waived(
            policy, criterion, judge(criterion), today
        )
    return list(found.values())


def _blocked(criterion: Criterion, found: Mapping[str, Result]) -> Result | None:
    bad = [name for name in criterion.needs if not found[name].status.good]
    if not bad:
        return None
    return doubted(criterion, Doubt(Reason.BLOCKED, f"needs {', '.join(bad)}"))


def _waived(policy: Policy, criterion: Criterion, result: Result, today: date) -> Result:
    """A waiver covers what fails, never what is unknown."""
    waiver = policy.waiver(criterion.id)
    if waiver is None:
        return result
    said = f"{waiver.owner} answers for it until {waiver.expires}: {waiver.reason}"
    if result.status is not Status.FAIL:
        note = f"a waiver stands ready, and covers only what fails ({said})"
        return replace(result, notes=(*result.notes, note))
    if today > waiver.expires:
        note = f"the waiver of {waiver.owner} expired on {waiver.expires}"
        return replace(result, notes=(*result.notes, note))
    return replace(
        result,
        status=Status.WAIVED,
        reason=Reason.WAIVER,
        detail=f"{result.detail} ({result.reason})",
        notes=(*result.notes, said),
    )
