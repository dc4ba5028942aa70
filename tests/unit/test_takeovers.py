"""Takeovers: each stage once, timed by the ledger, whatever cuts them short."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.script import MS, SECOND, Script, with_data

from baton.domain.ledger import Event
from baton.domain.takeovers import PHASES, Stage, Takeover, TakeoverTracker
from baton.domain.words import (
    EventType,
    Evidence,
    TakeoverOutcome,
    TakeoverPhase,
    TakeoverReason,
)

O = TakeoverOutcome  # noqa: E741 - never alone
R = TakeoverReason


@pytest.fixture
def script() -> Script:
    """Two workers, and a task that the first of them works on."""
    script = Script()
    script.session("w-1")
    script.session("w-2")
    script.submit("t-1")
    script.claim("t-1", "w-1")
    script.step("t-1")
    return script


def followed(script: Script) -> list[Takeover]:
    """Every stage of every takeover of a ledger."""
    tracker = TakeoverTracker()
    return [found for event in script.events for found in tracker.apply(event)]


def stages(script: Script) -> list[tuple[Stage, TakeoverOutcome | None]]:
    """The stages, and the outcome at each."""
    return [(found.stage, found.outcome) for found in followed(script)]


def test_a_takeover_passes_through_its_stages_once(script: Script) -> None:
    """Claimed, restored, progressed; the phases are the times between them."""
    script.forward(SECOND)
    script.take_over("t-1", "w-1", "w-2", detect_us=400, claim_us=1100)
    script.forward(3 * MS).resumed()
    script.forward(2 * SECOND).step()
    script.forward(SECOND).step()
    script.done()
    claimed, restored, progressed = followed(script)
    assert [found.stage for found in (claimed, restored, progressed)] == [
        Stage.CLAIMED,
        Stage.RESTORED,
        Stage.PROGRESSED,
    ]
    assert (claimed.outcome, restored.outcome) == (None, O.RESUMED)
    assert (claimed.latency_seconds, claimed.restore_seconds) == (None, None)
    assert progressed.detect_seconds == 0.0004
    assert progressed.claim_seconds == 0.0011
    assert progressed.restore_seconds == 0.003
    assert progressed.latency_seconds == restored.latency_seconds == 0.0045
    assert (restored.progress_seconds, progressed.progress_seconds) == (None, 2.0)


def test_a_takeover_says_who_whom_and_why(script: Script) -> None:
    """The correlation ids of both holders, and how the loss was known."""
    script.take_over("t-1", "w-1", "w-2", Evidence.TTL, detect_us=15 * SECOND)
    (claimed,) = followed(script)
    assert claimed.task_id == "t-1"
    assert claimed.run_id == "t-1-r1"
    assert (claimed.pool, claimed.graph, claimed.external) == ("default", "g", False)
    assert (claimed.from_worker, claimed.from_session, claimed.from_epoch) == ("w-1", "w-1-s1", 1)
    assert (claimed.to_worker, claimed.to_session, claimed.epoch) == ("w-2", "w-2-s2", 2)
    assert (claimed.reason, claimed.evidence) == (R.HEARTBEAT_LOST, "ttl")
    assert claimed.silence_us == 15 * SECOND


@pytest.mark.parametrize("outcome", [O.RESUMED, O.RESTARTED])
def test_the_outcome_is_what_the_successor_found(script: Script, outcome: TakeoverOutcome) -> None:
    """As its ``resumed`` event says."""
    script.take_over("t-1", "w-1", "w-2")
    script.resumed(outcome=outcome)
    script.step()
    assert stages(script)[1:] == [(Stage.RESTORED, outcome), (Stage.PROGRESSED, outcome)]


def test_nothing_left_to_run_is_complete_without_progress(script: Script) -> None:
    """The last step was durable, and only its record was missing."""
    script.take_over("t-1", "w-1", "w-2")
    script.resumed(outcome=O.COMPLETED)
    script.done()
    assert stages(script)[1:] == [(Stage.RESTORED, O.COMPLETED)]


def test_a_first_claim_is_no_takeover(script: Script) -> None:
    """Nor is the claim of a run that an answer or a retry began, though it loads a state."""
    script.interrupted()
    script.answered()
    script.claim("t-1", "w-2")
    script.resumed()
    script.step()
    assert followed(script) == []


ENDS: dict[str, Callable[[Script], object]] = {
    "released": lambda script: script.stopped("w-2"),
    "drained": lambda script: script.drained("t-1"),
    "failed": lambda script: script.failed("t-1"),
    "quarantined": lambda script: script.quarantined("t-1"),
    "operator release": lambda script: script.operator("t-1", "release"),
    "operator cancel": lambda script: script.operator("t-1", "cancel"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_lease_that_ends_unrestored_abandons_its_takeover(script: Script, end: str) -> None:
    """Nothing shows that the state was ever loaded; what follows is no stage of it."""
    script.take_over("t-1", "w-1", "w-2")
    ENDS[end](script)
    found = followed(script)
    assert [each.stage for each in found] == [Stage.CLAIMED, Stage.ABANDONED]
    assert found[1].latency_seconds is None


def test_a_successor_that_is_lost_too_leaves_two_takeovers(script: Script) -> None:
    """The first is abandoned in the moment of the second."""
    script.session("w-3")
    script.take_over("t-1", "w-1", "w-2")
    script.forward(SECOND)
    script.take_over("t-1", "w-2", "w-3")
    script.resumed()
    found = followed(script)
    assert [(each.stage, each.epoch) for each in found] == [
        (Stage.CLAIMED, 2),
        (Stage.ABANDONED, 2),
        (Stage.CLAIMED, 3),
        (Stage.RESTORED, 3),
    ]
    assert found[2].from_worker == "w-2"


@pytest.mark.parametrize("end", ["interrupted", "done", "failed", "drained"])
def test_a_run_may_end_before_its_first_progress(script: Script, end: str) -> None:
    """Then there is no progress phase, and a later step is none either."""
    script.take_over("t-1", "w-1", "w-2")
    script.resumed()
    getattr(script, end)()
    assert stages(script)[1:] == [(Stage.RESTORED, O.RESUMED)]
    tracker = TakeoverTracker()
    for event in script.events:
        tracker.apply(event)
    assert tracker.to_dict() == []


def external(script: Script) -> Script:
    """A thread of somebody's own runtime, lost by w-1 and leased by w-2."""
    script.submit("t-2", external=True, graph="external")
    script.claim("t-2", "w-1")
    script.step("t-2")
    script.forward(SECOND)
    script.take_over("t-2", "w-1", "w-2", claim_us=MS)
    script.forward(5 * MS)
    return script


@pytest.mark.parametrize("again", [False, True])
def test_a_foreign_thread_is_restored_with_its_first_work(script: Script, *, again: bool) -> None:
    """Its runtime cannot say when the state was loaded; a recognised effect shows it too."""
    external(script)
    script.effect("t-2", again=again)
    found = [each for each in followed(script) if each.task_id == "t-2"]
    expected = [Stage.CLAIMED, Stage.RESTORED] + ([] if again else [Stage.PROGRESSED])
    assert [each.stage for each in found] == expected
    assert found[1].external
    assert found[-1].restore_seconds == 0.005
    assert found[-1].progress_seconds == (None if again else 0.0)


@pytest.mark.parametrize(
    ("end", "outcome"), [("interrupted", O.RESUMED), ("done", O.COMPLETED), ("failed", O.ABANDONED)]
)
def test_a_foreign_thread_may_end_at_once(script: Script, end: str, outcome: O) -> None:
    """An interrupt shows that the state was loaded, an end without a step that none was left."""
    getattr(external(script), end)("t-2")
    found = [each for each in followed(script) if each.task_id == "t-2"]
    assert [each.outcome for each in found] == [None, outcome]


def test_a_write_of_another_epoch_restores_nothing(script: Script) -> None:
    """What the fence should have stopped is not the successor's progress."""
    late = script.step()
    script.events.pop()
    script.take_over("t-1", "w-1", "w-2")
    tracker = TakeoverTracker()
    for event in script.events:
        tracker.apply(event)
    assert tracker.apply(late) == []
    assert [each.stage for each in tracker.open()] == [Stage.CLAIMED]


def test_a_refusal_names_the_task_and_changes_nothing(script: Script) -> None:
    """It belongs to the refused session's chain."""
    script.take_over("t-1", "w-1", "w-2")
    script.refused("t-1", "w-1", 1)
    assert stages(script) == [(Stage.CLAIMED, None)]


def test_open_takeovers_are_those_without_an_outcome(script: Script) -> None:
    """Oldest first; one that waits for its first progress is not open any more."""
    script.submit("t-2")
    script.claim("t-2", "w-1")
    script.take_over("t-1", "w-1", "w-2")
    script.claim("t-2", "w-2", R.CRASHED)
    tracker = TakeoverTracker()
    for event in script.events:
        tracker.apply(event)
    assert [each.task_id for each in tracker.open()] == ["t-1", "t-2"]
    tracker.apply(script.resumed("t-1"))
    assert [each.task_id for each in tracker.open()] == ["t-2"]
    assert len(tracker.to_dict()) == 2


def test_a_tracker_goes_on_where_it_was_stored(script: Script) -> None:
    """Through JSON and back, in the middle of a takeover."""
    script.take_over("t-1", "w-1", "w-2", detect_us=7)
    script.resumed()
    script.step()
    tracker = TakeoverTracker()
    found = []
    for event in script.events:
        tracker = TakeoverTracker.from_dict(json.loads(json.dumps(tracker.to_dict())))
        found += tracker.apply(event)
    assert found == followed(script)


def test_plain_values_hold_each_phase(script: Script) -> None:
    """For reports: the fields, the stage, and seconds that are null while unknown."""
    script.take_over("t-1", "w-1", "w-2", detect_us=2 * SECOND)
    (claimed,) = followed(script)
    values = claimed.to_dict()
    assert values["stage"] == "claimed"
    assert values["detect_seconds"] == 2.0
    assert [values[f"{phase}_seconds"] for phase in ("restore", "progress")] == [None, None]
    assert Takeover.from_dict(json.loads(json.dumps(values))) == claimed


def test_every_phase_has_its_two_ends() -> None:
    """They follow on one another, so that they add up to the whole."""
    ends = list(PHASES.values())
    assert list(PHASES) == list(TakeoverPhase)
    assert [end for _, end in ends[:-1]] == [start for start, _ in ends[1:]]


def broken(claim: Event) -> list[Event]:
    """Claims that no store writes."""
    return [
        replace(claim, payload="[]"),
        with_data(claim, last_sign_at="yesterday", lost_at=None, previous_worker=3),
        replace(claim, task_id=None, worker_id=None, session_id=None, epoch=None, run_id=None),
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_broken_claim_is_followed_as_far_as_it_tells(script: Script, place: int) -> None:
    """Nothing raises: the verifier names it, and the exporter goes on."""
    event = broken(script.take_over("t-1", "w-1", "w-2"))[place]
    (opened,) = TakeoverTracker().apply(event)
    assert opened.stage is Stage.CLAIMED
    assert opened.latency_us is None


def test_a_reason_that_is_none_of_ours_opens_nothing(script: Script) -> None:
    """It cannot be counted under any reason."""
    event = script.take_over("t-1", "w-1", "w-2")
    assert TakeoverTracker().apply(replace(event, reason="boredom")) == []
    assert event.type == EventType.CLAIMED


@pytest.mark.parametrize("outcome", ["abandoned", "eaten", None, []])
def test_an_outcome_that_is_none_of_ours_counts_as_resumed(script: Script, outcome: object) -> None:
    """The event itself says that the state was loaded."""
    script.take_over("t-1", "w-1", "w-2")
    script.events.append(with_data(script.resumed(), outcome=outcome))
    del script.events[-2]
    assert stages(script)[1:] == [(Stage.RESTORED, O.RESUMED)]
