"""What a version promises, as named facts, and what has become of them in another version.

A **surface** is a part of Baton that somebody builds on: its command line, its metrics. It promises
**things** by name, such as ``baton worker --ttl``, each with a few facts. A thing that is part of
another is named after it, with one space between: ``baton worker --ttl`` belongs to ``baton
worker``. Two facts mean more than that they are equal:

- ``required``: whoever uses the thing has to give it. It may cease to be required, never become so;
  and a new thing may not be required of those who already used what it belongs to.
- ``always``: whoever reads the thing can rely on its being there. It may become so, never cease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

#: One fact's value: what JSON holds without nesting.
Value = str | int | float | bool | None
#: The things of a surface, each with its facts.
Things = Mapping[str, Mapping[str, Value]]
#: All surfaces, each with its things.
Surfaces = Mapping[str, Things]

_REQUIRED = "required"
_ALWAYS = "always"


class Kind(StrEnum):
    """How a thing differs from what was promised; only an addition keeps the promise."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it was promised.

    Attributes:
        surface: where.
        thing: its name.
        kind: what became of it.
        detail: which fact was what and is what; empty where the kind says everything.
    """

    surface: str
    thing: str
    kind: Kind
    detail: str = ""

    @property
    def breaks(self) -> bool:
        """Whether somebody who built on it may be worse off."""
        return self.kind is not Kind.ADDED

    def __str__(self) -> str:
        more = f" ({self.detail})" if self.detail else ""
        return f"{self.kind}: {self.surface}: {self.thing}{more}"


def differences(promised: Surfaces, found: Surfaces) -> list[Difference]:
    """Everything that differs, surface by surface, in the order of the names.

    Args:
        promised: the baseline.
        found: what there is now.
    """
    return [
        one
        for surface in dict.fromkeys((*promised, *found))
        for one in _in_surface(surface, promised.get(surface, {}), found.get(surface, {}))
    ]


def holds(found: list[Difference]) -> bool:
    """Whether the promise is kept: nothing but additions."""
    return not any(one.breaks for one in found)


def _in_surface(surface: str, promised: Things, found: Things) -> Iterator[Difference]:
    for thing in sorted({*promised, *found}):
        if thing not in found:
            yield Difference(surface=surface, thing=thing, kind=Kind.REMOVED)
        elif thing not in promised:
            asks = found[thing].get(_REQUIRED) and thing.rpartition(" ")[0] in promised
            yield Difference(
                surface=surface,
                thing=thing,
                kind=Kind.CHANGED if asks else Kind.ADDED,
                detail="it is new, and has to be given" if asks else "",
            )
        else:
            for kind, detail in _in_thing(promised[thing], found[thing]):
                yield Difference(surface=surface, thing=thing, kind=kind, detail=detail)


def _in_thing(
    promised: Mapping[str, Value], found: Mapping[str, Value]
) -> Iterator[tuple[Kind, str]]:
    for name, was in promised.items():
        now = found.get(name)
        if name in found and now == was and isinstance(now, bool) == isinstance(was, bool):
            continue
        if name == _REQUIRED and was and name in found:
            yield Kind.ADDED, "it need not be given any more"
        elif name == _ALWAYS and not was and now:
            yield Kind.ADDED, "it is always there now"
        else:
            yield Kind.CHANGED, f"{name} was {_said(was)}, is {_said(now)}"


def _said(value: Value) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value)
