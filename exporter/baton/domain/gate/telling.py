"""What a gate says: decision.json, DECISION.md and junit.xml.

Everything is made from the verdict and the case alone; nothing tells how long it took, where it
ran or when it was replayed, so that whoever judges again comes to the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from baton.domain.gate.bench import Case, Verdict
from baton.domain.gate.judging import Result
from baton.domain.gate.policy import SELF_TEST, Criterion
from baton.domain.gate.words import EXIT_CODES, MEANINGS, Decision, Status

FORMAT = "1.0.0"

_SELF_QUESTION = "Does the gate itself see what is wrong?"

_SAYS: Mapping[Decision, str] = {
    Decision.GO: "Every criterion was measured and holds.",
    Decision.RESERVATIONS: "Nothing fails that nobody answers for; read the reservations.",
    Decision.INCONCLUSIVE: "Something could not be judged; that is no yes.",
    Decision.NO_GO: "A criterion was measured and does not hold.",
    Decision.ERROR: "The gate could not ask, or cannot be trusted.",
}


def files(verdict: Verdict, case: Case) -> dict[str, bytes]:
    """What is said, by the names of the files."""
    document = decision(verdict, case)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {
        "decision.json": text.encode(),
        "DECISION.md": markdown(document).encode(),
        "junit.xml": junit(document).encode(),
    }


def decision(verdict: Verdict, case: Case) -> dict[str, Any]:
    """The decision and everything behind it, in plain values."""
    policy = case.policy
    by_id = {one.id: one for one in policy.criteria}
    counts = {
        status.value: sum(one.status is status for one in verdict.results) for status in Status
    }
    return {
        "format": FORMAT,
        "decision": verdict.decision.value,
        "exit_code": EXIT_CODES[verdict.decision],
        "says": _SAYS[verdict.decision],
        "at": case.at,
        "at_text": moment(case.at),
        "window_seconds": policy.window_seconds,
        "policy": {"name": policy.name, "sha256": case.policy_sha256},
        "parameters": dict(sorted(policy.parameters.items())),
        "prometheus": case.prometheus,
        "store": case.store,
        "baton": case.version,
        "counts": counts,
        "criteria": [_told(one, by_id.get(one.id), verdict, case) for one in verdict.results],
    }


def moment(at: float) -> str:
    """A time as people and machines read it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _told(
    result: Result, criterion: Criterion | None, verdict: Verdict, case: Case
) -> dict[str, Any]:
    measured, coverage = result.measured, result.coverage
    return {
        "id": result.id,
        "question": criterion.question if criterion else _SELF_QUESTION,
        "status": result.status.value,
        "reason": result.reason.value,
        "meaning": MEANINGS[result.reason].text,
        "detail": result.detail,
        "next_action": result.next_action,
        "notes": list(result.notes),
        "check": criterion.kind.value if criterion else "self-test",
        "query": (criterion.query or None) if criterion else None,
        "time": case.at,
        "window_seconds": case.policy.window_seconds if criterion else None,
        "value": measured.value if measured else None,
        "unit": criterion.unit if criterion else "",
        "must": str(criterion.must) if criterion else None,
        "should": str(criterion.should) if criterion and criterion.should else None,
        "margin": result.margin,
        "labels": dict(measured.labels) if measured else {},
        "checked": measured.checked if measured else 0,
        "samples": None
        if coverage is None
        else {
            "series": coverage.series,
            "found": coverage.found,
            "expected": coverage.expected,
            "newest_age_seconds": round(coverage.newest_age, 3),
            "longest_gap_seconds": round(coverage.gap, 3),
            "begins_late_seconds": round(max(0.0, coverage.begins_late), 3),
            "resets": coverage.resets,
        },
        "needs": list(criterion.needs) if criterion else [],
        "owner": criterion.owner if criterion else "Baton maintainers",
        "evidence": [
            {"for": one.role, "file": one.file, "sha256": one.sha256, "pointer": one.pointer}
            for one in verdict.references[result.id]
        ],
        "runbook": f"{case.policy.runbook}#{criterion.anchor if criterion else _self()}",
    }


def _self() -> str:
    return SELF_TEST.lower()


# Markdown


def markdown(document: Mapping[str, Any]) -> str:
    """The decision as a page, fit for the summary of a CI job."""
    return "\n".join(_page(document)) + "\n"


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    rows = document["criteria"]
    yield f"# {document['decision']}"
    yield ""
    yield f"{document['says']} Policy {document['policy']['name']}, asked about"
    yield f"{document['at_text']} and the {document['window_seconds']:g} s before it."
    yield ""
    yield ", ".join(f"{count} {name}" for name, count in document["counts"].items() if count)
    bad = [row for row in _worst(rows) if row["status"] != Status.PASS]
    if bad:
        yield ""
        yield "## What stands against it"
    for row in bad:
        yield ""
        yield f"### {row['id']}: {row['status']} ({row['reason']})"
        yield ""
        yield f"{row['question']} {_cell(row['detail'])}"
        yield ""
        yield f"- Means: {row['meaning']}."
        if row["next_action"]:
            yield f"- Next: {row['next_action']}"
        yield from (f"- Note: {_cell(note)}" for note in row["notes"])
        yield f"- Owner: {row['owner']}. Runbook: {row['runbook']}"
        yield from (
            f"- Evidence: `{one['file']}` at `{one['pointer'] or '/'}`, SHA-256 `{one['sha256']}`"
            for one in row["evidence"]
        )
    yield ""
    yield "## All criteria"
    yield ""
    yield "| criterion | status | reason | value | must | margin | samples | question |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (
            *(row["id"], row["status"], row["reason"], valued(row), row["must"] or "-"),
            *(_number(row["margin"]), sampled(row), row["question"]),
        )
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _worst(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -Status(row["status"]).rank)


def valued(row: Mapping[str, Any]) -> str:
    """A value with its unit."""
    if row["value"] is None:
        return "-"
    return f"{_number(row['value'])} {row['unit']}".strip()


def sampled(row: Mapping[str, Any]) -> str:
    """How many samples there were of those that there should be, or how much was looked at."""
    samples = row["samples"]
    if samples is not None:
        return f"{samples['found']}/{samples['expected']}"
    return str(row["checked"]) if row["checked"] else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


# JUnit


def junit(document: Mapping[str, Any]) -> str:
    """The decision as a test report; what is unknown is an error, and nothing is ever skipped."""
    rows = document["criteria"]
    failures = sum(row["status"] == Status.FAIL for row in rows)
    errors = sum(row["status"] in (Status.ERROR, Status.INCONCLUSIVE) for row in rows)
    counts = f'tests="{len(rows)}" failures="{failures}" errors="{errors}" skipped="0"'
    head = f"<testsuite name={quoteattr('gate ' + document['policy']['name'])} {counts}"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites>{head} timestamp={quoteattr(document['at_text'])}>",
        *(_case(row) for row in rows),
        "</testsuite></testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(row: Mapping[str, Any]) -> str:
    head = f"<testcase classname={quoteattr(row['check'])} name={quoteattr(row['id'])}>"
    said = f"{row['question']} {row['detail']}. {row['next_action']} {row['runbook']}"
    element = {
        Status.FAIL: "failure",
        Status.INCONCLUSIVE: "error",
        Status.ERROR: "error",
    }.get(Status(row["status"]), "system-out")
    about = ""
    if element != "system-out":
        message = quoteattr(_printable(f"{row['status']} {row['reason']}: {row['detail']}"))
        about = f" message={message} type={quoteattr(row['reason'])}"
    return f"{head}<{element}{about}>{escape(_printable(said))}</{element}></testcase>"


def _printable(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
