"""YAML read with its line numbers, so that whatever is wrong is named as ``file:line``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

import yaml

from baton.errors import BadScenario

T = TypeVar("T")

_YES_NO = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reader asked of a file: what its format knows, as far as the file leads there.

    Attributes:
        keys: by mapping and key, whether it has to be there.
        words: by mapping or key and word, what kind of word it is.
    """

    keys: dict[tuple[str, str], bool] = field(default_factory=dict)
    words: dict[tuple[str, str], str] = field(default_factory=dict)


_LISTENER: ContextVar[Asked | None] = ContextVar("listener", default=None)


@contextmanager
def listening() -> Iterator[Asked]:
    """Note what readers ask while the body runs; the compatibility baseline is made of it."""
    asked = Asked()
    token = _LISTENER.set(asked)
    try:
        yield asked
    finally:
        _LISTENER.reset(token)


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a file, with what it takes to complain about it."""

    origin: str
    node: yaml.Node
    name: str

    @property
    def line(self) -> int:
        """Its line, from 1."""
        return int(self.node.start_mark.line) + 1

    def wrong(self, what: str, mend: str) -> NoReturn:
        """Refuse the file.

        Raises:
            BadScenario: always.
        """
        raise BadScenario(where=f"{self.origin}:{self.line}", what=what, mend=mend)

    # Scalars

    def text(self) -> str:
        """A non-empty text."""
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.value.strip():
            self.wrong(f"{self.name} is not a text", "write one line of text")
        return str(self.node.value).strip()

    def number(self) -> float:
        """A finite number."""
        try:
            value = float(self.text())
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.wrong(f"{self.name} is not a number", "write a number, such as 3 or 0.5")
        return value

    def seconds(self) -> float:
        """A length of time, not below 0."""
        value = self.number()
        if value < 0:
            self.wrong(f"{self.name} is below 0", "write a number of seconds")
        return value

    def count(self, least: int = 0) -> int:
        """A whole number."""
        value = self.number()
        if value != int(value) or value < least:
            self.wrong(f"{self.name} is not a whole number", f"write {least} or more")
        return int(value)

    def yes(self) -> bool:
        """``true`` or ``false``."""
        text = self.text()
        if text not in _YES_NO:
            self.wrong(f"{self.name} is {text!r}", "write true or false")
        return _YES_NO[text]

    def one_of(self, known: Iterable[str], what: str) -> str:
        """One of a list of words."""
        text, words = self.text(), sorted(map(str, known))
        self._tell(words, what)
        if text not in words:
            near = get_close_matches(text, words, 1)
            self.wrong(
                f"{self.name} is {text!r}, which is no {what}",
                f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(words)}",
            )
        return text

    def _tell(self, words: Iterable[str], what: str) -> None:
        if (asked := _LISTENER.get()) is not None:
            asked.words.update({(self.name, str(word)): what for word in words})

    # Collections

    def items(self) -> list[Place]:
        """The members of a list; a lone text is a list of one."""
        if isinstance(self.node, yaml.ScalarNode):
            return [Place(self.origin, self.node, self.name)]
        if not isinstance(self.node, yaml.SequenceNode):
            self.wrong(f"{self.name} is not a list", "write [one, two] or one item a line")
        return [
            Place(self.origin, node, f"{self.name}[{n}]") for n, node in enumerate(self.node.value)
        ]

    def words(self, known: Iterable[str] | None = None, what: str = "") -> tuple[str, ...]:
        """A list of texts, each at most once."""
        known = None if known is None else list(known)
        self._tell(known or (), what)
        found: dict[str, None] = {}
        for item in self.items():
            text = item.text() if known is None else item.one_of(known, what)
            if text in found:
                item.wrong(f"{self.name} names {text!r} twice", "name it once")
            found[text] = None
        return tuple(found)

    def table(self) -> Table:
        """A mapping whose keys are known to whoever reads it."""
        if not isinstance(self.node, yaml.MappingNode):
            self.wrong(f"{self.name} is not a mapping", "write `key: value` lines")
        return Table(self, dict(self._pairs()))

    def _pairs(self) -> Iterator[tuple[str, Place]]:
        seen: set[str] = set()
        for key, value in self.node.value:
            at = Place(self.origin, key, self.name)
            if not isinstance(key, yaml.ScalarNode):
                at.wrong(f"a key of {self.name} is not a word", "write `key: value` lines")
            if key.value in seen:
                at.wrong(f"{self.name} has {key.value!r} twice", "remove one of them")
            seen.add(key.value)
            yield key.value, Place(self.origin, value, key.value)


class Table:
    """A mapping that is read key by key; what nobody asked for is refused at the end."""

    def __init__(self, place: Place, places: dict[str, Place]) -> None:
        """Take the pairs of a mapping."""
        self.place = place
        self._places = places
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def need(self, key: str) -> Place:
        """A key that has to be there.

        Raises:
            BadScenario: it is not.
        """
        self._asked.add(key)
        self._tell(key, needed=True)
        found = self._places.get(key)
        if found is None:
            self.place.wrong(f"{self.place.name} has no {key!r}", f"add `{key}: …`")
        return found

    def maybe(self, key: str) -> Place | None:
        """A key that may be there."""
        self._asked.add(key)
        self._tell(key, needed=False)
        return self._places.get(key)

    def _tell(self, key: str, *, needed: bool) -> None:
        if (asked := _LISTENER.get()) is not None:
            known = asked.keys.get((self.place.name, key), True)
            asked.keys[self.place.name, key] = needed and known

    def get(self, key: str, read: Callable[[Place], T], default: T) -> T:
        """The value of a key as ``read`` takes it, or the default."""
        found = self.maybe(key)
        return default if found is None else read(found)

    def all(self) -> Mapping[str, Place]:
        """Every pair, where the keys are names that the file chooses."""
        self._asked |= set(self._places)
        return self._places

    def end(self) -> None:
        """Refuse the keys that nobody asked for.

        Raises:
            BadScenario: there is one.
        """
        for key, place in self._places.items():
            if key not in self._asked:
                near = get_close_matches(key, sorted(self._asked), 1)
                place.wrong(
                    f"{self.place.name} has no key {key!r}",
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"it knows {', '.join(sorted(self._asked))}",
                )


def read_yaml(origin: str, text: str, what: str = "the scenario") -> Place:
    """The one document of a file.

    Args:
        origin: what to call the file in messages.
        text: what is in it.
        what: what to call the document.

    Raises:
        BadScenario: it is not YAML, is empty, or uses tags or aliases.
    """
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, (yaml.TagToken, yaml.AliasToken)):
                where = f"{origin}:{token.start_mark.line + 1}"
                raise BadScenario(
                    where=where, what="tags and aliases are not read", mend="write the value out"
                )
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        where = f"{origin}:{mark.line + 1}" if mark else origin
        said = getattr(error, "problem", None) or str(error)
        raise BadScenario(where=where, what=f"not YAML ({said})", mend="mend the line") from error
    if node is None:
        raise BadScenario(where=origin, what="the file is empty", mend=f"write {what} into it")
    return Place(origin, node, what)
