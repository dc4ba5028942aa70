"""What is judged from more than a query: catalogue, rules, ledger, agreement, evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from baton.domain.catalogue import CATALOGUE, by_name
from baton.domain.continuity import ASSERTIONS, Outcome, Trial, judge
from baton.domain.folds import Fold
from baton.domain.gate.answers import Point, Track, finite
from baton.domain.gate.judging import Measured
from baton.domain.gate.words import Doubt, Reason
from baton.domain.ledger import Event
from baton.domain.metric import Metric, Source
from baton.domain.verify import verify
from baton.domain.words import EventType

_MICRO = 1e6
_NAMED = 3
_NAME = "__name__"
#: Prometheus writes the empty list of labels that everybody else leaves out.
_GROUPED = re.compile(r"(group_(?:left|right))(?!\()")


# The catalogue


def catalogue_served(points: Sequence[Point], optional: Iterable[str]) -> Measured:
    """How many metrics of the exporter are not served.

    Args:
        points: one series for each name, labelled with it.
        optional: metrics that may be absent for a good reason.

    Raises:
        Doubt: nothing is served at all.
    """
    if not points:
        raise Doubt(Reason.NO_DATA, "no metric of the catalogue has a series")
    served = {point.labels.get(_NAME) for point in points}
    wanted = [
        metric
        for metric in CATALOGUE
        if metric.source is Source.EXPORTER and metric.name not in set(optional)
    ]
    missing = [metric.name for metric in wanted if not served & set(metric.sample_names)]
    return Measured(
        value=len(missing),
        text=_some("missing", missing) if missing else f"{len(wanted)} metrics are there",
        checked=len(wanted),
        broken=Reason.MISSING_METRIC,
        pointers={"query": "/data/result"},
    )


# The rules

#: A rule of a file: its group, its name, its expression, its ``for``, its labels.
Rule = tuple[str, str, str, float, tuple[tuple[str, str], ...]]


def rules_loaded(data: Any, wanted: Sequence[Rule], at: float, stale_seconds: float) -> Measured:
    """How many rules of the repository are not loaded as they are, or cannot be evaluated.

    Args:
        data: what Prometheus says of its rules.
        wanted: the rules of the repository.
        at: the time of the gate, Unix seconds.
        stale_seconds: how long ago a rule may have been evaluated.

    Raises:
        Doubt: the answer is none, or rules were not evaluated yet.
    """
    loaded = list(_loaded(data))
    have = {(group, name, text) for group, name, text, *_ in (one[0] for one in loaded)}
    whole = {_plain(one[0]) for one in loaded}
    names = {(rule[0], rule[1]) for rule, _ in loaded}
    absent = [rule for rule in wanted if (rule[0], rule[1]) not in names]
    differ = [rule for rule in wanted if rule not in absent and _plain(rule) not in whole]
    known = {(rule[0], rule[1]) for rule in wanted}
    own = [(rule, about) for rule, about in loaded if (rule[0], rule[1]) in known]
    failing = [rule for rule, about in own if about.get("health") == "err"]
    pointers = {"rules": "/data/groups"}
    for reason, found in (
        (Reason.RULES_NOT_LOADED, absent),
        (Reason.RULES_DIFFER, differ),
        (Reason.RULES_FAILING, failing),
    ):
        if found:
            return Measured(
                value=len(found),
                text=_some(str(reason), list(dict.fromkeys(rule[1] for rule in found))),
                checked=len(wanted),
                broken=reason,
                pointers=pointers,
            )
    if not have:
        raise Doubt(Reason.NOT_JUDGED, "the repository has no rules to compare with")
    late = [rule[1] for rule, about in own if _age(about, at) > stale_seconds]
    if late:
        raise Doubt(Reason.RULES_NOT_EVALUATED, _some("not lately", late))
    return Measured(
        value=0, text=f"{len(wanted)} rules are loaded", checked=len(wanted), pointers=pointers
    )


def _loaded(data: Any) -> Iterable[tuple[Rule, Mapping[str, Any]]]:
    groups = data.get("groups") if isinstance(data, dict) else None
    if not isinstance(groups, list):
        raise Doubt(Reason.WRONG_SHAPE, "the rules have no groups")
    for group in groups:
        try:
            for rule in group["rules"]:
                labels = dict(rule.get("labels") or {})
                key = tuple(sorted((str(name), str(value)) for name, value in labels.items()))
                hold = float(rule.get("duration") or 0.0)
                yield (group["name"], rule["name"], str(rule["query"]), hold, key), rule
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Doubt(Reason.WRONG_SHAPE, f"a rule that is none: {error}") from error


def _plain(rule: Rule) -> Rule:
    """As whoever wrote it and Prometheus, which prints its own form of it, both write it."""
    group, name, query, hold, labels = rule
    return group, name, _GROUPED.sub(r"\1()", "".join(query.split())), hold, labels


def _age(about: Mapping[str, Any], at: float) -> float:
    evaluated = about.get("evaluated_at")
    if about.get("health") == "unknown" or not isinstance(evaluated, float):
        return float("inf")
    return at - evaluated


# The ledger


def ledger_verified(events: Sequence[Event]) -> Measured:
    """How many things are wrong with the ledger itself.

    Raises:
        Doubt: it is empty.
    """
    if not events:
        raise Doubt(Reason.NOT_JUDGED, "the ledger is empty")
    found = verify(events)
    return Measured(
        value=len(found),
        text=_some("found", [str(one) for one in found]) if found else f"{len(events)} events hold",
        checked=len(events),
        broken=Reason.LEDGER_DAMAGED,
    )


def continuity(events: Sequence[Event], names: Sequence[str]) -> Measured:
    """How often the ledger breaks some assertions.

    Raises:
        Doubt: none of them had anything to check, or one cannot be judged by a ledger.
    """
    verdicts = judge(Trial(events=events), names)
    for verdict in verdicts:
        if not verdict.judged:
            raise Doubt(Reason.NOT_JUDGED, f"{verdict.assertion}: {verdict.text}")
    checked = sum(verdict.checked for verdict in verdicts)
    if not checked:
        raise Doubt(Reason.NOT_JUDGED, f"nothing to check for {', '.join(names)}")
    said = [
        f"{verdict.assertion} ({ASSERTIONS[verdict.assertion].title}): {verdict.text}"
        + (f" [{', '.join(verdict.witnesses[:_NAMED])}]" if verdict.violations else "")
        for verdict in verdicts
    ]
    broken = [text for text, v in zip(said, verdicts, strict=True) if v.outcome is Outcome.FAIL]
    return Measured(
        value=sum(verdict.violations for verdict in verdicts),
        text="; ".join(broken or said),
        checked=checked,
        broken=Reason.CONTINUITY_BROKEN,
    )


def refusals_explained(events: Sequence[Event]) -> Measured:
    """How many writes were refused though the ledger knows of no later claim of the task.

    Raises:
        Doubt: the ledger is empty.
    """
    if not events:
        raise Doubt(Reason.NOT_JUDGED, "the ledger is empty")
    over: dict[str, int] = {}
    for event in events:
        if event.task_id is not None and event.type in _SUPERSEDES:
            # A lease that was given back is over at its own epoch, one that was taken at the next.
            epoch = (event.epoch or 0) + (event.type != EventType.CLAIMED)
            over[event.task_id] = max(over.get(event.task_id, 0), epoch)
    refused = [event for event in events if event.type == EventType.WRITE_REFUSED]
    odd = [
        f"{event.chain}#{event.n}"
        for event in refused
        if over.get(event.task_id or "", 0) <= (event.epoch or 0)
    ]
    said = f"{len(refused)} refused, each explained"
    return Measured(
        value=len(odd),
        text=_some("without a successor", odd) if odd else said,
        checked=len(refused),
        broken=Reason.REFUSAL_UNEXPLAINED,
    )


#: After these a former holder's write is rightly refused.
_SUPERSEDES = frozenset(
    {
        *(EventType.CLAIMED, EventType.RELEASED, EventType.DRAINED, EventType.DONE),
        *(EventType.FAILED, EventType.INTERRUPTED, EventType.QUARANTINED),
        EventType.OPERATOR_ACTION,
    }
)


def metrics_agree(
    tracks: Sequence[Track], metrics: Sequence[str], events: Sequence[Event], slack_seconds: float
) -> Measured:
    """How many counts of the exporter are not those of the ledger at the time of the sample.

    What was written within the slack around the scrape may be in it or not.

    Args:
        tracks: the series of the counts, with their newest samples.
        metrics: the names that are compared.
        events: the whole ledger.
        slack_seconds: how far the clocks may be apart.

    Raises:
        Doubt: there is nothing to compare.
    """
    if not tracks:
        raise Doubt(Reason.NO_DATA, "no count of the exporter has a series")
    finite(track.values[-1] for track in tracks)
    newest = [track.times[-1] for track in tracks]
    least = _folded(events, min(newest) - slack_seconds)
    most = _folded(events, max(newest) + slack_seconds)
    served: dict[tuple[str, tuple[str, ...]], float] = {}
    for track in tracks:
        metric = by_name(track.labels.get(_NAME, ""))
        key = (metric.name, tuple(track.labels.get(label, "") for label in metric.labels))
        served[key] = max(served.get(key, 0.0), track.values[-1])
    wrong, compared = [], 0
    for metric in map(by_name, metrics):
        keys = {labels for name, labels in served if name == metric.name}
        for labels in sorted(keys | {*_counts(least, metric)}):
            low, high = (_counts(fold, metric).get(labels, 0.0) for fold in (least, most))
            value = served.get((metric.name, labels))
            compared += 1
            if value is None and low > 0:
                wrong.append(f"{_series(metric, labels)} is not served, and the ledger has {low:g}")
            elif value is not None and not low <= value <= high:
                bounds = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                wrong.append(f"{_series(metric, labels)} is {value:g}, the ledger has {bounds}")
    return Measured(
        value=len(wrong),
        text="; ".join(wrong[:_NAMED]) if wrong else f"{compared} counts agree",
        checked=compared,
        broken=Reason.METRIC_MISMATCH,
        pointers={"counts": "/data/result"},
    )


def _folded(events: Iterable[Event], until: float) -> Fold:
    fold = Fold()
    for event in events:
        if event.wall <= until * _MICRO:
            fold.apply(event)
    return fold


def _counts(fold: Fold, metric: Metric) -> Mapping[tuple[str, ...], float]:
    return fold.counters.get(metric, {})


def _series(metric: Metric, labels: Sequence[str]) -> str:
    inside = ", ".join(f'{n}="{v}"' for n, v in zip(metric.labels, labels, strict=True))
    return f"{metric.name}{{{inside}}}"


# Evidence


def evidence_holds(document: Any, place: str, field: str, wants: str, at_least: int) -> Measured:
    """How many members of a list in a document are not as they have to be.

    Args:
        document: the JSON.
        place: pointer to a list, or to one value; then ``field`` is empty.
        field: pointer within each member.
        wants: the text that has to stand there.
        at_least: how many members there must be.

    Raises:
        Doubt: it is not there, or there are too few.
    """
    found = pointed(document, place)
    members = found if isinstance(found, list) else [found]
    said = [str(pointed(member, field)) for member in members]
    wrong = [f"{place}/{n}{field} is {text}" for n, text in enumerate(said) if text != wants]
    if not wrong and len(members) < at_least:
        raise Doubt(Reason.LOW_SAMPLES, f"{len(members)} of {at_least}")
    return Measured(
        value=len(wrong),
        text=_some("not as wanted", wrong) if wrong else f"{len(members)} are {wants}",
        checked=len(members),
        broken=Reason.EVIDENCE_FAILED,
        pointers={"evidence": f"{place}/{said.index(next(t for t in said if t != wants))}{field}"}
        if wrong and isinstance(found, list)
        else {"evidence": place},
    )


def pointed(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to.

    Raises:
        Doubt: nothing is there.
    """
    found = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise Doubt(Reason.EVIDENCE_UNREADABLE, f"nothing at {pointer}") from error
    return found


def _some(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {', '.join(names[:_NAMED])}{more}"
