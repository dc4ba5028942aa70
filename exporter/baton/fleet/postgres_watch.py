"""Evidence of death from the server itself: a session's connection holds a lock for life.

Each session takes an advisory lock on a connection that stays as long as it does. When its process
ends, the kernel closes the connection, the server drops the lock, and whoever looks at
``pg_locks`` sees it gone. One worker looks many times a second: the one that holds the watcher's
own lock. The others try for that lock too, together about as often, so a watcher that dies is
replaced at once.

A lock that is gone is evidence only if it was there before, for the whole time that we could
see: a restart of the server drops every lock, and what cut our own connection may have cut those
of our peers. After either, a peer that has not been seen again is left to its silence for a TTL.
A wrong guess is safe: the fence decides who may write.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baton.domain.words import Evidence
from baton.errors import BatonError, ConnectionCut
from baton.fleet.evidence import OnGone
from baton.fleet.model import Session
from baton.fleet.postgres_connect import Anchor, Listener
from baton.fleet.postgres_pool import Pool

_log = logging.getLogger(__name__)

#: How often the elected watcher looks at the locks, in seconds.
LOOK_EVERY_SECONDS = 0.02

#: How often each of the others tries at least to become the watcher, in seconds.
TRY_EVERY_SECONDS = 0.5

#: How soon a connection that was cut is tried anew, in seconds.
_AGAIN_SECONDS = 0.2

#: What the store notifies of: tasks that wait, sessions that are lost.
_CHANNEL = "baton_wake"

_LOCKS = """
SELECT baton_now(), array_agg(classid::bigint << 32 | objid::bigint) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_AGES = """
SELECT baton_now(), (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint
"""


def session_key(session_id: str) -> int:
    """The key of the advisory lock that a session holds for life."""
    return _key(f"session/{session_id}")


def watcher_key(store_id: str) -> int:
    """The key of the advisory lock that a store's elected watcher holds."""
    return _key(f"watcher/{store_id}")


def _key(name: str) -> int:
    # 62 bits, as the keys of chains have. A mark of the tail has as many, of which 14 are the
    # schema's: a lock of ours that looked like one would have to stand below the ledger's end too.
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 2


@dataclass(slots=True)
class _Peer:
    """One session under watch.

    Attributes:
        seen: its lock was held at a look over the connection that is ours now.
    """

    session_id: str
    key: int
    started_at: int
    ttl_us: int
    seen: bool = False


@dataclass(slots=True)
class _Lookout:
    """What this process's own connection makes it a judge of.

    Attributes:
        listener: what is notified on that connection, which holds the session's lock as well.
        since_us: store time at which it was made.
        trusted_us: of sessions that registered later, a lock that is not there is evidence.
        elected: whether it holds the watcher's lock.
    """

    listener: Listener
    since_us: int
    trusted_us: int
    elected: bool = False


class ConnectionEvidence:
    """One worker's lock, its ear for notifications, and its part in the watch."""

    def __init__(
        self, pool: Pool, store_id: str, on_gone: OnGone, on_wake: Callable[[], None]
    ) -> None:
        """Prepare; the thread starts with the first session.

        Args:
            pool: makes the one connection, and lends it to others for moments.
            store_id: whose watcher is to be elected.
            on_gone: called once for each peer that is gone.
            on_wake: called when there may be something to claim.
        """
        self._pool = pool
        self._watcher_key = watcher_key(store_id)
        self._on_gone = on_gone
        self._on_wake = on_wake
        self._lock = threading.Condition()
        self._wanted: str | None = None
        self._held: str | None = None
        self._peers: dict[str, _Peer] = {}
        self._closed = False
        self._thread: threading.Thread | None = None
        self._wake, self._waker = socket.socketpair()
        # From here on, the thread's own.
        self._anchor = Anchor()
        self._lookout: _Lookout | None = None
        self._made_before = False
        self._away: BatonError | None = None
        self._tried_at = float("-inf")

    def hold(self, session_id: str) -> tuple[Path, int] | None:
        """Take the lock of this session, and let go of the one before it.

        Raises:
            ConnectionCut: the server does not answer.
        """
        with self._lock:
            self._wanted = session_id
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="baton-connection", daemon=True
                )
                self._thread.start()
            self._stir()
            taken = self._lock.wait_for(lambda: self._held == session_id, self._pool.call_seconds)
            why = self._away
        if not taken:
            detail = "no lock for a session could be taken"
            raise why or ConnectionCut(url=self._pool.url, detail=detail)
        return None

    def watch(self, session: Session) -> None:
        """Begin to watch a peer."""
        spec = session.spec
        with self._lock:
            self._peers.setdefault(
                spec.session_id,
                _Peer(
                    spec.session_id,
                    session_key(spec.session_id),
                    session.started_at,
                    spec.ttl_us,
                ),
            )

    def forget(self, session_id: str) -> None:
        """Stop watching a peer."""
        with self._lock:
            self._peers.pop(session_id, None)

    def close(self) -> None:
        """Watch nobody, and let go of the lock."""
        with self._lock:
            self._closed = True
            self._peers.clear()
            self._stir()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._wake.close()
        self._waker.close()

    @property
    def elected(self) -> bool:
        """Whether this is the one that looks many times a second."""
        lookout = self._lookout
        return lookout is not None and lookout.elected

    def _stir(self) -> None:
        with suppress(OSError):
            self._waker.send(b".")

    # From here on: the thread.

    def _run(self) -> None:
        try:
            while not self._closed:
                try:
                    self._turn()
                except BatonError as error:
                    self._fail(error)
                else:
                    self._away = None
        finally:
            self._drop()

    def _fail(self, error: BatonError) -> None:
        if not self._closed and self._away is None:
            _log.warning("no evidence of deaths until the store answers: %s", error)
        self._away = error
        self._drop()
        threading.Event().wait(_AGAIN_SECONDS)

    def _turn(self) -> None:
        """Keep the session's lock, hear what is notified, and look where it is time to."""
        lookout = self._lookout or self._connect()
        if self._held != self._wanted:
            with self._ours() as connection:
                self._change_lock(connection)
        if lookout.listener.wait(self._wake, self._pause(lookout)):
            with self._ours():
                told = lookout.listener.take()
            if told:
                self._on_wake()
        if lookout.elected or time.monotonic() - self._tried_at >= self._try_every_seconds():
            self._tried_at = time.monotonic()
            for peer in self._look(lookout):
                self._gone(peer)

    def _pause(self, lookout: _Lookout) -> float:
        if lookout.elected:
            return LOOK_EVERY_SECONDS
        left = self._tried_at + self._try_every_seconds() - time.monotonic()
        return min(max(left, 0.0), TRY_EVERY_SECONDS)

    def _try_every_seconds(self) -> float:
        # All of them together try about as often as the watcher looks, however many they are: the
        # only standby of a dead watcher is not to lose the most time.
        return min(TRY_EVERY_SECONDS, LOOK_EVERY_SECONDS * max(1, len(self._peers)))

    @contextmanager
    def _ours(self) -> Iterator[Any]:
        """The connection for this thread alone, answered in time.

        Raises:
            ConnectionCut: it has ended.
        """
        with self._anchor.held() as connection:
            if connection is None:
                raise ConnectionCut(url=self._pool.url, detail="a session's connection was closed")
            with self._pool.within(connection, self._pool.call_seconds):
                yield connection

    def _connect(self) -> _Lookout:
        self._pool.open_anchor(self._anchor)
        with self._ours() as connection:
            listener = Listener(connection, self._pool.url, _CHANNEL, self._stir)
            now_us, server_us = connection.execute(_AGES).fetchone()
        # A first connection has not been cut: then only a restart of the server can have dropped
        # the lock of a living session.
        trusted_us = now_us if self._made_before else server_us
        self._made_before = True
        self._lookout = _Lookout(listener, now_us, trusted_us)
        return self._lookout

    def _drop(self) -> None:
        self._lookout = self._held = None
        with self._lock:
            for peer in self._peers.values():
                peer.seen = False
        self._pool.close_anchor(self._anchor)

    def _change_lock(self, connection: Any) -> None:
        wanted, held = self._wanted, self._held
        assert wanted is not None
        # Not a wait: a connection of ours that the server still believes in may hold it.
        taken = connection.execute(
            "SELECT pg_try_advisory_lock(%s)", (session_key(wanted),)
        ).fetchone()[0]
        if not taken:
            return
        if held is not None:
            connection.execute("SELECT pg_advisory_unlock(%s)", (session_key(held),))
        with self._lock:
            self._held = wanted
            self._lock.notify_all()

    def _look(self, lookout: _Lookout) -> list[_Peer]:
        """Try to become the watcher, look at the locks, and return who is gone."""
        with self._lock:
            peers = tuple(self._peers.values())
        with self._ours() as connection:
            if not lookout.elected:
                lookout.elected = connection.execute(
                    "SELECT pg_try_advisory_lock(%s)", (self._watcher_key,)
                ).fetchone()[0]
            if not peers or (not lookout.elected and all(peer.seen for peer in peers)):
                return []
            now_us, keys = connection.execute(_LOCKS).fetchone()
        held = set(keys or ())
        gone = []
        for peer in peers:
            if peer.key in held:
                peer.seen = True
            elif lookout.elected and self._is_evidence(peer, lookout, now_us):
                gone.append(peer)
        return gone

    @staticmethod
    def _is_evidence(peer: _Peer, lookout: _Lookout, now_us: int) -> bool:
        return (
            peer.seen
            or peer.started_at > lookout.trusted_us
            or now_us > lookout.since_us + peer.ttl_us
        )

    def _gone(self, peer: _Peer) -> None:
        at_ns = time.monotonic_ns()
        with self._lock:
            if self._peers.pop(peer.session_id, None) is None:
                return
        try:
            self._on_gone(peer.session_id, Evidence.CONNECTION, peer.seen, at_ns)
        except BatonError:
            # The store went away under our hands: look again when it is back.
            with self._lock:
                self._peers.setdefault(peer.session_id, peer)
            raise
