"""What a scrape says of a store: driven through a small story, then looked at from every side."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import threading
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.house import SECOND, TTL_SECONDS, House, ManualClock, Member, numbered

from baton.domain import catalogue as c
from baton.domain.continuity import LEDGER_ONLY
from baton.domain.metric import Metric, Source
from baton.domain.words import Evidence, TakeoverOutcome
from baton.errors import LeaseLost, StoreError
from baton.fleet.fleet import package_version
from baton.fleet.model import Checkpoint, Claim, SessionSpec
from baton.fleet.store import memory_store
from baton.observe import tail as tail_module
from baton.observe.collector import StoreCollector
from baton.observe.exposition import HistogramPoint, Snapshot, render
from baton.observe.tail import LedgerTail

GOLDEN = Path(__file__).with_name("scrape.golden.txt")
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def collector(house: House, expect: dict[str, int] | None = None, **more: float) -> StoreCollector:
    """A collector whose own stopwatch stands still."""
    return StoreCollector(house.store, expect, monotonic=lambda: 0.0, **more)


def values(snapshot: Snapshot, metric: Metric) -> dict[tuple[str, ...], object]:
    """The series of a metric, a label on its own where there is but one."""
    return {point.labels: point.value for point in snapshot.get(metric, ())}


def value(snapshot: Snapshot, metric: Metric, *labels: str) -> object:
    """One series, or None where there is none."""
    return values(snapshot, metric).get(labels)


def count(snapshot: Snapshot, metric: Metric, *labels: str) -> tuple[int, float]:
    """How many observations a histogram has, and their sum."""
    found = value(snapshot, metric, *labels)
    assert isinstance(found, HistogramPoint)
    return sum(found.counts), found.sum


def start(house: House, worker_id: str, **fields: object) -> Member:
    """A session with more said about it than most tests need."""
    spec = SessionSpec(
        **{
            "session_id": f"s-{worker_id}",
            "worker_id": worker_id,
            "pool": "default",
            "kind": "worker",
            "interval_us": 5 * SECOND,
            "ttl_us": 15 * SECOND,
            "concurrency": 2,
            "graphs": ("poison", "review"),
            "version": "1.2.0",
            "host": "alpha",
            **fields,
        }  # type: ignore[arg-type]
    )
    house.store.start_session(spec)
    return Member(house.store, spec)


def claim(member: Member, graph: str = "review") -> Claim:
    """Claim one task of a graph."""
    return member.claim(graphs=(graph,))


def step(member: Member, held: Claim, number: int = 0) -> str:
    """Make a super-step durable, as the child of the one before it."""
    step_id = f"{held.task_id}-{number}"
    parent_id = f"{held.task_id}-{number - 1}" if number else None
    about = ("loop", "null", b"blob", b"{}", hashlib.sha256(b"blob").hexdigest())
    checkpoint = Checkpoint("", step_id, parent_id, number, *about)
    member.store.data.put(held.key, held.run_id, member.worker_id, checkpoint)
    return step_id


def refuse(house: House, member: Member, old: Claim) -> None:
    """A superseded holder tries to write."""
    with pytest.raises(LeaseLost):
        step(member, old, 2)
    house.store.refused(old.key)


def story(house: House, clock: ManualClock) -> None:
    """A morning in a small fleet.

    A worker dies in the middle of a task and comes back as a stranger to it; another takes over
    within half a second. One task waits for an answer, one has taken three workers with it, one
    belongs to somebody's own runtime, one has a silent holder, and one was released and waits.
    """
    one = start(house, "w-1", metrics_address="alpha:9465")
    two = start(house, "w-2", host="beta", metrics_address="beta:9465")
    for task_id in ("t-1", "t-2", "t-3"):
        house.submit(task_id, graph="review")
    clock.forward(1)
    held = claim(one)
    step(one, held)
    clock.forward(2)
    last = step(one, held, 1)
    clock.forward(0.5)
    house.bury(one)
    clock.forward(0.25)
    taken = claim(two)
    clock.forward(0.125)
    house.store.resumed(taken, "w-2", TakeoverOutcome.RESUMED, last)
    clock.forward(1.5)
    step(two, taken, 2)
    refuse(house, one, held)
    house.store.record_effect(taken, "w-2", "key-1", "t-1-2", ("json", b"1"))
    house.store.effect(taken, "w-2", "key-1", "t-1-2")
    two.done(taken)
    asked = claim(two)
    step(two, asked)
    two.interrupted(asked)
    put_aside(house, clock, two)
    app = start(house, "app-1", pool="app", kind="embedded", concurrency=0, graphs=())
    lent = app.lease("thread-42")
    step(app, lent)
    left = claim(two)
    step(two, left)
    two.drained(left)
    silent = start(house, "w-3", graphs=("nightly",), host="gamma")
    house.submit("n-1", graph="nightly")
    claim(silent, "nightly")
    clock.forward(TTL_SECONDS + 5)
    two.beat()
    app.beat()
    house.submit("t-4", graph="review")
    clock.forward(0.5)


def put_aside(house: House, clock: ManualClock, two: Member) -> None:
    """A task of which three workers die, one after the other."""
    house.submit("p-1", graph="poison")
    for number in range(3):
        victim = start(house, "w-9", session_id=f"s-w-9-{number}", host="gamma")
        claim(victim, "poison")
        clock.forward(1)
        house.bury(victim, Evidence.FLOCK)
        clock.forward(0.25)
    assert two.claims(graphs=("poison",)).quarantined == ("p-1",)


def told(house_and_clock: tuple[House, ManualClock]) -> Snapshot:
    """What a scrape says at the end of the story."""
    story(*house_and_clock)
    return collector(house_and_clock[0], {"default": 3}).collect()


def test_the_scrape_of_the_story_is_known_by_heart(
    house_and_clock: tuple[House, ManualClock],
) -> None:
    """Every byte is as it was; a change of the scrape is a change of the contract.

    ``UPDATE_GOLDEN=1`` writes the file anew, for a reader to compare.
    """
    text = render(told(house_and_clock), OPENMETRICS)[0].decode()
    for name, told_of in (("version", package_version()), ("python", platform.python_version())):
        text = text.replace(f'{name}="{told_of}",contract', f'{name}="X",contract')
        text = text.replace(f'{name}="{told_of}",store', f'{name}="X",store')
    if "UPDATE_GOLDEN" in os.environ:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_story_is_told_whole(house_and_clock: tuple[House, ManualClock]) -> None:
    """Each metric that the exporter serves has a series, so the golden scrape covers it."""
    served = {metric for metric, points in told(house_and_clock).items() if list(points)}
    assert {metric for metric in c.CATALOGUE if metric.source is Source.EXPORTER} == served


def test_strict_parsers_accept_the_scrape(
    house_and_clock: tuple[House, ManualClock], promtool: str
) -> None:
    """OpenMetrics reads it back with exemplars; Prometheus' own linter has nothing to say."""
    snapshot = told(house_and_clock)
    families = {
        family.name: family
        for family in text_string_to_metric_families(render(snapshot, OPENMETRICS)[0].decode())
    }
    exemplars = [s.exemplar for s in families[c.TAKEOVER_LATENCY.name].samples if s.exemplar]
    assert [exemplar.labels["task_id"] for exemplar in exemplars] == ["t-1"]
    linted = subprocess.run(
        [promtool, "check", "metrics"],
        input=render(snapshot)[0],
        capture_output=True,
        check=False,
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, b"", b"")


def test_sessions_of_the_story(house_and_clock: tuple[House, ManualClock]) -> None:
    """Workers by their newest session, also the dead one, the silent one and the borrowed one."""
    found = told(house_and_clock)
    assert values(found, c.WORKER_STATE) == {
        ("app-1", "app"): "busy",
        ("w-1", "default"): "lost",
        ("w-2", "default"): "idle",
        ("w-3", "default"): "busy",
        ("w-9", "default"): "lost",
    }
    assert values(found, c.WORKER_HEARTBEAT_FRESHNESS) == {
        ("app-1", "app"): "running",
        ("w-1", "default"): "stale",
        ("w-2", "default"): "running",
        ("w-3", "default"): "stale",
        ("w-9", "default"): "stale",
    }
    assert value(found, c.WORKERS, "default", "idle") == 1
    assert value(found, c.WORKERS, "default", "lost") == 2
    assert value(found, c.WORKERS_EXPECTED, "default") == 3
    assert value(found, c.WORKER_HEARTBEAT_AGE, "w-2", "default") == 0.5
    assert value(found, c.WORKER_LEASES, "app-1", "app") == 1
    assert value(found, c.WORKER_SLOTS, "w-2", "default") == 2


def test_takeovers_of_the_story(house_and_clock: tuple[House, ManualClock]) -> None:
    """The crash was seen at once, claimed a quarter second later, and restored in an eighth."""
    found = told(house_and_clock)
    # The last sign of life was the write half a second before the loss.
    assert count(found, c.TAKEOVER_LATENCY, "default", "crashed") == (1, 0.875)
    phases = {"detect": 0.5, "claim": 0.25, "restore": 0.125, "progress": 1.5}
    for phase, seconds in phases.items():
        assert count(found, c.TAKEOVER_PHASE, "default", phase, "crashed") == (1, seconds)
    assert value(found, c.TAKEOVERS, "default", "crashed", "resumed") == 1
    assert value(found, c.TAKEOVERS, "default", "crashed", "abandoned") == 2
    assert value(found, c.TAKEOVERS, "default", "crashed", "restarted") == 0
    assert value(found, c.WRITES_REFUSED, "default") == 1
    assert value(found, c.STEPS_REPLAYED, "default") == 1
    assert values(found, c.TAKEOVERS_PENDING) == {
        ("app",): 0,
        ("default",): 1,
    }
    assert set(values(found, c.TAKEOVER_OLDEST_PENDING_TIMESTAMP)) == {("default",)}


def test_leases_of_the_story(
    house_and_clock: tuple[House, ManualClock], clock: ManualClock
) -> None:
    """A silent holder's lease is expired since its TTL, and nobody else's is."""
    found = told(house_and_clock)
    assert value(found, c.LEASES, "default", "expired") == 1
    assert value(found, c.LEASES, "app", "active") == 1
    assert value(found, c.LEASES, "default", "active") == 0
    expired_at = (clock.wall_us() - round(5.5 * SECOND)) / 1e6
    assert values(found, c.LEASE_OLDEST_EXPIRED_TIMESTAMP) == {("default",): expired_at}
    assert values(found, c.LEASE_EXPIRY_TIMESTAMP) == {
        ("app-1", "app"): (clock.wall_us() + round(14.5 * SECOND)) / 1e6,
        ("w-3", "default"): expired_at,
    }


def test_tasks_of_the_story(house_and_clock: tuple[House, ManualClock], clock: ManualClock) -> None:
    """Tasks are where the story left them, and graphs that a worker serves are known at 0."""
    found = told(house_and_clock)
    states = {labels[1:]: number for labels, number in values(found, c.TASKS).items() if number}
    assert states == {
        ("review", "done"): 1,
        ("review", "interrupted"): 1,
        ("review", "pending"): 2,
        ("poison", "quarantined"): 1,
        ("external", "active"): 1,
        ("nightly", "active"): 1,
    }
    assert value(found, c.TASKS, "default", "poison", "failed") == 0
    waited = (clock.wall_us() - round(20.5 * SECOND)) / 1e6
    assert values(found, c.QUEUE_OLDEST_PENDING_TIMESTAMP) == {("default",): waited}


def test_the_same_store_gives_the_same_bytes(
    house_and_clock: tuple[House, ManualClock],
) -> None:
    """An exporter that starts again says what the old one said."""
    story(*house_and_clock)
    old = collector(house_and_clock[0])
    first = render(old.collect(), OPENMETRICS)
    assert render(old.collect(), OPENMETRICS) == first
    assert render(collector(house_and_clock[0]).collect(), OPENMETRICS) == first


# From the first moment


def test_counts_are_known_before_anything_happens(house: House) -> None:
    """The first increment is visible only to whoever has seen the 0 before it."""
    found = collector(house, {"default": 2}).collect()
    assert value(found, c.SOURCE_UP) == 1
    assert value(found, c.WORKERS, "default", "lost") == 0
    assert value(found, c.LEASES, "default", "expired") == 0
    assert value(found, c.TAKEOVERS_PENDING, "default") == 0
    assert value(found, c.WRITES_REFUSED, "default") == 0
    assert value(found, c.TAKEOVERS, "default", "crashed", "resumed") == 0
    assert count(found, c.TAKEOVER_LATENCY, "default", "crashed") == (0, 0)
    assert value(found, c.EVENTS, "claimed") == 0
    assert value(found, c.COLLECTOR_ERRORS, "ledger") == 0
    assert set(values(found, c.DIAGNOSTICS_INVALID).values()) == {0}


def test_a_timestamp_with_nothing_to_date_is_absent(house: House) -> None:
    """Absence can be alerted on; 1970 or now would be a lie."""
    found = collector(house, {"default": 2}).collect()
    dated = {metric for metric in found if metric.name.endswith("_timestamp_seconds")}
    assert [values(found, metric) for metric in dated] == [{}] * len(dated)


def test_a_graph_that_a_worker_serves_is_known_without_tasks(house: House) -> None:
    """The first task of a graph is an increase, not a series out of nowhere."""
    start(house, "w-1", graphs=("review",))
    found = collector(house).collect()
    assert value(found, c.TASKS, "default", "review", "failed") == 0
    assert value(found, c.RUNS, "default", "review", "failed") == 0
    assert value(found, c.STEPS, "default", "review") == 0


# Sessions


def test_a_worker_shows_its_newest_session(house: House, clock: ManualClock) -> None:
    """A worker that came back is not dead, whatever its earlier session was."""
    house.bury(start(house, "w-1"))
    clock.forward(1)
    start(house, "w-1", session_id="s-new", concurrency=7)
    found = collector(house).collect()
    assert values(found, c.WORKER_STATE) == {("w-1", "default"): "idle"}
    assert value(found, c.WORKERS, "default", "lost") == 0
    assert value(found, c.WORKER_SLOTS, "w-1", "default") == 7


def test_states_come_from_the_row_and_from_the_leases(house: House) -> None:
    """Busy is a matter of what is held; draining and stopped are what the session says."""
    members = [start(house, f"w-{n}") for n in range(4)]
    house.submit(graph="review")
    claim(members[0])
    house.store.drain_session(members[2].id, "w-2")
    members[3].stop()
    found = collector(house).collect()
    states = [value(found, c.WORKER_STATE, f"w-{n}", "default") for n in range(4)]
    assert states == ["busy", "idle", "draining", "stopped"]
    assert value(found, c.WORKERS, "default", "busy") == 1


def test_a_dead_worker_is_shown_for_a_day(house: House, clock: ManualClock) -> None:
    """Its series outlive every alert; then they end."""
    start(house, "w-1")
    house.bury(start(house, "w-2"))
    clock.forward(24 * 3600 - 1)
    assert value(collector(house).collect(), c.WORKER_STATE, "w-2", "default") == "lost"
    assert value(collector(house).collect(), c.WORKER_HEARTBEAT_AGE, "w-2", "default") == 86_399
    clock.forward(2)
    found = collector(house).collect()
    assert set(values(found, c.WORKER_STATE)) == {("w-1", "default")}
    shorter = collector(house, retention_seconds=3 * 24 * 3600.0).collect()
    assert value(shorter, c.WORKER_STATE, "w-2", "default") == "lost"


def test_a_stopped_worker_owes_no_heartbeat(house: House, clock: ManualClock) -> None:
    """An alert on old heartbeats must not fire for whoever left in good order."""
    start(house, "w-1").stop()
    house.bury(start(house, "w-2"))
    clock.forward(60)
    found = collector(house).collect()
    for metric in (
        c.WORKER_HEARTBEAT_AGE,
        c.WORKER_HEARTBEAT_TIMESTAMP,
        c.WORKER_HEARTBEAT_FRESHNESS,
    ):
        assert set(values(found, metric)) == {("w-2", "default")}


def test_timestamps_are_the_scrapes_own_time_less_an_age(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wall clock that steps, here or at a worker, moves no age."""
    start(house, "w-1")
    clock.forward(7)
    monkeypatch.setattr(clock, "wall_us", lambda: 2_000_000_000 * SECOND)
    found = collector(house).collect()
    assert value(found, c.WORKER_HEARTBEAT_AGE, "w-1", "default") == 7
    assert value(found, c.WORKER_HEARTBEAT_TIMESTAMP, "w-1", "default") == 1_999_999_993


def test_settings_are_those_of_the_living(house: House) -> None:
    """A dead worker's odd settings count only in a pool where nobody lives."""
    start(house, "w-1", ttl_us=15 * SECOND, interval_us=5 * SECOND)
    house.bury(start(house, "w-2", ttl_us=600 * SECOND, interval_us=100 * SECOND))
    house.bury(start(house, "w-3", pool="gone", ttl_us=30 * SECOND))
    found = collector(house).collect()
    assert values(found, c.LEASE_TTL) == {("default",): 15, ("gone",): 30}
    assert value(found, c.HEARTBEAT_INTERVAL, "default") == 5


# Leases


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "active"), (9.9, "active"), (10, "warning"), (15, "expired")]
)
def test_a_lease_is_as_fresh_as_its_session(
    house: House, clock: ManualClock, seconds: float, state: str
) -> None:
    """It has no clock of its own."""
    member = start(house, "w-1")
    house.submit(graph="review")
    claim(member)
    clock.forward(seconds)
    found = collector(house).collect()
    held = {k: v for k, v in values(found, c.LEASES).items() if v}
    assert held == {("default", state): 1}
    assert bool(values(found, c.LEASE_OLDEST_EXPIRED_TIMESTAMP)) == (state == "expired")


def test_a_crash_makes_a_pending_takeover_at_once(house: House, clock: ManualClock) -> None:
    """It waits since the last sign of life, also while no worker is there to claim it."""
    member = start(house, "w-1")
    house.submit(graph="review")
    claim(member)
    clock.forward(2)
    house.bury(member)
    clock.forward(3)
    found = collector(house).collect()
    assert value(found, c.TAKEOVERS_PENDING, "default") == 1
    last_sign = (clock.wall_us() - 5 * SECOND) / 1e6
    assert values(found, c.TAKEOVER_OLDEST_PENDING_TIMESTAMP) == {("default",): last_sign}
    lost = (clock.wall_us() - 3 * SECOND) / 1e6
    assert values(found, c.LEASE_OLDEST_EXPIRED_TIMESTAMP) == {("default",): lost}


def test_a_lease_in_somebodys_own_runtime_is_no_pending_takeover(house: House) -> None:
    """No worker will ever claim it, so nobody should be woken for it."""
    app = start(house, "app-1", kind="embedded")
    app.lease("thread-1")
    house.bury(app)
    found = collector(house).collect()
    assert value(found, c.TAKEOVERS_PENDING, "default") == 0
    assert value(found, c.LEASES, "default", "expired") == 1


def test_an_expired_lease_of_somebodys_own_runtime_calls_nobody(
    house: House, clock: ManualClock
) -> None:
    """It shows as expired, and has no date to be alerted on: no worker is to take it."""
    start(house, "app-1", kind="embedded").lease("thread-1")
    clock.forward(60)
    found = collector(house).collect()
    assert value(found, c.LEASES, "default", "expired") == 1
    assert values(found, c.LEASE_OLDEST_EXPIRED_TIMESTAMP) == {}


def test_a_lease_outlives_the_memory_of_its_session(house: House, clock: ManualClock) -> None:
    """A task that nobody took over in days is still counted, and dated."""
    member = start(house, "w-1")
    house.submit(graph="review")
    claim(member)
    house.bury(member)
    clock.forward(3 * 24 * 3600)
    found = collector(house).collect()
    assert values(found, c.WORKER_STATE) == {}
    assert value(found, c.LEASES, "default", "expired") == 1
    assert value(found, c.TAKEOVERS_PENDING, "default") == 1
    assert set(values(found, c.TAKEOVER_OLDEST_PENDING_TIMESTAMP)) == {("default",)}


# The ledger


def backlog(house: House, tasks: int) -> None:
    """More events than one page holds."""
    for number in range(tasks):
        house.submit(f"t-{number}", graph="review")


def test_a_backlog_is_read_in_pieces_and_served_whole(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scrape never hangs on it; counters that rose from 0 would look like news."""
    monkeypatch.setattr(tail_module, "PAGE_EVENTS", 4)
    backlog(house, 10)
    clock.forward(9)
    hurried = StoreCollector(house.store, budget_seconds=0.0)
    for lag in (9.0, 9.0):
        found = hurried.collect()
        assert value(found, c.LEDGER_TAIL_LAG) == lag
        assert c.EVENTS not in found
        assert not hurried.ready()
        assert value(found, c.TASKS, "default", "review", "pending") == 10
        assert value(found, c.COLLECTOR_SUCCESS, "ledger") == 1
    found = hurried.collect()
    assert value(found, c.LEDGER_TAIL_LAG) == 0
    assert value(found, c.EVENTS, "submitted") == 10
    assert hurried.ready()


def test_what_is_late_once_the_ledger_was_read_is_lag(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on counters only fall behind, and say by how much."""
    monkeypatch.setattr(tail_module, "PAGE_EVENTS", 4)
    hurried = StoreCollector(house.store, budget_seconds=0.0)
    hurried.collect()
    backlog(house, 6)
    clock.forward(2)
    found = hurried.collect()
    assert (value(found, c.EVENTS, "submitted"), value(found, c.LEDGER_TAIL_LAG)) == (4, 2)
    found = hurried.collect()
    assert (value(found, c.EVENTS, "submitted"), value(found, c.LEDGER_TAIL_LAG)) == (6, 0)


def test_the_time_of_a_scrape_is_spent_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are read until the budget is used up."""
    monkeypatch.setattr(tail_module, "PAGE_EVENTS", 2)
    backlog(house, 100)
    ticks = iter(range(10_000))
    patient = StoreCollector(house.store, budget_seconds=10, monotonic=lambda: float(next(ticks)))
    patient.collect()
    patient.collect()
    assert not patient.ready()
    patient.catch_up()
    assert patient.ready()


def test_a_scrape_gets_its_turn_while_the_ledger_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a long ledger takes minutes, and a scrape must not wait for all of them."""
    monkeypatch.setattr(tail_module, "PAGE_EVENTS", 1)
    backlog(house, 1000)
    reading = StoreCollector(house.store, budget_seconds=0.0)
    stop = threading.Event()
    reader = threading.Thread(target=reading.catch_up, args=(stop.is_set,))
    reader.start()
    try:
        assert value(reading.collect(), c.SOURCE_UP) == 1
        assert not reading.ready(), "the scrape came back after the whole ledger was read"
    finally:
        stop.set()
        reader.join()


def test_catching_up_ends_when_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter stops at once, also in the middle of a long ledger."""
    monkeypatch.setattr(tail_module, "PAGE_EVENTS", 1)
    backlog(house, 3)
    reading = collector(house)
    reading.catch_up(lambda: True)
    assert not reading.ready()


def test_an_edited_ledger_is_a_finding_and_no_failure(house: House, clock: ManualClock) -> None:
    """Whatever was written over, the scrape goes on and says so."""
    story(house, clock)
    edits = {
        "payload = '{'": "seq % 5 = 0",
        "type = 'nonsense'": "seq % 7 = 0",
        "task_id = NULL, session_id = NULL": "seq % 3 = 0",
    }
    with house.store.data.write() as write:
        for change, where in edits.items():
            write.cursor.execute(f"UPDATE baton_event SET {change} WHERE {where}")  # noqa: S608
    found = collector(house).collect()
    assert value(found, c.COLLECTOR_SUCCESS, "ledger") == 1
    assert value(found, c.DIAGNOSTICS_INVALID, "hash_mismatch") > 0  # type: ignore[operator]
    assert value(found, c.CONTINUITY_VIOLATIONS, "C10") > 0  # type: ignore[operator]
    with house.store.data.write() as write:
        write.cursor.execute("DELETE FROM baton_event")


def test_a_violation_is_counted_once_and_by_its_assertion(house: House, clock: ManualClock) -> None:
    """Each event is judged once: another scrape adds nothing, whatever the history."""
    story(house, clock)
    exporter = collector(house)
    assert set(values(exporter.collect(), c.CONTINUITY_VIOLATIONS)) == {(i,) for i in LEDGER_ONLY}
    assert set(values(exporter.collect(), c.CONTINUITY_VIOLATIONS).values()) == {0}
    with house.store.data.write() as write:
        write.cursor.execute("UPDATE baton_event SET session_id = 'zombie' WHERE type = 'step'")
    exporter = collector(house)
    first = values(exporter.collect(), c.CONTINUITY_VIOLATIONS)
    assert first["C3",] > 0  # type: ignore[operator]
    assert first["C6",] == 0
    assert values(exporter.collect(), c.CONTINUITY_VIOLATIONS) == first
    with house.store.data.write() as write:
        write.cursor.execute("DELETE FROM baton_event")


def test_another_ledger_under_the_same_name_is_counted_from_its_beginning(
    house: House, clock: ManualClock
) -> None:
    """Going on at the same position would count what never happened together."""
    tail = LedgerTail()
    story(house, clock)
    while tail.advance(house.store):
        pass
    other = memory_store(clock, numbered("other"))
    other.submit("t-9", graph="g", pool="default", input_=("json", b"1"), input_digest="d")
    assert not tail.advance(other)
    counted = tail.snapshot(other, [], [])
    assert value(counted, c.EVENTS, "submitted") == 1
    assert value(counted, c.EVENTS, "claimed") == 0
    other.close()


# When something fails


class Broken(Exception):
    """Not one of Baton's own."""


def test_a_part_that_fails_costs_its_own_series(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are served; the failure is logged once, counted each time, and passes."""
    start(house, "w-1")
    watched = collector(house)

    def fail() -> list[object]:
        raise Broken("no idea")

    with monkeypatch.context() as broken:
        broken.setattr(house.store, "oldest_pending", fail)
        for errors in (1, 2):
            found = watched.collect()
            assert value(found, c.SOURCE_UP) == 1
            assert value(found, c.COLLECTOR_SUCCESS, "tasks") == 0
            assert value(found, c.COLLECTOR_SUCCESS, "sessions") == 1
            assert value(found, c.COLLECTOR_ERRORS, "tasks") == errors
            assert c.TASKS not in found
            assert value(found, c.WORKER_STATE, "w-1", "default") == "idle"
    assert value(watched.collect(), c.COLLECTOR_SUCCESS, "tasks") == 1
    assert [record.getMessage() for record in caplog.records] == [
        "collector tasks fails; it is logged again once it works",
        "collector tasks works again",
    ]


def test_without_its_source_a_scrape_says_only_what_it_knows_itself(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State and counters are withdrawn together, and come back as they were."""
    story(house, clock)
    watched = collector(house, {"default": 3})
    before = watched.collect()

    def fail() -> list[object]:
        raise StoreError(url=house.store.url, detail="disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(house.store, "counts", fail)
        found = watched.collect()
    assert value(found, c.SOURCE_UP) == 0
    assert set(found) == {
        c.SOURCE_UP,
        c.BUILD_INFO,
        c.WORKERS_EXPECTED,
        c.COLLECTOR_SUCCESS,
        c.COLLECTOR_DURATION,
        c.COLLECTOR_ERRORS,
    }
    assert set(values(found, c.COLLECTOR_SUCCESS).values()) == {0}
    assert set(values(found, c.COLLECTOR_ERRORS).values()) == {1}
    after = watched.collect()
    assert value(after, c.SOURCE_UP) == 1
    for metric in (c.WORKER_STATE, c.EVENTS, c.TAKEOVERS):
        assert values(after, metric) == values(before, metric)


# Service discovery


def test_workers_that_serve_metrics_are_found(house: House, clock: ManualClock) -> None:
    """Each once, by the name it has and not by its address; the dead are left out."""
    start(house, "w-1", metrics_address="alpha:1")
    clock.forward(1)
    start(house, "w-1", session_id="s-again", metrics_address="alpha:2")
    start(house, "w-2", pool="batch", metrics_address="alpha:3")
    start(house, "w-3")
    house.bury(start(house, "w-4", metrics_address="alpha:4"))
    assert collector(house).targets() == [
        {"targets": ["alpha:2"], "labels": {"worker": "w-1", "pool": "default"}},
        {"targets": ["alpha:3"], "labels": {"worker": "w-2", "pool": "batch"}},
    ]
