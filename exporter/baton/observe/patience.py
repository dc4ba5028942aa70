"""Calls that may hang, and a caller that does not.

A call that is not back in time goes on in a thread of its own, as nothing can end it. No second
one is begun beside it: whoever asks meanwhile waits for its end, no longer than the deadline, and
then asks anew. So a store that hangs costs one thread, and is used again once it answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TypeVar

T = TypeVar("T")


class Patience:
    """Makes one call at a time, and waits for none of them longer than a deadline."""

    def __init__(self, seconds: float) -> None:
        """Wait so long at most.

        Args:
            seconds: the deadline of a call, the wait for the one before it included.
        """
        self.seconds = seconds
        self._turn = threading.Lock()

    def call(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises.

        Raises:
            TimeoutError: it, or a call before it, is not back in time.
        """
        until = time.monotonic() + self.seconds
        if not self._turn.acquire(timeout=self.seconds):
            raise TimeoutError(f"an earlier call still hangs after {self.seconds:g} s")
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                failed: BaseException | None = error
            else:
                failed = None
            # The turn first: who has the answer may ask again at once.
            self._turn.release()
            if failed is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(failed)

        try:
            threading.Thread(target=run, name="collection", daemon=True).start()
        except RuntimeError:
            self._turn.release()
            raise
        try:
            return outcome.result(max(0.0, until - time.monotonic()))
        except NotInTime:
            if outcome.done():
                raise
            raise TimeoutError(f"no answer within {self.seconds:g} s") from None
