"""Production's driver with a trace: what a worker on trial writes of its sessions and renewals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from baton.domain.continuity.model import TraceKind
from baton.fleet import messages as m
from baton.fleet.driver import Driver


class TracedDriver(Driver, ABC):
    """Writes a line when a session opens, for each renewal, and when its leases are given up."""

    @abstractmethod
    def now_us(self) -> int:
        """The worker's own monotonic clock, in microseconds."""

    @abstractmethod
    def note(self, kind: TraceKind, *, at_us: int | None = None, **fields: int) -> None:
        """Write a line about the session."""

    def _open_session(self) -> m.Event:
        sent_us = self.now_us()
        event = super()._open_session()
        self.note(
            TraceKind.SESSION_OPENED,
            at_us=sent_us,
            ttl_us=round(self.config.ttl_seconds * 1e6),
            margin_us=round(self.config.margin_seconds * 1e6),
        )
        return event

    def sending(self) -> float:
        """The same moment in the trace and in the protocol, or C13 blames one for the other."""
        sent_at = super().sending()
        self.note(TraceKind.BEAT_SENT, at_us=round(sent_at * 1e6))
        return sent_at

    def _call(self, what: str, call: Callable[[], m.Event | None]) -> None:
        super()._call(what, self._noted(call) if what == "beat" else call)

    def _noted(self, call: Callable[[], m.Event | None]) -> Callable[[], m.Event | None]:
        """A renewal whose outcome is written before anybody acts on it."""

        def noted() -> m.Event | None:
            try:
                event = call()
            except Exception:
                self.note(TraceKind.BEAT_FAILED)
                raise
            if isinstance(event, m.BeatDone) and event.beat.accepted:
                self.note(TraceKind.BEAT_ACKED, store_us=event.beat.at_us)
            else:
                self.note(TraceKind.BEAT_FAILED)
            return event

        return noted

    def _lose_runs(self, command: m.LoseRuns) -> None:
        session = self.session
        mine = session is not None and session.session_id == command.session_id
        first = mine and session is not None and not session.over
        super()._lose_runs(command)
        if first:
            # Afterwards: a node that asked for its lease a moment ago was still let in.
            self.note(TraceKind.SESSION_OVER)
