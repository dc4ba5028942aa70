"""The operator's timeline: what happened, by task, run, step or worker."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from baton.domain.ledger import Event
from baton.domain.takeovers import Stage, Takeover, TakeoverTracker
from baton.domain.words import EventType
from baton.observe.wording import sentence

_E = EventType

#: How many characters of a run's or a step's id are shown, and are enough to ask for one.
SHORT = 8
#: The sentences get at least this many characters, however narrow the terminal is.
_TEXT_WIDTH_MIN = 24

#: After one of these nobody holds the task.
_LEAVES = frozenset(
    {
        *(_E.RELEASED, _E.DRAINED, _E.INTERRUPTED, _E.DONE, _E.FAILED, _E.QUARANTINED),
        _E.OPERATOR_ACTION,
    }
)

_TONES = {
    **dict.fromkeys((_E.SESSION_LOST, _E.WRITE_REFUSED, _E.FAILED, _E.QUARANTINED), "bad"),
    **dict.fromkeys((_E.HEARTBEAT_LATE, _E.OPERATOR_ACTION, _E.FAULT_INJECTED), "notable"),
    _E.DONE: "good",
}
_COLOURS = {"bad": "\x1b[31m", "notable": "\x1b[33m", "good": "\x1b[32m"}
_PLAIN = "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event, as an operator reads it.

    Attributes:
        wall_us: wall-clock microseconds since the Unix epoch.
        since_us: store-time microseconds since the first row.
        step: the number of the super-step, where one is concerned.
        event: the event's type.
        text: what happened, in one sentence.
        tone: ``bad``, ``notable``, ``good`` or nothing; the colour in a terminal.
        chain: with ``n``, where the ledger says so.
    """

    wall_us: int
    since_us: int
    worker_id: str | None
    task_id: str | None
    run_id: str | None
    step_id: str | None
    step: int | None
    epoch: int | None
    event: str
    text: str
    tone: str
    chain: str
    n: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """An event with what was known when it came.

    Attributes:
        step: the number of the super-step it belongs to.
        reached: the takeovers that reached a stage by it.
        held: the tasks that its session held, for an event about a session.
    """

    event: Event
    step: int | None
    reached: list[Takeover]
    held: frozenset[str]


def timeline(
    events: Iterable[Event],
    *,
    task: str | None = None,
    run: str | None = None,
    step: str | None = None,
    worker: str | None = None,
) -> list[Row]:
    """The events that an operator asks for, in the order of the ledger.

    Every filter that is given has to fit. The events that do not fit are needed as well, because
    a sentence may speak of what came before.

    Args:
        events: the ledger, in the order of its tail.
        task: a task id. What befell the session that held the task then belongs to it too.
        run: a run id, or its beginning.
        step: the number of a super-step, or a checkpoint id, of which the first ``SHORT``
            characters are enough.
        worker: a worker id. What others took over from it belongs to it too.
    """
    kept = [
        seen
        for seen in _followed(events)
        if (task is None or task == seen.event.task_id or task in seen.held)
        and (run is None or (seen.event.run_id or "").startswith(run))
        and (step is None or _is_step(seen, step))
        and (worker is None or _is_about(seen, worker))
    ]
    return [_row(seen, kept[0].event.at) for seen in kept]


def to_dicts(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as plain values for ``--json``: times in UTC and in seconds, ids in full."""
    return [
        {
            "time": _utc(row).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "since_seconds": row.since_us / 1e6,
            "worker_id": row.worker_id,
            "task_id": row.task_id,
            "run_id": row.run_id,
            "step_id": row.step_id,
            "step": row.step,
            "epoch": row.epoch,
            "event": row.event,
            "text": row.text,
            "chain": row.chain,
            "n": row.n,
        }
        for row in rows
    ]


_HEAD = ("time (UTC)", "since", "worker", "task", "run", "step", "epoch", "event")


def render_text(rows: list[Row], width: int | None = None, *, colour: bool = False) -> str:
    """The rows as a table, each day under its date; nothing for no rows.

    Args:
        rows: from ``timeline``.
        width: characters in a line; longer sentences are wrapped. None leaves them whole.
        colour: colour the rows for a terminal.
    """
    if not rows:
        return ""
    columns = [_columns(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(_HEAD, *columns, strict=True)]
    lines = [_aligned(_HEAD, widths) + "what happened"]
    for day, found in groupby(zip(rows, columns, strict=True), lambda pair: _utc(pair[0]).date()):
        lines.append(str(day))
        for row, cells in found:
            for line in _wrapped(_aligned(cells, widths), _printable(row.text), width):
                paint = colour and row.tone in _COLOURS
                lines.append(f"{_COLOURS[row.tone]}{line}{_PLAIN}" if paint else line)
    return "\n".join(lines) + "\n"


def _followed(events: Iterable[Event]) -> Iterator[_Seen]:
    """Each event with what was known when it came."""
    takeovers = TakeoverTracker()
    numbers: dict[tuple[str | None, str | None], int] = {}
    holders: dict[str, str | None] = {}
    for event in events:
        task_id = event.task_id or ""
        place = (event.task_id, event.step_id)
        if event.type == _E.STEP and type(number := event.data.get("step")) is int:
            numbers[place] = number
        elif event.type == _E.CLAIMED:
            holders[task_id] = event.session_id
        elif event.type in _LEAVES:
            holders.pop(task_id, None)
        held: frozenset[str] = frozenset()
        if event.chain.startswith("session:"):
            held = frozenset(held for held, by in holders.items() if by == event.session_id)
        yield _Seen(event, numbers.get(place), takeovers.apply(event), held)


def _is_step(seen: _Seen, step: str) -> bool:
    step_id = seen.event.step_id or ""
    return step == str(seen.step) or (len(step) >= SHORT and step_id.startswith(step))


def _is_about(seen: _Seen, worker: str) -> bool:
    return worker in (seen.event.worker_id, *(takeover.from_worker for takeover in seen.reached))


def _row(seen: _Seen, start_at: int) -> Row:
    event = seen.event
    taken_over = any(takeover.stage is Stage.CLAIMED for takeover in seen.reached)
    tones = {str(type_): tone for type_, tone in _TONES.items()}
    return Row(
        wall_us=event.wall,
        since_us=event.at - start_at,
        worker_id=event.worker_id,
        task_id=event.task_id,
        run_id=event.run_id,
        step_id=event.step_id,
        step=seen.step,
        epoch=event.epoch,
        event=event.type,
        text=sentence(event, seen.reached),
        tone="notable" if taken_over else tones.get(event.type, ""),
        chain=event.chain,
        n=event.n,
    )


def _utc(row: Row) -> datetime:
    return datetime.fromtimestamp(row.wall_us / 1e6, UTC)


def _columns(row: Row) -> tuple[str, ...]:
    return (
        _utc(row).time().isoformat(timespec="milliseconds"),
        f"{row.since_us / 1e6:+.3f}",
        *(_printable(text or "-") for text in (row.worker_id, row.task_id)),
        _printable((row.run_id or "-")[:SHORT]),
        "-" if row.step is None else str(row.step),
        "-" if row.epoch is None else str(row.epoch),
        _printable(row.event),
    )


def _aligned(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "".join(f"{cell:<{width}}  " for cell, width in zip(cells, widths, strict=True))


def _wrapped(start: str, text: str, width: int | None) -> list[str]:
    if width is None:
        return [start + text]
    room = max(width - len(start), _TEXT_WIDTH_MIN)
    first, *more = textwrap.wrap(text, room) or [""]
    return [start + first, *(" " * len(start) + part for part in more)]


def _printable(text: str) -> str:
    """Text that cannot take over the terminal it is printed to, wherever the ledger came from."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
