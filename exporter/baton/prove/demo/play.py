"""`baton demo` from its options to its exit code: set the stage, play, judge, clean up."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, TextIO

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

from baton.errors import BadInput
from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.fleet.store import Store, new_id
from baton.prove.demo import prometheus as prom
from baton.prove.demo import review_graph
from baton.prove.demo.cast import Cast
from baton.prove.demo.folder import Folder
from baton.prove.demo.library import choose, parsed
from baton.prove.demo.picture import Scenery
from baton.prove.demo.screen import style_of
from baton.prove.demo.show import Show
from baton.prove.demo.sink import Sink
from baton.prove.demo.stage import Interrupted, Interrupts, Settings, Stage
from baton.prove.demo.story import ACTS, Story
from baton.prove.demo.summary import Summary
from baton.prove.demo.verdict import Evidence, Outcome, judge
from baton.prove.demo.view import View, task_name
from baton.prove.local_postgres import local_postgres

#: Tells the demo's own processes from all others, in /proc/PID/environ.
MARK_VARIABLE = "BATON_DEMO"

#: What ``--store`` takes for a store of the demo's own.
OWN_STORES = ("sqlite", "postgresql")
#: The pool in a store of the demo's own.
OWN_POOL = "demo"
WORKERS_MIN = 2
WORKERS_MAX = 16
_PROMETHEUS_SECONDS = 15.0
_SIGNALLED = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the demo is asked for.

    Attributes:
        once: end after the verdict.
        store: ``sqlite`` or ``postgresql`` for one of the demo's own, or the URL of a store.
        out: a new or empty folder to keep everything in; None for a temporary one.
        as_json: the summary goes to standard output as JSON, everything else to standard error.
    """

    once: bool = False
    store: str = "sqlite"
    workers: int = 4
    tasks: int = 12
    out: Path | None = None
    as_json: bool = False


def perform(options: Options) -> int:
    """Play the demo.

    Returns:
        0 when everything holds, 1 when continuity was violated, 2 when that could not be told,
        and 128 and the signal's number when it was asked to end before that.

    Raises:
        BatonError: an option cannot be used, or the fleet cannot be started.
    """
    if not WORKERS_MIN <= options.workers <= WORKERS_MAX:
        detail = f"--workers {options.workers}: from {WORKERS_MIN}, as somebody has to take over,"
        raise BadInput(detail=f"{detail} to {WORKERS_MAX}")
    if options.tasks < ACTS:
        raise BadInput(detail=f"--tasks {options.tasks}: each of the {ACTS} acts needs one")
    modules = choose(options.tasks)
    with (
        Interrupts() as interrupts,
        Folder(options.out) as folder,
        _store(options.store, folder.path) as url,
    ):
        settings = _settings(options, folder.path, url)
        with open_fleet(url, ttl_seconds=settings.ttl_seconds) as fleet:
            return _on_stage(options, settings, fleet, folder, interrupts, modules)


@contextmanager
def _store(wanted: str, folder: Path) -> Iterator[str]:
    """The URL of the store that is wanted, for as long as the demo needs it."""
    if wanted == "postgresql":
        with local_postgres() as url:
            yield url
    else:
        yield f"sqlite:///{folder / 'fleet.db'}" if wanted == "sqlite" else wanted


def _settings(options: Options, folder: Path, url: str) -> Settings:
    own = options.store in OWN_STORES
    return Settings(
        workers=options.workers,
        tasks=options.tasks,
        store_url=url,
        # In somebody's store the demo keeps to a pool that nobody else can be using.
        pool=OWN_POOL if own else f"demo-{new_id()}",
        folder=folder,
    )


def _on_stage(
    options: Options,
    settings: Settings,
    fleet: Fleet,
    folder: Folder,
    interrupts: Interrupts,
    modules: Sequence[str],
) -> int:
    logs = settings.folder / "logs"
    logs.mkdir()
    sink = Sink(settings.folder / "findings.db")
    sink.create()
    environment = {
        MARK_VARIABLE: str(settings.folder),
        review_graph.SINK_VARIABLE: str(sink.path),
        review_graph.PACE_VARIABLE: f"{settings.pace_seconds:g}",
    }
    stream = sys.stderr if options.as_json else sys.stdout
    tasks = {_task_id(settings, path): path for path in modules}
    with Show(stream, settings.folder / "timeline.txt") as show, Cast(logs, environment) as cast:
        interrupts.on_repeat = cast.hurry
        stage = Stage(
            settings=settings,
            fleet=fleet,
            cast=cast,
            show=show,
            view=View(settings.pool),
            scenery=Scenery(
                names={task_id: task_name(task_id) for task_id in tasks},
                functions={task_id: len(parsed(path)) for task_id, path in tasks.items()},
            ),
            interrupts=interrupts,
            headline=f"{settings.workers} workers review {settings.tasks} modules"
            " of the standard library",
        )
        try:
            summary = _played(stage, sink, tasks)
        except Interrupted:
            show.leave_picture()
            stage.say("asked to end: ending every process")
            return _SIGNALLED + interrupts.number
        show.leave_picture()
        folder.keep = folder.keep or summary.outcome is not Outcome.PASS
        _tell(options, summary, stream, folder)
        if not options.once:
            _stay_up(stage, stream)
    return summary.outcome.exit_code


def _task_id(settings: Settings, path: str) -> str:
    name = path.removesuffix(".py").replace("/", ".")
    # In somebody's own store the name may be taken, by an earlier demo for instance.
    return name if settings.pool == OWN_POOL else f"{settings.pool}:{name}"


def _played(stage: Stage, sink: Sink, tasks: Mapping[str, str]) -> Summary:
    """Play the story, and judge what it has left behind."""
    inputs = [(task_id, {"path": path}) for task_id, path in tasks.items()]
    story = Story(stage, inputs, sink)
    story.play()
    stage.announce("Comparing with an undisturbed run.")
    counted = _counted_by_prometheus(stage)
    control, expected = undisturbed(tasks)
    stage.read_ledger()
    evidence = Evidence(
        view=stage.view,
        results=_results(stage.fleet, tasks),
        control=control,
        publications=sink.publications(),
        expected=expected,
        faults=story.faults,
        prometheus=counted,
    )
    summary = Summary(
        seconds=stage.elapsed_seconds(stage.now_us()),
        findings=judge(evidence),
        faults=story.faults,
        view=stage.view,
        places=_places(stage),
        answers=dict(stage.answers),
        why_no_answers=stage.why_none,
        at=time.time(),
        scraped_since=_scraped_since(stage),
    )
    text = json.dumps(summary.to_dict(), indent=2)
    (stage.settings.folder / "summary.json").write_text(text + "\n")
    _keep_ledger(stage.fleet.store, stage.settings.folder / "ledger.jsonl")
    return summary


def _keep_ledger(store: Store, path: Path) -> None:
    """Write down the ledger, as a server of the demo's own takes its store with it."""
    seq = 0
    with path.open("w", encoding="utf-8") as out:
        while events := store.events(seq):
            seq = events[-1].seq
            out.writelines(json.dumps(event.to_dict()) + "\n" for event in events)


def undisturbed(tasks: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """Run every task in this process, in memory and without any fault.

    Args:
        tasks: module paths by task id.

    Returns:
        The final state by task id, and every publication as task, function and findings.
    """
    published: list[tuple[str, str, str]] = []
    current = ""

    def publish(function: str, found: list[review_graph.Finding]) -> None:
        published.append((current, function, review_graph.publication(found)))

    plain = review_graph.build(publish, lambda: None)
    graph = plain.copy({"checkpointer": InMemorySaver()})
    states: dict[str, Any] = {}
    for task_id, path in tasks.items():
        current = task_id
        graph.invoke({"path": path}, _thread(task_id), durability="sync")
        states[task_id] = graph.get_state(_thread(task_id)).values
    # Reviewers work side by side, so only their words have an order.
    return states, sorted(published)


def _results(fleet: Fleet, tasks: Mapping[str, str]) -> dict[str, Any]:
    """The final states as the fleet's own checkpoints have them."""
    graph: Pregel[Any, Any, Any, Any] = review_graph.graph.copy({"checkpointer": fleet.saver()})
    return {task_id: graph.get_state(_thread(task_id)).values for task_id in tasks}


def _thread(task_id: str) -> Any:
    return {"configurable": {"thread_id": task_id}}


def _counted_by_prometheus(stage: Stage) -> dict[str, int] | None:
    """Takeovers by reason as Prometheus has them, once it has seen the last one."""
    server = stage.prometheus
    if server is None:
        return None
    ended = [one for one in stage.view.takeovers if one.outcome is not None]
    wanted = Counter(one.reason.value for one in ended)
    counted: dict[str, int] = {}

    def agrees() -> bool:
        nonlocal counted
        try:
            up, _ = server.targets_up(stage.settings.pool)
            samples = server.ask(prom.takeovers_by_reason(stage.settings.pool))
        except OSError:
            return False
        counted = {one.labels.get("reason", ""): round(one.value) for one in samples}
        # The exporter and the workers, the newest of which it may have to find first.
        return counted == wanted and up == len(stage.workers) + 1

    stage.wait(agrees, "waiting until Prometheus has scraped the last of it", _PROMETHEUS_SECONDS)
    stage.ask()
    return counted


def _scraped_since(stage: Stage) -> float | None:
    with suppress(OSError):
        return stage.prometheus.scraped_since() if stage.prometheus else None
    return None


def _places(stage: Stage) -> dict[str, str]:
    settings = stage.settings
    return {
        "exporter": f"http://{stage.exporter}/metrics",
        **({"prometheus": stage.prometheus.url} if stage.prometheus else {}),
        "store": settings.store_url,
        "folder": str(settings.folder),
    }


def _tell(options: Options, summary: Summary, stream: TextIO, folder: Folder) -> None:
    if options.as_json:
        sys.stdout.write(json.dumps(summary.to_dict(), indent=2) + "\n")
        return
    # In a pipe a finding is one line.
    columns = shutil.get_terminal_size().columns if stream.isatty() else sys.maxsize
    print(f"\n{summary.render(style_of(stream), columns)}", file=stream)
    if options.once and folder.keep:
        print(f" Ledger, findings, logs and timeline are in {folder.path}", file=stream)
    stream.flush()


def _stay_up(stage: Stage, stream: TextIO) -> None:
    """Leave the fleet running, and go on telling what happens to it."""
    places = _places(stage)
    baton = "baton" if shutil.which("baton") else f"{sys.executable} -m baton"
    value = '{"path": "json/decoder.py"}'
    worker_id, process = next(iter(stage.workers.items()))
    tries = (
        f"export BATON_STORE={places['store']}",
        f"{baton} tasks list",
        f"{baton} submit --pool {stage.settings.pool} --graph review --input '{value}'",
        f"kill -9 {process.pid}  # {worker_id}",
    )
    lines = [
        *("", " The fleet stays up; Ctrl-C ends it. Meanwhile:"),
        *(f"   {name:<11} {place}" for name, place in places.items()),
        *(f"   {'try' if not place else '':<11} {line}" for place, line in enumerate(tries)),
    ]
    print("\n".join(lines), end="\n\n", file=stream, flush=True)
    try:
        stage.wait(lambda: False, "", inf)
    except Interrupted:
        print(" ending every process", file=stream, flush=True)
