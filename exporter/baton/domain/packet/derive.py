"""What follows from the evidence of a packet: criteria, decision, risks, rollback and the page.

All of it is a function of the evidence alone, so that the same evidence gives the same bytes, and a
verifier that makes it again can compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baton.domain.gate.words import EXIT_CODES, Decision, Status, decide
from baton.domain.packet import fleets, stages, trials
from baton.domain.packet.layout import (
    CRITERIA,
    DECISION,
    FORMAT,
    LOG,
    README,
    RELEASE,
    RISKS,
    ROLLBACK,
    Origin,
    entry_of,
)
from baton.domain.packet.manifest import document_of
from baton.domain.packet.page import page
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.risks import risks_of
from baton.domain.packet.rollback import rollback_of
from baton.domain.packet.rows import Row

_SAYS = {
    Decision.GO: "Everything that a release must show was run, judged, and holds.",
    Decision.RESERVATIONS: "Nothing fails that nobody answers for; read the reservations.",
    Decision.INCONCLUSIVE: "Something could not be judged; that is no yes.",
    Decision.NO_GO: "Something was judged and does not hold.",
    Decision.ERROR: "Something failed before it could be judged, or is not what it was.",
}


def derived(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The derived files of a packet.

    Args:
        files: of a packet; only evidence is read.
    """
    evidence = Evidence({name: data for name, data in files.items() if _is_evidence(name)})
    rows = rows_of(evidence)
    plain = [row.to_plain() for row in rows]
    risks = [risk.to_plain() for risk in risks_of(evidence, rows)]
    rollback = rollback_of(evidence)
    decision = _decision(evidence, rows)
    return {
        DECISION: document_of(decision),
        CRITERIA: document_of(plain),
        RISKS: document_of(risks),
        ROLLBACK: document_of(rollback),
        README: page(decision, plain, risks, rollback).encode(),
    }


def rows_of(evidence: Evidence) -> list[Row]:
    """Every criterion, in the one order that packets have."""
    return [
        *stages.rows(evidence),
        *trials.scenario_rows(evidence),
        trials.soak_row(evidence),
        trials.kill_matrix_row(evidence),
        *fleets.ledger_rows(evidence),
        fleets.report_row(evidence),
        *fleets.gate_rows(evidence, why_none=_why_no_gate(evidence)),
    ]


def _is_evidence(name: str) -> bool:
    entry = entry_of(name)
    return entry is not None and entry.origin is Origin.EVIDENCE


def _why_no_gate(evidence: Evidence) -> str:
    try:
        entries = evidence.lines(LOG)
    except Unreadable:
        return ""
    told = [one for one in entries if isinstance(one, dict) and one.get("stage") == "gate"]
    return str(told[0].get("why") or "") if told else ""


def _decision(evidence: Evidence, rows: list[Row]) -> dict[str, Any]:
    try:
        release = evidence.json(RELEASE)
    except Unreadable:
        release = {}
    verdict = decide(row.status for row in rows)
    against = sorted(
        (row for row in rows if row.status is not Status.PASS), key=lambda row: -row.status.rank
    )
    return {
        "format": FORMAT,
        "decision": verdict.value,
        "exit_code": EXIT_CODES[verdict],
        "says": _SAYS[verdict],
        "release": release,
        "counts": {s.value: sum(row.status is s for row in rows) for s in Status},
        "against": [
            {"id": row.id, "status": row.status.value, "reason": row.why, "detail": row.detail}
            for row in against
        ],
        "not_recomputed": [row.id for row in rows if not row.recomputed],
    }
