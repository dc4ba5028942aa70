"""Who held what: fenced, exclusive, in order, in time (C3, C5, C6, C9, C10, C12, C13, C14)."""

from __future__ import annotations

from dataclasses import dataclass

from baton.domain.continuity.model import SeriesKey, TraceKind, TraceLine
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import assertion
from baton.domain.continuity.tally import Tally, line_of, trace_line
from baton.domain.folds import FOLDED
from baton.domain.words import EventType

_K = TraceKind


@assertion("C3", "No zombie writes", "Was a write accepted from a holder who had been replaced?")
def no_zombie_write(reading: Reading) -> Tally:
    """C3: no zombie writes.

    For each accepted write x on a task (``resumed``, ``step``, ``effect``,
    ``effect_deduplicated``): the task is held, epoch(x) is its highest epoch so far, and worker
    and session of x are those of the claim that came with it.
    """
    return reading.of_ledger("C3")


@assertion("C5", "One holder at a time", "Did two sessions ever hold the same task?")
def exclusive(reading: Reading) -> Tally:
    """C5: one holder at a time.

    The intervals [claim, min(loss, release, next claim)) of a task are disjoint in store time:
    each claim finds the task free, or names the holder before and comes no earlier than that
    holder's loss, as the claim tells it and as the lost session's own chain tells it.
    """
    return reading.of_ledger("C5")


@assertion("C6", "Epochs only grow", "Was a fencing token ever used twice?")
def epochs_grow(reading: Reading) -> Tally:
    """C6: epochs only grow.

    Per task, each claim, quarantine and operator's action other than a retry has a higher epoch
    than everything before it, after a restore too; no other event has a lower one. With a trace,
    no two sessions begin a node of a task under one epoch, whatever a restore made of the ledger.
    """
    tally, first = reading.of_ledger("C6"), dict[tuple[str | None, int | None], str | None]()
    for index, line in enumerate(reading.trial.trace or ()):
        if line.kind is _K.ATTEMPT:
            by = first.setdefault((line.task_id, line.epoch), line.session_id)
            wrong = (
                f"{line.session_id} works under epoch {line.epoch} of {line.task_id}, as {by} did"
            )
            tally.check(wrong if by != line.session_id else None, trace_line(index))
    return tally


@assertion("C9", "Legal lease history", "Did tasks and sessions only do what they may?")
def legal_history(reading: Reading) -> Tally:
    """C9: legal lease history.

    The events of each task's and each session's chain are a word of the declared automaton
    (``task_after``, ``session_after``); where a lease word is expected, the task's is that one.
    """
    tally = reading.of_ledger("C9")
    for task_id, wanted in sorted((reading.trial.expected.lease or {}).items()):
        found = reading.words.get(task_id)
        wrong = None
        if found != wanted:
            wrong = f"{task_id} reads {found or 'nothing'}, and {wanted} is expected"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C10", "The ledger is whole", "Is the record complete, in order and unedited?")
def ledger_whole(reading: Reading) -> Tally:
    """C10: the ledger is whole.

    Each chain begins at 0, is dense, and each event's ``prev`` and ``hash`` fit; every event
    can be read, has its ids and its words, and time does not run back; each sealed head is the
    hash of an event of its chain.
    """
    return reading.of_ledger("C10")


@assertion("C12", "Nobody gives back for another", "Did a stale holder release or renew a lease?")
def no_foreign_release(reading: Reading) -> Tally:
    """C12: nobody gives back for another.

    Each accepted release (``released``, ``drained``, ``interrupted``, ``done``, ``failed``) has
    the task's highest epoch and the worker and session of its claim; each accepted renewal or stop
    (``heartbeat_late``, ``session_stopped``) is of a session that was neither lost nor stopped.
    With a trace, no heartbeat is acknowledged to a session after its end, in store time.
    """
    tally, ended = reading.of_ledger("C12"), dict[str | None, int]()
    for event in reading.trial.events:
        if event.type in (EventType.SESSION_LOST, EventType.SESSION_STOPPED):
            lost_at = event.data.get("lost_at")
            ended[event.session_id] = lost_at if type(lost_at) is int else event.at
    for index, line in enumerate(reading.trial.trace or ()):
        if line.kind is _K.BEAT_ACKED and line.store_us is not None:
            late_us = line.store_us - ended.get(line.session_id, line.store_us)
            wrong = f"{line.session_id} was renewed {late_us} us after its end"
            tally.check(wrong if late_us > 0 else None, trace_line(index))
    return tally


@dataclass(slots=True)
class _Session:
    """What its trace tells of a session: its lease's term, and until when it was confirmed."""

    ttl_us: int | None = None
    margin_us: int = 0
    sent_us: int | None = None
    until_us: int | None = None
    over: bool = False


@assertion(
    "C13", "Doubt stops work", "Did a worker start a node when its lease was in doubt?", "trace"
)
def self_fenced(reading: Reading) -> Tally:
    """C13: doubt stops work.

    Each ``attempt`` of a session begins before sent + TTL - margin, by the worker's monotonic
    clock, where sent is when its last confirmed renewal was sent (or its session opened), and
    none begins once the session is over.
    """
    tally, sessions = Tally(), dict[tuple[str, str | None], _Session]()
    for index, line in enumerate(reading.trial.trace or ()):
        session = sessions.setdefault((line.worker_id, line.session_id), _Session())
        if line.kind is _K.ATTEMPT:
            tally.check(_doubtful(session, line), trace_line(index))
        else:
            _follow(session, line)
    return tally


def _follow(session: _Session, line: TraceLine) -> None:
    if line.kind is _K.SESSION_OPENED:
        session.ttl_us, session.margin_us = line.ttl_us, line.margin_us or 0
        opened = None if line.ttl_us is None else line.at_us + line.ttl_us
        session.until_us = line.confirmed_until_us or opened
    elif line.kind is _K.SESSION_OVER:
        session.over = True
    elif line.kind is _K.BEAT_SENT:
        session.sent_us = line.at_us
    elif line.kind is _K.BEAT_ACKED and session.sent_us is not None and session.ttl_us is not None:
        session.until_us, session.sent_us = session.sent_us + session.ttl_us, None
    elif line.kind is _K.BEAT_FAILED:
        session.sent_us = None


def _doubtful(session: _Session, line: TraceLine) -> str | None:
    who = f"{line.worker_id} began {line.node or 'a node'}"
    if session.over:
        return f"{who} after its session was over"
    if session.until_us is None:
        return f"{who} in a session that was never confirmed"
    late_us = line.at_us - (session.until_us - session.margin_us)
    return f"{who} {late_us} us after its deadline" if late_us >= 0 else None


@assertion("C14", "Metrics agree", "Do the metrics say what the ledger says?", "counters")
def metrics_agree(reading: Reading) -> Tally:
    """C14: metrics agree.

    Each counter that is folded from the ledger was served with exactly the ledger's count, by
    series; a count that is not 0 was served, and none was served that the ledger does not have.
    """
    tally, served = Tally(), reading.trial.counters or {}
    counted = reading.fold.counters
    for metric, types in FOLDED.items():
        if metric.buckets:
            continue
        due: dict[SeriesKey, float] = {}
        for labels, count in counted.get(metric, {}).items():
            pairs = tuple(sorted(zip(metric.labels, labels, strict=True)))
            due[metric.name, pairs] = count
        mine = {key: value for key, value in served.items() if key[0] == metric.name}
        lines = [line_of(event) for event in reading.trial.events if event.type in types][-3:]
        for key in sorted({*due, *mine}):
            name = f"{key[0]}{dict(key[1])}"
            found, wanted = mine.get(key, 0), due.get(key, 0)
            wrong = f"{name} is {found:g}, and the ledger has {wanted:g}"
            if found or wanted:
                tally.check(wrong if found != wanted else None, *lines)
    return tally
