"""What a store's logic asks of the tables under it: those of SQLite or those of PostgreSQL.

Both are tested against the same questions; ``mypy`` holds them to the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from baton import errors
from baton.fleet.model import (
    Beat,
    Checkpoint,
    LeaseKey,
    Loss,
    ParkedWrite,
    Session,
    SessionSpec,
)
from baton.fleet.write import Write


class Data(Protocol):
    """Tasks, their ledger, their effects, and LangGraph's checkpoints."""

    #: How far this process has seen the ledger go.
    position: int
    #: Told when parked writes are refused, which nobody waits for.
    on_lost: Callable[[errors.LeaseLost, LeaseKey], None] | None

    @property
    def sql(self) -> dict[str, str]:
        """The named statements."""

    def write(self) -> AbstractContextManager[Write]:
        """A transaction: commits at the end, rolls back on any exception."""

    def read(self) -> AbstractContextManager[Any]:
        """A cursor for reading, after everything parked is durable."""

    def rows(self, name: str, parameters: Any = ()) -> list[Any]:
        """All rows of a named query."""

    def tail(self, after_seq: int, limit: int) -> list[Any]:
        """Events after a place of the tail, none of which anything can still come before."""

    def refuse_a_forked_child(self) -> None:
        """Stop a child that uses what its parent opened."""

    def park(self, key: LeaseKey, writes: list[ParkedWrite]) -> None:
        """Keep pending writes for the checkpoint that follows, for the linger at most."""

    def flush(self) -> None:
        """Make everything parked durable now."""

    def write_now(self, key: LeaseKey, writes: list[ParkedWrite], *, resume: bool) -> None:
        """Make pending writes durable at once: interrupts, errors and resume values."""

    def put(self, key: LeaseKey, run_id: str, worker_id: str, checkpoint: Checkpoint) -> None:
        """Make a super-step durable: its pending writes, its checkpoint and its event."""

    def delete_thread(self, key: LeaseKey) -> None:
        """Forget a task's checkpoints and pending writes; its ledger stays."""

    def close(self) -> None:
        """Make what is parked durable and close."""


class Sessions(Protocol):
    """Registration, heartbeats, loss. No method waits for a data write."""

    def start(self, spec: SessionSpec, at: int | None = None) -> None:
        """Register a session."""

    def heartbeat(self, session_id: str, *, position: int, epoch: int) -> Beat:
        """Renew a session, and with it every lease it holds."""

    def raise_witness(self, session_id: str, epoch: int) -> None:
        """Say, before an epoch is given out, that it will be."""

    def lose(self, loss: Loss) -> bool:
        """Declare a session lost; False when it is over already or has just shown life."""

    def drain(self, session_id: str) -> bool:
        """Mark a session as taking nothing new."""

    def stop(self, session_id: str) -> bool:
        """End a session by its own will."""

    def settle(self, session_id: str) -> None:
        """Nothing is left to claim from this session."""

    def may_claim(self, write: Write, session_id: str) -> bool:
        """Whether a session lives; it is ``at_rest`` only after this transaction has ended."""

    def at_rest(self, write: Write, session_id: str) -> bool:
        """Whether an ended session is through with whatever it was still claiming."""

    def get(self, session_id: str) -> Session | None:
        """One session, or None."""

    def live(self, pool: str | None = None) -> list[Session]:
        """The sessions that may hold leases."""

    def unsettled(self) -> list[Session]:
        """The sessions that ended and may have left tasks behind."""

    def recent(self, ended_since_us: int) -> list[Session]:
        """Every live session, and those that ended since a moment of store time."""

    def witness(self) -> tuple[int, int]:
        """The furthest position and the highest epoch anybody has seen."""

    def save_witness(self, store_id: str, position: int, epoch: int) -> None:
        """Remember a position and an epoch apart from any session."""

    def accept_restore(self, store_id: str, position: int) -> None:
        """Belong to these data, and forget every position beyond their own."""

    def close(self) -> None:
        """Close."""
