"""``python -m benchmarks``: run them, print the table, write docs/performance.md if asked."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks import (
    claims,
    contention,
    gate,
    heartbeat,
    instruments,
    put,
    scrape,
    scrapers,
    sim,
    step,
    takeover,
    trial,
    watch,
    wave,
)
from benchmarks.harness import Figure, table
from benchmarks.page import FIGURES, Kept, merged, read, write
from benchmarks.server import ended_in_order

#: How often a benchmark is run again when it was too noisy to say anything.
_TRIES = 3

_ALL: dict[str, Callable[[], list[Figure]]] = {
    "step": lambda: step.figures(rounds=40),
    "takeover": lambda: takeover.figures(kills=12, silences=3),
    "watch": lambda: watch.figures(kills=10),
    "trial": lambda: trial.figures(workers=50, tasks=5000, kills=200, seed=1),
    "claims": lambda: claims.figures(rounds=150),
    "put": lambda: put.figures(rounds=4000),
    "wave": wave.figures,
    "scrape": lambda: scrape.figures(rounds=100),
    "scrapers": lambda: scrapers.figures(rounds=6),
    "instruments": lambda: instruments.figures(rounds=60),
    "heartbeat": lambda: heartbeat.figures(rounds=15),
    "gate": lambda: gate.figures(rounds=40),
    "sim": lambda: sim.figures(worlds=12),
    "contention": lambda: contention.figures(seconds=8.0),
}


def _settled(name: str) -> list[Figure]:
    """Run one benchmark until none of its figures is void, a bounded number of times."""
    kept: dict[str, Figure] = {}
    for attempt in range(_TRIES):
        print(f"{name}, attempt {attempt + 1} ...", file=sys.stderr, flush=True)  # noqa: T201 - progress
        for figure in _ALL[name]():
            if figure.name not in kept or kept[figure.name].void:
                kept[figure.name] = figure
        if not any(figure.void for figure in kept.values()):
            break
    return list(kept.values())


def _machine() -> str:
    packages = ("langgraph", "langgraph-checkpoint-sqlite", "prometheus-client")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the named benchmarks, or all; exit 1 when a bar is missed, 2 when a figure is void."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(_ALL)}")
    parser.add_argument("--write", action="store_true", help="keep them in docs/performance.md")
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.names) - set(_ALL)):
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(_ALL)}")
    figures: list[Figure] = []
    with ended_in_order():
        for name in arguments.names or _ALL:
            found = _settled(name)
            figures += found
            if arguments.write:
                day, machine = f"{datetime.now(UTC):%Y-%m-%d}", _machine()
                new = [Kept(name, day, machine, figure) for figure in found]
                write(merged(read(FIGURES), new), list(_ALL))
    print(table(figures))  # noqa: T201 - its output is its job
    if any(figure.void for figure in figures):
        return 2
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
