"""Counting what was held against an assertion, and keeping the lines that show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from baton.domain.continuity.model import WITNESSES_MAX, Outcome, Verdict
from baton.domain.ledger import Event

#: So many of the lines that held are shown where none broke the assertion.
_SHOWN = 3


class NotJudgedError(Exception):
    """An input that the assertion needs is not there; the text says which."""


def line_of(event: Event) -> str:
    """How a verdict names a line of the ledger."""
    return f"{event.chain}#{event.n}"


def trace_line(index: int) -> str:
    """How a verdict names a line of the trace; ``index`` counts from 0, lines from 1."""
    return f"trace:{index + 1}"


@dataclass(slots=True)
class Tally:
    """What came of holding one thing after another against an assertion.

    Attributes:
        checked: how many things were held against it.
        violations: how many broke it.
        first: what the first of them broke, for people.
        broken: the lines that show them.
        held: some of the lines that were checked and held.
    """

    checked: int = 0
    violations: int = 0
    first: str = ""
    broken: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    def check(self, wrong: str | None, *witnesses: str) -> None:
        """Note one thing that was checked.

        Args:
            wrong: what is wrong with it; None if nothing is.
            witnesses: the lines that show it.
        """
        self.checked += 1
        if wrong is not None:
            self.violate(wrong, *witnesses)
            return
        for witness in witnesses[: _SHOWN - len(self.held)] if len(self.held) < _SHOWN else ():
            self.held.append(witness)

    def violate(self, wrong: str, *witnesses: str) -> None:
        """Note a violation by something that was counted as checked already."""
        self.violations += 1
        self.first = self.first or wrong
        for witness in witnesses:
            if len(self.broken) < WITNESSES_MAX and witness not in self.broken:
                self.broken.append(witness)

    def verdict(self, assertion: str, *, complete: bool) -> Verdict:
        """The verdict; a history that was not read to its end passes nothing.

        Args:
            assertion: its id.
            complete: whether the history was read to its end.
        """
        outcome, text = Outcome.PASS, f"{self.checked} checked, none broke it"
        if self.violations:
            outcome = Outcome.FAIL
            text = f"{self.violations} of {self.checked} broke it, the first: {self.first}"
        elif not self.checked:
            outcome, text = Outcome.UNKNOWN, "nothing to check"
        elif not complete:
            outcome, text = Outcome.UNKNOWN, f"{text}; the ledger was not read to its end"
        return Verdict(
            assertion=assertion,
            outcome=outcome,
            checked=self.checked,
            violations=self.violations,
            text=text,
            witnesses=tuple(self.broken if self.violations else self.held),
        )
