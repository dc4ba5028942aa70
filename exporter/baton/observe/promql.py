"""PromQL from the catalogue: expressions that can only name metrics and labels that exist.

An expression knows the labels of its result, so a wrong label is refused where it is written and
not by a dashboard that stays empty. Only what the boards and rules need is here; the language is
https://prometheus.io/docs/prometheus/latest/querying/basics/, in the part that 2.42 knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from baton.domain.metric import Metric, MetricType, Source

#: Labels that a scrape attaches to whatever a target serves.
TARGET_LABELS = frozenset({"cluster", "namespace", "job", "instance"})
#: Labels that service discovery attaches to a worker's own metrics.
WORKER_TARGET_LABELS = frozenset({"worker", "pool"})

_OR, _AND, _COMPARE, _ADD, _MULTIPLY, _ATOM = range(6)
_BINDS = {
    **dict.fromkeys(("or",), _OR),
    **dict.fromkeys(("and", "unless"), _AND),
    **dict.fromkeys(("==", "!=", ">", ">=", "<", "<="), _COMPARE),
    **dict.fromkeys(("+", "-"), _ADD),
    **dict.fromkeys(("*", "/"), _MULTIPLY),
}


class Regex(str):
    """A label value that is a regular expression, or a dashboard's variable."""

    __slots__ = ()


class Not(str):
    """Any label value but this one."""

    __slots__ = ()


#: A label's wanted value: exactly this, one of these, or whatever the expression matches.
Wanted = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expr:
    """One expression; ``str`` of it is PromQL.

    Attributes:
        text: as Prometheus reads it.
        labels: the labels that its series can have.
        binds: how tightly its outermost operator binds, for parentheses.
    """

    text: str
    labels: frozenset[str] = frozenset()
    binds: int = _ATOM

    def __str__(self) -> str:
        """As Prometheus reads it."""
        return self.text

    def __add__(self, other: Expr | float) -> Expr:
        """The sum of series with equal labels."""
        return self.op("+", other)

    def __sub__(self, other: Expr | float) -> Expr:
        """The difference of series with equal labels."""
        return self.op("-", other)

    def __mul__(self, other: Expr | float) -> Expr:
        """The product of series with equal labels."""
        return self.op("*", other)

    def __truediv__(self, other: Expr | float) -> Expr:
        """The quotient of series with equal labels."""
        return self.op("/", other)

    def __gt__(self, other: Expr | float) -> Expr:
        """The series that are above."""
        return self.op(">", other)

    def __ge__(self, other: Expr | float) -> Expr:
        """The series that are above or equal."""
        return self.op(">=", other)

    def __lt__(self, other: Expr | float) -> Expr:
        """The series that are below."""
        return self.op("<", other)

    def __le__(self, other: Expr | float) -> Expr:
        """The series that are below or equal."""
        return self.op("<=", other)

    def equals(self, other: Expr | float) -> Expr:
        """The series that are equal to ``other``."""
        return self.op("==", other)

    def op(
        self,
        operator: str,
        other: Expr | float,
        *,
        on: Iterable[str] | None = None,
        many: bool = False,
        bring: Iterable[str] = (),
    ) -> Expr:
        """This and another expression, joined by a binary operator.

        Args:
            operator: as PromQL writes it.
            other: the right side, the one of fewer series if the join is many to one.
            on: the labels that have to be equal; all of them by default.
            many: many series here meet one of ``other`` (``group_left``).
            bring: labels to copy from ``other``, with ``many``.

        Raises:
            ValueError: ``on`` or ``bring`` names a label that a side does not have.
        """
        right = other if isinstance(other, Expr) else number(other)
        wanted, brought = tuple(on or ()), tuple(bring)
        _check(self, wanted)
        _check(right, (*wanted, *brought))
        words = [operator]
        if on is not None:
            words.append(f"on ({', '.join(wanted)})")
        binds = _BINDS[operator]
        of_right = _side(right, binds + 1)
        if many:
            # Without labels of its own it would take a parenthesis that follows for its list.
            listed = f" ({', '.join(brought)})" if brought or of_right.startswith("(") else ""
            words.append(f"group_left{listed}")
        # What a person has to take in one by one stands in lines of its own.
        breaks = binds <= _AND or on is not None
        glue = "\n" if breaks else " "
        text = f"{_side(self, binds)}{glue}{' '.join(words)} {of_right}"
        return Expr(text, self._labels_with(operator, right, on, many=many, bring=brought), binds)

    def _labels_with(
        self,
        operator: str,
        right: Expr,
        on: Iterable[str] | None,
        *,
        many: bool,
        bring: Iterable[str],
    ) -> frozenset[str]:
        """What remains of the labels: one-to-one arithmetic keeps those that it matched on."""
        if operator == "or":
            return self.labels | right.labels
        if many:
            return self.labels | frozenset(bring)
        arithmetic = _BINDS[operator] >= _ADD
        return frozenset(on) if on is not None and arithmetic else self.labels

    def unless(self, other: Expr, on: Iterable[str] | None = None) -> Expr:
        """The series here that have no partner in ``other``."""
        return self.op("unless", other, on=on)

    def where(self, other: Expr, on: Iterable[str] | None = None) -> Expr:
        """The series here that have a partner in ``other``."""
        return self.op("and", other, on=on)

    def otherwise(self, other: Expr) -> Expr:
        """The series here, and those of ``other`` that have no partner here."""
        return self.op("or", other)


def _side(expr: Expr, binds: int) -> str:
    return expr.text if expr.binds >= binds else f"({expr.text})"


def _check(expr: Expr, wanted: Iterable[str]) -> None:
    if odd := sorted(set(wanted) - expr.labels):
        raise ValueError(f"{expr.text} has no label {', '.join(odd)}")


def number(value: float) -> Expr:
    """A scalar, written as short as possible."""
    return Expr(f"{value:.12g}")


def now() -> Expr:
    """The time of evaluation, Unix seconds; a scalar."""
    return Expr("time()")


def age(timestamps: Expr) -> Expr:
    """How long ago each of the timestamps was, in seconds."""
    return Expr(f"time() - {_side(timestamps, _MULTIPLY)}", timestamps.labels, _ADD)


def age_at_scrape(selector: Expr) -> Expr:
    """How long ago each of the timestamps was when it was scraped, in seconds; below 0 to come.

    An alert has to ask like this: with ``time()`` the pause between two scrapes would count as
    silence, and at one scrape in a minute everybody would be silent.
    """
    return Expr(f"timestamp({selector.text}) - {selector.text}", selector.labels, _ADD)


def call(function: str, *arguments: Expr | float) -> Expr:
    """A function of instant vectors that keeps their labels, such as ``clamp_min`` or ``abs``."""
    given = [arg if isinstance(arg, Expr) else number(arg) for arg in arguments]
    labels = frozenset().union(*(arg.labels for arg in given))
    return Expr(f"{function}({', '.join(arg.text for arg in given)})", labels)


def over(function: str, expr: Expr, window: str, step: str | None = None) -> Expr:
    """A function over time, such as ``min_over_time``.

    Args:
        function: its name.
        expr: a selector, or with ``step`` any expression, which is then a subquery.
        window: how far back, such as ``5m``.
        step: the distance of a subquery's points; empty for the server's own.
    """
    reach = f"[{window}]" if step is None else f"[{window}:{step}]"
    inner = expr.text if step is None else _side(expr, _ATOM)
    return Expr(f"{function}({inner}{reach})", expr.labels)


def aggregate(operator: str, expr: Expr, by: Iterable[str] = ()) -> Expr:
    """One series for each combination of the labels ``by``, in the order in which they are given.

    Raises:
        ValueError: the expression has no such label.
    """
    kept = tuple(by)
    _check(expr, kept)
    clause = f" by ({', '.join(kept)}) " if kept else ""
    return Expr(f"{operator}{clause}({expr.text})", frozenset(kept))


def total(expr: Expr, by: Iterable[str] = ()) -> Expr:
    """The sum."""
    return aggregate("sum", expr, by)


def largest(expr: Expr, by: Iterable[str] = ()) -> Expr:
    """The maximum; also one of two exporters' equal answers about the same store."""
    return aggregate("max", expr, by)


def smallest(expr: Expr, by: Iterable[str] = ()) -> Expr:
    """The minimum."""
    return aggregate("min", expr, by)


def earlier(selector: Expr, ago: str) -> Expr:
    """A selector's series as they were some time ago, such as ``10m``."""
    return Expr(f"{selector.text} offset {ago}", selector.labels)


def also(selector: Expr, label: str, wanted: Wanted) -> Expr:
    """A selector with one more matcher, also of a label that it matches already.

    Raises:
        ValueError: the selector has no such label, or no matcher yet.
    """
    _check(selector, (label,))
    if not selector.text.endswith("}"):
        raise ValueError(f"{selector.text} is no selector with matchers")
    return Expr(f"{selector.text[:-1]}, {_matcher(label, wanted)}}}", selector.labels)


def absent(expr: Expr) -> Expr:
    """One series if there is none."""
    return Expr(f"absent({expr.text})")


def recorded(name: str, labels: Iterable[str], **matchers: Wanted) -> Expr:
    """The series that a recording rule writes, or that Prometheus makes, such as ``up``.

    Args:
        name: its name.
        labels: the labels it has.
        matchers: wanted label values.
    """
    has = frozenset(labels)
    return _selector(name, has, matchers)


class Scope:
    """The matchers that every selector of a board or of a rule file carries.

    A matcher applies where the metric has its label: the scope's pool narrows the metrics that
    speak of pools and leaves the others alone.
    """

    def __init__(self, attached: Iterable[str] = (), /, **matchers: Wanted) -> None:
        """Keep the matchers; ``Scope(("region",), job=Regex("$job"), pool=Regex("$pool"))``.

        Args:
            attached: labels that this installation attaches to its targets, beside
                ``TARGET_LABELS``.
            matchers: wanted label values.
        """
        self._attached = frozenset(attached)
        self._matchers: Mapping[str, Wanted] = matchers

    def series(self, metric: Metric, suffix: str = "", **matchers: Wanted) -> Expr:
        """The series of a metric.

        Args:
            metric: a constant of the catalogue.
            suffix: ``_bucket``, ``_count`` or ``_sum`` for a histogram.
            matchers: wanted label values; ``**{"from": …}`` for a label that is a word of Python.

        Raises:
            ValueError: the metric has no such sample, label or value.
        """
        name = metric.name + suffix
        if name not in metric.sample_names:
            raise ValueError(f"metric {metric.name} has no sample {name}")
        labels = labels_of(metric, suffix) | self._attached
        mine = {key: value for key, value in self._matchers.items() if key in labels}
        _check_values(metric, matchers)
        return _selector(name, labels, {**mine, **matchers})

    def state(self, metric: Metric, *states: str) -> Expr:
        """The series of a state set for one or several of its states: 1 for the one it is in."""
        wanted: dict[str, Wanted] = {metric.name: states if len(states) > 1 else states[0]}
        return self.series(metric, "", **wanted)

    def rate(self, metric: Metric, window: str, suffix: str = "", **matchers: Wanted) -> Expr:
        """By how much a count rises each second; arguments as of ``series``.

        Raises:
            ValueError: the metric does not count.
        """
        return self._rising("rate", metric, window, suffix, matchers)

    def increase(self, metric: Metric, window: str, suffix: str = "", **matchers: Wanted) -> Expr:
        """By how much a count rose in the window; arguments as of ``series``.

        Raises:
            ValueError: the metric does not count.
        """
        return self._rising("increase", metric, window, suffix, matchers)

    def quantile(
        self, q: float, metric: Metric, window: str, by: Iterable[str] = (), **matchers: Wanted
    ) -> Expr:
        """A quantile of a histogram over the window, for each combination of the labels ``by``.

        Args:
            q: from 0 to 1.
            metric: a histogram of the catalogue.
            window: how far back.
            by: the labels to tell apart.
            matchers: wanted label values.

        Raises:
            ValueError: the metric is no histogram, or has no such label.
        """
        kept = tuple(by)
        buckets = total(self.rate(metric, window, "_bucket", **matchers), ("le", *kept))
        return Expr(f"histogram_quantile({q:g}, {buckets.text})", frozenset(kept))

    def _rising(
        self,
        function: str,
        metric: Metric,
        window: str,
        suffix: str,
        matchers: Mapping[str, Wanted],
    ) -> Expr:
        if metric.type not in (MetricType.COUNTER, MetricType.HISTOGRAM):
            raise ValueError(f"metric {metric.name} is no count, so {function} means nothing")
        return over(function, self.series(metric, suffix, **matchers), window)


def labels_of(metric: Metric, suffix: str = "") -> frozenset[str]:
    """Every label that a series of the metric can have once it is scraped."""
    own = frozenset(metric.series_labels) | TARGET_LABELS
    bucket = frozenset({"le"}) if suffix == "_bucket" else frozenset()
    attached = WORKER_TARGET_LABELS if metric.source is Source.WORKER else frozenset()
    return own | bucket | attached


def _selector(name: str, labels: frozenset[str], matchers: Mapping[str, Wanted]) -> Expr:
    if odd := sorted(set(matchers) - labels):
        raise ValueError(f"{name} has no label {', '.join(odd)}")
    inside = ", ".join(_matcher(label, matchers[label]) for label in sorted(matchers))
    return Expr(name + (f"{{{inside}}}" if inside else ""), labels)


def _matcher(label: str, wanted: Wanted) -> str:
    if isinstance(wanted, Regex):
        return f'{label}=~"{_quoted(wanted)}"'
    if isinstance(wanted, Not):
        return f'{label}!="{_quoted(wanted)}"'
    if isinstance(wanted, tuple):
        return f'{label}=~"{_quoted("|".join(wanted))}"'
    return f'{label}="{_quoted(wanted)}"'


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"")


def _check_values(metric: Metric, matchers: Mapping[str, Wanted]) -> None:
    """Refuse a value that the label can never have, where the catalogue knows its values."""
    for label, wanted in matchers.items():
        known = metric.states if label == metric.name else ()
        if label in metric.known.labels:
            known = metric.known.values(label)
        if label == "le":
            known = metric.bounds
        if not known or isinstance(wanted, Regex):
            continue
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        if odd := [value for value in values if value not in known]:
            raise ValueError(f"metric {metric.name} has no {label} {', '.join(odd)}")
