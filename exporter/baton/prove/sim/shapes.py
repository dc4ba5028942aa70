"""What LangGraph makes of each graph on trial: its super-steps, and what each does.

A test runs the graphs themselves and holds their ledgers against these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baton.prove.scenarios.graphs import PACE_STEPS, RELAY_STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One node, or one of the siblings of a fan-out, in one super-step.

    Attributes:
        node: its name in the graph.
        effects: what it does to the outside world, in this order.
        asks: after how many of its effects it interrupts; None if it does not.
        inner: the super-steps of the graph that it consists of, if it is one.
    """

    node: str
    effects: tuple[str, ...] = ()
    asks: int | None = None
    inner: tuple[tuple[Call, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One graph.

    Attributes:
        steps: its super-steps, each with what runs side by side in it.
        on_loop: its nodes share an event loop.
    """

    steps: tuple[tuple[Call, ...], ...]
    on_loop: bool = False


def _line(*names: str) -> tuple[tuple[Call, ...], ...]:
    return tuple((Call(node=name, effects=(name,)),) for name in names)


_AGENT = (Call(node="agent"),)

SHAPES: Mapping[str, Shape] = {
    "agent": Shape(
        steps=(
            _AGENT,
            (
                Call(node="tools", effects=("charge-1",)),
                Call(node="tools", effects=("notify-2",)),
            ),
            _AGENT,
            (Call(node="tools", effects=("charge-3",)),),
            _AGENT,
        )
    ),
    "anode": Shape(
        steps=(
            *_line("a1"),
            (Call(node="left", effects=("left",)), Call(node="right", effects=("right",))),
            *_line("a2"),
        ),
        on_loop=True,
    ),
    "ask": Shape(
        steps=(
            *_line("before"),
            (Call(node="question", effects=("asked", "answered-yes"), asks=1),),
            *_line("after"),
        )
    ),
    "chain": Shape(steps=_line("n1", "n2", "n3", "n4")),
    "fan": Shape(
        steps=(
            *_line("plan"),
            tuple(Call(node="part", effects=(f"part-{n}",)) for n in range(4)),
            *_line("join"),
        )
    ),
    "pace": Shape(
        steps=tuple((Call(node="tick", effects=(f"tick-{n}",)),) for n in range(PACE_STEPS))
    ),
    "relay": Shape(steps=((Call(node="leg"),),) * RELAY_STEPS),
    "sub": Shape(
        steps=(*_line("before"), (Call(node="inner", inner=_line("in1", "in2")),), *_line("after"))
    ),
}
