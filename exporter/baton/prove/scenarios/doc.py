"""docs/scenarios.md: the scenarios as a matrix, and what a file may say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from baton.domain.continuity import ASSERTIONS
from baton.fleet.points import Point
from baton.prove.proc.engine import ProcEngine
from baton.prove.scenarios.engines import ENGINES
from baton.prove.scenarios.library import every
from baton.prove.scenarios.model import ALWAYS, GRAPH_NAMES, Do, Fault, Scenario

_HEAD = """\
# Scenarios

Rendered by `baton render` from `scenarios/`; do not edit by hand.

Each scenario breaks a small fleet on purpose at a named point of its life, and says what must
follow. `baton scenario run` performs them all, `baton scenario run K01` one of them, and
`baton scenario run --swarm 100 --out DIR` random ones.

- The engine `sim` performs them in virtual time: production's own worker protocol, driver, saver
  and SQLite store with its SQL, in memory, over connections that fail. LangGraph is played by a
  machine that takes the same super-steps and writes through the fenced saver; tests hold it to what
  LangGraph itself does. The same seed leaves the same bytes. Alerts are not evaluated here.
- The engine `proc` performs them with real worker processes, real signals, LangGraph itself, and a
  SQLite or (`--store postgresql`) a PostgreSQL store. Every worker waits at the points that a
  scenario names until it is told to go on, so the same faults strike at the same points; what the
  kernel does in between is its own affair, and two ledgers are not the same bytes. An outage of the
  PostgreSQL server that `--store postgresql` starts is played on the wire, where a proxy of each
  worker's own cuts its connections, or answers heartbeats or checkpoints as a server does whose
  table is locked; that of another store inside each worker, where its calls are refused. Lost
  answers, slow calls and failed writes are played at the points themselves. An older copy is put
  back under all of them, and an operator accepts it. With `--prometheus`, a real one loads Baton's
  own rules (a minute in them is a third of the TTL), scrapes an exporter and the workers, and the
  alerts and the silence that a scenario expects decide with the rest. Without it they are not
  evaluated. An alert that had to be evaluated and was not makes the scenario INCONCLUSIVE.
- What an engine cannot do is refused aloud with the reason, and never skipped.
- PASS: everything asked for was checked and held. FAIL: something did not. INCONCLUSIVE: a fault
  did not fire, or something asked for had nothing to check. ERROR: the engine failed.
- Every scenario asks for {always}; the column *asserts* has what it asks for besides.
- A **lease word** is the history of a task in letters: `H2` held under epoch 2, `X` its holder was
  lost, `F` it was given back unfinished, `I` it waits for an answer, `Q` put aside, `D` done, `E`
  failed.
"""

_FORMAT = """\
## What a file may say

A file is `scenarios/ID.yaml`. Unknown keys, points, alerts and assertions, and expectations that
nothing could meet, are errors that name the line.

{keys}

A fault has a `name`, what it does (`do`), and when: `at` a point, the `nth` time that its `actor`
arrives there (`holder`, `successor`, `all`, `store` or a worker's name), `after` another fault and
`after_seconds`; `times` repeats it. Faults: {does}. Points: {points}.
"""

#: What each key of a file means.
_KEYS = {
    "`id` `title` `hypothesis` `tags`": (
        "what it is called, what is believed, how it is grouped; `risk` marks what a "
        "release must pass"
    ),
    "`topology.workers`": (
        "a number, or a list of `{name, concurrency, version, joins_after_seconds}`"
    ),
    "`topology.tasks`": f"how many tasks of each graph: {', '.join(GRAPH_NAMES)}",
    "`topology.hosts`": "`shared`: the kernel tells of deaths; `apart`: only silence does",
    "`timing`": (
        "`ttl_seconds` 3, `heartbeat_seconds` 1, `node_seconds` 0.3, `poll_seconds` 0.2, "
        "`drain_timeout_seconds` 5, `answer_after_seconds` 1, `deadline_seconds`, "
        "`limit_seconds` 60, `submit_every_seconds` 0"
    ),
    "`faults`": "a list, see below",
    "`expect.lease`": "lease words by task, or for `every` task; any of a list is right",
    "`expect.takeovers` `refusals` `duplicates`": (
        "a number, or `{at_least, at_most}`: takeovers, refused writes, recognised effects"
    ),
    "`expect.assertions` `must_fire` `alerts` `silent` `quiet_tasks`": (
        "what must hold, which faults must fire (all, unless said), which alerts must and "
        "must not, which tasks nobody may take over"
    ),
    "`expect.bounds`": "`takeover_seconds` by reason, `claims_per_second`, `converge_seconds`",
    "`seed`": "what decides for chance, where the command does not say",
    "`stock`": (
        "a fault of LangGraph that it is about, tried on the stock saver beside it: "
        "`langgraph#8039`, `langgraph#8764`"
    ),
    "`engines`": "`{sim: {no: reason}}` or `proc` where an engine may not perform it",
}


def render_scenarios_doc() -> str:
    """The page."""
    scenarios = every()
    head = _HEAD.format(
        always=", ".join(f"{name} ({ASSERTIONS[name].title.lower()})" for name in ALWAYS)
    )
    form = _FORMAT.format(
        keys="\n".join(["| key | meaning |", "|---|---|", *map(_row, _KEYS.items())]),
        does=", ".join(f"`{do}`" for do in Do),
        points=", ".join(f"`{point}`" for point in Point),
    )
    return "\n".join([head, *_matrix(scenarios), "", *_told(scenarios), form])


def _row(pair: tuple[str, str]) -> str:
    return f"| {pair[0]} | {pair[1]} |"


def _matrix(scenarios: Iterable[Scenario]) -> Iterator[str]:
    yield "## The matrix\n"
    yield "| id | what happens | faults | lease words | asserts | alerts | tags |"
    yield "|---|---|---|---|---|---|---|"
    for one in scenarios:
        expect = one.expect
        alerts = [*expect.alerts, *(f"not {name}" for name in expect.silent)]
        cells = (
            f"[{one.id}](#{one.id.lower()})",
            one.title,
            "; ".join(map(_fault, one.faults)),
            _words(one),
            " ".join(name for name in expect.assertions if name not in ALWAYS),
            ", ".join(alerts) or "-",
            " ".join(one.tags),
        )
        yield f"| {' | '.join(cells)} |"


def _told(scenarios: Iterable[Scenario]) -> Iterator[str]:
    engines = {name: made() for name, made in ENGINES.items()}
    engines["proc --store postgresql"] = ProcEngine("postgresql://")
    for one in scenarios:
        yield f"### {one.id}\n\n{one.title}. {one.hypothesis}"
        for name, engine in engines.items():
            if (why := engine.supports(one)) is not None:
                yield f"\nNot performed by `{name}`: {why}."
        yield ""


def _fault(fault: Fault) -> str:
    nth = f" (time {fault.nth})" if fault.nth > 1 else ""
    when = f" at `{fault.at}`{nth}" if fault.at else f" after {fault.after_seconds:g} s"
    times = f", {fault.times} times" if fault.times > 1 else ""
    lasts = f" for {fault.for_seconds:g} s" if fault.for_seconds is not None else ""
    return f"{fault.do} of {fault.actor}{when}{lasts}{times}"


def _words(scenario: Scenario) -> str:
    found = dict.fromkeys(" or ".join(words) for words in scenario.expect.lease.values())
    return "; ".join(f"`{word}`" for word in found) or "any"
