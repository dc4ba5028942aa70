"""What a fenced put costs on PostgreSQL beside the stock saver's, each commit on the disk.

Both savers write checkpoints of the same shape, one after another, each on a thread of its own: a
put alone, and then a put with the writes of its node before it, as LangGraph makes them. A try is
one super-step, and there are thousands of them: one slow answer of the disk spoils no more than it.

Where a server's process happens to lie, in memory and on a processor, makes a difference of several
percent, in either direction, for as long as its connection lasts. So both sides go through many
connections, a few hundred super-steps over each.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver

from baton.fleet.fleet import open as open_fleet
from baton.prove.local_postgres import local_postgres
from benchmarks.harness import NOISE_MAX, Figure, paired

BAR = 1.05

#: Super-steps before the first that counts: the server plans a statement anew five times.
_WARM = 50

#: How many connections each side goes through, and how many super-steps it makes over one.
_CONNECTIONS, _EACH = 8, 500

#: What a node of a small agent leaves behind: a list of messages, kept apart from the checkpoint.
_MESSAGES = [f"message {number}: what was said, and what came of it" for number in range(12)]


class _Thread:
    """A thread that goes on, super-step after super-step."""

    def __init__(
        self, saver: BaseCheckpointSaver[Any], config: RunnableConfig, *, writes: bool
    ) -> None:
        self._saver = saver
        self._base = {**config["configurable"], "checkpoint_ns": ""}
        self._writes = writes
        self._number = 0
        self._version: str | None = None
        self._checkpoint = empty_checkpoint()
        self._config: RunnableConfig = {"configurable": self._base}

    def prepare(self) -> None:
        """What LangGraph does before it comes to the saver, which is not the saver's to answer."""
        if self._number:
            configurable = {**self._base, "checkpoint_id": self._checkpoint["id"]}
            self._config = {"configurable": configurable}
        self._number += 1
        # New each time, as LangGraph's are: a channel that is there already would cost nothing.
        self._version = self._saver.get_next_version(self._version, None)
        self._checkpoint = empty_checkpoint()
        self._checkpoint["channel_values"] = {"n": self._number, "messages": _MESSAGES}
        self._checkpoint["channel_versions"] = dict.fromkeys(("n", "messages"), self._version)

    def step(self) -> None:
        """Make one super-step durable: its node's writes, and its checkpoint."""
        if self._writes and self._number > 1:
            values = [("n", self._number), ("messages", _MESSAGES)]
            self._saver.put_writes(self._config, values, self._checkpoint["id"])
        self._saver.put(
            self._config,
            self._checkpoint,
            {"source": "loop", "step": self._number},
            self._checkpoint["channel_versions"],
        )


class _Turns:
    """Threads over connections of their own, each for so many super-steps at a time."""

    def __init__(self, threads: list[_Thread]) -> None:
        self._threads = threads
        self._number = 0
        for thread in threads * _WARM:
            thread.prepare()
            thread.step()

    def prepare(self) -> None:
        """Make the next super-step ready."""
        self._now = self._threads[self._number // _EACH % len(self._threads)]
        self._number += 1
        self._now.prepare()

    def step(self) -> None:
        """Make it."""
        self._now.step()


def figures(rounds: int) -> list[Figure]:
    """A put alone, and a put with its node's writes."""
    found = []
    for what, writes in (("put", False), ("put with its node's writes", True)):
        with ExitStack() as stack:
            url = stack.enter_context(local_postgres())
            base, candidate = [], []
            for number in range(_CONNECTIONS):
                saver = stack.enter_context(PostgresSaver.from_conn_string(url))
                config: RunnableConfig = {"configurable": {"thread_id": f"stock-{number}"}}
                base.append(_Thread(saver, config, writes=writes))
                fleet = stack.enter_context(open_fleet(url))
                lease = stack.enter_context(fleet.lease(f"fenced-{number}"))
                candidate.append(_Thread(fleet.saver(), lease.config, writes=writes))
            bases, ours = _Turns(base), _Turns(candidate)
            result = paired(bases.step, ours.step, rounds, before=(bases.prepare, ours.prepare))
        found.append(
            Figure(
                f"PostgreSQL: fenced {what} / stock",
                result.wall,
                BAR,
                at_most=True,
                detail=f"stock {result.base_wall * 1e6:.0f} µs, synchronous_commit=on,"
                f" each against itself {result.wall_noise:.1%},"
                f" medians {result.wall_median:.2f}x",
                void=result.wall_noise > NOISE_MAX,
            )
        )
    return found
