"""Run the checks of the charter, and tell row by row whether it passes.

`python tools/charter.py` runs every test that a row names, in one run of pytest, and exits 1 if a
row does not pass; `--only GR-COMP` chooses rows by the beginning of their ids, `--out FILE` keeps
the result.
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

from tests.support.charter import (  # noqa: E402 - found by the line above
    Row,
    Run,
    is_test,
    rows,
    standing,
)

FORMAT = "1.0.0"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; 0 when every chosen row passes, 1 when one does not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose id begins so")
    parser.add_argument("--out", type=Path, help="keep the result there, as JSON")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default: 2)")
    options = parser.parse_args(arguments)
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
