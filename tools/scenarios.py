"""Perform every scenario in virtual time and on real processes over both stores, and write it down.

Evidence goes to scenarios.out, a folder for each run; one that is there already is not run again.
What came of all is kept in docs/reports/scenarios.json and docs/reports/scenarios.md. `--check`
performs nothing, and exits 1 when the page has drifted from the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "reports" / "scenarios.json"
PAGE = ROOT / "docs" / "reports" / "scenarios.md"

#: What is asked of ``baton scenario run``, by the name of the run.
RUNS = {
    "sim": (),
    "proc-sqlite": ("--engine", "proc", "--parity"),
    "proc-postgresql": ("--engine", "proc", "--store", "postgresql", "--parity"),
}

_REFUSED = "refused: "


def performed(out: Path, name: str) -> dict[str, Any]:
    """What came of one run.

    Args:
        out: the folder of all runs.
        name: one of ``RUNS``.
    """
    kept = out / name
    if not kept.exists():
        command = [sys.executable, "-m", "baton", "scenario", "run", *RUNS[name]]
        code = subprocess.run([*command, "--out", str(kept)], cwd=ROOT, check=False).returncode
        if not kept.exists():
            sys.exit(f"{name} ended with {code} and left nothing")
    summary = json.loads((kept / "summary.json").read_text())
    return {
        "command": " ".join(("baton scenario run", *RUNS[name])),
        "environment": json.loads((kept / "environment.json").read_text()),
        "scenarios": {one["id"]: _told(kept, one) for one in summary["scenarios"]},
    }


def _told(kept: Path, one: dict[str, Any]) -> dict[str, Any]:
    refused = one["reason"].startswith(_REFUSED)
    told = {
        "judgement": "refused" if refused else one["judgement"],
        "reason": one["reason"].removeprefix(_REFUSED),
        "seed": one["seed"],
    }
    result = json.loads((kept / one["id"] / "result.json").read_text())
    beside = [each["text"] for each in result["expectations"] if "stock saver" in each["name"]]
    return told | {"title": one["title"]} | ({"stock_saver": beside[0]} if beside else {})


def page_of(found: dict[str, Any]) -> str:
    """The page."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield "# Every scenario, on both engines and both stores\n"
    yield (
        "Written by `make scenarios`; do not edit by hand. [scenarios.md](../scenarios.md) tells of"
        " the scenarios.\n"
    )
    yield "| run | command | at | Python | LangGraph | verdicts |"
    yield "|---|---|---|---|---|---|"
    for name, run in found.items():
        where = run["environment"]
        counts = Counter(one["judgement"] for one in run["scenarios"].values())
        verdicts = ", ".join(f"{count} {judgement}" for judgement, count in sorted(counts.items()))
        versions = f"{where['python']} | {where['packages']['langgraph']}"
        yield f"| {name} | `{run['command']}` | {where['at']} | {versions} | {verdicts} |"
    yield ""
    yield f"| id | what happens | {' | '.join(found)} |"
    yield f"|---|---|{'---|' * len(found)}"
    first = next(iter(found.values()))["scenarios"]
    for id_, about in first.items():
        cells = [run["scenarios"].get(id_, {}).get("judgement", "-") for run in found.values()]
        yield f"| {id_} | {about['title']} | {' | '.join(cells)} |"
    yield "\n## What did not pass, and why\n"
    for name, run in found.items():
        for id_, one in run["scenarios"].items():
            if one["judgement"] != "PASS":
                yield f"- {id_} on {name}, {one['judgement']}: {one['reason']}"
    yield "\n## The same deaths on LangGraph's stock saver\n"
    for id_, one in first.items():
        if "stock_saver" in one:
            yield f"- {id_}, {one['judgement']} on the fenced saver; there {one['stock_saver']}."


def main() -> int:
    """Perform, or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--out", type=Path, default=ROOT / "scenarios.out", help="the evidence")
    args = parser.parse_args()
    if args.check:
        fresh = page_of(json.loads(DATA.read_text())) == PAGE.read_text()
        return 0 if fresh else 1
    args.out.mkdir(parents=True, exist_ok=True)
    found = {name: performed(args.out, name) for name in RUNS}
    DATA.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page_of(found))
    return (
        0
        if all(
            one["judgement"] in ("PASS", "refused")
            for run in found.values()
            for one in run["scenarios"].values()
        )
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
