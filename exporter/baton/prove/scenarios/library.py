"""The scenarios that ship with Baton, by their ids."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from baton.content import root
from baton.errors import BadInput, BadScenario
from baton.prove.scenarios.model import Scenario
from baton.prove.scenarios.parse import load


def folder() -> Path:
    """Where they are."""
    return root() / "scenarios"


def every(where: Path | None = None) -> tuple[Scenario, ...]:
    """Every scenario of a folder, by id.

    Args:
        where: the folder; the one that ships with Baton by default.

    Raises:
        BadScenario: something in a file is wrong.
    """
    return tuple(_read(path) for path in sorted((where or folder()).glob("*.yaml")))


def chosen(ids: Iterable[str], tags: Iterable[str] = ()) -> tuple[Scenario, ...]:
    """The scenarios of some ids, or else of some tags, or else all.

    Args:
        ids: in the order in which they are to be performed.
        tags: each scenario has all of them.

    Raises:
        BadInput: there is none of that id, or none with those tags.
        BadScenario: something in a file is wrong.
    """
    ids, tags = list(ids), set(tags)
    if ids:
        return tuple(_named(name) for name in dict.fromkeys(ids))
    found = tuple(scenario for scenario in every() if tags <= set(scenario.tags))
    if not found:
        raise BadInput(detail=f"no scenario has the tags {', '.join(sorted(tags))}")
    return found


def _named(name: str) -> Scenario:
    known = {path.stem: path for path in sorted(folder().glob("*.yaml"))}
    if name in known:
        return _read(known[name])
    near = get_close_matches(name.upper(), known, 1)
    mend = f"did you mean {near[0]}?" if near else "`baton scenario list` names them"
    raise BadInput(detail=f"there is no scenario {name!r}; {mend}")


def _read(path: Path) -> Scenario:
    scenario = load(path)
    if scenario.id != path.stem:
        raise BadScenario(
            where=str(path),
            what=f"the id is {scenario.id!r} and the file's name is {path.stem!r}",
            mend="let them agree",
        )
    return scenario
