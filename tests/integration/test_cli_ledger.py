"""``baton ledger``: told, checked and copied."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.command import Command

from baton.domain.ledger import recomputed_hash
from baton.fleet.store import open_store


@pytest.fixture
def filled(command: Command) -> Command:
    """A store in which two workers have each ended a task."""
    with command.house() as house:
        for number in (1, 2):
            house.submit(f"t-{number}")
            member = house.session(f"w-{number}")
            claim = member.claim()
            member.put(claim)
            member.done(claim)
    return command


def edit(command: Command, change: str) -> None:
    """Write over an event, as somebody with the file could."""
    with closing(sqlite3.connect(command.path)) as connection, connection:
        connection.execute(f"UPDATE baton_event SET {change} WHERE chain = 'task:t-1' AND n = 1")  # noqa: S608


# Timeline


def test_a_timeline_tells_it_in_order(filled: Command) -> None:
    """For people, one line an event."""
    said = filled.on("ledger", "timeline", "--task", "t-1")
    assert said.code == 0
    told = [line for line in said.out.splitlines() if " t-1 " in line]
    assert [word for line in told for word in line.split() if word in ("claimed", "step", "done")]
    assert "t-2" not in said.out


@pytest.mark.parametrize(
    ("filters", "tasks"),
    [
        ((), {"t-1", "t-2"}),
        (("--task", "t-1"), {"t-1"}),
        (("--worker", "w-2"), {"t-2"}),
        (("--task", "t-1", "--worker", "w-2"), set()),
    ],
)
def test_a_timeline_is_of_whom_it_was_asked_for(
    filled: Command, filters: tuple[str, ...], tasks: set[str]
) -> None:
    """As JSON for machines."""
    rows = json.loads(filled.on("ledger", "timeline", "--json", *filters).out)
    assert {row["task_id"] for row in rows} - {None} == tasks


def test_a_timeline_of_nothing_says_so(filled: Command) -> None:
    """An empty page would leave one wondering."""
    said = filled.on("ledger", "timeline", "--run", "no-such-run")
    assert (said.code, said.out) == (0, "no events\n")


@pytest.mark.parametrize("verb", ["timeline", "verify", "export"])
def test_an_unknown_task_is_named(filled: Command, verb: str) -> None:
    """Nothing about a task that never was is no good news."""
    assert "'t-9'" in filled.on("ledger", verb, "--task", "t-9").complaint


# Verify


def test_a_healthy_ledger_is_confirmed(filled: Command) -> None:
    """And what was not looked at is said."""
    said = filled.on("ledger", "verify")
    assert said.code == 0
    assert "no findings" in said.out
    assert "without a seal" in said.out


def test_an_edited_event_is_found_and_named(filled: Command) -> None:
    """By the check, the chain and the place in it; the exit code tells too."""
    edit(filled, "worker_id = 'w-9'")
    said = filled.on("ledger", "verify")
    assert said.code == 1
    assert "hash_mismatch: task:t-1 event 1 (claimed)" in said.out
    found = json.loads(filled.on("ledger", "verify", "--json").out)
    assert found["checks"]["hash_mismatch"] == 1
    assert {finding["chain"] for finding in found["findings"]} == {"task:t-1"}


def test_findings_can_be_asked_for_by_task(filled: Command) -> None:
    """What is wrong elsewhere is left out."""
    edit(filled, "worker_id = 'w-9'")
    assert filled.on("ledger", "verify", "--task", "t-1").code == 1
    assert filled.on("ledger", "verify", "--task", "t-2").code == 0


def test_a_seal_makes_a_rewritten_ledger_evident(filled: Command) -> None:
    """With new hashes all along the chain nothing else would show it."""
    assert filled.on("ledger", "export", "--seal", "seal.json").code == 0
    assert filled.on("ledger", "verify", "--seal", "seal.json").code == 0
    edit(filled, "wall = wall + 1")
    forge(filled)
    assert filled.on("ledger", "verify").code == 0
    said = filled.on("ledger", "verify", "--seal", "seal.json")
    assert said.code == 1
    assert "seal_mismatch: task:t-1" in said.out


def forge(command: Command) -> None:
    """Make the hashes of a chain fit what it says now."""
    with closing(open_store(command.url)) as store:
        for number in range(len(store.chain("task:t-1"))):
            event = store.chain("task:t-1")[number]
            with store.data.write() as write:
                write.cursor.execute(
                    "UPDATE baton_event SET hash = ? WHERE seq = ?",
                    (recomputed_hash(event), event.seq),
                )
                write.cursor.execute(
                    "UPDATE baton_event SET prev = ? WHERE chain = ? AND n = ?",
                    (recomputed_hash(event), event.chain, event.n + 1),
                )


def test_a_seal_still_holds_when_the_ledger_has_grown(filled: Command) -> None:
    """It is of what there was, not of all there will be."""
    filled.on("ledger", "export", "--seal", "seal.json")
    with filled.house() as house:
        house.submit("t-3")
    assert filled.on("ledger", "verify", "--seal", "seal.json").code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("verify", "--seal", "nowhere.json"), "--seal nowhere.json: No such file"),
        (("verify", "--seal", "other.json"), "of another store"),
        (("verify", "--seal", "list.json"), "--seal list.json is no seal"),
        (("verify", "--seal", "text.json"), "--seal text.json is no seal"),
        (("verify", "--seal", "empty.json"), "--seal empty.json is no seal"),
        (("export", "--seal", "list.json"), "list.json exists"),
        (("export", "--seal", "no/folder/seal.json"), "no writable folder no/folder"),
        (("export", "--seal", "new.json", "--task", "t-1"), "leave out --task"),
        (("export", "--out", "no/folder/ledger.jsonl"), "cannot write --out no/folder"),
    ],
)
def test_bad_files_are_named(filled: Command, words: tuple[str, ...], named: str) -> None:
    """And nothing is written beside or over them."""
    other = {"format": "baton-seal-1", "store_id": "other", "position": 0, "chains": {}}
    Path("other.json").write_text(json.dumps(other))
    Path("empty.json").write_text('{"format": "baton-seal-1"}')
    Path("list.json").write_text("[]")
    Path("text.json").write_text("a seal, they said")
    before = sorted(Path().iterdir())
    assert named in filled.on("ledger", *words).complaint
    assert sorted(Path().iterdir()) == before
    assert Path("list.json").read_text() == "[]"


# Continuity


def test_continuity_of_a_store_is_judged(filled: Command) -> None:
    """What a ledger cannot show is listed with what is missing."""
    said = filled.on("ledger", "verify", "--continuity")
    assert said.code == 0, said
    assert "PASS C10 The ledger is whole" in said.out
    assert "?    C1  No step lost: not judged without an undisturbed control run" in said.out
    found = json.loads(filled.on("ledger", "verify", "--continuity", "--json").out)
    assert found["outcome"] == "pass"
    assert [one["assertion"] for one in found["assertions"]][:2] == ["C1", "C2"]
    assert {one["assertion"] for one in found["assertions"] if not one["judged"]} > {"C1", "C13"}


def test_a_zombie_is_told_with_its_line(filled: Command) -> None:
    """From an exported ledger as from the store."""
    edit(filled, "epoch = 9")
    filled.on("ledger", "export", "--out", "ledger.jsonl")
    for words in (("--store", filled.url), ("--ledger", "ledger.jsonl")):
        said = filled("ledger", "verify", "--continuity", *words)
        assert said.code == 1
        assert "FAIL C3  No zombie writes" in said.out
        assert "         task:t-1#2\n" in said.out
        assert "continuity fail" in said.out


def test_a_ledger_that_is_cut_off_or_empty_passes_nothing(filled: Command) -> None:
    """Exit 2: nobody knows."""
    filled.on("ledger", "export", "--out", "ledger.jsonl")
    whole = Path("ledger.jsonl").read_text()
    Path("cut.jsonl").write_text(whole[:-30])
    Path("empty.jsonl").write_text("")
    for name in ("cut", "empty"):
        said = filled("ledger", "verify", "--continuity", "--ledger", f"{name}.jsonl")
        assert (said.code, "PASS" in said.out) == (2, False)
        assert "continuity unknown" in said.out
    assert filled("ledger", "verify", "--ledger", "ledger.jsonl").code == 0
    assert "cut off" in filled("ledger", "verify", "--ledger", "cut.jsonl").out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--ledger", "nowhere.jsonl"), "--ledger nowhere.jsonl: No such file"),
        (("--ledger", "list.jsonl"), "list.jsonl line 1: it is no event"),
        (("--ledger", "text.jsonl"), "text.jsonl line 1 is no JSON"),
        (("--ledger", "bytes.jsonl"), "bytes.jsonl is no ledger"),
        (("--ledger", "list.jsonl", "--store", "sqlite:///fleet.db"), "leave out --store"),
        (("--ledger", "empty.jsonl", "--task", "t-9"), "'t-9'"),
        (("--continuity", "--task", "t-1"), "leave out --task"),
    ],
)
def test_a_bad_ledger_file_is_named(command: Command, words: tuple[str, ...], named: str) -> None:
    """With its line, where it has one."""
    Path("list.jsonl").write_text("[]\n")
    Path("text.jsonl").write_text("once upon a time\n")
    Path("bytes.jsonl").write_bytes(b"\xff\n")
    Path("empty.jsonl").write_text("")
    assert named in command("ledger", "verify", *words).complaint


# Export


def test_an_export_is_the_ledger(filled: Command) -> None:
    """One JSON object a line, in the order of the commits, whatever it is written to."""
    lines = [json.loads(line) for line in filled.on("ledger", "export").out.splitlines()]
    with filled.house() as house:
        assert lines == [event.to_dict() for event in house.events()]
    filled.on("ledger", "export", "--out", "ledger.jsonl")
    copied = Path("ledger.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in copied] == lines
    of_one = filled.on("ledger", "export", "--task", "t-1").out.splitlines()
    assert [json.loads(line) for line in of_one] == [
        line for line in lines if line["task_id"] == "t-1"
    ]
