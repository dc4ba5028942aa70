"""A super-step as one statement: what it encodes, and when it stands back."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from baton.domain.ledger import netstring, seal, task_chain
from baton.domain.words import EventType
from baton.fleet.model import Checkpoint, LeaseKey, ParkedWrite
from baton.fleet.postgres_connect import INT8, Prepared, Value
from baton.fleet.postgres_step import LeaseSteps

KEY = LeaseKey("täsk", 7, "session")
SEQ = 17


def _statement(
    channels: int, writes: int, *, behind: list[bytes] | None = None
) -> tuple[Prepared, list[Value]] | None:
    rows = tuple((f"c{number}", "1", "msgpack", b"x") for number in range(channels))
    parked: list[ParkedWrite] = [
        (False, (KEY.task_id, "", "parent", "call", "", number, "n", "msgpack", b"x"))
        for number in range(writes)
    ]
    c = Checkpoint("", "step", "parent", 3, "loop", "", b"{}", b"{}", "digest", rows)
    steps = LeaseSteps(KEY, "run", "wörker", 5 << 48)
    if behind is not None:
        assert steps.written(behind) == SEQ
    return steps.statement(c, parked, '{"a":1}', 1234)


def _text(value: Value) -> str:
    assert value is not None
    return value.decode()


def _row(n: int, at: int, hash_: str) -> list[bytes]:
    """What the statement before has answered with."""
    return [INT8.pack(SEQ), INT8.pack(at), hash_.encode(), INT8.pack(n)]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("n", "at"), [(1, 1), (12, 1_700_000_000_000_000)])
def test_what_the_server_hashes_is_what_the_ledger_hashes(n: int, at: int, *, given: bool) -> None:
    """Between what the client encodes stands what only the server knows."""
    prev = "ab" * 32
    found = _statement(1, 1, behind=_row(n - 1, at, prev) if given else None)
    assert found is not None
    values, time = found[1], netstring(at).removesuffix(",")
    before, after = _text(values[7]), _text(values[11])
    encoded = before + time + after if given else f"{before}{netstring(n)}{time}{after}64:{prev},"
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


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("channels", "writes"), [(0, 0), (1, 0), (0, 2), (3, 2)])
def test_a_statement_names_each_of_its_values(channels: int, writes: int, *, given: bool) -> None:
    """And has a place and a type for each value of each row."""
    found = _statement(channels, writes, behind=_row(3, 5, "ab" * 32) if given else None)
    assert found is not None
    statement, values = found
    places = {int(place) for place in re.findall(rb"\$(\d+)", statement.text)}
    assert places == set(range(1, len(values) + 1))
    assert len(values) == len(statement.types) == 16 + 4 * channels + 8 * writes + 3 * given
    assert b"%(" not in statement.text
    assert b"[" not in statement.text


def test_a_statement_s_name_tells_its_shape() -> None:
    """Or one plan would be kept for two texts."""
    shapes = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)]
    row = _row(3, 5, "ab" * 32)
    found = [_statement(*shape, behind=behind) for shape in shapes for behind in (None, row)]
    assert len({statement.name for statement, _ in filter(None, found)}) == 2 * len(shapes)


def test_a_channel_s_version_may_be_a_number() -> None:
    """As those of graphs and savers that count are; the column that it goes to is a text."""
    rows: Any = (("c", 7, "msgpack", b"x"),)
    c = Checkpoint("", "step", "parent", 3, "loop", "", b"{}", b"{}", "digest", rows)
    found = LeaseSteps(KEY, "run", "worker", 5 << 48).statement(c, [], "{}", 1)
    assert found is not None
    assert found[1][-4:] == [b"c", b"7", b"msgpack", b"x"]


def test_an_end_that_is_forgotten_is_looked_for() -> None:
    """After a statement that wrote nothing."""
    steps = LeaseSteps(KEY, "run", "worker", 5 << 48)
    steps.written(_row(3, 5, "ab" * 32))
    steps.forget()
    c = Checkpoint("", "step", "parent", 3, "loop", "", b"{}", b"{}", "digest", ())
    found = steps.statement(c, [], "{}", 1)
    assert found is not None
    assert found[0].name == b"baton_step_0_0_found"


def test_many_rows_are_left_to_the_function_that_takes_arrays() -> None:
    """Every shape of a statement is a plan that each connection keeps."""
    assert _statement(20, 0) is None
    assert _statement(0, 20) is None
