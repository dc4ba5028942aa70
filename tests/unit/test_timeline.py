"""The operator's timeline: plain words, filters, and a table that fits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.script import MS, SECOND, WALL_AHEAD, Script, with_data
from tests.support.story import healthy_ledger

from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverReason
from baton.observe.timeline import Row, render_text, timeline, to_dicts
from baton.observe.wording import duration

R = TakeoverReason
DAY = 86_400 * SECOND
ABANDONED = "the takeover by {} at epoch {} is abandoned"


def story() -> Script:
    """A task that is taken over from a worker that died, and another beside it."""
    script = Script()
    script.session("w-1")
    script.session("w-2")
    script.submit("t-1")
    script.submit("t-2")
    script.forward(4 * MS).claim("t-1", "w-1")
    script.step("t-1", number=-1)
    script.forward(12 * MS).step("t-1", number=0)
    script.claim("t-2", "w-2")
    script.effect("t-1")
    script.forward(SECOND)
    script.take_over("t-1", "w-1", "w-2", detect_us=400, claim_us=1_100)
    script.forward(3 * MS).resumed("t-1")
    script.refused("t-1", "w-1", 1)
    script.forward(2 * SECOND).step("t-1", number=1)
    script.done("t-1")
    return script


def told(script: Script) -> list[str]:
    """The sentences of a ledger."""
    return [row.text for row in timeline(script.events)]


# Words


def test_a_takeover_in_plain_words() -> None:
    """Who took over what from whom, how the loss was known, and how long each part took."""
    assert told(story()) == [
        "w-1 started on host (process 7, pool default)",
        "w-2 started on host (process 7, pool default)",
        "t-1 was submitted for graph g",
        "t-2 was submitted for graph g",
        "w-1 claimed t-1, which had waited 0.0 ms",
        "the input of t-1 is durable",
        "step 0 of t-1 is durable",
        "w-2 claimed t-2, which had waited 0.0 ms",
        "effect key-1 of t-1 happened and is recorded",
        "w-1 was lost (pidfd), 0.0 ms after its last heartbeat",
        "w-2 took over t-1 from w-1 (crashed, pidfd): detect 0.4 ms, claim 1.1 ms",
        "w-2 restored t-1 in 3.0 ms, takeover latency 4.5 ms: it goes on from its last step",
        "a late write of w-1 on t-1 at epoch 1 was refused",
        "step 1 of t-1 is durable; first progress 2.0 s after the takeover",
        "t-1 is done",
    ]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (TakeoverOutcome.RESTARTED, "there was no checkpoint, so it begins again from its input"),
        (TakeoverOutcome.COMPLETED, "nothing was left to run"),
    ],
)
def test_what_the_successor_found(outcome: TakeoverOutcome, words: str) -> None:
    """Each outcome has its words."""
    script = story()
    del script.events[11:]
    script.resumed("t-1", outcome)
    assert told(script)[-1].endswith(f": {words}")


def test_other_ends_of_a_lease() -> None:
    """A drain, a session that doubts itself, an operator, a quarantine, an answer."""
    script = Script()
    script.session("w-1")
    script.submit("t-1")
    script.claim("t-1", "w-1")
    script.draining("w-1")
    script.drained()
    script.late("w-1", 20 * SECOND)
    script.claim("t-1", "w-1", R.DRAINED)
    script.stopped("w-1", R.HEARTBEAT_LOST)
    script.session("w-2")
    script.claim("t-1", "w-2", R.HEARTBEAT_LOST)
    for action in ("release", "takeover", "accept_restore", "cancel", "retry"):
        script.operator("t-1", action)
    script.claim("t-1", "w-2")
    script.resumed()
    script.interrupted()
    script.answered()
    script.claim("t-1", "w-2")
    script.effect(again=True)
    script.step(ns="sub:1|inner:2", number=3)
    script.failed()
    script.quarantined()
    assert told(script)[3:] == [
        "w-1 is draining: it takes nothing new",
        "w-1 left t-1 between two steps, as planned",
        "w-1 was silent for 20.0 s, and nobody had acted yet",
        "w-1 took over t-1 from w-1 (drained): detect 0.0 ms, claim 0.0 ms",
        f"w-1 gave t-1 back unfinished: it could not renew; {ABANDONED.format('w-1', 2)}",
        "w-1 stopped (heartbeat_lost), tasks given back: 1",
        "w-2 started on host (process 7, pool default)",
        "w-2 took over t-1 from w-1 (heartbeat_lost): detect 0.0 ms, claim 0.0 ms",
        f"an operator took t-1 from w-2, for anybody to continue; {ABANDONED.format('w-2', 3)}",
        "an operator took t-1 from nobody, for another to continue",
        "a restored store was accepted, and t-1 is at epoch 6",
        "an operator cancelled t-1",
        "an operator began a new run of t-1",
        "w-2 claimed t-1, which had waited 0.0 ms",
        "w-2 loaded the state of t-1 and goes on",
        "t-1 waits for an answer",
        "t-1 has its answer, and a new run begins",
        "w-2 claimed t-1, which had waited 0.0 ms",
        "effect key-1 of t-1 was not repeated: its recorded result stands",
        "step 3 of t-1 inside inner is durable",
        "t-1 failed: ValueError",
        "t-1 was put aside after 3 takeovers that brought nothing",
    ]


def test_a_foreign_thread_is_restored_by_its_step() -> None:
    """There the step says so."""
    script = story()
    script.submit("t-3", external=True)
    script.claim("t-3", "w-2")
    script.session("w-3")
    script.take_over("t-3", "w-2", "w-3")
    script.forward(7 * MS).step("t-3", number=5)
    assert told(script)[-1] == (
        "step 5 of t-3 is durable; with it the takeover is restored, latency 7.0 ms; "
        "first progress 0.0 ms after the takeover"
    )


def test_a_loss_that_was_recorded_later_says_so() -> None:
    """The session was lost when nobody claimed; its record came with the next claim."""
    script = story()
    event = script.lost("w-2", Evidence.TTL)
    script.events[-1] = with_data(event, lost_at=event.at - 5 * SECOND, silence_us=15 * SECOND)
    assert told(script)[-1] == (
        "w-2 was lost (ttl), 15.0 s after its last heartbeat, recorded 5.0 s later"
    )


def test_a_fault_of_a_trial_is_told() -> None:
    """By its reason, or by whatever it carries."""
    script = Script()
    script.session("w-1")
    script.add("session:w-1-s1", EventType.FAULT_INJECTED, {"do": "sigkill", "at": "step.begin"})
    script.add("session:w-1-s1", EventType.FAULT_INJECTED, reason="sigstop")
    script.add("session:w-1-s1", EventType.FAULT_INJECTED)
    assert told(script)[1:] == [
        "a fault was injected: at step.begin, do sigkill",
        "a fault was injected: sigstop",
        "a fault was injected: it does not say which",
    ]


def test_every_type_of_event_has_its_words() -> None:
    """None of the real store's events is left to its bare name."""
    for row in timeline(healthy_ledger()):
        assert not row.text.startswith(f"{row.event} on "), row
        assert "None" not in row.text, row


def test_an_event_that_says_too_little_still_has_a_row() -> None:
    """Broken events are for the verifier to name; the timeline goes on."""
    for event in story().events:
        (row,) = timeline([replace(event, payload="", task_id=None, worker_id=None)])
        assert row.event == event.type
        (row,) = timeline([replace(event, type="later")])
        assert row.text == f"later on {event.chain}"


@pytest.mark.parametrize(
    ("microseconds", "words"),
    [
        (0, "0.0 ms"),
        (1_149, "1.1 ms"),
        (10_000, "10 ms"),
        (999_499, "999 ms"),
        (999_500, "1.0 s"),
        (59_949_999, "59.9 s"),
        (59_950_000, "1 min 0 s"),
        (125_000_000, "2 min 5 s"),
    ],
)
def test_lengths_of_time_as_people_write_them(microseconds: int, words: str) -> None:
    """No length is shown as a thousand of a smaller unit."""
    assert duration(microseconds) == words


# Filters


def kinds(rows: list[Row]) -> list[str]:
    """The types of some rows."""
    return [row.event for row in rows]


def test_by_task_with_the_fate_of_its_holders() -> None:
    """The loss of the session that held it belongs to it; that of another does not."""
    script = story()
    script.lost("w-2")
    rows = timeline(script.events, task="t-1")
    assert kinds(rows) == [
        *("submitted", "claimed", "step", "step", "effect", "session_lost", "claimed", "resumed"),
        *("write_refused", "step", "done"),
    ]
    other = timeline(script.events, task="t-2")
    assert kinds(other) == ["submitted", "claimed", "session_lost"]
    assert other[-1].worker_id == "w-2"


def test_by_worker_with_what_others_took_over_from_it() -> None:
    """Its own events, and the stages of the takeovers from it."""
    rows = timeline(story().events, worker="w-1")
    assert [(row.event, row.worker_id) for row in rows[5:]] == [
        ("session_lost", "w-1"),
        ("claimed", "w-2"),
        ("resumed", "w-2"),
        ("write_refused", "w-1"),
        ("step", "w-2"),
    ]
    assert kinds(rows[:5]) == ["session_started", "claimed", "step", "step", "effect"]


def test_by_run() -> None:
    """The id or its beginning, as the table shows it."""
    script = Script()
    script.session("w-1")
    script.submit("t-1")
    script.claim("t-1", "w-1")
    script.interrupted()
    script.answered()
    assert kinds(timeline(script.events, run="t-1-r1+")) == ["resume_requested"]
    whole = ["submitted", "claimed", "interrupted", "resume_requested"]
    assert kinds(timeline(script.events, run="t-1-r1")) == whole
    assert timeline(script.events, run="r1") == []


def test_by_step() -> None:
    """Its number or its id; effects belong to the step that they ran in."""
    script = story()
    rows = timeline(script.events, step="0", task="t-1")
    assert kinds(rows) == ["step", "effect", "resumed"]
    step_id = rows[0].step_id or ""
    assert timeline(script.events, step=step_id) == rows
    assert timeline(script.events, step=step_id[:9]) == rows
    assert kinds(timeline(script.events, step="-1")) == ["step"]
    assert timeline(script.events, step="step-0") == []


def test_filters_add_up() -> None:
    """Each has to fit."""
    rows = timeline(story().events, task="t-1", worker="w-2", run="t-1-r1")
    assert kinds(rows) == ["claimed", "resumed", "step", "done"]
    assert timeline(story().events, task="t-2", worker="w-1") == []
    assert timeline([], task="t-1") == []


# Values and tables


def test_plain_values() -> None:
    """Times in UTC and in seconds, ids in full, and where the ledger says so."""
    script = story()
    rows = to_dicts(timeline(script.events, task="t-1"))
    assert json.loads(json.dumps(rows)) == rows
    assert rows[2] == {
        "time": "2023-11-14T23:13:20.004000Z",
        "since_seconds": 0.004,
        "worker_id": "w-1",
        "task_id": "t-1",
        "run_id": "t-1-r1",
        "step_id": "step-0000-t-1",
        "step": -1,
        "epoch": 1,
        "event": "step",
        "text": "the input of t-1 is durable",
        "chain": "task:t-1",
        "n": 2,
    }


def test_since_counts_from_the_first_row_that_is_shown() -> None:
    """In store time: a step of the wall clock does not show there."""
    script = story()
    script.events[-1] = replace(script.events[-1], wall=0)
    rows = timeline(script.events, run="t-1-r1", worker="w-2")
    assert rows[0].since_us == 0
    assert rows[-1].since_us == 2 * SECOND + 3 * MS
    assert to_dicts(rows)[-1]["time"] == "1970-01-01T00:00:00.000000Z"


TABLE = """\
time (UTC)    since   worker  task  run     step  epoch  event    what happened
2023-11-14
23:13:21.016  +0.000  w-2     t-1   t-1-r1  -     2      claimed  w-2 took over t-1 from w-1 \
(crashed, pidfd): detect 0.4 ms, claim 1.1 ms
23:13:21.019  +0.003  w-2     t-1   t-1-r1  0     2      resumed  w-2 restored t-1 in 3.0 ms, \
takeover latency 4.5 ms: it goes on from its last step
23:13:23.019  +2.003  w-2     t-1   t-1-r1  1     2      step     step 1 of t-1 is durable; first \
progress 2.0 s after the takeover
23:13:23.019  +2.003  w-2     t-1   t-1-r1  -     2      done     t-1 is done
"""


def test_the_table_is_aligned() -> None:
    """One line for each event under its date, columns as wide as they need to be."""
    assert render_text(timeline(story().events, task="t-1", worker="w-2")) == TABLE
    assert render_text([]) == ""


def test_a_narrow_table_wraps_its_sentences_and_loses_nothing() -> None:
    """Within the width that it was given, or the least that a sentence needs."""
    rows = timeline(story().events)
    for width in (100, 140):
        table = render_text(rows, width)
        assert max(map(len, table.splitlines())) <= width
        words = " ".join(table.split())
        assert all(word in words for row in rows for word in row.text.split())
    assert render_text(rows, 10) == render_text(rows, 90)


def test_a_new_day_has_its_own_line() -> None:
    """A night between two events is not hidden in the hours."""
    script = Script()
    script.session("w-1")
    script.forward(DAY - WALL_AHEAD).submit("t-1")
    script.forward(DAY).operator("t-1", "cancel")
    lines = render_text(timeline(script.events)).splitlines()
    assert [line for line in lines if line.startswith("2023-") and len(line) == 10] == [
        "2023-11-14",
        "2023-11-15",
        "2023-11-16",
    ]


def test_colours_only_where_they_are_asked_for() -> None:
    """Takeovers and operators stand out, losses more so; a pipe gets plain text."""
    rows = timeline(story().events)
    plain, coloured = render_text(rows), render_text(rows, colour=True)
    assert "\x1b" not in plain
    tones = {row.event: row.tone for row in rows}
    assert (tones["session_lost"], tones["claimed"], tones["done"]) == ("bad", "notable", "good")
    assert coloured.count("\x1b[31m") == 2
    assert coloured.count("\x1b[33m") == 1
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


def test_a_ledger_from_elsewhere_cannot_take_over_the_terminal() -> None:
    """Whatever its names contain."""
    event = replace(story().events[0], worker_id="w\x1b[2J\n1")
    table = render_text(timeline([event]))
    assert "\x1b" not in table
    assert len(table.splitlines()) == 3
