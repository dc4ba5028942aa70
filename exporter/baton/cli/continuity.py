"""``baton ledger verify --continuity``: what a ledger proves of continuity, and what it cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baton.cli.output import print_json
from baton.domain.continuity import ASSERTIONS, Outcome, Trial, Verdict, judge, merge
from baton.domain.ledger import Event, event_from_dict
from baton.errors import BadInput

#: The exit code of each outcome.
EXITS: Mapping[Outcome, int] = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.UNKNOWN: 2}

_MARKS = {Outcome.PASS: "PASS", Outcome.FAIL: "FAIL", Outcome.UNKNOWN: "?   "}


def read_ledger(path: Path) -> tuple[list[Event], bool]:
    """The events of an exported ledger, and whether its last line is whole.

    Args:
        path: JSON Lines, as `baton ledger export` writes them.

    Raises:
        BadInput: it cannot be read, or a line before the last is no event.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(detail=f"--ledger {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(detail=f"--ledger {path} is no ledger: it is not UTF-8") from error
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            read: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            if events and number == len(lines):
                return events, False
            raise BadInput(detail=f"--ledger {path} line {number} is no JSON: {error}") from error
        try:
            if not isinstance(read, dict):
                raise ValueError("it is no event")  # noqa: TRY004, TRY301 - told like the others
            events.append(event_from_dict(read))
        except ValueError as error:
            raise BadInput(detail=f"--ledger {path} line {number}: {error}") from error
    return events, True


def judge_ledger(
    events: Sequence[Event], *, complete: bool, seal: Mapping[str, str] | None, as_json: bool
) -> int:
    """Judge what a ledger alone can show, and print it; returns the exit code.

    Args:
        events: the ledger.
        complete: whether it was read to its end.
        seal: chain heads that were kept elsewhere.
        as_json: print JSON for machines.
    """
    trial = Trial(events=events, complete=complete, seal=seal)
    verdicts = judge(trial, [name for name in ASSERTIONS if not name.startswith("V")])
    checked = [verdict for verdict in verdicts if verdict.checked]
    overall = merge(verdict.outcome for verdict in checked)
    if as_json:
        print_json(
            {
                "outcome": overall,
                "events": len(events),
                "complete": complete,
                "sealed": seal is not None,
                "assertions": [_as_json(verdict) for verdict in verdicts],
            }
        )
    else:
        for verdict in verdicts:
            _print(verdict)
        print(_summary(verdicts, overall, len(events), complete=complete))
    return EXITS[overall]


def _as_json(verdict: Verdict) -> dict[str, Any]:
    found = ASSERTIONS[verdict.assertion]
    return {**asdict(verdict), "title": found.title, "needs": found.needs}


def _print(verdict: Verdict) -> None:
    name = verdict.assertion
    print(f"{_MARKS[verdict.outcome]} {name:<3} {ASSERTIONS[name].title}: {verdict.text}")
    for witness in verdict.witnesses if verdict.violations else ():
        print(f"         {witness}")


def _summary(verdicts: Sequence[Verdict], overall: Outcome, events: int, *, complete: bool) -> str:
    judged = sum(verdict.judged for verdict in verdicts)
    whole = "" if complete else ", cut off in its last line"
    return (
        f"continuity {overall}: {events} event{'' if events == 1 else 's'}{whole};"
        f" {judged} assertions judged, {len(verdicts) - judged} not judged"
    )
