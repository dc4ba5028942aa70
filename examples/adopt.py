"""An existing LangGraph application takes a lease: the lines marked `#+` are all that is new."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph

import baton  # +


class State(TypedDict, total=False):
    name: str
    greeting: str


def greet(state: State) -> State:
    return {"greeting": f"Hello, {state['name']}!"}


builder = StateGraph(State)
builder.add_node("greet", greet)
builder.add_edge(START, "greet")
builder.add_edge("greet", END)

fleet = baton.open("sqlite:///fleet.db")  # +
graph = fleet.attach(builder)  # + instead of builder.compile(checkpointer=…)

with fleet.lease("thread-42") as lease:  # + LeaseHeld if another live process has it
    answer = graph.invoke({"name": "Ada"}, lease.config, durability="sync")  # +
    print(answer["greeting"])
fleet.close()  # +
