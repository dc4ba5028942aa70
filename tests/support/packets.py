"""A release check's folder: small, made by the real engines, each part also as it must not be."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from baton.domain.continuity.concluding import Range
from baton.domain.gate.answers import Answer
from baton.domain.gate.bench import judge
from baton.domain.gate.plan import plan
from baton.observe.report.document import build as report
from baton.observe.report.findings import Ledger
from baton.observe.report.scope import Scope
from baton.prove.gate import output, parse
from baton.prove.gate.material import LEDGER, POLICY, Material
from baton.prove.packet.gathering import about_release
from baton.prove.scenarios.library import chosen
from baton.prove.scenarios.running import perform_all, perform_one
from baton.prove.sim.engine import SimEngine
from baton.prove.soak.checkpoint import begun
from baton.prove.soak.summary import write_summary

ROOT = Path(__file__).parents[2]
AT = 1_700_000_000.0

GOOD_POLICY = """
version: "1.0.0"
name: small
owner: Ann
parameters: {window: 1m, scrape_interval: 15s}
criteria:
  - id: COV-UP
    question: Is it there?
    why: It has to be.
    next: Look.
    query: up
    samples: up
    must: "== 1"
  - id: CONT-WHOLE
    question: Does the ledger hold?
    why: It has to.
    next: Look.
    check: ledger
    must: "== 0"
"""
WAIVERS = """
waivers:
  - {criterion: COV-UP, owner: Bob, reason: known, expires: "2099-01-01"}
"""


def scenarios(place: Path, *ids: str, fails: bool = False) -> None:
    """Perform scenarios; where they have to fail, they expect takeovers that do not come."""
    found = chosen(ids, ())
    if fails:
        found = tuple(
            replace(one, expect=replace(one.expect, takeovers=Range(at_least=9, at_most=9)))
            for one in found
        )
    perform_all(found, SimEngine(), seed=1, out=place)


def soak(place: Path, *, fired: int = 3, cycles: int = 2, failed: int = 0) -> None:
    """A soak whose cycles say what they are given, written by what writes every soak."""
    chance = random.Random(1)  # noqa: S311 - replayed, not secret
    with begun(place, 1, "sim") as folder:
        for number in range(1, cycles + 1):
            record = {
                "cycle": number,
                "cycles": 1,
                "judgement": "PASS",
                "passed": 1,
                "failed": failed,
                "takeovers": 2,
                "events": 10,
                "faults_planned": 4,
                "faults_fired": fired,
                "faults_by_kind": {"sigkill": [4, fired]},
            }
            counts = {
                name: folder.checkpoint.counts[name] + int(str(record.get(name, 0)))
                for name in folder.checkpoint.counts
            }
            timing = {
                "cpu_seconds": 0.1,
                "takeovers": 2,
                "memory_bytes": 1,
                "open_files": 1,
                "store_bytes": 1,
            }
            folder.save(chance, counts, 1.0, record, timing)
        write_summary(folder)


def gate(place: Path, ledger: bytes, *, value: str | None = "1", policy: str = GOOD_POLICY) -> None:
    """A gate that asked a server which says this of ``up``; None for nothing at all."""
    read = parse.parse("policy.yaml", policy)
    labels = {"job": "a"}
    bodies: dict[str, tuple[str, list[Any]]] = {
        "up": ("vector", [] if value is None else [{"metric": labels, "value": [AT, value]}]),
        "up[1m]": (
            "matrix",
            [{"metric": labels, "values": [[AT - 60 + 15 * n, value or "1"] for n in range(1, 5)]}],
        ),
        "vector(0) / vector(0)": ("vector", [{"metric": {}, "value": [AT, "NaN"]}]),
        "vector(1)": ("vector", [{"metric": {}, "value": [AT, "1"]}]),
    }
    answers, places, files = {}, {}, {POLICY: policy.encode()}
    for number, ask in enumerate(plan(read, AT), 1):
        kind, result = bodies.get(dict(ask.parameters)["query"], ("vector", []))
        body = {"status": "success", "data": {"resultType": kind, "result": result}}
        places[ask] = f"answers/{number:03}.json"
        files[places[ask]] = json.dumps(body).encode()
        answers[ask] = Answer(status=200, body=files[places[ask]])
    files[LEDGER] = gzip.compress(ledger, mtime=0)
    material = Material(
        at=AT,
        prometheus="http://127.0.0.1:9090",
        given={},
        policy=read,
        files=files,
        answers=answers,
        places=places,
        store={"id": "s", "events": 1, "pruned_chains": 0, "archived": False},
    )
    output.write(place, output.files(judge(material.case()), material))


def log(run: Path, codes: Mapping[str, int | None], **more: str) -> None:
    """The verification log of stages that ended so."""
    (run / "logs").mkdir(exist_ok=True)
    entries = []
    for name, code in codes.items():
        text = f"{name} said this\n"
        (run / "logs" / f"{name}.txt").write_text(text)
        entries.append(
            {
                "stage": name,
                "question": f"Did {name} pass?",
                "command": [name],
                "began": "2026-01-01T00:00:00.000+00:00",
                "ended": "2026-01-01T00:00:01.000+00:00",
                "seconds": 1.0,
                "exit_code": code,
                "codes": "verdict",
                "why": more.get(name, ""),
                "next": "",
                "judged_by": [],
                "output": f"logs/{name}.txt",
                "output_sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
        )
    (run / "log.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in entries))
    release = {**about_release(), "commit": "c0ffee", "tree_clean": True, "stages": list(codes)}
    (run / "release.json").write_text(json.dumps(release))


def good_run(run: Path) -> Path:
    """A folder that leads to GO."""
    run.mkdir(parents=True)
    log(run, {"lint": 0, "tests": 0})
    scenarios(run / "scenarios", "D01", "K01")
    shutil.copytree(run / "scenarios", run / "scenarios-proc")
    soak(run / "soak")
    fleet(run)
    gate(run / "gate", (run / "ledger.jsonl").read_bytes())
    shutil.copy(ROOT / "docs" / "reports" / "kill-matrix.json", run)
    return run


def fleet(run: Path) -> None:
    """The ledger of a rotation, and its report."""
    (rotation,) = chosen(["R01"], ())
    performance = perform_one(rotation, SimEngine(), 1).performance
    assert performance is not None
    events = performance.trial.events
    lines = (json.dumps(event.to_dict()) for event in events)
    (run / "ledger.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (run / "report").mkdir()
    scope = Scope(task=None, worker=None, since_us=None, until_us=None)
    document = report(Ledger(events=list(events)), scope, "1.2.0")
    (run / "report" / "report.json").write_text(json.dumps(document))
