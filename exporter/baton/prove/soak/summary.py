"""What a soak shows, as JSON and for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from baton.domain.continuity.concluding import Judgement
from baton.domain.figures import failure_bound, median_interval, slope, thinned
from baton.domain.soaks import judgement_of
from baton.prove.soak.checkpoint import TIMINGS, Folder, write_whole

#: What is watched for leaks, and what it is called.
_WATCHED = {
    "memory_bytes": "memory, bytes",
    "open_files": "open files",
    "store_bytes": "store of a cycle, bytes",
}


def judgement(folder: Folder) -> Judgement:
    """What came of a soak as a whole: the worst of its cycles."""
    return judgement_of(folder.checkpoint.counts)


def write_summary(folder: Folder) -> dict[str, Any]:
    """Write ``soak.json`` (the same in every run), ``measured.json`` (not), and ``SOAK.md``.

    Returns:
        Both as one.
    """
    soak, measured = _soak(folder), _measured(folder)
    for name, value in (("soak.json", soak), ("measured.json", measured)):
        write_whole(folder.path / name, json.dumps(value, indent=1, sort_keys=True) + "\n")
    write_whole(folder.path / "SOAK.md", _page(soak, measured))
    return {**soak, "measured": measured}


def _soak(folder: Folder) -> dict[str, Any]:
    at = folder.checkpoint
    counts = {name: count for name, count in at.counts.items() if name != "simulated_us"}
    bound = failure_bound(counts["failed"] + counts["errors"], at.cycle) if at.cycle else None
    return {
        "judgement": judgement(folder).value,
        "engine": at.engine,
        "seed": at.seed,
        "build": at.build,
        "final_digest": at.head,
        "counts": counts,
        "simulated_hours": round(at.counts["simulated_us"] / 3.6e9, 6),
        "failure_probability_of_a_cycle_at_most": bound,
        "confidence": 0.95,
    }


def _measured(folder: Folder) -> dict[str, Any]:
    rows = list(folder.records(TIMINGS))
    cpu = sum(row["cpu_seconds"] for row in rows)
    takeovers = sum(row["takeovers"] for row in rows)
    each = [row["cpu_seconds"] for row in rows]
    found: dict[str, Any] = {
        "hours": folder.checkpoint.seconds / 3600,
        "cpu_hours": cpu / 3600,
        "takeovers_per_cpu_second": takeovers / cpu if cpu else 0.0,
        "cycles": len(rows),
        "slopes_per_cycle": {},
    }
    if each:
        found["cpu_seconds_of_a_cycle"] = {**asdict(median_interval(each)), "most": max(each)}
    for name in _WATCHED:
        points, apart = thinned([row[name] for row in rows])
        found["slopes_per_cycle"][name] = asdict(slope(points, apart))
    return found


def _page(soak: dict[str, Any], measured: dict[str, Any]) -> str:
    counts, bound = soak["counts"], soak["failure_probability_of_a_cycle_at_most"]
    says = "no cycle was performed" if bound is None else f"at most {bound:.2g}, at 95 %"
    median = measured.get("cpu_seconds_of_a_cycle")
    rows = [
        ("verdict", soak["judgement"]),
        ("engine, seed", f"{soak['engine']}, {soak['seed']}"),
        (
            "gone on for",
            _lasted(soak, measured),
        ),
        ("cycles", _cycles(counts)),
        ("takeovers", f"{counts['takeovers']:,}"),
        ("events judged", f"{counts['events']:,}"),
        ("faults", f"{counts['faults_planned']:,} planned, {counts['faults_fired']:,} fired"),
        ("violations", f"{counts['violations']:,}"),
        (
            "performed twice",
            f"{counts['repeated']:,} cycles, of which {counts['differing']:,} differed",
        ),
        ("probability that a cycle fails", says),
        ("takeovers per CPU-second", f"{measured['takeovers_per_cpu_second']:.0f}"),
        ("CPU-seconds of a cycle", "none" if median is None else _interval(median, ".3g")),
        *(
            (f"slope of {title}, per cycle", _interval(measured["slopes_per_cycle"][name], ".3g"))
            for name, title in _WATCHED.items()
        ),
        ("final digest", f"`{soak['final_digest']}`"),
    ]
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""# Soak

| what | found |
|---|---|
{lines}

The probability holds for cycles drawn independently, which the seed does; the tasks of one cycle
are not independent of each other. Intervals hold the truth 95 % of the time: of a median by its
order statistics, of a slope by Theil and Sen. The verdict is the worst of all cycles; each that did
not pass is kept in `not-passed/`.
"""


def _lasted(soak: dict[str, Any], measured: dict[str, Any]) -> str:
    hours, cpu_hours = measured["hours"], measured["cpu_hours"]
    return f"{hours:.2f} h, {cpu_hours:.2f} h of CPU, {soak['simulated_hours']:.1f} h simulated"


def _cycles(counts: dict[str, int]) -> str:
    kinds = ("passed", "failed", "inconclusive", "errors")
    told = ", ".join(f"{counts[kind]:,} {kind}" for kind in kinds if counts[kind])
    return f"{counts['cycles']:,}: {told}" if told else "none"


def _interval(found: dict[str, Any], form: str) -> str:
    if found["low"] is None:
        return f"{format(found['estimate'], form)} (too few for an interval)"
    low, high = format(found["low"], form), format(found["high"], form)
    return f"{format(found['estimate'], form)} ({low} to {high})"
