"""Knowing that a peer has died, without waiting for its silence.

On one host the kernel tells at once. Two kinds of evidence are used, the better one first:

* ``pidfd``: a file descriptor of the peer's process, readable when it ends. Needs the same PID
  namespace, and nothing a fork does can mislead it.
* ``flock``: a lock that each session holds on a file of its own for life. Works wherever the
  file can be seen, across namespaces too, and is asked many times a second.

Neither sees a process that is stopped or stuck; silence does. POSIX record locks (fcntl) would
not do: any close of the file anywhere in the process drops them.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from baton.domain.words import Evidence
from baton.fleet.process import (
    ProcessIdentity,
    has_exited,
    no_fork,
    open_pidfd,
    register_fork_aware,
    unregister_fork_aware,
)

_log = logging.getLogger(__name__)

#: (session_id, evidence, held, monotonic_ns); see ``DeathWatch``.
OnGone = Callable[[str, Evidence, bool, int], None]

#: How often a lock is asked where no pidfd can be had, in seconds.
POLL_INTERVAL_SECONDS = 0.05


class SessionLock:
    """The lock that one session holds for life, on a file that only it ever uses.

    A child forked by Python closes its copy (and never unlocks: that would unlock the parent's
    too). A copy made by a C library that forks without exec keeps the lock alive after the
    session's death; then only silence tells.
    """

    def __init__(self, folder: Path, session_id: str) -> None:
        """Make the file and lock it.

        Args:
            folder: where sessions keep their lock files; made if it is not there.
            session_id: the session, in any characters.

        Raises:
            BlockingIOError: a living session has this very id.
            OSError: the file cannot be made or locked.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _file_name(session_id)
        self._fd: int | None = None
        while self._fd is None:
            self.inode = self._try_to_lock()

    def _try_to_lock(self) -> int:
        # Gate and registration before the lock: a child forked in between would hold it for us.
        with no_fork():
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            self._fd = fd
            register_fork_aware(self)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._close()
            raise
        inode = os.fstat(fd).st_ino
        if _inode_at(self.path) != inode:
            # A leftover that was removed between our open and our lock: nobody could find it.
            self._close()
        return inode

    def release(self) -> None:
        """Remove the file, then let go of the lock. Again, or in a forked child: no effect.

        Watchers see this as the end of the session, so record the stop in the store first.
        """
        if self._fd is None:
            return
        if _inode_at(self.path) == self.inode:
            with suppress(OSError):
                self.path.unlink()
        self._close()

    def after_fork_in_child(self) -> None:
        """Let the child neither keep the lock alive nor release it."""
        self._close()

    def _close(self) -> None:
        with no_fork():
            fd, self._fd = self._fd, None
            unregister_fork_aware(self)
            if fd is not None:
                os.close(fd)


def _file_name(session_id: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", session_id)[:100]
    if name != session_id:
        # Two ids must not meet in one name.
        name += "." + hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return name + ".lock"


def _inode_at(path: Path) -> int | None:
    try:
        return path.stat(follow_symlinks=False).st_ino
    except OSError:
        return None


def _open_lock(path: Path, inode: int) -> int | None:
    """The lock file, if that is still the file which the session locked.

    While a session holds its lock its inode is in use and cannot be given to another file. The
    right number at the path therefore means the right file, as long as the session lives.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    if os.fstat(fd).st_ino == inode:
        return fd
    os.close(fd)
    return None


def _nobody_holds(fd: int) -> bool | None:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    # Not left to the closing: a child forked meanwhile has the file open too.
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def lock_is_free(path: Path, inode: int) -> bool | None:
    """Whether a session has let go of its lock, so that its process has ended or released it.

    Args:
        path: the session's lock file.
        inode: the file's inode, as the session recorded it.

    Returns:
        True: the file is the session's, and nobody holds it.
        False: the file is the session's, and it is held: the session lives.
        None: nothing was learned. The file is missing (an orderly release, or someone cleaned
        up under a living session), or it is another one made anew at the same path, whose lock
        says nothing about this session, or it cannot be opened or locked from here.
    """
    fd = _open_lock(path, inode)
    if fd is None:
        return None
    try:
        return _nobody_holds(fd)
    finally:
        os.close(fd)


def remove_dead_lock(path: Path, inode: int) -> bool:
    """Remove the lock file that a crashed session left behind.

    Args:
        path: the session's lock file.
        inode: the file's inode, as the session recorded it.

    Returns:
        Whether it was removed; never while anybody holds it or if it is another file.
    """
    fd = _open_lock(path, inode)
    if fd is None:
        return False
    try:
        # Held while the name goes: a session that is just taking over the leftover notices.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _inode_at(path) != inode:
            return False
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@dataclass(slots=True, eq=False)
class _Watch:
    """One peer under watch; only the watcher thread touches the descriptors."""

    session_id: str
    identity: ProcessIdentity
    lock_path: Path | None
    lock_inode: int | None
    pidfd: int | None = None
    lock_fd: int | None = None
    held: bool = False


class DeathWatch:
    """One thread that sees any of many peers end, and says so once for each.

    ``on_gone(session_id, evidence, held, monotonic_ns)`` is called on that thread; it should be
    short, since the next death waits for it. ``held`` tells whether this watcher had evidence of
    life before the end: only then is the end itself a sign of life. A peer that was already dead
    when it was first looked at has ``held`` False.

    A process that is stopped, forks, or (under a pidfd) calls exec is not gone. Under a flock,
    exec ends the session, and so does closing the file.
    """

    def __init__(
        self, on_gone: OnGone, *, poll_interval_seconds: float = POLL_INTERVAL_SECONDS
    ) -> None:
        """Prepare; the thread starts with the first peer.

        Args:
            on_gone: called once for each watch that ends in evidence of death.
            poll_interval_seconds: how often locks are asked, where no pidfd can be had.
        """
        self._on_gone = on_gone
        self._poll_interval_seconds = poll_interval_seconds
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        # Guards what several threads use: all but the last two, which are the watcher's own.
        self._lock = threading.Lock()
        self._watched: dict[str, _Watch] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._wake_up_fd = -1
        self._selector: selectors.BaseSelector
        self._polled: dict[int, _Watch] = {}

    def watch(
        self,
        session_id: str,
        identity: ProcessIdentity,
        lock_path: Path | None = None,
        lock_inode: int | None = None,
    ) -> None:
        """Begin to watch a peer; one that is under watch already stays under that watch.

        Where neither its process nor its lock can be judged from here, nothing is ever said.

        Args:
            session_id: the peer, as it is to be named to ``on_gone``.
            identity: its process.
            lock_path: its lock file, if it has one.
            lock_inode: that file's inode, as the session recorded it.

        Raises:
            RuntimeError: the watch is closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("this DeathWatch is closed")
            if session_id in self._watched:
                return
            watch = _Watch(session_id, identity, lock_path, lock_inode)
            self._watched[session_id] = watch
            if self._thread is None:
                self._start()
            self._command(lambda: self._look(watch))

    def forget(self, session_id: str) -> None:
        """Stop watching a peer; a call for it that is on its way already may still arrive."""
        with self._lock:
            watch = self._watched.pop(session_id, None)
            if watch is not None:
                self._command(lambda: self._drop(watch))

    def close(self) -> None:
        """Forget all peers and end the thread; no call begins once this has returned."""
        with self._lock:
            self._closed = True
            self._watched.clear()
            thread = self._thread
            if thread is not None:
                self._command(lambda: None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def after_fork_in_child(self) -> None:
        """Begin anew in the child, which has neither the thread nor a use for its files."""
        self._close_files()
        self._reset()

    def _start(self) -> None:
        with no_fork():
            wake_up_fd, self._wake_up_fd = os.pipe()
            self._selector = selectors.DefaultSelector()
            self._selector.register(wake_up_fd, selectors.EVENT_READ)
            register_fork_aware(self)
        os.set_blocking(wake_up_fd, False)
        os.set_blocking(self._wake_up_fd, False)
        self._thread = threading.Thread(target=self._run, name="baton-death-watch", daemon=True)
        self._thread.start()

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        # A full pipe wakes the thread as well as one more byte would; a closed one means that
        # the thread has ended.
        with suppress(OSError):
            os.write(self._wake_up_fd, b".")

    # From here on: the watcher thread.

    def _run(self) -> None:
        next_poll = time.monotonic()
        while not self._closed:
            timeout = max(0.0, next_poll - time.monotonic()) if self._polled else None
            for key, _events in self._selector.select(timeout):
                if key.data is None:
                    os.read(key.fd, 4096)
                else:
                    self._gone(key.data, Evidence.PIDFD)
            while self._commands and not self._closed:
                self._commands.popleft()()
            if self._polled and time.monotonic() >= next_poll:
                for watch in tuple(self._polled.values()):
                    self._ask_lock(watch)
                next_poll = time.monotonic() + self._poll_interval_seconds
        with self._lock:
            self._close_files()

    def _look(self, watch: _Watch) -> None:
        """Take up a watch: by pidfd where that can be had, else by the lock."""
        if self._watched.get(watch.session_id) is not watch:
            return
        try:
            pidfd = open_pidfd(watch.identity)
        except ProcessLookupError:
            self._gone(watch, Evidence.PIDFD)
            return
        if pidfd is None:
            self._polled[id(watch)] = watch
            self._ask_lock(watch)
            return
        watch.pidfd = pidfd
        watch.held = not has_exited(pidfd)
        # One that has ended already is reported by the next turn of the selector.
        self._selector.register(pidfd, selectors.EVENT_READ, watch)

    def _ask_lock(self, watch: _Watch) -> None:
        if watch.lock_fd is None and watch.lock_path is not None and watch.lock_inode is not None:
            # Kept open from here on: then nothing that happens to the name matters any more.
            watch.lock_fd = _open_lock(watch.lock_path, watch.lock_inode)
        free = None if watch.lock_fd is None else _nobody_holds(watch.lock_fd)
        if free:
            self._gone(watch, Evidence.FLOCK)
        elif free is False:
            watch.held = True

    def _gone(self, watch: _Watch, evidence: Evidence) -> None:
        at_ns = time.monotonic_ns()
        self._drop(watch)
        with self._lock:
            if self._watched.get(watch.session_id) is not watch:
                return
            del self._watched[watch.session_id]
        try:
            self._on_gone(watch.session_id, evidence, watch.held, at_ns)
        except Exception:  # noqa: BLE001 - the other peers' deaths must still be seen
            _log.exception("on_gone failed for session %s", watch.session_id)

    def _drop(self, watch: _Watch) -> None:
        with no_fork():
            if watch.pidfd is not None:
                self._selector.unregister(watch.pidfd)
                os.close(watch.pidfd)
            if watch.lock_fd is not None:
                os.close(watch.lock_fd)
            watch.pidfd = watch.lock_fd = None
            self._polled.pop(id(watch), None)

    def _close_files(self) -> None:
        with no_fork():
            unregister_fork_aware(self)
            # Only closed, not unregistered: a forked child shares the parent's selector.
            fds = [key.fd for key in self._selector.get_map().values()]
            fds += [watch.lock_fd for watch in self._polled.values() if watch.lock_fd is not None]
            for fd in (*fds, self._wake_up_fd):
                os.close(fd)
            self._wake_up_fd = -1
            self._selector.close()
