"""What an HTTP answer of Prometheus is worth, before anybody looks at a value.

The shape is that of https://prometheus.io/docs/prometheus/latest/querying/api/. Everything that
is not exactly so raises ``Doubt`` with a code of its own.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from baton.domain.gate.words import Doubt, Reason

#: A value as Prometheus prints it; Python's own ``float`` takes more than that.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SPECIAL = {"NaN": math.nan, "+Inf": math.inf, "Inf": math.inf, "-Inf": -math.inf}

#: Answers are printed in milliseconds.
_TICK_SECONDS = 0.0011

_OK = 200
_CODES = {
    401: Reason.UNAUTHORIZED,
    403: Reason.UNAUTHORIZED,
    404: Reason.NOT_FOUND,
    429: Reason.BUSY,
}
_REDIRECTS = range(300, 400)
_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)
_ERRORS = {"bad_data": Reason.QUERY_REFUSED, "timeout": Reason.QUERY_TIMEOUT}
_SHOWN = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for one request, as it is kept.

    Attributes:
        failure: why nothing came; None where something did.
        detail: about the failure.
        status: the HTTP status.
        content_type: what the body calls itself.
        body: the bytes.
    """

    failure: Reason | None = None
    detail: str = ""
    status: int = 0
    content_type: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Point:
    """One series of an instant answer."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Track:
    """One series with its raw samples: times in Unix seconds, and values."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


def data_of(answer: Answer) -> Any:
    """The ``data`` of an answer.

    Raises:
        Doubt: it is no answer, or one with warnings.
    """
    if answer.failure is not None:
        raise Doubt(answer.failure, answer.detail)
    body = _json(answer) if answer.status == _OK else _error(answer)
    if not isinstance(body, dict) or "status" not in body:
        raise Doubt(Reason.WRONG_SHAPE, f"no status in {_shown(answer.body)}")
    if body["status"] != "success":
        _api_error(body)
    if "data" not in body:
        raise Doubt(Reason.WRONG_SHAPE, f"no data in {_shown(answer.body)}")
    if warnings := body.get("warnings"):
        raise Doubt(Reason.PARTIAL, _cut(f"{warnings}"))
    return body["data"]


def vector_of(answer: Answer, at: float) -> list[Point]:
    """The series of an instant query, each with one value at the time that was asked about.

    Raises:
        Doubt: it is no such answer; a value may still be NaN or infinite.
    """
    return [_point(one, at) for one in _result(data_of(answer), "vector")]


def matrix_of(answer: Answer, at: float, window_seconds: float) -> list[Track]:
    """The raw samples of a range selector that ends at a time.

    Raises:
        Doubt: it is no such answer, or its samples are out of order or out of the window.
    """
    return [_track(one, at - window_seconds, at) for one in _result(data_of(answer), "matrix")]


def _json(answer: Answer) -> Any:
    text = answer.body.lstrip()
    if not text:
        raise Doubt(Reason.EMPTY_BODY, "an empty body")
    if text.startswith(b"<"):
        raise Doubt(Reason.HTML, _shown(text))
    try:
        return _DECODER.decode(text.decode(json.detect_encoding(text), "surrogatepass"))
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        reason = Reason.TRUNCATED if cut else Reason.NOT_JSON
        raise Doubt(reason, f"{error.msg} at byte {error.pos} of {len(text)}") from error
    except (ValueError, RecursionError) as error:
        raise Doubt(Reason.NOT_JSON, _cut(str(error))) from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


#: ``json.loads`` would build one for each answer.
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _error(answer: Answer) -> Any:
    """The body of an answer whose HTTP status says that it is none, if Prometheus wrote it."""
    if answer.status in _REDIRECTS:
        raise Doubt(Reason.REDIRECT, f"HTTP {answer.status} {answer.detail}".strip())
    if answer.status in _CODES:
        raise Doubt(_CODES[answer.status], f"HTTP {answer.status}")
    try:
        body = _json(answer)
    except Doubt:
        body = None
    if isinstance(body, dict) and body.get("status") == "error":
        return body
    said = f"HTTP {answer.status} {_shown(answer.body)}".strip()
    if answer.status in _CLIENT_ERRORS:
        raise Doubt(Reason.HTTP_CLIENT, said)
    if answer.status in _SERVER_ERRORS:
        raise Doubt(Reason.HTTP_SERVER, said)
    raise Doubt(Reason.WRONG_SHAPE, said)


def _api_error(body: Mapping[str, Any]) -> NoReturn:
    kind = body.get("errorType")
    reason = _ERRORS.get(kind, Reason.API_ERROR) if isinstance(kind, str) else Reason.API_ERROR
    raise Doubt(reason, _cut(f"{kind}: {body.get('error')}"))


def _result(data: Any, wanted: str) -> Sequence[Any]:
    if not isinstance(data, dict) or "resultType" not in data:
        raise Doubt(Reason.WRONG_SHAPE, "the data has no resultType")
    if data["resultType"] != wanted:
        raise Doubt(Reason.WRONG_TYPE, f"a {data['resultType']} and no {wanted}")
    result = data.get("result")
    if not isinstance(result, list):
        raise Doubt(Reason.WRONG_SHAPE, "the result is no list")
    seen: set[tuple[tuple[str, str], ...]] = set()
    for one in result:
        labels = tuple(sorted(_labels(one).items()))
        if labels in seen:
            raise Doubt(Reason.DUPLICATE_SERIES, _cut(f"twice: {dict(labels)}"))
        seen.add(labels)
    return result


def _labels(one: Any) -> Mapping[str, str]:
    labels = one.get("metric") if isinstance(one, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        raise Doubt(Reason.WRONG_SHAPE, "a series without labels")
    return labels


def _point(one: Any, at: float) -> Point:
    if "histogram" in one:
        raise Doubt(Reason.WRONG_TYPE, "a native histogram and no number")
    when, value = _sample(one.get("value"))
    if when > at + _TICK_SECONDS:
        raise Doubt(Reason.FUTURE, f"a value {when - at:.3f} s later than asked about")
    if abs(when - at) > _TICK_SECONDS:
        raise Doubt(Reason.WRONG_TIME, f"a value of {when:.3f}, asked about {at:.3f}")
    return Point(_labels(one), value)


def _track(one: Any, begin: float, end: float) -> Track:
    if "histograms" in one:
        raise Doubt(Reason.WRONG_TYPE, "native histograms and no numbers")
    rows = one.get("values")
    if not isinstance(rows, list) or not rows:
        raise Doubt(Reason.WRONG_SHAPE, "a series without samples")
    samples = [_sample(row) for row in rows]
    times = tuple(when for when, _ in samples)
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise Doubt(Reason.DISORDERED, "a sample is not later than the one before it")
    if times[-1] > end + _TICK_SECONDS:
        raise Doubt(Reason.FUTURE, f"a sample {times[-1] - end:.3f} s later than asked about")
    if times[0] < begin - _TICK_SECONDS:
        raise Doubt(Reason.WRONG_TIME, f"a sample {begin - times[0]:.3f} s before the window")
    return Track(_labels(one), times, tuple(value for _, value in samples))


def _sample(row: Any) -> tuple[float, float]:
    match row:
        case [int() | float() as when, str() as text] if not isinstance(when, bool):
            return float(when), number_of(text)
    raise Doubt(Reason.WRONG_SHAPE, "a sample that is no pair of a time and a text")


def number_of(text: str) -> float:
    """A value as Prometheus prints it; NaN and infinities are values too.

    Raises:
        Doubt: it is none.
    """
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _NUMBER.fullmatch(text) is None:
        raise Doubt(Reason.BAD_VALUE, _cut(f"{text!r} is no number"))
    return float(text)


def finite(values: Iterable[float]) -> None:
    """Refuse what is no finite number.

    Raises:
        Doubt: there is one.
    """
    for value in values:
        if math.isnan(value):
            raise Doubt(Reason.NOT_A_NUMBER, "the value is NaN")
        if math.isinf(value):
            raise Doubt(Reason.INFINITE, f"the value is {value}")


def _shown(body: bytes) -> str:
    return _cut(" ".join(body[:_SHOWN].decode(errors="replace").split()))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
