"""The queue in front of a SQLite file's writers, and what happens when its head is frozen.

SQLite's own busy handler lets writers starve for seconds; the kernel's queue on an flock does not.
So a writer takes this lock around BEGIN IMMEDIATE … COMMIT. It is about order only: SQLite still
excludes writers, so a lock file that somebody removes costs fairness and nothing else.

An flock has no timeout, and a stopped process keeps it. Whoever has waited for longer than its
patience therefore looks at the holder, by the kernel's word alone:

1. /proc/locks names the process that took the lock on this inode; the holder's own descriptor
   table (/proc/PID/fd and fdinfo) confirms that it has this very file open and locked.
2. That open file also carries the holder's declaration, made before it ever asked for the lock:
   its offset, which nothing else uses, is 1 in a process that others may kill.
3. Only a holder that was seen so, the same process (id and start time) and stopped at every look,
   for the whole patience and through one unbroken wait of ours, is killed, through a pidfd that
   is opened before its start time is compared once more.

The record inside the file cannot carry that decision, because it is written after the lock is
taken: a process frozen in between would leave its innocent predecessor's name there. It is only
for people, and it names holders in other PID namespaces too, whom the kernel does not show us.
What remains: a worker that is continued in the instant between the last look and the signal dies
after a patience of standing still. Fencing makes that as safe as any crash.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self

from baton.errors import StoreBusy
from baton.fleet.process import (
    ProcessIdentity,
    flock_holders,
    is_stopped,
    kill,
    no_fork,
    register_fork_aware,
    unregister_fork_aware,
)

_log = logging.getLogger(__name__)

_RECORD_BYTES = 512

#: The offset of the open lock file of a process that others may kill; anybody else's is 0.
_KILLABLE = 1

#: How many times a watchdog looks at the holder within one patience.
_LOOKS = 8

# Sleeps between two tries of an acquire with a timeout, in seconds.
_TRY_EVERY_MIN_SECONDS = 0.000_5
_TRY_EVERY_MAX_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds the write lock.

    Attributes:
        kind: ``worker`` for a process that may be killed when it stands still with the lock,
            ``embedded`` for an application that must not be.
    """

    process: ProcessIdentity
    kind: Literal["worker", "embedded"]
    session_id: str

    def __str__(self) -> str:
        """For the one line that a person reads."""
        return (
            f"{self.kind} session {self.session_id} (pid {self.process.pid} on {self.process.host})"
        )

    def encode(self) -> bytes:
        """The record: a checksum against torn reads, then JSON that a person can read.

        Raises:
            ValueError: the session id is too long for it.
        """
        text = json.dumps(asdict(self), separators=(",", ":")).encode()
        record = b"%08x %s" % (zlib.crc32(text), text)
        if len(record) >= _RECORD_BYTES:
            raise ValueError(
                f"the record of session {self.session_id!r} exceeds {_RECORD_BYTES} bytes"
            )
        return record.ljust(_RECORD_BYTES - 1) + b"\n"

    @classmethod
    def decode(cls, record: bytes) -> LockHolder | None:
        """Read a record; None if it is empty, torn or not one."""
        checksum, _, text = record.strip().partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            return None
        try:
            fields = json.loads(text)
            return cls(ProcessIdentity(**fields["process"]), fields["kind"], fields["session_id"])
        except (ValueError, KeyError, TypeError):
            return None


class WriteLock:
    """An flock on a file beside the database; one open file for each instance and process.

    Exclusive between instances, in one process or in several, and between the threads that share
    an instance. Not reentrant. A forked child starts with an instance that holds nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: Callable[[], LockHolder],
        patience_seconds: float,
        on_report: Callable[[str], None] = _log.warning,
    ) -> None:
        """Prepare; the file is opened by the first acquire.

        Args:
            path: the lock file; made if it is not there, and never removed.
            owner: who we are, asked at each acquire: cheap, and the same object while nothing
                about it changes.
            patience_seconds: how long a holder may stand still with the lock: the lease's TTL.
            on_report: told, at most once in each patience, what was found or done about a holder
                that outlasted it; called on a thread of its own.
        """
        self.path = path
        self.patience_seconds = patience_seconds
        self._owner = owner
        self.on_report = on_report
        self._reset()

    def _reset(self) -> None:
        self._threads = threading.Lock()
        self._fd = -1
        self._locked = False
        self._forked_while_held = False
        self._us: LockHolder | None = None
        self._record = b""
        self._watchdog: _Watchdog | None = None

    def acquire(self, timeout_seconds: float | None = None) -> None:
        """Take the lock, waiting in the kernel's queue.

        Args:
            timeout_seconds: give up after this long. The tries are then made from outside the
                queue, so a lock that is always busy may never be had this way.

        Raises:
            StoreBusy: it could not be had in time.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        if not self._threads.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds):
            raise StoreBusy(holder="another thread of this process")
        try:
            self._prepare()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._wait(deadline)
            # Rewritten only after another holder: alone, a writer never writes here.
            if os.pread(self._fd, _RECORD_BYTES, 0) != self._record:
                # A full disk must not keep a holder from its work for the sake of its name.
                with suppress(OSError):
                    os.pwrite(self._fd, self._record, 0)
            self._locked = True
        except BaseException:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            self._threads.release()
            raise

    def release(self) -> None:
        """Let the next in the queue have it.

        Raises:
            RuntimeError: it is not held.
        """
        if not self._locked:
            if self._forked_while_held:
                # A child leaves the body that its parent entered; it holds nothing.
                self._forked_while_held = False
                return
            raise RuntimeError(f"write lock {self.path} is not held")
        self._locked = False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()

    def holder(self) -> LockHolder | None:
        """The last holder by its own account, which may lag by an instant; for people only."""
        with suppress(OSError):
            return LockHolder.decode(self.path.read_bytes())
        return None

    def close(self) -> None:
        """Wait until no thread uses the lock, then close the file and end the watchdog."""
        with self._threads:
            if self._watchdog is not None:
                self._watchdog.end()
                self._watchdog = None
            self._close_file()

    def after_fork_in_child(self) -> None:
        """Let the child neither keep the lock alive nor release it."""
        forked_while_held = self._locked
        self._close_file()
        self._reset()
        self._forked_while_held = forked_while_held

    def _close_file(self) -> None:
        with no_fork():
            unregister_fork_aware(self)
            fd, self._fd, self._us = self._fd, -1, None
            if fd >= 0:
                os.close(fd)

    def _prepare(self) -> None:
        us = self._owner()
        if us is self._us:
            return
        self._record = us.encode()
        if self._fd < 0:
            with no_fork():
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                register_fork_aware(self)
        # The declaration that others go by; it stands before the lock is asked for.
        os.lseek(self._fd, _KILLABLE if us.kind == "worker" else 0, os.SEEK_SET)
        self._us = us

    def _wait(self, deadline: float | None) -> None:
        if self._watchdog is None:
            self._watchdog = _Watchdog(self, os.fstat(self._fd))
        self._watchdog.waiting_since = time.monotonic()
        try:
            if deadline is None:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            else:
                self._keep_trying(deadline)
        finally:
            self._watchdog.waiting_since = None

    def _keep_trying(self, deadline: float) -> None:
        pause_seconds = _TRY_EVERY_MIN_SECONDS
        while (left_seconds := deadline - time.monotonic()) > 0:
            time.sleep(min(pause_seconds, left_seconds))
            pause_seconds = min(2 * pause_seconds, _TRY_EVERY_MAX_SECONDS)
            with suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
        raise StoreBusy(holder=self.holder() or "another process")


@dataclass(frozen=True, slots=True)
class KernelHolder:
    """The process that holds a lock, as the kernel shows it.

    Attributes:
        killable: it has declared that it may be killed when it stands still with the lock.
        stopped: it stands still: a stop signal, or a tracer.
    """

    process: ProcessIdentity
    killable: bool
    stopped: bool


def kernel_holder(file: os.stat_result) -> KernelHolder | None:
    """Who holds the write lock.

    Args:
        file: the lock file's status.

    Returns:
        None if nobody does, or the holder cannot be examined from here.
    """
    for process, offset in flock_holders(file):
        return KernelHolder(process, offset == _KILLABLE, is_stopped(process) is True)
    return None


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the looks at the holder have shown so far, in seconds of the monotonic clock.

    Attributes:
        wait: the beginning of our own wait.
        holder: the same at every look since ``first``.
        first: the first look that found it so.
        last: the latest.
    """

    wait: float
    holder: KernelHolder | None
    first: float
    last: float


def follow(
    seen: Sighting | None,
    *,
    wait: float,
    holder: KernelHolder | None,
    now: float,
    gap_max_seconds: float,
) -> Sighting:
    """Add one look to what was seen before, or begin anew.

    Args:
        seen: what was seen before.
        wait: the beginning of our present wait; another one means that we had the lock since.
        holder: what this look found.
        now: the time of this look.
        gap_max_seconds: after a longer gap between two looks this process itself was stopped
            or starved; what the holder did meanwhile is unknown, and its time begins anew.
    """
    if (
        seen is None
        or (seen.wait, seen.holder) != (wait, holder)
        or now - seen.last > gap_max_seconds
    ):
        return Sighting(wait=wait, holder=holder, first=now, last=now)
    return replace(seen, last=now)


class _Watchdog:
    """A thread that looks at the holder while somebody waits; it starts with the first wait."""

    def __init__(self, lock: WriteLock, file: os.stat_result) -> None:
        self.waiting_since: float | None = None
        self._lock = lock
        self._file = file
        self._patience_seconds = lock.patience_seconds
        self._look_every_seconds = lock.patience_seconds / _LOOKS
        self._report_from = 0.0
        self._ended = threading.Event()
        # While the interpreter shuts down no thread can be started; the last writes go on without.
        with suppress(RuntimeError):
            threading.Thread(target=self._run, name="baton-write-watchdog", daemon=True).start()

    def end(self) -> None:
        """Let the thread end, soon."""
        self._ended.set()

    def _run(self) -> None:
        seen: Sighting | None = None
        while not self._ended.wait(self._look_every_seconds):
            wait, now = self.waiting_since, time.monotonic()
            # Shorter waits are the queue at work.
            if wait is None or now - wait < self._look_every_seconds:
                continue
            seen = follow(
                seen,
                wait=wait,
                holder=kernel_holder(self._file),
                now=now,
                gap_max_seconds=self._patience_seconds / 2,
            )
            if now - seen.first >= self._patience_seconds:
                self._act(seen.holder, now - wait)

    def _act(self, holder: KernelHolder | None, waited_seconds: float) -> None:
        recorded = self._lock.holder()
        if holder is None:
            who = f"{recorded or 'another process'}, by its record"
            what = "it cannot be examined from here; if it does not go on, end it"
        else:
            named = recorded is not None and recorded.process == holder.process
            who = str(recorded) if named else f"pid {holder.process.pid}"
            if not holder.stopped:
                what = "it is running; it was left alone"
            elif not holder.killable:
                what = f"it is stopped; continue it (kill -CONT {holder.process.pid}) or end it"
            elif kill(holder.process):
                what = "it was stopped, and has been killed"
            else:
                what = "it is stopped, and could not be killed from here; end it"
        self._report(f"waited {waited_seconds:.1f} s for {self._lock.path}, held by {who}: {what}")

    def _report(self, message: str) -> None:
        now = time.monotonic()
        if now < self._report_from:
            return
        self._report_from = now + self._patience_seconds
        try:
            self._lock.on_report(message)
        except Exception:  # noqa: BLE001 - the next holder that stands still must still be found
            _log.exception("on_report failed: %s", message)
