"""An effect that happens once: `baton.once` records it, and its key goes to whoever carries it out.

The bank below is a dictionary. A real one has to honour the key as well: then the charge happens
once, even if this process dies between the charge and its record.
"""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph

import baton

BANK: dict[str, int] = {}


class State(TypedDict, total=False):
    amount: int
    receipt: str


def charge(amount: int, key: str) -> str:
    BANK.setdefault(key, amount)  # a second charge under the same key changes nothing
    return f"receipt-{len(BANK)}"


def bill(state: State) -> State:
    key = baton.effect_key("invoice")
    return {"receipt": baton.once("invoice", charge, state["amount"], key=key)}


builder = StateGraph(State)
builder.add_node("bill", bill)
builder.add_edge(START, "bill")
builder.add_edge("bill", END)

if __name__ == "__main__":
    fleet = baton.open("sqlite:///fleet.db")
    fleet.submit("billing", {"amount": 30}, task_id="order-7")
    graphs = {"billing": fleet.attach(builder)}
    baton.Worker(fleet, graphs={"billing": builder}, worker_id="w-1", until_idle=True).run()
    config = {"configurable": {"thread_id": "order-7"}}
    print(graphs["billing"].get_state(config).values["receipt"], BANK)
    fleet.close()
