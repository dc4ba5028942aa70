"""Poolers in front of a server: noticed, and refused where a connection's state does not hold.

A session's lock, ``LISTEN``, the bounds of a connection and prepared statements belong to one
connection of the server's. A pooler in transaction mode hands that to somebody else after each
transaction, and none of them breaks aloud: a lock is simply somebody else's. So it is refused.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

from baton.errors import StoreUnreachable

#: How often it is looked for: a third party may take the server connection that was to be caught.
_ROUNDS = 5

_MARK = "SELECT current_setting('baton.mark', true)"

#: How a pooler refuses ``BEGIN`` in statement mode.
_NO_TRANSACTIONS = "pooling mode"

#: An option as the server's own command line takes it: ``-c name=value`` or ``--name=value``.
_OPTION = re.compile(r"(?:-c\s*|--)([\w.-]+)=((?:\\.|[^\s\\])*)")

_DETAIL = (
    "it leads through a connection pool in transaction mode, where locks, LISTEN and the settings"
    " of a connection do not hold; give a direct connection, or a pool in session mode"
    " (docs/postgresql.md, PgBouncer)"
)


def is_between(connection: Any) -> bool:
    """Whether a pooler is in between: the process that was announced is not the one that answers.

    Args:
        connection: a new one, in autocommit.
    """
    row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    return bool(row[0] != connection.info.backend_pid)


def refuse_unless_kept(first: Any, second: Any, url: str) -> None:
    """Refuse a pooler that does not keep a server connection for its client.

    Args:
        first: a connection through it, in autocommit.
        second: another one, for this only.
        url: for the message.

    Raises:
        StoreUnreachable: what one of the two set was seen by the other, or lost.
    """
    for _ in range(_ROUNDS):
        mark = secrets.token_hex(8)
        _set(first, "baton.mark", mark)
        try:
            # Whoever begins a transaction is given the server connection that is free: the one
            # that was just used, if it was not kept.
            second.execute("BEGIN", prepare=False)
        except Exception as error:
            if _NO_TRANSACTIONS in str(error):
                raise StoreUnreachable(url=url, detail=_DETAIL) from error
            raise
        caught = _mark(second) == mark or _mark(first) != mark
        second.execute("ROLLBACK", prepare=False)
        if caught:
            raise StoreUnreachable(url=url, detail=_DETAIL)
    first.execute("RESET baton.mark", prepare=False)


def _mark(connection: Any) -> Any:
    return connection.execute(_MARK, prepare=False).fetchone()[0]


def set_again(connection: Any, options: str) -> None:
    """Set what a pooler did not hand on when the connection was made.

    Args:
        connection: one that is kept.
        options: what the server should have been started with for it.
    """
    for name, value in _settings(options):
        _set(connection, name, value)


def _set(connection: Any, name: str, value: str) -> None:
    connection.execute("SELECT set_config(%s, %s, false)", (name, value), prepare=False)


def _settings(options: str) -> Iterator[tuple[str, str]]:
    for name, value in _OPTION.findall(options):
        yield name.replace("-", "_"), re.sub(r"\\(.)", r"\1", value)
