"""Events of the ledger in plain words, one sentence each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from baton.domain.ledger import Event
from baton.domain.takeovers import Stage, Takeover
from baton.domain.words import EventType, TakeoverOutcome, TakeoverPhase

_E = EventType
_Data = Mapping[str, Any]


def sentence(event: Event, reached: Iterable[Takeover]) -> str:
    """What happened.

    Args:
        event: the event.
        reached: the takeovers that reached a stage by it, from ``TakeoverTracker.apply``.
    """
    stages = {takeover.stage: takeover for takeover in reached}
    write = _SENTENCES.get(event.type)
    if Stage.CLAIMED in stages:
        text = _taken_over(stages[Stage.CLAIMED])
    elif event.type == _E.RESUMED and Stage.RESTORED in stages:
        text = _restored(stages.pop(Stage.RESTORED))
    else:
        text = write(event, event.data) if write else f"{event.type} on {event.chain}"
    return "; ".join([text, *filter(None, map(_stage_note, stages.values()))])


#: Below how many microseconds a length is written with which divisor, decimals and unit.
_SCALE = ((10_000, 1e3, 1, "ms"), (999_500, 1e3, 0, "ms"), (59_950_000, 1e6, 1, "s"))


def duration(microseconds: int) -> str:
    """A length of time as people write it."""
    for below, divisor, decimals, unit in _SCALE:
        if microseconds < below:
            return f"{microseconds / divisor:.{decimals}f} {unit}"
    minutes, seconds = divmod(round(microseconds / 1e6), 60)
    return f"{minutes} min {seconds} s"


def _lasted(microseconds: Any) -> str:
    return duration(microseconds) if type(microseconds) is int else "an unknown time"


def _stage_note(takeover: Takeover) -> str | None:
    match takeover.stage:
        case Stage.ABANDONED:
            return f"the takeover by {takeover.to_worker} at epoch {takeover.epoch} is abandoned"
        case Stage.RESTORED:
            return f"with it the takeover is restored, latency {_lasted(takeover.latency_us)}"
        case Stage.PROGRESSED:
            took = _lasted(takeover.phase_us(TakeoverPhase.PROGRESS))
            return f"first progress {took} after the takeover"
        case Stage.CLAIMED:
            return None


def _taken_over(takeover: Takeover) -> str:
    known = ", ".join(filter(None, (takeover.reason.value, takeover.evidence)))
    return (
        f"{takeover.to_worker} took over {takeover.task_id} from {takeover.from_worker} ({known}): "
        f"detect {_lasted(takeover.phase_us(TakeoverPhase.DETECT))}, "
        f"claim {_lasted(takeover.phase_us(TakeoverPhase.CLAIM))}"
    )


def _restored(takeover: Takeover) -> str:
    found = {
        TakeoverOutcome.RESTARTED: "there was no checkpoint, so it begins again from its input",
        TakeoverOutcome.COMPLETED: "nothing was left to run",
    }.get(takeover.outcome or TakeoverOutcome.RESUMED, "it goes on from its last step")
    restore = _lasted(takeover.phase_us(TakeoverPhase.RESTORE))
    latency = _lasted(takeover.latency_us)
    return (
        f"{takeover.to_worker} restored {takeover.task_id} in {restore}, "
        f"takeover latency {latency}: {found}"
    )


def _step(event: Event, data: _Data) -> str:
    what = "the input" if data.get("source") == "input" else f"step {data.get('step')}"
    # The namespace of a subgraph is the path of its nodes, each with LangGraph's id of the call.
    node = str(data.get("ns") or "").rpartition("|")[2].partition(":")[0]
    return f"{what} of {event.task_id}{f' inside {node}' if node else ''} is durable"


def _released(event: Event, data: _Data) -> str:
    del data
    why = "it could not renew" if event.reason == "heartbeat_lost" else "its session ended"
    return f"{event.worker_id} gave {event.task_id} back unfinished: {why}"


def _claimed(event: Event, data: _Data) -> str:
    ready_at = data.get("ready_at")
    waited = event.at - ready_at if type(ready_at) is int else None
    return f"{event.worker_id} claimed {event.task_id}, which had waited {_lasted(waited)}"


def _session_lost(event: Event, data: _Data) -> str:
    lost_at = data.get("lost_at")
    earlier = event.at - lost_at if type(lost_at) is int else 0
    recorded = f", recorded {duration(earlier)} later" if earlier > 0 else ""
    silence = _lasted(data.get("silence_us"))
    return (
        f"{event.worker_id} was lost ({data.get('evidence')}), {silence} after its last heartbeat"
        f"{recorded}"
    )


def _operator_action(event: Event, data: _Data) -> str:
    task, holder = event.task_id, event.worker_id or "nobody"
    match data.get("action"):
        case "retry":
            return f"an operator began a new run of {task}"
        case "release":
            return f"an operator took {task} from {holder}, for anybody to continue"
        case "takeover":
            return f"an operator took {task} from {holder}, for another to continue"
        case "cancel":
            return f"an operator cancelled {task}"
        case "accept_restore":
            return f"a restored store was accepted, and {task} is at epoch {event.epoch}"
        case action:
            return f"an operator did {action} to {task}"


def _fault(event: Event, data: _Data) -> str:
    told = ", ".join(f"{key} {value}" for key, value in sorted(data.items()))
    return f"a fault was injected: {event.reason or told or 'it does not say which'}"


#: The sentence for each type of event, where no takeover has more to say.
_SENTENCES: Mapping[str, Callable[[Event, _Data], str]] = {
    _E.SUBMITTED: lambda e, d: f"{e.task_id} was submitted for graph {d.get('graph')}",
    _E.CLAIMED: _claimed,
    _E.RESUMED: lambda e, _: f"{e.worker_id} loaded the state of {e.task_id} and goes on",
    _E.STEP: _step,
    _E.EFFECT: lambda e, d: f"effect {_short(d)} of {e.task_id} happened and is recorded",
    _E.EFFECT_DEDUPLICATED: lambda e, d: (
        f"effect {_short(d)} of {e.task_id} was not repeated: its recorded result stands"
    ),
    _E.RELEASED: _released,
    _E.DRAINED: lambda e, _: f"{e.worker_id} left {e.task_id} between two steps, as planned",
    _E.INTERRUPTED: lambda e, _: f"{e.task_id} waits for an answer",
    _E.RESUME_REQUESTED: lambda e, _: f"{e.task_id} has its answer, and a new run begins",
    _E.DONE: lambda e, _: f"{e.task_id} is done",
    _E.FAILED: lambda e, d: f"{e.task_id} failed: {d.get('error_type')}",
    _E.QUARANTINED: lambda e, d: (
        f"{e.task_id} was put aside after {d.get('fruitless')} takeovers that brought nothing"
    ),
    _E.OPERATOR_ACTION: _operator_action,
    _E.SESSION_STARTED: lambda e, d: (
        f"{e.worker_id} started on {d.get('host')} (process {d.get('pid')}, pool {d.get('pool')})"
    ),
    _E.HEARTBEAT_LATE: lambda e, d: (
        f"{e.worker_id} was silent for {_lasted(d.get('silence_us'))}, and nobody had acted yet"
    ),
    _E.SESSION_DRAINING: lambda e, _: f"{e.worker_id} is draining: it takes nothing new",
    _E.SESSION_STOPPED: lambda e, d: (
        f"{e.worker_id} stopped ({e.reason}), tasks given back: {d.get('released')}"
    ),
    _E.SESSION_LOST: _session_lost,
    _E.WRITE_REFUSED: lambda e, _: (
        f"a late write of {e.worker_id or 'a session unknown'} on {e.task_id} "
        f"at epoch {e.epoch} was refused"
    ),
    _E.FAULT_INJECTED: _fault,
}


def _short(data: _Data) -> str:
    return str(data.get("effect_key"))[:8]
