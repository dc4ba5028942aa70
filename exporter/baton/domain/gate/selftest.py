"""What the gate has to see in answers that are wrong on purpose; tried anew in every run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from baton.domain.gate.answers import Answer
from baton.domain.gate.judging import Result, judge_query, settle
from baton.domain.gate.policy import Criterion, Enough, Kind, Limit, Policy
from baton.domain.gate.words import Decision, Reason, Status, decide

_AT = 1_000.0
_SUBJECT = Criterion(
    id="COV-SUBJECT",
    question="?",
    why="",
    next_action="",
    kind=Kind.QUERY,
    query="q",
    samples="s",
    enough=Enough("e", 1.0),
    must=Limit("==", 0.0),
)
_POLICY = Policy(
    name="self-test",
    window_seconds=60.0,
    interval_seconds=15.0,
    stale_seconds=20.0,
    gap_seconds=20.0,
    coverage_min=0.9,
    slack_seconds=1.0,
    runbook="",
    criteria=(_SUBJECT,),
)
_GOOD = ((945.0, "0"), (960.0, "1"), (975.0, "2"), (990.0, "3"))


def _answer(kind: str, *rows: dict[str, object], **more: object) -> Answer:
    data = {"resultType": kind, "result": list(rows)}
    body = {"status": "success", "data": data, **more}
    return Answer(status=200, content_type="application/json", body=json.dumps(body).encode())


def _value(text: str, name: str = "a", at: float = _AT) -> dict[str, object]:
    return {"metric": {"n": name}, "value": [at, text]}


def _samples(rows: Sequence[tuple[float, str]]) -> Answer:
    return _answer("matrix", {"metric": {"n": "a"}, "values": [list(row) for row in rows]})


def _cases() -> Iterator[tuple[Reason, Answer, Answer, Answer]]:
    """What has to be seen in the answers to the query, its samples and its enough."""
    zero, good, one = (
        _answer("vector", _value("0")),
        _samples(_GOOD),
        _answer("vector", _value("1")),
    )
    yield Reason.OK, zero, good, one
    yield Reason.THRESHOLD, one, good, one
    yield Reason.NO_DATA, _answer("vector"), good, one
    yield Reason.NOT_A_NUMBER, _answer("vector", _value("NaN")), good, one
    yield Reason.INFINITE, _answer("vector", _value("+Inf")), good, one
    yield Reason.MULTI_SERIES, _answer("vector", _value("0"), _value("0", "b")), good, one
    yield Reason.DUPLICATE_SERIES, _answer("vector", _value("0"), _value("0")), good, one
    yield Reason.WRONG_TIME, _answer("vector", _value("0", at=900.0)), good, one
    yield Reason.PARTIAL, _answer("vector", _value("0"), warnings=["half"]), good, one
    yield Reason.WRONG_TYPE, _samples(_GOOD), good, one
    yield Reason.STALE, zero, _samples(_GOOD[:2]), one
    yield Reason.SHORT_WINDOW, zero, _samples(_GOOD[2:]), one
    yield Reason.GAP, zero, _samples((_GOOD[0], _GOOD[3])), one
    yield Reason.RESET, zero, _samples((*_GOOD[:3], (990.0, "0"))), one
    yield Reason.LOW_SAMPLES, zero, good, zero
    yield Reason.HTTP_SERVER, Answer(status=500, body=b"no"), good, one
    yield Reason.TIMEOUT, Answer(failure=Reason.TIMEOUT), good, one


def flaws() -> list[str]:
    """What the gate does not see as it must, in words; empty if it sees everything."""
    found = []
    for expected, query, samples, enough in _cases():
        answers = {"query": query, "samples": samples, "enough": enough}
        result = judge_query(_SUBJECT, _POLICY, _AT, answers, counts=True)
        if result.reason is not expected:
            found.append(f"{expected} is taken for {result.reason}")
        if (decide([result.status]) is Decision.GO) != (expected is Reason.OK):
            found.append(f"{expected} decides wrongly")
    return found + _flaws_of_deciding()


def _flaws_of_deciding() -> list[str]:
    found = []
    if decide(()) is not Decision.ERROR:
        found.append("nothing at all decides")
    found += [
        f"{status} is outvoted"
        for status in Status
        if decide([Status.PASS, status]) is Decision.GO and status is not Status.PASS
    ]
    broken = Result(
        id=_SUBJECT.id, status=Status.FAIL, reason=Reason.THRESHOLD, detail="", next_action=""
    )
    (result,) = settle(_POLICY, _AT, lambda _: broken)
    if result.status is not Status.FAIL:
        found.append("a failure without a waiver is waived")
    return found
