"""A graph for `baton worker --graph hello=hello:graph`; nothing in it knows of Baton.

cd examples
export BATON_STORE=sqlite:///fleet.db
baton submit --graph hello --input '{"name": "Ada"}' --task t-1
baton worker --graph hello=hello:graph --until-idle
baton tasks show t-1
"""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    name: str
    greeting: str


def greet(state: State) -> State:
    return {"greeting": f"Hello, {state['name']}!"}


graph = StateGraph(State)
graph.add_node("greet", greet)
graph.add_edge(START, "greet")
graph.add_edge("greet", END)
