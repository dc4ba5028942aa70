"""What a fleet did with its tasks: nothing lost, nothing twice (C1, C2, C4, C7, C8, C11)."""

from __future__ import annotations

from collections import Counter

from baton.domain.continuity.model import CheckpointFact, TraceKind
from baton.domain.continuity.portable import effects_of, steps_of
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import assertion
from baton.domain.continuity.tally import Tally, line_of, trace_line
from baton.domain.ledger import Event, task_chain
from baton.domain.words import EventType

_E = EventType


@assertion("C1", "No step lost", "Did every task take every step it should?", "control")
def no_step_lost(reading: Reading) -> Tally:
    """C1: no step lost.

    For each task of the control run that is done: its super-steps are those of the control run
    as sets, and their numbers have no gap; its effects have the control run's super-steps.
    """
    tally, control = Tally(), reading.trial.control
    for task_id, wanted in () if control is None else control.each():
        if not reading.done(task_id):
            continue
        events = reading.tasks[task_id]
        steps, effects = set(steps_of(events)), Counter(effects_of(events))
        wrong = None
        if odd := steps ^ set(wanted.steps):
            wrong = f"{task_id}: step {min(odd)} is {'there' if min(odd) in steps else 'missing'}"
        elif len(steps) != max(steps) - min(steps) + 1 if steps else False:
            wrong = f"{task_id}: its steps have a gap"
        elif effects != (due := Counter(wanted.effects)):
            off = min((effects - due) or (due - effects))
            wrong = f"{task_id}: {effects[off]} effects in step {off}, and {due[off]} are due"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C2", "Effects are unique", "Was any effect recorded or accepted twice?")
def effects_unique(reading: Reading) -> Tally:
    """C2: effects are unique.

    For each task and key k there is at most one ``effect`` with k, and each
    ``effect_deduplicated`` follows the ``effect`` of its key. With a control run, each done task
    has as many effects as there. With the effects' target, it holds each key once, every
    recorded key, and for a done task no other. With a trace, no effect is tried under a later
    epoch than the one that its record has: who finds a record uses it. key = H(task, namespace,
    LangGraph's task, ordinal), never what a model said.
    """
    tally = reading.of_ledger("C2")
    control, sink = reading.trial.control, reading.trial.sink
    for task_id, wanted in () if control is None else control.each():
        if reading.done(task_id):
            found, due = len(effects_of(reading.tasks[task_id])), len(wanted.effects)
            wrong = f"{task_id}: {found} effects, and {due} are due" if found != due else None
            tally.check(wrong, reading.last_line(task_id))
    _tried_again(reading, tally)
    if sink is None:
        return tally
    held = Counter(entry.key for entry in sink)
    lines = {
        event.data["effect_key"]: line_of(event)
        for event in reading.trial.events
        if event.type == _E.EFFECT and "effect_key" in event.data
    }
    owners = {entry.key: entry.task_id for entry in sink}
    for key in sorted({*held, *lines}):
        wrong = f"{key[:12]} is {held[key]} times at its target" if held[key] != 1 else None
        if key not in lines and reading.done(owners[key]):
            wrong = f"{key[:12]} is at its target, and the task ended without a record of it"
        tally.check(wrong, lines.get(key) or reading.last_line(owners[key]))
    return tally


def _tried_again(reading: Reading, tally: Tally) -> None:
    """The effects that somebody tried although their result was recorded under an earlier epoch."""
    recorded = {
        event.data["effect_key"]: event.epoch
        for event in reading.trial.events
        if event.type == _E.EFFECT and "effect_key" in event.data
    }
    for index, line in enumerate(reading.trial.trace or ()):
        epoch = recorded.get(line.effect_key or "")
        if line.kind is TraceKind.EFFECT_ATTEMPT and epoch is not None and line.epoch is not None:
            wrong = f"{(line.effect_key or '')[:12]} is tried again, and epoch {epoch} recorded it"
            tally.check(wrong if line.epoch > epoch else None, trace_line(index))


@assertion("C4", "History is one line", "Has the history of a task a fork or a hole?")
def history_linear(reading: Reading) -> Tally:
    """C4: history is one line.

    Each step's parent is the last step of its namespace before it: so parent is injective,
    there is one root, and each parent precedes its child. With LangGraph's tables: every step's
    checkpoint is there with the event's digest (where the store keeps the bytes) and parent, no
    two have the same parent, one has none, and none is there that no event tells of.
    """
    tally = reading.of_ledger("C4")
    if reading.trial.checkpoints is None:
        return tally
    stored: dict[tuple[str, str], CheckpointFact] = {
        (fact.task_id, fact.step_id): fact for fact in reading.trial.checkpoints
    }
    told: set[tuple[str, str]] = set()
    for event in reading.trial.events:
        if event.type == _E.STEP and event.task_id and event.step_id:
            told.add((event.task_id, event.step_id))
            fact = stored.get((event.task_id, event.step_id))
            tally.check(_stored_wrong(event, fact), line_of(event))
    parents = Counter((f.task_id, f.ns, f.parent_id) for f in stored.values())
    for key, fact in sorted(stored.items()):
        if key not in told:
            wrong = f"checkpoint {fact.step_id} is in no event"
            tally.check(wrong, reading.last_line(fact.task_id))
        elif parents[fact.task_id, fact.ns, fact.parent_id] > 1:
            wrong = f"checkpoint {fact.step_id} shares its parent {fact.parent_id}"
            tally.check(wrong, reading.last_line(fact.task_id))
    return tally


def _stored_wrong(event: Event, fact: CheckpointFact | None) -> str | None:
    if fact is None:
        return f"checkpoint {event.step_id} is not stored"
    data = event.data
    if fact.digest is not None and fact.digest != data.get("digest"):
        return f"checkpoint {event.step_id} is stored with another digest"
    if fact.parent_id != data.get("parent"):
        return f"checkpoint {event.step_id} is stored behind {fact.parent_id}"
    return None


@assertion(
    "C7", "Same final state", "Did every task come to the same result?", "control", "results"
)
def final_state_equal(reading: Reading) -> Tally:
    """C7: same final state.

    For each task of the control run that is done: the digest of its final state is that of the
    control run, both under the declared projection, which leaves out ids and times.
    """
    tally, trial = Tally(), reading.trial
    for task_id, wanted in () if trial.control is None else trial.control.each():
        if reading.done(task_id):
            found = (trial.results or {}).get(task_id)
            wrong = None
            if found != wanted.state_digest:
                state = f"digest {found[:12]}" if found else "no state"
                wrong = f"{task_id}: {state}, and {wanted.state_digest[:12]} undisturbed"
            tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C8", "Acceptance lasts", "Is any task gone that was accepted?", "accepted")
def acceptance_durable(reading: Reading) -> Tally:
    """C8: acceptance lasts.

    Each task whose acceptance was confirmed is in the ledger, from ``submitted`` on, and by the
    end of the trial is done, failed by a durable record, put aside, or waits for an answer.
    """
    tally = Tally()
    for task_id in sorted(reading.trial.accepted or ()):
        events = reading.tasks.get(task_id, [])
        wrong = None
        if not any(event.type == _E.SUBMITTED for event in events):
            wrong = f"{task_id} was accepted and is not in the ledger"
        elif reading.settled_at(task_id) is None:
            wrong = f"{task_id} was accepted and came to no end"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C11", "Replay gives the same", "Does a step that is run again agree?", "replays")
def replay_consistent(reading: Reading) -> Tally:
    """C11: replay gives the same.

    Each replayed super-step, run from the checkpoint before it with the recorded inputs that no
    rule determines, came to the recorded digest in each of at least two replays.
    """
    tally = Tally()
    lines = {
        (event.task_id, event.step_id): line_of(event)
        for event in reading.trial.events
        if event.type == _E.STEP
    }
    for fact in reading.trial.replays or ():
        place = f"{fact.task_id} step {fact.step}"
        wrong = None
        if len(fact.replayed) < 2:  # noqa: PLR2004 - one replay cannot disagree with another
            wrong = f"{place} was replayed {len(fact.replayed)} times, and twice is the least"
        elif {*fact.replayed} != {fact.recorded}:
            odd = next(found for found in fact.replayed if found != fact.recorded)
            wrong = f"{place} came to {odd[:12]}, and {fact.recorded[:12]} is recorded"
        line = lines.get((fact.task_id, fact.step_id))
        if line is None:
            wrong = wrong or f"{place} is in no event"
        tally.check(wrong, line or f"{task_chain(fact.task_id)}#0")
    return tally
