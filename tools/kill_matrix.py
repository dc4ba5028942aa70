"""Plant every bug before every scenario, and write down which assertion catches it where.

`--check` plants nothing, and exits 1 when the page has drifted from the evidence, or the evidence
from the bugs there are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.bugs import BUGS, BY_NAME, Bug  # noqa: E402 - found by the line above

from baton.domain.continuity import ASSERTIONS, judge  # noqa: E402
from baton.domain.continuity.model import Outcome, Trial, Verdict  # noqa: E402
from baton.prove.scenarios.library import chosen, every  # noqa: E402
from baton.prove.scenarios.model import Scenario  # noqa: E402
from baton.prove.scenarios.running import DEFAULT_SEED, perform_one  # noqa: E402
from baton.prove.sim.engine import SimEngine  # noqa: E402

DATA = ROOT / "docs" / "reports" / "kill-matrix.json"
PAGE = ROOT / "docs" / "kill-matrix.md"

_ENGINE = SimEngine()

Caught = dict[str, list[str]]
"""By scenario, the assertions that failed."""


def caught_in(bugs: Iterable[Bug], scenario: Scenario) -> list[str]:
    """The assertions that a scenario asks for and that fail while bugs are planted."""
    with pytest.MonkeyPatch.context() as patch:
        for bug in bugs:
            bug.plant(patch)
        seed = DEFAULT_SEED if scenario.seed is None else scenario.seed
        result = perform_one(scenario, _ENGINE, seed).result
    return [
        verdict.assertion
        for verdict in result.verdicts
        if verdict.outcome is Outcome.FAIL and verdict.assertion in result.asked
    ]


def matrix(bugs: Iterable[Bug] = BUGS) -> dict[str, Caught]:
    """By bug, what caught it."""
    found: dict[str, Caught] = {}
    for bug in bugs:
        found[bug.name] = caught = {}
        for scenario in every():
            if names := caught_in([bug], scenario):
                caught[scenario.id] = names
        _say(f"{bug.name}: caught in {len(caught)} scenarios")
    return found


def killed(found: dict[str, Caught]) -> frozenset[str]:
    """The assertions that a bug in what is judged has failed."""
    return frozenset(
        name
        for bug, caught in found.items()
        if not BY_NAME[bug].harness
        for names in caught.values()
        for name in names
    )


def oracle(names: Iterable[str]) -> Verdict:
    """V2 of a matrix in which these assertions were seen to fail."""
    (verdict,) = judge(Trial(events=(), mutants_killed=frozenset(names)), ["V2"])
    return verdict


def with_a_blind_checker(found: dict[str, Caught]) -> frozenset[str]:
    """What is left of the assertions that can fail, once the checker of C4 looks at nothing."""
    blind, still = BY_NAME["blind_checker"], killed(found) - {"C4"}
    for bug, caught in found.items():
        hits = [scenario for scenario, names in caught.items() if "C4" in names]
        for scenario in chosen(hits[:1]) if hits else ():
            still |= frozenset(caught_in([BY_NAME[bug], blind], scenario)) & {"C4"}
    return still


def _about_bugs() -> dict[str, Any]:
    """What a reader without the bugs has to know of them."""
    return {
        "harness": [bug.name for bug in BUGS if bug.harness],
        "same": {bug.name: bug.same for bug in BUGS if bug.same},
    }


def best(caught: Caught) -> str:
    """The scenario in which the most assertions caught a bug; the first of several."""
    return max(sorted(caught), key=lambda scenario: len(caught[scenario]))


def load() -> dict[str, Any]:
    """The evidence."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def wrong_with(data: dict[str, Any]) -> Iterator[str]:
    """What keeps the evidence from showing that every checker can fail."""
    found: dict[str, Caught] = data["bugs"]
    if set(found) != set(BY_NAME):
        odd = ", ".join(sorted(set(found) ^ set(BY_NAME)))
        yield f"the evidence and the bugs differ in {odd}; run `make kill-matrix`"
        return
    if data["scenarios"] != [one.id for one in every()]:
        yield "the evidence is of other scenarios; run `make kill-matrix`"
    if any(data.get(name) != about for name, about in _about_bugs().items()):
        yield "the evidence tells otherwise of the bugs; run `make kill-matrix`"
    for bug in BUGS:
        if not found[bug.name] and not bug.same:
            yield f"nothing caught {bug.name}"
        if found[bug.name] and bug.same:
            yield f"{bug.name} was caught, and is said to change nothing"
    verdict = oracle(killed(found))
    if verdict.outcome is not Outcome.PASS:
        yield f"V2: {verdict.text}"
    harness = {
        name for bug in BUGS if bug.harness for names in found[bug.name].values() for name in names
    }
    harness |= {"V2"} if data["v2_with_a_blind_checker"] == Outcome.FAIL else set()
    for name in ("V1", "V2", "V3"):
        if name not in harness:
            yield f"no broken harness was caught by {name}"


_HEAD = """\
# Kill matrix

Written by `make kill-matrix`; do not edit by hand. Evidence:
[reports/kill-matrix.json](reports/kill-matrix.json).

A checker that has never failed shows nothing when it passes. So each of {bugs} bugs is planted in
production code, in its SQL or in the harness, by the tests alone (`tests/support/bugs.py`), before
each of {scenarios} scenarios on the engine `sim`.

| bug | what the broken code does | caught by | in |
|---|---|---|---|
{rows}

## By assertion

V2 is held against this matrix as a whole: with the checker of C4 blinded, it says {v2}.

| assertion | title | bugs that it caught |
|---|---|---|
{by}
"""


def render(data: dict[str, Any]) -> str:
    """The page."""
    found: dict[str, Caught] = data["bugs"]
    by = [f"| {name} | {ASSERTIONS[name].title} | {_bugs_of(name, found)} |" for name in ASSERTIONS]
    return _HEAD.format(
        bugs=len(BUGS),
        scenarios=len(data["scenarios"]),
        rows="\n".join(_row(bug, found[bug.name]) for bug in BUGS),
        v2=data["v2_with_a_blind_checker"],
        by="\n".join(by),
    )


def _row(bug: Bug, caught: Caught) -> str:
    what = f"{bug.what} (in the harness)" if bug.harness else bug.what
    if not caught:
        return f"| {bug.name} | {what} | nothing: {bug.same} | - |"
    names = {name for names in caught.values() for name in names}
    ordered = " ".join(name for name in ASSERTIONS if name in names)
    shown = sorted(caught)
    more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""  # noqa: PLR2004 - a cell's width
    return f"| {bug.name} | {what} | {ordered} | {', '.join(shown[:4])}{more} |"


def _bugs_of(name: str, found: dict[str, Caught]) -> str:
    if name == "V2":
        return "blind_checker"
    hits = [
        bug.name
        for bug in BUGS
        if any(name in names for names in found[bug.name].values())
        and (bug.harness or not name.startswith("V"))
    ]
    return ", ".join(hits) or "none"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the evidence and the page, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what drifted")
    if not parser.parse_args(argv).check:
        found = matrix()
        data = {
            "scenarios": [one.id for one in every()],
            "v2_with_a_blind_checker": oracle(with_a_blind_checker(found)).outcome.value,
            **_about_bugs(),
            "bugs": found,
        }
        DATA.parent.mkdir(parents=True, exist_ok=True)
        DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(render(data), encoding="utf-8")
    wrong = list(wrong_with(load()))
    if not wrong and PAGE.read_text(encoding="utf-8") != render(load()):
        wrong = [f"{PAGE.relative_to(ROOT)} has drifted from its evidence; run `make kill-matrix`"]
    for line in wrong:
        _say(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
