"""New connections to a store's server, each made sure of before it is used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from baton.fleet import postgres_pooler
from baton.fleet.postgres_calls import Deadlines
from baton.fleet.postgres_connect import Timeouts, connect, dsn_of, options_of, plain_errors


class Dialer:
    """Where a store is, and what is asked of a connection that is to lead there."""

    def __init__(self, dsn: str, url: str, timeouts: Timeouts, deadlines: Deadlines) -> None:
        """Prepare; nothing is opened yet.

        Args:
            dsn: where the store is.
            url: for error messages.
            timeouts: the bounds of each connection.
            deadlines: who looks for overdue calls.
        """
        self._dsn = dsn_of(dsn, timeouts)
        self._url = url
        self._seconds = timeouts.call
        self._deadlines = deadlines
        #: A pooler in between has been seen to keep a connection for its client.
        self._kept = False
        #: Asked of each new connection before it is used.
        self.check: Callable[[Any], None] = lambda connection: None  # noqa: ARG005

    def connect(self) -> Any:
        """A new connection.

        Raises:
            ServerFull, ConnectionCut, StoreError: as they say.
        """
        connection = connect(self._dsn, self._url)
        try:
            with plain_errors(self._url):
                if postgres_pooler.is_between(connection):
                    self._through_pooler(connection)
                self.check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _through_pooler(self, connection: Any) -> None:
        if not self._kept:
            with (
                closing(connect(self._dsn, self._url)) as another,
                self._deadlines.within(connection, self._seconds),
                self._deadlines.within(another, self._seconds),
            ):
                postgres_pooler.refuse_unless_kept(connection, another, self._url)
            self._kept = True
        postgres_pooler.set_again(connection, options_of(self._dsn))
