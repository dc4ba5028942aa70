"""A store in trouble, inside the process that uses it: it refuses every call, or those of a kind.

Every transaction and every question passes through here, on the data and on the sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from baton.errors import StoreError
from baton.fleet.store import Store
from baton.prove.scenarios.model import Of

_SESSION_CALLS = (
    *("start", "heartbeat", "raise_witness", "lose", "drain", "stop", "settle"),
    *("get", "live", "unsettled", "recent", "witness", "save_witness"),
)
_DATA_CALLS = ("put", "flush", "rows", "tail", "write_now", "delete_thread")
_DATA_BLOCKS = ("write", "read")

#: The calls that a trouble of one kind of call meets.
_KINDS = {"heartbeat": Of.HEARTBEATS, "put": Of.CHECKPOINTS}


class Trouble:
    """The switch: what becomes of the next call."""

    def __init__(self, url: str) -> None:
        """Begin without any.

        Args:
            url: the store, for its errors.
        """
        self._url = url
        self._of: Of | None = None

    def switch(self, of: str | None) -> None:
        """Change what is refused.

        Args:
            of: which calls, a value of ``Of``; None for none.
        """
        self._of = None if of is None else Of(of)

    def pass_through(self, of: Of = Of.EVERYTHING) -> None:
        """Come out on the other side of whatever is the matter now.

        Args:
            of: the kind of call.

        Raises:
            StoreError: the store refuses.
        """
        if self._of is not None and self._of in (Of.EVERYTHING, of):
            raise StoreError(url=self._url, detail="the trial refuses the call")

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
