"""A worker process as the harness knows it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from baton.prove.proc.channel import Channel, Message
from baton.prove.proc.worker import Spec
from baton.prove.scenarios.model import Of

if TYPE_CHECKING:
    from baton.prove.proc.wire import Wire

#: How long the kernel may take to stop a process, in seconds.
_STOP_SECONDS = 2.0


class Process:
    """One incarnation of a worker: the maker's child, signalled by its id while it is one."""

    def __init__(self, key: str, spec: Spec) -> None:
        """Know of a process that the maker is told to make.

        Args:
            key: tells the processes of a trial apart.
            spec: what it is to be.
        """
        self.spec = replace(spec, process=key)
        self.name = spec.worker_id
        self.pid = 0
        self.channel: Channel | None = None
        #: Between it and its store, where there is one to be cut.
        self.wire: Wire | None = None
        self.dead = False
        self.frozen = False
        #: Killed, and the maker has not said so yet: what it still said counts for nothing.
        self.doomed = False
        self.epochs: dict[str, int] = {}
        #: Comes back so long after its end; None if not.
        self.back_after_us: int | None = None
        self._on_end: list[Callable[[int], None]] = []
        self._waiting: dict[tuple[str, int], Callable[[], None]] = {}

    def when_ended(self, told: Callable[[int], None]) -> None:
        """Be told how it ended, as ``waitpid`` says: a signal is negative."""
        self._on_end.append(told)

    def end(self, code: int) -> None:
        """The maker says that it is gone."""
        self.dead, self.frozen = True, False
        for told in self._on_end:
            told(code)

    def signal(self, number: signal.Signals) -> None:
        """Signal it, unless it is gone: the maker has not waited for it before it says so."""
        if not self.dead and self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self) -> bool:
        """Let it stand still; returns whether the kernel says that it does."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline and not self.dead:
            if self._state() in ("T", "t"):
                self.frozen = True
                return True
            time.sleep(0.001)
        return False

    def _state(self) -> str:
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return ""
        return stat.rpartition(")")[2].split()[0]

    def go_on(self) -> None:
        """Let it go on."""
        self.frozen = False
        self.signal(signal.SIGCONT)

    def answer(self, ticket: int, do: str) -> None:
        """Tell a thread that waits."""
        self._send(ticket=ticket, do=do)

    def tell(self, do: str, order: int = 0, **about: object) -> None:
        """Change its surroundings."""
        self._send(do=do, order=order, **about)

    def _send(self, **message: object) -> None:
        if self.channel is not None and not self.dead:
            with suppress(OSError):
                self.channel.send(**message)

    def refuse(self, of: Of | None) -> None:
        """Let its store refuse it: on the wire where there is one, otherwise within the process.

        Args:
            of: which calls; None for none.
        """
        if self.wire is not None:
            self.wire.refuse(of)
        else:
            self.tell("trouble", of=None if of is None else of.value)

    def when(self, say: str, number: int, then: Callable[[], None]) -> None:
        """Do something once it says that a ticket is steady, or an order obeyed."""
        self._waiting[say, number] = then

    def hear(self, message: Message) -> None:
        """It says that something is as it should be."""
        number = message["ticket"] if message["say"] == "steady" else message["order"]
        then = self._waiting.pop((message["say"], number or 0), None)
        if then is not None:
            then()

    def close(self) -> None:
        """Nobody listens any more."""
        if self.wire is not None:
            self.wire.close()
        if self.channel is not None:
            self.channel.close()
