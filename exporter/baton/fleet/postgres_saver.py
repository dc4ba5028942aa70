"""The fenced checkpointer over the tables of LangGraph's PostgreSQL saver."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from operator import itemgetter
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    CheckpointMetadata,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.base import Checkpoint as GraphCheckpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from baton.domain.ledger import made_once, netstring
from baton.fleet.model import Checkpoint
from baton.fleet.postgres_connect import stock_cursor
from baton.fleet.postgres_data import DataTables
from baton.fleet.saver import FencedSaver, Leases

_BY_NAME = itemgetter(0)

#: Made once: ``json.dumps`` would make one like it for every super-step.
_SORTED = made_once(json.JSONEncoder(sort_keys=True))
_PLAIN = made_once(json.JSONEncoder())


class FencedPostgresSaver(FencedSaver, PostgresSaver):
    """LangGraph's PostgreSQL saver, whose every write needs a lease and is one statement."""

    def __init__(
        self,
        data: DataTables,
        leases: Leases,
        *,
        auto_lease: bool = False,
        serde: SerializerProtocol | None = None,
    ) -> None:
        """Write through a store's tables.

        Args:
            data: the open tables.
            leases: who is told of refusals.
            auto_lease: lease unleased threads by itself, as conformance tests need it.
            serde: LangGraph's serializer; its allow-list is what checkpoints are read through.
        """
        # The stock saver's own connection is never used: both ways to it are overridden.
        super().__init__(None, serde=serde)  # type: ignore[arg-type]
        self._data = self._tables = data
        self._leases = leases
        self._auto_lease = auto_lease

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Any]:
        """A cursor that sees everything parked; only reads come this way."""
        del pipeline
        with self._tables.read() as found:
            yield stock_cursor(found.connection)

    def _record(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Checkpoint:
        configurable = config["configurable"]
        inline, apart = _split(checkpoint["channel_values"])
        body = _canonical({**checkpoint, "channel_values": inline})
        channels = tuple(
            (name, version, *self.serde.dumps_typed(apart[name]))
            for name, version in new_versions.items()
            if name in apart
        )
        meta = get_serializable_checkpoint_metadata(config, metadata)
        return Checkpoint(
            ns=configurable.get("checkpoint_ns", ""),
            checkpoint_id=checkpoint["id"],
            parent_id=configurable.get("checkpoint_id"),
            step=metadata.get("step", -1),
            source=metadata.get("source", ""),
            type="",
            blob=body,
            metadata=_PLAIN(meta).encode(),
            digest=_digest(body, channels),
            channels=channels,
        )

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """``PostgresSaver.prune``, each thread in a transaction that its lease's fence guards.

        Args:
            thread_ids: the threads.
            strategy: ``keep_latest`` or ``delete``.

        Raises:
            LeaseRequired: somebody else may be writing; lease the threads first.
            LeaseLost: another session took a thread over; the threads before it are pruned.
        """
        if isinstance(thread_ids, str):
            raise TypeError("thread_ids must be a sequence of thread ids, and not one of them")
        keys = [self._lease_of(self._config_of(str(thread_id)))[0] for thread_id in thread_ids]
        for key in keys:
            with self._tables.write() as write:
                # While this holds the task's row nobody can take it over.
                write.fence(key)
                super().prune([key.task_id], strategy=strategy)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """``prune`` without blocking the loop."""
        await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)


def _split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The channels kept in the checkpoint itself, and those kept apart, as the stock saver does."""
    inline: dict[str, Any] = {}
    apart: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or isinstance(value, (str, int, float, bool)):
            inline[name] = _as_jsonb(value) if isinstance(value, float) else value
        else:
            apart[name] = value
            if isinstance(value, _DeltaSnapshot):
                inline[name] = True
    return inline, apart


def _as_jsonb(value: float) -> float | int:
    """A number as PostgreSQL's JSON will tell it: one without a fraction may lose its exponent."""
    if not math.isfinite(value):
        return value
    number = Decimal(repr(value))
    return int(number) if int(number.as_tuple().exponent) >= 0 else value + 0.0


def _canonical(checkpoint: Mapping[str, Any]) -> bytes:
    """The checkpoint's own JSON, the same before PostgreSQL has kept it and after."""
    return _SORTED(checkpoint).encode()


def digest_of_stored(checkpoint: str, channels: Iterable[tuple[Any, ...]]) -> str:
    """The digest that a step's event has, once more from the rows of LangGraph's own tables.

    Args:
        checkpoint: the JSON of the checkpoint, as PostgreSQL tells it.
        channels: channel, version, type and value of the channels that came with it.
    """
    return _digest(_canonical(json.loads(checkpoint)), channels)


def _digest(body: bytes, channels: Iterable[tuple[Any, ...]]) -> str:
    """SHA-256 over the checkpoint's own JSON and the channels that came with it, as netstrings."""
    # Hashed in one go: to begin a hash, and to go on with it, costs more than these few bytes do.
    parts = [f"{len(body)}:".encode(), body]
    for channel, version, type_, blob in sorted(channels, key=_BY_NAME):
        value = blob or b""
        about = f",{netstring(channel)}{netstring(version)}{netstring(type_)}{len(value)}:"
        parts += (about.encode(), value)
    parts.append(b",")
    return hashlib.sha256(b"".join(parts)).hexdigest()
