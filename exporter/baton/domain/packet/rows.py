"""One criterion of a packet, whatever it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from baton.domain.gate.words import Status

#: Who answers for what nobody else is named for.
OWNER = "Baton maintainers"


class Why(StrEnum):
    """Why a criterion of a packet has its status; those of the gate keep the gate's own codes."""

    OK = "OK"
    NO_EVIDENCE = "NO_EVIDENCE"
    UNREADABLE = "UNREADABLE"
    NOT_RUN = "NOT_RUN"
    STAGE_FAILED = "STAGE_FAILED"
    STAGE_INCONCLUSIVE = "STAGE_INCONCLUSIVE"
    STAGE_ERROR = "STAGE_ERROR"
    INTERRUPTED = "INTERRUPTED"
    BROKEN = "BROKEN"
    NOT_SHOWN = "NOT_SHOWN"
    DIFFERS = "DIFFERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One criterion.

    Attributes:
        id: its name.
        question: what it answers, in plain words.
        detail: what was found.
        recomputed: whether a verifier judges it again; what is not is taken at its word.
        evidence: where what it rests on lies, from ``Evidence.pointer``.
        next_action: what to do where it does not hold.
    """

    id: str
    question: str
    status: Status
    why: str
    detail: str
    recomputed: bool = True
    evidence: Sequence[dict[str, str]] = ()
    next_action: str = ""
    owner: str = OWNER

    def to_plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "id": self.id,
            "question": self.question,
            "status": self.status.value,
            "reason": str(self.why),
            "detail": self.detail,
            "recomputed": self.recomputed,
            "evidence": list(self.evidence),
            "next_action": self.next_action,
            "owner": self.owner,
        }
