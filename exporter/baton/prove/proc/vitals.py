"""What the workers of a trial use, looked at from outside: memory, open files, and the store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from baton.domain.figures import slope
from baton.fleet.postgres_connect import Timeouts, connect, dsn_of
from baton.fleet.sqlite_files import parse_url
from baton.prove.proc.process import Process

#: A worker that has just begun still grows; in microseconds.
_GROWN_US = 15_000_000

#: Fewer looks at one process say nothing of a slope.
_LOOKS_MIN = 12

_MINUTE_US = 60_000_000

_PATIENT = Timeouts(lock=5.0, idle=5.0, statement=5.0, call=10.0)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a process held at a moment since its first look."""

    age_us: int
    memory_bytes: int
    open_files: int


class Vitals:
    """Looks at every worker again and again."""

    #: Between two looks, in microseconds.
    EVERY_US: ClassVar[int] = 2_000_000

    def __init__(self) -> None:
        """Nobody was looked at yet."""
        self._since: dict[int, int] = {}
        self._looks: dict[int, list[_Look]] = {}

    def take(self, processes: Iterable[Process], now_us: int) -> None:
        """Look at those that live and move.

        Args:
            processes: of the trial.
            now_us: the time, in microseconds of any clock.
        """
        for process in processes:
            if process.dead or process.frozen or not process.pid:
                continue
            age_us = now_us - self._since.setdefault(process.pid, now_us)
            with suppress(OSError):
                look = _Look(age_us, memory_bytes(process.pid), open_files(process.pid))
                self._looks.setdefault(process.pid, []).append(look)

    def figures(self) -> Mapping[str, float]:
        """The most that any held; and how fast the one that lived longest grew, if it tells."""
        every = [look for looks in self._looks.values() for look in looks]
        if not every:
            return {}
        found: dict[str, float] = {
            "worker_memory_bytes": max(look.memory_bytes for look in every),
            "worker_open_files": max(look.open_files for look in every),
        }
        oldest = max(self._looks.values(), key=len)
        grown = [look for look in oldest if look.age_us >= _GROWN_US]
        if len(grown) >= _LOOKS_MIN:
            apart = self.EVERY_US / _MINUTE_US
            for name in ("memory_bytes", "open_files"):
                values = [float(getattr(look, name)) for look in grown]
                found[f"worker_{name}_per_minute"] = slope(values, apart).estimate
        return found


def memory_bytes(pid: int | str = "self") -> int:
    """What a process holds in memory now.

    Args:
        pid: its id.

    Raises:
        OSError: it is gone, or the system does not say.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int | str = "self") -> int:
    """How many file handles a process has.

    Args:
        pid: its id.

    Raises:
        OSError: it is gone, or the system does not say.
    """
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def store_bytes(url: str) -> int:
    """How much room a store takes.

    Args:
        url: the store.

    Raises:
        OSError: its files cannot be looked at.
        StoreError: its server does not answer.
    """
    if url.startswith("sqlite:"):
        path = parse_url(url).path
        return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    with closing(connect(dsn_of(url, _PATIENT), url)) as connection:
        row = connection.execute(b"SELECT pg_database_size(current_database()) AS size").fetchone()
        return int(row["size"]) if row else 0
