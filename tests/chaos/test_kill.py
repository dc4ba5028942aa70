"""A worker is killed at every point of its life, and another goes on as if nothing had been.

The victim sends itself SIGKILL where it stands, so that nothing of it runs a moment longer; or it
is held there, its other threads going on, and is killed from outside.
"""

from __future__ import annotations

import signal

import pytest
from tests.chaos.continuity import ANSWER, Control, assert_continuous
from tests.chaos.harness import Fault, Fleet, OnTrial, wait_until

GRAPHS = ("chain", "fan", "sub", "ask", "anode", "agent")

#: The points of a run, with how many times a graph has to come past before the run is in its
#: middle: in the fan-out, inside the subgraph, at the answered question, among the tools.
MIDDLE = {
    "step.begin": {"chain": 3, "fan": 4, "sub": 3, "ask": 1, "anode": 3, "agent": 3},
    "effect.before": {"chain": 3, "fan": 4, "sub": 2, "ask": 1, "anode": 3, "agent": 2},
    "effect.after": {"chain": 3, "fan": 3, "sub": 2, "ask": 1, "anode": 2, "agent": 1},
    "step.end": {"chain": 3, "fan": 4, "sub": 2, "ask": 1, "anode": 3, "agent": 2},
    "writes.before": {"chain": 3, "fan": 4, "sub": 4, "ask": 2, "anode": 3, "agent": 3},
    "writes.after": {"chain": 3, "fan": 5, "sub": 5, "ask": 2, "anode": 4, "agent": 4},
    "ckpt.before": {"chain": 4, "fan": 4, "sub": 6, "ask": 1, "anode": 4, "agent": 4},
    "ckpt.write": {"chain": 4, "fan": 4, "sub": 6, "ask": 1, "anode": 4, "agent": 4},
    "ckpt.after_write": {"chain": 4, "fan": 4, "sub": 6, "ask": 1, "anode": 4, "agent": 4},
}

#: Frequent heartbeats, so that a standby is soon at its post; the TTL is as ever.
STANDBY = {"heartbeat_seconds": 0.1}


def submitted(fleet: Fleet, graph: str) -> str:
    """A task of a graph, with its question asked and answered if it has one."""
    task_id = fleet.submit(graph, f"t-{graph}")
    if graph == "ask":
        asker = fleet.start("w-asker", graphs=graph, until_idle=True)
        fleet.wait_state("interrupted", task_id)
        assert asker.wait_ended() == 0
        fleet.here.resume(task_id, ANSWER)
    return task_id


def kill_at(fleet: Fleet, graph: str, *faults: Fault) -> tuple[str, OnTrial, OnTrial]:
    """Have a worker killed in the middle of a run, with a standby that watches it."""
    task_id = submitted(fleet, graph)
    victim = fleet.start("w-a", Fault("claim.after"), *faults, graphs=graph)
    victim.wait_caught()
    standby = fleet.standby("w-b", graphs=graph, **STANDBY)
    victim.let_go()
    assert victim.wait_ended() == -signal.SIGKILL
    assert len(victim.caught()) == 1 + len(faults)
    fleet.wait_done(task_id)
    return task_id, victim, standby


def assert_taken_over(fleet: Fleet, task_id: str, outcome: str) -> None:
    """One takeover, by the kernel's word and long before the TTL, with this outcome."""
    claim = fleet.events(task_id, "claimed")[-1]
    session = fleet.sessions("w-a")[0]
    assert fleet.takeovers(task_id)[-1] == "crashed"
    assert fleet.outcomes(task_id)[-1] == outcome
    assert claim.worker_id == "w-b"
    assert claim.data["evidence"] == "pidfd"
    assert claim.data["previous_session"] == session.spec.session_id
    assert claim.data["lost_at"] - claim.data["last_sign_at"] < session.spec.ttl_us / 4
    assert fleet.session_events(session.spec.session_id)[-1].type == "session_lost"


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("point", MIDDLE)
def test_killed_in_the_middle(fleet: Fleet, control: Control, graph: str, point: str) -> None:
    """Every durable step stands, every effect arrives once, and the end is the same."""
    fault = Fault(point, "SIGKILL", nth=MIDDLE[point][graph])
    task_id, _, _ = kill_at(fleet, graph, fault)
    assert_taken_over(fleet, task_id, "resumed")
    assert_continuous(fleet, control, {task_id: graph})


@pytest.mark.parametrize("point", ["claim.after", "ckpt.before", "ckpt.write"])
def test_killed_before_the_first_checkpoint(fleet: Fleet, control: Control, point: str) -> None:
    """An accepted task is never lost: it begins again from the input stored with it."""
    if point == "claim.after":
        task_id = submitted(fleet, "chain")
        victim = fleet.start("w-a", Fault(point))
        victim.wait_caught()
        fleet.standby("w-b", **STANDBY)
        victim.signal(signal.SIGKILL)
        fleet.wait_done(task_id)
    else:
        task_id, _, _ = kill_at(fleet, "chain", Fault(point, "SIGKILL"))
    assert_taken_over(fleet, task_id, "restarted")
    assert_continuous(fleet, control, {task_id: "chain"})


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("point", ["ckpt.after_write", "done.before"])
def test_killed_with_nothing_left_to_run(
    fleet: Fleet, control: Control, graph: str, point: str
) -> None:
    """After the last checkpoint the successor only says that it is done; no node runs again."""
    last = sum(control[graph].steps.values())
    if graph == "ask":
        last -= 3  # of the run before the question
    nth = last if point == "ckpt.after_write" else 1
    task_id, _, standby = kill_at(fleet, graph, Fault(point, "SIGKILL", nth=nth))
    assert_taken_over(fleet, task_id, "completed")
    assert standby.marks("step.begin") == []
    assert fleet.sink.attempts(task_id) == fleet.sink.effects(task_id)
    assert_continuous(fleet, control, {task_id: graph})


@pytest.mark.parametrize("graph", GRAPHS)
def test_killed_after_done(fleet: Fleet, control: Control, graph: str) -> None:
    """What is done needs nobody: no claim follows, and no node runs."""
    task_id, _, standby = kill_at(fleet, graph, Fault("done.after", "SIGKILL"))
    lost = fleet.sessions("w-a")[0].spec.session_id
    wait_until(
        lambda: fleet.session_events(lost, "session_lost") != [], "the loss is in the ledger"
    )
    assert standby.marks("claim.after") == []
    assert "crashed" not in fleet.takeovers(task_id)
    assert_continuous(fleet, control, {task_id: graph})


def test_killed_before_the_claim(fleet: Fleet, control: Control) -> None:
    """A claim that was not made leaves no trace; the next one is the task's first."""
    task_id = submitted(fleet, "chain")
    victim = fleet.start("w-a", Fault("claim.before", "SIGKILL"))
    assert victim.wait_ended() == -signal.SIGKILL
    fleet.standby("w-b")
    fleet.wait_done(task_id)
    assert [claim.reason for claim in fleet.events(task_id, "claimed")] == [None]
    assert_continuous(fleet, control, {task_id: "chain"})


@pytest.mark.parametrize("point", ["hb.before", "hb.after_write"])
def test_killed_at_a_heartbeat(fleet: Fleet, control: Control, point: str) -> None:
    """Whether the renewal was sent or not, the end of the process is what counts."""
    task_id = fleet.submit("pace-long", "t-pace")
    victim = fleet.start("w-a", Fault(point, "SIGKILL", nth=2), graphs="pace", **STANDBY)
    wait_until(lambda: victim.marks("claim.after") != [], "the victim has the task")
    fleet.start("w-b", graphs="pace", **STANDBY)
    assert victim.wait_ended() == -signal.SIGKILL
    fleet.wait_done(task_id)
    assert fleet.takeovers(task_id) == ["crashed"]
    assert_continuous(fleet, control, {task_id: "pace-long"})


@pytest.mark.parametrize("graph", GRAPHS)
def test_killed_while_it_resumes(fleet: Fleet, control: Control, graph: str) -> None:
    """The successor dies with the state just read; the one after it takes over from it."""
    task_id = submitted(fleet, graph)
    first = fleet.start(
        "w-first",
        Fault("claim.after"),
        Fault("step.begin", "SIGKILL", nth=MIDDLE["step.begin"][graph]),
        graphs=graph,
    )
    first.wait_caught()
    second = fleet.standby("w-a", Fault("resume.load"), graphs=graph, **STANDBY)
    first.let_go()
    second.wait_caught()
    fleet.standby("w-b", graphs=graph, **STANDBY)
    second.signal(signal.SIGKILL)
    fleet.wait_done(task_id)
    assert fleet.takeovers(task_id)[-2:] == ["crashed", "crashed"]
    assert_taken_over(fleet, task_id, "resumed")
    # The second got nothing done, which the ledger says by the lack of a ``resumed``.
    epochs = [event.epoch for event in fleet.events(task_id, "claimed", "resumed")]
    assert epochs[-3:] == [epochs[-1] - 1, epochs[-1], epochs[-1]]
    assert_continuous(fleet, control, {task_id: graph})


def test_killed_with_the_writes_durable_and_no_checkpoint(fleet: Fleet, control: Control) -> None:
    """Pending writes that outlived their linger are the node's result: it does not run again."""
    task_id = submitted(fleet, "chain")
    victim = fleet.start("w-a", Fault("ckpt.before", nth=4))
    victim.wait_caught()
    # Held before its checkpoint; the flusher goes on and makes the node's writes durable.
    wait_until(lambda: fleet.pending_writes(task_id) > 0, "the writes are durable")
    fleet.standby("w-b", **STANDBY)
    victim.signal(signal.SIGKILL)
    fleet.wait_done(task_id)
    assert_taken_over(fleet, task_id, "resumed")
    assert fleet.events(task_id, "effect_deduplicated") == []
    assert fleet.sink.attempts(task_id) == control["chain"].effects
    assert_continuous(fleet, control, {task_id: "chain"})


def test_killed_with_the_checkpoint_durable_before_its_writes(
    fleet: Fleet, control: Control
) -> None:
    """A node's writes that come later than its checkpoint are not missed."""
    task_id = submitted(fleet, "chain")
    victim = fleet.start("w-a", Fault("writes.before", nth=3))
    victim.wait_caught()
    # That thread is held with n2's writes; LangGraph does not wait for it and goes on.
    wait_until(lambda: fleet.sink.attempts(task_id)["n4"] == 1, "the run goes on")
    wait_until(lambda: len(victim.marks("ckpt.after_write")) == 6, "all checkpoints are durable")
    fleet.standby("w-b", **STANDBY)
    victim.signal(signal.SIGKILL)
    fleet.wait_done(task_id)
    assert_taken_over(fleet, task_id, "completed")
    assert fleet.sink.attempts(task_id) == control["chain"].effects
    assert_continuous(fleet, control, {task_id: "chain"})


def test_killed_while_it_asks(fleet: Fleet, control: Control) -> None:
    """The question is durable and the interruption not recorded: it is asked again, once."""
    task_id = fleet.submit("ask", "t-ask")
    victim = fleet.start(
        "w-a", Fault("claim.after"), Fault("writes.after", "SIGKILL", nth=3), graphs="ask"
    )
    victim.wait_caught()
    fleet.standby("w-b", graphs="ask", **STANDBY)
    victim.let_go()
    assert victim.wait_ended() == -signal.SIGKILL
    fleet.wait_state("interrupted", task_id)
    assert_taken_over(fleet, task_id, "resumed")
    fleet.here.resume(task_id, ANSWER)
    fleet.wait_done(task_id)
    assert_continuous(fleet, control, {task_id: "ask"})


def test_killed_while_it_drains(fleet: Fleet, control: Control) -> None:
    """A worker that dies on its way out has crashed, whatever it was about to say."""
    task_id = fleet.submit("pace-long", "t-pace")
    victim = fleet.start("w-a", Fault("release.before"), graphs="pace")
    wait_until(lambda: len(victim.marks("ckpt.after_write")) > 3, "the victim is at work")
    victim.signal(signal.SIGTERM)
    victim.wait_caught()
    fleet.standby("w-b", graphs="pace", **STANDBY)
    victim.signal(signal.SIGKILL)
    fleet.wait_done(task_id)
    assert_taken_over(fleet, task_id, "resumed")
    assert_continuous(fleet, control, {task_id: "pace-long"})


def test_two_claims_in_the_same_instant(fleet: Fleet, control: Control) -> None:
    """Of several workers that found the same task, exactly one has it."""
    task_id = submitted(fleet, "chain")
    names = ("w-a", "w-b", "w-c")
    workers = [fleet.start(name, Fault("claim.before")) for name in names]
    for worker in workers:
        worker.wait_caught()
    for worker in workers:
        worker.let_go()
    fleet.wait_done(task_id)
    assert len(fleet.events(task_id, "claimed")) == 1
    assert_continuous(fleet, control, {task_id: "chain"})


def test_all_killed_at_once(fleet: Fleet, control: Control) -> None:
    """Nobody is left to see it; whoever comes later finds the dead and goes on from there."""
    tasks = {fleet.submit("pace-long", f"t-{n}"): "pace-long" for n in range(4)}
    victims = [fleet.start(f"w-{n}", graphs="pace", concurrency=2) for n in range(2)]
    for victim in victims:
        wait_until(lambda v=victim: len(v.marks("ckpt.after_write")) > 9, f"{victim} is at work")  # type: ignore[misc]
    for victim in victims:
        victim.signal(signal.SIGKILL)
    fleet.start("w-b", graphs="pace", concurrency=4)
    fleet.wait_done(*tasks)
    assert [fleet.takeovers(task_id) for task_id in tasks] == [["crashed"]] * 4
    assert_continuous(fleet, control, tasks)
