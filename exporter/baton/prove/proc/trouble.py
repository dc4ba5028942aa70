"""A SQLite store in trouble, inside the process that uses it: refusing, hanging or slow.

A server's troubles are made on the wire, by a proxy. A file has no wire, so its calls pass
through here: every transaction and every question, on the data file and on the sessions file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from baton.errors import StoreError
from baton.fleet.store import Store
from baton.prove.scenarios.model import Of

#: How long a hanging call waits at most, in seconds; a harness ends its processes long before.
_HANG_SECONDS_MAX = 120.0

_SESSION_CALLS = (
    *("start", "heartbeat", "raise_witness", "lose", "drain", "stop", "settle"),
    *("get", "live", "unsettled", "recent", "witness", "save_witness"),
)
_DATA_CALLS = ("put", "flush")

#: The calls that a trouble of one kind of call meets.
_KINDS = {"heartbeat": Of.HEARTBEATS, "put": Of.CHECKPOINTS}
_DATA_BLOCKS = ("write", "read")


class Trouble:
    """The switch: what becomes of the next call."""

    def __init__(self, url: str) -> None:
        """Begin without any.

        Args:
            url: the store, for its errors.
        """
        self._url = url
        self._changed = threading.Condition()
        self._mode = ""
        self._of = Of.EVERYTHING
        self._delay_seconds = 0.0
        #: Calls that met with it.
        self.met = 0

    def switch(self, mode: str, of: str = Of.EVERYTHING, delay_seconds: float = 0.0) -> None:
        """Change what happens.

        Args:
            mode: ``refuse``, ``hang``, ``delay``, or nothing for no trouble.
            of: which calls meet with it.
            delay_seconds: how long ``delay`` holds up each call.
        """
        with self._changed:
            self._mode, self._of, self._delay_seconds = mode, Of(of), delay_seconds
            self._changed.notify_all()

    def pass_through(self, of: Of = Of.EVERYTHING) -> None:
        """Come out on the other side of whatever is the matter now.

        Args:
            of: the kind of call.

        Raises:
            StoreError: the store refuses.
        """
        with self._changed:
            if not self._mode or self._of not in (Of.EVERYTHING, of):
                return
            self.met += 1
            if self._mode == "hang":
                self._changed.wait_for(lambda: self._mode != "hang", _HANG_SECONDS_MAX)
            if self._mode == "delay":
                # Woken early when the trouble ends, as a call is that waits for a slow disk.
                self._changed.wait_for(lambda: self._mode != "delay", self._delay_seconds)
            if self._mode == "refuse":
                raise StoreError(url=self._url, detail="disk I/O error")

    def surround(self, store: Store) -> None:
        """Let every call of a store pass through here."""
        for name in _SESSION_CALLS:
            _replace(store.sessions, name, self._call)
        for name in _DATA_CALLS:
            _replace(store.data, name, self._call)
        for name in _DATA_BLOCKS:
            _replace(store.data, name, self._block)

    def _call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        kind = _KINDS.get(call.__name__, Of.EVERYTHING)

        def troubled(*args: Any, **kwargs: Any) -> Any:
            self.pass_through(kind)
            return call(*args, **kwargs)

        return troubled

    def _block(
        self, block: Callable[..., AbstractContextManager[Any]]
    ) -> Callable[..., AbstractContextManager[Any]]:
        @contextmanager
        def troubled() -> Iterator[Any]:
            self.pass_through()
            with block() as inside:
                yield inside

        return troubled


def _replace(
    owner: object, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    vars(owner)[name] = wrap(getattr(owner, name))
