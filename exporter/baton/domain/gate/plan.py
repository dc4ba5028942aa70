"""What a policy asks of Prometheus: each question once, in one order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baton.domain.catalogue import CATALOGUE
from baton.domain.gate.policy import Criterion, Kind, Limit, Policy, in_order
from baton.domain.gate.words import Reason
from baton.domain.metric import MetricType


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a path of the API, and its parameters in order."""

    path: str
    parameters: tuple[tuple[str, str], ...] = ()


_QUERY = "/api/v1/query"
_RULES = "/api/v1/rules"

#: The metrics whose samples may not fall: counts, and what histograms count.
_COUNTS = frozenset(
    name
    for metric in CATALOGUE
    if metric.type in (MetricType.COUNTER, MetricType.HISTOGRAM)
    for name in metric.sample_names
)


def _canary(id_: str, query: str) -> Criterion:
    return Criterion(
        id=id_,
        question="Does the gate see what is wrong?",
        why="",
        next_action="",
        kind=Kind.QUERY,
        query=query,
        must=Limit("==", 0.0),
    )


#: Questions whose answers are known, and the code that each has to lead to.
CANARIES: tuple[tuple[Criterion, Reason], ...] = (
    (_canary("absent", "baton_gate_canary_that_nobody_serves"), Reason.NO_DATA),
    (_canary("nan", "vector(0) / vector(0)"), Reason.NOT_A_NUMBER),
    (_canary("breach", "vector(1)"), Reason.THRESHOLD),
)


def query(text: str, at: float) -> Ask:
    """An instant query about the gate's one time."""
    return Ask(_QUERY, (("query", text), ("time", f"{at:.3f}")))


def counts(criterion: Criterion) -> bool:
    """Whether the samples that a criterion rests on are those of a count."""
    return criterion.samples.partition("{")[0].strip() in _COUNTS


def asks_of(criterion: Criterion, policy: Policy, at: float) -> Mapping[str, Ask]:
    """What one criterion asks, by what it is for."""
    exporter = policy.parameters["exporter_job"]
    match criterion.kind:
        case Kind.QUERY:
            found = {"query": query(criterion.query, at)}
            if criterion.samples:
                window = policy.parameters["window"]
                found["samples"] = query(f"{criterion.samples}[{window}]", at)
            if criterion.enough is not None:
                found["enough"] = query(criterion.enough.query, at)
            return found
        case Kind.CATALOGUE:
            text = f'count by (__name__) ({{__name__=~"langgraph_.+", job=~"{exporter}"}})'
            return {"query": query(text, at)}
        case Kind.AGREEMENT:
            names = "|".join(criterion.options["metrics"])
            text = f'{{__name__=~"{names}", job=~"{exporter}"}}'
            return {"counts": query(f"{text}[{policy.parameters['stale_after']}]", at)}
        case Kind.RULES:
            return {"rules": Ask(_RULES)}
    return {}


def plan(policy: Policy, at: float) -> list[Ask]:
    """Everything to ask, each once."""
    canaries = [query(criterion.query, at) for criterion, _ in CANARIES]
    own = [
        ask
        for criterion in in_order(policy.criteria)
        for ask in asks_of(criterion, policy, at).values()
    ]
    return list(dict.fromkeys((*canaries, *own)))
