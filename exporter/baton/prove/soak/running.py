"""Performing the cycles of a soak, one after another, each of them durable before the next."""

from __future__ import annotations

import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from baton.domain.soaks import COUNTED
from baton.domain.words import EventType
from baton.prove.scenarios import evidence
from baton.prove.scenarios.engine import Engine
from baton.prove.scenarios.judging import Judgement
from baton.prove.scenarios.model import Scenario
from baton.prove.scenarios.running import Done, perform_one
from baton.prove.scenarios.writing import text_of
from baton.prove.soak.checkpoint import Folder
from baton.prove.soak.plan import Plan

#: Of so many cycles one is performed twice, and must leave the same.
_TWICE = 25

_COUNTS = {
    Judgement.PASS: "passed",
    Judgement.FAIL: "failed",
    Judgement.INCONCLUSIVE: "inconclusive",
    Judgement.ERROR: "errors",
}


def soak(
    folder: Folder,
    engine: Engine,
    *,
    cycles: int | None,
    seconds: float | None,
    told: Callable[[Folder], None],
) -> None:
    """Perform cycles until there are so many, or until it has gone on for so long.

    Args:
        folder: where it stands.
        engine: what performs them.
        cycles: how many in all, those before a resume included.
        seconds: how long in all.
        told: called after each cycle.

    Raises:
        OSError: a checkpoint could not be written.
    """
    chance = folder.checkpoint.random()
    plan = Plan(engine, chance)
    began = time.monotonic() - folder.checkpoint.seconds

    def over() -> bool:
        at = folder.checkpoint
        return (cycles is not None and at.cycle >= cycles) or (
            seconds is not None and at.seconds >= seconds
        )

    while not over():
        cpu, wall = time.process_time(), time.monotonic()
        scenario, seed = plan.next()
        done = perform_one(scenario, engine, seed)
        record = _record(folder.checkpoint.cycle + 1, done)
        timing = {
            "cycle": record["cycle"],
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.monotonic() - wall,
            "takeovers": record["takeovers"],
            "memory_bytes": _memory_bytes(),
            "open_files": _open_files(),
            "store_bytes": _figure(done, "store_bytes"),
        }
        if record["cycle"] % _TWICE == 0:
            again = _record(record["cycle"], perform_one(scenario, engine, seed))
            record |= {"repeated": 1, "differing": int(again["digest"] != record["digest"])}
        _keep(folder.path, record, done)
        counts = {name: folder.checkpoint.counts[name] + record.get(name, 0) for name in COUNTED}
        folder.save(chance, counts, time.monotonic() - began, record, timing)
        told(folder)


def _record(cycle: int, done: Done) -> dict[str, Any]:
    """What is the same whenever this cycle is performed."""
    trial = done.performance.trial if done.performance else None
    events = trial.events if trial else ()
    faults = (trial.faults or ()) if trial else ()
    whole = hashlib.sha256()
    for event in events:
        whole.update(f"{event.seq}{event.hash}\n".encode())
    judgement = done.result.judgement
    whole.update(f"{judgement}\0{done.result.reason}".encode())
    return {
        "cycle": cycle,
        "cycles": 1,
        "scenario": done.scenario.id,
        "seed": done.seed,
        "judgement": judgement.value,
        "reason": done.result.reason,
        "digest": whole.hexdigest(),
        _COUNTS[judgement]: 1,
        "events": len(events),
        "takeovers": sum(e.type == EventType.CLAIMED and bool(e.reason) for e in events),
        "faults_planned": sum(fault.times for fault in done.scenario.faults),
        "faults_fired": sum(fact.fired for fact in faults),
        "violations": sum(
            verdict.violations
            for verdict in done.result.verdicts
            if verdict.assertion in done.result.asked and not verdict.assertion.startswith("V")
        ),
        "simulated_us": round(_figure(done, "simulated_seconds") * 1e6),
    }


def _figure(done: Done, name: str) -> float:
    return done.performance.figures.get(name, 0.0) if done.performance else 0.0


def _keep(path: Path, record: dict[str, Any], done: Done) -> None:
    """Keep the evidence of a cycle that did not pass, to look at and to replay."""
    if done.result.judgement is Judgement.PASS:
        return
    kept = path / "not-passed" / f"cycle-{record['cycle']}"
    if kept.exists():
        # Of a part of the soak that was cut off before its checkpoint.
        return
    kept.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as part:
        evidence.write_scenario(
            Path(part),
            done.scenario,
            _file_of(done.scenario),
            done.seed,
            done.performance,
            done.result,
        )
        (Path(part) / done.scenario.id).rename(kept)


def _file_of(scenario: Scenario) -> str:
    """The file that performs it again."""
    origin = Path(scenario.origin)
    return origin.read_text(encoding="utf-8") if scenario.origin else text_of(scenario)


def _memory_bytes() -> int:
    """What this process holds now; where the system does not say, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int:
    """How many file handles this process has; 0 where the system does not say."""
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0
