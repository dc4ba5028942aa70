"""How long pending writes wait for the checkpoint that usually follows them at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from baton.errors import BatonError

#: A few milliseconds: a sibling that finished early is durable after no more than that.
LINGER_SECONDS = 0.005

#: Looks in a row that find nothing parked, after which there is no more looking until a park.
_IDLE_LOOKS = 10


class Linger:
    """Makes durable what has been parked for its whole linger, by a thread of its own.

    Nearly always the checkpoint comes first, so the thread looks once in a linger and not at each
    park: a look takes the interpreter away from a run at work, at a tenth of a super-step's cost.
    """

    def __init__(
        self,
        seconds: float,
        *,
        oldest: Callable[[], float | None],
        flush: Callable[[float], None],
    ) -> None:
        """Prepare; the thread begins with the first park.

        Args:
            seconds: how long a pending write may wait.
            oldest: since when something is parked, on ``time.monotonic``; None if nothing is.
            flush: makes durable what was parked at that moment of ``time.monotonic`` or before.
        """
        self._seconds = seconds
        self._oldest = oldest
        self._flush = flush
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._looking = threading.Event()
        self._ended = False

    def parked(self) -> None:
        """Something was parked: see to it that somebody looks."""
        if not self.resting:
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look_on, name="baton-flusher", daemon=True
                )
                self._thread.start()
        self._looking.set()

    @property
    def resting(self) -> bool:
        """Whether nobody looks until something is parked."""
        return not self._looking.is_set()

    def end(self) -> None:
        """End the thread, which is not in the middle of a flush afterwards."""
        self._ended = True
        self._looking.set()
        if self._thread is not None:
            self._thread.join()

    def _look_on(self) -> None:
        idle = 0
        while not self._ended:
            self._looking.wait()
            left, found = self._look()
            idle = 0 if found else idle + 1
            if idle > _IDLE_LOOKS:
                self._looking.clear()
                # Something may have been parked between the look and the clear.
                if self._oldest() is not None:
                    self._looking.set()
                idle = 0
            time.sleep(left)

    def _look(self) -> tuple[float, bool]:
        """How long until the next look, and whether anything was parked at this one."""
        since = self._oldest()
        if since is None:
            return self._seconds, False
        now = time.monotonic()
        left = self._seconds - (now - since)
        if left > 0:
            return left, True
        with suppress(BatonError):  # whoever writes next meets the same error
            self._flush(now - self._seconds)
        return self._seconds, True
