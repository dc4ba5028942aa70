"""Processes as the kernel shows them: which is which, who holds a lock, what a fork inherits.

A process id alone is a poor name: it is given out again. Its start time, the boot and the PID
namespace make it one. Everything here answers ``None``, cannot be judged from here, sooner than
guess: a process of another host or namespace, a platform without /proc or pidfd, a sandbox that
hides either.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_PROC = Path("/proc")

# The errors of pidfd_open that mean "no process has this id": none at all, or (the name of the
# error changed with Linux 6.16) the id was given out again, to a mere thread.
_NO_PROCESS = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})

# /proc/PID/fdinfo/FD; the line for a lock is only in the open file that holds it.
_OFFSET_LINE = re.compile(r"^pos:\t(\d+)$", re.MULTILINE)
_FLOCK_LINE = re.compile(r"^lock:\t.* FLOCK +ADVISORY +WRITE ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, told apart from every other that had or will have its id.

    Attributes:
        pid: its id in its own PID namespace.
        start_ticks: its start, in clock ticks since boot (proc(5), /proc/PID/stat field 22). It
            survives exec.
        boot_id: the kernel's name for this boot; empty where /proc does not tell, and such an
            identity can never be judged.
        pid_namespace: the inode of /proc/self/ns/pid.
        host: the host name. Machines that share a store need different ones.
    """

    pid: int
    start_ticks: int
    boot_id: str
    pid_namespace: int
    host: str

    @classmethod
    def of_self(cls) -> ProcessIdentity:
        """The identity of the calling process, read anew: a forked child has another."""
        pid, host = os.getpid(), os.uname().nodename
        try:
            # A /proc of another namespace (bind-mounted into a container) speaks of other
            # processes under the same numbers.
            if int((_PROC / "self").readlink().name) != pid:
                return cls(pid, 0, "", 0, host)
            # Not clock.boot_id(): where the kernel does not say, that estimates, and an
            # estimate must not condemn a process.
            boot_id = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            namespace = (_PROC / "self/ns/pid").stat().st_ino
            return cls(pid, _stat(pid).start_ticks, boot_id, namespace, host)
        except (OSError, ValueError):
            return cls(pid, 0, "", 0, host)

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of a process in this PID namespace.

        Args:
            pid: its id, as seen from here.

        Returns:
            None if there is no such process, or /proc does not show it.
        """
        here = cls.of_self()
        try:
            ticks = _stat(pid).start_ticks
        except OSError:
            return None
        return cls(pid, ticks, here.boot_id, here.pid_namespace, here.host)


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    start_ticks: int


def _stat(pid: int) -> _Stat:
    # The second field is the command in parentheses, and may itself hold spaces and parentheses:
    # only what follows the last one can be split.
    text = (_PROC / str(pid) / "stat").read_bytes()
    fields = text[text.rindex(b")") + 1 :].split()
    return _Stat(state=fields[0].decode("ascii"), start_ticks=int(fields[19]))


def _visible(identity: ProcessIdentity) -> bool:
    """Whether the process could be seen from here, were it alive.

    Raises:
        ProcessLookupError: it belongs to an earlier boot of this host.
    """
    here = ProcessIdentity.of_self()
    if identity.pid < 1 or not (identity.boot_id and here.boot_id):
        return False
    if (identity.host, identity.pid_namespace) != (here.host, here.pid_namespace):
        return False
    if identity.boot_id != here.boot_id:
        raise ProcessLookupError(errno.ESRCH, "ended with an earlier boot", str(identity.pid))
    return hasattr(os, "pidfd_open")


def open_pidfd(identity: ProcessIdentity) -> int | None:
    """A file descriptor that stands for this very process, whatever becomes of its id.

    The descriptor is opened first and the start time compared after: a match then proves that
    the id belonged to this process when the descriptor was opened (pidfd_open(2)).

    Returns:
        None where the process cannot be judged from here. The descriptor of a process that has
        ended but was not yet waited for is given too: ask ``has_exited``.

    Raises:
        ProcessLookupError: the process is gone for certain.
    """
    if not _visible(identity):
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            raise ProcessLookupError(errno.ESRCH, "no such process", str(identity.pid)) from None
        return None
    try:
        ticks = _stat(identity.pid).start_ticks
    except OSError:
        # Waited for in between, or hidden from us (mount option hidepid).
        ticks = None
    if ticks == identity.start_ticks:
        return pidfd
    gone = ticks is not None or has_exited(pidfd)
    os.close(pidfd)
    if gone:
        raise ProcessLookupError(errno.ESRCH, "another process has this id", str(identity.pid))
    return None


def has_exited(pidfd: int) -> bool:
    """Whether every thread of the process behind a pidfd has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def is_alive(identity: ProcessIdentity) -> bool | None:
    """Whether a process lives; stopped is alive, and ended but not waited for is not.

    Returns:
        None where that cannot be judged from here.
    """
    try:
        pidfd = open_pidfd(identity)
    except ProcessLookupError:
        return False
    if pidfd is None:
        return None
    try:
        return not has_exited(pidfd)
    finally:
        os.close(pidfd)


def is_stopped(identity: ProcessIdentity) -> bool | None:
    """Whether a process is stopped, by a signal or by a tracer (states T and t of proc(5)).

    Returns:
        None where that cannot be judged from here.
    """
    try:
        if not _visible(identity):
            return None
        stat = _stat(identity.pid)
    except ProcessLookupError:
        return False
    except OSError:
        return False if is_alive(identity) is False else None
    # State and start time come from one read, so they speak of one process.
    return stat.start_ticks == identity.start_ticks and stat.state in "Tt"


def kill(identity: ProcessIdentity) -> bool:
    """Send SIGKILL to this very process, never to a later one of the same id.

    Returns:
        Whether the signal was sent: not where the process is gone, cannot be judged from here,
        or belongs to somebody else.
    """
    try:
        pidfd = open_pidfd(identity)
    except ProcessLookupError:
        return False
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    else:
        return True
    finally:
        os.close(pidfd)


def flock_holders(file: os.stat_result) -> Iterator[tuple[ProcessIdentity, int]]:
    """The processes that hold an exclusive flock on a file, each with its open file's offset.

    Not given are holders that cannot be examined from here: those of another PID namespace or
    another user, and a child that keeps the lock of a parent which is no more.

    Args:
        file: the file's status, as ``os.fstat`` gives it.
    """
    for pid in _flock_pids(file.st_ino):
        # The start time is read first. Should the id be given out again while we read on, the
        # identity is that of a process that is gone, and nothing can be done to the new one.
        identity = ProcessIdentity.of(pid)
        offset = _offset_of_locked(pid, file)
        if identity is not None and offset is not None:
            yield identity, offset


def _flock_pids(inode: int) -> Iterator[int]:
    # A line of /proc/locks (proc(5)) reads "1: FLOCK ADVISORY WRITE 4711 fe:00:2147214 0 EOF",
    # with an arrow after the number for one that waits. The device in it is not always the one
    # that stat gives (btrfs), so it is the inode that finds candidates.
    with suppress(OSError):
        for line in (_PROC / "locks").read_text(encoding="ascii").splitlines():
            match line.split():
                case [_, "FLOCK", _, "WRITE", pid, place, *_] if place.endswith(f":{inode}"):
                    yield int(pid)


def _offset_of_locked(pid: int, file: os.stat_result) -> int | None:
    """The offset of that open file of a process which is this file, and has it locked."""
    with suppress(OSError):
        for fd in (_PROC / str(pid) / "fd").iterdir():
            # Closed meanwhile, perhaps.
            with suppress(OSError):
                if os.path.samestat(fd.stat(), file):
                    info = (_PROC / str(pid) / "fdinfo" / fd.name).read_text(encoding="ascii")
                    if _FLOCK_LINE.search(info) and (offset := _OFFSET_LINE.search(info)):
                        return int(offset[1])
    return None


class ForkAware(Protocol):
    """Something with open files that a forked child must not keep."""

    def after_fork_in_child(self) -> None:
        """Close the child's copies of the files, and forget them."""


# A forked child shares the parent's open files, close-on-exec or not, and a flock belongs to the
# open file: it stays held until the last copy is closed, so a child would keep a dead parent's
# lock alive. os.register_at_fork cannot be undone, hence one hook and a set.
_fork_aware: set[ForkAware] = set()
_fork_gate = threading.Lock()


def register_fork_aware(holder: ForkAware) -> None:
    """Have ``holder.after_fork_in_child()`` called in every child forked from now on.

    Only forks made by Python are seen; a C library that forks without exec is not.
    """
    _fork_aware.add(holder)


def unregister_fork_aware(holder: ForkAware) -> None:
    """Undo ``register_fork_aware``, once the files are closed."""
    _fork_aware.discard(holder)


@contextmanager
def no_fork() -> Iterator[None]:
    """Hold off the forks of other threads between opening a file and noting its descriptor."""
    with _fork_gate:
        yield


def _in_child() -> None:
    _fork_gate.release()
    for holder in tuple(_fork_aware):
        holder.after_fork_in_child()


os.register_at_fork(
    before=_fork_gate.acquire, after_in_parent=_fork_gate.release, after_in_child=_in_child
)
