"""Render the diagnostics model from the code that keeps it.

`--check` writes nothing and exits 1 when the page has drifted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from baton.domain.catalogue import (
    CATALOGUE,
    CONTINUITY_VIOLATIONS,
    DIAGNOSTICS_INVALID,
    LEASE_CONCURRENT_WRITERS,
    LEASE_TRANSITIONS,
)
from baton.domain.checks import CHECKS
from baton.domain.continuity import ASSERTIONS, LEDGER_ONLY, NEEDS
from baton.domain.folds import FOLDED
from baton.domain.ledger import FIELDS, SCHEMA_VERSION
from baton.domain.shapes import ANY, SHAPES, Shape
from baton.domain.takeovers import PHASES, Stage, Takeover
from baton.domain.transitions import OPERATOR_ACTIONS, session_after, task_after
from baton.domain.words import (
    EventType,
    Evidence,
    SessionState,
    TakeoverOutcome,
    TakeoverPhase,
    TakeoverReason,
    TaskState,
)
from baton.observe.timeline import Row, to_dicts

SPEC = Path(__file__).resolve().parents[1] / "specs" / "005-v1-2-reliability-operator-experience"
PAGE = SPEC / "diagnostics-model.md"

FIELD_MEANINGS = {
    "schema_version": "version of this model",
    "chain": "`task:<id>` or `session:<id>`: the chain that the event belongs to",
    "n": "its place in the chain, from 0 and without a gap",
    "at": "store time, whole microseconds; it never steps and never runs back",
    "wall": "wall-clock time of the writer, microseconds since the Unix epoch; it may step",
    "type": "what happened, one of the types below",
    "task_id": "the LangGraph thread id",
    "run_id": "one execution, from submit or resume to its end; a takeover continues it",
    "step_id": "the id of the checkpoint",
    "worker_id": "the worker's name, stable over restarts",
    "session_id": "one incarnation of the worker",
    "epoch": "the fencing token of the lease; it only grows",
    "reason": "why, where there is more than one reason",
    "payload": "canonical JSON: digests and figures, never values of the user",
    "prev": "the hash of the event before it in the chain",
    "hash": "SHA-256 over the fields above",
    "seq": "its place in the tail; not hashed, may have gaps",
}

CORRELATION = (
    ("task to run", "`run_id` of every event on the task's chain; one run at a time"),
    ("run to step", "`step` events carry `run_id` and `step_id`; effects name their step too"),
    ("step to task", "`step` events are on the task's chain; the id is that of the checkpoint"),
    ("task to holder", "`worker_id`, `session_id` and `epoch` of the last `claimed`"),
    ("takeover to predecessor", "`previous_worker`, `previous_session`, `previous_epoch`"),
    ("refused write to task", "`task_id` and `epoch` on the refused session's chain"),
    ("metric to case", "exemplars carry `task_id` and `run_id`; ids are never labels"),
)

REASON_MEANINGS = {
    TakeoverReason.CRASHED: "there was evidence that the holder's process had ended",
    TakeoverReason.HEARTBEAT_LOST: "the holder was silent for its TTL, or gave itself up",
    TakeoverReason.PROGRESS_STALLED: "the holder lived, and wrote nothing until a deadline",
    TakeoverReason.DRAINED: "the holder gave the run back, as planned",
    TakeoverReason.OPERATOR: "an operator took the task away",
}

OUTCOME_MEANINGS = {
    TakeoverOutcome.RESUMED: "the run goes on from its last step",
    TakeoverOutcome.RESTARTED: "there was no checkpoint; the run begins again from its input",
    TakeoverOutcome.COMPLETED: "nothing was left to run; there is no progress to wait for",
    TakeoverOutcome.ABANDONED: "the lease ended and nothing shows that the state was ever loaded;"
    " counted, in no histogram",
}

EVIDENCE_MEANINGS = {
    Evidence.FLOCK: "the lock of its session file was free",
    Evidence.PIDFD: "the kernel reported the end of its process",
    Evidence.CONNECTION: "its connection to the store was gone",
    Evidence.TTL: "no heartbeat for a TTL",
}

PHASE_MEANINGS = {
    TakeoverPhase.DETECT: "last sign of life until the loss was established",
    TakeoverPhase.CLAIM: "until the new epoch was committed",
    TakeoverPhase.RESTORE: "until the first node may start",
    TakeoverPhase.PROGRESS: "until the first new step or effect was durable; contains the user's"
    " nodes",
}

STAGE_MEANINGS = {
    Stage.CLAIMED: "`claimed` with a reason",
    Stage.RESTORED: "`resumed`; for an external task the first `step`, `effect`,"
    " `effect_deduplicated`, `interrupted` or `done` of the new holder",
    Stage.PROGRESSED: "the first `step` or `effect` after that",
    Stage.ABANDONED: "the lease ends, by whatever event, without having been restored",
}

GROUPS = ("session", "lease", "takeover")


def render() -> str:
    """Return the whole page as Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Diagnostics model, v1.2"
    yield ""
    yield (
        f"Ledger schema {SCHEMA_VERSION}. Rendered by `python tools/render_diagnostics.py` from the"
        " code that keeps it: edit the code, not this page. The metrics are in"
        " [docs/metrics.md](../../docs/metrics.md)."
    )
    yield ""
    yield (
        "Everything that an operator is shown about heartbeats, leases and takeovers comes from"
        " two places: the **state** of sessions and tasks as the store has it at a scrape, and the"
        " **ledger**, which is written in the transaction of what it records. Counters,"
        " histograms, takeovers, the timeline and the report are folds of the ledger: the same"
        " ledger gives the same results, wherever the reading of it is split."
    )
    for part in (
        _events,
        _correlation,
        _lifecycles,
        _takeovers,
        _metrics,
        _timeline,
        _checks,
        _continuity,
    ):
        yield from part()


def _events() -> Iterator[str]:
    yield from _heading("Events")
    yield from _table(
        ("field", "meaning"), ((f"`{name}`", FIELD_MEANINGS[name]) for name in (*FIELDS, *_MORE))
    )
    yield ""
    yield "The ids in the table are always there; an event without one is a finding."
    yield ""
    yield from _table(
        ("event", "chain", "what happened", "ids", "reason"),
        (
            (f"`{type_}`", shape.chain, shape.meaning, _code(shape.ids), _reasons(shape))
            for type_, shape in SHAPES.items()
        ),
    )
    yield from _heading("Payloads", level=3)
    yield (
        "Keys that end in `_us` are lengths, those that end in `_at` moments of store time, both"
        " in whole microseconds. Keys may be added; none is taken away."
    )
    yield ""
    yield from _table(("event", "key", "meaning"), _payload_rows())


_MORE = ("hash", "seq")


def _payload_rows() -> Iterator[tuple[str, str, str]]:
    for type_, shape in SHAPES.items():
        for key, meaning in shape.payload.items():
            yield f"`{type_}`", f"`{key}`", meaning
        for key, meaning in shape.with_reason.items():
            yield f"`{type_}` with a reason", f"`{key}`", meaning
        for key, meaning in shape.further.items():
            yield f"`{type_}`", f"`{key}`, in some cases", meaning


def _correlation() -> Iterator[str]:
    yield from _heading("Correlation")
    yield (
        "A task is one LangGraph thread, a run one execution on it, a step one durable super-step."
        " From any one of the three ids the other two are found, and with each of them"
        " `baton ledger timeline` shows the same events."
    )
    yield ""
    yield from _table(("from", "by"), CORRELATION)


def _lifecycles() -> Iterator[str]:
    yield from _heading("Lifecycles")
    yield "What is not listed is impossible, and a finding if a ledger tells of it."
    yield from _heading("Heartbeat and session", level=3)
    yield (
        "A heartbeat renews a session with all its leases and is no event; its age is a metric."
        " Freshness is `running` below two intervals, `warning` below the TTL, then `stale`."
        " `starting` and `busy` are states of the store only: the ledger tells of a session from"
        " its first event, and of its work by its tasks."
    )
    yield ""
    yield from _table(("event", "from", "to"), _moves(session_after, (None, *SessionState)))
    yield from _heading("Task", level=3)
    yield from _table(("event", "from", "to"), _task_moves())
    yield ""
    yield (
        "A thread of somebody's own runtime (an external task) is claimed again for each run,"
        " also after `done`, `failed` or `interrupted`."
    )
    yield from _heading("Lease", level=3)
    yield (
        "The lease on a task is `active` while its session is fresh, `expired` once the session is"
        " lost, and `released` while nobody holds the task. Taking it from its holder ends it as"
        " `taken_over`."
    )
    yield ""
    yield from _table(("from", "to", "reason"), LEASE_TRANSITIONS)


def _moves(
    after: Callable[[SessionState | None, EventType], SessionState | None],
    states: Sequence[SessionState | None],
) -> Iterator[tuple[str, str, str]]:
    for type_, shape in SHAPES.items():
        if shape.chain == "session":
            yield from _joined(f"`{type_}`", ((state, after(state, type_)) for state in states))


def _task_moves() -> Iterator[tuple[str, str, str]]:
    states = (None, *TaskState)
    for type_, shape in SHAPES.items():
        if type_ is EventType.OPERATOR_ACTION:
            for action in OPERATOR_ACTIONS:
                moves = ((state, task_after(state, type_, action=action)) for state in states)
                yield from _joined(f"`{type_}` {action}", moves)
        elif shape.chain == "task":
            yield from _joined(f"`{type_}`", ((s, task_after(s, type_)) for s in states))


def _joined(
    what: str, moves: Iterable[tuple[object | None, object | None]]
) -> Iterator[tuple[str, str, str]]:
    """One row for each state that an event leads to, with all the states it may come from."""
    sources: dict[str, list[str]] = {}
    for before, after in moves:
        if after is not None:
            target = "as before" if before == after else str(after)
            sources.setdefault(target, []).append(str(before or "nothing"))
    for target, found in sources.items():
        yield what, ", ".join(found), target


def _takeovers() -> Iterator[str]:
    yield from _heading("Takeovers")
    yield (
        "A takeover is a claim that continues a run which another session left unfinished."
        " **Takeover latency** is detect, claim and restore together."
    )
    yield ""
    yield from _table(
        ("phase", "from", "until", "meaning"),
        (
            (phase, f"`{start}`", f"`{end}`", PHASE_MEANINGS[phase])
            for phase, (start, end) in PHASES.items()
        ),
    )
    yield ""
    yield from _table(("stage", "reached by"), STAGE_MEANINGS.items())
    yield ""
    yield (
        "A runtime of somebody's own cannot say when it has loaded the state. So for an external"
        " task the restore phase contains the nodes of its first step, and a first step is both"
        " the restoration and the first progress."
    )
    for title, meanings in (
        ("reason", REASON_MEANINGS),
        ("evidence", EVIDENCE_MEANINGS),
        ("outcome", OUTCOME_MEANINGS),
    ):
        yield ""
        yield from _table((title, "meaning"), meanings.items())
    yield ""
    names = (*(field.name for field in fields(Takeover)), *(f"{p}_seconds" for p in PHASES))
    yield f"Fields of a takeover record: {_code((*names, 'latency_seconds', 'stage'))}."


def _metrics() -> Iterator[str]:
    yield from _heading("Metrics")
    yield (
        "Folded from the ledger. Label values known beforehand exist from the start at 0; what an"
        " event may change is held by a test."
    )
    yield ""
    yield from _table(
        ("metric", "labels", "changed by"),
        (
            (f"`{metric.name}`", _code(metric.labels), _types(types))
            for metric, types in FOLDED.items()
        ),
    )
    yield ""
    yield (
        f"`{LEASE_CONCURRENT_WRITERS.name}` is folded as well: it counts the sessions that wrote"
        " since the last `claimed`."
    )
    yield ""
    yield "Read from the state of sessions, leases and tasks at each scrape:"
    yield ""
    yield from _table(
        ("metric", "meaning"),
        (
            (f"`{metric.name}`", metric.help)
            for metric in CATALOGUE
            if metric.group in GROUPS and metric not in (*FOLDED, LEASE_CONCURRENT_WRITERS)
        ),
    )


def _types(types: Sequence[EventType]) -> str:
    return "every event" if set(types) == {*EventType} else _code(types)


def _timeline() -> Iterator[str]:
    yield from _heading("Timeline")
    yield (
        "`baton ledger timeline` shows one row for each event, in plain words, filtered by task,"
        " run, step or worker. The loss of a session belongs to the timeline of every task that it"
        " held, and a takeover to that of the worker it was taken from."
    )
    yield ""
    row = Row(
        **dict.fromkeys(("worker_id", "task_id", "run_id", "step_id", "step", "epoch")),  # type: ignore[arg-type]
        **dict.fromkeys(("event", "text", "tone", "chain"), ""),  # type: ignore[arg-type]
        **dict.fromkeys(("wall_us", "since_us", "n"), 0),  # type: ignore[arg-type]
    )
    (keys,) = to_dicts([row])
    yield f"Keys of a row with `--json`: {_code(keys)}."


def _checks() -> Iterator[str]:
    yield from _heading("Checks")
    yield (
        "`baton ledger verify` and the exporter judge every event; a finding names its check, and"
        f" `{DIAGNOSTICS_INVALID.name}` counts them. In the definitions *e* is an event and *p* the"
        " event before it in its chain. Behind a gap nothing is known, so what needs to know waits"
        " for the next claim. Chains are judged one by one: the order of events of different"
        " chains carries no meaning."
    )
    yield ""
    yield from _table(
        ("check", "a finding says", "definition"),
        (
            (f"`{check.id}`", check.meaning, " ".join(check.definition.replace("``", "`").split()))
            for check in CHECKS.values()
        ),
    )
    yield ""
    yield (
        "Whoever owns the store can rewrite all of it and make every hash fit. A seal, the chain"
        " heads exported to another place, makes that evident; without one the summary says so."
    )


def _continuity() -> Iterator[str]:
    yield from _heading("Continuity assertions")
    yield (
        "Judged over a trial: a ledger, and what a scenario supplies beside it. A verdict is pass,"
        " fail or unknown, and names the lines that show it. Unknown is what had nothing to check,"
        " was not read to its end, lacks an input, or whose checker failed. `baton ledger verify"
        " --continuity` judges what a ledger alone can show, and"
        f" `{CONTINUITY_VIOLATIONS.name}` counts the violations of"
        f" {_code(LEDGER_ONLY)}. Where one of V1 to V3 fails, the trial shows nothing."
    )
    yield ""
    yield from _table(
        ("id", "title", "question", "needs", "definition"),
        (
            (
                found.id,
                found.title,
                found.question,
                ", ".join(NEEDS[need] for need in found.needs),
                found.definition.replace("``", "`"),
            )
            for found in ASSERTIONS.values()
        ),
    )


def _reasons(shape: Shape) -> str:
    words = ["any text" if word in ANY else f"`{word}`" for word in shape.reasons if word]
    if words and None in shape.reasons:
        return f"none, or {', '.join(words)}"
    return ", ".join(words) or "none"


def _code(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _heading(text: str, *, level: int = 2) -> Iterator[str]:
    yield ""
    yield f"{'#' * level} {text}"
    yield ""


def _table(head: Sequence[str], body: Iterable[Iterable[object]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *body):
        yield "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page; 1 on drift."""
    parser = argparse.ArgumentParser(description="Render the diagnostics model.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on drift")
    options = parser.parse_args(arguments)
    page = render()
    if not options.check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        sys.stderr.write(f"{PAGE.name} has drifted: run python tools/render_diagnostics.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
