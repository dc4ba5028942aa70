"""``baton submit``: tasks are accepted once, and what cannot be accepted changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.command import Command

from baton.domain.words import TaskState

SUBMIT = ("submit", "--graph", "review")


def test_a_task_is_accepted_and_its_id_printed(command: Command) -> None:
    """On standard output alone, for a script to take on; the store is made."""
    said = command.on(*SUBMIT, "--task", "t-1", "--pool", "batch", "--input", '{"path": "x"}')
    assert (said.code, said.out) == (0, "t-1\n")
    with command.house() as house:
        task = house.store.task("t-1")
    assert (task.graph, task.pool, task.state) == ("review", "batch", TaskState.PENDING)


def test_the_input_may_come_from_a_file(command: Command) -> None:
    """It is the same input, however it was given."""
    Path("input.json").write_text('{"path":\n "ü"}', encoding="utf-8")
    assert command.on(*SUBMIT, "--task", "t-1", "--input", "@input.json").code == 0
    assert command.on(*SUBMIT, "--task", "t-1", "--input", '{"path": "ü"}').code == 0
    with command.house() as house:
        assert len(house.store.tasks()) == 1


def test_many_tasks_with_one_input(command: Command) -> None:
    """Each has an id of its own."""
    ids = command.on(*SUBMIT, "--count", "3").out.split()
    assert len(set(ids)) == 3
    with command.house() as house:
        assert {task.task_id for task in house.store.tasks()} == set(ids)


def test_ids_for_machines(command: Command) -> None:
    """One JSON document."""
    assert json.loads(command.on(*SUBMIT, "--task", "t-1", "--json").out) == {"task_ids": ["t-1"]}


def test_a_graph_that_nobody_serves_is_noted(command: Command) -> None:
    """Tasks may be queued before workers start, so it is no error."""
    said = command.on(*SUBMIT)
    assert said.code == 0
    assert "no live worker serves graph 'review' in pool 'default'" in said.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--input", '{"path":}'), "--input is not JSON: Expecting value at line 1 column 9"),
        (("--input", ""), "line 1 column 1"),
        (("--input", "NaN"), "NaN"),
        (("--input", "null"), "--input is null"),
        (("--input", "[" * 100_000), "--input is not JSON"),
        (("--input", "@nowhere.json"), "@nowhere.json: No such file"),
        (("--input", "@."), "@.: Is a directory"),
        (("--input", "@broken.json"), "@broken.json is not JSON"),
        (("--input", "@binary.json"), "@binary.json is not UTF-8"),
        (("--task", "t 1"), "task 't 1'"),
        (("--task", ""), "task ''"),
        (("--pool", "a/b"), "pool 'a/b'"),
        (("--graph", "ü"), "graph 'ü'"),
        (("--count", "0"), "--count"),
        (("--count", "1.5"), "--count"),
        (("--count", "2", "--task", "t-1"), "--task names one task"),
    ],
)
def test_bad_input_makes_no_store(command: Command, words: tuple[str, ...], named: str) -> None:
    """One line that names what is wrong with it, and where."""
    Path("broken.json").write_text('{\n "a": 1,\n}')
    Path("binary.json").write_bytes(b'{"a": "\xff"}')
    assert named in command.on(*SUBMIT, *words).complaint
    assert command.untouched()


def test_a_broken_file_is_told_by_line_and_column(command: Command) -> None:
    """An editor can go there."""
    Path("broken.json").write_text('{\n "a" 1\n}')
    assert "at line 2 column 6" in command.on(*SUBMIT, "--input", "@broken.json").complaint


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--graph", "other"), "graph"),
        (("--graph", "review", "--pool", "batch"), "pool"),
        (("--graph", "review", "--input", '{"a": 1}'), "input"),
    ],
)
def test_an_id_stands_for_one_input(command: Command, words: tuple[str, ...], what: str) -> None:
    """The same id with anything else is a mistake, and changes nothing."""
    command.on(*SUBMIT, "--task", "t-1")
    before = command.contents()
    assert (
        f"'t-1' exists with another {what}"
        in command.on("submit", *words, "--task", "t-1").complaint
    )
    assert command.contents() == before
