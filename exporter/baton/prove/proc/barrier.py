"""The listener inside a worker on trial: says which point is reached, and waits to be told.

A thread that is held here holds nobody else, and the harness decides for how long. Should the
harness go away, the process ends: nobody is left who could let it go on.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue

from baton.errors import StoreError
from baton.fleet.points import Point
from baton.prove.proc.channel import Channel, Message

#: What the harness may tell a thread that waits.
GO, FAIL, STEADY = "go", "fail", "steady"

#: The exit code of a worker whose harness is gone.
ORPHANED = 70


class Barrier:
    """All threads of one process that wait at points."""

    def __init__(self, channel: Channel, waits: Collection[str], url: str) -> None:
        """Listen to nothing yet; ``serve`` does.

        Args:
            channel: to the harness.
            waits: the points at which a thread waits; the others are passed.
            url: the store, for the errors that a thread is told to raise.
        """
        self._channel = channel
        self._waits = frozenset(waits)
        self._url = url
        self._tickets = itertools.count(1)
        self._waiting: dict[int, SimpleQueue[str]] = {}
        self._lock = threading.Lock()
        #: Told every point that is reached, before anybody waits there.
        self.on_point: Callable[[Point, str], None] = lambda point, about: None  # noqa: ARG005
        #: Keeps every other thread out of the store, while the process is being stopped.
        self.quiet: Callable[[], AbstractContextManager[object]] = nullcontext
        #: Told whatever else the harness says.
        self.on_order: Callable[[Message], None] = lambda order: None  # noqa: ARG005

    def __call__(self, point: Point, about: str) -> None:
        """A point is reached.

        Raises:
            StoreError: the harness wants this call to the store to fail.
        """
        self.on_point(point, about)
        if point.value not in self._waits:
            return
        ticket, answers = next(self._tickets), SimpleQueue[str]()
        with self._lock:
            self._waiting[ticket] = answers
        self._channel.send(say="reached", ticket=ticket, point=point.value, about=about)
        self._wait(ticket, answers)

    def _wait(self, ticket: int, answers: SimpleQueue[str]) -> None:
        told = answers.get()
        if told == STEADY:
            with self.quiet():
                self._channel.send(say="steady", ticket=ticket)
                told = answers.get()
        with self._lock:
            del self._waiting[ticket]
        if told == FAIL:
            raise StoreError(url=self._url, detail="no space left on device")

    def serve(self) -> None:
        """Hear the harness, on a thread of its own, until it or this process ends."""
        threading.Thread(target=self._serve, name="trial-control", daemon=True).start()

    def _serve(self) -> None:
        for message in self._channel.messages():
            if "ticket" in message:
                with self._lock:
                    answers = self._waiting.get(message["ticket"])
                if answers is not None:
                    answers.put(message["do"])
            else:
                self.on_order(message)
        os._exit(ORPHANED)
