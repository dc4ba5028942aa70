"""What a policy says: criteria in order, what they need, and what somebody answers for."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType

#: What a criterion's id begins with: what it is about.
FAMILIES = ("COMP", "CONT", "COV", "FRESH", "LAT")

ID = re.compile(rf"(?:{'|'.join(FAMILIES)})-[A-Z0-9]+(?:-[A-Z0-9]+)*")

#: The row of the gate's own test among the results.
SELF_TEST = "GATE-SELF-TEST"

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
}
_LIMIT = re.compile(r"(<=|<|>=|>|==)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+)(ms|s|m|h|d)")


class Kind(StrEnum):
    """How a criterion comes by its value."""

    QUERY = "query"
    CATALOGUE = "catalogue"
    RULES = "rules"
    LEDGER = "ledger"
    ASSERTIONS = "assertions"
    REFUSALS = "refusals"
    AGREEMENT = "agreement"
    EVIDENCE = "evidence"


#: Kinds that are judged from the store's ledger.
FROM_LEDGER = frozenset({Kind.LEDGER, Kind.ASSERTIONS, Kind.REFUSALS, Kind.AGREEMENT})


@dataclass(frozen=True, slots=True)
class Limit:
    """A comparison with a number, such as ``<= 0.5``."""

    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read it.

        Raises:
            ValueError: it is no comparison.
        """
        found = _LIMIT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no comparison such as '<= 0.5' or '== 0'")
        return cls(found[1], float(found[2]))

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value keeps it; one that is no number keeps none."""
        return _OPERATORS[self.sign](value, self.bound)

    def margin(self, value: float) -> float:
        """How far a value is on the right side; below 0 it is on the wrong one."""
        if self.sign in ("<=", "<"):
            return self.bound - value
        if self.sign in (">=", ">"):
            return value - self.bound
        return -abs(value - self.bound)


@dataclass(frozen=True, slots=True)
class Enough:
    """What must have happened before a value means anything."""

    query: str
    at_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One criterion.

    Attributes:
        id: its name, also its section of docs/gate.md.
        question: what it answers, in plain words.
        why: what is at stake.
        next_action: what to do where it fails.
        kind: how it comes by its value.
        query: PromQL, for a query.
        samples: the selector whose raw samples have to cover the window before the value counts.
        each: every series is compared, and not just one expected.
        series_min: the least number of series.
        empty_is: what an empty answer means; None where it means nothing.
        enough: what must have happened.
        must: what fails where it does not hold.
        should: what is a reservation where it does not hold; None for nothing.
        unit: of the value.
        resets_max: how often a count in ``samples`` may fall back.
        needs: ids of criteria that it rests on.
        owner: who answers for it.
        waivable: whether a waiver may cover it.
        options: what its kind needs besides, by name.
    """

    id: str
    question: str
    why: str
    next_action: str
    kind: Kind
    query: str = ""
    samples: str = ""
    each: bool = False
    series_min: int = 1
    empty_is: float | None = None
    enough: Enough | None = None
    must: Limit
    should: Limit | None = None
    unit: str = ""
    resets_max: int = 0
    needs: tuple[str, ...] = ()
    owner: str = ""
    waivable: bool = True
    options: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def anchor(self) -> str:
        """Its section."""
        return self.id.lower()

    def option(self, name: str, default: str = "") -> str:
        """An option that has one value."""
        return self.options.get(name, (default,))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Somebody answers for a criterion that fails, up to and including a day."""

    criterion: str
    owner: str
    reason: str
    expires: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy.

    Attributes:
        name: what it is called.
        window_seconds: how far back the gate looks.
        interval_seconds: how far apart samples are.
        stale_seconds: how old the newest sample may be.
        gap_seconds: how far apart two samples may be.
        coverage_min: the part of the expected samples that has to be there.
        slack_seconds: how far the ledger's clock and Prometheus's may be apart.
        runbook: the page with a section for each criterion.
        criteria: in the order of the file.
        waivers: what somebody answers for.
        parameters: everything that queries may name as ``$name``.
    """

    name: str
    window_seconds: float
    interval_seconds: float
    stale_seconds: float
    gap_seconds: float
    coverage_min: float
    slack_seconds: float
    runbook: str
    criteria: tuple[Criterion, ...]
    waivers: tuple[Waiver, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def waiver(self, criterion: str) -> Waiver | None:
        """The waiver of a criterion."""
        return next((one for one in self.waivers if one.criterion == criterion), None)


def seconds_of(text: str) -> float:
    """A duration as Prometheus writes it, such as ``15m`` or ``1h30m``, in seconds.

    Raises:
        ValueError: it is none, or no time at all.
    """
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 15m or 1h30m")
    total = sum(int(count) * _UNITS[unit] for count, unit in _DURATION_PART.findall(text))
    if total <= 0:
        raise ValueError(f"{text!r} is no time at all")
    return total


def in_order(criteria: Iterable[Criterion]) -> tuple[Criterion, ...]:
    """Criteria after those that they need, otherwise in the order in which they are given.

    Raises:
        ValueError: one needs what is not there, or in the end itself.
    """
    by_id = {one.id: one for one in criteria}
    done: dict[str, Criterion] = {}

    def visit(one: Criterion, path: tuple[str, ...]) -> None:
        if one.id in done:
            return
        if one.id in path:
            raise ValueError(f"{' needs '.join((*path, one.id))}")
        for name in one.needs:
            if name not in by_id:
                raise ValueError(f"{one.id} needs {name}, which is no criterion")
            visit(by_id[name], (*path, one.id))
        done[one.id] = one

    for one in by_id.values():
        visit(one, ())
    return tuple(done.values())
