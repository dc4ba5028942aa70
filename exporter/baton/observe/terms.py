"""What several rules speak of: a pool's TTL, its live workers, the budget of its takeovers.

Facts about a store are the same from every exporter that reads it, so they are taken as the
maximum over exporters and never added up; that is why a pair of exporters counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from baton.domain import catalogue as c
from baton.domain.metric import Metric
from baton.domain.words import LIVE_SESSION_STATES, TakeoverReason
from baton.observe import promql as q
from baton.observe.promql import Expr, Regex, Scope, Wanted
from baton.observe.rules import Group, Recording
from baton.observe.settings import Settings

#: Reasons for which somebody was lost; the other two are somebody's plan.
UNPLANNED = (
    TakeoverReason.CRASHED,
    TakeoverReason.HEARTBEAT_LOST,
    TakeoverReason.PROGRESS_STALLED,
)
#: Reasons that have a budget.
BUDGETED = (TakeoverReason.CRASHED, TakeoverReason.HEARTBEAT_LOST, TakeoverReason.DRAINED)

#: The graph of threads that somebody's own runtime leases; no worker is to claim those.
EXTERNAL_GRAPH = "external"

#: Names of what is recorded.
LIVE_WORKERS = "pool:langgraph_workers_live:count"
TAKEOVER_BOUND = "le:langgraph_takeover_latency:bound_seconds"
TAKEOVER_BUDGET = "pool_reason:langgraph_takeover_latency:budget_seconds"
TAKEOVER_ALLOWED = "pool_reason_le:langgraph_takeover_latency:within_budget"

#: A factor of the error budget, and the long and short windows that have to burn it so fast
#: (Google's Site Reliability Workbook, chapter 5): 2 % of a month in an hour, 5 % in six; then
#: 10 % in a day, 10 % in three.
FAST_BURN = ((14.4, "1h", "5m"), (6.0, "6h", "30m"))
SLOW_BURN = ((3.0, "1d", "2h"), (1.0, "3d", "6h"))
#: Windows in which takeovers are counted against their budget.
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


def over_budget_record(window: str) -> str:
    """The name of the takeovers that went over budget within a window."""
    return f"pool:langgraph_takeovers_over_budget:increase{window}"


def judged_record(window: str) -> str:
    """The name of the takeovers within a window that have a budget."""
    return f"pool:langgraph_takeovers_budgeted:increase{window}"


@dataclass(frozen=True)
class Terms:
    """The terms of one rendering.

    Attributes:
        settings: what they are rendered from.
        exporter: selects what the exporters serve.
        worker: selects what workers serve themselves.
    """

    settings: Settings
    exporter: Scope = field(init=False)
    worker: Scope = field(init=False)

    def __post_init__(self) -> None:
        """Narrow every selector to the jobs and pools of the settings."""
        regex = self.settings.pool_regex
        pool: dict[str, Wanted] = {} if regex is None else {"pool": Regex(regex)}
        attached = self.settings.fleet_labels
        exporter, worker = self.settings.exporter_job, self.settings.worker_job
        object.__setattr__(self, "exporter", Scope(attached, job=Regex(exporter), **pool))
        object.__setattr__(self, "worker", Scope(attached, job=Regex(worker), **pool))

    @property
    def fleet(self) -> tuple[str, ...]:
        """The labels that tell fleets apart."""
        return self.settings.by_fleet

    @property
    def pool(self) -> tuple[str, ...]:
        """The labels that tell pools apart."""
        return self.settings.by_pool

    @property
    def each(self) -> tuple[str, ...]:
        """The labels that tell workers apart."""
        return self.settings.by_worker

    def fact(self, metric: Metric, by: Iterable[str], **matchers: Wanted) -> Expr:
        """What the exporters say of a metric, told apart by ``by``."""
        return q.largest(self.exporter.series(metric, "", **matchers), by)

    def happened(
        self, metric: Metric, window: str, by: tuple[str, ...], *inner: str, **matchers: Wanted
    ) -> Expr:
        """How often something happened; ``inner`` are labels that are added up."""
        each = q.largest(self.exporter.increase(metric, window, "", **matchers), (*by, *inner))
        return q.total(each, by) if inner else each

    def ttl(self) -> Expr:
        """Each pool's TTL."""
        return self.fact(c.LEASE_TTL, self.pool)

    def interval(self) -> Expr:
        """Each pool's heartbeat interval."""
        return self.fact(c.HEARTBEAT_INTERVAL, self.pool)

    def age(self, metric: Metric, by: Iterable[str]) -> Expr:
        """How long ago a timestamp was at the last scrape, by whoever says the latest."""
        return q.smallest(q.age_at_scrape(self.exporter.series(metric)), by)

    def heartbeat_age(self) -> Expr:
        """How long ago each worker's last heartbeat was."""
        return self.age(c.WORKER_HEARTBEAT_TIMESTAMP, self.each)

    def fresh(self) -> Expr:
        """Workers whose heartbeat is younger than the TTL."""
        return self.heartbeat_age().op("<=", self.ttl(), on=self.pool, many=True)

    def stale(self) -> Expr:
        """Workers that are overdue, unless their pool is known to be whole without them."""
        limit = self.interval() * self.settings.thresholds.heartbeat_stale_intervals
        overdue = self.heartbeat_age().op(">", limit, on=self.pool, many=True)
        whole = self.live().op(">=", self.expected(), on=self.pool)
        return overdue.unless(whole, on=self.pool)

    def alive(self) -> Expr:
        """Workers whose session lives and whose heartbeat is fresh."""
        state = q.largest(self.exporter.state(c.WORKER_STATE, *LIVE_SESSION_STATES), self.each)
        return state.equals(1).where(self.fresh(), on=self.each)

    def live(self) -> Expr:
        """How many workers of each pool are alive, as recorded; 0 for a pool without any."""
        return q.recorded(LIVE_WORKERS, self.pool)

    def expected(self) -> Expr:
        """How many workers the operator said that each pool should have."""
        return self.fact(c.WORKERS_EXPECTED, self.pool)

    def exporter_clock(self) -> Expr:
        """The exporters' clocks less Prometheus's: a heartbeat's time and age make up their now."""
        age = self.exporter.series(c.WORKER_HEARTBEAT_AGE)
        own = self.exporter.series(c.WORKER_HEARTBEAT_TIMESTAMP) + age
        return own - q.call("timestamp", age)

    def over_budget(self, window: str) -> Expr:
        """Takeovers of each pool that went over budget within a window, as recorded."""
        return q.recorded(over_budget_record(window), self.pool)

    def judged(self, window: str) -> Expr:
        """Takeovers of each pool within a window that have a budget, as recorded."""
        return q.recorded(judged_record(window), self.pool)

    def recordings(self) -> tuple[Group, ...]:
        """Every recording rule."""
        return (
            Group(name="baton-fleet-records", rules=(self._live(),)),
            Group(
                name="baton-takeover-records",
                rules=(
                    *self._bounds(),
                    *self._budgets(),
                    self._allowed(),
                    *(rule for window in WINDOWS for rule in self._against_budget(window)),
                ),
            ),
        )

    def _live(self) -> Recording:
        nobody = q.total(self.fact(c.WORKERS, (*self.pool, "state")), self.pool) * 0
        return Recording(
            record=LIVE_WORKERS,
            expr=q.aggregate("count", self.alive(), self.pool).otherwise(nobody),
            meaning="Workers whose session lives and whose heartbeat is younger than the TTL.",
        )

    def _bounds(self) -> Iterable[Recording]:
        """The bounds of the histogram as values: PromQL cannot compare a label with a number."""
        for text in c.TAKEOVER_LATENCY.bounds:
            yield Recording(
                record=TAKEOVER_BOUND,
                expr=Expr(f"vector({text.removesuffix('.0')})"),
                labels=(("le", text),),
                meaning="The upper bound of a bucket of takeover latency.",
            )

    def _budgets(self) -> Iterable[Recording]:
        budgets, ttl = self.settings.budgets, self.ttl()
        seconds = {
            TakeoverReason.HEARTBEAT_LOST: ttl + budgets.heartbeat_lost_beyond_ttl_seconds,
            **{reason: ttl * 0 + fixed for reason, fixed in budgets.fixed().items()},
        }
        for reason in BUDGETED:
            yield Recording(
                record=TAKEOVER_BUDGET,
                expr=seconds[reason],
                labels=(("reason", reason),),
                meaning="How long a takeover may take, by reason; scales with the pool's TTL.",
            )

    def _allowed(self) -> Recording:
        by = (*self.pool, "reason")
        buckets = self.exporter.series(c.TAKEOVER_LATENCY, "_bucket", reason=BUDGETED)
        bound = q.recorded(TAKEOVER_BOUND, ("le",))
        budget = q.recorded(TAKEOVER_BUDGET, by)
        own = (q.largest(buckets, (*by, "le")) * 0).op("+", bound, on=("le",), many=True)
        return Recording(
            record=TAKEOVER_ALLOWED,
            expr=own.op(">=", budget, on=by, many=True),
            meaning="The buckets at or above the budget; the lowest of them counts what kept it.",
        )

    def _against_budget(self, window: str) -> Iterable[Recording]:
        by = (*self.pool, "reason")
        takeovers = c.TAKEOVER_LATENCY
        every = q.largest(self.exporter.increase(takeovers, window, "_count", reason=BUDGETED), by)
        buckets = q.largest(
            self.exporter.increase(takeovers, window, "_bucket", reason=BUDGETED), (*by, "le")
        )
        allowed = q.recorded(TAKEOVER_ALLOWED, (*by, "le"))
        kept = q.smallest(buckets.where(allowed, on=(*by, "le")), by)
        yield Recording(
            record=over_budget_record(window),
            expr=q.total(every - kept, self.pool),
            meaning=f"Takeovers within {window} that took longer than their budget.",
        )
        yield Recording(
            record=judged_record(window),
            expr=q.total(every, self.pool),
            meaning=f"Takeovers within {window} whose reason has a budget.",
        )
