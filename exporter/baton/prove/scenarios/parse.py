"""Reading a scenario file: strict, and with a mend for whatever is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from baton.domain.continuity.concluding import Range
from baton.domain.words import TakeoverReason
from baton.errors import BadInput
from baton.fleet.messages import WorkerConfig
from baton.fleet.points import Point
from baton.observe.alerts import alert_groups
from baton.observe.rules import Alert
from baton.observe.settings import Settings
from baton.prove.scenarios import model
from baton.prove.scenarios.checks import check
from baton.prove.scenarios.model import (
    ALWAYS,
    ASSERTION_IDS,
    GRAPH_NAMES,
    ROLES,
    Bounds,
    Do,
    Expect,
    Fault,
    Issue,
    Of,
    Scenario,
    Timing,
    Topology,
    Worker,
)
from baton.prove.scenarios.reader import Place, Table, read_yaml

ENGINES = ("sim", "proc")

_NO_WORDS: tuple[str, ...] = ()

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def load(path: Path) -> Scenario:
    """Read one file.

    Args:
        path: the file.

    Raises:
        BadInput: it cannot be read at all.
        BadScenario: something in it is wrong; the message names file, line and mend.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise BadInput(detail=f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(detail=f"{path} is not UTF-8 text (byte {error.start})") from error
    return parse(str(path), text)


def parse(origin: str, text: str) -> Scenario:
    """Read a scenario from a text.

    Args:
        origin: what to call the text in messages.
        text: YAML.

    Raises:
        BadScenario: something in it is wrong; the message names file, line and mend.
    """
    table = read_yaml(origin, text).table()
    topology = _topology(table.need("topology").table())
    places = table.maybe("faults")
    faults = tuple(_fault(place, topology) for place in (places.items() if places else ()))
    scenario = Scenario(
        id=_name(table.need("id")),
        title=table.need("title").text(),
        hypothesis=" ".join(table.need("hypothesis").text().split()),
        tags=table.get("tags", Place.words, _NO_WORDS),
        topology=topology,
        timing=table.get("timing", _timing, Timing()),
        faults=faults,
        expect=_expect(table.need("expect").table(), topology, faults),
        refused_by=table.get("engines", _engines, {}),
        seed=table.get("seed", lambda p: p.count(), None),
        stock=table.get("stock", lambda p: Issue(p.one_of(Issue, "fault of LangGraph")), None),
        origin=origin,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )
    table.end()
    check(scenario, table)
    return scenario


def _name(place: Place) -> str:
    text = place.text()
    if not _NAME.fullmatch(text):
        place.wrong(f"{place.name} {text!r} is no name", "use letters, digits, '.', '_' and '-'")
    return text


def _topology(table: Table) -> Topology:
    place = table.need("workers")
    try:
        number = int(place.node.value) if isinstance(place.node.value, str) else None
    except ValueError:
        number = None
    if number is not None:
        if number < 1:
            place.wrong("there is no worker", "write 1 or more")
        concurrency = table.get("concurrency", lambda p: p.count(1), 1)
        workers = tuple(
            Worker(name=f"w-{n}", concurrency=concurrency) for n in range(1, number + 1)
        )
    else:
        workers = tuple(_worker(item.table()) for item in place.items())
    names = [worker.name for worker in workers]
    if len(set(names)) != len(names) or not names:
        place.wrong("two workers have one name", "give each its own; `twin` makes a second process")
    tasks = table.need("tasks").table()
    counts = {}
    for graph, count in tasks.all().items():
        if graph not in GRAPH_NAMES:
            count.wrong(f"there is no graph {graph!r}", f"choose from {', '.join(GRAPH_NAMES)}")
        counts[graph] = count.count(1)
    hosts = table.get("hosts", lambda p: p.one_of(("shared", "apart"), "kind of hosts"), "shared")
    table.end()
    return Topology(workers=workers, tasks=counts, hosts=hosts)


def _worker(table: Table) -> Worker:
    name = table.need("name")
    if name.text() in ROLES:
        name.wrong(f"{name.text()!r} is a role, no name", "call the worker w-1")
    worker = Worker(
        name=_name(name),
        concurrency=table.get("concurrency", lambda p: p.count(1), 1),
        version=table.get("version", Place.text, ""),
        joins_after_seconds=table.get("joins_after_seconds", Place.seconds, 0.0),
    )
    table.end()
    return worker


def _timing(place: Place) -> Timing:
    table = place.table()
    defaults = Timing()
    found = {
        name: table.get(name, Place.seconds, getattr(defaults, name))
        for name in Timing.__dataclass_fields__
    }
    table.end()
    timing = Timing(**found)
    try:
        WorkerConfig(
            worker_id="w", interval_seconds=timing.heartbeat_seconds, ttl_seconds=timing.ttl_seconds
        )
    except BadInput as error:
        place.wrong("no worker could run like this", str(error))
    return timing


def _fault(place: Place, topology: Topology) -> Fault:
    table = place.table()
    at = table.maybe("at")
    after = table.maybe("after")
    do = Do(table.need("do").one_of(Do, "fault"))
    task = table.maybe("task")
    if task is not None:
        task.one_of(topology.task_ids, "task of this scenario")
    actor = table.maybe("actor")
    if actor is not None:
        actor.one_of((*ROLES, *topology.worker_names), "role, and no worker of this scenario")
    fault = Fault(
        name=_name(table.need("name")),
        do=do,
        actor=actor.text() if actor else model.HOLDER,
        at=None if at is None else Point(at.one_of(Point, "point")),
        nth=table.get("nth", lambda p: p.count(1), 1),
        times=table.get("times", lambda p: p.count(1), 1),
        task=None if task is None else task.text(),
        after=None if after is None else after.text(),
        after_seconds=table.get("after_seconds", Place.seconds, 0.0),
        for_seconds=table.get("for_seconds", lambda p: p.seconds(), None),
        of=Of(table.get("of", lambda p: p.one_of(Of, "kind of call"), Of.EVERYTHING.value)),
        seconds=table.get("seconds", Place.number, 0.0),
        rate=table.get("rate", Place.number, 1.0),
        parties=table.get("parties", lambda p: p.count(2), 2),
        back_after_seconds=table.get("back_after_seconds", lambda p: p.seconds(), None),
        line=place.line,
    )
    table.end()
    return fault


def _engines(place: Place) -> Mapping[str, str]:
    table = place.table()
    refused = {}
    for engine in ENGINES:
        said = table.maybe(engine)
        if said is None:
            continue
        if hasattr(said.node, "value") and isinstance(said.node.value, str):
            if not said.yes():
                said.wrong(f"{engine} is refused without a reason", 'write {no: "the reason"}')
            continue
        reason = said.table()
        refused[engine] = reason.need("no").text()
        reason.end()
    table.end()
    if len(refused) == len(ENGINES):
        place.wrong("no engine may perform it", "leave at least one")
    return refused


def _expect(table: Table, topology: Topology, faults: Iterable[Fault]) -> Expect:
    tasks = topology.task_ids
    lease: dict[str, tuple[str, ...]] = {}
    if (place := table.maybe("lease")) is not None:
        for task, words in place.table().all().items():
            if task != "every" and task not in tasks:
                words.wrong(f"there is no task {task!r}", f"choose from every, {', '.join(tasks)}")
            lease |= dict.fromkeys(tasks if task == "every" else (task,), words.words())
    asked = table.get("assertions", lambda p: p.words(ASSERTION_IDS, "assertion"), _NO_WORDS)
    alerts = alert_names()
    expect = Expect(
        lease=lease,
        takeovers=table.get("takeovers", _range, Range()),
        refusals=table.get("refusals", _range, Range()),
        duplicates=table.get("duplicates", _range, Range()),
        assertions=tuple(name for name in ASSERTION_IDS if name in {*ALWAYS, *asked}),
        must_fire=table.get(
            "must_fire",
            lambda p: p.words([fault.name for fault in faults], "fault of this scenario"),
            tuple(fault.name for fault in faults),
        ),
        alerts=table.get("alerts", lambda p: p.words(alerts, "alert"), _NO_WORDS),
        silent=table.get("silent", lambda p: p.words(alerts, "alert"), _NO_WORDS),
        quiet_tasks=table.get("quiet_tasks", lambda p: p.words(tasks, "task"), _NO_WORDS),
        bounds=table.get("bounds", _bounds, Bounds()),
    )
    table.end()
    return expect


@cache
def alert_names() -> tuple[str, ...]:
    """Every alert there is, in the order of the rules."""
    groups = alert_groups(Settings())
    return tuple(rule.name for group in groups for rule in group.rules if isinstance(rule, Alert))


def _range(place: Place) -> Range:
    """``2`` for exactly two, or a mapping of ``at_least`` and ``at_most``."""
    if not hasattr(place.node, "value") or isinstance(place.node.value, str):
        count = place.count()
        return Range(at_least=count, at_most=count)
    table = place.table()
    found = Range(
        at_least=table.get("at_least", Place.count, 0),
        at_most=table.get("at_most", lambda p: p.count(), None),
    )
    table.end()
    if found.at_most is not None and found.at_most < found.at_least:
        place.wrong(f"{place.name} is {found}, which nothing is", "swap at_least and at_most")
    return found


def _bounds(place: Place) -> Bounds:
    table = place.table()
    takeover: dict[str, float] = {}
    if (times := table.maybe("takeover_seconds")) is not None:
        for reason, value in times.table().all().items():
            if reason not in set(TakeoverReason):
                known = ", ".join(TakeoverReason)
                value.wrong(f"{reason!r} is no takeover reason", f"choose from {known}")
            takeover[reason] = value.seconds()
    bounds = Bounds(
        takeover_seconds=takeover,
        claims_per_second=table.get("claims_per_second", lambda p: p.count(1), None),
        converge_seconds=table.get("converge_seconds", lambda p: p.seconds(), None),
    )
    table.end()
    return bounds
