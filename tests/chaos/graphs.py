"""The graphs that chaos tests run, and the sink that their effects go to.

Every node has an effect, so that what was done once, twice or never can be read off the sink.
Nothing in a state tells which process made it: an undisturbed run ends in the same values.
"""

from __future__ import annotations

import json
import operator
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.pregel import Pregel
from langgraph.types import Send, interrupt

import baton

AnyGraph = StateGraph[Any, Any, Any, Any] | Pregel[Any, Any, Any, Any]


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that others append to: the last may not be whole yet."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.rpartition("\n")[0].splitlines()


@dataclass(frozen=True)
class Delivery:
    """One arrival at the sink."""

    key: str
    what: str
    pid: int


class Sink:
    """A target that honours the key: what it has seen before it only counts."""

    def __init__(self, path: Path) -> None:
        """Keep arrivals in a file, one a line."""
        self.path = path
        #: Where ``brood`` says whom it has left behind.
        self.children = path.with_suffix(".children")

    def deliver(self, key: str, what: str) -> str:
        """Note an arrival; one short append is atomic, and survives the sender."""
        line = json.dumps([key, what, os.getpid()]) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
        return what

    def deliveries(self) -> list[Delivery]:
        """Every arrival, repeats too."""
        return [Delivery(*json.loads(line)) for line in whole_lines(self.path)]

    def effects(self, task_id: str) -> Counter[str]:
        """How many distinct keys arrived for each effect of a task."""
        keys = {(one.key, one.what) for one in self.deliveries()}
        prefix = f"{task_id}/"
        return Counter(what.removeprefix(prefix) for _, what in keys if what.startswith(prefix))

    def attempts(self, task_id: str) -> Counter[str]:
        """How many times each effect of a task was tried."""
        prefix = f"{task_id}/"
        return Counter(
            one.what.removeprefix(prefix)
            for one in self.deliveries()
            if one.what.startswith(prefix)
        )


#: Where this process delivers to; set by whoever runs the graphs.
sink = Sink(Path(os.devnull))


def effect(what: str) -> str:
    """Do something to the outside world, once for a target that honours the key."""

    def send() -> str:
        sink.deliver(baton.effect_key(what), f"{_task_id()}/{what}")
        return what

    return baton.once(what, send)


def _task_id() -> str:
    from langgraph.config import get_config

    return str(get_config()["configurable"]["thread_id"])


class State(TypedDict):
    """Who did what, in order."""

    log: Annotated[list[str], operator.add]


def step(name: str) -> Callable[..., Any]:
    """A node with one effect."""

    def node(state: State) -> State:
        del state
        return {"log": [effect(name)]}

    return node


def line(*names: str) -> StateGraph[Any, Any, Any, Any]:
    """One node after another."""
    graph = StateGraph(State)
    for name in names:
        graph.add_node(name, step(name))
    for before, after in zip((START, *names), (*names, END), strict=True):
        graph.add_edge(before, after)
    return graph


def chain() -> AnyGraph:
    """Four steps in a row."""
    return line("n1", "n2", "n3", "n4")


class Part(TypedDict):
    """What one branch of a fan-out is given."""

    part: int


class Plan(State):
    """A state of which its graph gives out a part only."""

    parts: int


def fan() -> AnyGraph:
    """A fan-out of four, then a join."""

    def plan(state: State) -> Plan:
        del state
        return {"log": [effect("plan")], "parts": 4}

    def part(given: Part) -> State:
        return {"log": [effect(f"part-{given['part']}")]}

    def spread(state: Plan) -> list[Send]:
        return [Send("part", {"part": number}) for number in range(state["parts"])]

    graph = StateGraph(Plan, output_schema=State)
    graph.add_node("plan", plan)
    graph.add_node("part", part)
    graph.add_node("join", step("join"))
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", spread, ["part"])
    graph.add_edge("part", "join")
    graph.add_edge("join", END)
    return graph


def sub() -> AnyGraph:
    """A graph as a node of another."""
    graph = StateGraph(State)
    graph.add_node("before", step("before"))
    graph.add_node("inner", line("in1", "in2").compile())
    graph.add_node("after", step("after"))
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
    graph.add_node("before", step("before"))
    graph.add_node("question", question)
    graph.add_node("after", step("after"))
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
        turn = sum(isinstance(message, AIMessage) for message in messages)
        script = (
            AIMessage("two at once", tool_calls=[call("charge", 1), call("notify", 2)]),
            AIMessage("one more", tool_calls=[call("charge", 3)]),
            AIMessage("all done"),
        )
        return ChatResult(generations=[ChatGeneration(message=script[turn])])


def call(name: str, number: int) -> ToolCall:
    """A call of a tool, with an id of its own."""
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
    """How far it went, how far it is to go, and how long each step works."""

    count: int
    upto: int
    seconds: float


def pace() -> AnyGraph:
    """As many steps as the input says, an effect in each: for faults that take time."""
    never = threading.Event()

    def tick(state: Count) -> dict[str, int]:
        never.wait(state["seconds"])
        effect(f"tick-{state['count']}")
        return {"count": state["count"] + 1}

    graph = StateGraph(Count)
    graph.add_node("tick", tick)
    graph.add_edge(START, "tick")
    graph.add_conditional_edges(
        "tick", lambda state: "tick" if state["count"] < state["upto"] else END, ["tick", END]
    )
    return graph


def poison() -> AnyGraph:
    """A node that takes its process with it, whatever process that is."""

    def bite(state: State) -> State:
        del state
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody survives this")

    graph = StateGraph(State)
    graph.add_node("bite", bite)
    graph.add_edge(START, "bite")
    graph.add_edge("bite", END)
    return graph


def brood() -> AnyGraph:
    """A node that leaves a forked child running, and says which."""

    def fork(state: State) -> State:
        del state
        import multiprocessing

        def linger() -> None:
            # It is ended with its test; should that be killed, it ends by itself.
            signal.alarm(300)
            signal.pause()

        child = multiprocessing.get_context("fork").Process(target=linger)
        child.start()
        sink.children.write_text(str(child.pid), encoding="utf-8")
        return {"log": [effect("forked")]}

    graph = StateGraph(State)
    graph.add_node("fork", fork)
    graph.add_node("after", step("after"))
    graph.add_edge(START, "fork")
    graph.add_edge("fork", "after")
    graph.add_edge("after", END)
    return graph


GRAPHS: dict[str, Callable[[], AnyGraph]] = {
    made.__name__: made for made in (chain, fan, sub, ask, anode, agent, pace, brood, poison)
}

#: What a graph starts from; one that is given several inputs has a name for each.
INPUTS: dict[str, dict[str, Any]] = {
    "agent": {"messages": [HumanMessage("settle the bill")]},
    "pace": {"count": 0, "upto": 10, "seconds": 0.02},
    "pace-long": {"count": 0, "upto": 50, "seconds": 0.02},
    "pace-slow": {"count": 0, "upto": 60, "seconds": 0.05},
}


def input_of(variant: str) -> dict[str, Any]:
    """What a graph starts from."""
    return INPUTS.get(variant, {"log": ["begun"]})


def graph_of(variant: str) -> str:
    """The name of the graph itself."""
    return variant.partition("-")[0]


def projected(values: dict[str, Any]) -> dict[str, Any]:
    """A state without what differs between runs for no fault of anybody: ids of messages."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(one) for one in value]
        if isinstance(value, BaseMessage):
            return [value.type, value.content, [c["id"] for c in getattr(value, "tool_calls", [])]]
        return value

    return {name: plain(value) for name, value in values.items()}
