"""The checker of the chaos tests can fail: each of its checks finds what was planted for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from tests.chaos import continuity
from tests.chaos.continuity import Checkpoint, Control, offences
from tests.chaos.harness import Fleet

from baton.domain.ledger import GENESIS, Event, event_from_row, seal
from baton.domain.words import EventType


def history(length: int = 4) -> list[Checkpoint]:
    """A linear history, as it should be."""
    return [
        Checkpoint(
            ns="",
            id=f"c{n}",
            parent=f"c{n - 1}" if n else None,
            step=n - 1,
            source="loop" if n else "input",
            epoch=1 + n // 2,
        )
        for n in range(length)
    ]


def changed(at: int, **fields: object) -> list[Checkpoint]:
    """A history with one checkpoint changed."""
    found = history()
    found[at] = replace(found[at], **fields)  # type: ignore[arg-type]
    return found


BAD_HISTORIES = {
    "no input": changed(0, source="loop"),
    "2 inputs": changed(2, source="input"),
    "2 roots": changed(2, parent=None),
    "a fork": [*history(), Checkpoint("", "z", "c1", 2, "loop", 1)],
    "a fork at the head": [*history(), Checkpoint("", "z", "c2", 3, "loop", 2)],
    "a step left out": changed(3, step=4),
    "a step twice": changed(3, step=1),
    "an epoch that falls": changed(3, epoch=1),
    "a missing parent": history()[1:],
    "nothing": [],
}


def test_a_good_history_passes() -> None:
    """Nor does the check always fail."""
    assert list(continuity.broken_history(history())) == []


@pytest.mark.parametrize("wrong", BAD_HISTORIES)
def test_a_bad_history_is_found(wrong: str) -> None:
    """Forks, gaps, second beginnings and epochs that fall."""
    assert list(continuity.broken_history(BAD_HISTORIES[wrong]))


def chain() -> list[Event]:
    """The ledger of a task that was taken over."""
    told = [
        (EventType.SUBMITTED, None, None),
        (EventType.CLAIMED, 1, "s-1"),
        (EventType.STEP, 1, "s-1"),
        (EventType.CLAIMED, 2, "s-2"),
        (EventType.RESUMED, 2, "s-2"),
        (EventType.STEP, 2, "s-2"),
        (EventType.DONE, 2, "s-2"),
    ]
    return sealed(told)


def sealed(told: Sequence[tuple[EventType, int | None, str | None]]) -> list[Event]:
    """Events as a store would write them."""
    events: list[Event] = []
    for n, (type_, epoch, session_id) in enumerate(told):
        row = seal(
            chain="task:t",
            n=n,
            at=n,
            wall=n,
            type=type_,
            prev=events[-1].hash if events else GENESIS,
            payload="{}",
            task_id="t",
            step_id=f"c{n}" if type_ is EventType.STEP else None,
            session_id=session_id,
            epoch=epoch,
        )
        events.append(event_from_row((n, *row)))
    return events


def told_by(events: Sequence[Event]) -> list[tuple[EventType, int | None, str | None]]:
    """What a chain tells, in order to tell it again with a change."""
    return [(EventType(event.type), event.epoch, event.session_id) for event in events]


def without(at: int) -> list[Event]:
    """A chain that leaves an event out, written well otherwise."""
    told = told_by(chain())
    del told[at]
    return sealed(told)


def with_write_of(epoch: int, session_id: str) -> list[Event]:
    """A chain with a write after the takeover, by whoever it may be."""
    told = told_by(chain())
    told.insert(5, (EventType.STEP, epoch, session_id))
    return sealed(told)


def edited(at: int, **fields: object) -> list[Event]:
    """A chain with a field overwritten in place."""
    found = chain()
    found[at] = replace(found[at], **fields)  # type: ignore[arg-type]
    return found


Check = Callable[[Sequence[Event]], object]
BAD_CHAINS: dict[str, tuple[Check, list[Event]]] = {
    "an edit": (continuity.broken_chain, edited(2, epoch=7)),
    "an event taken out": (continuity.broken_chain, [*chain()[:2], *chain()[3:]]),
    "two events exchanged": (continuity.broken_chain, [*chain()[:5], chain()[6], chain()[5]]),
    "a hash": (continuity.broken_chain, edited(3, hash="0" * 64)),
    "a zombie's write": (continuity.foreign_writes, with_write_of(1, "s-1")),
    "a stranger's write": (continuity.foreign_writes, with_write_of(2, "s-3")),
    "an epoch used twice": (
        continuity.foreign_writes,
        sealed([*told_by(chain()), (EventType.CLAIMED, 2, "s-3")]),
    ),
    "work without a claim": (continuity.strange_moves, without(1)),
    "no beginning": (continuity.strange_moves, without(0)),
    "a step after the end": (
        continuity.strange_moves,
        sealed([*told_by(chain()), (EventType.STEP, 2, "s-2")]),
    ),
}
CHECKS = (continuity.broken_chain, continuity.foreign_writes, continuity.strange_moves)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_chain_passes(check: Callable[[Sequence[Event]], Sequence[str]]) -> None:
    """Nor do these checks always fail."""
    assert list(check(chain())) == []


@pytest.mark.parametrize("wrong", BAD_CHAINS)
def test_a_bad_chain_is_found(wrong: str) -> None:
    """Edits, gaps, zombies, impossible orders."""
    check, events = BAD_CHAINS[wrong]
    assert list(check(events))  # type: ignore[call-overload]


def test_an_impossible_session_is_found() -> None:
    """A session does not end before it begins."""
    row = seal(
        chain="session:s",
        n=0,
        at=0,
        wall=0,
        type=EventType.SESSION_LOST,
        prev=GENESIS,
        payload="{}",
        session_id="s",
    )
    assert list(continuity.broken_sessions([event_from_row((1, *row))]))


def test_a_loss_is_found_on_a_real_store(fleet: Fleet, control: Control) -> None:
    """A checkpoint gone, an effect missing, repeated or unknown, another end: each is told."""
    task_id = fleet.submit("chain", "t-chain")
    fleet.start("w-a", until_idle=True).wait_ended()
    expected = control["chain"]
    assert list(offences(fleet, task_id, expected)) == []
    lines = fleet.sink.path.read_text(encoding="utf-8").splitlines(keepends=True)
    fleet.sink.path.write_text("".join(lines[1:]), encoding="utf-8")
    assert "effects" in next(offences(fleet, task_id, expected))
    fleet.sink.path.write_text("".join([*lines, lines[0]]), encoding="utf-8")
    assert list(offences(fleet, task_id, expected)) == [], "a repeat under its key is no harm"
    fleet.sink.deliver("another key", "t-chain/n1")
    assert "2 keys" in next(offences(fleet, task_id, expected))
    fleet.sink.path.write_text("".join(lines), encoding="utf-8")
    another = replace(expected, values={"log": []}, digest="")
    told = " ".join(offences(fleet, task_id, another))
    assert "ends in" in told
    assert "digest" in told
    with closing(sqlite3.connect(fleet.folder / "fleet.db")) as connection, connection:
        connection.execute("DELETE FROM checkpoints WHERE parent_checkpoint_id IS NULL")
    told = " ".join(offences(fleet, task_id, expected))
    assert "only in the ledger" in told
    assert "a parent that is not there" in told
