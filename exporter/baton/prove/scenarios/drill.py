"""Drills: a scenario that people carry out, on a form that the runner fills as far as it knows.

A form is a Markdown page with a head in YAML between two lines of ``---``. The head says which
scenario it performs, when it is broken off and by whom, which alerts have to arrive by when, and
which files are its evidence. In the page a marker such as ``<!-- log -->`` stands wherever the
runner has something to say; what people have to say stays open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from baton.domain.continuity.model import Outcome
from baton.domain.takeovers import Takeover, TakeoverTracker
from baton.domain.words import TakeoverPhase
from baton.errors import BadInput
from baton.observe.timeline import render_text, timeline
from baton.prove.scenarios.engine import AlertFact
from baton.prove.scenarios.parse import alert_names
from baton.prove.scenarios.reader import Place, Table, read_yaml
from baton.prove.scenarios.running import Done

#: Where a form's page speaks of what the runner knows, in the order in which people read it.
MARKERS = ("hypothesis", "performed", "log", "alerts", "evidence", "score", "findings")

#: A log longer than this is read in its file.
_LOG_LINES = 60

_EDGE = "---\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A form.

    Attributes:
        scenario: the id of what it performs.
        owner: who answers for it.
        abort_when: what breaks it off.
        abort_by: who breaks it off, and how.
        alerts: by when each alert has to have fired, in seconds from the beginning.
        silent: alerts that must not fire.
        evidence: the files that have to be there afterwards.
        page: the form without its head.
    """

    scenario: str
    owner: str
    abort_when: str
    abort_by: str
    alerts: Mapping[str, float]
    silent: tuple[str, ...]
    evidence: tuple[str, ...]
    page: str


def load_drill(path: Path) -> Drill:
    """Read a form.

    Args:
        path: the file.

    Raises:
        BadInput: it cannot be read, or a marker is not in it exactly once.
        BadScenario: something in its head is wrong; an empty abort condition is.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(detail=f"cannot read drill {path}: {error}") from error
    head, page = _parted(path, text)
    for marker in MARKERS:
        if page.count(_mark(marker)) != 1:
            raise BadInput(detail=f"{path}: write {_mark(marker)} into the page, once")
    table = read_yaml(str(path), head).table()
    drill = Drill(
        scenario=table.need("scenario").text(),
        owner=_said(table, "owner"),
        abort_when=_said(table, "abort_when"),
        abort_by=_said(table, "abort_by"),
        alerts=table.get("alerts", _alerts, {}),
        silent=table.get("silent", lambda place: place.words(alert_names(), "alert"), ()),
        evidence=tuple(_file(item) for item in table.need("evidence").items()),
        page=page,
    )
    table.end()
    return drill


def _parted(path: Path, text: str) -> tuple[str, str]:
    if not text.startswith(_EDGE) or _EDGE not in text[len(_EDGE) :]:
        raise BadInput(detail=f"{path}: begin with the drill's head, between two lines of ---")
    head, page = text[len(_EDGE) :].split(_EDGE, 1)
    return head, page.lstrip("\n")


def _mark(name: str) -> str:
    return f"<!-- {name} -->"


def _said(table: Table, key: str) -> str:
    place = table.need(key)
    text = " ".join(place.text().split())
    if not text:
        place.wrong(f"{key} is empty", "say it before anything is broken on purpose")
    return text


def _alerts(place: Place) -> Mapping[str, float]:
    found = {}
    for name, bound in place.table().all().items():
        if name not in alert_names():
            bound.wrong(f"there is no alert {name!r}", "docs/alerts.md lists them")
        found[name] = bound.seconds()
    return found


def _file(place: Place) -> str:
    name = place.text()
    if not name or "/" in name or name.startswith("."):
        place.wrong(f"{name!r} is no file of a scenario's evidence", "name it without a folder")
    return name


def fill(drill: Drill, done: Done, engine: str, folder: Path) -> str:
    """The form of a drill that was carried out.

    Args:
        drill: the form.
        done: the scenario that was performed, what it left behind included.
        engine: what performed it.
        folder: where its evidence is kept.
    """
    parts: Mapping[str, Callable[[], str]] = {
        "hypothesis": lambda: done.scenario.hypothesis,
        "performed": lambda: _performed(drill, done, engine),
        "log": lambda: _log(done),
        "alerts": lambda: _table(("alert", "expected", "seen", "met"), _alert_rows(drill, done)),
        "evidence": lambda: _table(("file", "there", "SHA-256"), _evidence_rows(drill, folder)),
        "score": lambda: _table(("what", "score"), _scores(drill, done, folder)),
        "findings": lambda: _table(
            ("finding", "owner", "tested again by"), [*_findings(drill, done, folder), ("", "", "")]
        ),
    }
    page = drill.page
    for name, told in parts.items():
        page = page.replace(_mark(name), told())
    return page


def _performed(drill: Drill, done: Done, engine: str) -> str:
    return _table(
        ("", ""),
        [
            ("scenario", f"{done.scenario.id}: {done.scenario.title}"),
            ("engine, seed", f"{engine}, {done.seed}"),
            ("verdict", f"{done.result.judgement} {done.result.reason}".strip()),
            ("owner", drill.owner),
            ("broken off when", drill.abort_when),
            ("broken off by", drill.abort_by),
        ],
    )


def _log(done: Done) -> str:
    """The faults, and then what the ledger says happened."""
    if done.performance is None:
        return "Nothing was performed."
    trial = done.performance.trial
    faults = [
        f"- {fact.name}: {'; '.join(fact.observed) or 'did not fire'}"
        for fact in trial.faults or ()
    ]
    lines = render_text(timeline(trial.events)).splitlines()
    more = len(lines) - _LOG_LINES
    kept = [*lines[:_LOG_LINES], *([f"… {more} more in ledger.jsonl"] if more > 0 else [])]
    return "\n".join([*faults, "", "```", *kept, "```"])


def _alert_rows(drill: Drill, done: Done) -> Iterator[tuple[str, ...]]:
    fired = _fired(done)
    for name, bound in drill.alerts.items():
        met = _in_time(fired, name, bound)
        yield name, f"within {bound:g} s", _seen(fired, name), _word(met)
    for name in drill.silent:
        quiet = None if fired is None else name not in fired
        yield name, "silence", _seen(fired, name), _word(quiet)


def _fired(done: Done) -> dict[str, AlertFact] | None:
    """What fired; None where nobody was asked."""
    if done.performance is None or done.performance.alerts is None:
        return None
    return {fact.name: fact for fact in done.performance.alerts}


def _in_time(fired: Mapping[str, AlertFact] | None, name: str, bound: float) -> bool | None:
    if fired is None:
        return None
    return name in fired and fired[name].fired_after_seconds <= bound


def _seen(fired: Mapping[str, AlertFact] | None, name: str) -> str:
    if fired is None:
        return "nobody looked: perform it with --engine proc --prometheus"
    fact = fired.get(name)
    return "silent" if fact is None else f"fired after {fact.fired_after_seconds:.1f} s"


def _word(met: bool | None) -> str:  # noqa: FBT001 - a state of three
    return {True: "yes", False: "**no**", None: "unknown"}[met]


def _evidence_rows(drill: Drill, folder: Path) -> Iterator[tuple[str, ...]]:
    for name in drill.evidence:
        path = folder / name
        if path.is_file():
            yield name, "yes", f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`"
        else:
            yield name, "**no**", ""


def _scores(drill: Drill, done: Done, folder: Path) -> Iterator[tuple[str, ...]]:
    alerts = [row[3] for row in _alert_rows(drill, done)]
    there = [row[1] for row in _evidence_rows(drill, folder)]
    yield "hypothesis held", done.result.judgement.value
    yield "alerts as expected", f"{alerts.count('yes')} of {len(alerts)}"
    yield "evidence there", f"{there.count('yes')} of {len(there)}"
    for takeover in _takeovers(done):
        yield f"takeover of {takeover.task_id}, epoch {takeover.epoch}", _phases(takeover)
    yield "runbook followed, by whom", ""
    yield "found without help, by whom", ""


def _takeovers(done: Done) -> Iterator[Takeover]:
    """Each takeover as far as it came."""
    tracker, found = TakeoverTracker(), {}
    for event in done.performance.trial.events if done.performance else ():
        for takeover in tracker.apply(event):
            found[takeover.task_id, takeover.epoch] = takeover
    yield from found.values()


def _phases(takeover: Takeover) -> str:
    took = ((phase, takeover.phase_us(phase)) for phase in TakeoverPhase)
    told = ", ".join(f"{phase} {us / 1e3:.1f} ms" for phase, us in took if us is not None)
    return f"{takeover.reason}: {told}"


def _findings(drill: Drill, done: Done, folder: Path) -> Iterator[tuple[str, ...]]:
    """What is not as it was expected; the rest is for people to find."""
    for verdict in done.result.verdicts:
        if verdict.assertion in done.result.asked and verdict.outcome is not Outcome.PASS:
            yield f"{verdict.assertion} {verdict.outcome.value}: {verdict.text}", drill.owner, ""
    for name, expected, seen, met in _alert_rows(drill, done):
        if met != "yes":
            yield f"{name}: expected {expected}, {seen}", drill.owner, ""
    for name, there, _ in _evidence_rows(drill, folder):
        if there != "yes":
            yield f"{name} is not there", drill.owner, ""


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
