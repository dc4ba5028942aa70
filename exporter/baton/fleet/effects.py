"""Effects inside nodes: recorded once, and a stable key to pass on to their target.

The promise: an external effect happens once at a target that honours the key, and at least once
elsewhere. A node's body may run more than once.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.config import get_config
from langgraph.runtime import get_runtime

from baton.domain.ledger import netstring
from baton.errors import BadInput, LeaseRequired
from baton.fleet.lease import Lease, lease_in
from baton.fleet.model import Typed
from baton.fleet.points import Point, reach

P = ParamSpec("P")
T = TypeVar("T")

_SERDE = JsonPlusSerializer()


def effect_key(key: str) -> str:
    """The key of an effect, stable over crash and retry, distinct for the siblings of a Send.

    Source: SHA-256 over netstrings of the task id, LangGraph's checkpoint namespace, LangGraph's
    task id (which is derived from the checkpoint, so that a re-run node has the same) and ``key``.

    Args:
        key: tells the effects of one node apart; the same on each run of the node.

    Raises:
        BadInput: called outside a node.
    """
    return _key_and_step(key)[0]


def _key_and_step(key: str) -> tuple[str, str]:
    try:
        info = get_runtime().execution_info
    except RuntimeError as error:
        raise BadInput(detail="baton.once and baton.effect_key work inside a node only") from error
    if info is None:
        raise BadInput(detail="this version of LangGraph does not say which node is running")
    digest = key_of(info.thread_id or "", info.checkpoint_ns, info.task_id, key)
    return digest, info.checkpoint_id


def key_of(task_id: str, ns: str, call_id: str, key: str) -> str:
    """The effect key of one call of one node.

    Args:
        task_id: the task: the thread.
        ns: LangGraph's checkpoint namespace.
        call_id: LangGraph's task id, which is derived from the checkpoint.
        key: tells the effects of the node apart.
    """
    parts = (task_id, ns, call_id, key)
    return hashlib.sha256("".join(map(netstring, parts)).encode()).hexdigest()


def _current_lease() -> Lease:
    config = get_config()
    lease = lease_in(config)
    if lease is None:
        raise LeaseRequired(str(config.get("configurable", {}).get("thread_id", "")))
    return lease


def once(key: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``fn`` unless its result is recorded; record the result under the lease's fence.

    The result is what LangGraph's serializer makes of it, on the first run as on any later one.

    Args:
        key: tells the effects of one node apart; the same on each run of the node.
        fn: the effect. Give its target ``effect_key(key)``, so that it can recognise a repeat.
            With an async function, ``await`` what this returns.
        args: passed on to ``fn``.
        kwargs: passed on to ``fn``.

    Raises:
        LeaseLost: the task was taken over; before ``fn`` if that is known by then.
        LeaseRequired: the graph runs without a lease of this process.
        BadInput: called outside a node, or ``fn`` only promises its result.
    """
    effect = Effect(*_key_and_step(key), _current_lease())
    if inspect.iscoroutinefunction(fn):
        return cast("T", effect.happen_awaited(lambda: fn(*args, **kwargs)))
    return effect.happen(lambda: fn(*args, **kwargs))


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect of one node under one lease."""

    key: str
    step_id: str
    lease: Lease

    def happen(self, do: Callable[[], T]) -> T:
        """Do it, unless it is recorded."""
        found = self._find()
        if found is None:
            result = do()
            if inspect.iscoroutine(result):
                result.close()
                raise BadInput(detail="baton.once needs the async function itself, to await it")
            found = self._record(result)
        recorded: T = self._serde.loads_typed(found)
        return recorded

    async def happen_awaited(self, do: Callable[[], Any]) -> Any:
        """Do it, unless it is recorded; the loop never waits for the store."""
        found = await asyncio.to_thread(self._find)
        if found is None:
            found = await asyncio.to_thread(self._record, await do())
        return self._serde.loads_typed(found)

    @property
    def _serde(self) -> SerializerProtocol:
        return self.lease.serde or _SERDE

    def _find(self) -> Typed | None:
        self.lease.check()
        found = self.lease.effect(self.key, self.step_id)
        if found is None:
            reach(Point.EFFECT_BEFORE, self.lease.task_id)
        return found

    def _record(self, result: object) -> Typed:
        reach(Point.EFFECT_AFTER, self.lease.task_id)
        encoded = self._serde.dumps_typed(result)
        self.lease.record_effect(self.key, self.step_id, encoded)
        return encoded
