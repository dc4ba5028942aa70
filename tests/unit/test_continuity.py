"""Each assertion fails its planted bug and shows the lines; nothing passes on nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from tests.support.script import SECOND, Script, resealed, with_data
from tests.support.story import healthy_ledger

from baton.domain.continuity import ASSERTIONS, LEDGER_ONLY, judge, lease_words, merge
from baton.domain.continuity.model import (
    CheckpointFact,
    Control,
    ControlTask,
    Expected,
    FaultFact,
    Outcome,
    ReplayFact,
    SinkEntry,
    TraceKind,
    TraceLine,
    Trial,
    Verdict,
)
from baton.domain.continuity.portable import effects_of, steps_of
from baton.domain.continuity.registry import FOUND
from baton.domain.folds import Fold
from baton.domain.ledger import Event, canonical_payload
from baton.domain.verify import chain_heads
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverReason

E = EventType
K = TraceKind
TTL_US = 15 * SECOND
TAKEN = "task:t-1#4"


@cache
def _history() -> tuple[Event, ...]:
    """A task taken over from a silent worker, with an effect before and after, and done."""
    script = Script()
    script.session("w-1")
    script.submit("t-1")
    script.claim("t-1", "w-1")
    script.step(number=-1)
    script.effect()
    script.forward(20 * SECOND)
    script.session("w-2")
    script.add("session:w-1-s1", E.FAULT_INJECTED, {"fault": "kill"})
    script.lost("w-1", Evidence.TTL, detect_us=TTL_US)
    script.forward(SECOND)
    spans = {"detect_us": TTL_US, "claim_us": SECOND, "evidence": Evidence.TTL}
    script.claim("t-1", "w-2", TakeoverReason.HEARTBEAT_LOST, **spans)  # type: ignore[arg-type]
    script.refused("t-1", "w-1", 1)
    script.forward(SECOND)
    script.resumed("t-1", TakeoverOutcome.RESUMED)
    script.effect(again=True)
    script.step(number=0)
    script.step(number=1)
    script.done()
    return tuple(script.events)


def _trace() -> tuple[TraceLine, ...]:
    def line(kind: TraceKind, at: int, **more: Any) -> TraceLine:
        return TraceLine(kind=kind, at_us=at * SECOND, worker_id="w-1", session_id="w-1-s1", **more)

    return (
        line(K.SESSION_OPENED, 0, ttl_us=TTL_US, margin_us=3 * SECOND),
        line(K.ATTEMPT, 11, node="a"),
        line(K.BEAT_SENT, 5),
        line(K.BEAT_ACKED, 12),
        line(K.ATTEMPT, 16, node="b"),
        line(K.BEAT_SENT, 17),
        line(K.BEAT_FAILED, 18),
    )


def _counters(events: list[Event]) -> dict[Any, float]:
    fold = Fold()
    for event in events:
        fold.apply(event)
    return {
        (metric.name, tuple(sorted(zip(metric.labels, labels, strict=True)))): count
        for metric, series in fold.counters.items()
        for labels, count in series.items()
    }


def good() -> Trial:
    """A trial with everything that an assertion may ask for, in which all is well."""
    events = list(_history())
    steps = [event for event in events if event.type == E.STEP]
    return Trial(
        events=events,
        seal=chain_heads(events),
        accepted=frozenset({"t-1"}),
        control=Control(
            tasks={"t-1": ControlTask(steps=(-1, 0, 1), effects=("-1",), state_digest="s")}
        ),
        results={"t-1": "s"},
        checkpoints=tuple(
            CheckpointFact(
                task_id="t-1",
                step_id=event.step_id or "",
                parent_id=event.data["parent"],
                step=event.data["step"],
                digest=event.data["digest"],
            )
            for event in steps
        ),
        replays=(
            ReplayFact(
                task_id="t-1",
                step_id=steps[1].step_id or "",
                parent_id=steps[0].step_id or "",
                step=0,
                recorded="r",
                replayed=("r", "r"),
            ),
        ),
        trace=_trace(),
        sink=(SinkEntry(key="key-1", task_id="t-1", value_digest="v", attempts=2),),
        faults=(FaultFact(name="kill", must_fire=True, fired=1, observed=("waitpid: signal 9",)),),
        counters=_counters(events),
        expected=Expected(
            lease={"t-1": "H1 X H2 D"},
            takeovers={"heartbeat_lost": 1},
            assertions=tuple(name for name in ASSERTIONS if name != "V3"),
            takeover_max_us={"heartbeat_lost": 20 * SECOND},
            claims_per_second_max=1,
            conflicts_max=1,
            healed_at_us=events[-1].at - SECOND,
            converge_within_us=SECOND,
        ),
        mutants_killed=frozenset(name for name in ASSERTIONS if not name.startswith("V")),
    )


def test_the_good_trial_passes_every_assertion() -> None:
    """With something checked each time, and lines of it shown."""
    verdicts = judge(good())
    assert [(v.assertion, v.outcome, v.text) for v in verdicts if v.outcome != "pass"] == []
    assert [v.assertion for v in verdicts] == list(ASSERTIONS)
    assert all(v.checked and v.judged and not v.violations for v in verdicts)
    shown = {v.assertion: v.witnesses for v in verdicts}
    assert [name for name, lines in shown.items() if not lines] == ["V2"]
    assert shown["C5"] == ("task:t-1#1", TAKEN)
    assert shown["L2"] == (TAKEN,)
    assert shown["C13"] == ("trace:2", "trace:5")
    assert shown["V1"] == ("session:w-1-s1#1",)


# Planted bugs


def place(events: list[Event], line: str) -> int:
    """The place of a ledger line."""
    return [f"{event.chain}#{event.n}" for event in events].index(line)


def edited(line: str, **change: Any) -> Callable[[Trial], Trial]:
    """One event as a store with a bug would write it; keys that are no field are the payload's."""

    def plant(trial: Trial) -> Trial:
        events = list(trial.events)
        at = place(events, line)
        data = {key: value for key, value in change.items() if not hasattr(events[at], key)}
        fields = {key: value for key, value in change.items() if key not in data}
        events[at] = replace(with_data(events[at], **data), **fields)
        return replace(trial, events=resealed(events), seal=None)

    return plant


def without(line: str) -> Callable[[Trial], Trial]:
    """One event was never written."""

    def plant(trial: Trial) -> Trial:
        events = list(trial.events)
        gone = events.pop(place(events, line))
        later = [
            replace(event, n=event.n - (event.chain == gone.chain and event.n > gone.n))
            for event in events
        ]
        return replace(trial, events=resealed(later), seal=None)

    return plant


def given(**change: Any) -> Callable[[Trial], Trial]:
    """The trial with something beside the ledger changed."""
    return lambda trial: replace(trial, **change)


def expecting(**change: Any) -> Callable[[Trial], Trial]:
    """The trial with another expectation."""
    return lambda trial: replace(trial, expected=replace(trial.expected, **change))


def stored(index: int, **change: Any) -> Callable[[Trial], Trial]:
    """One checkpoint in LangGraph's tables changed."""

    def plant(trial: Trial) -> Trial:
        facts = list(trial.checkpoints or ())
        facts[index] = replace(facts[index], **change)
        return replace(trial, checkpoints=facts)

    return plant


def traced(index: int, **change: Any) -> Callable[[Trial], Trial]:
    """One line of the trace changed."""

    def plant(trial: Trial) -> Trial:
        lines = list(trial.trace or ())
        lines[index] = replace(lines[index], **change)
        return replace(trial, trace=lines)

    return plant


def miscounted(trial: Trial) -> Trial:
    """The exporter missed a step."""
    counters = dict(trial.counters or {})
    (key,) = [key for key in counters if key[0] == "langgraph_steps_total"]
    return replace(trial, counters={**counters, key: counters[key] - 1})


def replayed(*digests: str) -> Callable[[Trial], Trial]:
    """The replays came to these."""

    def plant(trial: Trial) -> Trial:
        (fact,) = trial.replays or ()
        return replace(trial, replays=[replace(fact, replayed=digests)])

    return plant


def lost_later(trial: Trial) -> Trial:
    """The lost session's own record says that it lived when it was taken from."""
    (claim,) = [e for e in trial.events if f"{e.chain}#{e.n}" == TAKEN]
    return edited("session:w-1-s1#2", at=claim.at + 9, lost_at=claim.at + 9)(trial)


CONTROL = ControlTask(steps=(-1, 0, 1), effects=("-1",), state_digest="s")
DONE = "task:t-1#9"
REPEATED = ("task:t-1#3", "task:t-1#6")
ZOMBIE = {"worker_id": "w-1", "session_id": "w-1-s1", "epoch": 1}
FAULT = FaultFact(name="kill", must_fire=True, fired=1, observed=("waitpid: signal 9",))
ENTRY = SinkEntry(key="key-1", task_id="t-1", value_digest="v")

#: The assertion that must fail, the bug, how it is planted, the lines that must be shown.
PLANTED: list[tuple[str, str, Callable[[Trial], Trial], tuple[str, ...]]] = [
    ("C1", "a step never taken", without("task:t-1#8"), ("task:t-1#8",)),
    ("C1", "a step too many", given(control=Control(tasks={"t-1": replace(CONTROL, steps=(-1, 0))})), (DONE,)),  # noqa: E501
    ("C1", "a gap", edited("task:t-1#8", step=5), (DONE,)),
    ("C1", "an effect elsewhere", given(control=Control(tasks={"t-1": replace(CONTROL, effects=("0",))})), (DONE,)),  # noqa: E501
    ("C2", "an effect twice", edited("task:t-1#6", type="effect"), (*REPEATED, DONE)),
    ("C2", "an effect missing", without("task:t-1#3"), ("task:t-1#5", "task:t-1#8")),
    ("C2", "twice at its target", given(sink=(ENTRY, ENTRY)), ("task:t-1#3",)),
    ("C2", "never at its target", given(sink=()), ("task:t-1#3",)),
    ("C2", "only at its target", given(sink=(ENTRY, replace(ENTRY, key="key-2"))), (DONE,)),
    ("C3", "a zombie's step", edited("task:t-1#7", **ZOMBIE), ("task:t-1#7",)),
    ("C3", "a zombie of the same name", edited("task:t-1#7", session_id="w-2-s0"), ("task:t-1#7",)),
    ("C4", "a fork", edited("task:t-1#8", parent="step-0000-t-1"), ("task:t-1#8",)),
    ("C4", "another state is stored", stored(1, digest="x"), ("task:t-1#7",)),
    ("C4", "stored behind another", stored(2, parent_id="step-0000-t-1"), ("task:t-1#8", DONE)),
    ("C4", "acknowledged, not stored", stored(1, step_id="x"), ("task:t-1#7", DONE)),
    ("C5", "taken from a live holder", lost_later, (TAKEN, "session:w-1-s1#2")),
    ("C5", "claimed though held", edited(TAKEN, reason=None), (TAKEN,)),
    ("C5", "taken before the loss", edited(TAKEN, lost_at=2**52), (TAKEN,)),
    ("C6", "an epoch again", edited(TAKEN, epoch=1), (TAKEN,)),
    ("C7", "another result", given(results={"t-1": "x"}), (DONE,)),
    ("C7", "no result", given(results={}), (DONE,)),
    ("C8", "lost when accepted", given(accepted=frozenset({"t-1", "t-2"})), ("task:t-2#0",)),
    ("C8", "never over", without(DONE), ("task:t-1#8",)),
    ("C9", "no submission", without("task:t-1#0"), ("task:t-1#0",)),
    ("C9", "another word", expecting(lease={"t-1": "H1 D"}), (DONE,)),
    ("C11", "two replays differ", replayed("r", "x"), ("task:t-1#7",)),
    ("C11", "one replay", replayed("r"), ("task:t-1#7",)),
    ("C12", "a zombie ends the run", edited(DONE, **ZOMBIE), (DONE,)),
    ("C12", "a zombie gives it back", edited(DONE, type="drained", reason="drained", **ZOMBIE), (DONE,)),  # noqa: E501
    ("C13", "at the deadline", traced(4, at_us=17 * SECOND), ("trace:5",)),
    ("C13", "the renewal failed", traced(3, kind=K.BEAT_FAILED), ("trace:5",)),
    ("C13", "after the session", traced(3, kind=K.SESSION_OVER), ("trace:5",)),
    ("C14", "a step not counted", miscounted, ("task:t-1#2", "task:t-1#7", "task:t-1#8")),
    ("L1", "too late", expecting(converge_within_us=SECOND - 1), (DONE,)),
    ("L1", "no end", without(DONE), ("task:t-1#8",)),
    ("L2", "a slow takeover", expecting(takeover_max_us={"heartbeat_lost": SECOND}), (TAKEN,)),
    ("L3", "too many claims", expecting(claims_per_second_max=0), ("task:t-1#1", TAKEN)),
    ("L3", "too many conflicts", expecting(conflicts_max=0), ("session:w-1-s1#3",)),
    ("L4", "not silent yet", edited("session:w-1-s1#2", silence_us=TTL_US - 1), ("session:w-1-s1#2",)),  # noqa: E501
    ("L4", "not to be taken", expecting(quiet=("t-1",)), (TAKEN,)),
    ("L4", "one takeover too many", expecting(takeovers={}), (TAKEN,)),
    ("V1", "it never fired", given(faults=[replace(FAULT, fired=0)]), ("session:w-1-s1#1",)),
    ("V1", "nothing was seen of it", given(faults=[replace(FAULT, observed=())]), ("session:w-1-s1#1",)),  # noqa: E501
    ("V2", "a checker nobody tried", given(mutants_killed=frozenset({"C1"})), ()),
    ("V3", "nothing to check", given(replays=()), ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "plant", "lines"),
    [(name, plant, lines) for name, _, plant, lines in PLANTED],
    ids=[f"{name}-{what.replace(' ', '-')}" for name, what, _, _ in PLANTED],
)
def test_a_planted_bug_fails_its_assertion(
    name: str, plant: Callable[[Trial], Trial], lines: tuple[str, ...]
) -> None:
    """And the lines that show it are named."""
    (verdict,) = judge(plant(good()), [name])
    assert (verdict.outcome, verdict.witnesses) == (Outcome.FAIL, lines), verdict.text
    assert verdict.judged
    assert 0 < verdict.violations <= verdict.checked


def _dropped(events: list[Event], at: int) -> list[Event]:
    return events[:at] + events[at + 1 :]


def test_a_row_that_was_edited_repeated_or_removed_fails_c10() -> None:
    """Without a forger who makes the hashes fit; with one, by the seal."""
    events, at = list(_history()), place(list(_history()), "task:t-1#7")
    changed = replace(events[at], wall=1)
    rewritten = resealed([*events[:at], changed, *events[at + 1 :]])
    for broken, line in (
        ([*events[:at], changed, *events[at + 1 :]], "task:t-1#7"),
        ([*events[: at + 1], *events[at:]], "task:t-1#7"),
        (_dropped(events, at), "task:t-1#8"),
        (rewritten, "task:t-1#0"),
        (events[:-1], "task:t-1#0"),
    ):
        (verdict,) = judge(replace(good(), events=broken), ["C10"])
        assert (verdict.outcome, verdict.witnesses) == (Outcome.FAIL, (line,)), verdict.text


def test_every_assertion_has_a_planted_bug() -> None:
    """C10 has its own test above."""
    assert {name for name, *_ in PLANTED} | {"C10"} == set(ASSERTIONS)


# What is never a pass


def test_nothing_passes_on_an_empty_history() -> None:
    """Whatever else is given; and what was accepted and is not there has failed."""
    nothing = Trial(events=[])
    rich = replace(
        good(), events=[], seal=None, control=Control(tasks={}), accepted=frozenset(),
        replays=(), trace=(), faults=(), sink=(), checkpoints=(), counters={},
        expected=Expected(), mutants_killed=frozenset(),
    )  # fmt: skip
    for trial, may_fail in ((nothing, {"V3"}), (rich, {"V2", "V3"})):
        for verdict in judge(trial):
            wanted = {
                Outcome.UNKNOWN,
                *({Outcome.FAIL} & ({Outcome.FAIL} if verdict.assertion in may_fail else set())),
            }
            assert verdict.outcome in wanted, verdict
            assert verdict.witnesses == ()
    (lost,) = judge(replace(good(), events=[], seal=None), ["C8"])
    assert (lost.outcome, lost.witnesses) == (Outcome.FAIL, ("task:t-1#0",))


def test_nothing_passes_on_a_history_that_was_not_read_to_its_end() -> None:
    """What is broken in the part that was read still fails."""
    cut = replace(good(), complete=False)
    assert {verdict.outcome for verdict in judge(cut)} == {Outcome.UNKNOWN}
    for verdict in judge(cut):
        assert verdict.checked
        assert verdict.judged
        assert "not read to its end" in verdict.text
    (broken,) = judge(edited("task:t-1#7", **ZOMBIE)(cut), ["C3"])
    assert (broken.outcome, broken.witnesses) == (Outcome.FAIL, ("task:t-1#7",))


@pytest.mark.parametrize("name", ASSERTIONS)
def test_what_lacks_its_input_is_not_judged(name: str) -> None:
    """And the input that is not there is named."""
    bare = Trial(events=_history())
    (verdict,) = judge(bare, [name])
    if name in (*LEDGER_ONLY, "V3"):
        assert verdict.outcome is Outcome.PASS
        assert verdict.witnesses
        return
    assert (verdict.outcome, verdict.judged, verdict.checked) == (Outcome.UNKNOWN, False, 0)
    assert verdict.text.startswith("not judged without ")
    assert verdict.witnesses == ()


def test_a_checker_that_crashes_has_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has it failed: nobody knows."""

    def crash(_reading: object) -> Any:
        raise ZeroDivisionError("by nought")

    monkeypatch.setitem(FOUND, "C1", replace(FOUND["C1"], hold=crash))
    monkeypatch.setattr("baton.domain.continuity.ASSERTIONS", {"C1": FOUND["C1"]})
    (verdict,) = judge(good())
    assert (verdict.outcome, verdict.judged, verdict.witnesses) == (Outcome.UNKNOWN, False, ())
    assert "ZeroDivisionError: by nought" in verdict.text


def test_the_worst_outcome_wins() -> None:
    """And none is no pass."""
    good_, bad, open_ = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN
    assert merge([good_, open_, bad]) is bad
    assert merge([good_, open_]) is open_
    assert merge([good_, good_]) is good_
    assert merge([]) is open_


def test_an_unknown_assertion_is_named() -> None:
    """A typing error is no pass either."""
    with pytest.raises(ValueError, match="C99"):
        judge(good(), ["C99"])


def test_judging_changes_nothing() -> None:
    """The same trial has the same verdicts again, in the same order."""
    trial = good()
    assert judge(trial) == judge(trial)
    assert judge(trial, ["L1", "C1"]) == tuple(
        v for v in judge(trial) if v.assertion in ("C1", "L1")
    )


# What the real store writes


def test_a_real_ledger_passes_what_a_ledger_can_show() -> None:
    """Claims, takeovers, drains, interrupts, operators, quarantine, foreign threads, restores."""
    verdicts: list[Verdict] = list(judge(Trial(events=healthy_ledger()), LEDGER_ONLY))
    assert [v.text for v in verdicts if v.outcome is not Outcome.PASS] == []
    assert all(v.checked and v.witnesses for v in verdicts)


def test_lease_words_tell_a_lease_in_letters() -> None:
    """One word for everything that can happen to a task."""
    assert lease_words(healthy_ledger()) == {
        "t-loss": "H1 X H2 X H3 X H4 F H5 F H6 F H7 D",
        "t-op": "H1 I H2 E H3 F H5 F H7 F E H9 E",
        "t-poison": "H1 X H2 X H3 X Q H5 D",
        "thread-1": "H1 D H2 I H3 X H4 F H5 E",
        "t-last": "H1 F H11",
    }
    assert lease_words([]) == {}


def test_what_is_portable_has_no_ids() -> None:
    """Super-steps and effects by number, so that two runs can be compared."""
    events = [event for event in healthy_ledger() if event.task_id == "t-loss"]
    assert steps_of(events)[:3] == (-1, 0, 1)
    assert set(effects_of(events)) < {str(number) for number in range(-1, 20)}
    unread = replace(_history()[-1], type="effect", step_id="x", payload=canonical_payload({}))
    assert effects_of([unread]) == ("?",)


def test_the_registry_explains_itself() -> None:
    """In order, each with its definition, and no two alike."""
    assert list(ASSERTIONS)[:3] == ["C1", "C2", "C3"]
    assert len(ASSERTIONS) == 14 + 4 + 3
    assert len({found.title for found in ASSERTIONS.values()}) == len(ASSERTIONS)
    for found in ASSERTIONS.values():
        assert found.question.endswith("?")
        assert found.definition.endswith(".")
    alone = [name for name, found in ASSERTIONS.items() if found.ledger_only]
    assert set(LEDGER_ONLY) <= set(alone)
