"""``baton store``: made and migrated on purpose, and accepted after a restore."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.support.command import Command

from baton.fleet.sqlite_files import SCHEMA, schema_of


def test_migrate_makes_a_store_and_leaves_a_current_one_alone(command: Command) -> None:
    """It may stand in every deployment."""
    said = command.on("store", "migrate")
    assert said.code == 0
    assert str(command.path) in said.out
    before = command.contents()
    with closing(sqlite3.connect(command.path)) as connection:
        assert schema_of(connection) == SCHEMA
    assert command.on("store", "migrate").out == said.out
    assert command.contents() == before


def test_migrate_adds_to_what_langgraph_already_keeps(command: Command) -> None:
    """A store may begin as a database of checkpoints."""
    with closing(sqlite3.connect(command.path)) as connection, connection:
        connection.execute("CREATE TABLE somebody_elses (x)")
    assert command.on("store", "migrate").code == 0
    assert "somebody_elses" in command.contents()
    assert command.on("tasks").code == 0


def restore_an_older_copy(command: Command) -> None:
    """What a restore leaves: a data file that lacks what its sessions have seen."""
    with command.house() as house:
        house.submit("t-1")
        member = house.session("w-1")
        member.done(member.claim())
        member.stop()
    with closing(sqlite3.connect(command.path)) as connection, connection:
        connection.execute("DELETE FROM baton_event WHERE seq > 2")


def test_a_restore_is_accepted_once(command: Command) -> None:
    """Epochs rise above what was given out, and every verb works again."""
    restore_an_older_copy(command)
    said = command.on("store", "accept-restore")
    assert said.code == 0
    assert "the epochs of 1 tasks were raised" in said.out
    with command.house() as house:
        assert house.store.task("t-1").epoch > 1


def test_a_restore_is_not_accepted_under_running_workers(command: Command) -> None:
    """They would go on writing what nobody believes."""
    with command.house() as house:
        house.session("w-1")
    before = command.contents()
    complaint = command.on("store", "accept-restore").complaint
    assert "w-1" in complaint
    assert "stop them first" in complaint
    assert command.contents() == before
