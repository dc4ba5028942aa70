"""Tasks that are the trouble themselves: those that kill their worker, and those that get stuck."""

from __future__ import annotations

import signal

from tests.chaos.continuity import Control, assert_continuous
from tests.chaos.harness import Fault, Fleet, wait_until

#: Claims of a poison task: one that still made its input durable, and three that brought nothing.
CLAIMS_OF_POISON = 4


def test_a_poison_task_is_put_aside(fleet: Fleet, control: Control) -> None:
    """It kills one worker after another, then runs alone, then not at all; the others finish."""
    tasks = {fleet.submit("pace-long", f"t-{n}"): "pace-long" for n in range(3)}
    fleet.submit("poison", "t-poison")
    names = [f"w-{n}" for n in range(CLAIMS_OF_POISON + 1)]
    workers = [fleet.start(name, graphs=["pace", "poison"], concurrency=2) for name in names]
    fleet.wait_state("quarantined", "t-poison")
    fleet.wait_done(*tasks)
    assert sorted(w.code or 0 for w in workers) == [-signal.SIGKILL] * CLAIMS_OF_POISON + [0]
    claims = fleet.events("t-poison", "claimed")
    assert [claim.data["fruitless"] for claim in claims] == [0, 0, 1, 2]
    (aside,) = fleet.events("t-poison", "quarantined")
    assert aside.data["fruitless"] == 3
    for claim in claims[2:]:
        # Alone: whoever took the suspect held nothing else, and claimed nothing else any more.
        also = [
            event
            for event in fleet.all_events()
            if event.session_id == claim.session_id
            and event.task_id not in (None, "t-poison")
            and event.at >= claim.at
        ]
        assert also == []
    assert_continuous(fleet, control, tasks)


def test_a_stuck_task_is_taken_from_a_live_worker(fleet: Fleet, control: Control) -> None:
    """Heartbeats do not help a task that gets no further; what it writes later is refused."""
    task_id = fleet.submit("chain", "t-chain")
    deadline = {"progress_deadlines_seconds": {"chain": 1.0}}
    stuck = fleet.start("w-a", Fault("effect.after", nth=3), **deadline)
    stuck.wait_caught()
    fleet.start("w-b", **deadline)
    fleet.wait_done(task_id)
    (session,) = fleet.sessions("w-a")
    assert session.state == "idle"
    assert fleet.takeovers(task_id) == ["progress_stalled"]
    assert fleet.events(task_id, "claimed")[1].data["previous_worker"] == "w-a"
    told = [event.type for event in fleet.events(task_id)]
    stuck.let_go()
    wait_until(
        lambda: fleet.session_events(session.spec.session_id, "write_refused") != [],
        "the stuck one is refused",
    )
    assert [event.type for event in fleet.events(task_id)] == told
    # It is a good worker still, under the same session.
    later = fleet.submit("chain", "t-later")
    fleet.wait_done(later)
    assert [s.state for s in fleet.sessions("w-a")] == ["idle"]
    assert_continuous(fleet, control, {task_id: "chain", later: "chain"})
