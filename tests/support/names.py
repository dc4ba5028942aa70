"""The names of metrics in texts that people write: each has to be one that exists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from baton.domain.catalogue import CATALOGUE
from baton.observe.alerts import recording_groups
from baton.observe.rules import Recording
from baton.observe.settings import Settings

#: Where texts name metrics; tests name some that do not exist, and fail by themselves.
PLACES = ("README.md", "alerts", "contract", "dashboards", "docs", "gates", "scenarios", "specs")
_KINDS = {".md", ".py", ".yaml", ".yml", ".json"}

#: A metric, or what a rule records of it: ``level:metric:operations``.
_NAME = re.compile(r"\b(?:\w+:)?langgraph_\w+(?::\w+)?")


def known_names() -> frozenset[str]:
    """Every metric, every sample of one, and everything that a rule records."""
    rules = [rule for group in recording_groups(Settings()) for rule in group.rules]
    recorded = [rule.record for rule in rules if isinstance(rule, Recording)]
    samples = [name for metric in CATALOGUE for name in (metric.name, *metric.sample_names)]
    return frozenset((*recorded, *samples))


def texts(root: Path) -> Iterator[Path]:
    """Every file below ``root`` that may name a metric, in the order of their paths."""
    for place in PLACES:
        path = root / place
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (each for each in found if each.suffix in _KINDS)


def strangers(root: Path, known: Iterable[str]) -> dict[str, set[str]]:
    """The files that name a metric which is not ``known``, each with those names.

    Args:
        root: of a checkout.
        known: every name that exists.
    """
    names = frozenset(known)
    found = {
        str(path.relative_to(root)): set(_NAME.findall(path.read_text())) - names
        for path in texts(root)
    }
    return {path: odd for path, odd in found.items() if odd}
