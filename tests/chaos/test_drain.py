"""A worker that is told to go hands its tasks over, and nobody waits for a TTL."""

from __future__ import annotations

import signal

import pytest
from tests.chaos.continuity import Control, assert_continuous
from tests.chaos.harness import Fault, Fleet, wait_until


def assert_handed_over(fleet: Fleet, task_id: str, released: str) -> None:
    """Planned, claimed by the standby in a fraction of the TTL, and no work was repeated."""
    assert fleet.takeovers(task_id) == ["drained"]
    (left,) = fleet.events(task_id, released)
    claim = fleet.events(task_id, "claimed")[-1]
    ttl_us = fleet.sessions("w-a")[0].spec.ttl_us
    assert claim.worker_id == "w-b"
    assert claim.at - left.at < ttl_us / 2
    assert claim.data["silence_us"] == 0
    assert fleet.sink.attempts(task_id) == fleet.sink.effects(task_id)


def test_sigterm_hands_over(fleet: Fleet, control: Control) -> None:
    """Each run stops at its next super-step, the process exits with 0, a standby goes on."""
    tasks = {fleet.submit("pace-long", f"t-{n}"): "pace-long" for n in range(2)}
    leaving = fleet.start("w-a", graphs="pace", concurrency=2)
    wait_until(lambda: len(leaving.marks("step.begin")) > 6, "both tasks are under way")
    fleet.standby("w-b", graphs="pace", concurrency=2)
    leaving.signal(signal.SIGTERM)
    assert leaving.wait_ended() == 0
    fleet.wait_done(*tasks)
    (session,) = fleet.sessions("w-a")
    assert session.state == "stopped"
    assert [e.type for e in fleet.session_events(session.spec.session_id)] == [
        "session_started",
        "session_draining",
        "session_stopped",
    ]
    for task_id in tasks:
        assert_handed_over(fleet, task_id, "drained")
    assert_continuous(fleet, control, tasks)


@pytest.mark.parametrize("graph", ["chain", "fan"])
def test_a_drain_is_bounded(fleet: Fleet, control: Control, graph: str) -> None:
    """A node that does not end keeps neither its task nor its process beyond the drain timeout."""
    task_id = fleet.submit(graph, "t-stuck")
    settings = {"graphs": graph, "drain_timeout_seconds": 0.5}
    # Begun from nothing, because it is the end of the whole interpreter that is on trial; Python
    # waits for threads such as those that LangGraph runs the parts of a fan-out in.
    leaving = fleet.start_cold("w-a", Fault("effect.before", nth=3), **settings)
    leaving.wait_caught()
    fleet.standby("w-b", graphs=graph)
    leaving.signal(signal.SIGTERM)
    assert leaving.wait_ended() == 0
    fleet.wait_done(task_id)
    assert_handed_over(fleet, task_id, "released")
    (session,) = fleet.sessions("w-a")
    asked, ended = fleet.session_events(session.spec.session_id)[-2:]
    assert (asked.type, ended.type) == ("session_draining", "session_stopped")
    assert ended.at - asked.at > 0.5e6 / 2, "it was not given its time"
    assert_continuous(fleet, control, {task_id: graph})


def test_told_to_go_while_it_claims(fleet: Fleet, control: Control) -> None:
    """A task won on the way out is given back with the session, as if it had not been."""
    task_id = fleet.submit("chain", "t-chain")
    leaving = fleet.start("w-a", Fault("claim.after"))
    leaving.wait_caught()
    leaving.signal(signal.SIGTERM)
    fleet.standby("w-b")
    leaving.let_go()
    assert leaving.wait_ended() == 0
    fleet.wait_done(task_id)
    assert fleet.takeovers(task_id) in ([], ["drained"])
    assert leaving.marks("step.begin") == []
    assert_continuous(fleet, control, {task_id: "chain"})


def test_every_worker_in_turn(fleet: Fleet, control: Control) -> None:
    """A core rotation: all workers are replaced one after another while the tasks go on."""
    tasks = {fleet.submit("pace-long", f"t-{n}"): "pace-long" for n in range(3)}
    old = [fleet.start(f"w-old-{n}", graphs="pace", concurrency=3) for n in range(2)]
    wait_until(lambda: sum(len(w.marks("claim.after")) for w in old) == 3, "all are under way")
    for n, worker in enumerate(old):
        fleet.standby(f"w-new-{n}", graphs="pace", concurrency=3)
        worker.signal(signal.SIGTERM)
        assert worker.wait_ended() == 0
    fleet.wait_done(*tasks)
    reasons = [reason for task_id in tasks for reason in fleet.takeovers(task_id)]
    assert reasons
    assert set(reasons) == {"drained"}
    for task_id in tasks:
        assert fleet.sink.attempts(task_id) == fleet.sink.effects(task_id)
    assert_continuous(fleet, control, tasks)
