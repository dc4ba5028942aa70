"""Whatever happens to a store, in whatever order, it does what the model says."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.support.house import (
    SECOND,
    TTL_SECONDS,
    House,
    ManualClock,
    Member,
    assert_ledger_holds,
)
from tests.support.model import (
    Found,
    Model,
    ModelSession,
    ModelTask,
    Wanted,
    legal_states,
    summary,
)

from baton.domain.words import (
    Evidence,
    SessionState,
    TakeoverOutcome,
    TakeoverReason,
    TaskState,
)
from baton.errors import BadInput, IllegalTransition, LeaseHeld, LeaseLost, TaskConflict
from baton.fleet.model import Claim, Loss

VALUE = ("json", b"1")
TTL_US = TTL_SECONDS * SECOND

Held = tuple[Member, Claim]

# What stands here twice happens twice as often.
POOLS = st.sampled_from(("default", "default", "default", "default", "gpu"))
GRAPHS = st.sampled_from(("g", "h"))
LATER = st.sampled_from((0, 0, 0, 0.001, 1, 6, 11, TTL_SECONDS))
TASK_IDS = [f"t-{n}" for n in range(8)]
THREADS = ("thread-1", "thread-2", TASK_IDS[0])
ASKED = st.fixed_dictionaries(
    {
        "limit": st.integers(1, 3),
        "running": st.sampled_from((0, 0, 0, 1)),
        "graphs": st.sampled_from((("g", "h"), ("g", "h"), ("h",))),
        "deadline": st.sampled_from((None, None, 10)),
    }
)
WORK = st.sampled_from(("puts", "parks", "parks_beside", "has_an_effect", "records_a_resume_value"))
WORKS = st.lists(WORK, min_size=1, max_size=3)
ENDS = st.sampled_from(("drained", "drained", "drained", "interrupted", "failed", "done"))
VERBS = ("resume", "retry", "release", "takeover", "cancel")


class StoreMachine(RuleBasedStateMachine):
    """Sessions, workers and operators against one store, and the model beside it.

    Who acts is drawn within the rules, and not from bundles: Hypothesis leaves rules out at
    random, and stories without claims have nothing to tell.
    """

    def __init__(self) -> None:
        """Begin with an empty store."""
        super().__init__()
        self.house, self.clock = self.make_house()
        numbers = iter(range(10**6))
        self.house._sessions = lambda: f"session-{next(numbers):06}"  # noqa: SLF001 - in text order too
        self.store = self.house.store
        self.model = Model(self.clock.now_us())
        self.members: list[Member] = []
        self.leases: list[Held] = []
        self.epochs: dict[str, int] = {}
        self.runs: dict[str, set[str]] = defaultdict(set)

    def make_house(self) -> tuple[House, ManualClock]:
        """A store in memory; another kind of store makes its own."""
        return House.in_memory()

    def teardown(self) -> None:
        """The ledger tells a story that can have happened, and nobody has touched it."""
        assert_ledger_holds(self.house.events())
        self.store.close()

    # Who acts, and when

    def wait(self, data: st.DataObject) -> None:
        """Time passes, for everybody."""
        self.clock.forward(data.draw(LATER, "seconds later"))
        self.model.now = self.clock.now_us()

    def session(self, member: Member) -> ModelSession:
        """The model's side of a session."""
        return self.model.sessions[member.id]

    def living(self) -> list[Member]:
        """Those who are neither lost nor stopped; there is always one."""
        return [member for member in self.members if self.session(member).live]

    def some_live(self, data: st.DataObject) -> Member:
        """One of them."""
        return data.draw(st.sampled_from(self.living()), "live member")

    def some_lease(self, data: st.DataObject) -> Held:
        """One that holds, or any: zombies are who the fence is for."""
        valid = [held for held in self.leases if self.model.holds(held[1].key)]
        if valid and data.draw(st.integers(0, 2), "zombie if 0"):
            return data.draw(st.sampled_from(valid), "lease")
        return data.draw(st.sampled_from(self.leases), "lease, valid or not")

    # Sessions

    @initialize(data=st.data())
    def begins(self, data: st.DataObject) -> None:
        """Two workers, two tasks, and somebody at work."""
        for n in range(2):
            self.submit(TASK_IDS[n], data.draw(GRAPHS), "default")
            self.wait(data)
        self.start("w-0", "default")
        self.start("w-1", "default")
        self.claims(data)

    def start(self, worker_id: str, pool: str) -> None:
        """A session begins."""
        member = self.house.session(worker_id, pool=pool)
        session = ModelSession(member.id, worker_id, pool, beat_at=self.model.now)
        self.model.sessions[member.id] = session
        self.members.append(member)

    @rule(data=st.data(), leaving=st.booleans())
    def shows_life(self, data: st.DataObject, leaving: bool) -> None:  # noqa: FBT001 - drawn
        """A heartbeat is accepted, however late; so is a wish to leave."""
        self.wait(data)
        member = self.some_live(data)
        session = self.session(member)
        if leaving:
            self.store.drain_session(member.id, member.worker_id)
            session.state = SessionState.DRAINING
        assert member.beat().accepted
        session.beat += 1
        session.beat_at = self.model.now

    @rule(data=st.data(), heir_claims=st.booleans())
    def leaves(self, data: st.DataObject, heir_claims: bool) -> None:  # noqa: FBT001 - drawn
        """Somebody is lost or stops, the worker starts again, and another may claim at once."""
        self.wait(data)
        member = self.some_live(data)
        how = data.draw(st.sampled_from((*Evidence, *STOPS)), "how")
        if isinstance(how, Evidence):
            self.is_buried(member, how)
        else:
            cut_off = data.draw(st.booleans(), "for want of the store")
            expected = self.model.stop(self.session(member), how, cut_off=cut_off)
            assert sorted(member.stop(how, cut_off=cut_off)) == sorted(expected)
        if len(self.living()) < 2 or data.draw(st.booleans(), "starts again"):
            self.start(member.worker_id, data.draw(POOLS, "pool"))
        if heir_claims:
            self.claims(data)

    def is_buried(self, member: Member, evidence: Evidence) -> None:
        """Not for a silence that it has broken since, and then for good."""
        session = self.session(member)
        beat = None
        if evidence is Evidence.TTL:
            beat = session.beat
            stale = Loss(session_id=member.id, evidence=evidence, beat=beat - 1)
            assert not self.store.bury(stale)
        assert self.store.bury(Loss(session_id=member.id, evidence=evidence, beat=beat))
        session.state, session.evidence = SessionState.LOST, evidence

    @precondition(lambda self: any(not s.live for s in self.model.sessions.values()))
    @rule(data=st.data())
    def goes_on_although_it_is_over(self, data: st.DataObject) -> None:
        """It is told at every turn."""
        dead = [member for member in self.members if not self.session(member).live]
        member = data.draw(st.sampled_from(dead), "dead member")
        assert not member.beat().accepted
        assert not self.house.bury(member)
        assert member.stop() == []
        assert self.claim(member, data.draw(ASKED, "asks for")) == ()

    # Tasks

    @rule(task_id=st.sampled_from(TASK_IDS), graph=GRAPHS, pool=POOLS)
    def submit(self, task_id: str, graph: str, pool: str) -> None:
        """Once; again is nothing new, and otherwise is a conflict."""
        known = self.model.tasks.get(task_id)

        def submit() -> bool:
            return self.store.submit(
                task_id, graph=graph, pool=pool, input_=VALUE, input_digest="digest"
            )

        if known is None:
            assert submit()
            self.model.tasks[task_id] = ModelTask(task_id, pool, graph, self.model.now)
        elif (known.graph, known.pool) == (graph, pool):
            assert not submit()
        else:
            with pytest.raises(TaskConflict):
                submit()

    @rule(data=st.data())
    def claims(self, data: st.DataObject) -> None:
        """Exactly what the model says, in its order."""
        self.wait(data)
        member = self.some_live(data)
        won = self.claim(member, data.draw(ASKED, "asks for"))
        self.leases += [(member, claim) for claim in won]

    def claim(self, member: Member, asked: dict[str, Any]) -> tuple[Claim, ...]:
        """One round of claiming on both sides."""
        deadline, graphs = asked["deadline"], asked["graphs"]
        wanted = Wanted(
            self.session(member),
            graphs,
            asked["limit"],
            asked["running"],
            deadline and deadline * SECOND,
            TTL_US,
        )
        expected = self.model.claim(wanted)
        deadlines = dict.fromkeys(graphs, float(deadline)) if deadline else {}
        about = {name: asked[name] for name in ("limit", "running", "graphs")}
        if expected.refused:
            with pytest.raises(LeaseLost):
                member.claims(**about, deadlines_seconds=deadlines)
            return ()
        found = member.claims(**about, deadlines_seconds=deadlines)
        told = Found(summary(found.won), list(found.quarantined), found.alone_waiting)
        assert told == expected
        return found.won

    @rule(data=st.data(), thread=st.sampled_from(THREADS))
    def leases_a_thread(self, data: st.DataObject, thread: str) -> None:
        """Of somebody's own runtime, unless a live session holds it."""
        member = self.some_live(data)
        session, task = self.session(member), self.model.tasks.get(thread)
        holder = self.model.sessions.get(task.holder or "") if task else None
        held = holder is not None and holder.live
        if held or (task is not None and not task.external):
            with pytest.raises(LeaseHeld if held else BadInput):
                member.lease(thread)
            return
        if task is None:
            task = ModelTask(thread, session.pool, "external", self.model.now, external=True)
            self.model.tasks[thread] = task
        goes_on = task.state in (TaskState.ACTIVE, TaskState.PENDING)
        cause = self.model.cause(task) if goes_on else None
        task.runs += not goes_on
        self.model.give(task, session)
        claim = member.lease(thread)
        assert (claim.key.epoch, claim.reason) == (task.epoch, cause[0] if cause else None)
        self.leases.append((member, claim))

    # Writing under a lease, live or not

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), works=WORKS)
    def writes(self, data: st.DataObject, works: list[str]) -> None:
        """In one way and another."""
        for work in works:
            getattr(self, work)(data, *self.some_lease(data))

    def tries(self, claim: Claim, write: Callable[[], object]) -> bool:
        """Try to write; whether it is accepted is for the model to say."""
        chain = f"task:{claim.task_id}"
        before = self.house.last(chain)
        if self.model.holds(claim.key):
            write()
            return True
        with pytest.raises(LeaseLost):
            write()
        assert self.house.last(chain) == before
        return False

    def puts(self, data: st.DataObject, member: Member, claim: Claim) -> None:
        """A super-step, with the pending writes that were parked before it."""
        parked = data.draw(st.integers(0, 2), "parked")

        def put() -> None:
            for _ in range(parked):
                member.park(claim)
            member.put(claim)

        before = self.house.pending_writes(claim.task_id)
        if self.tries(claim, put):
            self.model.work(claim.task_id)
            event = self.house.last(f"task:{claim.task_id}")
            assert (event.type, event.epoch, event.session_id, event.data["writes"]) == (
                "step",
                claim.key.epoch,
                member.id,
                parked,
            )
            before += parked
        assert self.house.pending_writes(claim.task_id) == before

    def parks(self, data: st.DataObject, member: Member, claim: Claim) -> None:
        """Pending writes that no checkpoint follows."""
        del data
        before = self.house.pending_writes(claim.task_id)
        accepted = self.model.holds(claim.key)
        member.park(claim)
        assert self.house.pending_writes(claim.task_id) == before + accepted
        if accepted:
            self.model.work(claim.task_id)

    def parks_beside(self, data: st.DataObject, member: Member, claim: Claim) -> None:
        """Pending writes that another lease's put takes along, even if it is refused itself."""
        another, other = self.some_lease(data)
        before = self.house.pending_writes(claim.task_id)
        accepted = self.model.holds(claim.key)
        member.park(claim)
        with suppress(LeaseLost):
            another.put(other)
            self.model.work(other.task_id)
        assert self.house.pending_writes(claim.task_id) == before + accepted
        if accepted:
            self.model.work(claim.task_id)

    def records_a_resume_value(self, data: st.DataObject, member: Member, claim: Claim) -> None:
        """From then on it is LangGraph's to remember."""
        del data, member
        if self.tries(claim, lambda: self.store.data.write_now(claim.key, [], resume=True)):
            self.model.tasks[claim.task_id].resume = False
            self.model.work(claim.task_id)

    def has_an_effect(self, data: st.DataObject, member: Member, claim: Claim) -> None:
        """The state is loaded, and an effect looked up; only recording a new one is work."""
        del data
        key = f"{claim.task_id}/key"
        found: list[object] = []

        def look() -> None:
            outcome = TakeoverOutcome.RESUMED
            self.store.resumed(claim, member.worker_id, outcome, "s")
            found.append(self.store.effect(claim, member.worker_id, key, "s"))

        if self.tries(claim, look) and found == [None]:
            self.store.record_effect(claim, member.worker_id, key, "s", VALUE)
            self.model.work(claim.task_id)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=ENDS)
    def ends(self, data: st.DataObject, how: str) -> None:
        """The lease is over, and the run with it, unless another is to continue it."""
        member, claim = self.some_lease(data)
        if not self.tries(claim, lambda: getattr(member, how)(claim)):
            return
        task = self.model.tasks[claim.task_id]
        if how == "drained":
            self.model.vacate(task, TakeoverReason.DRAINED)
            return
        task.state, task.holder = TaskState(how), None
        if how == "interrupted" and data.draw(st.booleans(), "answered"):
            assert self.model.act(task, "resume")
            self.store.request_resume(task.task_id, VALUE, "digest")

    # Operators

    @rule(data=st.data())
    def an_operator_acts(self, data: st.DataObject) -> None:
        """Legally, or it is refused and nothing is changed."""
        self.wait(data)
        task = self.model.tasks[data.draw(st.sampled_from(sorted(self.model.tasks)), "task")]
        legal = [verb for verb in VERBS if task.state in legal_states(verb)]
        verb = data.draw(st.sampled_from((*legal, *legal, *legal, *VERBS)), "verb")
        act: Callable[[], object] = {
            "resume": lambda: self.store.request_resume(task.task_id, VALUE, "digest"),
            "retry": lambda: self.store.retry(task.task_id),
            "cancel": lambda: self.store.cancel(task.task_id),
        }.get(verb, lambda: self.store.take_away(task.task_id, verb))
        if self.model.act(task, verb):
            act()
        else:
            with pytest.raises(IllegalTransition):
                act()

    def nobody_is_at_work(self) -> bool:
        """Whether a restore may be accepted now, and matters."""
        live = [session for session in self.model.sessions.values() if session.live]
        silent = all(self.model.now - session.beat_at >= TTL_US for session in live)
        return silent and any(task.holder for task in self.model.tasks.values())

    @precondition(nobody_is_at_work)
    @rule()
    def a_restore_is_accepted(self) -> None:
        """Above every epoch that was given out."""
        witness_epoch = self.store.sessions.witness()[1]
        given_out = [task.epoch for task in self.model.tasks.values() if task.holder]
        assert witness_epoch >= max(given_out)
        assert self.store.accept_restore() == len(self.model.tasks)
        self.model.accept_restore(witness_epoch)

    # What holds at every moment

    @invariant()
    def tasks_are_as_the_model_says(self) -> None:
        """Each of them, in everything that the model knows; and its epoch only grows."""
        found = {task.task_id: task for task in self.store.tasks()}
        assert found.keys() == self.model.tasks.keys()
        for task_id, expected in self.model.tasks.items():
            task = found[task_id]
            assert (task.state, task.epoch, task.session_id, task.external) == (
                expected.state,
                expected.epoch,
                expected.holder,
                expected.external,
            )
            assert (task.fruitless, task.ready_at) == (expected.fruitless, expected.ready_at)
            self.runs[task_id].add(task.run_id)
            assert len(self.runs[task_id]) == expected.runs
            assert task.epoch >= self.epochs.get(task_id, 0)
            self.epochs[task_id] = task.epoch

    @invariant()
    def sessions_are_as_the_model_says(self) -> None:
        """Those that ended included."""
        found = {s.spec.session_id: s for s in self.store.sessions.recent(0)}
        assert found.keys() == self.model.sessions.keys()
        for session_id, expected in self.model.sessions.items():
            session = found[session_id]
            assert (session.state, session.beat) == (expected.state, expected.beat)

    @invariant()
    def counts_are_those_of_the_tasks(self) -> None:
        """Though only triggers keep them."""
        tasks = self.model.tasks.values()
        counted = {(pool, graph, state): n for pool, graph, state, n in self.store.counts()}
        assert counted == Counter((t.pool, t.graph, t.state.value) for t in tasks)
        held = Counter((t.holder, t.pool, t.external) for t in tasks if t.holder)
        leases = self.store.leases()
        assert {(s, pool, external): n for s, pool, n, external in leases} == held


STOPS = (TakeoverReason.DRAINED, TakeoverReason.HEARTBEAT_LOST)

TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    # A release is judged by the same stories each time; at a desk each run tells new ones.
    derandomize="CI" in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
