"""What a soak shows, as JSON and for people."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from baton.domain.continuity.concluding import Judgement
from baton.domain.figures import failure_bound, median_interval, slope, thinned
from baton.domain.soaks import judgement_of
from baton.prove.proc.engine import ProcEngine
from baton.prove.scenarios import evidence
from baton.prove.sim.engine import SimEngine
from baton.prove.soak import real
from baton.prove.soak.checkpoint import CYCLES, TIMINGS, Folder, write_whole

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
    evidence.write_environment(folder.path, folder.checkpoint.engine)
    for name, value in (("soak.json", soak), ("measured.json", measured)):
        write_whole(folder.path / name, json.dumps(value, indent=1, sort_keys=True) + "\n")
    write_whole(folder.path / "SOAK.md", _page(soak, measured))
    return {**soak, "measured": measured}


def _soak(folder: Folder) -> dict[str, Any]:
    at = folder.checkpoint
    counts = {name: count for name, count in at.counts.items() if name != "simulated_us"}
    real = at.engine == ProcEngine.name
    failed = counts["failed"] + counts["errors"]
    bound = failure_bound(failed, at.cycle) if at.cycle else None
    return {
        "judgement": judgement(folder).value,
        "engine": at.engine,
        "store": at.store,
        "seed": at.seed,
        "build": at.build,
        "final_digest": at.head,
        "counts": counts,
        "faults_by_kind": _by_kind(folder),
        **(
            {
                "plan_digest": _plan_digest(folder),
                "failure_probability_of_a_kill_at_most": (
                    failure_bound(failed, counts["kills"]) if counts["kills"] else None
                ),
            }
            if real
            else {"simulated_hours": round(at.counts["simulated_us"] / 3.6e9, 6)}
        ),
        "failure_probability_of_a_cycle_at_most": bound,
        "confidence": 0.95,
    }


def _by_kind(folder: Folder) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for record in folder.records(CYCLES):
        for kind, (planned, fired) in record["faults_by_kind"].items():
            of_kind = kinds.setdefault(kind, {"planned": 0, "fired": 0})
            of_kind["planned"] += planned
            of_kind["fired"] += fired
    return kinds


def _plan_digest(folder: Folder) -> str:
    """Over everything that was to be done: what two runs of real processes have in common."""
    whole = hashlib.sha256()
    for record in folder.records(CYCLES):
        whole.update(f"{record['plan']}\n".encode())
    return whole.hexdigest()


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
    is_real = folder.checkpoint.engine == ProcEngine.name
    for name in {**_WATCHED, **real.WATCHED} if is_real else _WATCHED:
        points, apart = thinned([row[name] for row in rows if name in row])
        found["slopes_per_cycle"][name] = asdict(slope(points, apart))
    return found | (real.measured(rows) if is_real else {})


def _page(soak: dict[str, Any], measured: dict[str, Any]) -> str:
    counts, bound = soak["counts"], soak["failure_probability_of_a_cycle_at_most"]
    says = "no cycle was performed" if bound is None else f"at most {bound:.2g}, at 95 %"
    median = measured.get("cpu_seconds_of_a_cycle")
    is_real = "plan_digest" in soak
    rows = [
        ("verdict", soak["judgement"]),
        ("engine, store, seed", f"{soak['engine']}, {soak['store']}, {soak['seed']}"),
        (
            "gone on for",
            _lasted(soak, measured),
        ),
        ("cycles", _cycles(counts)),
        (
            "processes killed, frozen, asked to leave",
            f"{counts['kills']:,}, {counts['freezes']:,}, {counts['drains']:,}",
        ),
        ("tasks", f"{counts['tasks']:,}, of which {counts['quarantined']:,} were put aside"),
        ("takeovers", f"{counts['takeovers']:,}"),
        ("events judged", f"{counts['events']:,}"),
        ("faults", f"{counts['faults_planned']:,} planned, {counts['faults_fired']:,} fired"),
        *(
            (f"of these {kind}", f"{found['planned']:,} planned, {found['fired']:,} fired")
            for kind, found in sorted(soak["faults_by_kind"].items())
        ),
        ("violations", f"{counts['violations']:,}"),
        *_again(soak),
        ("probability that a cycle fails", says),
        *_of_a_kill(soak),
        ("takeovers per CPU-second", f"{measured['takeovers_per_cpu_second']:.0f}"),
        ("CPU-seconds of a cycle", "none" if median is None else _interval(median, ".3g")),
        *(
            (f"slope of {title}, per cycle", _interval(measured["slopes_per_cycle"][name], ".3g"))
            for name, title in {**_WATCHED, **real.WATCHED}.items()
            if name in measured["slopes_per_cycle"]
        ),
        *(
            (title, _interval(measured[name], ".3g"))
            for name, title in real.GROWTH.items()
            if measured.get(name, {}).get("cycles")
        ),
        ("final digest", f"`{soak['final_digest']}`"),
        ("once more", f"`{_command(soak)}`"),
    ]
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows)
    more = f"\n{_REAL}\n{real.table(measured)}\n" if is_real else ""
    return f"""# Soak

| what | found |
|---|---|
{lines}

The probability holds for cycles drawn independently, which the seed does; the tasks of one cycle
are not independent of each other. Intervals hold the truth 95 % of the time: of a median by its
order statistics, of a slope by Theil and Sen. The verdict is the worst of all cycles; each that did
not pass is kept in `not-passed/`.
{more}"""


#: What is said of a soak on real processes.
_REAL = """\
When the kernel lets a process run no seed decides: two runs have the digest of the plan in common,
and the final digest is over what was found. Growth is that of the longest-lived worker of a cycle,
once it is warm.

Takeovers in seconds of store time: detect is last sign of life to loss, claim to the new epoch,
restore to the first node; latency is these three; progress goes on to the first new durable step
and contains the node's own time. A percentile is given only if so many takeovers can show one. They
share the trouble of their cycle, so the intervals are of cycles: of their medians, and of the most.
"""


def _again(soak: dict[str, Any]) -> list[tuple[str, str]]:
    """How it is shown that the plan was kept to."""
    counts = soak["counts"]
    if "plan_digest" in soak:
        return [("digest of the plan", f"`{soak['plan_digest']}`")]
    repeated = f"{counts['repeated']:,} cycles, of which {counts['differing']:,} differed"
    return [("performed twice", repeated)]


def _of_a_kill(soak: dict[str, Any]) -> list[tuple[str, str]]:
    bound = soak.get("failure_probability_of_a_kill_at_most")
    says = f"at most {bound:.2g}, at 95 %, if kills were independent" if bound else ""
    return [("probability that a kill breaks something", says)] if says else []


def _command(soak: dict[str, Any]) -> str:
    """What performs the same cycles again."""
    asked = {
        "engine": soak["engine"],
        "store": None if soak["engine"] == SimEngine.name else soak["store"],
        "seed": soak["seed"],
        "cycles": soak["counts"]["cycles"],
    }
    words = [f"--{name} {value}" for name, value in asked.items() if value is not None]
    return " ".join(["baton soak", *words, "--out DIR"])


def _lasted(soak: dict[str, Any], measured: dict[str, Any]) -> str:
    hours, cpu_seconds = measured["hours"], measured["cpu_hours"] * 3600
    simulated = soak.get("simulated_hours")
    more = "" if simulated is None else f", {simulated:.1f} h simulated"
    return f"{hours:.2f} h, {cpu_seconds:,.0f} CPU-seconds{more}"


def _cycles(counts: dict[str, int]) -> str:
    kinds = ("passed", "failed", "inconclusive", "errors")
    told = ", ".join(f"{counts[kind]:,} {kind}" for kind in kinds if counts[kind])
    return f"{counts['cycles']:,}: {told}" if told else "none"


def _interval(found: dict[str, Any], form: str) -> str:
    if found["low"] is None:
        return f"{format(found['estimate'], form)} (too few for an interval)"
    low, high = format(found["low"], form), format(found["high"], form)
    return f"{format(found['estimate'], form)} ({low} to {high})"
