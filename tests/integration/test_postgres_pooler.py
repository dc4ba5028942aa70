"""A pooler before the server: kept connections will do, shared ones are refused at the door."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.support.command import Command
from tests.support.house import House
from tests.support.pooler import Mode, pooler
from tests.support.postgres import PostgresServer
from tests.support.runs import wait_until

from baton.errors import StoreUnreachable
from baton.fleet.store import new_id, open_store

#: Names the program where it is not on the path.
VARIABLE = "BATON_TEST_PGBOUNCER"


@pytest.fixture(params=["stand-in", "pgbouncer"])
def kind(request: pytest.FixtureRequest) -> str:
    """The stand-in, and PgBouncer itself where there is one."""
    if request.param == "pgbouncer" and _program() is None:
        pytest.skip(f"no pgbouncer on the path, and {VARIABLE} names none")
    return str(request.param)


def _program() -> str | None:
    return os.environ.get(VARIABLE) or shutil.which("pgbouncer")


@contextmanager
def through(
    kind: str, server: PostgresServer, url: str, mode: Mode, *, ignores: bool
) -> Iterator[str]:
    """The URL of a database through a pooler."""
    about = conninfo_to_dict(url)
    user, database = str(about.get("user", "postgres")), str(about["dbname"])
    if kind == "stand-in":
        with pooler(
            server.dial(url), user=user, database=database, mode=mode, ignores_options=ignores
        ) as led:
            yield led
        return
    with _pgbouncer(about, user, mode, ignores=ignores) as led:
        yield led


@contextmanager
def _pgbouncer(about: dict[str, Any], user: str, mode: Mode, *, ignores: bool) -> Iterator[str]:
    """PgBouncer itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    database, program = about["dbname"], _program()
    assert program is not None
    # It refuses to be root's, and has to reach the server's socket: so it is the server's user's,
    # who cannot look into pytest's own folder.
    owner = Path(str(about["host"])).stat().st_uid if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="baton-pooler-") as folder:
        Path(folder).chmod(0o755)
        ini = Path(folder, "pgbouncer.ini")
        ini.write_text(
            f"[databases]\n{database} = host={about['host']} user={user}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\n" + ("ignore_startup_parameters = options\n" if ignores else "")
        )
        with subprocess.Popen(
            [program, "-q", ini],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=owner,
        ) as process:
            led = f"postgresql://{user}@127.0.0.1:{port}/{database}"
            try:
                wait_until(lambda: _answers(led), "the pooler")
                yield led
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("ignores", [True, False], ids=["ignores options", "refuses options"])
def test_a_pool_in_transaction_mode_is_refused_with_one_line(
    kind: str,
    ignores: bool,  # noqa: FBT001 - a parameter of the test
    postgres: PostgresServer,
    database: str,
    command: Command,
) -> None:
    """Whether its connections are fresh or have been used, and nothing is written."""
    with through(kind, postgres, database, "transaction", ignores=ignores) as led:
        said = command("submit", "--store", led, "--graph", "g", "--input", "{}")
        assert said.code == 4
        assert "a connection pool in transaction mode" in said.complaint
        with pytest.raises(StoreUnreachable, match="a pool in session mode"):
            open_store(led)
    with closing(open_store(database)) as store:
        assert store.counts() == []


def test_a_pool_in_session_mode_will_do(kind: str, postgres: PostgresServer, database: str) -> None:
    """The bounds hold, though the pooler does not hand them on."""
    with (
        through(kind, postgres, database, "session", ignores=False) as led,
        closing(open_store(f"{led}?options=-cdatestyle%3DGerman", patience_seconds=6)) as store,
    ):
        house = House(store, store.clock, new_id)
        house.submit("t-1")
        assert house.session().claim().task_id == "t-1"
        with store.data.read() as cursor:
            found = [
                cursor.execute(f"SHOW {name}").fetchone()[0]
                for name in ("lock_timeout", "statement_timeout", "datestyle")
            ]
        assert found == ["2s", "3s", "German, DMY"]
