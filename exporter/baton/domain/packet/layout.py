"""What lies where in an evidence packet: the one place that says so.

The layout is a part of the frozen contract (``baton compat``): entries may be added, and none may
be renamed, moved or given another meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: Of the layout; it grows with entries that are added.
FORMAT = "1.0.0"


class Origin(StrEnum):
    """Where an entry comes from, which says what a verifier can do about it."""

    EVIDENCE = "evidence"  # taken as it was left, and judged again
    DERIVED = "derived"  # follows from the evidence, and is made again to the same bytes
    SEAL = "seal"  # holds the packet together


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kind of file.

    Attributes:
        path: its place; ``*`` stands for one name, ``**`` for any number of them.
        origin: where it comes from.
        needed: a packet without it is none.
        about: what it is.
    """

    path: str
    origin: Origin
    needed: bool = False
    about: str

    def covers(self, name: str) -> bool:
        """Whether a file has its place here."""
        parts = (
            ".+" if part == "**" else re.escape(part).replace(r"\*", "[^/]+")
            for part in self.path.split("/")
        )
        return re.fullmatch("/".join(parts), name) is not None


README = "README.md"
DECISION = "decision.json"
CRITERIA = "criteria.json"
RISKS = "risks.json"
ROLLBACK = "rollback.json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
VERIFIER = "verify.py"
RELEASE = "release.json"
LOG = "log.jsonl"
GATE = "gate"
GATE_INPUTS = "gate-inputs.json"
SCENARIOS = "scenarios"
SCENARIOS_PROC = "scenarios-proc"
SOAK = "soak"
KILL_MATRIX = "kill-matrix.json"
REPORT = "report"
COMPAT = "compat.json"
LEDGER = "ledger.jsonl.gz"
SEAL = "seal.json"

_E, _D, _S = Origin.EVIDENCE, Origin.DERIVED, Origin.SEAL

LAYOUT: tuple[Entry, ...] = (
    Entry(path=README, origin=_D, needed=True, about="the decision and its reasons, for people"),
    Entry(path=DECISION, origin=_D, needed=True, about="the decision, for machines"),
    Entry(path=CRITERIA, origin=_D, needed=True, about="every criterion, with evidence pointers"),
    Entry(path=RISKS, origin=_D, needed=True, about="what remains open, generated from evidence"),
    Entry(path=ROLLBACK, origin=_D, needed=True, about="how to go back, and until when"),
    Entry(path=MANIFEST, origin=_S, needed=True, about="SHA-256 and size of every other file"),
    Entry(path=SIGNATURE, origin=_S, about="an SSH signature of the manifest"),
    Entry(path=VERIFIER, origin=_S, needed=True, about="checks all of it with plain Python"),
    Entry(path=RELEASE, origin=_E, needed=True, about="what was released, and made with what"),
    Entry(path=LOG, origin=_E, about="the verification log, an entry for each stage"),
    Entry(path="logs/*.txt", origin=_E, about="what each stage printed"),
    Entry(path=f"{GATE}/**", origin=_E, about="what `baton gate --out` left, to be replayed"),
    Entry(path=GATE_INPUTS, origin=_E, about="the gate's policy and rules, read from their YAML"),
    Entry(path=f"{SCENARIOS}/**", origin=_E, about="scenarios in virtual time"),
    Entry(path=f"{SCENARIOS_PROC}/**", origin=_E, about="scenarios with real processes"),
    Entry(path=f"{SOAK}/**", origin=_E, about="what `baton soak` left"),
    Entry(path=KILL_MATRIX, origin=_E, about="planted bugs, and what caught them"),
    Entry(path=f"{REPORT}/*", origin=_E, about="the recovery report of the fleet"),
    Entry(path=COMPAT, origin=_E, about="what `baton compat --check --json` said"),
    Entry(path=LEDGER, origin=_E, about="the fleet's ledger, exported, to its end"),
    Entry(path=SEAL, origin=_E, about="the heads of the ledger's chains, as exported with it"),
)


def entry_of(name: str) -> Entry | None:
    """The entry under which a file has its place; None where it has none."""
    return next((entry for entry in LAYOUT if entry.covers(name)), None)
