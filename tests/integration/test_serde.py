"""A serializer of one's own: whatever LangGraph's types are written with, it is asked."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import interrupt
from tests.support.runs import State, in_a_row

import baton
from baton.cli import main

BOTH_STORES = True

CONFIG: Any = {"configurable": {"thread_id": "t-1", "checkpoint_ns": ""}}


class Mirror(JsonPlusSerializer):
    """Writes everything backwards, and reads nothing else."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Backwards, and the type says so."""
        kind, data = super().dumps_typed(obj)
        return f"mirror+{kind}", data[::-1]

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Refuse what is not backwards."""
        kind, mirrored = data
        if not kind.startswith("mirror+"):
            raise ValueError(f"{kind} is not mirrored")
        return super().loads_typed((kind.removeprefix("mirror+"), mirrored[::-1]))


def _charges(state: State) -> State:
    del state
    return {"seen": [baton.once("charge", lambda: "receipt")]}


def _asks(state: State) -> State:
    del state
    return {"seen": [interrupt("really?")]}


def _work(fleet: baton.Fleet) -> None:
    """Run what there is to run."""
    graphs = {"asks": in_a_row(a=_charges, b=_asks)}
    baton.Worker(fleet, graphs=graphs, worker_id="w-1", until_idle=True).run()


def test_inputs_checkpoints_effects_and_answers_go_through_it(store_url: str) -> None:
    """Inputs, checkpoints, results of effects and answers are written and read through it."""
    with baton.open(store_url, serde=Mirror()) as fleet:
        fleet.submit("asks", {"seen": ["input"]}, task_id="t-1")
        _work(fleet)
        assert fleet.task("t-1").state == "interrupted"
        fleet.resume("t-1", "yes")
        _work(fleet)
        assert fleet.task("t-1").state == "done"
        found: Any = fleet.saver().get_tuple(CONFIG)
        assert found.checkpoint["channel_values"]["seen"] == ["input", "receipt", "yes"]
    with baton.open(store_url) as plain, pytest.raises(Exception, match=r"mirror\+msgpack"):
        plain.saver().get_tuple(CONFIG)
    assert main(["ledger", "verify", "--store", store_url]) == 0


def test_an_effect_is_found_again_through_it(store_url: str) -> None:
    """The result of an effect that was recorded before a run failed is read through it."""
    receipts: list[int] = []
    charges = iter(range(1, 9))

    def node(state: State) -> State:
        del state
        receipts.append(baton.once("charge", lambda: next(charges)))
        if len(receipts) == 1:
            raise RuntimeError("after the effect, before its step is durable")
        return {"seen": []}

    with baton.open(store_url, serde=Mirror()) as fleet:
        fleet.submit("charges", {"seen": []}, task_id="t-1")
        worker = partial(
            baton.Worker, fleet, {"charges": in_a_row(a=node)}, worker_id="w-1", until_idle=True
        )
        worker().run()
        assert fleet.task("t-1").state == "failed"
        fleet.store.retry("t-1")
        worker().run()
        assert fleet.task("t-1").state == "done"
    assert receipts == [1, 1]
