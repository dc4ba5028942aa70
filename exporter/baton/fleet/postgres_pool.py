"""A process's connections to a PostgreSQL server, few enough to be counted.

A session keeps one connection for as long as it lives, its *anchor*: that holds the session's
lock, hears what is notified, and carries heartbeats and whatever else takes a moment. Data has
one more. A call that would have to wait behind a long statement may open another, while the
server has room to spare; where it has none, data goes over the anchor as well, in short turns.
So a worker needs one connection to do everything, has two where it may, and leaves the last few
of the server's to those who look after the fleet.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from baton.errors import BatonError, ConnectionCut, ServerFull, StoreBusy, StoreError
from baton.fleet.postgres_calls import Deadlines, raise_plain
from baton.fleet.postgres_connect import (
    BROKEN,
    CONNECTIONS,
    MOST,
    Anchor,
    Timeouts,
    is_idle,
    plain_errors,
)
from baton.fleet.postgres_dial import Dialer

T = TypeVar("T")

#: Connections of the server's that a worker leaves free: for an exporter, an operator, a migration.
HEADROOM = 8

#: Whoever has waited that long for a connection waits behind a long statement, in seconds.
_LONG_SECONDS = 0.1

#: A connection that was not used for so long is given back to the server, in seconds.
_IDLE_SECONDS = 30.0

#: Where there was no room, it is looked for again after one to two times this, in seconds.
_ROOM_EVERY_SECONDS = 2.0

#: Between two tries to reach a server that is away, in seconds.
_RETRY_EVERY_SECONDS = 0.05

# Without any privilege; those reserved for superusers do not count, and a parallel worker does.
_ROOM = """
SELECT current_setting('max_connections')::integer
    - current_setting('superuser_reserved_connections')::integer
    - coalesce(current_setting('reserved_connections', true)::integer, 0)
    - (SELECT sum(numbackends) FROM pg_stat_database)
"""


class _Hand(threading.local):
    """What each thread has in hand."""

    connection: Any = None


class Pool:
    """The connections of one open store."""

    def __init__(
        self,
        dsn: str,
        url: str,
        timeouts: Timeouts,
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            dsn: where the store is.
            url: for error messages.
            timeouts: the bounds of each connection.
            connections: how many there are in normal operation, anchors included.
        """
        self.url = url
        self._timeouts = timeouts
        #: After how long this side gives up a connection on which nobody answers.
        self.call_seconds = timeouts.call
        self._connections = connections
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        #: How many wait for it: to notify nobody takes longer than to give a connection back.
        self._waiting = 0
        self._idle: list[tuple[Any, float]] = []
        self._out = 0
        self._anchors: list[Anchor] = []
        #: How many are for data, in normal operation.
        self._share = max(1, connections)
        self._hand = _Hand()
        self._closed = False
        self._full_until = float("-inf")
        self._deadlines = Deadlines(url, self._give_up_idle)
        self._dialer = Dialer(dsn, url, timeouts, self._deadlines)

    def check_each(self, check: Callable[[Any], None]) -> None:
        """Ask something of each new connection before it is used."""
        self._dialer.check = check

    # Calls

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection for one caller, for as long as a call may take.

        Raises:
            ConnectionCut: there is none to be had, or it broke; idle ones are given up with it.
            StoreBusy, StoreError: as they say.
        """
        with self._lent() as connection:
            yield connection

    def retry(self, call: Callable[[Any, bool], T]) -> T:
        """Make a call that may be made twice, again if the connection breaks under it.

        Args:
            call: told whether it was made before, so that it may have taken effect.

        Raises:
            ConnectionCut: the server stays away for longer than a call may take.
        """
        # Spelt out, without ``_lent`` and ``_until_answered``: every super-step comes this way, and
        # a block of a generator's would cost it as much as all else that is done here.
        give_up_at = time.monotonic() + 2 * self.call_seconds
        again = False
        while True:
            try:
                loan = self._lend(urgent=False)
                try:
                    return call(loan[0], again)
                except BROKEN as error:
                    raise_plain(loan[0], self.url, error)
                finally:
                    self._take_back(*loan)
            except ConnectionCut:
                if not self._waits(give_up_at):
                    raise
                again = True

    def moment(self, call: Callable[[Any, bool], T]) -> T:
        """``retry`` for what takes a moment and need not wait for the disk: over an anchor.

        It waits behind nothing: where there is no anchor, or data holds it up, it goes over another
        connection, one of those that are left free if it has to.
        """

        def attempt(again: bool) -> T:  # noqa: FBT001 - as above
            for anchor in tuple(self._anchors):
                with anchor.held(_LONG_SECONDS) as connection:
                    if connection is not None:
                        with self.within(connection, self._timeouts.idle):
                            return call(connection, again)
            with self._lent(urgent=True) as connection:
                return call(connection, again)

        return self._until_answered(attempt, self._timeouts.idle)

    def ask(self, statement: str) -> Any:
        """The one answer to a question that may be asked anywhere, even inside a transaction.

        Raises:
            ConnectionCut, StoreBusy, StoreError: as for ``moment``.
        """
        mine = self._hand.connection
        if mine is not None and not mine.closed:
            with plain_errors(self.url):
                return mine.execute(statement).fetchone()[0]
        return self.moment(lambda connection, _: connection.execute(statement).fetchone()[0])

    @contextmanager
    def begun(self, begin: Callable[[Any], T]) -> Iterator[tuple[Any, T]]:
        """A connection on which something has begun, tried anew until it could begin.

        Args:
            begin: what leaves no trace if its connection breaks, such as BEGIN.
        """

        def attempt(_: bool) -> tuple[ExitStack, Any, T]:  # noqa: FBT001
            with ExitStack() as stack:
                connection = stack.enter_context(self._lent())
                began = begin(connection)
                return stack.pop_all(), connection, began

        stack, connection, began = self._until_answered(attempt, self._timeouts.call)
        with stack:
            yield connection, began

    def _until_answered(self, attempt: Callable[[bool], T], seconds: float) -> T:
        give_up_at = time.monotonic() + 2 * seconds
        again = False
        while True:
            try:
                return attempt(again)
            except ConnectionCut:
                if not self._waits(give_up_at):
                    raise
                again = True

    def _waits(self, give_up_at: float) -> bool:
        """Wait for a moment before the next try, if there is to be one."""
        if time.monotonic() >= give_up_at or self._closed:
            return False
        threading.Event().wait(_RETRY_EVERY_SECONDS)
        return True

    def within(self, connection: Any, seconds: float) -> AbstractContextManager[None]:
        """Whatever is asked of a connection here is answered in time, or it is closed.

        Args:
            connection: the caller's own.
            seconds: the time.

        Raises:
            ConnectionCut: the connection broke.
        """
        return self._deadlines.within(connection, seconds)

    # Who gets which

    @contextmanager
    def _lent(self, *, urgent: bool = False) -> Iterator[Any]:
        loan = self._lend(urgent=urgent)
        try:
            yield loan[0]
        except BROKEN as error:
            raise_plain(loan[0], self.url, error)
        finally:
            self._take_back(*loan)

    def _lend(self, *, urgent: bool) -> tuple[Any, Any, Callable[[], None] | None]:
        """A connection in this thread's hand; with it what ``_take_back`` has to know.

        Args:
            urgent: it may be one of those that are left free.

        Raises:
            ConnectionCut, StoreBusy, StoreError: there is none to be had.
        """
        before, otherwise = self._hand.connection, None
        # A thread that has a connection may need a second one: it must not wait for itself.
        urgent = urgent or before is not None
        with self._lock:
            connection = None
            if self._idle and (urgent or self._out < self._share):
                self._out += 1
                connection = self._idle.pop()[0]
        if connection is None:
            connection, otherwise = self._find(urgent=urgent)
        self._hand.connection = connection
        self._deadlines.begin(connection, self.call_seconds)
        return connection, before, otherwise

    def _find(self, *, urgent: bool) -> tuple[Any, Callable[[], None] | None]:
        """A connection that is not idle yet, and how it is given back if it is none of ours."""
        connection = None
        if self._count_out(urgent=urgent):
            try:
                connection = self._take(urgent=urgent)
            finally:
                if connection is None:
                    self._count_in()
        if connection is not None:
            return connection, None
        with ExitStack() as stack:
            connection = self._over_anchor(stack)
            return connection, stack.pop_all().close

    def _count_out(self, *, urgent: bool) -> bool:
        """Wait for a turn; returns whether it came, and raises if nothing else is left."""
        with self._changed:
            self._waiting += 1
            try:
                turn = urgent or self._changed.wait_for(self._has_share, _LONG_SECONDS)
                if not turn:
                    patience = 0 if self._anchors else self.call_seconds
                    turn = self._changed.wait_for(lambda: self._out < MOST, patience)
            finally:
                self._waiting -= 1
            if not turn and not self._anchors:
                raise StoreBusy(holder=f"{MOST} other calls of this process")
            self._out += turn
            return turn

    def _has_share(self) -> bool:
        return self._out < self._share

    def _count_in(self) -> None:
        with self._changed:
            self._out -= 1
            self._changed.notify()

    def _take(self, *, urgent: bool) -> Any:
        """An idle connection or a new one; None where there is no room for a new one."""
        with self._changed:
            if self._idle:
                return self._idle.pop()[0]
        if urgent or not self._anchors:
            return self.connect()
        if self._is_full:
            return None
        try:
            connection = self.connect()
        except ConnectionCut:
            # For whatever reason: whether the anchor is a way out will be seen.
            connection = None
        if connection is None or not self._leaves_room(connection):
            wait = _ROOM_EVERY_SECONDS * (1 + random.random())  # noqa: S311 - so that not all look at once
            self._full_until = time.monotonic() + wait
            return None
        return connection

    @property
    def _is_full(self) -> bool:
        return time.monotonic() < self._full_until

    def _leaves_room(self, connection: Any) -> bool:
        with self.within(connection, self.call_seconds):
            room = int(connection.execute(_ROOM).fetchone()[0])
        if room < HEADROOM:
            connection.close()
        return room >= HEADROOM

    def _over_anchor(self, stack: ExitStack) -> Any:
        """An anchor for data, which a transaction of data is to wait for the disk on."""
        for anchor in tuple(self._anchors):
            connection = stack.enter_context(anchor.held(self.call_seconds))
            if connection is not None:
                with self.within(connection, self.call_seconds):
                    connection.execute("RESET synchronous_commit")
                stack.callback(self._moments_only, connection)
                return connection
        raise ConnectionCut(url=self.url, detail="no connection for data, and none to share")

    def _moments_only(self, connection: Any) -> None:
        # Where this fails the connection has broken, as whoever uses it next will see.
        with suppress(BatonError), self.within(connection, self.call_seconds):
            if not connection.closed:
                connection.execute("SET synchronous_commit = off")

    def _take_back(
        self, connection: Any, before: Any, otherwise: Callable[[], None] | None
    ) -> None:
        self._deadlines.end(connection)
        self._hand.connection = before
        if otherwise is not None:
            otherwise()
            return
        dead: list[Any] = []
        now = time.monotonic()
        with self._lock:
            self._out -= 1
            room = len(self._idle) + self._out < self._share
            if room and is_idle(connection) and not self._closed and now >= self._full_until:
                self._idle.append((connection, now))
            elif connection.closed:
                # Whatever ended this one has most likely ended the others too.
                dead, self._idle = [one for one, _ in self._idle], []
            else:
                dead = [connection]
            if self._waiting:
                self._changed.notify()
        for one in dead:
            one.close()

    def _give_up_idle(self) -> None:
        before = time.monotonic() - _IDLE_SECONDS
        with self._changed:
            dead = [one for one, since in self._idle if since < before]
            self._idle = [(one, since) for one, since in self._idle if since >= before]
        for one in dead:
            one.close()

    # New ones

    def connect(self) -> Any:
        """A connection of the caller's own.

        Raises:
            ServerFull, ConnectionCut, StoreError: as they say.
        """
        if self._closed:
            raise StoreError(url=self.url, detail="the store is closed")
        return self._dialer.connect()

    def first(self) -> Any:
        """``connect``, waiting for a place where the server has none.

        Raises:
            ServerFull: it has none for as long as a call may take.
            ConnectionCut, StoreError: as they say.
        """
        give_up_at = time.monotonic() + self.call_seconds
        while True:
            try:
                return self.connect()
            except ServerFull:
                if time.monotonic() >= give_up_at:
                    raise
                threading.Event().wait(_RETRY_EVERY_SECONDS * (1 + random.random()))  # noqa: S311 - as above

    def open_anchor(self, anchor: Anchor) -> Any:
        """Give an anchor its connection, which is lent from now on.

        Raises:
            ServerFull, ConnectionCut, StoreError: as they say.
        """
        connection = self.connect()
        with self.within(connection, self.call_seconds):
            # A heartbeat need not wait for the disk, nor does the loss of a session: whatever is
            # durable and depends on them comes later in the same log.
            connection.execute("SET synchronous_commit = off")
        anchor.connection = connection
        if anchor not in self._anchors:
            self._anchors.append(anchor)
            self._share_anew()
        return connection

    def close_anchor(self, anchor: Anchor) -> None:
        """Take an anchor's connection away and close it."""
        if anchor in self._anchors:
            self._anchors.remove(anchor)
            self._share_anew()
        with anchor.held():
            connection, anchor.connection = anchor.connection, None
            if connection is not None:
                connection.close()

    def _share_anew(self) -> None:
        self._share = max(1, self._connections - len(self._anchors))

    def close(self) -> None:
        """Close what is idle, and the rest as it is given back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()
        self._deadlines.close()
