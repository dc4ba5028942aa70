"""What every board shares: its variables, its marks, and the terms in which it asks.

A board asks in the terms of the alerts (``terms.py``), narrowed by its variables instead of by the
settings' jobs, so that a panel and the alert about it cannot mean different things. No board
depends on recording rules: it shows something as soon as Prometheus scrapes the exporter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from baton.domain import catalogue as c
from baton.domain.metric import Metric, Source
from baton.domain.words import EventType, Freshness, SessionState
from baton.observe import charts
from baton.observe import panels as p
from baton.observe import promql as q
from baton.observe.promql import Expr, Regex, Scope, Wanted
from baton.observe.settings import Board, Settings
from baton.observe.terms import UNPLANNED, Terms

#: Grafana's window for rates: wide enough for the scrape interval, and for one point of a panel.
RATE = "$__rate_interval"
#: The whole time that the board shows.
RANGE = "$__range"

#: For how long a version is new.
_NEW = "10m"

#: The number and the colour of each state in a timeline.
SESSION_LOOK = {
    SessionState.STARTING: charts.PURPLE,
    SessionState.IDLE: charts.BLUE,
    SessionState.BUSY: charts.GREEN,
    SessionState.DRAINING: charts.YELLOW,
    SessionState.STOPPED: charts.GRAY,
    SessionState.LOST: charts.RED,
}
FRESHNESS_LOOK = {
    Freshness.RUNNING: charts.GREEN,
    Freshness.WARNING: charts.ORANGE,
    Freshness.STALE: charts.RED,
}


def state_words(look: Mapping[Any, str]) -> list[p.Json]:
    """The words for the numbers of ``View.coded``."""
    said = enumerate(look.items(), start=1)
    return charts.words({number: (state.value, colour) for number, (state, colour) in said})


class View(Terms):
    """The terms of one board.

    Attributes:
        narrowing: the variables that the board has beside those that every board has.
    """

    narrowing: tuple[str, ...]

    def __init__(self, settings: Settings, *narrowing: str) -> None:
        """Narrow every selector by the board's variables.

        Args:
            settings: what the boards are rendered from.
            narrowing: variables beside those that every board has, named as their label.
        """
        names = (*settings.fleet_labels, "job", "instance", "pool", *narrowing)
        scope = Scope(settings.fleet_labels, **{name: Regex(f"${name}") for name in names})
        # Terms is a frozen record, whose own scopes are those of the rules.
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "narrowing", narrowing)
        object.__setattr__(self, "exporter", scope)
        object.__setattr__(self, "worker", scope)

    def target(self, name: str) -> Expr:
        """What Prometheus itself says of the targets, such as ``up``.

        All jobs that a board can choose from are Baton's, but every target has these series, so
        the settings' jobs are wanted too.
        """
        chosen = {label: Regex(f"${label}") for label in (*self.settings.by_fleet, "instance")}
        jobs = Regex(f"{self.settings.exporter_job}|{self.settings.worker_job}")
        return q.also(q.recorded(name, chosen, **chosen), "job", jobs)

    def amount(self, metric: Metric, by: Iterable[str] = (), **matchers: Wanted) -> Expr:
        """A gauge, added up over everything but ``by``."""
        return q.total(self.fact(metric, self._apart(metric), **matchers), by)

    def count(
        self, metric: Metric, by: Sequence[str], window: str = RATE, **matchers: Wanted
    ) -> Expr:
        """How often something happened in a window, added up over everything but ``by``."""
        inner = [label for label in self._apart(metric) if label not in by]
        return self.happened(metric, window, tuple(by), *inner, **matchers)

    def rate(self, metric: Metric, by: Sequence[str], suffix: str = "", **matchers: Wanted) -> Expr:
        """How often something happens each second, added up over everything but ``by``."""
        rising = self.exporter.rate(metric, RATE, suffix, **matchers)
        if metric.source is Source.WORKER:
            return q.total(rising, by)
        return q.total(q.largest(rising, self._apart(metric)), by)

    def mean(self, metric: Metric, by: Sequence[str], window: str, **matchers: Wanted) -> Expr:
        """The mean of a histogram's observations in a window."""
        parts = [
            q.total(self.exporter.increase(metric, window, suffix, **matchers), by)
            for suffix in ("_sum", "_count")
        ]
        return parts[0] / parts[1]

    def coded(self, metric: Metric) -> Expr:
        """Which state each worker is in, as the state's number."""
        numbered = [
            self.exporter.state(metric, state) * number
            for number, state in enumerate(metric.states, start=1)
        ]
        every = numbered[0]
        for one in numbered[1:]:
            every = every.otherwise(one)
        return q.largest(every, self.each)

    def now_in_state(self, metric: Metric) -> Expr:
        """One series for each worker, with the state that it is in as a label."""
        in_it = self.exporter.series(metric).equals(1)
        return q.largest(in_it, (*self.each, metric.name))

    def age_seconds(self, timestamp: Metric, by: Sequence[str]) -> Expr:
        """How long ago the oldest of the timestamps was."""
        return q.age(q.smallest(self.exporter.series(timestamp), by))

    def per_pool(self, expr: Expr, operator: str, other: Expr) -> Expr:
        """Something of each worker or pool, joined with something of its pool."""
        return expr.op(operator, other, on=self.pool, many=True)

    def link_to(self, board: Board, title: str, **chosen: str) -> p.Json:
        """A link to another board, which keeps the time and what is chosen here.

        Args:
            board: to open.
            title: what the reader is offered.
            chosen: values of variables there instead, such as ``worker="${__value.raw}"``.
        """
        kept = (p.DATASOURCE, *self.settings.by_fleet, "instance", "pool")
        parameters = (
            *(f"${{{name}:queryparam}}" for name in kept if name not in chosen),
            *(f"var-{name}={value}" for name, value in chosen.items()),
            "${__url_time_range}",
        )
        return p.link(title, f"/d/{board}?{'&'.join(parameters)}")

    def _apart(self, metric: Metric) -> tuple[str, ...]:
        return (*self.fleet, *metric.series_labels)


def render(board: Board, title: str, why: str, rows: Sequence[p.Row], view: View) -> Any:
    """A board with the variables and the marks that all boards have.

    Args:
        board: which one.
        title: of the board.
        why: the question that it answers.
        rows: from top to bottom.
        view: the terms that its panels ask in.
    """
    return p.dashboard(
        board,
        f"Baton / {title}",
        why,
        rows,
        variables=_variables(view),
        annotations=_annotations(view),
    )


#: What knows the values of the variables that only some boards have.
_KNOWN_BY = {"worker": c.WORKER_INFO, "graph": c.TASKS}


def _variables(view: View) -> list[Any]:
    """Each variable asks within those before it; the jobs are those of exporters and workers."""
    served = Regex("|".join((c.BUILD_INFO.name, f"{c.CHECKPOINT_WRITE.name}_count")))
    chosen: dict[str, Wanted] = {}
    found = [p.source_variable()]

    def ask(label: str, selector: Expr, every: str = ".+") -> None:
        query = f"label_values({selector.text}, {label})"
        found.append(p.variable(label, query, every=every))
        chosen[label] = Regex(f"${label}")

    for label in (*view.settings.fleet_labels, "job", "instance"):
        names = {"__name__": served, **chosen}
        # A scrape without a label that tells fleets apart matches too.
        every = ".*" if label in view.settings.fleet_labels else ".+"
        ask(label, q.recorded("", names, **names), every)
    ask("pool", Scope(chosen, **chosen).series(c.WORKERS), view.settings.pool_regex or ".+")
    for label in view.narrowing:
        # A row for each worker of a large fleet would be more than a browser can show.
        every = "" if label == "worker" else ".+"
        ask(label, Scope(chosen, **chosen).series(_KNOWN_BY[label]), every)
    return found


def _annotations(view: View) -> list[p.Json]:
    info = view.exporter.series(c.WORKER_INFO)
    versions = ("pool", "version")
    newest = q.aggregate("count", info, versions).unless(
        q.aggregate("count", q.earlier(info, _NEW), versions)
    )
    faults = view.count(c.EVENTS, ("type",), type=EventType.FAULT_INJECTED)
    takeovers = view.count(c.TAKEOVERS, ("pool", "reason"), reason=UNPLANNED)
    alerts = q.recorded(
        "ALERTS",
        ("alertname", "alertstate", "pool", "severity"),
        alertname=Regex("Baton.+"),
        alertstate="firing",
    )
    firing = q.largest(alerts, ("alertname", "pool", "severity"))
    return [
        p.annotation("New versions", newest, "{{version}} in {{pool}}", charts.BLUE),
        p.annotation("Faults injected", faults > 0, "a trial injected a fault", charts.PURPLE),
        p.annotation(
            "Unplanned takeovers",
            takeovers > 0,
            "{{reason}} in {{pool}}",
            charts.ORANGE,
            shown=False,
        ),
        p.annotation(
            "Alerts", firing, "{{severity}}: {{alertname}} {{pool}}", charts.RED, shown=False
        ),
    ]
