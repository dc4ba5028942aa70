"""Tasks under leases: submitted, claimed, fenced, taken over, put aside."""

from __future__ import annotations

import threading

import pytest
from tests.support.house import (
    SECOND,
    TTL_SECONDS,
    House,
    ManualClock,
    Member,
    key_of,
    numbered,
    write_row,
)

from baton.domain.words import Evidence, TakeoverOutcome, TakeoverReason, TaskState
from baton.errors import BadInput, LeaseHeld, LeaseLost, TaskConflict, UnknownTask
from baton.fleet.model import Claim, Claims, LeaseKey
from baton.fleet.store import memory_store

#: These hold for any store.
BOTH_STORES = True


# Submitting


def test_a_submitted_task_waits(house: House, clock: ManualClock) -> None:
    """Its input is stored before anybody runs it, and the ledger knows only its digest."""
    house.submit("t-1", value=b"secret")
    task = house.store.task("t-1")
    assert (task.state, task.epoch, task.input) == (TaskState.PENDING, 0, ("json", b"secret"))
    assert task.submitted_at == task.ready_at == clock.now_us()
    (event,) = house.store.chain("task:t-1")
    assert (event.type, event.run_id) == ("submitted", task.run_id)
    assert "secret" not in event.payload


def test_submitting_twice_is_submitting_once(house: House) -> None:
    """A client that never heard the answer may ask again, at any time."""
    house.submit("t-1")
    run_id = house.store.task("t-1").run_id
    member = house.session()
    member.done(member.claim())
    submit = house.store.submit
    task = house.store.task("t-1")
    again = submit("t-1", graph="g", pool="default", input_=("json", b"1"), input_digest=digest())
    assert not again
    assert house.store.task("t-1") == task
    assert task.run_id == run_id
    assert house.types("task:t-1").count("submitted") == 1


def digest() -> str:
    """The digest of what ``House.submit`` submits by default."""
    house, _ = House.in_memory()
    house.submit()
    found = house.store.task("t-1").input_digest
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("what", "other"),
    [("graph", {"graph": "h"}), ("pool", {"pool": "gpu"}), ("input", {"value": b"2"})],
)
def test_one_id_stands_for_one_task(house: House, what: str, other: dict[str, str]) -> None:
    """Another graph, pool or input under the same id is refused, and says which it is."""
    house.submit("t-1")
    with pytest.raises(TaskConflict) as conflict:
        house.submit("t-1", **other)  # type: ignore[arg-type]
    assert str(conflict.value) == (
        f"task 't-1' exists with another {what}; choose another --task or leave it out"
    )


def test_an_unknown_task_is_named(house: House) -> None:
    """And the mend with it."""
    with pytest.raises(UnknownTask) as unknown:
        house.store.task("t-9")
    assert str(unknown.value) == (
        "no task 't-9' in this store; `baton tasks list` shows those there are"
    )
    assert house.store.task_or_none("t-9") is None


# Claiming


def test_a_claim_is_a_lease_under_a_new_epoch(house: House, clock: ManualClock) -> None:
    """A run that begins has no predecessor and no reason."""
    house.submit("t-1")
    member = house.session("w-1")
    claim = member.claim()
    assert claim.key == LeaseKey("t-1", 1, member.id)
    assert (claim.graph, claim.input, claim.resume) == ("g", ("json", b"1"), None)
    assert (claim.reason, claim.previous_worker, claim.alone) == (None, None, False)
    task = house.store.task("t-1")
    assert (task.state, task.epoch, task.session_id, task.worker_id, task.claimed_at) == (
        TaskState.ACTIVE,
        1,
        member.id,
        "w-1",
        clock.now_us(),
    )
    event = house.last("task:t-1")
    assert (event.type, event.epoch, event.reason) == ("claimed", 1, None)
    assert "previous_worker" not in event.data


def test_of_two_claimants_one_wins(house: House) -> None:
    """The other finds nothing."""
    first, second = house.session("w-1"), house.session("w-2")
    house.submit()
    assert len(first.claims().won) == 1
    assert second.claims() == Claims()
    assert house.store.leases() == [(first.id, "default", 1, False)]


def test_a_candidate_that_another_took_in_between_is_left_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looked free before the transaction is looked at again inside it."""
    slow, quick = house.session("w-1"), house.session("w-2")
    house.submit()
    witness = house.store.sessions.raise_witness

    def overtake(session_id: str, epoch: int) -> None:
        witness(session_id, epoch)
        if session_id == slow.id:
            assert len(quick.claims().won) == 1

    monkeypatch.setattr(house.store.sessions, "raise_witness", overtake)
    assert slow.claims() == Claims()
    assert house.store.task("t-1").session_id == quick.id


def test_many_claimants_share_many_tasks(house: House) -> None:
    """From as many threads, each task is won once and all are won."""
    for n in range(40):
        house.submit(f"t-{n}")
    members = [house.session(f"w-{n}") for n in range(4)]
    won: list[Claim] = []

    def work(member: Member) -> None:
        while found := member.claims(limit=3).won:
            won.extend(found)

    threads = [threading.Thread(target=work, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim.task_id for claim in won) == sorted(f"t-{n}" for n in range(40))
    assert {claim.key.epoch for claim in won} == {1}


def test_the_oldest_task_is_claimed_first_whatever_its_graph(
    house: House, clock: ManualClock
) -> None:
    """A busy graph does not keep the tasks of another waiting forever."""
    for task_id, graph in (("t-1", "b"), ("t-2", "a"), ("t-3", "b"), ("t-4", "a")):
        house.submit(task_id, graph=graph)
        clock.forward(1)
    member = house.session()
    won = member.claims(limit=3, graphs=("a", "b")).won
    assert [claim.task_id for claim in won] == ["t-1", "t-2", "t-3"]


def test_what_was_left_behind_comes_first(house: House, clock: ManualClock) -> None:
    """A run that already began is continued before another begins."""
    lost, successor = house.session("w-1"), house.session("w-2")
    house.submit("waits")
    clock.forward(1)
    house.submit("left", graph="other")
    claim = lost.claim(graphs=("other",))
    lost.put(claim)
    house.bury(lost)
    won = successor.claims(limit=2, graphs=("g", "other")).won
    assert [claim.task_id for claim in won] == ["left", "waits"]


def test_a_limit_is_kept(house: House) -> None:
    """What does not fit is left to others."""
    for n in range(5):
        house.submit(f"t-{n}")
    member = house.session()
    assert len(member.claims(limit=3).won) == 3
    assert len(member.claims(limit=3).won) == 2
    assert member.claims(limit=3) == Claims()


def test_pools_and_graphs_are_respected(house: House) -> None:
    """By what waits and by what was left behind."""
    elsewhere, gpu = house.session("w-1"), house.session("w-2", pool="gpu")
    house.submit("cpu-task")
    house.submit("gpu-task", pool="gpu")
    house.submit("other-graph", pool="gpu", graph="h")
    assert [c.task_id for c in gpu.claims(limit=9).won] == ["gpu-task"]
    house.bury(gpu)
    assert [c.task_id for c in elsewhere.claims(limit=9).won] == ["cpu-task"]
    successor = house.session("w-3", pool="gpu")
    assert successor.claims(limit=9, graphs=("h",)).won[0].task_id == "other-graph"
    assert [c.task_id for c in successor.claims(limit=9).won] == ["gpu-task"]


def test_a_takeover_continues_the_run_under_the_next_epoch(
    house: House, clock: ManualClock
) -> None:
    """And says from whom, since when, and how the loss was known."""
    lost, successor = house.session("w-1"), house.session("w-2")
    house.submit()
    before = lost.claim()
    clock.forward(2)
    lost.put(before)
    wrote_at = clock.now_us()
    clock.forward(3)
    house.bury(lost)
    lost_at = clock.now_us()
    clock.forward(1)
    claim = successor.claim()
    assert claim.key == LeaseKey("t-1", 2, successor.id)
    assert (claim.run_id, claim.reason) == (before.run_id, TakeoverReason.CRASHED)
    event = house.last("task:t-1")
    assert (event.reason, event.at) == ("crashed", clock.now_us())
    data = event.data
    about = {name: data[name] for name in data if name.startswith("previous")}
    assert about == {
        "previous_epoch": 1,
        "previous_session": lost.id,
        "previous_worker": "w-1",
    }
    assert (data["evidence"], data["lost_at"]) == ("pidfd", lost_at)
    # An accepted write is a sign of life; the silence since the last heartbeat is kept apart.
    assert (data["last_sign_at"], data["silence_us"]) == (wrote_at, 5 * SECOND)


def test_silence_is_told_from_evidence(house: House, clock: ManualClock) -> None:
    """The reason of a takeover is how the loss was known."""
    lost, successor = house.session("w-1"), house.session("w-2")
    house.submit()
    lost.claim()
    clock.forward(TTL_SECONDS)
    house.bury(lost, Evidence.TTL)
    assert successor.claim().reason is TakeoverReason.HEARTBEAT_LOST


def test_epochs_only_rise(house: House) -> None:
    """Through takeovers, drains and operators."""
    house.submit()
    epochs = []
    for n in range(3):
        member = house.session(f"w-{n}")
        epochs.append(member.claim(fruitless_max=9).key.epoch)
        house.bury(member)
    planned = house.session("w-3")
    claim = planned.claim(fruitless_max=9)
    epochs.append(claim.key.epoch)
    planned.drained(claim)
    epochs.append(planned.claim(fruitless_max=9).key.epoch)
    house.store.take_away("t-1", "release")
    epochs.append(house.store.task("t-1").epoch)
    epochs.append(planned.claim(fruitless_max=9).key.epoch)
    assert epochs == sorted(set(epochs))


def test_a_task_whose_session_vanished_with_its_file_is_claimed(house: House) -> None:
    """The sessions file may lose its last rows with the host; tasks must not hang on them."""
    vanished, other = house.session("w-1"), house.session("w-2")
    house.submit()
    old = vanished.claim()
    vanished.put(old)
    house.lose_row(vanished)
    claim = other.claim()
    assert (claim.key.epoch, claim.run_id) == (2, old.run_id)
    assert (claim.reason, claim.previous_worker) == (TakeoverReason.HEARTBEAT_LOST, "w-1")
    assert house.types(f"session:{vanished.id}") == ["session_started", "session_lost"]
    with pytest.raises(LeaseLost):
        vanished.put(old)


# The fence


def refusal(house: House, member: Member) -> tuple[str, str | None, int | None]:
    """What the chain of a refused session says last."""
    event = house.last(f"session:{member.id}")
    return event.type, event.task_id, event.epoch


def test_the_fence_compares_epoch_and_session(house: House) -> None:
    """Either alone is not enough."""
    member, other = house.session("w-1"), house.session("w-2")
    house.submit()
    claim = member.claim()
    for wrong in (key_of(claim, epoch=2), key_of(claim, session_id=other.id)):
        with pytest.raises(LeaseLost), house.store.data.write() as write:
            write.fence(wrong)
    with house.store.data.write() as write:
        head = write.fence(claim.key)
    assert head is not None
    assert head[1] == house.last("task:t-1").hash


def test_an_unknown_task_passes_no_fence(house: House) -> None:
    """There is nothing to hold."""
    with pytest.raises(LeaseLost), house.store.data.write() as write:
        write.fence(LeaseKey("t-9", 0, "session-1"))


def test_a_lost_holder_that_nobody_superseded_may_still_write(house: House) -> None:
    """The fence is about supersession, not about time."""
    member = house.session()
    house.submit()
    claim = member.claim()
    house.bury(member)
    member.put(claim)
    member.done(claim)
    assert house.state() is TaskState.DONE


@pytest.mark.parametrize(
    "verb",
    ["put", "park", "resumed", "effect", "record_effect", "release", "done", "failed", "delete"],
)
def test_a_superseded_holder_is_refused(house: House, verb: str) -> None:
    """Whatever it tries to write; the successor's state stays as it is."""
    zombie, successor = house.session("w-1"), house.session("w-2")
    house.submit()
    old = zombie.claim()
    house.bury(zombie)
    new = successor.claim()
    step_id = successor.put(new)
    store, key = house.store, old.key
    before = store.chain("task:t-1")
    tries = {
        "put": lambda: zombie.put(old),
        "park": lambda: store.data.write_now(key, [write_row("t-1")], resume=False),
        "resumed": lambda: store.resumed(old, "w-1", TakeoverOutcome.RESUMED, step_id),
        "effect": lambda: store.effect(old, "w-1", "key", step_id),
        "record_effect": lambda: store.record_effect(old, "w-1", "key", step_id, ("null", b"")),
        "release": lambda: zombie.drained(old),
        "done": lambda: zombie.done(old),
        "failed": lambda: zombie.failed(old),
        "delete": lambda: store.data.delete_thread(key),
    }
    with pytest.raises(LeaseLost) as lost:
        tries[verb]()
    assert (lost.value.task_id, lost.value.epoch, lost.value.why) == ("t-1", 1, "superseded")
    assert store.chain("task:t-1") == before
    assert store.task("t-1").session_id == successor.id
    assert house.pending_writes("t-1") == 0
    store.refused(key)
    assert refusal(house, zombie) == ("write_refused", "t-1", 1)


def test_parked_writes_of_a_superseded_holder_are_dropped_and_recorded(house: House) -> None:
    """Somebody else's transaction takes them along, and finds them refused."""
    zombie, successor = house.session("w-1"), house.session("w-2")
    house.submit()
    old = zombie.claim()
    house.bury(zombie)
    new = successor.claim()
    told: list[LeaseKey] = []
    house.store.data.on_lost = lambda _, key: told.append(key)
    zombie.park(old)
    successor.put(new)
    assert house.pending_writes("t-1") == 0
    assert refusal(house, zombie) == ("write_refused", "t-1", 1)
    assert told == [old.key]


def test_a_finished_run_accepts_nothing_more(house: House) -> None:
    """The lease ended with it."""
    member = house.session()
    house.submit()
    claim = member.claim()
    member.done(claim)
    with pytest.raises(LeaseLost):
        member.put(claim)
    assert house.state() is TaskState.DONE


@pytest.mark.parametrize(
    ("end", "state", "error"),
    [
        ("done", TaskState.DONE, None),
        ("failed", TaskState.FAILED, "ValueError: no"),
        ("interrupted", TaskState.INTERRUPTED, None),
    ],
)
def test_the_end_of_a_run_ends_its_lease(
    house: House, clock: ManualClock, end: str, state: TaskState, error: str | None
) -> None:
    """Nobody holds the task afterwards, and nobody claims it."""
    member = house.session()
    house.submit()
    claim = member.claim()
    clock.forward(7)
    getattr(member, end)(claim)
    task = house.store.task("t-1")
    assert (task.state, task.session_id, task.worker_id) == (state, None, None)
    assert (task.ended_at, task.error, task.epoch) == (clock.now_us(), error, 1)
    event = house.last("task:t-1")
    assert (event.type, event.run_id) == (state.value, claim.run_id)
    assert event.reason == ("ValueError" if error else None)
    assert "no" not in event.payload
    assert member.claims() == Claims()
    assert house.store.leases() == []


def test_a_drained_run_waits_for_no_ttl(house: House) -> None:
    """It is there to be continued at once, by its last holder too."""
    member = house.session()
    house.submit()
    claim = member.claim()
    member.drained(claim)
    assert house.types("task:t-1")[-1] == "drained"
    again = member.claim()
    assert (again.run_id, again.reason) == (claim.run_id, TakeoverReason.DRAINED)


# Fruitless takeovers


def crash(house: House, worker_id: str, **wanted: object) -> Claims:
    """One worker claims and is gone before it made anything durable."""
    member = house.session(worker_id)
    claims = member.claims(**wanted)
    house.bury(member)
    return claims


def test_a_task_that_takes_workers_with_it_runs_alone_and_is_put_aside(house: House) -> None:
    """Three takeovers in a row that brought nothing, by default."""
    house.submit("poison")
    firsts = [crash(house, f"w-{n}").won[0] for n in range(3)]
    assert [claim.alone for claim in firsts] == [False, True, True]
    claims = house.session("w-9").claims()
    assert (claims.won, claims.quarantined) == ((), ("poison",))
    task = house.store.task("poison")
    assert (task.state, task.epoch, task.session_id, task.fruitless) == (
        TaskState.QUARANTINED,
        4,
        None,
        3,
    )
    event = house.last("task:poison")
    assert (event.type, event.reason, event.epoch) == ("quarantined", "crashed", 4)
    assert event.data == {
        "fruitless": 3,
        "previous_session": firsts[-1].key.session_id,
        "previous_worker": "w-2",
    }
    assert house.session("w-10").claims() == Claims()


def test_how_many_are_borne_is_for_the_worker_to_say(house: House) -> None:
    """``fruitless_max`` counts takeovers, not claims."""
    house.submit()
    crash(house, "w-1")
    assert house.session("w-2").claims(fruitless_max=1).quarantined == ("t-1",)


def test_a_suspect_waits_for_a_worker_with_nothing_else_to_do(house: House) -> None:
    """It would take its neighbours along."""
    house.submit("suspect")
    crash(house, "w-1")
    busy = house.session("w-2")
    assert busy.claims(running=1, limit=2) == Claims(alone_waiting=True)
    house.submit("harmless")
    idle = house.session("w-3")
    claims = idle.claims(limit=2)
    assert [claim.task_id for claim in claims.won] == ["suspect"]
    assert claims.won[0].alone


def test_a_suspect_does_not_stop_the_others(house: House, clock: ManualClock) -> None:
    """A worker that has company for it takes what is not suspect."""
    house.submit("suspect")
    crash(house, "w-1")
    clock.forward(1)
    house.submit("harmless")
    claims = house.session("w-2").claims(running=1, limit=1)
    assert [claim.task_id for claim in claims.won] == ["harmless"]
    assert claims.alone_waiting


def durable_step(house: House, member: Member, claim: Claim) -> None:
    """A super-step."""
    del house
    member.put(claim)


def durable_bare_writes(house: House, member: Member, claim: Claim) -> None:
    """Pending writes that no checkpoint followed."""
    member.park(claim)
    house.store.data.flush()


def durable_special_writes(house: House, member: Member, claim: Claim) -> None:
    """An interrupt, an error or a resume value."""
    del member
    house.store.data.write_now(claim.key, [write_row(claim.task_id)], resume=False)


def durable_effect(house: House, member: Member, claim: Claim) -> None:
    """The result of an effect."""
    house.store.record_effect(claim, member.worker_id, "key", "s", ("null", b""))


@pytest.mark.parametrize(
    "write", [durable_step, durable_bare_writes, durable_special_writes, durable_effect]
)
def test_any_durable_write_clears_a_task_of_suspicion(house: House, write: object) -> None:
    """The count begins anew, whatever became of the worker then."""
    assert callable(write)
    house.submit()
    crash(house, "w-1")
    member = house.session("w-2")
    claim = member.claim()
    assert claim.alone
    write(house, member, claim)
    house.bury(member)
    after = house.session("w-3").claim()
    assert not after.alone
    assert house.store.task("t-1").fruitless == 0


def test_recognising_an_old_effect_is_no_durable_write(house: House) -> None:
    """A node that records its effect and then kills its worker is put aside in the end."""
    house.submit()
    first = house.session("w-1")
    claim = first.claim()
    house.store.record_effect(claim, "w-1", "key", "s", ("null", b""))
    house.bury(first)
    alone = []
    for n in range(3):
        member = house.session(f"w-{n}")
        claim = member.claim()
        alone.append(claim.alone)
        house.store.resumed(claim, member.worker_id, TakeoverOutcome.RESUMED, "s")
        assert house.store.effect(claim, member.worker_id, "key", "s") is not None
        house.bury(member)
    assert alone == [False, True, True]
    assert house.session("w-9").claims().quarantined == ("t-1",)


@pytest.mark.parametrize("leave", ["drain", "stop", "operator"])
def test_a_planned_end_adds_no_suspicion_and_takes_none_away(house: House, leave: str) -> None:
    """A release says nothing about the task."""
    house.submit()
    crash(house, "w-1")
    member = house.session("w-2")
    claim = member.claim()
    if leave == "drain":
        member.drained(claim)
    elif leave == "stop":
        member.stop()
    else:
        house.store.take_away("t-1", "release")
    after = house.session("w-3").claim()
    assert after.alone
    assert house.store.task("t-1").fruitless == 1


def test_giving_up_a_doubtful_lease_with_nothing_durable_counts(house: House) -> None:
    """A node that starves its worker's heartbeats is as suspect as one that kills it."""
    house.submit()
    counts = []
    for n in range(2):
        member = house.session(f"w-{n}")
        member.claim()
        member.stop(TakeoverReason.HEARTBEAT_LOST)
        counts.append(house.store.task("t-1").fruitless)
    assert counts == [1, 2]
    member = house.session("w-9")
    claim = member.claim()
    assert claim.alone
    member.put(claim)
    member.stop(TakeoverReason.HEARTBEAT_LOST)
    assert house.store.task("t-1").fruitless == 0


def test_a_lease_given_back_for_want_of_the_store_adds_no_suspicion(house: House) -> None:
    """Nor does it take any away: what killed a worker before is as suspect as it was."""
    house.submit()
    for n in range(4):
        member = house.session(f"w-{n}")
        assert not member.claim().alone
        assert member.stop(TakeoverReason.HEARTBEAT_LOST, cut_off=True) == ["t-1"]
    crash(house, "w-4")
    member = house.session("w-5")
    assert member.claim().alone
    member.stop(TakeoverReason.HEARTBEAT_LOST, cut_off=True)
    assert house.store.task("t-1").fruitless == 1


# Progress deadlines


def test_a_stuck_task_is_taken_from_a_live_worker(house: House, clock: ManualClock) -> None:
    """Only past its deadline, which every durable write moves."""
    stuck, other = house.session("w-1"), house.session("w-2")
    house.submit()
    claim = stuck.claim(deadlines_seconds={"g": 10})
    clock.forward(9)
    stuck.put(claim)
    progress_at = clock.now_us()
    clock.forward(10)
    stuck.beat()
    assert other.claims() == Claims()
    clock.forward(0.001)
    taken = other.claim()
    assert (taken.reason, taken.previous_worker) == (TakeoverReason.PROGRESS_STALLED, "w-1")
    data = house.last("task:t-1").data
    assert (data["last_sign_at"], data["lost_at"]) == (progress_at, clock.now_us())
    with pytest.raises(LeaseLost):
        stuck.put(claim)
    assert stuck.beat().accepted


def test_pending_writes_alone_move_the_deadline(house: House, clock: ManualClock) -> None:
    """A sibling that finished is progress."""
    stuck, other = house.session("w-1"), house.session("w-2")
    house.submit()
    claim = stuck.claim(deadlines_seconds={"g": 10})
    clock.forward(9)
    stuck.park(claim)
    house.store.data.flush()
    clock.forward(9)
    assert other.claims() == Claims()
    clock.forward(2)
    assert other.claim().reason is TakeoverReason.PROGRESS_STALLED


def test_a_stuck_task_is_not_taken_by_its_own_holder(house: House, clock: ManualClock) -> None:
    """It would gain nothing."""
    stuck = house.session()
    house.submit()
    stuck.claim(deadlines_seconds={"g": 10})
    clock.forward(60)
    assert stuck.claims() == Claims()


def test_tasks_without_a_deadline_may_take_their_time(house: House, clock: ManualClock) -> None:
    """So long as their session lives."""
    slow, other = house.session("w-1"), house.session("w-2")
    house.submit()
    slow.claim()
    clock.forward(86_400)
    assert other.claims() == Claims()


# Threads of somebody's own runtime


def test_an_external_thread_becomes_a_task_when_it_is_first_leased(house: House) -> None:
    """And each of its runs has an id of its own."""
    app = house.session("app", kind="embedded")
    first = app.lease("thread-42")
    assert first.key == LeaseKey("thread-42", 1, app.id)
    assert house.types("task:thread-42") == ["submitted", "claimed"]
    assert house.store.task("thread-42").external
    app.done(first)
    second = app.lease("thread-42")
    assert (second.key.epoch, second.reason) == (2, None)
    assert second.run_id != first.run_id


def test_a_held_thread_is_not_leased_twice(house: House) -> None:
    """The refusal names the holder."""
    app, other = house.session("app"), house.session("other")
    claim = app.lease("thread-42")
    with pytest.raises(LeaseHeld) as held:
        other.lease("thread-42")
    assert str(held.value) == (
        f"task 'thread-42' is held by worker 'app' (session {app.id}, epoch 1)"
    )
    app.put(claim)


def test_a_thread_of_a_lost_session_is_leased_as_a_takeover(house: House) -> None:
    """By whoever asks for it, and only then."""
    app, other, worker = (house.session(w) for w in ("app", "other", "worker"))
    claim = app.lease("thread-42")
    app.put(claim)
    house.bury(app)
    assert worker.claims(graphs=("g", "external"), limit=9) == Claims()
    taken = other.lease("thread-42")
    assert (taken.reason, taken.run_id) == (TakeoverReason.CRASHED, claim.run_id)
    assert house.types(f"session:{app.id}")[-1] == "session_lost"
    with pytest.raises(LeaseLost):
        app.put(claim)


def test_workers_never_claim_external_threads(house: House) -> None:
    """Neither one that waits nor one that was left behind; nor are they counted as waiting."""
    app, worker = house.session("app"), house.session("worker")
    app.lease("thread-1")
    app.lease("thread-2")
    app.stop()
    assert house.state("thread-1") is TaskState.PENDING
    assert worker.claims(graphs=("g", "external"), limit=9) == Claims()
    assert house.store.oldest_pending() == []
    assert house.store.vacated() == []
    assert app.store.sessions.unsettled() == []


def test_a_workers_task_is_not_for_leasing(house: House) -> None:
    """Two owners of one thread would fight over it."""
    app = house.session("app")
    house.submit("t-1")
    with pytest.raises(BadInput) as bad:
        app.lease("t-1")
    assert str(bad.value) == "task 't-1' is run by workers; lease another thread"


def test_a_lease_raises_the_witness_before_its_epoch_is_known(house: House) -> None:
    """So that a restored copy rises above it, even if no heartbeat followed."""
    app = house.session("app")
    for _ in range(3):
        app.done(app.lease("thread-42"))
    assert house.store.sessions.witness()[1] == 3


def test_a_claim_raises_the_witness_before_its_epoch_is_known(house: House) -> None:
    """The same for workers."""
    member = house.session()
    house.submit()
    for _ in range(3):
        member.drained(member.claim())
    assert house.store.sessions.witness()[1] == 3


# What a scrape asks


def test_counts_follow_every_move(house: House) -> None:
    """They are kept by triggers, so they are compared with the tasks themselves."""
    member = house.session()
    for n in range(6):
        house.submit(f"t-{n}", graph="g" if n % 2 else "h")
    claims = member.claims(limit=4, graphs=("g", "h")).won
    member.done(claims[0])
    member.failed(claims[1])
    member.interrupted(claims[2])
    house.store.cancel(claims[3].task_id)
    counted = {(pool, graph, state): n for pool, graph, state, n in house.store.counts()}
    listed: dict[tuple[str, str, str], int] = {}
    for task in house.store.tasks():
        place = (task.pool, task.graph, task.state.value)
        listed[place] = listed.get(place, 0) + 1
    assert counted == listed


def test_tasks_are_listed_newest_first(house: House, clock: ManualClock) -> None:
    """Of one state or pool if asked, and no more than asked."""
    for n in range(3):
        house.submit(f"t-{n}", pool="gpu" if n == 1 else "default")
        clock.forward(1)
    member = house.session()
    member.claim()
    tasks = house.store.tasks
    assert [task.task_id for task in tasks()] == ["t-2", "t-1", "t-0"]
    assert [task.task_id for task in tasks(limit=1)] == ["t-2"]
    assert [task.task_id for task in tasks(pool="gpu")] == ["t-1"]
    assert [task.task_id for task in tasks(state=TaskState.ACTIVE)] == ["t-0"]


def test_waiting_runs_and_their_age_are_told(house: House, clock: ManualClock) -> None:
    """Tasks that nobody began, and runs that somebody left."""
    began = clock.now_us()
    house.submit("t-1")
    clock.forward(5)
    house.submit("t-2")
    member = house.session()
    claim = member.claim()
    assert house.store.oldest_pending() == [("default", began + 5 * SECOND)]
    assert house.store.vacated() == []
    clock.forward(5)
    member.drained(claim)
    assert house.store.vacated() == [("default", 1, began + 10 * SECOND)]


def test_the_tail_is_read_in_pages(house: House) -> None:
    """Each event once, in the order of the commits."""
    for n in range(5):
        house.submit(f"t-{n}")
    first = house.store.events(0, limit=2)
    rest = house.store.events(first[-1].seq, limit=9)
    assert [event.task_id for event in first + rest] == [f"t-{n}" for n in range(5)]
    assert house.store.events(rest[-1].seq) == []


def test_a_memory_store_is_the_same_every_time() -> None:
    """Ids and time are the caller's, so the ledger is equal to the byte."""

    def story() -> list[str]:
        clock = ManualClock()
        house = House(memory_store(clock, numbered("id")), clock)
        house.submit()
        member = house.session()
        claim = member.claim()
        member.park(claim)
        clock.forward(1)
        member.put(claim)
        member.done(claim)
        return [event.hash for event in house.events()]

    assert story() == story()
