"""Guardrails that nothing else shows: secrets, listeners, hostile names, types, migrations."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from tests.support.command import Command
from tests.support.house import House
from tests.support.runs import in_a_row, runs_on, wait_until

import baton
from baton.cli import command_line
from baton.cli.reference import arguments_of, leaves
from baton.observe.exporter import Exporter
from baton.observe.server import MetricsServer, parse_address

BOTH_STORES = True

SQL = Path(baton.__file__).parent / "fleet" / "sql"

#: What a migration after the first may do: nothing that takes a column, a table or a meaning away.
ADDS = re.compile(
    r"ALTER TABLE \w+ ADD COLUMN .*"
    r"|CREATE (TABLE|(UNIQUE )?INDEX|(OR REPLACE )?FUNCTION) .*"
    r"|DROP INDEX \w+",  # an index has no meaning, and is made anew in the same script
    re.DOTALL,
)

SECRETS = ("hunter2-input", "hunter2-state", "hunter2-answer", "hunter2-error", "hunter2-effect")


def get(exporter: Exporter, path: str) -> bytes:
    """A page of an exporter."""
    with suppress(HTTPError), urlopen(f"http://{exporter.address}{path}", timeout=10) as answer:
        body: bytes = answer.read()
        return body
    return b""


def _leaky(state: dict[str, Any]) -> dict[str, Any]:
    baton.once("charge", lambda: "hunter2-effect")
    return {"seen": [*state["seen"], "hunter2-state"]}


def _fails(_: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("hunter2-error")


def test_no_value_of_a_user_leaves_the_store(
    command: Command, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Planted in input, state, effect and error; sought wherever something is told."""
    with command.house():
        pass
    fleet = baton.open(command.url)
    fleet.submit("leaky", {"seen": ["hunter2-input"]}, task_id="t-1")
    fleet.submit("fails", {"seen": ["hunter2-input"]}, task_id="t-2")
    graphs = {"leaky": in_a_row(a=_leaky), "fails": in_a_row(a=_fails)}
    baton.Worker(fleet, graphs=graphs, worker_id="w-1", until_idle=True).run()
    assert fleet.task("t-1").state == "done"
    assert fleet.task("t-2").state == "failed"
    fleet.close()
    command.on("report", "--out", str(tmp_path / "report"))
    with Exporter(command.url, "127.0.0.1", 0) as exporter:
        wait_until(lambda: get(exporter, "/-/ready") != b"", "the ledger is read")
        scrape = get(exporter, "/metrics").decode()
    told = {
        "ledger": command.on("ledger", "export").out,
        "timeline": command.on("ledger", "timeline").out,
        "tasks": command.on("tasks", "list", "--json").out,
        "report": "".join(path.read_text() for path in (tmp_path / "report").iterdir()),
        "scrape": scrape,
        "log": caplog.text,
    }
    for where, text in told.items():
        assert text, where
        found = {secret for secret in SECRETS if secret in text}
        # Whoever may read the store is told why a run failed, in the words of the error.
        assert found <= ({"hunter2-error"} if where == "tasks" else set()), where


def test_servers_listen_on_loopback_unless_they_are_told_otherwise() -> None:
    """Every option that names an address to listen on, as the parser has it."""
    addresses = {
        f"{one.prog} {action.option_strings[-1]}": action.default
        for one in leaves(command_line())
        for action in arguments_of(one)
        if "HOST:PORT" in str(action.metavar)
    }
    assert addresses == {
        "baton exporter --listen": "127.0.0.1:9464",
        "baton worker --metrics": None,
    }
    host, _ = parse_address(addresses["baton exporter --listen"])
    with MetricsServer(host, 0, collect=dict) as server:
        assert parse_address(server.address)[0] == "127.0.0.1"


HOSTILE = (
    "'; DROP TABLE baton_task; --",
    '"; DELETE FROM baton_event; --',
    "%s %(a)s ? :a $1 {0}",
    "ä\u202e\u0007\\x00\n",
    "../../etc/passwd",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_name_is_a_name(house: House, hostile: str) -> None:
    """As task, worker, pool and graph: kept and found as it is, and it harms nothing."""
    house.submit("before")
    house.submit(hostile, graph=hostile, pool=hostile)
    member = house.session(hostile, pool=hostile)
    claim = member.claims(graphs=(hostile,)).won[0]
    assert claim.task_id == hostile
    member.put(claim)
    member.done(claim)
    task = house.store.task(hostile)
    assert (task.task_id, task.graph, task.pool, task.state) == (hostile, hostile, hostile, "done")
    assert house.types(f"task:{hostile}") == ["submitted", "claimed", "step", "done"]
    assert house.last(f"task:{hostile}").worker_id == hostile
    assert house.state("before") == "pending"


@dataclass
class Planted:
    """Counts how often it is built."""

    text: str
    built: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Count."""
        type(self).built += 1


def test_a_checkpoint_builds_no_type_that_is_not_on_the_list(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In LangGraph's strict mode, read through the fenced saver; and pickles in no mode."""
    config: Any = {"configurable": {"thread_id": "t-1", "checkpoint_ns": ""}}
    with runs_on(house) as runs:
        lease = runs.lease()
        node = in_a_row(a=lambda _: {"item": Planted("x")})
        runs.fleet.attach(node).invoke({"seen": []}, lease.config, durability="sync")
        before = Planted.built
        assert runs.saver.get_tuple(config).checkpoint["channel_values"]["item"] == Planted("x")
        assert Planted.built > before + 1, "the plant is built where nothing forbids it"
    with runs_on(house) as runs:
        # What LANGGRAPH_STRICT_MSGPACK=true makes of the savers' own serializer.
        monkeypatch.setattr(runs.saver, "serde", JsonPlusSerializer(allowed_msgpack_modules=None))
        before = Planted.built
        found = runs.saver.get_tuple(config).checkpoint["channel_values"]["item"]
        assert not isinstance(found, Planted)
        assert Planted.built == before
        pickled = JsonPlusSerializer(pickle_fallback=True).dumps_typed(object())
        with pytest.raises(NotImplementedError, match="pickle"):
            runs.saver.serde.loads_typed(pickled)


@pytest.mark.parametrize("script", sorted(path.name for path in SQL.glob("*_000*.sql")))
def test_a_migration_script_only_adds(script: str) -> None:
    """The first makes the store; each later one adds tables, columns and indexes, and no more."""
    text = re.sub(r"--[^\n]*", "", (SQL / script).read_text())
    statements = [one.strip() for one in text.split(";") if one.strip()]
    assert statements
    if not script.endswith("0001.sql"):
        assert [one for one in statements if not ADDS.fullmatch(one)] == []
        for dropped in re.findall(r"DROP INDEX (\w+)", text):
            assert f"CREATE INDEX {dropped} ON" in text


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE baton_task",
        "ALTER TABLE baton_task DROP COLUMN pool",
        "ALTER TABLE baton_task RENAME TO task",
        "UPDATE baton_event SET reason = NULL",
        "DELETE FROM baton_session",
    ],
)
def test_a_migration_that_takes_away_would_be_seen(statement: str) -> None:
    """Planted offences."""
    assert not ADDS.fullmatch(statement)
