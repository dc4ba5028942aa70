"""Performing the cycles of a soak, one after another, each of them durable before the next."""

from __future__ import annotations

import gc
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

from baton.domain.continuity.model import FaultFact
from baton.domain.soaks import COUNTED
from baton.domain.words import EventType
from baton.prove.proc import vitals
from baton.prove.proc.engine import ProcEngine
from baton.prove.scenarios import evidence
from baton.prove.scenarios.engine import Engine
from baton.prove.scenarios.judging import Judgement
from baton.prove.scenarios.model import Do, Fault, Scenario
from baton.prove.scenarios.running import Done, perform_one
from baton.prove.scenarios.writing import text_of
from baton.prove.soak import real as measures
from baton.prove.soak.checkpoint import Folder
from baton.prove.soak.fleets import FleetPlan
from baton.prove.soak.plan import Plan

#: Of so many cycles one is performed twice, and must leave the same.
_TWICE = 25

_SIGNALS = {Do.SIGKILL: "kills", Do.SIGSTOP: "freezes", Do.SIGTERM: "drains"}

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
    plan = FleetPlan(chance) if isinstance(engine, ProcEngine) else Plan(engine, chance)
    began = time.monotonic() - folder.checkpoint.seconds

    def over() -> bool:
        at = folder.checkpoint
        return (cycles is not None and at.cycle >= cycles) or (
            seconds is not None and at.seconds >= seconds
        )

    # Nothing that is there now is ever garbage, and that of a cycle is taken out before the next:
    # in the middle of one, the collector would look at everything again and again.
    gc.freeze()
    gc.disable()
    try:
        while not over():
            _cycle(folder, engine, plan, chance, began)
            told(folder)
    finally:
        gc.enable()
        gc.unfreeze()


def _cycle(
    folder: Folder, engine: Engine, plan: Plan | FleetPlan, chance: Random, began: float
) -> None:
    """Perform the next cycle, and make it durable."""
    cpu, wall = time.process_time(), time.monotonic()
    gc.collect()
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
    if isinstance(engine, ProcEngine):
        # No two runs of real processes leave the same; what they are to do is the same.
        timing |= measures.timing(done.performance)
        record["plan"] = hashlib.sha256(text_of(scenario).encode()).hexdigest()
    elif record["cycle"] % _TWICE == 0:
        again = _record(record["cycle"], perform_one(scenario, engine, seed))
        record |= {"repeated": 1, "differing": int(again["digest"] != record["digest"])}
    _keep(folder.path, record, done)
    counts = {name: folder.checkpoint.counts[name] + record.get(name, 0) for name in COUNTED}
    folder.save(chance, counts, time.monotonic() - began, record, timing)


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
        "tasks": sum(e.type == EventType.SUBMITTED for e in events),
        "takeovers": sum(e.type == EventType.CLAIMED and bool(e.reason) for e in events),
        "quarantined": sum(e.type == EventType.QUARANTINED for e in events),
        **_signals(done.scenario, faults),
        "faults_planned": sum(fault.times for fault in done.scenario.faults),
        "faults_fired": sum(fact.fired for fact in faults),
        "faults_by_kind": _by_kind(done.scenario.faults, faults),
        "violations": sum(
            verdict.violations
            for verdict in done.result.verdicts
            if verdict.assertion in done.result.asked and not verdict.assertion.startswith("V")
        ),
        "simulated_us": round(_figure(done, "simulated_seconds") * 1e6),
    }


def _by_kind(planned: Iterable[Fault], seen: Iterable[FaultFact]) -> dict[str, list[int]]:
    """By what they do, how many faults were planned and how many fired."""
    fired = {fact.name: fact.fired for fact in seen}
    kinds: dict[str, list[int]] = {}
    for fault in planned:
        of_kind = kinds.setdefault(fault.do.value, [0, 0])
        of_kind[0] += fault.times
        of_kind[1] += fired.get(fault.name, 0)
    return kinds


def _signals(scenario: Scenario, faults: Iterable[FaultFact]) -> dict[str, int]:
    """How many processes were seen to be killed, to stand still, and were asked to leave."""
    seen = {fact.name: fact.observed for fact in faults}
    counts = dict.fromkeys(_SIGNALS.values(), 0)
    for fault in scenario.faults:
        if fault.do in _SIGNALS:
            # Who is frozen is seen twice: when it stands still, and when it goes on.
            lines = [line for line in seen.get(fault.name, ()) if "went on" not in line]
            counts[_SIGNALS[fault.do]] += len(lines)
    return counts


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
        return vitals.memory_bytes()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _open_files() -> int:
    """How many file handles this process has; 0 where the system does not say."""
    try:
        return vitals.open_files()
    except OSError:
        return 0
