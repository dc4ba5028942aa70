"""The stages of a release check, read from YAML: strict, with the line of whatever is refused."""

from __future__ import annotations

import glob
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from baton.domain.gate.facts import pointed
from baton.domain.gate.words import Doubt
from baton.errors import BadInput
from baton.prove.scenarios.reader import Place, Table, read_yaml

FORMAT = "1.0.0"

_CODES = ("plain", "verdict")
_NAMED = re.compile(r"\$([a-z_]+)")
_POINTED = re.compile(r"\{([a-z-]+):(/[^}]*)\}")
_GLOB = "glob:"
_NOTHING: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage; what each field means is told at the top of tools/release-check.yaml."""

    id: str
    question: str
    run: tuple[str, ...]
    codes: str
    minutes: float
    needs: tuple[str, ...] = ()
    stops: bool = False
    leaves: tuple[str, ...] = ()
    judged_by: tuple[str, ...] = ()
    ready: tuple[str, str] | None = None
    until: str = ""
    absent: str = ""
    next_action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every stage in its order, and the parameters that their commands name."""

    stages: tuple[Stage, ...]
    parameters: Mapping[str, str]


class Absent(Exception):
    """Something that a command names is not there."""


def load(path: Path, given: Mapping[str, str]) -> Plan:
    """Read a plan.

    Args:
        path: the file.
        given: parameters that take the place of the file's.

    Raises:
        BadInput: it cannot be read, or has no such parameter.
        BadScenario: something in it is wrong; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(detail=f"--stages {path}: {error.strerror}") from error
    table = read_yaml(str(path), text, "the stages").table()
    version = table.need("version")
    if version.text() != FORMAT:
        version.wrong(f"the format is {version.text()!r}", f"this reads {FORMAT!r}")
    place = table.maybe("parameters")
    known = {} if place is None else {n: p.text() for n, p in place.table().all().items()}
    for name in given:
        if name not in known:
            raise BadInput(detail=f"--set names {name!r}; there is {', '.join(sorted(known))}")
    stages: list[Stage] = []
    for item in table.need("stages").items():
        stages.append(_stage(item.table(), [one.id for one in stages]))
    table.end()
    return Plan(stages=tuple(stages), parameters=MappingProxyType({**known, **given}))


def _stage(table: Table, before: list[str]) -> Stage:
    id_ = table.need("id")
    if id_.text() in before:
        id_.wrong(f"{id_.text()!r} is there twice", "give each its own id")
    ready = table.maybe("ready")
    stage = Stage(
        id=id_.text(),
        question=table.need("question").text(),
        run=tuple(item.text() for item in table.need("run").items()),
        codes=table.need("codes").one_of(_CODES, "kind of exit codes"),
        minutes=table.need("minutes").seconds(),
        needs=table.get("needs", lambda p: p.words(before, "stage before it"), _NOTHING),
        stops=table.get("stops", Place.yes, False),
        leaves=table.get("leaves", Place.words, _NOTHING),
        judged_by=table.get("judged_by", Place.words, _NOTHING),
        ready=None if ready is None else _ready(ready.table()),
        until=table.get("until", Place.text, ""),
        absent=table.get("absent", Place.text, ""),
        next_action=table.get("next", Place.text, ""),
    )
    table.end()
    return stage


def _ready(table: Table) -> tuple[str, str]:
    found = table.need("file").text(), table.need("code").text()
    table.end()
    return found


def words_of(stage: Stage, plan: Plan, run: Path, root: Path) -> list[str]:
    """The command of a stage, with everything in its place.

    Args:
        stage: of the plan.
        plan: its parameters are put in; one that is a word of its own may become several or none.
        run: the folder that everything is left in.
        root: the repository, from which patterns are looked up.

    Raises:
        Absent: a pattern matches nothing, or what a background stage should say is not there.
        BadInput: there is no such parameter.
    """
    return [word for text in stage.run for word in _words(text, plan, run, root)]


def _words(text: str, plan: Plan, run: Path, root: Path) -> Iterator[str]:
    named = _NAMED.fullmatch(text)
    if named is not None:
        yield from shlex.split(_parameter(plan, named[1]))
        return
    text = _NAMED.sub(lambda found: _parameter(plan, found[1]), text)
    text = _POINTED.sub(lambda found: _said(plan, run, found[1], found[2]), text)
    text = text.replace("{run}", str(run))
    if not text.startswith(_GLOB):
        yield text
        return
    pattern = text.removeprefix(_GLOB)
    files = sorted(glob.glob(pattern, root_dir=root))  # noqa: PTH207 - relative to the root
    if not files:
        raise Absent(f"no file is called {pattern}")
    yield from files


def _parameter(plan: Plan, name: str) -> str:
    if name not in plan.parameters:
        raise BadInput(detail=f"there is no parameter ${name} in the stages' file")
    return plan.parameters[name]


def _said(plan: Plan, run: Path, id_: str, pointer: str) -> str:
    stage = next((one for one in plan.stages if one.id == id_ and one.ready), None)
    if stage is None or stage.ready is None:
        raise BadInput(detail=f"{{{id_}:{pointer}}} names no background stage")
    try:
        document: Any = json.loads((run / stage.ready[0]).read_bytes())
        return str(pointed(document, pointer))
    except (OSError, ValueError, Doubt) as error:
        raise Absent(f"{stage.ready[0]} has nothing at {pointer}") from error
