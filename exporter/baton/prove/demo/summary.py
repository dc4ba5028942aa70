"""The demo's last word: for people a short table, for machines the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from baton.prove.demo.screen import Style, lasted
from baton.prove.demo.verdict import EACH, MEASURES, Fault, Finding, Outcome, latencies, worst
from baton.prove.demo.view import View

_TEXT_MIN = 40
_COLOURS = {Outcome.PASS: "32", Outcome.INCONCLUSIVE: "33", Outcome.FAIL: "31"}
_LAST_WORDS = {
    Outcome.PASS: "Nothing was lost, and nothing was done twice.",
    Outcome.INCONCLUSIVE: "Not everything could be shown; see above.",
    Outcome.FAIL: "Continuity was violated; see above.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the demo came to.

    Attributes:
        answers: what Prometheus said last, by question.
        why_no_answers: why there is no Prometheus, where there is none.
        places: addresses and files, by what they are.
        at: when it was judged, Unix seconds.
        scraped_since: since when Prometheus had counts of the exporter, Unix seconds; None where
            there is none.
    """

    seconds: float
    findings: Sequence[Finding]
    faults: Sequence[Fault]
    view: View
    places: Mapping[str, str]
    answers: Mapping[str, str]
    why_no_answers: str = ""
    at: float = 0.0
    scraped_since: float | None = None

    @property
    def outcome(self) -> Outcome:
        """The worst of the findings."""
        return worst(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times are microseconds of the store's clock."""
        return {
            "schema_version": "1.0.0",
            "outcome": self.outcome.value,
            "exit_code": self.outcome.exit_code,
            "seconds": round(self.seconds, 2),
            "at": round(self.at, 3),
            "scraped_seconds": None
            if self.scraped_since is None
            else int(self.at - self.scraped_since),
            "findings": [
                {"check": one.check, "outcome": one.outcome.value, "text": one.text}
                for one in self.findings
            ],
            "faults": [_fault(fault, self.view) for fault in self.faults],
            "takeovers": [one.to_dict() for one in self.view.takeovers],
            "latencies_us": [
                {"reason": reason, "n": n, "value": value, **dict(zip(MEASURES, us, strict=True))}
                for reason, n, value, us in latencies(self.view.takeovers)
            ],
            "refused_writes": len(self.view.refusals),
            "effects": {outcome.value: count for outcome, count in self.view.effects.items()},
            "prometheus": dict(self.answers),
            "places": dict(self.places),
        }

    def render(self, style: Style, columns: int) -> str:
        """The table.

        Args:
            style: what the stream can show.
            columns: where to break lines.
        """
        width = max(len(finding.check) for finding in self.findings)
        lines: list[str] = []
        for one in self.findings:
            text = wrap(one.text, max(_TEXT_MIN, columns - width - 6))
            lines.append(f" {_mark(one.outcome, style)} {one.check:<{width}}  {text[0]}")
            lines += [f"{'':<{width + 5}}{more}" for more in text[1:]]
        lines += ["", *_latency_table(self.view), ""]
        if self.answers:
            lines += _list("Prometheus says", self.answers)
        elif self.why_no_answers:
            lines += [f" Prometheus {self.why_no_answers}", ""]
        lines.append(_painted(f" {self.outcome}: {_LAST_WORDS[self.outcome]}", self.outcome, style))
        return "\n".join(lines)


def _fault(fault: Fault, view: View) -> dict[str, Any]:
    at = fault.at
    known = [one.restored_at for one in view.taken_from(fault.session_id)]
    restored = [moment - at for moment in known if moment is not None and at is not None]
    return {
        "reason": fault.reason.value,
        "signal": fault.signal,
        "worker_id": fault.worker_id,
        "session_id": fault.session_id,
        "tasks": list(fault.tasks),
        "at": at,
        "fault_to_restored_us": restored,
    }


def _latency_table(view: View) -> list[str]:
    heading = "".join(f"{name:>10}" for name in MEASURES)
    lines = [f" {'takeovers by':<15} {'n':>2}  {'':<6}{heading}"]
    before = None
    for reason, n, value, us in latencies(view.takeovers):
        first = (reason, str(n)) if reason != before else ("", "")
        what = "" if value == EACH else value
        cells = "".join(f"{lasted(one):>10}" for one in us)
        lines.append(f" {first[0]:<15} {first[1]:>2}  {what:<6}{cells}")
        before = reason
    return lines


def _list(heading: str, values: Mapping[str, str]) -> list[str]:
    width = max(map(len, values))
    return [f" {heading}", *(f"   {name:<{width}}  {text}" for name, text in values.items()), ""]


def _mark(outcome: Outcome, style: Style) -> str:
    marks = {Outcome.PASS: "✓", Outcome.INCONCLUSIVE: "?", Outcome.FAIL: "✗"}
    mark = marks[outcome] if style.unicode else outcome.value
    return _painted(mark, outcome, style)


def _painted(text: str, outcome: Outcome, style: Style) -> str:
    return f"\x1b[{_COLOURS[outcome]}m{text}\x1b[0m" if style.colour else text
