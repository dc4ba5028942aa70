"""No combination of what is not known ever says GO, whatever is sent, waived or set."""

from __future__ import annotations

import json
import math
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from baton.domain.gate.answers import Answer, matrix_of, number_of, vector_of
from baton.domain.gate.judging import Result, judge_query, settle
from baton.domain.gate.policy import Criterion, Enough, Kind, Limit, Policy, Waiver
from baton.domain.gate.words import EXIT_CODES, Decision, Doubt, Reason, Status, decide

AT = 1_000.0

reasons = st.sampled_from(Reason)
unknown = st.sampled_from([one for one in Reason if one.status is Status.INCONCLUSIVE])
errors = st.sampled_from([one for one in Reason if one.status is Status.ERROR])


def criterion(number: int, needs: tuple[str, ...] = ()) -> Criterion:
    """One of a policy."""
    return Criterion(
        id=f"COV-{number}",
        question="?",
        why="",
        next_action="",
        kind=Kind.QUERY,
        query="q",
        samples="s",
        enough=Enough("e", 1.0),
        must=Limit("==", 0.0),
        needs=needs,
    )


def policy(*criteria: Criterion, waivers: tuple[Waiver, ...] = ()) -> Policy:
    """A policy of a minute."""
    return Policy(
        name="p",
        window_seconds=60.0,
        interval_seconds=15.0,
        stale_seconds=20.0,
        gap_seconds=20.0,
        coverage_min=0.9,
        slack_seconds=1.0,
        runbook="",
        criteria=criteria,
        waivers=waivers,
    )


def result(id_: str, reason: Reason) -> Result:
    """A criterion that came to something."""
    return Result(id=id_, status=reason.status, reason=reason, detail="", next_action="")


@given(st.lists(reasons, min_size=1, max_size=8), st.data())
@settings(max_examples=80, deadline=None)
def test_one_unknown_is_enough(found: list[Reason], data: st.DataObject) -> None:
    """Whatever else passes, needs what, or is waived."""
    criteria = []
    for number in range(len(found)):
        earlier = [one.id for one in criteria]
        needs = data.draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        criteria.append(criterion(number, tuple(needs)))
    waived = data.draw(st.lists(st.sampled_from([one.id for one in criteria]), unique=True))
    waivers = tuple(
        Waiver(criterion=name, owner="o", reason="r", expires=date(9999, 12, 31)) for name in waived
    )
    by_id = {one.id: reason for one, reason in zip(criteria, found, strict=True)}
    results = settle(
        policy(*criteria, waivers=waivers), AT, lambda one: result(one.id, by_id[one.id])
    )
    decision = decide(one.status for one in results)
    worst = {reason.status for reason in found}
    if Status.INCONCLUSIVE in worst or Status.ERROR in worst:
        assert EXIT_CODES[decision] != 0
    if worst - {Status.PASS}:
        assert decision is not Decision.GO
    assert len(results) == len(found)


@given(st.lists(unknown | errors, min_size=1, max_size=6))
def test_no_combination_of_unknowns_goes(found: list[Reason]) -> None:
    """Nor does any number of passes outvote them."""
    statuses = [one.status for one in found] + [Status.PASS] * 50
    assert EXIT_CODES[decide(statuses)] in (2, 3)


@given(unknown, st.dates())
def test_no_waiver_covers_what_is_unknown(reason: Reason, day: date) -> None:
    """Whatever its day."""
    waiver = Waiver(criterion="COV-0", owner="o", reason="r", expires=day)
    (found,) = settle(
        policy(criterion(0), waivers=(waiver,)), AT, lambda one: result(one.id, reason)
    )
    assert found.status is Status.INCONCLUSIVE


def test_a_gate_that_asks_nothing_is_wrong() -> None:
    """Nothing follows from nothing."""
    assert decide(()) is Decision.ERROR


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "result", "resultType", "metric", "value", "values"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
bodies = json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)
statuses = st.sampled_from([200, 200, 200, 204, 301, 400, 401, 404, 422, 429, 500, 503])
answers = st.builds(lambda body, status: Answer(status=status, body=body), bodies, statuses)


@given(answers)
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_an_answer_or_a_doubt(answer: Answer) -> None:
    """Nothing else is ever raised."""
    for read in (lambda: vector_of(answer, AT), lambda: matrix_of(answer, AT, 60.0)):
        try:
            found = read()
        except Doubt as doubt:
            assert doubt.reason.status in (Status.ERROR, Status.INCONCLUSIVE)  # noqa: PT017
        else:
            assert isinstance(found, list)


@given(answers, answers, answers)
@settings(max_examples=100, deadline=None)
def test_made_up_answers_never_pass(query: Answer, samples: Answer, enough: Answer) -> None:
    """Judged together, as a criterion's own."""
    found = judge_query(
        criterion(0),
        policy(criterion(0)),
        AT,
        {"query": query, "samples": samples, "enough": enough},
        counts=True,
    )
    assert not found.status.good


def matrix(samples: list[tuple[float, float]]) -> Answer:
    """Raw samples as Prometheus sends them."""
    rows = [[when, repr(value)] for when, value in samples]
    data = {"resultType": "matrix", "result": [{"metric": {}, "values": rows}]}
    return Answer(status=200, body=json.dumps({"status": "success", "data": data}).encode())


def vector(value: float) -> Answer:
    """One value."""
    data = {"resultType": "vector", "result": [{"metric": {}, "value": [AT, repr(value)]}]}
    return Answer(status=200, body=json.dumps({"status": "success", "data": data}).encode())


@given(st.lists(st.integers(0, 60), unique=True, max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_pass_means_that_the_window_is_covered(ages: list[int]) -> None:
    """Every rule of the policy holds of the samples of whatever passes."""
    samples = [(AT - age, 1.0) for age in sorted(ages, reverse=True)]
    found = judge_query(
        criterion(0),
        policy(criterion(0)),
        AT,
        {"query": vector(0.0), "samples": matrix(samples), "enough": vector(1.0)},
        counts=True,
    )
    times = [when for when, _ in samples]
    edges = [AT - 60.0, *times]
    covered = (
        len(times) >= 0.9 * 4
        and AT - times[-1] <= 20
        and all(b - a <= 20 for a, b in zip(edges, times, strict=False))
    )
    assert (found.reason is Reason.OK) == covered


@given(st.floats())
def test_a_value_is_read_as_it_was_written(value: float) -> None:
    """NaN and infinities included."""
    text = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(str(value), repr(value))
    read = number_of(text)
    assert read == value or (math.isnan(read) and math.isnan(value))
