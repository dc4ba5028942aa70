"""The graphs on trial: every node works for a while and has an effect.

Nothing in a state tells which process made it: an undisturbed run ends in the same values.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.types import Send, interrupt

from baton.fleet.effects import effect_key, once
from baton.fleet.guard import AnyGraph

#: How many steps ``pace`` takes.
PACE_STEPS = 12

#: How many steps ``relay`` takes.
RELAY_STEPS = 20

#: What an interrupt of ``ask`` is answered with.
ANSWER = "yes"


@dataclass(slots=True)
class Outside:
    """What nodes work with, set by whoever runs them.

    Attributes:
        deliver: the effects' target: told the effect key, the task and what is to happen.
        work: how a node spends its time.
        once: records an effect; a replay has one that only says what it came to.
    """

    deliver: Callable[[str, str, str], None] = lambda key, task, what: None  # noqa: ARG005
    work: Callable[[], None] = lambda: None
    once: Callable[[str, Callable[[], str]], str] = once


#: The world outside the graphs of this process.
outside = Outside()


def effect(what: str) -> str:
    """Work, then do something to the outside world, once at a target that honours the key."""
    outside.work()
    task = str(get_config()["configurable"]["thread_id"])

    def send() -> str:
        outside.deliver(effect_key(what), task, what)
        return what

    return outside.once(what, send)


class State(TypedDict):
    """Who did what, in order."""

    log: Annotated[list[str], operator.add]


def _step(name: str) -> Callable[..., Any]:
    def node(state: State) -> State:
        del state
        return {"log": [effect(name)]}

    return node


def _line(*names: str) -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(State)
    for name in names:
        graph.add_node(name, _step(name))
    for before, after in zip((START, *names), (*names, END), strict=True):
        graph.add_edge(before, after)
    return graph


def chain() -> AnyGraph:
    """Four steps in a row."""
    return _line("n1", "n2", "n3", "n4")


class Part(TypedDict):
    """What one branch of a fan-out is given."""

    part: int


def _part() -> Callable[..., Any]:
    def part(given: Part) -> State:
        return {"log": [effect(f"part-{given['part']}")]}

    return part


def fan() -> AnyGraph:
    """A fan-out of four, then a join."""

    def spread(state: State) -> list[Send]:
        del state
        return [Send("part", {"part": number}) for number in range(4)]

    graph = StateGraph(State)
    graph.add_node("plan", _step("plan"))
    graph.add_node("part", _part())
    graph.add_node("join", _step("join"))
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", spread, ["part"])
    graph.add_edge("part", "join")
    graph.add_edge("join", END)
    return graph


def sub() -> AnyGraph:
    """A graph as a node of another."""
    graph = StateGraph(State)
    graph.add_node("before", _step("before"))
    graph.add_node("inner", _line("in1", "in2").compile())
    graph.add_node("after", _step("after"))
    graph.add_edge(START, "before")
    graph.add_edge("before", "inner")
    graph.add_edge("inner", "after")
    graph.add_edge("after", END)
    return graph


def ask() -> AnyGraph:
    """A question to a person in the middle, with effects on both sides of it."""

    def question(state: State) -> State:
        del state
        asked = effect("asked")
        answer = interrupt("may I?")
        return {"log": [asked, effect(f"answered-{answer}")]}

    graph = StateGraph(State)
    graph.add_node("before", _step("before"))
    graph.add_node("question", question)
    graph.add_node("after", _step("after"))
    graph.add_edge(START, "before")
    graph.add_edge("before", "question")
    graph.add_edge("question", "after")
    graph.add_edge("after", END)
    return graph


def anode() -> AnyGraph:
    """Nodes that only an event loop can run, two of them side by side."""

    def astep(name: str) -> Callable[..., Any]:
        async def node(state: State) -> State:
            del state
            return {"log": [effect(name)]}

        return node

    graph = StateGraph(State)
    for name in ("a1", "left", "right", "a2"):
        graph.add_node(name, astep(name))
    graph.add_edge(START, "a1")
    graph.add_edge("a1", "left")
    graph.add_edge("a1", "right")
    graph.add_edge(["left", "right"], "a2")
    graph.add_edge("a2", END)
    return graph


class ScriptedModel(BaseChatModel):
    """A chat model that answers by how far the conversation has gone, in whatever process."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> ScriptedModel:
        """Take note of nothing: the script knows the tools."""
        del tools
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        del stop, run_manager
        outside.work()
        turn = sum(isinstance(message, AIMessage) for message in messages)
        script = (
            AIMessage("two at once", tool_calls=[_call("charge", 1), _call("notify", 2)]),
            AIMessage("one more", tool_calls=[_call("charge", 3)]),
            AIMessage("all done"),
        )
        return ChatResult(generations=[ChatGeneration(message=script[turn])])


def _call(name: str, number: int) -> ToolCall:
    return ToolCall(name=name, args={"number": number}, id=f"call-{number}")


@tool
def charge(number: int) -> str:
    """Charge somebody."""
    return effect(f"charge-{number}")


@tool
def notify(number: int) -> str:
    """Tell somebody."""
    return effect(f"notify-{number}")


def agent() -> AnyGraph:
    """LangGraph's own agent, with tools that must not run twice for one call."""
    with warnings.catch_warnings():
        # Moved to another distribution and deprecated here; the loop it builds is the same.
        warnings.simplefilter("ignore")
        built: AnyGraph = create_react_agent(ScriptedModel(), [charge, notify])
    return built


class Count(TypedDict):
    """How far it went."""

    count: int


def _counting(name: str, steps: int, body: Callable[[int], object]) -> AnyGraph:
    """One node, which runs again and again."""

    def node(state: Count) -> Count:
        body(state["count"])
        return {"count": state["count"] + 1}

    graph = StateGraph(Count)
    graph.add_node(name, node)
    graph.add_edge(START, name)
    graph.add_conditional_edges(
        name, lambda state: name if state["count"] < steps else END, [name, END]
    )
    return graph


def pace() -> AnyGraph:
    """Many steps with an effect in each: for faults that take time."""
    return _counting("tick", PACE_STEPS, lambda count: effect(f"tick-{count}"))


def relay() -> AnyGraph:
    """Many steps without an effect: for as many takeovers as a task can see."""
    return _counting("leg", RELAY_STEPS, lambda count: outside.work())  # noqa: ARG005 - each is the same


#: Every graph on trial, by name.
GRAPHS: dict[str, Callable[[], AnyGraph]] = {
    made.__name__: made for made in (agent, anode, ask, chain, fan, pace, relay, sub)
}


def input_of(graph: str) -> dict[str, Any]:
    """What a graph starts from."""
    if graph == "agent":
        return {"messages": [HumanMessage("settle the bill", id="begun")]}
    return {"count": 0} if graph in ("pace", "relay") else {"log": ["begun"]}
