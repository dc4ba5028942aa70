"""A process is named so that it is never mistaken for another, and never judged by a guess."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baton.fleet import process
from baton.fleet.process import ProcessIdentity, is_alive, is_stopped, kill

SOURCE = Path(process.__file__).parents[2]
DEADLINE_SECONDS = 30.0

#: The package itself would bring LangGraph along, which takes a child a second to import.
ONLY_WHAT_IS_TESTED = f"""
import os, sys, types
sys.modules["baton"] = package = types.ModuleType("baton")
package.__path__ = [{str(SOURCE / "baton")!r}]
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python code in a process of its own; it is ended with the test."""
    children: list[subprocess.Popen[str]] = []

    def begin(code: str = "") -> subprocess.Popen[str]:
        child = subprocess.Popen(
            # It says that it is there, then lives until its standard input ends.
            [sys.executable, "-c", f"import os, sys\n{code}\nprint(flush=True)\nsys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "\n", "the child failed before it was ready"
        return child

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def identity_of(child: subprocess.Popen[str]) -> ProcessIdentity:
    """The identity of a child that runs."""
    identity = ProcessIdentity.of(child.pid)
    assert identity is not None
    return identity


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a generous deadline."""
    never = threading.Event()
    for _ in range(int(DEADLINE_SECONDS / 0.005)):
        if condition():
            return
        never.wait(0.005)
    pytest.fail(f"not within {DEADLINE_SECONDS} s")


def test_this_process_is_alive_and_running() -> None:
    """Its identity names it as /proc does."""
    me = ProcessIdentity.of_self()
    assert me == ProcessIdentity.of(os.getpid())
    assert me.pid == os.getpid()
    assert me.start_ticks > 0
    assert me.boot_id
    assert me.pid_namespace == Path("/proc/self/ns/pid").stat().st_ino
    assert is_alive(me) is True
    assert is_stopped(me) is False


def test_a_command_may_hold_spaces_and_parentheses(start: Start) -> None:
    """The fields of /proc/PID/stat are counted from the command's last parenthesis."""
    plain = identity_of(start())
    odd = identity_of(start("open('/proc/self/comm', 'w').write('a) S 1 (b')"))
    assert Path(f"/proc/{odd.pid}/comm").read_text() == "a) S 1 (b\n"
    assert odd.start_ticks >= plain.start_ticks
    assert is_alive(odd) is True
    assert is_stopped(odd) is False


def test_one_that_ended_is_dead_before_and_after_it_is_waited_for(start: Start) -> None:
    """A zombie does not live."""
    child = start()
    identity = identity_of(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(identity) is False
    child.wait()
    assert is_alive(identity) is False
    assert is_stopped(identity) is False
    assert kill(identity) is False
    assert ProcessIdentity.of(child.pid) != identity


def test_a_stopped_process_lives(start: Start) -> None:
    """Stopping is not dying, and continuing undoes it."""
    child = start()
    identity = identity_of(child)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(identity) is True)
    assert is_alive(identity) is True
    child.send_signal(signal.SIGCONT)
    wait_until(lambda: is_stopped(identity) is False)
    assert is_alive(identity) is True


def test_a_stopped_process_can_be_killed(start: Start) -> None:
    """SIGKILL does not wait for SIGCONT."""
    child = start()
    identity = identity_of(child)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(identity) is True)
    assert kill(identity) is True
    assert child.wait(DEADLINE_SECONDS) == -signal.SIGKILL


def test_exec_does_not_change_who_it_is(start: Start) -> None:
    """Neither the id nor the start time changes with the program."""
    again = "import sys; print(flush=True); sys.stdin.read()"
    child = start(
        "if not os.environ.get('AGAIN'):\n"
        "    print(flush=True)\n"
        "    sys.stdin.readline()\n"
        f"    os.execve(sys.executable, ['x', '-c', {again!r}], {{**os.environ, 'AGAIN': '1'}})"
    )
    identity = identity_of(child)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "\n"
    assert Path(f"/proc/{child.pid}/cmdline").read_bytes().startswith(b"x\0")
    assert is_alive(identity) is True


def test_another_start_time_is_another_process(start: Start) -> None:
    """The id was given out again: the one that is meant is gone, and its successor is safe."""
    child = start()
    earlier = replace(identity_of(child), start_ticks=identity_of(child).start_ticks - 1)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(identity_of(child)) is True)
    assert is_alive(earlier) is False
    assert is_stopped(earlier) is False
    assert kill(earlier) is False
    assert child.poll() is None


def test_an_id_that_now_names_a_thread_is_gone() -> None:
    """Threads draw their ids from the same numbers as processes."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        assert is_alive(replace(ProcessIdentity.of_self(), pid=thread.native_id)) is False
    finally:
        done.set()
        thread.join()


def test_an_earlier_boot_of_this_host_is_over() -> None:
    """Nothing survives a restart of the machine."""
    before = replace(ProcessIdentity.of_self(), boot_id="00000000-0000-0000-0000-000000000000")
    assert is_alive(before) is False
    assert is_stopped(before) is False
    assert kill(before) is False


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"pid_namespace": 1},
        {"host": "elsewhere.invalid"},
        {"host": "elsewhere.invalid", "boot_id": "00000000-0000-0000-0000-000000000000"},
        {"pid_namespace": 1, "boot_id": "00000000-0000-0000-0000-000000000000"},
        {"boot_id": ""},
        {"pid": 0},
    ],
)
def test_a_process_elsewhere_cannot_be_judged(start: Start, elsewhere: dict[str, Any]) -> None:
    """Another namespace or host, or an identity that was never complete: no guess, no harm."""
    child = start()
    identity = replace(identity_of(child), **elsewhere)
    assert is_alive(identity) is None
    assert is_stopped(identity) is None
    assert kill(identity) is False
    assert child.poll() is None


def cannot_be_judged(identity: ProcessIdentity) -> bool:
    """Whether every answer about a process is a refusal to guess."""
    return is_alive(identity) is None and kill(identity) is False


def test_without_pidfd_nothing_is_judged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that lacks it gets no answers."""
    identity = identity_of(start())
    monkeypatch.delattr(os, "pidfd_open")
    assert cannot_be_judged(identity)
    assert is_stopped(identity) is None


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EMFILE])
def test_a_refused_pidfd_proves_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A sandbox that forbids the call, or too many open files, is no death."""

    def refuse(_pid: int) -> int:
        raise OSError(error, os.strerror(error))

    identity = identity_of(start())
    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert cannot_be_judged(identity)


def test_a_hidden_process_cannot_be_judged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount option hidepid hides others; what cannot be seen may well live."""
    child = start()
    identity, read_bytes = identity_of(child), Path.read_bytes

    def hide(path: Path) -> bytes:
        if path.is_relative_to(f"/proc/{child.pid}"):
            raise FileNotFoundError(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", hide)
    assert cannot_be_judged(identity)
    assert is_stopped(identity) is None
    assert ProcessIdentity.of(child.pid) is None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(identity) is False


def test_without_proc_nothing_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such an identity says who it is and can never be judged, here or elsewhere."""
    me = ProcessIdentity.of_self()
    monkeypatch.setattr(process, "_PROC", tmp_path)
    assert ProcessIdentity.of_self() == ProcessIdentity(os.getpid(), 0, "", 0, me.host)
    assert cannot_be_judged(me)


def test_a_foreign_proc_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of another PID namespace speaks of other processes under the same numbers."""
    me = ProcessIdentity.of_self()
    for name in ("sys/kernel/random", f"{me.pid}/ns", "1/ns"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text(me.boot_id)
    for pid in (me.pid, 1):
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (x) S {'0 ' * 18}1 0")
        (tmp_path / f"{pid}/ns/pid").touch()
    monkeypatch.setattr(process, "_PROC", tmp_path)
    (tmp_path / "self").symlink_to(str(me.pid))
    assert ProcessIdentity.of_self().boot_id == me.boot_id
    (tmp_path / "self").unlink()
    (tmp_path / "self").symlink_to("1")
    assert ProcessIdentity.of_self() == ProcessIdentity(os.getpid(), 0, "", 0, me.host)
    assert cannot_be_judged(me)


def test_the_kernel_tells_who_holds_a_flock(tmp_path: Path) -> None:
    """Of several open files of one process, the one that has the lock is found, by its offset."""
    path = tmp_path / "x.lock"
    fds = [os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(3)]
    try:
        for offset, fd in enumerate(fds):
            os.lseek(fd, offset, os.SEEK_SET)
        assert list(process.flock_holders(path.stat())) == []
        fcntl.flock(fds[1], fcntl.LOCK_EX)
        assert list(process.flock_holders(path.stat())) == [(ProcessIdentity.of_self(), 1)]
        (tmp_path / "y.lock").touch()
        assert list(process.flock_holders((tmp_path / "y.lock").stat())) == []
        fcntl.flock(fds[1], fcntl.LOCK_UN)
        assert list(process.flock_holders(path.stat())) == []
    finally:
        for fd in fds:
            os.close(fd)


FORKING = """
import threading
from baton.fleet.process import no_fork, register_fork_aware, unregister_fork_aware

class Spy:
    def after_fork_in_child(self):
        unregister_fork_aware(self)
        with no_fork():  # the gate is open in the child
            print("closed", flush=True)

kept, undone = Spy(), Spy()
register_fork_aware(kept)
register_fork_aware(undone)
unregister_fork_aware(undone)
if os.fork() == 0:
    os._exit(0)
os.wait()
inside, leave = threading.Event(), threading.Event()

def hold():
    with no_fork():
        inside.set()
        leave.wait()
        print("left", flush=True)

thread = threading.Thread(target=hold)
thread.start()
inside.wait()
threading.Timer(0.05, leave.set).start()
if os.fork() == 0:  # waits until hold() has left
    os._exit(0)
os.wait()
thread.join()
"""


def test_a_fork_waits_and_the_child_closes() -> None:
    """What is registered is closed in each child; no fork happens while one is held off."""
    done = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_IS_TESTED + FORKING],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["closed", "left", "closed"]
