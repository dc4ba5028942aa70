"""A super-step as one statement: what it encodes, and when it stands back."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from baton.domain.ledger import netstring, seal, task_chain
from baton.domain.words import EventType
from baton.fleet.model import Checkpoint, LeaseKey, ParkedWrite
from baton.fleet.postgres_step import step_statement

KEY = LeaseKey("täsk", 7, "session")


def _statement(channels: int, writes: int) -> tuple[str, dict[str, Any]] | None:
    rows = tuple((f"c{number}", "1", "msgpack", b"x") for number in range(channels))
    parked: list[ParkedWrite] = [
        (False, (KEY.task_id, "", "parent", "call", "", number, "n", "msgpack", b"x"))
        for number in range(writes)
    ]
    c = Checkpoint("", "step", "parent", 3, "loop", "", b"{}", b"{}", "digest", rows)
    return step_statement(KEY, "run", "wörker", c, parked, '{"a":1}', 1234)


@pytest.mark.parametrize(("n", "at"), [(0, 1), (12, 1_700_000_000_000_000)])
def test_what_the_server_hashes_is_what_the_ledger_hashes(n: int, at: int) -> None:
    """Between what the client encodes stand the place, the time and the hash before."""
    found = _statement(1, 1)
    assert found is not None
    values, prev = found[1], "0" * 64
    encoded = values["before"] + netstring(n) + netstring(at) + values["after"] + netstring(prev)
    sealed = seal(
        chain=task_chain(KEY.task_id),
        n=n,
        at=at,
        wall=1234,
        type=EventType.STEP,
        prev=prev,
        payload='{"a":1}',
        task_id=KEY.task_id,
        run_id="run",
        step_id="step",
        worker_id="wörker",
        session_id=KEY.session_id,
        epoch=KEY.epoch,
    )
    assert hashlib.sha256(encoded.encode()).hexdigest() == sealed[-1]


@pytest.mark.parametrize(("channels", "writes"), [(0, 0), (1, 0), (0, 2), (3, 2)])
def test_a_statement_names_each_of_its_values(channels: int, writes: int) -> None:
    """And has a place for each value of each row."""
    found = _statement(channels, writes)
    assert found is not None
    text, values = found
    assert {name for name in values if f"%({name})" not in text} == set()
    assert len(values) == 15 + 4 * channels + 8 * writes


def test_many_rows_are_left_to_the_function_that_takes_arrays() -> None:
    """Beyond what psycopg keeps of a statement, one with a value for each field is no gain."""
    assert _statement(20, 0) is None
    assert _statement(0, 20) is None
