"""What holds for every verb: one line for an error, its exit code, and a page that documents it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.command import Command

from baton import cli
from baton.cli import command_line, tasks
from baton.cli.reference import arguments_of, leaves, render_cli_doc, verbs_of
from baton.errors import BatonError
from baton.fleet.fleet import package_version

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

#: Every verb that works on a store which has to exist, as briefly as it can be said.
READERS = [
    ("exporter", "--listen", "127.0.0.1:0"),
    ("ledger", "export"),
    ("ledger", "timeline"),
    ("ledger", "verify"),
    ("store", "accept-restore"),
    ("tasks", "cancel", "t-1"),
    ("tasks", "list"),
    ("tasks", "--troubled"),
    ("tasks", "release", "t-1"),
    ("tasks", "resume", "t-1", "--value", "1"),
    ("tasks", "retry", "t-1"),
    ("tasks", "show", "t-1"),
    ("tasks", "takeover", "t-1"),
]
#: And those that make one.
MAKERS = [("submit", "--graph", "g"), ("store", "migrate")]


def test_the_page_is_not_behind() -> None:
    """After a change of the parser, render the page again."""
    assert PAGE.read_text() == render_cli_doc(), "run `make docs`"


@pytest.mark.parametrize("one", list(leaves(command_line())), ids=lambda one: one.prog)
def test_every_verb_and_option_is_explained(one: cli.Parser) -> None:
    """In its own help, on the page, and in full sentences."""
    assert one.description
    assert one.description.endswith(".")
    for action in arguments_of(one):
        assert action.help, f"{one.prog} {action.dest} has no help"
        assert not any(
            option.startswith("-") and len(option) == 2 for option in action.option_strings
        )
    assert f"\n## {one.prog}\n" in PAGE.read_text()


def test_help_is_sorted(command: Command) -> None:
    """What is looked for is found where the alphabet has it."""
    assert list(verbs_of(command_line())) == sorted(verbs_of(command_line()))
    said = command("worker", "--help")
    options = [line.split()[0] for line in said.out.splitlines() if line.startswith("  --")]
    assert (said.code, options) == (0, sorted(options))


def test_version(command: Command) -> None:
    """One line, the same in a process of its own."""
    line = f"baton {package_version()}\n"
    assert (command("--version").code, command("--version").out) == (0, line)
    by_module = subprocess.run(
        [sys.executable, "-m", "baton", "--version"], capture_output=True, text=True, check=True
    )
    assert by_module.stdout == line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "VERB"),
        (("nonsense",), "'nonsense'"),
        (("tasks", "nonsense"), "'nonsense'"),
        (("store",), "VERB"),
        (("submit",), "--graph"),
        (("submit", "--graph", "g", "--nonsense"), "--nonsense"),
        (("submit", "--gra", "g"), "--graph"),
        (("tasks", "show"), "ID"),
        (("tasks", "list", "--state", "lost"), "'lost'"),
        (("tasks", "list", "--limit", "0"), "--limit"),
        (("tasks", "resume", "t-1"), "--value"),
        (("worker",), "--graph"),
        (("exporter", "--log", "xml"), "'xml'"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(
    command: Command, words: tuple[str, ...], named: str
) -> None:
    """Also by argparse, which would say it in many and exit 2."""
    complaint = command(*words).complaint
    assert named in complaint
    assert "--help" in complaint


@pytest.mark.parametrize("words", [*READERS, *MAKERS], ids=" ".join)
def test_a_verb_without_a_store_says_where_to_name_one(
    command: Command, words: tuple[str, ...]
) -> None:
    """Both ways are named, and an option beats the environment."""
    complaint = command(*words).complaint
    assert "--store" in complaint
    assert "BATON_STORE" in complaint


def test_the_environment_names_the_store(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless an option does."""
    monkeypatch.setenv("BATON_STORE", "sqlite:///from-the-environment.db")
    assert command("submit", "--graph", "g").code == 0
    assert Path("from-the-environment.db").exists()
    assert command.on("submit", "--graph", "g").code == 0
    assert command.path.exists()


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_store_that_is_not_there_is_not_made(command: Command, words: tuple[str, ...]) -> None:
    """A typing error must not become an empty fleet."""
    complaint = command.on(*words).complaint
    assert str(command.path) in complaint
    assert "`baton store migrate`" in complaint
    assert command.untouched()


@pytest.mark.parametrize("words", [*READERS, *MAKERS], ids=" ".join)
@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://localhost/fleet", "mysql://localhost/fleet"),
        ("sqlite://fleet.db", "sqlite:///fleet.db"),
        ("sqlite:///no/such/folder/fleet.db", "no/such/folder"),
        ("sqlite:////proc/fleet.db", "/proc/fleet.db"),
    ],
)
def test_a_store_that_cannot_be_is_named(
    command: Command, words: tuple[str, ...], url: str, named: str
) -> None:
    """By its URL, with the form that would do."""
    assert named in command(*words, "--store", url).complaint


@pytest.mark.parametrize("words", [*READERS, *MAKERS], ids=" ".join)
def test_a_damaged_store_is_left_as_it_is(command: Command, words: tuple[str, ...]) -> None:
    """It is somebody's only copy."""
    command.path.write_bytes(b"this is no database " * 500)
    before = command.path.read_bytes()
    assert "damaged" in command.on(*words).complaint
    assert command.path.read_bytes() == before


@pytest.mark.parametrize("words", [*READERS, *MAKERS], ids=" ".join)
def test_a_store_of_a_newer_baton_is_left_as_it_is(
    command: Command, words: tuple[str, ...]
) -> None:
    """Whatever it means by its tables, we do not know."""
    with command.house():
        pass
    with closing(sqlite3.connect(command.path)) as connection, connection:
        connection.execute("UPDATE baton_meta SET value = '99' WHERE key = 'schema'")
    before = command.contents()
    assert "upgrade langgraph-baton" in command.on(*words).complaint
    assert command.contents() == before


@pytest.mark.parametrize(
    "words", [words for words in (*READERS, *MAKERS) if "accept-restore" not in words], ids=" ".join
)
def test_an_older_copy_is_refused_until_it_is_accepted(
    command: Command, words: tuple[str, ...]
) -> None:
    """With the command that accepts it."""
    with command.house() as house:
        house.submit("t-1")
    with closing(sqlite3.connect(command.path)) as connection, connection:
        connection.execute("DELETE FROM baton_event")
    before = command.contents()
    assert "`baton store accept-restore`" in command.on(*words).complaint
    assert command.contents() == before


class Surprise(Exception):
    """What nobody thought of."""


def test_an_unexpected_error_is_one_line_and_its_traceback_on_demand(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never silent, never a page of text for whoever only mistyped."""
    command.on("submit", "--graph", "g")

    def fail(*_: object, **__: object) -> None:
        raise Surprise("out of\nthe blue")

    monkeypatch.setattr(tasks, "print_table", fail)
    said = command.on("tasks")
    assert said.code == cli.EXIT_ERROR
    (line,) = said.err.splitlines()
    assert line.startswith("baton: unexpected Surprise at test_cli.py:")
    assert "out of the blue" in line
    assert "--debug" in line
    debugged = command.on("tasks", "--debug")
    assert debugged.code == cli.EXIT_ERROR
    assert "Traceback" in debugged.err
    assert "Surprise: out of" in debugged.err


def test_ctrl_c_is_quiet(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pressed it knows."""
    command.on("submit", "--graph", "g")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "print_table", interrupt)
    said = command.on("tasks")
    assert (said.code, said.out, said.err) == (130, "", "")


def test_a_reader_that_leaves_is_no_error(command: Command) -> None:
    """As in ``baton ledger export | head -1``."""
    command.on("submit", "--graph", "g", "--count", "500")
    running = subprocess.Popen(
        [sys.executable, "-m", "baton", "ledger", "export", "--store", command.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.readline()
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    assert (running.wait(), errors) == (cli.EXIT_BROKEN_PIPE, b"")


def test_every_complaint_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a library put into it."""

    def fail(*_: object, **__: object) -> None:
        raise BatonError(detail="one\n  two\n\nthree")

    monkeypatch.setattr(tasks, "open_fleet", fail)
    assert command.on("tasks").complaint == "one two three"
