"""What this version has to offer, read from where it is defined and not from any list of its own.

Inside ``metrics``, a thing ``METRIC state=done`` is a label value; inside the formats,
``faults[] do=sigkill`` is a word that may stand there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import baton
from baton import errors
from baton.domain.catalogue import CATALOGUE
from baton.domain.compat import Things, Value
from baton.domain.gate.words import EXIT_CODES as GATE_EXIT_CODES
from baton.domain.ledger import FIELDS, SCHEMA_VERSION, Event, digest
from baton.domain.metric import Metric, Stability
from baton.domain.packet.layout import FORMAT as PACKET_FORMAT
from baton.domain.packet.layout import LAYOUT
from baton.domain.shapes import SHAPES, Shape
from baton.observe.report.document import BROKEN, HELD, UNSAID
from baton.prove.compat.formats import policy_format, report_format, scenario_format
from baton.prove.demo.verdict import Outcome
from baton.prove.scenarios.judging import EXIT_CODES as SCENARIO_EXIT_CODES

_Thing = tuple[str, Mapping[str, Value]]
_NOTHING_MORE: Mapping[str, Value] = {}

#: What the documentation tells users to call; the rest of each class is the house behind it.
_METHODS: Mapping[str, tuple[str, ...]] = {
    "Fleet": ("attach", "close", "lease", "resume", "saver", "submit", "task"),
    "Lease": ("check", "config", "epoch", "task_id"),
    "Worker": ("drain", "run"),
}
_MADE_BY_USERS = ("Worker",)


def _exit_codes() -> Iterator[_Thing]:
    for decision, code in GATE_EXIT_CODES.items():
        yield f"gate: {decision}", {"code": code}
    for judgement, code in SCENARIO_EXIT_CODES.items():
        yield f"scenario and soak: {judgement}", {"code": code}
    for outcome in Outcome:
        yield f"demo: {outcome}", {"code": outcome.exit_code}
    for said, code in (("held", HELD), ("broken", BROKEN), ("cannot be said", UNSAID)):
        yield f"report: {said}", {"code": code}
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.BatonError):
            yield f"error: {name}", {"code": error.exit_code}


def _metrics() -> Iterator[_Thing]:
    for metric in CATALOGUE:
        if metric.stability is Stability.STABLE:
            yield from _metric(metric)


def _metric(metric: Metric) -> Iterator[_Thing]:
    yield (
        metric.name,
        {
            "type": metric.type.value,
            "unit": metric.unit,
            "labels": ", ".join(sorted(metric.labels)),
            "served by": metric.source.value,
            "exemplars": metric.exemplars,
        },
    )
    for label in metric.known.labels:
        for value in metric.known.values(label):
            yield f"{metric.name} {label}={value}", _NOTHING_MORE
    for state in metric.states:
        yield f"{metric.name} {metric.name}={state}", _NOTHING_MORE
    for bound in metric.bounds:
        yield f"{metric.name} le={bound}", _NOTHING_MORE


def _ledger() -> Iterator[_Thing]:
    yield "schema_version", {"value": SCHEMA_VERSION}
    # Encoding and hash are right if they are right for this: an absent field, and one beyond ASCII.
    yield "hash", {"of known fields": digest(["1.0.0", None, 7, "ä"])}
    for one in fields(Event):
        place = FIELDS.index(one.name) if one.name in FIELDS else None
        yield f"field {one.name}", {"place in the hash": place, "type": str(one.type)}
    for type_, shape in SHAPES.items():
        yield from _event(type_.value, shape)


def _event(type_: str, shape: Shape) -> Iterator[_Thing]:
    yield type_, {"chain": shape.chain}
    for name in shape.ids:
        yield f"{type_} {name}", {"always": True}
    for reason in shape.reasons:
        yield f"{type_} reason={'' if reason is None else reason}", _NOTHING_MORE
    for keys, always in ((shape.payload, True), (shape.with_reason, False), (shape.further, False)):
        for key in keys:
            yield f"{type_} payload.{key}", {"always": always}
    for key, words in shape.words.items():
        for word in words:
            yield f"{type_} payload.{key}={'' if word is None else word}", _NOTHING_MORE


def _packet() -> Iterator[_Thing]:
    yield "format", {"is": PACKET_FORMAT}
    for entry in LAYOUT:
        yield entry.path, {"always": entry.needed, "origin": entry.origin.value}


def _python() -> Iterator[_Thing]:
    for name in baton.__all__:
        found = getattr(baton, name)
        yield f"baton.{name}", _NOTHING_MORE
        if inspect.isfunction(found) or name in _MADE_BY_USERS:
            yield from _parameters(f"baton.{name}", found)
        for member in _METHODS.get(name, ()):
            if hasattr(found, member):
                yield f"baton.{name}.{member}", _NOTHING_MORE
                yield from _parameters(f"baton.{name}.{member}", getattr(found, member))


def _parameters(name: str, found: Any) -> Iterator[_Thing]:
    if not callable(found):
        return
    for one in inspect.signature(found).parameters.values():
        if one.name != "self" and one.kind is not one.VAR_KEYWORD:
            asked = one.default is one.empty and one.kind is not one.VAR_POSITIONAL
            named = "only by name" if one.kind is one.KEYWORD_ONLY else "by place or name"
            yield f"{name} {one.name}", {"required": asked, "given": named}


#: Every surface below the command line, which speaks for itself in ``baton.cli``.
SURFACES: Mapping[str, Callable[[], Things]] = {
    "exit codes": lambda: dict(_exit_codes()),
    "metrics": lambda: dict(_metrics()),
    "ledger": lambda: dict(_ledger()),
    "gate policy": policy_format,
    "scenario": scenario_format,
    "report": report_format,
    "packet": lambda: dict(_packet()),
    "python": lambda: dict(_python()),
}
