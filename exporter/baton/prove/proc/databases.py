"""A database of a trial's own on a PostgreSQL server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit, urlunsplit

from baton.errors import BadInput, StoreError
from baton.fleet.postgres_connect import Timeouts, connect, dsn_of, shown

_NUMBERS = itertools.count(1)

#: Making a database copies one, so it may take a while; in seconds.
_PATIENT = Timeouts(lock=20.0, idle=20.0, statement=60.0, call=60.0)


@contextmanager
def database(server: str) -> Iterator[str]:
    """Make an empty database, and drop it with the block.

    Args:
        server: the URL of any database whose user may make others.

    Yields:
        Its URL.

    Raises:
        BadInput: the server cannot be reached, or lets nobody make a database.
    """
    name = f"baton_scenario_{os.getpid()}_{next(_NUMBERS)}"
    _run(server, f'CREATE DATABASE "{name}" ENCODING UTF8 TEMPLATE template0')
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        _run(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _run(server: str, statement: str) -> None:
    try:
        with closing(connect(dsn_of(server, _PATIENT), server)) as connection:
            connection.execute(statement.encode(), prepare=False)
    except StoreError as error:
        raise BadInput(detail=f"--store {shown(server)}: {error}") from error
    except Exception as error:
        words = str(error).strip().splitlines()
        raise BadInput(
            detail=f"--store {shown(server)} lets nobody make a database: {words[0]};"
            " name a user who may (CREATEDB)"
        ) from error
