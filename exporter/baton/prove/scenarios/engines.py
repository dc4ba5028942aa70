"""The engines that there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from baton.errors import BadInput
from baton.prove.local_postgres import local_postgres
from baton.prove.proc.engine import ProcEngine
from baton.prove.scenarios.engine import Engine
from baton.prove.sim.engine import SimEngine

ENGINES: dict[str, Callable[[], Engine]] = {
    SimEngine.name: SimEngine,
    ProcEngine.name: ProcEngine,
}

_POSTGRES = ("postgresql://", "postgres://")


def kind_of(store: str) -> str:
    """What a checkpoint keeps of a store's name, which may hold a password.

    Args:
        store: as ``opened`` takes it.
    """
    return "sqlite" if store == "sqlite" else "postgresql"


@contextmanager
def opened(
    name: str, store: str, *, watched: bool = False, asked_only: bool = False
) -> Iterator[Engine]:
    """An engine over a store of a kind, for as long as it is used.

    Args:
        name: of the engine.
        store: ``sqlite``; ``postgresql`` for a server of its own; or a server's URL.
        watched: whether a Prometheus has to judge alerts; for real processes.
        asked_only: whether only what a scenario asks for is judged; for virtual time.

    Raises:
        BadInput: the engine has no such store, or no server can be started.
    """
    if store == "sqlite":
        if name == ProcEngine.name:
            yield ProcEngine(watched=watched)
        else:
            yield SimEngine(asked_only=asked_only)
    elif name != ProcEngine.name:
        raise BadInput(detail=f"--engine {name} has a store of its own; leave --store {store} out")
    elif store == "postgresql":
        with local_postgres() as server:
            yield ProcEngine(server, watched=watched)
    elif store.startswith(_POSTGRES):
        yield ProcEngine(store, watched=watched)
    else:
        raise BadInput(detail=f"--store {store}: use sqlite, postgresql or postgresql://host/name")
