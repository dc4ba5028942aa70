"""LangGraph as the simulator plays it: super-steps that write through the real fenced saver.

What a node, an effect, a checkpoint, a run's beginning and its end are is production's own code;
only what LangGraph itself does between them is played here, after ``shapes.SHAPES``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.errors import GraphDrained
from langgraph.types import Command

from baton.fleet.effects import Effect, key_of
from baton.fleet.guard import enter
from baton.fleet.lease import Lease
from baton.fleet.model import LeaseKey
from baton.fleet.points import Point, reach
from baton.fleet.saver import FencedSqliteSaver
from baton.prove.sim.shapes import Call, Shape
from baton.prove.sim.world import Fiber, Signal, Task

#: LangGraph's own name for nobody's task: a resume value is written under it.
_NOBODY = "00000000-0000-0000-0000-000000000000"

#: Writes that say something of a call and are not its result.
_SPECIAL = ("__interrupt__", "__resume__", "__error__")

Values = dict[str, Any]


class _Asked(Exception):
    """A call waits for an answer."""


@dataclass(frozen=True, slots=True)
class State:
    """A graph's state as ``get_state`` gives it."""

    values: Values
    tasks: tuple[str, ...]


class PlayedGraph:
    """What the runner asks of a graph besides running it."""

    def __init__(self, shape: Shape, saver: FencedSqliteSaver) -> None:
        """Play a shape over a saver."""
        self._shape, self._saver = shape, saver

    def get_state(self, config: RunnableConfig) -> State:
        """The last checkpoint's values, and the calls that are due."""
        found = self._saver.get_tuple(config)
        if found is None:
            return State({}, ())
        step = found.metadata["step"]
        if step < 0:
            return State({}, ("__start__",))
        due = self._shape.steps[step] if step < len(self._shape.steps) else ()
        return State(found.checkpoint["channel_values"], tuple(call.node for call in due))


@dataclass(frozen=True, slots=True)
class Stage:
    """What a machine needs of the process that it runs in.

    Attributes:
        go: starts a fiber in the process.
        later: lets something happen in the process after so many microseconds.
        changed: fires whenever the process has reacted to something.
        new_id: makes ids of checkpoints, each behind the one before.
        work_us: how long a node works, this time.
        hop_us: how long LangGraph takes between two things, this time.
        blocked_us: how long the event loop of a run is blocked from now on.
        starting: told the lease, the node and the super-step of a call that is about to begin.
        deliver: the effects' target: told key, task and what; returns what it holds.
        trying: told the lease, the super-step and the key of an effect that is tried.
    """

    go: Callable[[Fiber, Callable[[Exception | None], None]], Task]
    later: Callable[[int, Callable[[], None]], None]
    changed: Signal
    new_id: Callable[[], str]
    work_us: Callable[[], int]
    hop_us: Callable[[], int]
    blocked_us: Callable[[str], int]
    starting: Callable[[LeaseKey, str, str], None]
    deliver: Callable[[str, str, str], str]
    trying: Callable[[LeaseKey, str, str], None]
    flush: Callable[[], None]


class Machine:
    """One run of one graph under one lease."""

    def __init__(self, stage: Stage, shape: Shape, saver: FencedSqliteSaver, lease: Lease) -> None:
        """Prepare; nothing happens yet."""
        self._stage, self._shape, self._saver, self._lease = stage, shape, saver, lease

    def run(self, value: Any) -> Fiber:
        """Begin with an input, go on (None) or resume (a ``Command``)."""
        resume = value.resume if isinstance(value, Command) else None
        start = None if isinstance(value, Command) else value
        try:
            yield from self._graph("", self._shape.steps, start, resume)
        except _Asked:
            return

    # One graph, or one inside another

    def _graph(
        self, ns: str, steps: tuple[tuple[Call, ...], ...], start: Any, resume: Any
    ) -> Generator[int | Signal, None, Values]:
        yield self._stage.hop_us()
        found = self._saver.get_tuple(self._config(ns))
        values: Values = {}
        pending: dict[str, Any] = {}
        if found is None:
            at, step = self._put(ns, None, -1, {"__start__": start}), -1
        else:
            at, step, values, pending = _where(found)
            start = values.get("__start__", start)
        if resume is not None:
            self._saver.put_writes(self._config(ns, at), [("__resume__", resume)], _NOBODY)
            pending["__resume__"] = resume
        if step < 0:
            self._stop_if_asked()
            yield self._stage.hop_us()
            values = dict(start or {"log": []})
            at, step, pending = self._put(ns, at, 0, values), 0, {}
        while step < len(steps):
            self._stop_if_asked()
            outputs: list[str] = []
            yield from self._superstep(ns, at, step, steps[step], pending, outputs)
            yield self._stage.hop_us()
            values = {**values, "log": [*values["log"], *outputs]}
            at, step, pending = self._put(ns, at, step + 1, values), step + 1, {}
        return values

    def _stop_if_asked(self) -> None:
        control = self._lease.control
        if control is not None and control.drain_requested:
            raise GraphDrained(control.drain_reason or "drain")

    def _put(self, ns: str, parent: str | None, step: int, values: Values) -> str:
        id_ = self._stage.new_id()
        checkpoint: Any = {
            "v": 4,
            "id": id_,
            "ts": id_,
            "channel_values": values,
            "channel_versions": {},
            "versions_seen": {},
            "updated_channels": None,
        }
        source = "input" if step < 0 else "loop"
        metadata: Any = {"source": source, "step": step, "parents": {}}
        self._saver.put(self._config(ns, parent), checkpoint, metadata, {})
        return id_

    def _config(self, ns: str, checkpoint_id: str | None = None) -> RunnableConfig:
        config = self._lease.config
        config["configurable"]["checkpoint_ns"] = ns
        if checkpoint_id is not None:
            config["configurable"]["checkpoint_id"] = checkpoint_id
        return config

    # One super-step

    def _superstep(
        self,
        ns: str,
        at: str,
        step: int,
        calls: tuple[Call, ...],
        pending: dict[str, Any],
        outputs: list[str],
    ) -> Fiber:
        results: dict[int, list[str]] = {}
        errors: list[Exception] = []
        ended, running, tasks = Signal(), 0, []

        def end(error: Exception | None) -> None:
            nonlocal running
            running -= 1
            if error is not None:
                errors.append(error)
            ended.fire()

        for index, call in enumerate(calls):
            id_ = _call_id(at, ns, call.node, index)
            if id_ in pending:
                results[index] = pending[id_]
                continue
            place = _Place(ns, at, step, index, id_)
            fiber = self._call(call, place, pending.get("__resume__"), results)
            running += 1
            tasks.append(self._stage.go(fiber, end))
        while running and all(isinstance(error, _Asked) for error in errors):
            yield ended
        for task in tasks:
            task.cancel()
        if errors:
            raise next((e for e in errors if not isinstance(e, _Asked)), errors[0])
        outputs.extend(out for index in sorted(results) for out in results[index])

    def _call(self, call: Call, place: _Place, resume: Any, results: dict[int, list[str]]) -> Fiber:
        lease, stage = self._lease, self._stage
        yield stage.hop_us()
        yield from self._sure()
        stage.starting(lease.claim.key, call.node, place.at)
        enter(lease)
        yield from self._unblocked()
        done: list[str] = []
        if call.inner:
            inner = yield from self._graph(f"{call.node}:{place.id}", call.inner, {"log": []}, None)
            done += inner["log"]
        elif not call.effects:
            yield from self._work()
            done.append(call.node)
        for number, what in enumerate(call.effects):
            if number == call.asks and resume is None:
                self._write(place, [("__interrupt__", [what])])
                raise _Asked
            yield from self._work()
            yield from self._sure()
            done.append(self._effect(place, what))
        reach(Point.STEP_END, lease.task_id)
        yield stage.hop_us()
        self._write(place, [("log", done)])
        stage.later(2_000, stage.flush)
        results[place.index] = done

    def _work(self) -> Fiber:
        yield self._stage.work_us()
        yield from self._unblocked()

    def _unblocked(self) -> Fiber:
        if self._shape.on_loop:
            while (left_us := self._stage.blocked_us(self._lease.task_id)) > 0:
                yield left_us

    def _sure(self) -> Fiber:
        """Wait as ``Lease.check`` would, whose own wait would stop the whole world."""
        session = self._lease.session
        while session.over is None and self._lease.lost is None and not session.confirmed:
            yield self._stage.changed

    def _effect(self, place: _Place, what: str) -> str:
        task_id = self._lease.task_id
        key = key_of(task_id, place.ns, place.id, what)

        def send() -> str:
            self._stage.trying(self._lease.claim.key, place.at, key)
            return self._stage.deliver(key, task_id, what)

        return Effect(key, place.at, self._lease).happen(send)

    def _write(self, place: _Place, writes: list[tuple[str, Any]]) -> None:
        config = self._config(place.ns, place.at)
        self._saver.put_writes(config, writes, place.id, str(place.index))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a call belongs."""

    ns: str
    at: str
    step: int
    index: int
    id: str


def _call_id(checkpoint_id: str, ns: str, node: str, index: int) -> str:
    text = f"{checkpoint_id}/{ns}/{node}/{index}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _where(found: CheckpointTuple) -> tuple[str, int, Values, dict[str, Any]]:
    """How far a graph has come, and what is known of the super-step that is due."""
    pending: dict[str, Any] = {}
    for call_id, channel, value in found.pending_writes or ():
        if channel == "__resume__":
            pending[channel] = value
        elif channel not in _SPECIAL:
            pending[call_id] = value
    checkpoint = found.checkpoint
    return checkpoint["id"], found.metadata["step"], checkpoint["channel_values"], pending


def log_after(values: Values, step: int, shape: Shape) -> list[str]:
    """What a super-step of the graph itself makes of the state before it, by the rules alone.

    Args:
        values: the state before it.
        step: its number: of the checkpoint that it leads to.
        shape: the graph's.
    """
    if step == 0:
        return list(values["__start__"]["log"])
    return [*values["log"], *(out for call in shape.steps[step - 1] for out in _outputs(call))]


def _outputs(call: Call) -> list[str]:
    if call.inner:
        return [out for calls in call.inner for one in calls for out in _outputs(one)]
    return list(call.effects) or [call.node]
