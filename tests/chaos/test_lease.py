"""A thread leased by hand, in a process that dies."""

from __future__ import annotations

import signal

import pytest
from tests.chaos.continuity import Control, assert_continuous
from tests.chaos.harness import Fault, Fleet, wait_until

from baton.errors import LeaseHeld
from baton.fleet.model import Loss


@pytest.mark.parametrize("point", ["ckpt.before", "ckpt.write", "ckpt.after_write"])
def test_the_next_lease_takes_over_at_once(fleet: Fleet, control: Control, point: str) -> None:
    """Refused while the holder lives; after its death the next call has it, waiting for nobody."""
    holder = fleet.start("app-a", Fault("ckpt.before", nth=3), role="lease", task_id="t-app")
    holder.wait_caught()
    with pytest.raises(LeaseHeld, match="held by worker"), fleet.here.lease("t-app"):
        pytest.fail("two processes hold one lease")
    holder.spec.file("go").touch()
    holder.wait_ended()
    # The same again, in a process that is killed where it stands.
    victim = fleet.start("app-b", Fault(point, "SIGKILL", nth=4), role="lease", task_id="t-dead")
    assert victim.wait_ended() == -signal.SIGKILL
    heir = fleet.start("app-c", role="lease", task_id="t-dead")
    assert heir.wait_ended() == 0
    _, claim = fleet.events("t-dead", "claimed")
    assert (claim.reason, claim.data["evidence"], claim.epoch) == ("crashed", "pidfd", 2)
    fleet.wait_done("t-app", "t-dead")
    assert_continuous(fleet, control, {"t-app": "chain", "t-dead": "chain"})


def test_two_that_bury_one_holder(
    fleet: Fleet, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead is dead, whoever was quicker to say so: one's own watcher, or a standby."""
    victim = fleet.start("app", Fault("ckpt.before", nth=4), role="lease", task_id="t-dead")
    victim.wait_caught()
    bury = fleet.store.bury

    def too_late(loss: Loss) -> bool:
        bury(loss)
        return bury(loss)

    monkeypatch.setattr(fleet.store, "bury", too_late)
    victim.end()
    with fleet.here.lease("t-dead") as lease:
        assert lease.epoch == 2
    monkeypatch.undo()
    fleet.start("app-2", role="lease", task_id="t-dead").wait_ended()
    assert_continuous(fleet, control, {"t-dead": "chain"})


def test_a_zombie_application_is_refused(fleet: Fleet, control: Control) -> None:
    """It stood still beyond its TTL, another has finished its thread, and it is told so."""
    fleet.submit("pace", "t-pace")
    zombie = fleet.start(
        "app-a", Fault("ckpt.before", "SIGSTOP", nth=4), role="lease", task_id="t-app"
    )
    zombie.wait_caught()
    zombie.wait_stopped()
    # Applications do not bury for silence without heartbeats of their own; a worker does.
    fleet.start("w-b", graphs="pace")
    session = next(s for s in fleet.store.sessions.live() if s.spec.kind == "embedded")
    session_id = session.spec.session_id
    lost = fleet.store.sessions.get
    wait_until(lambda: lost(session_id).state == "lost", "it is lost")  # type: ignore[union-attr]
    heir = fleet.start("app-b", role="lease", task_id="t-app")
    assert heir.wait_ended() == 0
    told = [event.type for event in fleet.events("t-app")]
    zombie.signal(signal.SIGCONT)
    wait_until(
        lambda: fleet.session_events(session_id, "write_refused") != [], "the zombie is refused"
    )
    assert zombie.wait_ended() == 0
    assert [e.type for e in fleet.events("t-app")][: len(told)] == told
    assert fleet.takeovers("t-app")[0] == "heartbeat_lost"
    fleet.wait_done("t-pace")
    assert_continuous(fleet, control, {"t-app": "chain", "t-pace": "pace"})
