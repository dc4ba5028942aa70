"""What version 1.2.0 wrote is read by this version: ledgers, archives, a store, a policy."""

from __future__ import annotations

import json
import operator
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Annotated, TypedDict

import pytest
from jsonschema import Draft202012Validator
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from tests.support.command import Command

import baton
from baton import content
from baton.domain.ledger import event_from_dict, recomputed_hash
from baton.domain.ledger_schema import event_schema
from baton.domain.words import EventType
from baton.prove.gate import parse as policies
from baton.prove.scenarios.parse import load
from baton.prove.scenarios.running import perform_all
from baton.prove.sim.engine import SimEngine

FILES = Path(__file__).parents[1] / "data" / "compat-1.0.0"
LEDGERS = ("every-event.jsonl", "ledger.jsonl")


class State(TypedDict):
    """What the graphs of the fixture store keep."""

    said: Annotated[list[str], operator.add]


def graph(*, asks: bool) -> StateGraph[State]:
    """The graphs that the old store's tasks are of."""

    def second(_: State) -> State:
        return {"said": [f"answered {interrupt('go on?')}"]}

    made = StateGraph(State)
    made.add_node("first", lambda _: {"said": ["first"]})
    made.add_node("third", lambda _: {"said": ["third"]})
    made.add_edge(START, "first")
    if asks:
        made.add_node("second", second)
        made.add_edge("first", "second")
        made.add_edge("second", "third")
    else:
        made.add_edge("first", "third")
    made.add_edge("third", END)
    return made


def old_store(command: Command) -> None:
    """Put the old store where the command works."""
    with closing(sqlite3.connect(command.path)) as connection:
        connection.executescript((FILES / "store.sql").read_text())


@pytest.mark.parametrize("name", LEDGERS)
def test_an_old_ledger_is_read_and_holds(name: str, command: Command, tmp_path: Path) -> None:
    """Each event by itself, its hash, its chains, and the report on all of it."""
    lines = (FILES / name).read_text().splitlines()
    schema = Draft202012Validator(event_schema())
    seen = set()
    for line in lines:
        event = event_from_dict(json.loads(line))
        assert recomputed_hash(event) == event.hash
        assert json.loads(line) == event.to_dict()
        if (event.type, event.reason) not in seen:
            schema.validate(json.loads(line))
        seen.add((event.type, event.reason))
    if name == "every-event.jsonl":
        assert {type_ for type_, _ in seen} == {*EventType} - {EventType.FAULT_INJECTED}
    assert command("ledger", "verify", "--ledger", str(FILES / name)).code == 0
    out = tmp_path / "report"
    said = command("report", "--ledger", str(FILES / name), "--out", str(out))
    assert said.code == 0, said
    report = json.loads((out / "report.json").read_text())
    shape = json.loads((content.root() / "contract" / "report.schema.json").read_text())
    Draft202012Validator(shape).validate(report)


def test_an_old_seal_holds(command: Command) -> None:
    """For the ledger that it is of, and for no shorter one."""
    seal = ("--seal", str(FILES / "seal.json"))
    whole = FILES / "ledger.jsonl"
    assert command("ledger", "verify", "--ledger", str(whole), *seal).code == 0
    shorter = command.path.with_name("shorter.jsonl")
    shorter.write_text("".join(whole.read_text().splitlines(keepends=True)[:-1]))
    assert command("ledger", "verify", "--ledger", str(shorter), *seal).code == 1


def test_an_old_store_is_gone_on_with(command: Command) -> None:
    """Its tasks are listed, answered and finished from the checkpoints that they had."""
    old_store(command)
    assert command.on("ledger", "verify").code == 0
    tasks = json.loads(command.on("tasks", "list", "--json").out)
    assert {one["task_id"]: one["state"] for one in tasks} == {
        "t-1": "done",
        "t-2": "interrupted",
        "t-3": "pending",
    }
    assert command.on("tasks", "resume", "t-2", "--value", '"yes"').code == 0
    fleet = baton.open(command.url)
    try:
        graphs = {"plain": graph(asks=False), "ask": graph(asks=True)}
        baton.Worker(fleet, graphs=graphs, worker_id="w-1", until_idle=True).run()
        assert {fleet.task(name).state for name in ("t-1", "t-2", "t-3")} == {"done"}
        compiled = fleet.attach(graphs["ask"])
        values = compiled.get_state({"configurable": {"thread_id": "t-2"}}).values
        assert values == {"said": ["ä", "first", "answered yes", "third"]}
    finally:
        fleet.close()
    assert command.on("ledger", "verify", "--continuity").code == 0


def test_an_old_archive_is_read_with_its_store(command: Command) -> None:
    """The events that were taken out of the store and those that stayed make whole chains."""
    old_store(command)
    assert command.on("ledger", "verify").out.startswith("16 events in 4 chains, no findings")
    with closing(sqlite3.connect(command.path)) as connection, connection:
        connection.execute("DELETE FROM baton_event WHERE chain = 'task:t-1'")
    assert command.on("ledger", "verify").out.startswith("9 events in 3 chains")
    said = command.on("ledger", "verify", "--archive", str(FILES / "archive"))
    assert said.out.startswith("16 events in 4 chains, no findings"), said


def test_an_old_policy_and_an_old_scenario_are_read(tmp_path: Path) -> None:
    """Without a change; the scenario is performed, and passes."""
    policy, _ = policies.load(FILES / "policy.yaml")
    assert len(policy.criteria) >= 24
    scenario = load(FILES / "scenario.yaml")
    perform_all([scenario], SimEngine(), seed=1, out=tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [one["judgement"] for one in summary["scenarios"]] == ["PASS"]


def test_an_old_packet_is_verified(command: Command, tmp_path: Path) -> None:
    """By this version, and by what it carries; a byte that changed since is found by both."""
    packet = tmp_path / "packet"
    with zipfile.ZipFile(FILES / "packet.zip") as archive:
        archive.extractall(packet)
    own = [sys.executable, "-E", "-S", str(packet / "verify.py")]
    for spoilt in (False, True):
        if spoilt:
            (packet / "decision.json").write_bytes((packet / "decision.json").read_bytes() + b" ")
        said = command("packet", "verify", str(packet))
        done = subprocess.run(own, capture_output=True, text=True, timeout=50, check=False)
        for code, out in ((said.code, said.out), (done.returncode, done.stdout)):
            assert code == int(spoilt), out
            assert ("VERIFIED: GO, and " in out) != spoilt
            assert ("decision.json: was changed" in out) == spoilt
