"""A scenario as data: who takes part, what is broken at which point, and what must follow.

One file is one scenario, and every engine performs the same one. Nothing here performs anything.

The **lease word** of a task is its history in five letters, read off its chain in the ledger:
``H2`` a session holds it under epoch 2; ``X`` its holder was lost (crashed, silent or stalled);
``F`` it was given back unfinished, or an operator took it; ``I`` it waits for an answer; ``Q`` it
was put aside. The end is ``D`` for done, ``E`` for failed; a word without an end is a task that is
not over. An undisturbed task reads ``H1 D``, one takeover ``H1 X H2 D``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from baton.domain.continuity.concluding import Range
from baton.fleet.points import Point

#: The graphs on trial, by name: see ``graphs.GRAPHS``.
GRAPH_NAMES = ("agent", "anode", "ask", "chain", "fan", "pace", "relay", "sub")

#: Assertions that every scenario must pass, whatever else it asks for.
ALWAYS = ("C5", "C6", "C9", "C10", "L1", "V1")

#: Every assertion there is, in the order in which they are told.
ASSERTION_IDS = (
    *(f"C{number}" for number in range(1, 15)),
    *(f"L{number}" for number in range(1, 5)),
    *(f"V{number}" for number in range(1, 4)),
)


class Do(StrEnum):
    """What a fault does to its actor."""

    #: The process is gone at once; what its transaction had not committed is rolled back.
    SIGKILL = "sigkill"
    #: The process stands still, for ``for_seconds`` or for good.
    SIGSTOP = "sigstop"
    #: The process is asked to drain and to leave.
    SIGTERM = "sigterm"
    #: The store answers nobody (or only ``of`` fails) for ``for_seconds``.
    OUTAGE = "outage"
    #: The transaction that follows commits, and its answer is lost.
    DROP_ACK = "drop_ack"
    #: What comes next takes ``for_seconds`` longer; the rest of the process goes on.
    DELAY = "delay"
    #: The write fails inside its transaction, which is rolled back.
    FAIL_WRITE = "fail_write"
    #: A node blocks its thread (and the event loop in it) for ``for_seconds``.
    BLOCK_LOOP = "block_loop"
    #: The actor's clock jumps by ``seconds``; the store's own if the actor is ``store``.
    CLOCK_OFFSET = "clock_offset"
    #: The actor's clock runs ``rate`` times as fast from now on.
    CLOCK_RATE = "clock_rate"
    #: Whoever arrives waits until ``parties`` workers are at the same point.
    BARRIER = "barrier"
    #: A second process starts under the actor's worker name.
    TWIN = "twin"
    #: The task is submitted again, with the same input.
    RESUBMIT = "resubmit"
    #: The data are copied aside, for ``restore`` to put back.
    SNAPSHOT = "snapshot"
    #: Everybody is stopped, the copy is put back, and everybody starts again.
    RESTORE = "restore"


class Issue(StrEnum):
    """A fault of LangGraph's stock saver that a scenario is about."""

    #: The writes of a node and the checkpoint behind them become durable in either order.
    ORDER = "langgraph#8039"
    #: A death before the first durable checkpoint drops a run that was accepted.
    DROPPED = "langgraph#8764"


class Of(StrEnum):
    """Which calls to the store a fault of the connection meets."""

    EVERYTHING = "everything"
    HEARTBEATS = "heartbeats"
    CHECKPOINTS = "checkpoints"


#: Actors that are roles; any other name is a worker of the topology.
HOLDER = "holder"
SUCCESSOR = "successor"
ALL = "all"
STORE = "store"
ROLES = (HOLDER, SUCCESSOR, ALL, STORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One process of the topology.

    Attributes:
        concurrency: how many tasks it runs at once.
        version: what its session says of the software; empty for this Baton's own.
        joins_after_seconds: when it starts, counted from the beginning.
    """

    name: str
    concurrency: int = 1
    version: str = ""
    joins_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Who takes part.

    Attributes:
        workers: in the order in which they start.
        tasks: how many tasks of each graph; they are called ``GRAPH-1``, ``GRAPH-2`` and so on.
        hosts: ``shared``: the kernel tells the workers of each other's deaths; ``apart``: only
            silence does.
    """

    workers: tuple[Worker, ...]
    tasks: Mapping[str, int]
    hosts: str = "shared"

    @property
    def task_ids(self) -> tuple[str, ...]:
        """Every task, in the order of submission."""
        return tuple(
            f"{graph}-{n}" for graph, count in self.tasks.items() for n in range(1, count + 1)
        )

    @property
    def worker_names(self) -> tuple[str, ...]:
        """Every worker's name."""
        return tuple(worker.name for worker in self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How time is set; seconds of virtual time in one engine and of real time in the other.

    Attributes:
        node_seconds: how long each node of a graph works.
        limit_seconds: when a trial that has not come to rest is over.
        answer_after_seconds: how long an interrupt waits for its answer.
        deadline_seconds: how long a task may go without a durable write; None for ever.
        submit_every_seconds: how long after one task the next is submitted, a task of each graph
            in turn; 0 for all at the beginning.
    """

    ttl_seconds: float = 3.0
    heartbeat_seconds: float = 1.0
    node_seconds: float = 0.3
    poll_seconds: float = 0.2
    drain_timeout_seconds: float = 5.0
    answer_after_seconds: float = 1.0
    deadline_seconds: float | None = None
    limit_seconds: float = 60.0
    submit_every_seconds: float = 0.0

    def submissions(self, topology: Topology) -> tuple[tuple[float, str], ...]:
        """When each task is submitted, in seconds from the beginning."""
        every = self.submit_every_seconds
        ids = topology.task_ids
        if every:
            ids = tuple(sorted(ids, key=lambda one: int(one.rpartition("-")[2])))
        return tuple((number * every, one) for number, one in enumerate(ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is broken on purpose.

    Attributes:
        name: unique in its scenario.
        do: what is done.
        actor: a worker's name or one of ``ROLES``. ``holder`` is whoever reaches the point while
            it holds the task under its first epoch, ``successor`` under a later one; for points
            that concern a session, whoever has held a task so.
        at: the point at which it happens; None for a fault that happens at ``after_seconds``.
        nth: at which time that the actor reaches the point, from 1.
        times: how often it happens in all; each further time needs ``nth`` more arrivals.
        task: only arrivals that concern this task count; None for any.
        after: the fault that must have fired before this one counts arrivals.
        after_seconds: not before this moment, counted from the beginning or from ``after``.
        for_seconds: how long it lasts; None for good.
        of: for ``outage``, ``delay`` and ``drop_ack``, which calls are met.
        seconds: for ``clock_offset``, how far; negative is back.
        rate: for ``clock_rate``.
        parties: for ``barrier``.
        back_after_seconds: a process that the fault ended starts again after this; None if not.
        line: where the file says so, for messages.
    """

    name: str
    do: Do
    actor: str = HOLDER
    at: Point | None = None
    nth: int = 1
    times: int = 1
    task: str | None = None
    after: str | None = None
    after_seconds: float = 0.0
    for_seconds: float | None = None
    of: Of = Of.EVERYTHING
    seconds: float = 0.0
    rate: float = 1.0
    parties: int = 2
    back_after_seconds: float | None = None
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long things may take.

    Attributes:
        takeover_seconds: by takeover reason, from the last sign of life to the first node.
        claims_per_second: how many claims one second may see at most.
        converge_seconds: from the last fault's end to the end of every task.
    """

    takeover_seconds: Mapping[str, float] = field(default_factory=dict)
    claims_per_second: int | None = None
    converge_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What must follow.

    Attributes:
        lease: by task, the lease words any of which is right; a task that is not named may have
            any legal word.
        takeovers: how many claims continue a run that another session left unfinished.
        refusals: how many writes the fence refuses.
        duplicates: how often an effect is recognised as recorded already.
        assertions: what must pass, ``ALWAYS`` included.
        must_fire: names of the faults that must be seen to fire.
        alerts: alerts that must fire, by their real names.
        silent: alerts that must not.
        quiet_tasks: tasks that no takeover may touch.
    """

    lease: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    takeovers: Range = field(default_factory=Range)
    refusals: Range = field(default_factory=Range)
    duplicates: Range = field(default_factory=Range)
    assertions: tuple[str, ...] = ALWAYS
    must_fire: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    quiet_tasks: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario.

    Attributes:
        id: as its file is called.
        hypothesis: what is believed, in a sentence that can be wrong.
        tags: ``risk`` marks those that a release must pass.
        refused_by: by engine, why it cannot perform this scenario.
        seed: decides what chance decides, where the command does not say; None for the default.
        stock: a fault of LangGraph's stock saver that it is about, tried beside it.
        origin: the file it was read from.
        digest: SHA-256 of the file's bytes.
    """

    id: str
    title: str
    hypothesis: str
    tags: tuple[str, ...]
    topology: Topology
    timing: Timing
    faults: tuple[Fault, ...]
    expect: Expect
    refused_by: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    stock: Issue | None = None
    origin: str = ""
    digest: str = ""
