"""How to go back from a release: to what, with which commands, and until when it is safe."""

from __future__ import annotations

from typing import Any

from baton.domain.packet.layout import LEDGER, RELEASE
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.risks import takeovers_of
from baton.domain.words import TakeoverReason

_MICRO = 1e6


def rollback_of(evidence: Evidence) -> dict[str, Any]:
    """What a person has to know before going back.

    Args:
        evidence: of the packet; the release names the version before and the stores' schemas.
    """
    try:
        release = evidence.json(RELEASE)
    except Unreadable:
        release = {}
    previous = release.get("previous")
    return {
        "version": release.get("version"),
        "previous": previous,
        "steps": _steps(previous),
        "schema": {
            "versions": release.get("schemas") or {},
            "text": "A Baton opens only stores whose schema it knows, and refuses a newer one aloud"
            " (exit 4) instead of guessing. Migrations so far only add: a store that this version"
            " opened keeps every table and column of before.",
        },
        "epochs": "An epoch only grows, whatever version claims. Workers of two versions may serve"
        " one store at the same time as long as both open it: the fence compares epoch and session"
        " and never a version. Never delete or lower an epoch to go back.",
        "checkpoints": "Checkpoints lie in LangGraph's own tables, readable by its stock savers. A"
        " run that goes on without Baton has no fence: stop every worker first.",
        "point_of_no_return": "The first `baton store migrate` to a newer schema, or the first"
        " worker of a newer version that opens the store: from then on a version that does not know"
        " that schema is refused. Copy the store before; a copy that is put back is refused until"
        " `baton store accept-restore`, and what was durable after the copy is lost.",
        "drill": _drill(evidence),
    }


def _steps(previous: Any) -> list[str]:
    if not previous:
        return [
            "There is no earlier release: going back means to run without Baton.",
            "kill -TERM every worker: each drains, and its tasks are released at a super-step.",
            "baton tasks list --store URL  # until nothing is active",
            "Run the graphs with LangGraph's stock saver on the same database; each goes on.",
        ]
    return [
        "Roll one worker at a time; each drains on SIGTERM and its tasks go on elsewhere at once.",
        f"pip install 'langgraph-baton=={previous}'",
        "Start the worker again with the same --worker-id; it is a new session.",
        "baton gate --prometheus URL --store URL --out DIR  # before the next pool",
    ]


def _drill(evidence: Evidence) -> dict[str, Any]:
    """The planned takeovers of the fleet's ledger: going back is a rotation like any other."""
    planned = [
        one
        for one in takeovers_of(evidence)
        if one.reason is TakeoverReason.DRAINED and one.restored_at is not None
    ]
    if not planned:
        return {
            "text": "No rotation was drilled in this packet's fleet.",
            "takeovers": 0,
            "longest_seconds": None,
            "evidence": [],
        }
    longest = max(
        ((one.restored_at or 0) - one.last_sign_at) / _MICRO
        for one in planned
        if one.last_sign_at is not None
    )
    return {
        "text": f"{len(planned)} tasks were handed on by a worker that was asked to end; the"
        f" longest took {longest:.3f} s from its release to the first node elsewhere.",
        "takeovers": len(planned),
        "longest_seconds": round(longest, 6),
        "evidence": [
            evidence.pointer(LEDGER, f"task:{one.task_id} epoch {one.epoch}") for one in planned
        ],
    }
