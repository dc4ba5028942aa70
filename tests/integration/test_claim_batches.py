"""Many tasks are claimed in one transaction, which a kill undoes whole or not at all."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from tests.support.house import House, Member

from baton.fleet import claiming, points
from baton.fleet.model import Claim, LeaseKey
from baton.fleet.points import Point
from baton.fleet.postgres_write import PostgresWrite
from baton.fleet.sqlite_write import SqliteWrite

BOTH_STORES = True

BATCH = 3
TASKS = 5


class Killed(BaseException):
    """The end of a process, as the code that it was in sees it."""


class Killer:
    """Ends a claim at its nth word to the store, and notes whether it came so far."""

    def __init__(self) -> None:
        """Strike nowhere."""
        self.left = 0
        self.struck = False

    def arm(self, point: int) -> None:
        """Strike at that word, once."""
        self.left, self.struck = point, False

    def word(self) -> None:
        """Another word is about to be said."""
        self.left -= 1
        if self.left == 0:
            self.struck = True
            raise Killed


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    """Something that can end a claim anywhere, in batches of three."""
    killer = Killer()
    monkeypatch.setattr(claiming, "CLAIM_BATCH", BATCH)
    for kind in (SqliteWrite, PostgresWrite):
        for name in ("one", "all", "run", "append"):
            monkeypatch.setattr(kind, name, _watched(getattr(kind, name), killer))
    monkeypatch.setattr(points, "listener", lambda point, _: _after(point, killer))
    return killer


def _watched(say: Any, killer: Killer) -> Any:
    def watched(*arguments: Any, **named: Any) -> Any:
        killer.word()
        return say(*arguments, **named)

    return watched


def _after(point: Point, killer: Killer) -> None:
    if point in (Point.CLAIM_BEFORE, Point.CLAIM_AFTER):
        killer.word()


def _claim_all(member: Member) -> list[Claim]:
    """Round after round, as a worker does that has room."""
    won: list[Claim] = []
    more = True
    while more:
        claims = member.claims(limit=TASKS - len(won), running=len(won))
        won += claims.won
        more = claims.more
    for claim in won:
        # A takeover that brings something does not make a task suspect.
        member.put(claim)
    return won


def _lease_of(house: House, task_id: str) -> Claim:
    """What the holder of a task would know, had it learnt of its claim."""
    task = house.store.task(task_id)
    return Claim(
        key=LeaseKey(task_id, task.epoch, task.session_id or ""),
        graph=task.graph,
        run_id=task.run_id,
        claimed_at=0,
        input=None,
        resume=None,
        reason=None,
    )


def test_a_kill_at_any_point_of_a_batch_leaves_each_task_claimed_once_or_claimable(
    house: House, killer: Killer
) -> None:
    """Whatever came of the batch, the next one finds all of it, and each task once."""
    for number in range(TASKS):
        house.submit(f"t-{number}", value=b"%d" % number)
    holder = house.session("w")
    epochs = {claim.task_id: claim.key.epoch for claim in _claim_all(holder)}
    sizes = []
    for point in count(1):
        assert house.bury(holder)
        victim = house.session(f"victim-{point}")
        killer.arm(point)
        with suppress(Killed):
            victim.claims(limit=TASKS)
        struck = killer.struck
        killer.arm(0)
        taken = {t for t in epochs if house.store.task(t).session_id == victim.id}
        sizes.append(len(taken))
        for task_id in epochs:
            # Its event is there with its claim, or neither is.
            assert house.last(f"task:{task_id}").epoch == house.store.task(task_id).epoch
        for task_id in taken:
            victim.put(_lease_of(house, task_id))
        assert house.bury(victim)
        holder = house.session(f"heir-{point}")
        won = {claim.task_id: claim for claim in _claim_all(holder)}
        for task_id, claim in won.items():
            assert claim.key.epoch == epochs[task_id] + 1 + (task_id in taken)
            assert claim.input == ("json", task_id[-1:].encode())
        epochs = {task_id: claim.key.epoch for task_id, claim in won.items()}
        assert len(epochs) == TASKS
        if not struck:
            break
    # Nothing of it until the commit, and then the whole batch.
    assert sizes == sorted(sizes)
    assert set(sizes) == {0, BATCH}
    assert sizes[0] == 0


def test_a_batch_says_that_there_is_room_for_more(house: House, killer: Killer) -> None:
    """Only where it ended because one transaction claims no more than that."""
    del killer
    for number in range(TASKS):
        house.submit(f"t-{number}")
    member = house.session()
    first = member.claims(limit=TASKS)
    assert (len(first.won), first.more) == (BATCH, True)
    rest = member.claims(limit=TASKS - BATCH, running=BATCH)
    assert (len(rest.won), rest.more) == (TASKS - BATCH, False)


def test_a_batch_passes_by_what_another_is_at(house: House) -> None:
    """And takes what stands behind it."""
    for number in range(4):
        house.submit(f"t-{number}")
    dead, heir = house.session("dead"), house.session("heir")
    for claim in dead.claims(limit=4).won:
        dead.put(claim)
    house.bury(dead)
    first = heir.claims(limit=2)
    second = heir.claims(limit=4, running=2)
    assert len({claim.task_id for claim in (*first.won, *second.won)}) == 4
    assert len(first.won) == len(second.won) == 2


def test_whoever_is_overtaken_takes_what_stands_behind(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers with one slot each look at the head of the same queue, and one of them gets it."""
    for number in range(2):
        house.submit(f"t-{number}")
    slow, quick = house.session("slow"), house.session("quick")
    overtook: list[Claim] = []

    def overtake(point: Point, who: str) -> None:
        if point is Point.CLAIM_BEFORE and who == slow.id:
            overtook.extend(quick.claims().won)

    monkeypatch.setattr(points, "listener", overtake)
    won = slow.claims().won
    assert [claim.task_id for claim in (*overtook, *won)] == ["t-0", "t-1"]
