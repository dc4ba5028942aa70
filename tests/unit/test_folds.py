"""Folds: what is counted from a ledger, event by event."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.script import MS, SECOND, WALL_AHEAD, Script, with_data
from tests.support.story import healthy_ledger

from baton.domain import catalogue as c
from baton.domain.catalogue import CATALOGUE, LEASE_TRANSITIONS
from baton.domain.folds import FOLDED, Fold
from baton.domain.ledger import Event
from baton.domain.metric import Metric, MetricType, Source
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverPhase, TakeoverReason

R = TakeoverReason
POOL = "default"


def fleet(*, pool: str = POOL, external: bool = False) -> Script:
    """Two workers, and a task that the first of them holds."""
    script = Script()
    script.session("w-1", pool=pool)
    script.session("w-2", pool=pool)
    script.submit("t-1", pool=pool, external=external)
    script.claim("t-1", "w-1")
    return script


def folded(events: list[Event]) -> Fold:
    """The fold of a ledger."""
    fold = Fold()
    for event in events:
        fold.apply(event)
    return fold


def counted(script: Script, metric: Metric) -> dict[tuple[str, ...], float]:
    """The series of a counter that are not at 0."""
    series = folded(script.events).counters[metric]
    return {labels: value for labels, value in series.items() if value}


def test_everything_that_follows_from_the_ledger_is_folded() -> None:
    """The exporter's other counters are about verdicts on the ledger, and about itself."""
    kinds = (MetricType.COUNTER, MetricType.HISTOGRAM)
    served = {each for each in CATALOGUE if each.source is Source.EXPORTER and each.type in kinds}
    others = {c.CONTINUITY_VIOLATIONS, c.DIAGNOSTICS_INVALID, c.COLLECTOR_ERRORS}
    assert set(FOLDED) == served - others


def changed_by_type(events: list[Event]) -> dict[str, set[str]]:
    """Which events change which metric, as they are seen to do it."""
    fold, found = Fold(), dict[str, set[str]]()
    for event in events:
        # What becomes known at 0 is no change.
        fold.know(event.data.get("pool", POOL), event.data.get("graph"))
        before = fold.to_dict()
        fold.apply(event)
        after = fold.to_dict()
        for kind in ("counters", "histograms"):
            for metric in after[kind]:
                if after[kind][metric] != before[kind][metric]:
                    found.setdefault(metric, set()).add(event.type)
    return found


def foreign(*ends: str) -> Script:
    """A foreign thread that is taken over again and again, and how its new holder begins."""
    script = fleet(external=True)
    for number, end in enumerate(ends):
        script.session(f"w-{number + 3}")
        script.take_over("t-1", f"w-{number + 2}" if number else "w-1", f"w-{number + 3}")
        getattr(script, end)("t-1")
        if end in ("interrupted", "done"):
            script.new_run("t-1")
            script.claim("t-1", f"w-{number + 3}")
    return script


def test_each_metric_says_which_events_change_it() -> None:
    """The real store's ledger and a few foreign threads change just that."""
    ledgers = [
        healthy_ledger(),
        foreign("effect", "interrupted", "done").events,
        with_a_recognised_effect().events,
        *(abandoned(end).events for end in ("released", "quarantined")),
    ]
    found: dict[str, set[str]] = {metric.name: set() for metric in FOLDED}
    for events in ledgers:
        for metric, types in changed_by_type(events).items():
            found[metric] |= types
    found[c.EVENTS.name].add(EventType.FAULT_INJECTED)  # only trials write it
    assert found == {metric.name: set(types) for metric, types in FOLDED.items()}


def with_a_recognised_effect() -> Script:
    """A foreign thread whose new holder first meets an effect that is recorded."""
    script = fleet(external=True)
    script.take_over("t-1", "w-1", "w-2")
    script.effect("t-1", again=True)
    return script


def abandoned(end: str) -> Script:
    """A takeover whose lease ends before its state was loaded."""
    script = fleet()
    script.take_over("t-1", "w-1", "w-2")
    if end == "released":
        script.stopped("w-2")
    else:
        getattr(script, end)()
    return script


# Known series


def test_known_counts_exist_before_anything_happens() -> None:
    """Event counts at once; those of a pool, and of a graph, as soon as it is known."""
    fold = Fold()
    assert set(fold.counters[c.EVENTS]) == {(str(type_),) for type_ in EventType}
    assert fold.counters[c.TAKEOVERS] == {}
    fold.know("p")
    assert set(fold.counters[c.TAKEOVERS]) == set(c.TAKEOVERS.label_sets(pool=["p"]))
    assert set(fold.histograms[c.TAKEOVER_PHASE]) == set(c.TAKEOVER_PHASE.label_sets(pool=["p"]))
    assert fold.counters[c.RUNS] == {}
    fold.know("p", "g")
    assert set(fold.counters[c.RUNS]) == set(c.RUNS.label_sets(pool=["p"], graph=["g"]))
    assert not any(value for series in fold.counters.values() for value in series.values())
    assert fold.concurrent_writers() == {"p": 0}


def test_a_session_and_a_task_make_their_pool_known() -> None:
    """And knowing it twice changes nothing."""
    script = Script()
    script.session("w-1", pool="p")
    script.submit("t-1", pool="q", graph="g")
    fold = folded(script.events)
    before = fold.to_dict()
    for pool, graph in (("p", None), ("q", None), ("q", "g")):
        fold.know(pool, graph)
    assert fold.to_dict() == before
    assert list(before["pools"].items()) == [("p", []), ("q", ["g"])]


# Leases


def gave_up(script: Script) -> None:
    """The holder could not renew, and stopped."""
    script.stopped("w-1", R.HEARTBEAT_LOST)
    script.claim("t-1", "w-2", R.HEARTBEAT_LOST)


def stalled(script: Script) -> None:
    """The holder lives, and made no progress."""
    script.claim("t-1", "w-2", R.PROGRESS_STALLED)


def stalled_and_lost(script: Script) -> None:
    """The holder was lost between the look at its progress and the claim."""
    script.lost("w-1")
    script.claim("t-1", "w-2", R.PROGRESS_STALLED)


def drained(script: Script) -> None:
    """A planned end, and a claim without delay."""
    script.drained()
    script.claim("t-1", "w-2", R.DRAINED)


def stopped_half(script: Script) -> None:
    """The holder stopped, and died before it released the task."""
    script.claim("t-1", "w-2", R.DRAINED)


def operated(script: Script) -> None:
    """An operator gave the task to somebody else."""
    script.operator("t-1", "takeover")
    script.claim("t-1", "w-2", R.OPERATOR)


CLAIMED = ("released", "active", "claimed")
#: By name: what happens to a task that w-1 holds, and the transitions after the first claim.
STORIES: dict[str, tuple[Callable[[Script], Any], list[tuple[str, str, str]]]] = {
    "crashed": (
        lambda s: s.take_over("t-1", "w-1", "w-2"),
        [
            ("active", "expired", "crashed"),
            ("expired", "taken_over", "crashed"),
            ("taken_over", "active", "crashed"),
        ],
    ),
    "silent": (
        lambda s: s.take_over("t-1", "w-1", "w-2", Evidence.TTL),
        [
            ("active", "expired", "heartbeat_lost"),
            ("expired", "taken_over", "heartbeat_lost"),
            ("taken_over", "active", "heartbeat_lost"),
        ],
    ),
    "stalled": (
        stalled,
        [
            ("active", "taken_over", "progress_stalled"),
            ("taken_over", "active", "progress_stalled"),
        ],
    ),
    "stalled and lost": (
        stalled_and_lost,
        [
            ("active", "expired", "crashed"),
            ("expired", "taken_over", "progress_stalled"),
            ("taken_over", "active", "progress_stalled"),
        ],
    ),
    "drained": (
        drained,
        [("active", "released", "drained"), ("released", "active", "drained")],
    ),
    "stopped half": (
        stopped_half,
        [("active", "released", "drained"), ("released", "active", "drained")],
    ),
    "gave up": (
        gave_up,
        [("active", "released", "released"), ("released", "active", "heartbeat_lost")],
    ),
    "operated": (
        operated,
        [("active", "released", "operator"), ("released", "active", "operator")],
    ),
    "done": (lambda s: s.done(), [("active", "released", "done")]),
    "failed": (lambda s: s.failed(), [("active", "released", "failed")]),
    "interrupted": (lambda s: s.interrupted(), [("active", "released", "interrupted")]),
    "quarantined": (lambda s: s.quarantined(), [("active", "released", "quarantined")]),
}
ENDINGS = ("done", "failed", "interrupted", "drained", "quarantined")


@pytest.mark.parametrize("name", STORIES)
def test_transitions_of_a_lease(name: str) -> None:
    """Each way in which a lease can go."""
    happens, expected = STORIES[name]
    script = fleet()
    happens(script)
    assert counted(script, c.LEASE_TRANSITIONS_TOTAL) == {
        (POOL, *transition): 1 for transition in [CLAIMED, *expected]
    }


@pytest.mark.parametrize("ending", [*ENDINGS, "operator"])
def test_an_expired_lease_is_still_its_holders_to_end(ending: str) -> None:
    """A session that is lost may write until it is superseded, and an operator may step in."""
    script = fleet()
    script.lost("w-1")
    if ending == "operator":
        script.operator("t-1", "release")
    else:
        getattr(script, ending)()
    expected = [CLAIMED, ("active", "expired", "crashed"), ("expired", "released", ending)]
    assert counted(script, c.LEASE_TRANSITIONS_TOTAL) == {
        (POOL, *transition): 1 for transition in expected
    }


def test_the_catalogue_lists_the_transitions_that_can_happen_and_no_other() -> None:
    """The table and the stories above are the same set."""
    told = {CLAIMED} | {each for _, expected in STORIES.values() for each in expected}
    told |= {("expired", "released", ending) for ending in (*ENDINGS, "operator")}
    assert {tuple(map(str, each)) for each in LEASE_TRANSITIONS} == told


def test_the_record_of_a_loss_may_come_behind_the_claim() -> None:
    """The order of two chains carries no meaning, and the counts are the same."""
    script, other = fleet(), fleet()
    script.take_over("t-1", "w-1", "w-2")
    other.claim("t-1", "w-2", R.CRASHED)
    other.lost("w-1")
    counts = counted(script, c.LEASE_TRANSITIONS_TOTAL)
    assert counts == counted(other, c.LEASE_TRANSITIONS_TOTAL)


def test_a_lost_session_takes_all_its_leases_along_and_no_other() -> None:
    """Those it gave back before are not its own any more."""
    script = fleet()
    for task in ("t-2", "t-3", "t-4"):
        script.submit(task)
        script.claim(task, "w-1" if task != "t-4" else "w-2")
    script.done("t-3")
    script.lost("w-1")
    expired = counted(script, c.LEASE_TRANSITIONS_TOTAL)[(POOL, "active", "expired", "crashed")]
    assert expired == 2


def test_nobody_holds_a_task_that_is_put_aside_while_it_waits() -> None:
    """So that its lease does not change."""
    script = fleet()
    script.drained()
    script.quarantined(reason=R.DRAINED)
    assert counted(script, c.LEASE_TRANSITIONS_TOTAL) == {
        (POOL, *CLAIMED): 1,
        (POOL, "active", "released", "drained"): 1,
    }
    assert counted(script, c.RUNS) == {(POOL, "g", "quarantined"): 1}


def test_refused_writes_are_counted_by_the_pool_of_their_task() -> None:
    """Also after the task was over."""
    script = fleet(pool="p")
    script.take_over("t-1", "w-1", "w-2")
    script.done()
    script.refused("t-1", "w-1", 1, pool="p")
    assert counted(script, c.WRITES_REFUSED) == {("p",): 1}


# Takeovers


def test_a_takeover_is_counted_and_timed() -> None:
    """Latency and phases, each in its bucket, with the case in point."""
    script = fleet()
    script.take_over("t-1", "w-1", "w-2", detect_us=900, claim_us=2_000)
    script.forward(40 * MS).resumed()
    script.forward(2 * SECOND).step()
    fold = folded(script.events)
    assert counted(script, c.TAKEOVERS) == {(POOL, "crashed", "resumed"): 1}
    latency = fold.histograms[c.TAKEOVER_LATENCY][(POOL, "crashed")]
    bound = c.TAKEOVER_BUCKETS.index(0.05)
    assert (latency.counts[bound], sum(latency.counts), latency.sum) == (1, 1, 0.0429)
    ids = {"task_id": "t-1", "run_id": "t-1-r1"}
    restored_wall = script.at - 2 * SECOND + WALL_AHEAD
    assert latency.exemplars == {bound: (ids, 0.0429, restored_wall)}
    phases = fold.histograms[c.TAKEOVER_PHASE]
    sums = {phase: phases[(POOL, phase, "crashed")].sum for phase in TakeoverPhase}
    assert sums == {"detect": 0.0009, "claim": 0.002, "restore": 0.04, "progress": 2.0}
    assert all(sum(phases[(POOL, phase, "crashed")].counts) == 1 for phase in TakeoverPhase)


def test_a_bound_belongs_to_its_bucket() -> None:
    """As ``le`` says: less or equal."""
    script = fleet()
    script.take_over("t-1", "w-1", "w-2", detect_us=1_000, claim_us=1_001)
    script.resumed()
    phases = folded(script.events).histograms[c.TAKEOVER_PHASE]
    assert phases[(POOL, "detect", "crashed")].counts[:2] == [1, 0]
    assert phases[(POOL, "claim", "crashed")].counts[:2] == [0, 1]


def test_beyond_the_last_bound_is_the_last_bucket() -> None:
    """Ten minutes are not the longest that can happen."""
    script = fleet()
    script.take_over("t-1", "w-1", "w-2", detect_us=601 * SECOND)
    script.resumed()
    latency = folded(script.events).histograms[c.TAKEOVER_LATENCY][(POOL, "crashed")]
    assert latency.counts[-1] == 1
    assert len(latency.counts) == len(c.TAKEOVER_BUCKETS) + 1


def test_the_newest_case_in_point_stays() -> None:
    """One for each bucket."""
    script = fleet()
    for task in ("t-2", "t-3"):
        script.submit(task)
        script.claim(task, "w-1")
    script.lost("w-1")
    for task, detect_us in (("t-1", 600), ("t-2", 700), ("t-3", SECOND)):
        script.claim(task, "w-2", R.CRASHED, detect_us=detect_us)
        script.resumed(task)
    latency = folded(script.events).histograms[c.TAKEOVER_LATENCY][(POOL, "crashed")]
    assert [each.ids["task_id"] for each in latency.exemplars.values()] == ["t-2", "t-3"]


def test_an_abandoned_takeover_is_counted_and_not_timed() -> None:
    """A latency that never ended is no latency."""
    script = fleet()
    script.session("w-3")
    script.take_over("t-1", "w-1", "w-2")
    script.take_over("t-1", "w-2", "w-3")
    fold = folded(script.events)
    assert counted(script, c.TAKEOVERS) == {(POOL, "crashed", "abandoned"): 1}
    assert sum(fold.histograms[c.TAKEOVER_LATENCY][(POOL, "crashed")].counts) == 0
    assert [each.epoch for each in fold.open_takeovers()] == [3]


REPLAYS: dict[str, tuple[Callable[[Script], Any], TakeoverOutcome, int]] = {
    "killed": (STORIES["crashed"][0], TakeoverOutcome.RESUMED, 1),
    "killed before its first step": (STORIES["crashed"][0], TakeoverOutcome.RESTARTED, 1),
    "killed after its last step": (STORIES["crashed"][0], TakeoverOutcome.COMPLETED, 0),
    "left between two steps": (drained, TakeoverOutcome.RESUMED, 0),
    "cut off by the drain's bound": (
        lambda s: (s.stopped("w-1"), s.claim("t-1", "w-2", R.DRAINED)),
        TakeoverOutcome.RESUMED,
        1,
    ),
}


@pytest.mark.parametrize("name", REPLAYS)
def test_steps_that_began_again(name: str) -> None:
    """A step is replayed where a takeover interrupted it, and not where it fell between two."""
    happens, outcome, replayed = REPLAYS[name]
    script = fleet()
    happens(script)
    script.resumed(outcome=outcome)
    assert sum(counted(script, c.STEPS_REPLAYED).values()) == replayed


# Steps, effects, runs


def test_steps_are_counted_and_timed_within_one_claim() -> None:
    """From one durable step to the next; not across a change of hands."""
    script = fleet()
    script.forward(9 * SECOND).step()
    script.forward(20 * MS).step()
    script.forward(3 * SECOND).step(ns="sub:1")
    script.forward(50 * SECOND)
    script.take_over("t-1", "w-1", "w-2")
    script.step()
    fold = folded(script.events)
    assert counted(script, c.STEPS) == {(POOL, "g"): 4}
    durations = fold.histograms[c.STEP_DURATION][("g",)]
    assert (sum(durations.counts), durations.sum) == (2, 3.02)
    assert durations.exemplars == {}


def test_effects_by_what_became_of_them() -> None:
    """Run and recorded, or answered from the record."""
    script = fleet()
    script.effect()
    script.effect(again=True)
    script.effect(again=True)
    assert counted(script, c.EFFECTS) == {(POOL, "recorded"): 1, (POOL, "deduplicated"): 2}


@pytest.mark.parametrize("ending", ["done", "failed", "interrupted", "quarantined"])
def test_runs_by_their_end(ending: str) -> None:
    """Each end once, and the task is forgotten."""
    script = fleet()
    getattr(script, ending)()
    assert counted(script, c.RUNS) == {(POOL, "g", ending): 1}
    assert folded(script.events).to_dict()["tasks"] == {}


def test_a_cancelled_run_failed() -> None:
    """While it is held, while it waits, and after an answer; never twice."""
    held = fleet()
    held.operator("t-1", "cancel")
    assert counted(held, c.RUNS) == {(POOL, "g", "failed"): 1}
    waiting = Script()
    waiting.submit("t-1")
    waiting.operator("t-1", "cancel")
    assert counted(waiting, c.RUNS) == {(POOL, "g", "failed"): 1}
    interrupted = fleet()
    interrupted.interrupted()
    interrupted.operator("t-1", "cancel")
    assert counted(interrupted, c.RUNS) == {(POOL, "g", "interrupted"): 1}


@pytest.mark.parametrize("reopen", ["answered", "retried"])
def test_a_run_that_is_opened_again_is_counted_where_it_belongs(reopen: str) -> None:
    """The task was forgotten, and its event says where it belongs."""
    script = fleet(pool="p")
    if reopen == "answered":
        script.interrupted()
        script.answered()
    else:
        script.failed()
        script.operator("t-1", "retry")
    script.operator("t-1", "cancel")
    first = "interrupted" if reopen == "answered" else "failed"
    assert sum(counted(script, c.RUNS).values()) == 2
    assert {labels[:2] for labels in counted(script, c.RUNS)} == {("p", "g")}
    assert ("p", "g", first) in counted(script, c.RUNS)


def test_a_foreign_thread_is_opened_again_by_its_claim() -> None:
    """Each of its runs is counted."""
    script = fleet(external=True)
    script.done()
    script.new_run("t-1")
    script.claim("t-1", "w-2")
    script.failed()
    expected = {(POOL, "g", "done"): 1, (POOL, "g", "failed"): 1}
    assert counted(script, c.RUNS) == expected


def test_every_event_is_counted_by_its_type() -> None:
    """Also those that change nothing else, and a type that a later version brings."""
    script = fleet()
    script.late("w-1", 20 * SECOND)
    script.draining("w-1")
    later = replace(script.events[-1], type="later")
    fold = folded([*script.events, later])
    found = {labels[0]: value for labels, value in fold.counters[c.EVENTS].items() if value}
    assert found == {
        "session_started": 2,
        "submitted": 1,
        "claimed": 1,
        "heartbeat_late": 1,
        "session_draining": 1,
        "later": 1,
    }
    assert fold.position == script.events[-1].seq


# Concurrent writers


def test_one_writer_at_a_time() -> None:
    """A task that was taken over counts anew."""
    script = Script()
    script.session("w-1")
    script.session("w-2")
    script.submit("t-1")
    assert folded(script.events).concurrent_writers() == {POOL: 0}
    script.claim("t-1", "w-1")
    assert folded(script.events).concurrent_writers() == {POOL: 0}
    script.step()
    script.take_over("t-1", "w-1", "w-2")
    script.step()
    assert folded(script.events).concurrent_writers() == {POOL: 1}


@pytest.mark.parametrize("over", [False, True])
def test_a_second_writer_shows_until_the_next_claim(*, over: bool) -> None:
    """The fence let a write slip: the end of the task does not hide it, a new claim does."""
    script = fleet()
    script.session("w-3", pool="q")
    late = replace(script.step(), seq=99)
    script.take_over("t-1", "w-1", "w-2")
    script.step()
    events = [*script.events, late]
    if over:
        events.append(script.interrupted())
    fold = folded(events)
    assert fold.concurrent_writers() == {POOL: 2, "q": 0}
    if over:
        fold.apply(script.answered())
    fold.apply(script.claim("t-1", "w-1", None if over else R.CRASHED))
    assert fold.concurrent_writers()[POOL] <= 1


@pytest.mark.parametrize("end", ["done", "failed", "interrupted"])
def test_the_end_of_a_run_is_a_write(end: str) -> None:
    """One that comes from the holder before is a second writer."""
    script, late = fleet(), fleet()
    late_end = getattr(late, end)()
    script.take_over("t-1", "w-1", "w-2")
    script.step()
    assert folded([*script.events, late_end]).concurrent_writers() == {POOL: 2}


def test_putting_a_task_aside_is_no_write_of_a_holder() -> None:
    """The claimant does it, and nobody holds the task then."""
    script = fleet()
    script.step()
    script.quarantined()
    assert folded(script.events).concurrent_writers() == {POOL: 0}


# Storing


def eventful() -> Script:
    """A ledger in which most things happen."""
    script = fleet()
    for task, pool in (("t-2", "p"), ("t-3", POOL)):
        script.submit(task, pool=pool)
        script.claim(task, "w-1")
    script.step("t-1")
    script.forward(7 * MS).step("t-2")
    script.effect("t-3")
    script.take_over("t-1", "w-1", "w-2", detect_us=3)
    script.forward(MS).claim("t-2", "w-2", R.CRASHED)
    script.resumed("t-1")
    script.step("t-1")
    script.refused("t-1", "w-1", 1)
    script.interrupted("t-1")
    script.session("w-3")
    script.take_over("t-3", "w-2", "w-3", Evidence.TTL)
    script.answered("t-1")
    script.events.append(replace(script.events[-5], seq=50))
    return script


def test_a_fold_goes_on_where_it_was_stored() -> None:
    """Wherever the ledger is split, through JSON and back, the result is the same."""
    events = eventful().events
    whole = folded(events).to_dict()
    fold = Fold()
    for event in events:
        fold.apply(event)
        fold = Fold.from_dict(json.loads(json.dumps(fold.to_dict())))
    assert fold.to_dict() == whole
    assert whole["takeovers"]
    assert whole["tasks"]
    assert json.dumps(whole) == json.dumps(folded(events).to_dict())


def test_a_fold_of_another_version_is_refused() -> None:
    """It would be counted wrongly, and silently."""
    stored = Fold().to_dict()
    with pytest.raises(ValueError, match="a stored fold has version 0, not 1"):
        Fold.from_dict({**stored, "version": 0})
    histograms = {c.TAKEOVER_LATENCY.name: [[[POOL, "crashed"], [0, 0], 0, []]]}
    with pytest.raises(ValueError, match=f"{c.TAKEOVER_LATENCY.name} was stored with other"):
        Fold.from_dict({**stored, "histograms": histograms})


# Ledgers that are not healthy


def test_a_clock_that_ran_back_does_not_lower_a_sum() -> None:
    """A sum that falls would read as a restart of the exporter."""
    script = fleet()
    script.take_over("t-1", "w-1", "w-2", detect_us=-5 * SECOND)
    script.resumed()
    latency = folded(script.events).histograms[c.TAKEOVER_LATENCY][(POOL, "crashed")]
    assert (sum(latency.counts), latency.sum) == (1, 0.0)


@pytest.mark.parametrize("place", range(len(eventful().events)))
def test_a_broken_event_does_not_stop_the_count(place: int) -> None:
    """Whatever an event lacks, the ones behind it are counted."""
    events = eventful().events
    bare = dict.fromkeys(("task_id", "run_id", "worker_id", "session_id", "epoch"))
    for broken in (
        replace(events[place], payload="no JSON"),
        replace(events[place], **bare),
        with_data(events[place], pool=7, graph=None, action=[]),
    ):
        fold = folded([*events[:place], broken, *events[place + 1 :], events[place]])
        assert sum(fold.counters[c.EVENTS].values()) == len(events) + 1


def test_a_ledger_whose_beginning_is_gone_is_counted_from_there() -> None:
    """Without its submission a task belongs to nowhere until it is claimed again."""
    script = fleet(pool="p")
    script.step()
    script.take_over("t-1", "w-1", "w-2")
    script.step()
    fold = folded(script.events[4:])
    steps = {labels: value for labels, value in fold.counters[c.STEPS].items() if value}
    assert steps == {("unknown", "unknown"): 1, ("p", "g"): 1}
    last = folded(script.events[-2:])
    assert last.counters[c.STEPS_REPLAYED][("p",)] == 1
