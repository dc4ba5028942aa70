"""What a fenced put costs on PostgreSQL beside the stock saver's, each commit on the disk.

Both savers write the same checkpoints of the same shape, one after another, each on a thread of
its own: a put alone, and then a put with the writes of its node before it, as LangGraph makes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver

from baton.fleet.fleet import open as open_fleet
from baton.prove.local_postgres import local_postgres
from benchmarks.harness import NOISE_MAX, Figure, paired

BAR = 1.05

#: Of one measurement, and as few as may be: one slow answer of the disk spoils the whole of it.
_PUTS = 6

#: Measurements before the first that counts: the server plans a statement anew five times.
_WARM = 10

#: What a node of a small agent leaves behind: a list of messages, kept apart from the checkpoint.
_MESSAGES = [f"message {number}: what was said, and what came of it" for number in range(12)]


def _puts(saver: BaseCheckpointSaver[Any], base: RunnableConfig, *, writes: bool) -> None:
    config, version = base, None
    for number in range(_PUTS):
        checkpoint = empty_checkpoint()
        # New each time, as LangGraph's are: a channel that is there already would cost nothing.
        version = saver.get_next_version(version, None)
        checkpoint["channel_values"] = {"n": number, "messages": _MESSAGES}
        checkpoint["channel_versions"] = {"n": version, "messages": version}
        if writes and number:
            saver.put_writes(config, [("n", number), ("messages", _MESSAGES)], uuid.uuid4().hex)
        before = config["configurable"].get("checkpoint_id")
        configurable = {**base["configurable"], "checkpoint_ns": ""}
        if before is not None:
            configurable["checkpoint_id"] = before
        config = saver.put(
            {"configurable": configurable},
            checkpoint,
            {"source": "loop", "step": number},
            {"n": version, "messages": version},
        )
        config = {"configurable": {**base["configurable"], **config["configurable"]}}


def figures(rounds: int) -> list[Figure]:
    """A put alone, and a put with its node's writes."""
    found = []
    with ExitStack() as stack:
        url = stack.enter_context(local_postgres())
        fleet = stack.enter_context(open_fleet(url))
        stock_saver = stack.enter_context(PostgresSaver.from_conn_string(url))

        def stock(*, writes: bool) -> Callable[[], None]:
            return lambda: _puts(
                stock_saver, {"configurable": {"thread_id": uuid.uuid4().hex}}, writes=writes
            )

        def ours(*, writes: bool) -> Callable[[], None]:
            def run() -> None:
                _puts(fleet.saver(), lease.config, writes=writes)

            return run

        for what, writes in (("put", False), ("put with its node's writes", True)):
            with fleet.lease(f"t-{uuid.uuid4().hex}") as lease:
                base, candidate = stock(writes=writes), ours(writes=writes)
                for _ in range(_WARM):
                    base()
                    candidate()
                result = paired(base, candidate, rounds)
            found.append(
                Figure(
                    f"PostgreSQL: fenced {what} / stock",
                    result.wall,
                    BAR,
                    at_most=True,
                    detail=f"stock {result.base_wall / _PUTS * 1e6:.0f} µs, synchronous_commit=on,"
                    f" base against base {result.wall_noise:.1%}",
                    void=result.wall_noise > NOISE_MAX,
                )
            )
    return found
