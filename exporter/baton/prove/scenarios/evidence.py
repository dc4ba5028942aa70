"""What is kept of performed scenarios: files in a folder that appears whole or not at all.

Nothing in it but ``environment.json`` tells of the machine or of the time, so that the same seed
leaves the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from baton.domain.continuity.kept import facts_of
from baton.domain.continuity.model import Verdict
from baton.errors import BadInput
from baton.prove.scenarios.engine import Performance
from baton.prove.scenarios.judging import Result, fired_in, wanted_of
from baton.prove.scenarios.model import Scenario

_PACKAGES = ("langgraph-baton", "langgraph", "langgraph-checkpoint", "langgraph-checkpoint-sqlite")


@contextmanager
def folder(wanted: Path) -> Iterator[Path]:
    """A folder to write to, which takes its name only if the body succeeds.

    Args:
        wanted: its name; nothing may be in it yet.

    Raises:
        BadInput: there is something in it, or it cannot be written.
    """
    part = wanted.with_name(f".{wanted.name}.part-{os.getpid()}")
    try:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise BadInput(detail=f"--out {wanted} is not empty; name a new folder")
        part.mkdir(parents=True)
    except OSError as error:
        raise BadInput(detail=f"--out {wanted}: {error.strerror}; name another folder") from error
    try:
        yield part
        part.replace(wanted)
    except OSError as error:
        raise BadInput(detail=f"cannot write --out {wanted}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_environment(out: Path, engine: str) -> None:
    """Say what this was performed with: the one file that differs between machines."""
    facts = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": engine,
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    _write(out / "environment.json", _document(facts))


def write_scenario(
    out: Path,
    scenario: Scenario,
    text: str,
    seed: int,
    performance: Performance | None,
    result: Result,
) -> str:
    """Keep one performed scenario in a folder of its own; returns its digest.

    Args:
        out: the folder of folders.
        scenario: what was performed.
        text: its file.
        seed: what decided for chance.
        performance: what it left behind; None where it was not performed.
        result: what came of it.
    """
    files = {"scenario.yaml": text, "result.json": _document(told(scenario, seed, result))}
    if performance is not None:
        trial = performance.trial
        files["ledger.jsonl"] = _lines(event.to_dict() for event in trial.events)
        files["trace.jsonl"] = _lines(_plain(asdict(line)) for line in trial.trace or ())
        files["faults.json"] = _document([asdict(fact) for fact in trial.faults or ()])
        files["trial.json"] = _document(
            facts_of(
                trial,
                wanted_of(scenario),
                fired=fired_in(performance),
                unwatched=performance.unwatched,
                asked_only=performance.asked_only,
                beside=result.beside,
            )
        )
        if performance.alerts is not None:
            files["alerts.json"] = _document([asdict(fact) for fact in performance.alerts])
        files["figures.json"] = _document(dict(performance.figures))
    place = out / scenario.id
    place.mkdir()
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        _write(place / name, content)
        whole.update(f"{name}\0{hashlib.sha256(content.encode()).hexdigest()}\n".encode())
    return whole.hexdigest()


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Keep what the command said."""
    _write(out / "summary.json", _document(summary))


def told(scenario: Scenario, seed: int, result: Result) -> dict[str, Any]:
    """A result in plain values."""
    return {
        "id": scenario.id,
        "title": scenario.title,
        "hypothesis": scenario.hypothesis,
        "scenario_digest": scenario.digest,
        "seed": seed,
        "judgement": result.judgement.value,
        "reason": result.reason,
        "assertions": [
            {**_verdict(verdict), "asked": verdict.assertion in result.asked}
            for verdict in result.verdicts
        ],
        "expectations": [asdict(finding) for finding in result.expectations],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "outcome": verdict.outcome.value}


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if value is not None}


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False, sort_keys=True)}\n" for row in rows)


def _document(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
