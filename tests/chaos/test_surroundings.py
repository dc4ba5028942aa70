"""Forks and PID namespaces: where it is hard to see that a process has ended."""

from __future__ import annotations

import signal
import subprocess

import pytest
from tests.chaos.continuity import Control, assert_continuous
from tests.chaos.harness import IN_A_NAMESPACE, Fault, Fleet, wait_until


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skip, with the system's own words, where no PID namespace can be made."""
    tried = subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"{' '.join(IN_A_NAMESPACE)}: {tried.stderr.strip()}")


def test_a_forked_child_does_not_hide_the_death(fleet: Fleet, control: Control) -> None:
    """A child of a node lives on with all its parent's files; the parent is seen to be dead."""
    task_id = fleet.submit("brood", "t-brood")
    victim = fleet.start("w-a", Fault("claim.after"), Fault("step.begin", nth=2), graphs="brood")
    victim.wait_caught()
    fleet.standby("w-b", graphs="brood")
    victim.let_go()
    victim.wait_caught(2)
    victim.signal(signal.SIGKILL)
    fleet.wait_done(task_id)
    claim = fleet.events(task_id, "claimed")[1]
    assert (claim.reason, claim.data["evidence"]) == ("crashed", "pidfd")
    assert_continuous(fleet, control, {task_id: "brood"})


@pytest.mark.usefixtures("namespaces")
def test_nor_does_it_from_another_namespace(fleet: Fleet, control: Control) -> None:
    """From there only the session's lock can be seen, which the child does not keep."""
    task_id = fleet.submit("brood", "t-brood")
    victim = fleet.start("w-a", Fault("claim.after"), Fault("step.begin", nth=2), graphs="brood")
    victim.wait_caught()
    watcher = fleet.start_cold("w-b", graphs="brood", prefix=IN_A_NAMESPACE)
    fleet.wait_watching(watcher)
    victim.signal(signal.SIGSTOP)
    victim.let_go()
    victim.signal(signal.SIGCONT)
    wait_until(lambda: len(victim.marks("step.begin")) == 2, "the child is born")
    victim.signal(signal.SIGKILL)
    fleet.wait_done(task_id)
    claim = fleet.events(task_id, "claimed")[1]
    assert (claim.reason, claim.data["evidence"]) == ("crashed", "flock")
    assert_continuous(fleet, control, {task_id: "brood"})


@pytest.mark.usefixtures("namespaces")
def test_killed_in_another_namespace(fleet: Fleet, control: Control) -> None:
    """A worker in a container of its own is found by its lock, long before its TTL."""
    task_id = fleet.submit("chain", "t-chain")
    fault = Fault("step.begin", nth=3)
    victim = fleet.start_cold("w-a", fault, prefix=IN_A_NAMESPACE)
    victim.wait_caught()
    fleet.standby("w-b")
    victim.signal(signal.SIGKILL)
    fleet.wait_done(task_id)
    lost, session = fleet.events(task_id, "claimed")[1], fleet.sessions("w-a")[0]
    assert session.spec.pid == 1
    assert (lost.reason, lost.data["evidence"]) == ("crashed", "flock")
    assert lost.data["lost_at"] - lost.data["last_sign_at"] < session.spec.ttl_us / 4
    assert_continuous(fleet, control, {task_id: "chain"})


def test_a_fleet_opened_before_a_fork(fleet: Fleet) -> None:
    """A child is told in one sentence; the parent's own leases are none the worse for it."""
    server = fleet.start("server", role="prefork", task_id="t-app")
    assert server.wait_ended() == 0
    assert "opened before a fork; open it in each process" in server.log()
    assert "the parent leased it at epoch 1" in server.log()
