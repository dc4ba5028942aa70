"""What an operator may do to a task: legal or refused in one line, and always an event."""

from __future__ import annotations

import pytest
from tests.support.house import SECOND, TTL_SECONDS, House, ManualClock, Member

from baton.domain.words import TakeoverReason, TaskState
from baton.errors import BadInput, IllegalTransition, LeaseLost, UnknownTask
from baton.fleet.model import Claim, Claims
from baton.fleet.store import Store

#: These hold for any store.
BOTH_STORES = True


VALUE = ("json", b"yes")


def act(store: Store, verb: str, task_id: str = "t-1") -> None:
    """Do what ``baton tasks VERB`` does."""
    match verb:
        case "resume":
            store.request_resume(task_id, VALUE, "digest")
        case "retry":
            store.retry(task_id)
        case "cancel":
            store.cancel(task_id)
        case _:
            store.take_away(task_id, verb)


def bring_to(house: House, state: TaskState, task_id: str = "t-1") -> tuple[Member, Claim | None]:
    """A task in a state, and its last lease."""
    member = house.session("w-1")
    house.submit(task_id)
    if state is TaskState.PENDING:
        return member, None
    claim = member.claim()
    match state:
        case TaskState.INTERRUPTED:
            member.interrupted(claim)
        case TaskState.DONE:
            member.done(claim)
        case TaskState.FAILED:
            member.failed(claim)
        case TaskState.QUARANTINED:
            house.bury(member)
            member = house.session("w-2")
            assert member.claims(fruitless_max=1).quarantined == (task_id,)
        case _:
            assert state is TaskState.ACTIVE
    return member, claim


LEGAL = {
    "resume": {TaskState.INTERRUPTED},
    "retry": {TaskState.FAILED, TaskState.QUARANTINED},
    "release": {TaskState.ACTIVE},
    "takeover": {TaskState.ACTIVE},
    "cancel": {
        TaskState.PENDING,
        TaskState.ACTIVE,
        TaskState.INTERRUPTED,
        TaskState.QUARANTINED,
    },
}
ILLEGAL = [
    (verb, state) for verb, legal in LEGAL.items() for state in TaskState if state not in legal
]


@pytest.mark.parametrize(("verb", "state"), ILLEGAL)
def test_an_illegal_verb_is_refused_and_changes_nothing(
    house: House, verb: str, state: TaskState
) -> None:
    """In one line that says what it is for."""
    bring_to(house, state)
    before = house.store.task("t-1"), house.events()
    with pytest.raises(IllegalTransition) as refused:
        act(house.store, verb)
    legal = " or ".join(sorted(LEGAL[verb]))
    assert str(refused.value) == f"task 't-1' is {state}, and {verb} is only for {legal}"
    assert (house.store.task("t-1"), house.events()) == before


def test_the_refusal_in_its_exact_words(house: House) -> None:
    """As an operator reads it."""
    bring_to(house, TaskState.DONE)
    with pytest.raises(IllegalTransition) as refused:
        act(house.store, "retry")
    assert str(refused.value) == "task 't-1' is done, and retry is only for failed or quarantined"


@pytest.mark.parametrize("verb", sorted(LEGAL))
def test_an_unknown_task_is_refused(house: House, verb: str) -> None:
    """By every verb, in the same line."""
    with pytest.raises(UnknownTask) as unknown:
        act(house.store, verb, "t-9")
    assert str(unknown.value) == (
        "no task 't-9' in this store; `baton tasks list` shows those there are"
    )


@pytest.mark.parametrize(
    ("verb", "state"), [(v, s) for v, legal in LEGAL.items() for s in sorted(legal)]
)
def test_a_legal_verb_is_one_event(house: House, verb: str, state: TaskState) -> None:
    """With the operator as its reason."""
    bring_to(house, state)
    before = house.events()
    act(house.store, verb)
    (event,) = house.events()[len(before) :]
    assert (event.chain, event.reason) == ("task:t-1", "operator")
    home = {"graph": "g", "pool": "default"} if verb in ("resume", "retry") else {}
    if verb == "resume":
        about = {"value_digest": "digest", **home}
        assert (event.type, event.data) == ("resume_requested", about)
    else:
        assert (event.type, event.data) == ("operator_action", {"action": verb, **home})


def test_resume_begins_a_new_run_with_the_stored_value(house: House, clock: ManualClock) -> None:
    """The next holder finds the value with its claim."""
    member, old = bring_to(house, TaskState.INTERRUPTED)
    assert old is not None
    clock.forward(60)
    run_id = house.store.request_resume("t-1", VALUE, "digest")
    task = house.store.task("t-1")
    assert (task.state, task.run_id, task.ready_at) == (
        TaskState.PENDING,
        run_id,
        clock.now_us(),
    )
    assert run_id != old.run_id
    claim = member.claim()
    assert (claim.resume, claim.run_id, claim.reason) == (VALUE, run_id, None)
    assert "yes" not in "".join(event.payload for event in house.events())


def test_the_value_is_cleared_with_the_write_that_records_it(house: House) -> None:
    """From then on LangGraph's own writes hold it; before that a successor needs it again."""
    member, _ = bring_to(house, TaskState.INTERRUPTED)
    house.store.request_resume("t-1", VALUE, "digest")
    first = member.claim()
    house.bury(member)
    second_member = house.session("w-2")
    second = second_member.claim()
    assert (first.resume, second.resume) == (VALUE, VALUE)
    house.store.data.write_now(second.key, [], resume=True)
    house.bury(second_member)
    assert house.session("w-3").claim().resume is None


def test_a_refused_write_clears_no_value(house: House) -> None:
    """The successor still needs it."""
    member, _ = bring_to(house, TaskState.INTERRUPTED)
    house.store.request_resume("t-1", VALUE, "digest")
    first = member.claim()
    house.bury(member)
    successor = house.session("w-2")
    successor.claim()
    with pytest.raises(LeaseLost):
        house.store.data.write_now(first.key, [], resume=True)
    house.bury(successor)
    assert house.session("w-3").claim().resume == VALUE


def test_retry_begins_a_new_run_without_suspicion(house: House) -> None:
    """An operator has looked into it."""
    member, _ = bring_to(house, TaskState.QUARANTINED)
    run_id = house.store.retry("t-1")
    claim = member.claim()
    assert (claim.run_id, claim.reason, claim.alone) == (run_id, None, False)
    assert house.store.task("t-1").error is None


@pytest.mark.parametrize("verb", ["cancel", "quarantine"])
def test_a_new_run_is_nobodys_takeover(house: House, verb: str) -> None:
    """What was left behind before the retry belongs to a run that is over."""
    leaver, member = house.session("w-1"), house.session("w-2")
    house.submit()
    leaver.claim()
    leaver.stop(TakeoverReason.HEARTBEAT_LOST)
    if verb == "cancel":
        house.store.cancel("t-1")
    else:
        assert member.claims(fruitless_max=1).quarantined == ("t-1",)
    house.store.retry("t-1")
    assert house.store.vacated() == []
    claim = member.claim()
    assert (claim.reason, claim.previous_worker) == (None, None)


def test_release_lets_anybody_go_on(house: House) -> None:
    """The last holder included, at once; what it still believes in is refused."""
    member, old = bring_to(house, TaskState.ACTIVE)
    assert old is not None
    house.store.take_away("t-1", "release")
    with pytest.raises(LeaseLost):
        member.put(old)
    claim = member.claim()
    assert (claim.key.epoch, claim.run_id) == (3, old.run_id)
    assert (claim.reason, claim.previous_worker) == (TakeoverReason.OPERATOR, "w-1")
    data = house.last("task:t-1").data
    assert (data["previous_session"], data["previous_epoch"]) == (member.id, 1)


def test_takeover_keeps_the_old_holder_out_for_a_ttl(house: House, clock: ManualClock) -> None:
    """So that somebody else gets it, if there is anybody."""
    member, old = bring_to(house, TaskState.ACTIVE)
    assert old is not None
    house.store.take_away("t-1", "takeover")
    with pytest.raises(LeaseLost):
        member.put(old)
    assert member.claims() == Claims()
    clock.forward(TTL_SECONDS - 0.001)
    assert member.claims() == Claims()
    clock.forward(0.001)
    claim = member.claim()
    assert (claim.reason, claim.key.epoch) == (TakeoverReason.OPERATOR, 3)


def test_takeover_is_open_to_all_others_at_once(house: House, clock: ManualClock) -> None:
    """Another session of the same worker included: it is another process."""
    member, old = bring_to(house, TaskState.ACTIVE)
    assert old is not None
    taken_at = clock.now_us()
    house.store.take_away("t-1", "takeover")
    clock.forward(1)
    claim = house.session("w-1").claim()
    assert (claim.run_id, claim.previous_worker) == (old.run_id, "w-1")
    data = house.last("task:t-1").data
    assert (data["previous_session"], data["lost_at"]) == (member.id, taken_at)
    assert data["previous_epoch"] == 1


def test_the_old_holder_may_have_it_again_later(house: House, clock: ManualClock) -> None:
    """Being kept out is about one takeover only."""
    member, _ = bring_to(house, TaskState.ACTIVE)
    house.store.take_away("t-1", "takeover")
    other = house.session("w-2")
    other.drained(other.claim())
    assert member.claim().reason is TakeoverReason.DRAINED
    del clock


def test_cancel_fences_the_holder(house: House, clock: ManualClock) -> None:
    """The run is over at once, whatever its holder is doing."""
    member, claim = bring_to(house, TaskState.ACTIVE)
    assert claim is not None
    clock.forward(2)
    house.store.cancel("t-1")
    task = house.store.task("t-1")
    assert (task.state, task.epoch, task.session_id, task.ended_at, task.error) == (
        TaskState.FAILED,
        2,
        None,
        clock.now_us(),
        "cancelled by an operator",
    )
    with pytest.raises(LeaseLost):
        member.put(claim)
    with pytest.raises(LeaseLost):
        member.done(claim)
    assert member.claims() == Claims()


def test_a_cancelled_task_may_be_retried(house: House) -> None:
    """From its last checkpoint, as a new run."""
    member, old = bring_to(house, TaskState.ACTIVE)
    assert old is not None
    member.put(old)
    house.store.cancel("t-1")
    house.store.retry("t-1")
    claim = member.claim()
    assert claim.key.epoch == 3
    assert claim.run_id != old.run_id


def test_troubled_tasks_are_found_by_state(house: House) -> None:
    """As ``--troubled`` asks for them."""
    bring_to(house, TaskState.FAILED, "t-1")
    bring_to(house, TaskState.QUARANTINED, "t-2")
    bring_to(house, TaskState.DONE, "t-3")
    states = (TaskState.FAILED, TaskState.QUARANTINED)
    found = [task.task_id for state in states for task in house.store.tasks(state=state)]
    assert found == ["t-1", "t-2"]


# Restores


def test_accepting_a_restore_raises_every_epoch_above_the_witness(
    house: House, clock: ManualClock
) -> None:
    """Whatever was given out in the lost time is refused, and nobody holds anything."""
    bring_to(house, TaskState.DONE, "finished")
    member, _ = bring_to(house, TaskState.PENDING, "waiting")
    held = member.claim()
    house.submit("untouched")
    lost_position, lost_epoch = house.store.data.position + 50, 40
    house.store.sessions.save_witness(house.store.store_id, lost_position, lost_epoch)
    clock.forward(TTL_SECONDS)
    assert house.store.accept_restore() == 3
    assert {task.epoch for task in house.store.tasks()} == {41}
    states = {task.task_id: task.state.value for task in house.store.tasks()}
    assert states == {"finished": "done", "waiting": "pending", "untouched": "pending"}
    event = house.last("task:waiting")
    assert (event.type, event.epoch, event.data) == (
        "operator_action",
        41,
        {
            "action": "accept_restore",
            "witness_epoch": lost_epoch,
            "witness_position": lost_position,
        },
    )
    with pytest.raises(LeaseLost):
        member.put(held)
    assert house.store.sessions.witness()[0] == house.store.data.position
    taken_at = clock.now_us()
    clock.forward(5)
    claims = {claim.task_id: claim for claim in house.session("w-9").claims(limit=9).won}
    assert claims["waiting"].reason is TakeoverReason.OPERATOR
    assert claims["untouched"].reason is None
    data = house.last("task:waiting").data
    assert (data["previous_session"], data["previous_worker"]) == (member.id, "w-1")
    assert (data["previous_epoch"], data["lost_at"], data["ready_at"]) == (1, taken_at, taken_at)


def test_a_restore_is_not_accepted_under_running_workers(house: House, clock: ManualClock) -> None:
    """They are named, and nothing is changed; once they are silent it goes on."""
    member, _ = bring_to(house, TaskState.ACTIVE)
    other = house.session("w-2")
    with pytest.raises(BadInput) as running:
        house.store.accept_restore()
    assert str(running.value) == "workers w-1, w-2 are running; stop them first"
    assert house.store.task("t-1").epoch == 1
    other.stop()
    clock.forward(TTL_SECONDS - 1 / SECOND)
    with pytest.raises(BadInput, match=r"^workers w-1 are running; stop them first$"):
        house.store.accept_restore()
    house.bury(member)
    assert house.store.accept_restore() == 1


def test_a_session_that_the_restored_ledger_does_not_know_ends_in_silence(
    house: House, clock: ManualClock
) -> None:
    """Its chain begins nowhere, so nothing may be appended to it."""
    member, held = bring_to(house, TaskState.ACTIVE)
    assert held is not None
    house.execute("DELETE FROM baton_event WHERE chain = ?", f"session:{member.id}")
    clock.forward(TTL_SECONDS)
    house.store.accept_restore()
    house.store.refused(held.key)
    house.store.note_late(member.id, member.worker_id, SECOND)
    member.stop()
    assert house.types(f"session:{member.id}") == []
