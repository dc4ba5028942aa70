"""The demo's verdict: a healthy fleet passes, and every planted violation is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.support.house import House, ManualClock, Member

from baton.domain.words import EventType, TakeoverOutcome, TakeoverReason
from baton.domain.words import Evidence as Proof
from baton.fleet.model import Checkpoint, Claim
from baton.prove.demo.screen import Style
from baton.prove.demo.sink import Publication
from baton.prove.demo.summary import Summary
from baton.prove.demo.verdict import Evidence, Fault, Finding, Outcome, judge, latencies, worst
from baton.prove.demo.view import View

POOL = "demo"
PLAIN = Style(colour=False)


@dataclass
class Trial:
    """Four tasks, three faults, and what is left behind."""

    house: House
    clock: ManualClock
    faults: list[Fault] = field(default_factory=list)

    def play(self) -> Evidence:
        """Kill one worker, silence another, drain a third; the fourth takes everything over."""
        for number in range(1, 4):
            self.house.submit(f"{POOL}:t-{number}", pool=POOL)
        killed, silent, drained, heir = (
            self.house.session(f"w-{number}", pool=POOL) for number in range(1, 5)
        )
        self.clock.forward(1)
        claims = [self.begin(worker) for worker in (killed, silent, drained)]
        self.hit(TakeoverReason.CRASHED, killed, claims[0])
        self.house.bury(killed)
        self.take_over(heir)
        self.hit(TakeoverReason.HEARTBEAT_LOST, silent, claims[1])
        self.clock.forward(15)
        self.house.bury(silent, Proof.TTL)
        self.take_over(heir)
        self.house.store.refused(claims[1].key)
        self.hit(TakeoverReason.DRAINED, drained, claims[2])
        drained.drained(claims[2])
        drained.stop()
        self.take_over(heir)
        self.house.submit(f"{POOL}:t-4", pool=POOL)
        self.take_over(heir, resumes=False)
        return self.evidence()

    def begin(self, worker: Member) -> Claim:
        """Claim a task and record an effect in it."""
        claim = worker.claim()
        self.put(worker, claim, step=1)
        self.effect(worker, claim)
        return claim

    def put(self, worker: Member, claim: Claim, step: int) -> None:
        """Make a super-step durable, on top of the one before it."""
        step_id = f"{claim.task_id}-{step}"
        checkpoint = Checkpoint(
            ns="",
            checkpoint_id=step_id,
            parent_id=f"{claim.task_id}-{step - 1}" if step > 1 else None,
            step=step,
            source="loop",
            type="null",
            blob=b"",
            metadata=b"{}",
            digest="0" * 64,
        )
        self.house.store.data.put(claim.key, claim.run_id, worker.worker_id, checkpoint)

    def effect(self, worker: Member, claim: Claim) -> None:
        """Record the one effect of a task."""
        key = f"key of {claim.task_id}"
        self.house.store.record_effect(claim, worker.worker_id, key, "s-0", ("json", b"1"))

    def hit(self, reason: TakeoverReason, worker: Member, claim: Claim) -> None:
        """Note a fault, which comes right after a heartbeat."""
        worker.beat()
        fault = Fault(
            reason=reason,
            signal="SIGTEST",
            worker_id=worker.worker_id,
            session_id=worker.id,
            tasks=(claim.task_id,),
            at=self.clock.now_us(),
        )
        self.faults.append(fault)

    def take_over(self, heir: Member, *, resumes: bool = True) -> None:
        """Claim what there is and bring it to its end."""
        self.clock.forward(0.1)
        claim = heir.claim()
        if not resumes:
            self.put(heir, claim, step=1)
        else:
            self.clock.forward(0.1)
            outcome = TakeoverOutcome.RESUMED
            self.house.store.resumed(claim, heir.worker_id, outcome, "s-0")
        self.effect(heir, claim)
        self.clock.forward(0.1)
        self.put(heir, claim, step=2)
        heir.done(claim)

    def evidence(self) -> Evidence:
        """What was left behind."""
        view = View(POOL)
        assert None not in [view.take(event) for event in self.house.events()]
        results = {task_id: {"report": task_id} for task_id in view.tasks}
        publications = [
            Publication(f"key of {task_id}", task_id, "f", "[]", 1) for task_id in view.tasks
        ]
        return Evidence(
            view=view,
            results=results,
            control=dict(results),
            publications=publications,
            expected=[(task_id, "f", "[]") for task_id in view.tasks],
            faults=self.faults,
            prometheus={"crashed": 1, "drained": 1, "heartbeat_lost": 1},
        )


@pytest.fixture
def evidence(house: House, clock: ManualClock) -> Evidence:
    """A healthy fleet's."""
    return Trial(house, clock).play()


def by_check(evidence: Evidence) -> dict[str, Finding]:
    """The findings by what they check."""
    return {finding.check: finding for finding in judge(evidence)}


def retold(evidence: Evidence, change: Callable[[Any], Any | None]) -> Evidence:
    """The same evidence with a ledger in which each event is changed, or left out for None."""
    view = View(POOL)
    for event in evidence.view.events:
        if (changed := change(event)) is not None:
            view.take(changed)
    return replace(evidence, view=view)


def test_a_healthy_fleet_passes(evidence: Evidence) -> None:
    """Every check passes, and says what it counted."""
    findings = by_check(evidence)
    assert {one.outcome for one in findings.values()} == {Outcome.PASS}
    assert list(findings) == [
        *("results", "effects", "ledger", "one writer"),
        *("crashed", "heartbeat_lost", "drained", "zombie", "prometheus"),
    ]
    assert findings["results"].text == "4 of 4 tasks ended as in an undisturbed run"
    assert "once() answered 3 and the sink 0" in findings["effects"].text
    assert "1 taken over, within 15.2 s" in findings["heartbeat_lost"].text
    assert "wrote once too late" in findings["zombie"].text


TASK = f"{POOL}:t-1"


def without_last(evidence: Evidence) -> Evidence:
    """The last publication is lost."""
    return replace(evidence, publications=evidence.publications[:-1])


def with_twice(evidence: Evidence) -> Evidence:
    """A sink that did not honour its keys."""
    again = evidence.publications[0]._replace(effect_key="another")
    return replace(evidence, publications=[*evidence.publications, again])


def with_other_result(evidence: Evidence) -> Evidence:
    """A task came to something else."""
    return replace(evidence, results={**evidence.results, TASK: {"report": "other"}})


def with_lost_result(evidence: Evidence) -> Evidence:
    """A task that is done has no state."""
    rest = {task_id: state for task_id, state in evidence.results.items() if task_id != TASK}
    return replace(evidence, results=rest)


def with_edited_event(evidence: Evidence) -> Evidence:
    """Somebody rewrote an event."""
    return retold(
        evidence,
        lambda event: replace(event, step_id="x") if event.type == EventType.STEP else event,
    )


def with_missing_event(evidence: Evidence) -> Evidence:
    """Somebody removed an event."""
    return retold(evidence, lambda event: None if event.type == EventType.EFFECT else event)


def with_failed_task(evidence: Evidence) -> Evidence:
    """A task failed."""
    return retold(
        evidence,
        lambda event: (
            replace(event, type="failed")
            if (event.type, event.task_id) == (EventType.DONE, TASK)
            else event
        ),
    )


def with_zombie_let_in(evidence: Evidence) -> Evidence:
    """The last step of a task was written under the epoch of its first holder."""
    first: dict[str, Any] = {}

    def change(event: Any) -> Any:
        if event.type != EventType.STEP or event.task_id != TASK:
            return event
        held = first.setdefault("holder", (event.epoch, event.session_id))
        return replace(event, epoch=held[0], session_id=held[1])

    return retold(evidence, change)


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (without_last, "effects"),
        (with_twice, "effects"),
        (with_other_result, "results"),
        (with_lost_result, "results"),
        (with_failed_task, "results"),
        (with_edited_event, "ledger"),
        (with_missing_event, "ledger"),
        (with_zombie_let_in, "one writer"),
    ],
)
def test_a_violation_fails(
    evidence: Evidence, plant: Callable[[Evidence], Evidence], check: str
) -> None:
    """What was planted is found by the check that is there for it, and the exit code is 1."""
    findings = by_check(plant(evidence))
    assert findings[check].outcome is Outcome.FAIL
    assert worst([*findings.values()]).exit_code == 1


def never_fired(evidence: Evidence) -> Evidence:
    """No worker was right for the first fault."""
    return replace(evidence, faults=[Fault(reason=TakeoverReason.CRASHED, signal="SIGKILL")])


def without_takeovers(evidence: Evidence) -> Evidence:
    """The faults hit sessions that nothing was taken from."""
    return replace(evidence, faults=[replace(one, session_id="x") for one in evidence.faults])


def for_another_reason(evidence: Evidence) -> Evidence:
    """A silent worker was found by its end instead."""
    crashed = replace(evidence.faults[0], reason=TakeoverReason.HEARTBEAT_LOST)
    return replace(evidence, faults=[crashed])


def with_zombie_asleep(evidence: Evidence) -> Evidence:
    """The thawed worker never wrote."""
    return retold(evidence, lambda event: None if event.type == EventType.WRITE_REFUSED else event)


def with_task_under_way(evidence: Evidence) -> Evidence:
    """The wait for the last task ran out."""
    return retold(
        evidence,
        lambda event: None if (event.type, event.task_id) == (EventType.DONE, TASK) else event,
    )


def with_prometheus_behind(evidence: Evidence) -> Evidence:
    """Prometheus has not seen all of it."""
    return replace(evidence, prometheus={"crashed": 1})


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (never_fired, "crashed"),
        (without_takeovers, "drained"),
        (for_another_reason, "heartbeat_lost"),
        (with_zombie_asleep, "zombie"),
        (with_task_under_way, "results"),
        (with_prometheus_behind, "prometheus"),
    ],
)
def test_what_was_not_shown_is_inconclusive(
    evidence: Evidence, plant: Callable[[Evidence], Evidence], check: str
) -> None:
    """A check without its evidence does not pass, nor does it fail: the exit code is 2."""
    findings = by_check(plant(evidence))
    assert findings[check].outcome is Outcome.INCONCLUSIVE
    assert worst([*findings.values()]).exit_code == 2


def test_without_prometheus_nothing_is_said_of_it(evidence: Evidence) -> None:
    """Its absence is no finding."""
    assert "prometheus" not in by_check(replace(evidence, prometheus=None))


def test_few_latencies_are_listed_and_many_summed_up(evidence: Evidence) -> None:
    """Microseconds by measure; latency is detect, claim and restore together."""
    rows = latencies(evidence.view.takeovers)
    assert [(reason, n, value) for reason, n, value, _ in rows] == [
        ("crashed", 1, "each"),
        ("heartbeat_lost", 1, "each"),
        ("drained", 1, "each"),
    ]
    assert rows[2][3] == [0, 100_000, 100_000, 200_000, 100_000]
    many = [evidence.view.takeovers[2]] * 4
    assert [(n, value) for _, n, value, _ in latencies(many)] == [(4, "median"), (4, "max")]


SUMMARY = """\
 ✓ results  4 of 4 tasks ended as in an undisturbed run
 ✓ effects  4 of 4 publications, each once; of the repeats, once()
            answered 3 and the sink 0
 ? zombie   no write of a thawed worker reached the fence

 takeovers by     n            detect     claim   restore   latency  progress
 crashed          1            0.0 ms    100 ms    100 ms    200 ms    100 ms
 heartbeat_lost   1            15.0 s    100 ms    100 ms    15.2 s    100 ms
 drained          1            0.0 ms    100 ms    100 ms    200 ms    100 ms

 Prometheus says
   workers    idle 4
   takeovers  crashed 1

 INCONCLUSIVE: Not everything could be shown; see above."""


def test_the_summary_is_a_short_table(evidence: Evidence) -> None:
    """Golden: findings, latencies by reason and phase, what Prometheus said, the verdict."""
    findings = by_check(with_zombie_asleep(evidence))
    summary = Summary(
        seconds=12.3456,
        findings=[findings[name] for name in ("results", "effects", "zombie")],
        faults=evidence.faults,
        view=evidence.view,
        places={"exporter": "http://127.0.0.1:1/metrics"},
        answers={"workers": "idle 4", "takeovers": "crashed 1"},
    )
    assert summary.render(PLAIN, 72).splitlines() == SUMMARY.splitlines()
    values = summary.to_dict()
    assert (values["outcome"], values["exit_code"], values["seconds"]) == ("INCONCLUSIVE", 2, 12.35)
    assert values["faults"][0]["fault_to_restored_us"] == [200_000]
