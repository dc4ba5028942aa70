"""What a rule is: alerts and recording rules as frozen records.

An alert says what it means; its links, its severity label and its times come from one place
(``annotations``, ``hold_seconds``), so that no rule can lack them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from baton.domain.catalogue import CATALOGUE
from baton.domain.metric import Source
from baton.observe.promql import Expr
from baton.observe.settings import Board, Settings


class Severity(StrEnum):
    """Who is disturbed: somebody now, somebody today, or nobody."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


#: Labels of an alert that narrow the dashboard it links to, if it has them.
LINKED_LABELS = ("cluster", "namespace", "job", "pool", "worker", "graph")

_LABEL = re.compile(r"\$labels\.(\w+)")
_NAME = re.compile(r"Baton(?:[A-Z][a-z]+)+")
_RECORD = re.compile(r"[a-z_]+:[a-z_]+:[a-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. Its name is its section in docs/runbook.md.

    Attributes:
        name: in the manner of Prometheus, beginning with ``Baton``.
        severity: who is disturbed.
        expr: has a series for each thing that is wrong.
        hold_seconds: how long that has to last (``for``).
        survives: whether it is a page that must not resolve because its series were withdrawn.
        summary: what is wrong, in one line; a template of Prometheus.
        description: what it means and what is at stake.
        first_look: what to look at first, for docs/alerts.md.
        board: the dashboard that shows it.
        faults: ids of scenarios that cause it.
        start_here: whether it is one of the few to begin with.
        inhibited_by: alerts that say the same of something larger.
    """

    name: str
    severity: Severity
    expr: Expr
    hold_seconds: float = 0.0
    survives: bool = False
    summary: str
    description: str
    first_look: str
    board: Board
    faults: tuple[str, ...] = ()
    start_here: bool = False
    inhibited_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would render into an empty place or a broken link."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"alert {self.name}: a name is Baton and words in capitals")
        named = set(_LABEL.findall(self.summary + self.description))
        if odd := sorted(named - self.expr.labels):
            raise ValueError(f"alert {self.name}: its series have no label {', '.join(odd)}")
        if self.survives and self.severity is not Severity.CRITICAL:
            raise ValueError(f"alert {self.name}: only a page has to survive its series")

    @property
    def anchor(self) -> str:
        """Its section in the runbook."""
        return self.name.lower()

    @property
    def needs_source(self) -> bool:
        """Whether it is blind while the exporter cannot read the store."""
        return any(
            metric.source is Source.EXPORTER and metric.group != "self"
            for metric in CATALOGUE
            if metric.name in self.expr.text
        )

    def holds_seconds(self, settings: Settings) -> float:
        """How long it has to last under these settings."""
        return settings.hold_seconds.get(self.name, self.hold_seconds)

    def keeps_seconds(self, settings: Settings) -> float:
        """How long it outlives its series under these settings."""
        return settings.keep_firing_seconds if self.survives else 0.0

    def annotations(self, settings: Settings) -> dict[str, str]:
        """Everything that a notification says, with its links."""
        return {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{settings.runbook_url}#{self.anchor}",
            "dashboard_url": dashboard_url(settings, self.board, self.expr.labels),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording rule, named ``level:metric:operations``.

    Attributes:
        record: the name of what it writes.
        expr: what is written.
        labels: labels that it adds.
        meaning: what a value means.
    """

    record: str
    expr: Expr
    labels: tuple[tuple[str, str], ...] = ()
    meaning: str

    def __post_init__(self) -> None:
        """Refuse a name that is not ``level:metric:operations``."""
        if not _RECORD.fullmatch(self.record):
            raise ValueError(f"recording rule {self.record}: write level:metric:operations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated together, in order."""

    name: str
    rules: tuple[Alert | Recording, ...]


def dashboard_url(settings: Settings, board: Board, labels: frozenset[str]) -> str:
    """A link to a dashboard that shows what an alert is about, as a template of Prometheus."""
    narrowed = "".join(
        f"{{{{ with $labels.{label} }}}}&var-{label}={{{{ . | urlquery }}}}{{{{ end }}}}"
        for label in LINKED_LABELS
        if label in labels
    )
    return f"{settings.dashboard_url.rstrip('/')}/d/{board}?from=now-1h&to=now{narrowed}"


def duration(seconds: float) -> str:
    """A length of time as Prometheus writes it."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
