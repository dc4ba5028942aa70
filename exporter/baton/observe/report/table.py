"""What both pages show in the same words: cells of tables, and links to the lines of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from baton.domain.words import TakeoverPhase
from baton.observe.wording import duration

Document = Mapping[str, Any]

#: So many links stand beside a statement; the other lines are listed all the same.
LINKS_MAX = 8
#: So many takeovers are in the table of a page; report.json has all.
ROWS_MAX = 200

#: What the exit code of a report means, as its headline.
HEADLINES: Mapping[int, str] = {
    0: "Nothing was lost or done twice, as far as a ledger tells",
    1: "A guarantee was broken",
    2: "Whether anything was lost cannot be said",
}
ALTERED = "The ledger was altered or is damaged"

TAKEOVER_HEAD = (
    *("task", "reason", "before", "after", "outcome", "continuity"),
    *(*(phase.value for phase in TakeoverPhase), "latency"),
    *("steps again", "effects", "not repeated", "refused"),
)
MEASURE_HEAD = ("measure", "reason", "n", "min", "median", "max", "p95")


def headline(document: Document) -> str:
    """The report in one line."""
    code: int = document["exit_code"]
    return HEADLINES[code] if document["ledger"]["trusted"] else ALTERED


def ids(document: Document) -> dict[tuple[str, int], str]:
    """How each line that is listed is called within the report."""
    return {(line["chain"], line["n"]): line["id"] for line in document["lines"]}


def links(lines: Sequence[Mapping[str, Any]], known: Mapping[tuple[str, int], str]) -> list[str]:
    """What the lines beside a statement are called, as many as are shown."""
    return [known[line["chain"], line["n"]] for line in lines[:LINKS_MAX]]


def rest(lines: Sequence[object]) -> str:
    """How many lines are not shown beside a statement."""
    return f" and {len(lines) - LINKS_MAX} more" if len(lines) > LINKS_MAX else ""


def lasted(seconds: float | None) -> str:
    """A length of time, or a dash."""
    return "-" if seconds is None else duration(round(seconds * 1e6))


def takeover_cells(one: Mapping[str, Any]) -> list[str]:
    """A takeover as a row under ``TAKEOVER_HEAD``."""
    effects = one["effects"]
    return [
        one["task_id"],
        one["reason"] or "-",
        _holder(one["before"]),
        _holder(one["after"]),
        one["outcome"] or "under way",
        one["continuity"]["outcome"],
        *(lasted(phase["seconds"]) for phase in one["phases"]),
        lasted(one["latency_seconds"]),
        str(one["steps_replayed"]),
        str(effects["recorded"]),
        str(effects["deduplicated"]),
        str(one["writes_refused"]["count"]),
    ]


def measure_cells(one: Mapping[str, Any]) -> list[str]:
    """A figure as a row under ``MEASURE_HEAD``."""
    cells = [one["measure"], one["reason"], str(one["n"])]
    return [*cells, *(lasted(one[name]) for name in ("min", "median", "max", "p95"))]


def _holder(who: Mapping[str, Any] | None) -> str:
    if who is None:
        return "nobody"
    epoch = "" if who["epoch"] is None else f", epoch {who['epoch']}"
    return f"{who['worker_id'] or 'unknown'}{epoch}"


def facts(document: Document) -> Iterable[str]:
    """What the report was made from, one sentence each."""
    ledger = document["ledger"]
    yield f"About {document['about']}, as of the last line read ({document['as_of'] or 'none'})."
    yield f"Ledger: {ledger['summary']}; {ledger['events_read']} events concern this report."
    if not ledger["complete"]:
        yield "The ledger is cut off in its last line."
    if document["store_id"]:
        yield f"Store {document['store_id']}, Baton {document['baton']}."
    yield (
        "Lengths of time are by the store's clock, times of day by the clocks of the writers, in"
        " UTC. Times of a fault itself are not known: latency counts from the last sign of life,"
        " and is the most that it can have been."
    )
