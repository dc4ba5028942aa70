"""Run the checks of the charter, and tell row by row whether it passes.

`python tools/charter.py` runs every test that a row names, in one run of pytest, and exits 1 if a
row does not pass; `--only GR-COMP` chooses rows by the beginning of their ids, `--out FILE` keeps
the result.

`--break` breaks each guardrail instead, one at a time, and asks the check of every other meanwhile:
exits 1 unless exactly the broken row fails each time.
What it shows is committed in docs/reports/broken-guardrails.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.breaking import (  # noqa: E402 - found by the line above
    Outcomes,
    breakages,
    broken,
    failing_rows,
    guardrails,
)
from tests.support.charter import (  # noqa: E402 - found by the line above
    Row,
    Run,
    is_test,
    rows,
    standing,
)

FORMAT = "1.0.0"
BROKEN = ROOT / "docs" / "reports" / "broken-guardrails.json"


def performed(checks: Iterable[str], *, workers: int) -> dict[str, str]:
    """What each test came to that the checks stand for."""
    run = Run()
    nodes = list(dict.fromkeys(checks))
    parallel = ["-n", str(workers)] if workers > 1 else []
    pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *parallel, *nodes], plugins=[run])
    return run.outcomes


def result(chosen: Sequence[Row], outcomes: dict[str, str]) -> dict[str, Any]:
    """The result in plain values, the same for the same outcomes."""
    failing = standing(chosen, outcomes)
    told = [
        {
            "id": row.id,
            "status": "UNBOUND" if not row.checks else "FAIL" if row.id in failing else "PASS",
            "why": failing.get(row.id, f"waits for {row.bound_by}" if not row.checks else ""),
            "checks": list(row.checks),
        }
        for row in chosen
    ]
    passes = all(row["status"] == "PASS" for row in told) and bool(told)
    return {"format": FORMAT, "judgement": "PASS" if passes else "FAIL", "rows": told}


def broken_result(found: dict[str, Outcomes]) -> dict[str, Any]:
    """By breakage, which rows failed and what was asked; in plain values."""
    charter, by_row = guardrails(), {one.row: one for one in breakages()}
    unbroken = found.pop("", {})
    return {
        "format": FORMAT,
        "checks": {one.row: one.check for one in breakages()},
        "unbroken": failing_rows(charter, unbroken),
        "broken": [
            {
                "row": row,
                "what": by_row[row].what,
                "asked": len(outcomes),
                "fails": failing_rows(charter, outcomes),
            }
            for row, outcomes in found.items()
        ],
    }


def wrong_with_broken(kept: dict[str, Any]) -> list[str]:
    """What keeps it from showing that each guardrail has a check of its own that can fail."""
    wrong = [f"{row} fails with nothing broken" for row in kept["unbroken"]]
    wrong += [
        f"breaking {one['row']} ({one['what']}) fails {', '.join(one['fails']) or 'nothing'}"
        for one in kept["broken"]
        if one["fails"] != [one["row"]]
    ]
    known = [(one.row, one.what) for one in breakages()]
    if [(one["row"], one["what"]) for one in kept["broken"]] != known:
        wrong.append("it is of other breakages; run `python tools/charter.py --break`")
    if kept["checks"] != {one.row: one.check for one in breakages()}:
        wrong.append("it is of other checks; run `python tools/charter.py --break`")
    return wrong


def _break_all(only: str, out: Path) -> int:
    """Break the rows that are chosen, and keep what came of it; 1 if it shows too little."""
    found = broken(lambda name: print(name or "nothing broken", flush=True), whole=True, only=only)
    kept = broken_result(found)
    out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    wrong = wrong_with_broken(kept)
    for line in wrong:
        print(line)
    print(f"{'FAIL' if wrong else 'PASS'}: {len(kept['broken'])} guardrails broken one at a time")
    return 1 if wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; 0 when every chosen row passes, 1 when one does not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose id begins so")
    parser.add_argument("--out", type=Path, help="keep the result there, as JSON")
    parser.add_argument(
        "--break", dest="breaks", action="store_true", help=f"into {BROKEN.relative_to(ROOT)}"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default: 2)")
    options = parser.parse_args(arguments)
    if options.breaks:
        return _break_all(options.only, options.out or BROKEN)
    chosen = [row for row in rows() if row.id.startswith(options.only)]
    checks = [check for row in chosen for check in row.checks if is_test(check)]
    found = result(chosen, performed(checks, workers=options.workers))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for row in found["rows"]:
        if row["status"] != "PASS":
            print(f"{row['id']}: {row['status']}: {row['why']}")
    passing = sum(row["status"] == "PASS" for row in found["rows"])
    print(f"{found['judgement']}: {passing} of {len(chosen)} rows pass")
    return 0 if found["judgement"] == "PASS" else 1


if __name__ == "__main__":
    sys.exit(main())
