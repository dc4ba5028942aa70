"""The engines that there are, by name."""

from __future__ import annotations

from collections.abc import Callable

from baton.prove.proc.engine import ProcEngine
from baton.prove.scenarios.engine import Engine
from baton.prove.sim.engine import SimEngine

ENGINES: dict[str, Callable[[], Engine]] = {
    SimEngine.name: SimEngine,
    ProcEngine.name: ProcEngine,
}
