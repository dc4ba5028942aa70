"""The real store in memory, brought through everything that its ledger can tell."""

from __future__ import annotations

import hashlib

from tests.support.house import SECOND, TTL_SECONDS, House, ManualClock, Member, key_of

from baton.domain.ledger import Event, task_chain
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverReason
from baton.errors import LeaseLost
from baton.fleet.model import Checkpoint, Claim
from baton.fleet.store import Store

VALUE = ("json", b"yes")


def put(store: Store, claim: Claim, worker_id: str, *, ns: str = "", source: str = "loop") -> str:
    """Make a super-step durable that follows the last one of its namespace, as LangGraph's do."""
    events = store.chain(task_chain(claim.task_id))
    steps = [event for event in events if event.type == EventType.STEP]
    parents = [event.step_id for event in steps if event.data["ns"] == ns]
    step_id = f"{claim.task_id}-{len(steps)}"
    record = Checkpoint(
        ns=ns,
        checkpoint_id=step_id,
        parent_id=parents[-1] if parents else None,
        step=len(parents) - 1,
        source=source,
        type="null",
        blob=b"",
        metadata=b"{}",
        digest=hashlib.sha256(step_id.encode()).hexdigest(),
    )
    store.data.put(claim.key, claim.run_id, worker_id, record)
    return step_id


def work(member: Member, claim: Claim, *, steps: int = 2) -> None:
    """Load the state if there is one, and bring the run on by some steps, one in a subgraph."""
    store, worker = member.store, member.worker_id
    if claim.reason is not None:
        store.resumed(claim, worker, TakeoverOutcome.RESUMED, "")
    for number in range(steps):
        member.park(claim)
        step_id = put(store, claim, worker)
        put(store, claim, worker, ns=f"sub:{step_id}", source="input")
        key = f"{claim.task_id}-{claim.key.epoch}-{number}"
        assert store.effect(claim, worker, key, step_id) is None
        store.record_effect(claim, worker, key, step_id, VALUE)
        assert store.effect(claim, worker, key, step_id) == VALUE


def write_late(member: Member, claim: Claim) -> None:
    """A write of a superseded holder, refused and recorded."""
    try:
        put(member.store, claim, member.worker_id)
    except LeaseLost:
        member.store.refused(claim.key)
    else:
        raise AssertionError(f"{key_of(claim)} was not superseded")


def _losses(house: House, clock: ManualClock) -> None:
    """A crash, a silence, a stall, a drain, a stop, and a session that doubted itself."""
    first, second, third = (house.session(f"w-{number}") for number in (1, 2, 3))
    house.submit("t-loss")
    claim = first.claim()
    work(first, claim)
    clock.forward(1)
    house.bury(first, Evidence.PIDFD)
    again = second.claim()
    work(second, again)
    write_late(first, claim)
    clock.forward(TTL_SECONDS + 1)
    house.bury(second, Evidence.TTL)
    stuck = third.claim(deadlines_seconds={"g": 30})
    work(third, stuck)
    fourth = house.session("w-4")
    clock.forward(31)
    third.beat()
    house.store.note_late(third.id, third.worker_id, 31 * SECOND)
    work(fourth, fourth.claim())
    fourth.stop()
    fifth = house.session("w-5")
    claim = fifth.claim()
    work(fifth, claim)
    house.store.drain_session(fifth.id, fifth.worker_id)
    fifth.drained(claim)
    fifth.stop()
    sixth = house.session("w-6")
    sixth.claim()
    sixth.stop(TakeoverReason.HEARTBEAT_LOST)
    last = house.session("w-7")
    claim = last.claim()
    house.store.resumed(claim, last.worker_id, TakeoverOutcome.COMPLETED, "")
    last.done(claim)
    for member in (third, last):
        member.stop()


def _operator(house: House, clock: ManualClock) -> None:
    """An answer, a retry, and whatever else an operator may do."""
    member = house.session("w-op")
    house.submit("t-op")
    claim = member.claim()
    work(member, claim)
    member.interrupted(claim)
    house.store.request_resume("t-op", VALUE, "digest")
    claim = member.claim()
    work(member, claim)
    member.failed(claim)
    house.store.retry("t-op")
    member.claim()
    house.store.take_away("t-op", "release")
    member.claim()
    house.store.take_away("t-op", "takeover")
    other = house.session("w-other")
    claim = other.claim()
    other.drained(claim)
    house.store.cancel("t-op")
    house.store.retry("t-op")
    claim = other.claim()
    assert claim.reason is None
    house.store.cancel("t-op")
    write_late(other, claim)
    clock.forward(1)
    for one in (member, other):
        one.stop()


def _poison(house: House) -> None:
    """A task that takes one worker after another with it, until it is put aside."""
    house.submit("t-poison")
    for number in range(3):
        member = house.session(f"w-victim-{number}")
        member.claim()
        house.bury(member, Evidence.FLOCK)
    rescuer = house.session("w-rescuer")
    assert rescuer.claims().quarantined == ("t-poison",)
    house.store.retry("t-poison")
    claim = rescuer.claim()
    work(rescuer, claim)
    rescuer.done(claim)
    rescuer.stop()


def _foreign(house: House, clock: ManualClock) -> None:
    """A thread of somebody's own runtime, leased for one run after another."""
    member = house.session("app-1", kind="embedded")
    for end in (EventType.DONE, EventType.INTERRUPTED):
        claim = member.lease("thread-1")
        put(house.store, claim, member.worker_id)
        house.store.finish(claim, member.worker_id, end, {"external": True})
    house.store.request_resume("thread-1", VALUE, "digest")
    claim = member.lease("thread-1")
    clock.forward(1)
    house.bury(member, Evidence.PIDFD)
    other = house.session("app-2", kind="embedded")
    again = other.lease("thread-1")
    put(house.store, again, other.worker_id)
    write_late(member, claim)
    other.stop()
    third = house.session("app-3", kind="embedded")
    third.failed(third.lease("thread-1"))
    third.stop()


def healthy_ledger() -> list[Event]:
    """Everything at once; what the store wrote of it."""
    house, clock = House.in_memory()
    try:
        _losses(house, clock)
        _operator(house, clock)
        _poison(house)
        _foreign(house, clock)
        house.submit("t-last")
        claim = house.session("w-last").claim()
        clock.forward(2 * TTL_SECONDS)
        house.store.accept_restore()
        successor = house.session("w-successor")
        work(successor, successor.claim())
        house.store.refused(claim.key)
        return house.events()
    finally:
        house.store.close()
