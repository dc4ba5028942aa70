"""Verifying a ledger: edited, missing and reordered events, missing ids, impossible orders.

What the checks are, is in ``baton.domain.checks``. A ledger that its owner rewrote as a whole,
hashes and all, passes them; only a seal, the chain heads as they were exported elsewhere, makes
that evident. ``Verifier.summary`` says whether there was one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from baton.domain.chains import ChainState
from baton.domain.checks import (
    CHECKS,
    LINKS,
    MEANINGS,
    UNREADABLE,
    Seen,
    field_invalid,
    seal_mismatch,
)
from baton.domain.ledger import Event
from baton.domain.shapes import SHAPES

#: The version of ``Verifier.to_dict``.
VERSION = 1

#: What a type's name stands for, without a search among the types for every event.
_KNOWN = {type_.value: (type_, shape) for type_, shape in SHAPES.items()}

#: Chain heads that were exported elsewhere: the hash of the last event by chain.
Seal = Mapping[str, str]

#: What the pruned events of a chain told; None for a chain that is whole.
Told = Callable[[str], ChainState | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: the id of the check, a key of ``CHECKS``.
        chain: the chain it was found in.
        n: the place of the event in its chain; -1 for a chain as a whole.
        seq: its place in the tail.
        type: its type.
        detail: what was found, for people.
    """

    check: str
    chain: str
    n: int
    seq: int
    type: str
    detail: str

    def __str__(self) -> str:
        """One line that names the check, the event and what is wrong with it."""
        place = self.chain if self.n < 0 else f"{self.chain} event {self.n} ({self.type})"
        return f"{self.check}: {place}: {self.detail}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)


class Verifier:
    """Judges a ledger event by event, in the order of the tail or chain by chain.

    Attributes:
        events: how many events were judged.
        counts: findings by the id of their check; every check that is made is there from the
            start, at 0.
    """

    def __init__(self, seal: Seal | None = None, told: Told = lambda chain: None) -> None:  # noqa: ARG005
        """Begin before the first event.

        Args:
            seal: chain heads that were exported elsewhere, if there are any.
            told: asked for a chain that does not begin with its first event.
        """
        self._told = told
        self.events = 0
        self.counts = dict.fromkeys((*LINKS, *MEANINGS), 0)
        self._chains: dict[str, ChainState] = {}
        self._seal = None if seal is None else dict(seal)
        self._unsealed = dict(seal or {})
        if seal is not None:
            self.counts[seal_mismatch.__name__] = 0

    def apply(self, event: Event) -> list[Finding]:
        """Judge the next event."""
        self.events += 1
        before = self._chains.get(event.chain)
        if before is None:
            pruned = self._told(event.chain) if event.n else None
            before = self._chains[event.chain] = pruned or ChainState()
        wrong: dict[str, str] = {}
        for name, place in LINKS.items():
            if (detail := place(event, before)) is not None:
                wrong[name] = detail
                if place is field_invalid:
                    return [self._finding(name, event, detail)]
        data = event.data
        if not (wrong and UNREADABLE & wrong.keys()):
            known = before if event.n == before.n + 1 else before.behind_gap()
            seen = Seen(event, known, *_KNOWN[event.type], data)
            for name, find in MEANINGS.items():
                if (detail := find(seen)) is not None:
                    wrong[name] = detail
        if event.n > before.n:
            before.advance(event, data)
        if self._unsealed.get(event.chain) == event.hash:
            del self._unsealed[event.chain]
        return [self._finding(name, event, detail) for name, detail in wrong.items()]

    def finish(self) -> list[Finding]:
        """Judge what can only be judged at the end: the seal."""
        name = seal_mismatch.__name__
        findings = []
        for chain, sealed in self._unsealed.items():
            detail = seal_mismatch(self._chains.get(chain), sealed)
            findings.append(Finding(check=name, chain=chain, n=-1, seq=0, type="", detail=detail))
        if self._seal is not None:
            self.counts[name] = len(findings)
        return findings

    def state_of(self, chain: str) -> ChainState:
        """What a chain has told so far.

        Raises:
            KeyError: nothing yet.
        """
        return self._chains[chain]

    def summary(self) -> str:
        """What was judged and how far it can be trusted, in one line."""
        counts = ((self.events, "event"), (len(self._chains), "chain"))
        judged = " in ".join(_counted(count, what) for count, what in counts)
        found = _counted(sum(self.counts.values()), "finding")
        if self._seal is None:
            return f"{judged}, {found}; without a seal, a ledger rewritten as a whole would pass"
        return f"{judged}, {found}; held against a seal of {_counted(len(self._seal), 'chain')}"

    def _finding(self, check: str, event: Event, detail: str) -> Finding:
        self.counts[check] += 1
        return Finding(
            check=check,
            chain=event.chain,
            n=event.n,
            seq=event.seq,
            type=event.type,
            detail=detail,
        )

    def to_dict(self) -> dict[str, Any]:
        """Where it stands, as plain values for JSON, to go on with later; a seal is not kept."""
        return {
            "version": VERSION,
            "events": self.events,
            "counts": dict(self.counts),
            "chains": {chain: told.to_list() for chain, told in self._chains.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], seal: Seal | None = None) -> Verifier:
        """Go on where ``to_dict`` left off, for instance behind events that were pruned.

        Raises:
            KeyError, ValueError: it is no stored verifier, or one of another version.
        """
        if stored["version"] != VERSION:
            raise ValueError(f"a stored verifier has version {stored['version']}, not {VERSION}")
        verifier = cls(seal)
        verifier.events = stored["events"]
        verifier.counts |= stored["counts"]
        for chain, told in stored["chains"].items():
            verifier._chains[chain] = ChainState.from_list(told)
        return verifier


def verify(events: Iterable[Event], seal: Seal | None = None) -> list[Finding]:
    """Everything that is wrong with a ledger; nothing for a healthy one.

    Args:
        events: the ledger, in the order of its tail or chain by chain.
        seal: chain heads that were exported elsewhere, if there are any.
    """
    verifier = Verifier(seal)
    findings = [finding for event in events for finding in verifier.apply(event)]
    return findings + verifier.finish()


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def chain_heads(events: Iterable[Event]) -> dict[str, str]:
    """The hash of the last event of each chain: a seal, once it is kept elsewhere."""
    heads: dict[str, Event] = {}
    for event in events:
        last = heads.get(event.chain)
        if last is None or event.n > last.n:
            heads[event.chain] = event
    return {chain: event.hash for chain, event in sorted(heads.items())}


__all__ = ["CHECKS", "Finding", "Seal", "Verifier", "chain_heads", "verify"]
