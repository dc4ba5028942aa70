"""The recorded fleets' graphs, for a worker that is killed as soon as it has taken a task over."""

from __future__ import annotations

import os
import signal

from record_graphs import poison, walk

from baton.fleet import points
from baton.fleet.points import Point

__all__ = ["poison", "walk"]


def _die(point: Point, about: str) -> None:
    del about
    if point is Point.RESUME_LOAD:
        os.kill(os.getpid(), signal.SIGKILL)


points.listener = _die
