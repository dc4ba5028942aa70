"""``baton report``: what it writes, what it refuses in one line, and its exit codes."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.command import Command
from tests.support.house import House

from baton.domain.words import Evidence
from baton.fleet.store import open_store
from baton.observe.report.files import NAMES


def play(house: House) -> None:
    """One worker dies, and another brings its task to the end."""
    house.submit("t-1")
    first = house.session("w-1")
    first.put(first.claim())
    house.bury(first, Evidence.PIDFD)
    second = house.session("w-2")
    second.done(second.claim())
    second.stop()


@pytest.fixture
def killed(command: Command) -> Command:
    """A store in which that has happened."""
    with command.house() as house:
        play(house)
    return command


def test_a_report_is_written_and_summed_up(killed: Command, tmp_path: Path) -> None:
    """Three files, and the six answers in the terminal."""
    out = tmp_path / "report"
    before = killed.contents()
    said = killed.on("report", "--out", str(out))
    assert said.code == 0, said
    assert "t-1 went from w-1 (epoch 1) to w-2 (epoch 2) (crashed)" in said.out
    assert len(said.out.splitlines()) == 8
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    assert json.loads((out / "report.json").read_text())["exit_code"] == 0
    assert killed.contents() == before


def test_machines_get_the_same_document(killed: Command, tmp_path: Path) -> None:
    """On standard output, as in report.json."""
    said = killed.on("report", "--task", "t-1", "--json", "--out", str(tmp_path / "report"))
    assert json.loads(said.out) == json.loads((tmp_path / "report" / "report.json").read_text())


def test_an_exported_ledger_tells_what_its_store_tells(killed: Command, tmp_path: Path) -> None:
    """But for the name of the store, which is not in it."""
    ledger = tmp_path / "ledger.jsonl"
    assert killed.on("ledger", "export", "--out", str(ledger)).code == 0
    assert killed.on("report", "--out", str(tmp_path / "one")).code == 0
    assert killed("report", "--ledger", str(ledger), "--out", str(tmp_path / "other")).code == 0
    one, other = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "other")
    )
    assert one.pop("store_id")
    assert other.pop("store_id") is None
    assert one == other


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_what_was_pruned_is_told_from_its_archive(
    command: Command, store_url: str, tmp_path: Path
) -> None:
    """Word for word as before, on either kind of store."""
    on, archive = ("--store", store_url), tmp_path / "archive"
    with closing(open_store(store_url)) as store:
        play(House(store, store.clock))
    assert command("report", *on, "--out", str(tmp_path / "before")).code == 0
    assert (
        command("ledger", "prune", *on, "--older-than", "0s", "--archive", str(archive)).code == 0
    )
    cut = command("report", *on, "--out", str(tmp_path / "cut"))
    assert (cut.code, cut.out.count("told of only with the archives: --archive PATH")) == (2, 3)
    assert not re.search("no task changed hands|Nothing was taken over|Nothing happened", cut.out)
    whole = (*on, "--archive", str(archive), "--out", str(tmp_path / "after"))
    assert command("report", *whole).code == 0
    before, after = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("before", "after")
    )
    assert "t-1 went from w-1 (epoch 1) to w-2 (epoch 2) (crashed)" in json.dumps(before)
    assert after["sections"] == before["sections"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--task", "t-9"), "'t-9'"),
        (("--worker", "w-9"), "'w-9'"),
        (("--until", "1000"), "nothing happened in that window"),
        (("--since", "2000", "--until", "1000"), "--since lies behind --until"),
        (("--since", "yesterday"), "'yesterday' is no time"),
        (("--since", "2026-01-31T12:00:00"), "no time zone"),
        (("--ledger", "x.jsonl"), "leave out --store"),
        (("--seal", "nowhere"), "--seal nowhere"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    killed: Command, tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    """And nothing is written."""
    out = tmp_path / "report"
    assert named in killed.on("report", "--out", str(out), *words).complaint
    assert not out.exists()


def test_an_empty_store_has_nothing_to_report(command: Command, tmp_path: Path) -> None:
    """That is no good news, and is not told as any."""
    with command.house():
        pass
    out = tmp_path / "report"
    assert "the ledger is empty" in command.on("report", "--out", str(out)).complaint
    assert not out.exists()


def test_a_store_that_is_not_there_is_not_made(command: Command, tmp_path: Path) -> None:
    """A name with a slip in it."""
    assert "cannot open store" in command.on("report", "--out", str(tmp_path / "r")).complaint
    assert command.untouched()


def test_a_folder_with_something_in_it_is_left_alone(killed: Command, tmp_path: Path) -> None:
    """A report is never mixed with another."""
    out = tmp_path / "report"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert f"--out {out} is not empty" in killed.on("report", "--out", str(out)).complaint
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_an_altered_ledger_is_said_with_exit_1(killed: Command, tmp_path: Path) -> None:
    """The report is written, and says what is wrong; nothing else that rests on it."""
    with closing(sqlite3.connect(killed.path)) as connection, connection:
        connection.execute(
            "UPDATE baton_event SET reason = 'drained' WHERE chain = 'task:t-1' AND reason > ''"
        )
    out = tmp_path / "report"
    said = killed.on("report", "--out", str(out))
    assert said.code == 1
    assert "altered or is damaged" in said.out
    assert "hash_mismatch" in said.out
    assert "went from" not in said.out
    document = json.loads((out / "report.json").read_text())
    assert (document["exit_code"], document["takeovers"]) == (1, [])


def test_a_seal_makes_a_shortened_ledger_evident(killed: Command, tmp_path: Path) -> None:
    """Lines cut off the end of a chain leave no gap that the chain itself would show."""
    seal = tmp_path / "seal.json"
    ledger, out = tmp_path / "ledger.jsonl", tmp_path / "report"
    killed.on("ledger", "export", "--out", str(ledger), "--seal", str(seal))
    lines = ledger.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["type"] != "done"]
    assert len(kept) == len(lines) - 1
    ledger.write_text("".join(kept))
    words = ("report", "--ledger", str(ledger), "--seal", str(seal), "--out", str(out))
    said = killed(*words)
    assert (said.code, "seal_mismatch" in said.out) == (1, True)


def test_a_ledger_that_is_cut_off_cannot_be_judged(killed: Command, tmp_path: Path) -> None:
    """Exit 2, as for whatever cannot be."""
    ledger = tmp_path / "ledger.jsonl"
    killed.on("ledger", "export", "--out", str(ledger))
    ledger.write_bytes(ledger.read_bytes()[:-20])
    said = killed("report", "--ledger", str(ledger), "--out", str(tmp_path / "report"))
    assert said.code == 2
    assert "cut off" in said.out
