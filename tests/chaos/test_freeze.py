"""A worker stands still for longer than its TTL, wakes up, and does not know it yet."""

from __future__ import annotations

import signal
import time
from itertools import product

import pytest
from tests.chaos.continuity import Control, assert_continuous
from tests.chaos.harness import TTL_SECONDS, Fault, Fleet, OnTrial, wait_until

#: Points after which the next thing a process does to the store is a write of its lease's, by
#: how often a graph comes past them before its middle.
ON_THE_BRINK = {
    "effect.before": {"chain": 3, "fan": 4, "sub": 2, "anode": 3},
    "effect.after": {"chain": 3, "fan": 3, "sub": 2, "anode": 2},
    "writes.before": {"chain": 4, "fan": 7, "sub": 5, "anode": 5},
    "ckpt.before": {"chain": 4, "fan": 4, "sub": 6, "anode": 4},
    "done.before": {"chain": 1, "fan": 1, "sub": 1, "anode": 1},
}


def freeze(fleet: Fleet, name: str, fault: Fault, *, graph: str = "chain") -> OnTrial:
    """Begin a worker that stops itself at a point, and wait until it stands still."""
    frozen = fleet.start(name, fault, graphs=graph)
    frozen.wait_caught()
    frozen.wait_stopped()
    return frozen


def refusals(fleet: Fleet, process: OnTrial) -> set[str | None]:
    """The tasks on which a worker's first session was refused a write, once or several times."""
    session_id = fleet.sessions(process.spec.name)[0].spec.session_id
    return {event.task_id for event in fleet.session_events(session_id, "write_refused")}


def test_twenty_zombies_are_refused(fleet: Fleet, control: Control) -> None:
    """20 of 20 that wake up after their lease was taken over write nothing, and that is noted."""
    zombies: dict[str, OnTrial] = {}
    for point, graph in product(ON_THE_BRINK, ("chain", "fan", "sub", "anode")):
        # A pool for each, so that each worker has the task that is meant for it.
        name = f"{point}-{graph}"
        fleet.submit(graph, f"t-{name}")
        fault = Fault(point, "SIGSTOP", ON_THE_BRINK[point][graph], f"t-{name}")
        zombies[f"t-{name}"] = fleet.start(f"w-{name}", fault, graphs=graph)
        zombies[f"t-{name}"].wait_caught()
    assert len(zombies) == 20
    fleet.start("w-b", graphs=["chain", "fan", "sub", "anode"], concurrency=20)
    fleet.wait_done(*zombies)
    for zombie in zombies.values():
        assert zombie.state() == "T"
        zombie.signal(signal.SIGCONT)
    for task_id, zombie in zombies.items():
        wait_until(lambda z=zombie: refusals(fleet, z) != set(), f"{zombie} is refused")  # type: ignore[misc]
        assert refusals(fleet, zombie) == {task_id}
        assert fleet.takeovers(task_id) == ["heartbeat_lost"]
        assert fleet.events(task_id, "claimed")[-1].data["evidence"] == "ttl"
        wait_until(lambda z=zombie: len(fleet.sessions(z.spec.name)) == 2, f"{zombie} is back")  # type: ignore[misc]
    assert_continuous(fleet, control, {t: t.rpartition("-")[2] for t in zombies})


@pytest.mark.parametrize("point", ["release.before", "resume.load"])
def test_a_zombie_gives_nothing_back(fleet: Fleet, control: Control, point: str) -> None:
    """Neither its release nor its resumption counts once somebody else holds the task."""
    task_id = fleet.submit("pace", "t-pace")
    if point == "resume.load":
        killed = fleet.start("w-first", Fault("ckpt.before", "SIGKILL", nth=4), graphs="pace")
        killed.wait_ended()
        zombie = freeze(fleet, "w-a", Fault(point, "SIGSTOP"), graph="pace")
    else:
        zombie = fleet.start("w-a", Fault(point, "SIGSTOP", about=task_id), graphs="pace")
        wait_until(lambda: len(zombie.marks("ckpt.after_write")) > 3, "it is at work")
        zombie.signal(signal.SIGTERM)
        zombie.wait_caught()
        zombie.wait_stopped()
    fleet.start("w-b", graphs="pace")
    fleet.wait_done(task_id)
    told = [event.type for event in fleet.events(task_id)]
    zombie.signal(signal.SIGCONT)
    wait_until(lambda: refusals(fleet, zombie) == {task_id}, "it is refused")
    if point == "release.before":
        assert zombie.wait_ended() == 0
    assert [event.type for event in fleet.events(task_id)] == told
    assert fleet.takeovers(task_id)[-1] == "heartbeat_lost"
    assert_continuous(fleet, control, {task_id: "pace"})


@pytest.mark.parametrize("point", ["hb.before", "hb.after_write"])
def test_frozen_at_a_heartbeat(fleet: Fleet, control: Control, point: str) -> None:
    """A renewal that the store counted long ago does not bring a lost session back."""
    task_id = fleet.submit("pace-long", "t-pace")
    zombie = fleet.start("w-a", Fault(point, "SIGSTOP"), graphs="pace")
    wait_until(lambda: zombie.marks("step.begin") != [], "it is at work")
    fleet.start("w-b", graphs="pace")
    zombie.wait_caught()
    zombie.wait_stopped()
    wait_until(lambda: len(fleet.takeovers(task_id)) == 1, "it is taken over")
    zombie.signal(signal.SIGCONT)
    wait_until(lambda: len(fleet.sessions("w-a")) == 2, "it knows")
    fleet.wait_done(task_id)
    assert fleet.takeovers(task_id) == ["heartbeat_lost"]
    assert_continuous(fleet, control, {task_id: "pace-long"})


def test_frozen_for_less_than_the_ttl(fleet: Fleet, control: Control) -> None:
    """A short silence is nobody's business: no takeover, the same epoch and session throughout."""
    task_id = fleet.submit("chain", "t-chain")
    fleet.submit("pace", "t-pace")
    frozen = freeze(fleet, "w-a", Fault("step.begin", "SIGSTOP", nth=3))
    standby = fleet.standby("w-b", graphs=["chain", "pace"])
    stopped_at = frozen.caught()[0].at
    wait_until(lambda: time.monotonic() - stopped_at > TTL_SECONDS / 2, "half a TTL has passed")
    frozen.signal(signal.SIGCONT)
    fleet.wait_done(task_id, "t-pace")
    assert [(e.epoch, e.worker_id) for e in fleet.events(task_id, "claimed")] == [(1, "w-a")]
    assert {e.epoch for e in fleet.events(task_id, "step")} == {1}
    assert [session.state for session in fleet.sessions("w-a")] == ["idle"]
    assert standby.marks("claim.after") != []
    assert_continuous(fleet, control, {task_id: "chain", "t-pace": "pace"})


def test_a_worker_frozen_with_the_write_lock_is_killed(fleet: Fleet, control: Control) -> None:
    """Whoever waits for it longer than its TTL ends it, and the fleet goes on."""
    tasks = {fleet.submit("chain", f"t-{n}"): "chain" for n in range(3)}
    frozen = freeze(fleet, "w-a", Fault("ckpt.write", "SIGSTOP", nth=4))
    workers = [fleet.start(f"w-{name}") for name in "bc"]
    assert frozen.wait_ended() == -signal.SIGKILL
    fleet.wait_done(*tasks)
    assert "it was stopped, and has been killed" in "".join(w.log() for w in workers)
    held = next(t for t in tasks if fleet.events(t, "claimed")[0].worker_id == "w-a")
    assert len(fleet.takeovers(held)) == 1
    assert [s.state for w in workers for s in fleet.sessions(w.spec.name)] == ["idle", "idle"]
    assert_continuous(fleet, control, tasks)


def test_an_application_frozen_with_the_write_lock_is_left_alone(
    fleet: Fleet, control: Control
) -> None:
    """The others wait and say for whom; their heartbeats go on, and after SIGCONT all is well."""
    fleet.submit("pace-long", "t-pace")
    worker = fleet.start("w-b", graphs="pace")
    wait_until(lambda: worker.marks("step.begin") != [], "the worker is at work")
    fault = Fault("ckpt.write", "SIGSTOP", nth=4)
    frozen = fleet.start("app", fault, role="lease", task_id="t-app")
    frozen.wait_stopped()
    beats = len(worker.marks("hb.after_write"))
    wait_until(lambda: f"kill -CONT {frozen.pid}" in worker.log(), "the worker says who it is")
    wait_until(lambda: len(worker.marks("hb.after_write")) > beats + 3, "heartbeats go on")
    assert frozen.code is None
    assert worker.marks("done.after") == []
    frozen.signal(signal.SIGCONT)
    assert frozen.wait_ended() == 0
    fleet.wait_done("t-app", "t-pace")
    assert [session.state for session in fleet.sessions("w-b")] == ["idle"]
    assert fleet.takeovers("t-pace") == []
    # Its silence was real. It may have leased the thread again, if it learned of that in time.
    assert fleet.takeovers("t-app") in ([], ["heartbeat_lost"])
    assert_continuous(fleet, control, {"t-app": "chain", "t-pace": "pace-long"})


def test_restarted_under_the_same_name(fleet: Fleet, control: Control) -> None:
    """A name is no claim to anything: the restarted worker is a new session that takes over."""
    task_id = fleet.submit("chain", "t-chain")
    killed = fleet.start("w-a", Fault("step.begin", "SIGKILL", nth=3))
    assert killed.wait_ended() == -signal.SIGKILL
    fleet.start("w-a", again=True)
    fleet.wait_done(task_id)
    first, second = fleet.sessions("w-a")
    assert (first.state, first.evidence, second.state) == ("lost", "pidfd", "idle")
    claims = fleet.events(task_id, "claimed")
    assert [(c.epoch, c.session_id, c.reason) for c in claims] == [
        (1, first.spec.session_id, None),
        (2, second.spec.session_id, "crashed"),
    ]
    assert_continuous(fleet, control, {task_id: "chain"})


def test_a_zombie_of_the_same_name_is_refused(fleet: Fleet, control: Control) -> None:
    """Sessions hold leases, names do not."""
    task_id = fleet.submit("chain", "t-chain")
    zombie = freeze(fleet, "w-a", Fault("ckpt.before", "SIGSTOP", nth=4))
    fleet.start("w-a", again=True)
    fleet.wait_done(task_id)
    zombie.signal(signal.SIGCONT)
    wait_until(lambda: refusals(fleet, zombie) == {task_id}, "it is refused")
    assert fleet.takeovers(task_id) == ["heartbeat_lost"]
    assert {claim.worker_id for claim in fleet.events(task_id, "claimed")} == {"w-a"}
    wait_until(lambda: len(fleet.sessions("w-a")) == 3, "it has begun a new session")
    assert_continuous(fleet, control, {task_id: "chain"})


def test_frozen_before_its_claim(fleet: Fleet, control: Control) -> None:
    """A claim that comes after the claimant was lost leaves the task to whoever is well."""
    task_id = fleet.submit("chain", "t-chain")
    zombie = freeze(fleet, "w-a", Fault("claim.before", "SIGSTOP"))
    # It can bury the zombie, but not do its work.
    fleet.start("w-b", graphs="pace")
    wait_until(lambda: fleet.sessions("w-a")[0].state == "lost", "it is lost")
    session_id = fleet.sessions("w-a")[0].spec.session_id
    wait_until(
        lambda: fleet.session_events(session_id, "session_lost") != [], "the loss is settled"
    )
    zombie.signal(signal.SIGCONT)
    fleet.wait_done(task_id)
    assert_continuous(fleet, control, {task_id: "chain"})
