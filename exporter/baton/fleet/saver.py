"""The fenced checkpointer: LangGraph's own saver, whose every write needs a lease.

It subclasses the stock saver and keeps its tables, so that a stock saver can read them. What
differs is when rows are written and on what condition: see ``sqlite_data``, ``postgres_data``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.base import Checkpoint as GraphCheckpoint
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from baton.errors import LeaseLost, LeaseRequired
from baton.fleet.lease import lease_of
from baton.fleet.model import (
    EPOCH,
    RUN,
    SESSION,
    WORKER,
    Checkpoint,
    LeaseKey,
    ParkedWrite,
)
from baton.fleet.points import Point, reach
from baton.fleet.sqlite_data import DataFile
from baton.fleet.tables import Data

#: Made once: ``json.dumps`` would make one like it for every super-step.
_METADATA = json.JSONEncoder(ensure_ascii=False)

_RESUME = "__resume__"
_INTERRUPT = "__interrupt__"


class Leases(Protocol):
    """Who answers for the leases of this process."""

    def held(self, task_id: str, *, lease: bool) -> RunnableConfig | None:
        """The config of the lease this process holds; leased on the spot if ``lease`` says so."""

    def refused(self, lost: LeaseLost, key: LeaseKey) -> None:
        """Mark a lease as lost and record the refusal."""


class FencedSaver(BaseCheckpointSaver[str], ABC):
    """A checkpointer that accepts writes from the lease holder only; reading is free.

    What the savers of both kinds of store share; it stands before the stock saver among a
    saver's bases.
    """

    _data: Data
    _leases: Leases
    _auto_lease: bool

    @abstractmethod
    def _record(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Checkpoint:
        """A checkpoint as the stock saver's tables take it."""

    def _lease_of(self, config: RunnableConfig) -> tuple[LeaseKey, str, str]:
        configurable = config["configurable"]
        task_id = str(configurable["thread_id"])
        if EPOCH not in configurable:
            if not self._auto_lease:
                raise LeaseRequired(task_id)
            configurable = self._config_of(task_id)["configurable"]
        key = LeaseKey(task_id, configurable[EPOCH], configurable[SESSION])
        return key, configurable[RUN], configurable[WORKER]

    def _config_of(self, task_id: str) -> RunnableConfig:
        config = self._leases.held(task_id, lease=self._auto_lease)
        if config is None:
            raise LeaseRequired(task_id)
        return config

    def put(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Make a super-step durable in one fenced commit, with its event in the ledger.

        Raises:
            LeaseLost: another session took the task over; nothing was written.
            LeaseRequired: the config carries no lease.
        """
        began = time.perf_counter()
        key, run_id, worker_id = self._lease_of(config)
        record = self._record(config, checkpoint, metadata, new_versions)
        lease = lease_of(key)
        if lease is not None:
            lease.restored()
        reach(Point.CKPT_BEFORE, key.task_id)
        try:
            self._data.put(key, run_id, worker_id, record)
        except LeaseLost as lost:
            self._leases.refused(lost, key)
            raise
        reach(Point.CKPT_AFTER_WRITE, key.task_id)
        if lease is not None:
            lease.wrote(interrupt=False, seconds=time.perf_counter() - began)
        return {
            "configurable": {
                "thread_id": config["configurable"]["thread_id"],
                "checkpoint_ns": record.ns,
                "checkpoint_id": checkpoint["id"],
            }
        }

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Keep a node's writes for the checkpoint that follows; interrupts and errors at once.

        Raises:
            LeaseLost: another session took the task over; nothing was written.
            LeaseRequired: the config carries no lease.
        """
        began = time.perf_counter()
        key, _, _ = self._lease_of(config)
        rows, special = self._encode(config, writes, task_id, task_path)
        reach(Point.WRITES_BEFORE, key.task_id)
        if not special:
            self._data.park(key, rows)
            reach(Point.WRITES_AFTER, key.task_id)
            return
        channels = {channel for channel, _ in writes}
        lease = lease_of(key)
        if lease is not None:
            lease.restored()
        try:
            self._data.write_now(key, rows, resume=_RESUME in channels)
        except LeaseLost as lost:
            self._leases.refused(lost, key)
            raise
        reach(Point.WRITES_AFTER, key.task_id)
        if lease is not None:
            lease.wrote(interrupt=_INTERRUPT in channels, seconds=time.perf_counter() - began)

    def _encode(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> tuple[list[ParkedWrite], bool]:
        configurable = config["configurable"]
        thread_id = str(configurable["thread_id"])
        ns = str(configurable.get("checkpoint_ns", ""))
        checkpoint_id = str(configurable["checkpoint_id"])
        replace = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        # An error is followed by its source node under a channel of its own: no put follows
        # either, so one special channel is enough to make the batch urgent.
        urgent = any(channel in WRITES_IDX_MAP for channel, _ in writes)
        rows: list[ParkedWrite] = []
        for index, (channel, value) in enumerate(writes):
            place = WRITES_IDX_MAP.get(channel, index)
            encoded = self.serde.dumps_typed(value)
            row = (thread_id, ns, checkpoint_id, task_id, task_path, place, channel, *encoded)
            rows.append((replace, row))
        return rows, urgent

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the stock signature
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """List checkpoints, newest first, in one go, so that the caller may write meanwhile."""
        yield from tuple(super().list(config, filter=filter, before=before, limit=limit))

    def delete_thread(self, thread_id: str) -> None:
        """Forget a thread's checkpoints; its ledger stays.

        Raises:
            LeaseRequired: somebody else may be writing; lease the thread first.
        """
        key, _, _ = self._lease_of(self._config_of(str(thread_id)))
        self._data.delete_thread(key)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """``get_tuple`` without blocking the loop."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the stock signature
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """``list`` without blocking the loop."""

        def take() -> tuple[CheckpointTuple, ...]:
            return tuple(self.list(config, filter=filter, before=before, limit=limit))

        for found in await asyncio.to_thread(take):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """``put`` without blocking the loop."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """``put_writes`` without blocking the loop; parking is quick enough to stay on it."""
        if any(channel in WRITES_IDX_MAP for channel, _ in writes) or self._auto_lease:
            await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)
        else:
            self.put_writes(config, writes, task_id, task_path)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """``get_delta_channel_history`` without blocking the loop."""
        return await asyncio.to_thread(
            self.get_delta_channel_history, config=config, channels=channels
        )

    async def adelete_thread(self, thread_id: str) -> None:
        """``delete_thread`` without blocking the loop."""
        await asyncio.to_thread(self.delete_thread, thread_id)


class FencedSqliteSaver(FencedSaver, SqliteSaver):
    """The fenced checkpointer over the tables of LangGraph's SQLite saver."""

    def __init__(
        self,
        data: DataFile,
        leases: Leases,
        *,
        auto_lease: bool = False,
        serde: SerializerProtocol | None = None,
    ) -> None:
        """Write through a store's data file.

        Args:
            data: the open data file.
            leases: who is told of refusals.
            auto_lease: lease unleased threads by itself, as conformance tests need it.
            serde: LangGraph's serializer; its allow-list is what checkpoints are read through.
        """
        super().__init__(data.connection, serde=serde)
        self.is_setup = True
        self._data = self._file = data
        self._leases = leases
        self._auto_lease = auto_lease

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:  # noqa: FBT001, FBT002 - the stock signature
        """A cursor that sees everything parked; only reads come this way."""
        del transaction
        with self._file.read() as cursor:
            yield cursor

    def _record(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Checkpoint:
        del new_versions
        configurable = config["configurable"]
        type_, blob = self.serde.dumps_typed(checkpoint)
        encoded = _METADATA.encode(get_checkpoint_metadata(config, metadata))
        return Checkpoint(
            ns=configurable.get("checkpoint_ns", ""),
            checkpoint_id=checkpoint["id"],
            parent_id=configurable.get("checkpoint_id"),
            step=metadata.get("step", -1),
            source=metadata.get("source", ""),
            type=type_,
            blob=blob,
            metadata=encoded.encode("utf-8", "ignore"),
            digest=hashlib.sha256(blob).hexdigest(),
        )
