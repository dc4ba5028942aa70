"""JSON Schema of one event of the ledger, made from the shapes that writers keep.

It takes every ledger that a version of this contract wrote or will write: an event of a type that
is not known yet, or with keys that are not known yet, is right too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from baton.domain.ledger import FIELDS, SCHEMA_VERSION
from baton.domain.shapes import ANY, SHAPES, Shape

_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_ID = {"type": ["string", "null"]}
_WHOLE = {"type": "integer", "minimum": 0}

#: What each field is, whatever the event.
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "schema_version": {"const": SCHEMA_VERSION},
    "chain": {"type": "string", "pattern": "^(task|session):"},
    "n": {**_WHOLE, "description": "dense position in its chain"},
    "at": {"type": "integer", "description": "store time in microseconds"},
    "wall": {"type": "integer", "description": "microseconds since the Unix epoch"},
    "type": {"type": "string"},
    "task_id": _ID,
    "run_id": _ID,
    "step_id": _ID,
    "worker_id": _ID,
    "session_id": _ID,
    "epoch": {"type": ["integer", "null"], "minimum": 1},
    "reason": _ID,
    "payload": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "canonical JSON: sorted keys, no spaces, ASCII",
    },
    "prev": {**_HASH, "description": "the hash before in the chain; zeros for the first"},
    "hash": {**_HASH, "description": "SHA-256 over the fields before, as netstrings in this order"},
    "seq": {**_WHOLE, "description": "place in the store's tail; may have gaps, is not hashed"},
}


def event_schema() -> dict[str, Any]:
    """The schema of an event as `baton ledger export` writes it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of the ledger, one line of `baton ledger export`",
        "description": "Types, keys and fields may be added; none is taken away.",
        "type": "object",
        "required": [*FIELDS, "hash", "seq"],
        "properties": dict(_FIELDS),
        "allOf": [
            {"if": _is(type_.value), "then": _then(shape)} for type_, shape in SHAPES.items()
        ],
    }


def render_ledger_schema() -> str:
    """The file."""
    return json.dumps(event_schema(), indent=1) + "\n"


def payload_schema(shape: Shape) -> dict[str, Any]:
    """The schema of a payload, once it is decoded."""
    meanings = {**shape.payload, **shape.with_reason, **shape.further}
    return {
        "type": "object",
        "required": list(shape.payload),
        "properties": {
            key: {
                "description": text,
                **({"enum": list(shape.words[key])} if key in shape.words else {}),
            }
            for key, text in meanings.items()
        },
    }


def _is(type_: str) -> dict[str, Any]:
    return {"properties": {"type": {"const": type_}}, "required": ["type"]}


def _then(shape: Shape) -> dict[str, Any]:
    properties: dict[str, Any] = {
        name: {"type": "integer" if name == "epoch" else "string"} for name in shape.ids
    }
    if not set(ANY) & set(shape.reasons):
        properties["reason"] = {
            "enum": [None if one is None else str(one) for one in shape.reasons]
        }
    if shape.chain != "any":
        properties["chain"] = {"pattern": f"^{shape.chain}:"}
    properties["payload"] = {"contentSchema": payload_schema(shape)}
    return {"description": shape.meaning, "properties": properties}
