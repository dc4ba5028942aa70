"""Ledger events: their encoding, their hashes, and the golden vectors all stores must meet."""

from __future__ import annotations

import json
from dataclasses import fields as fields_of
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baton.domain.ledger import (
    FIELDS,
    GENESIS,
    SCHEMA_VERSION,
    Event,
    canonical_payload,
    digest,
    event_from_dict,
    event_from_row,
    netstring,
    recomputed_hash,
    seal,
    session_chain,
    step_payload,
    task_chain,
)
from baton.domain.words import EventType

GOLDEN = json.loads(Path(__file__).with_name("ledger_vectors.json").read_text(encoding="utf-8"))
VECTORS: list[dict[str, Any]] = GOLDEN["vectors"]

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


def event_of(fields: dict[str, Any], hash_: str) -> Event:
    """An event with these fields."""
    return Event(**fields, hash=hash_)


def sealed(fields: dict[str, Any]) -> tuple[Any, ...]:
    """``seal`` of these fields."""
    given = {name: value for name, value in fields.items() if name != "schema_version"}
    return seal(**{**given, "type": EventType(given["type"])})


def test_the_vectors_are_of_this_schema() -> None:
    """A new order of fields, or a new version, needs new vectors."""
    assert tuple(GOLDEN["fields"]) == FIELDS
    assert {vector["fields"]["schema_version"] for vector in VECTORS} == {SCHEMA_VERSION}
    assert {field.name for field in fields_of(Event)} == {*FIELDS, "hash", "seq"}


@each_vector
def test_an_event_is_encoded_and_hashed_as_agreed(vector: dict[str, Any]) -> None:
    """The text that is hashed, and its hash, byte for byte."""
    values = [vector["fields"][name] for name in FIELDS]
    assert "".join(map(netstring, values)) == vector["encoded"]
    assert digest(values) == vector["hash"]
    assert recomputed_hash(event_of(vector["fields"], "")) == vector["hash"]


@each_vector
def test_a_row_is_written_as_agreed_and_read_back(vector: dict[str, Any]) -> None:
    """What is stored is the fields in their order, and then the hash."""
    row = sealed(vector["fields"])
    assert row == (*(vector["fields"][name] for name in FIELDS), vector["hash"])
    assert event_from_row((7, *row)) == replace(event_of(vector["fields"], vector["hash"]), seq=7)


def test_the_vectors_differ_where_they_should() -> None:
    """An absent field is not an empty one, and two ways to write a letter are two texts."""
    hashes = [vector["hash"] for vector in VECTORS]
    assert len(set(hashes)) == len(hashes)
    assert {"absent", "empty", "non_ascii", "composed"} <= {vector["name"] for vector in VECTORS}


def test_the_chain_of_three_links_up() -> None:
    """The first event carries the genesis hash, each other one that of the event before it."""
    events = [event_of(entry["fields"], entry["hash"]) for entry in GOLDEN["chain"]]
    assert [event.n for event in events] == [0, 1, 2]
    assert [event.prev for event in events] == [GENESIS, events[0].hash, events[1].hash]
    assert [recomputed_hash(event) for event in events] == [event.hash for event in events]


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_hashed(name: str) -> None:
    """No field can be edited without a trace."""
    event = event_of(VECTORS[2]["fields"], VECTORS[2]["hash"])
    value = getattr(event, name)
    other = value + 1 if isinstance(value, int) else value + "x"
    assert recomputed_hash(replace(event, **{name: other})) != event.hash


def test_the_place_in_the_tail_is_not_hashed() -> None:
    """Stores may number their tails as they like."""
    event = event_of(VECTORS[0]["fields"], VECTORS[0]["hash"])
    assert recomputed_hash(replace(event, seq=99)) == event.hash


def test_chains_are_named_by_what_they_belong_to() -> None:
    """A task and a session of the same id have different chains."""
    assert (task_chain("a"), session_chain("a")) == ("task:a", "session:a")


def test_canonical_payloads_are_equal_bytes() -> None:
    """Order and letters make no difference; what JSON does not know is refused."""
    assert canonical_payload({"b": 1, "a": None}) == '{"a":null,"b":1}'
    assert canonical_payload({"é": "\n"}) == '{"\\u00e9":"\\n"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_payload({"a": float("nan")})


@pytest.mark.parametrize("parent", [None, "p", 'a"b\\é\n'])
def test_the_quick_step_payload_is_the_canonical_one(parent: str | None) -> None:
    """It is written once per super-step, and must not differ in a byte."""
    quick = step_payload("d", 'sub:"é|1', parent, "loop", -1, 3)
    assert quick == canonical_payload(
        {
            "digest": "d",
            "ns": 'sub:"é|1',
            "parent": parent,
            "source": "loop",
            "step": -1,
            "writes": 3,
        }
    )


@pytest.mark.parametrize("payload", ["", "{", "[1]", "null", "7", "[" * 100_000])
def test_a_payload_that_is_no_object_reads_as_empty(payload: str) -> None:
    """Readers go on; the verifier is there to name it."""
    assert replace(event_of(VECTORS[0]["fields"], ""), payload=payload).data == {}


@each_vector
def test_an_event_survives_json(vector: dict[str, Any]) -> None:
    """A line of an exported ledger gives the same event back."""
    event = replace(event_of(vector["fields"], vector["hash"]), seq=12)
    line = json.dumps(event.to_dict())
    assert event_from_dict(json.loads(line)) == event
    assert list(event.to_dict()) == [*FIELDS, "hash", "seq"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n": "0"}, "an event's n is '0', and not int"),
        ({"n": True}, "an event's n is True, and not int"),
        ({"at": 1.5}, "an event's at is 1.5, and not int"),
        ({"hash": None}, "an event's hash is None, and not str"),
        ({"payload": {}}, "an event's payload is {}, and not str"),
        ({"epoch": "1"}, "an event's epoch is '1', and not int"),
        ({"task_id": 1}, "an event's task_id is 1, and not str"),
    ],
)
def test_a_line_with_a_wrong_value_is_refused(change: dict[str, Any], why: str) -> None:
    """Before anything builds on it."""
    line = event_of(VECTORS[0]["fields"], VECTORS[0]["hash"]).to_dict()
    with pytest.raises(ValueError, match="^" + why.replace("{", r"\{") + "$"):
        event_from_dict({**line, **change})


@pytest.mark.parametrize("name", [*FIELDS, "hash", "seq"])
def test_a_line_without_a_field_is_refused(name: str) -> None:
    """An absent id is null; a field that is not there at all is a mistake."""
    line = event_of(VECTORS[0]["fields"], VECTORS[0]["hash"]).to_dict()
    del line[name]
    with pytest.raises(ValueError, match=f"^an event lacks {name}$"):
        event_from_dict(line)


def test_fields_that_a_later_version_adds_are_left_out() -> None:
    """Additive change does not break an older reader."""
    line = event_of(VECTORS[0]["fields"], VECTORS[0]["hash"]).to_dict()
    assert event_from_dict({**line, "colour": "red"}).to_dict() == line


@pytest.mark.parametrize(
    "payload",
    ['{"a":1}', ' {"a":1}', '{"a":1} ', '{"a":1}x', '{"a":1}{', '{"a":1,}', "", "{", '{"a":[{}]}'],
)
def test_a_payload_reads_as_json_does(payload: str) -> None:
    """A payload reads as JSON does, whatever stands around it; empty where that reads nothing."""
    try:
        wanted = json.loads(payload)
    except ValueError:
        wanted = {}
    assert replace(event_of(VECTORS[0]["fields"], ""), payload=payload).data == wanted


def test_canonical_payloads_are_what_json_writes() -> None:
    """Canonical payloads are what JSON writes with the same settings, whoever encodes them."""
    payload = {"z": [1, None, True, {"y": 1.5, "b": 'é"\\'}], "a": {}, "n": -(2**70)}
    plain = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    assert canonical_payload(payload) == plain
    with pytest.raises(TypeError):
        canonical_payload({"a": object()})
