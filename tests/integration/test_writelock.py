"""Writers queue up, nobody starves, and a holder that stands still does not stop the rest."""

from __future__ import annotations

import errno
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from baton.errors import StoreBusy
from baton.fleet import writelock
from baton.fleet.process import ProcessIdentity, is_alive, is_stopped, kill
from baton.fleet.writelock import KernelHolder, LockHolder, Sighting, WriteLock, follow

SOURCE = Path(writelock.__file__).parents[2]
DEADLINE_SECONDS = 30.0
PATIENCE_SECONDS = 0.4

#: The package itself would bring LangGraph along, which takes a child a second to import, and so
#: would its errors; the children only raise this one and never read it.
ONLY_WHAT_IS_TESTED = f"""
import os, sys, types
sys.modules["baton"] = package = types.ModuleType("baton")
package.__path__ = [{str(SOURCE / "baton")!r}]
sys.modules["baton.errors"] = errors = types.ModuleType("baton.errors")
errors.StoreBusy = type("StoreBusy", (Exception,), dict(__init__=lambda self, holder: None))
"""

WRITER = """
import fcntl
from pathlib import Path
from baton.fleet.process import ProcessIdentity
from baton.fleet.writelock import LockHolder, WriteLock

path, kind, session_id = sys.argv[1:]
us = LockHolder(ProcessIdentity.of_self(), kind, session_id)
lock = WriteLock(Path(path), owner=lambda: us, patience_seconds=1000)

def acquire():
    lock.acquire()

def release():
    lock.release()

def acquire_without_a_record():
    # As far as a process gets that is stopped just after the kernel gave it the lock.
    lock._prepare()
    fcntl.flock(lock._fd, fcntl.LOCK_EX)

def fork():
    pid = os.fork()
    if pid == 0:
        lock.release()  # the body its parent entered: without effect
        while True:
            os.read(0, 1) or os._exit(0)
    return pid

def count():
    # Not atomic, unless the lock excludes.
    for _ in range(300):
        with lock:
            counter = Path(path + ".count")
            counter.write_text(str(int(counter.read_text()) + 1))

def compete():
    # Every writer adds to its own slot until all of them together have done enough.
    fd = os.open(path + ".turns", os.O_RDWR)
    slot, done = 8 * int(session_id), False
    while not done:
        with lock:
            turns = bytearray(os.pread(fd, 32, 0))
            own = int.from_bytes(turns[slot : slot + 8], "big") + 1
            os.pwrite(fd, own.to_bytes(8, "big"), slot)
            done = sum(int.from_bytes(turns[i : i + 8], "big") for i in (0, 8, 16, 24)) > 40_000

print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    print(globals()[line.strip()](), flush=True)
"""


class Writer:
    """A process with a write lock, that does what it is told."""

    def __init__(self, path: Path, kind: str, session_id: str) -> None:
        """Start it and wait until it is ready."""
        self.child = subprocess.Popen(
            [sys.executable, "-c", ONLY_WHAT_IS_TESTED + WRITER, str(path), kind, session_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        """Wait until it is."""
        assert self.result() == "ready"
        found = ProcessIdentity.of(self.child.pid)
        assert found is not None
        self.identity = found

    def begin(self, command: str) -> None:
        """Have it call one of its functions."""
        assert self.child.stdin is not None
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()

    def result(self) -> str:
        """Wait for what the function returned."""
        assert self.child.stdout is not None
        return self.child.stdout.readline().strip()

    def do(self, command: str) -> str:
        """Have it call one of its functions, and wait for what that returns."""
        self.begin(command)
        return self.result()

    def stop(self) -> None:
        """Freeze it."""
        self.child.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_stopped(self.identity) is True)


Start = Callable[..., list[Writer]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The lock file."""
    return tmp_path / "fleet.db.lock"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Start writers, of one kind each, all at once; they are ended with the test."""
    writers: list[Writer] = []

    def begin(*kinds: str) -> list[Writer]:
        made = [Writer(path, kind, str(index)) for index, kind in enumerate(kinds)]
        writers.extend(made)
        for writer in made:
            writer.ready()
        return made

    yield begin
    for writer in writers:
        writer.child.kill()
        writer.child.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a generous deadline."""
    never = threading.Event()
    for _ in range(int(DEADLINE_SECONDS / 0.005)):
        if condition():
            return
        never.wait(0.005)
    pytest.fail(f"not within {DEADLINE_SECONDS} s")


Make = Callable[..., WriteLock]


@pytest.fixture
def reports() -> queue.Queue[str]:
    """What the locks of ``make`` reported."""
    return queue.Queue()


@pytest.fixture
def make(path: Path, reports: queue.Queue[str]) -> Iterator[Make]:
    """Make locks of this process; they are closed with the test."""
    locks: list[WriteLock] = []
    us = LockHolder(ProcessIdentity.of_self(), "embedded", "us")

    def begin() -> WriteLock:
        locks.append(
            WriteLock(
                path,
                owner=lambda: us,
                patience_seconds=PATIENCE_SECONDS,
                on_report=reports.put,
            )
        )
        return locks[-1]

    yield begin
    for lock in locks:
        # Where a test has failed, a thread may still wait for the lock, or hold it.
        finish(in_thread(lock.close))


def in_thread(target: Callable[[], None]) -> threading.Thread:
    """Run something beside the test."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def finish(thread: threading.Thread) -> None:
    """Wait until it is through."""
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive(), f"not within {DEADLINE_SECONDS} s"


# Excluding.


def test_two_instances_in_one_process_exclude_each_other(make: Make) -> None:
    """Each has an open file of its own, so the kernel tells them apart."""
    one, other = make(), make()
    with one, pytest.raises(StoreBusy):
        other.acquire(timeout_seconds=0.01)
    with other, pytest.raises(StoreBusy):
        one.acquire(timeout_seconds=0.01)
    one.acquire(timeout_seconds=0)
    one.release()


def test_two_threads_that_share_an_instance_exclude_each_other(make: Make) -> None:
    """The open file is theirs in common, so the kernel cannot tell them apart."""
    lock, errors = make(), queue.Queue[Exception]()

    def try_it() -> None:
        try:
            lock.acquire(timeout_seconds=0.01)
        except StoreBusy as error:
            errors.put(error)

    with lock:
        finish(in_thread(try_it))
    assert "another thread of this process" in str(errors.get_nowait())


def test_threads_and_instances_never_overlap_and_never_lock_up(make: Make) -> None:
    """Six threads on two instances, counting in steps that would be torn apart."""
    locks, inside, most = (make(), make()), 0, 0
    begin = threading.Barrier(6)

    def work(lock: WriteLock) -> None:
        nonlocal inside, most
        begin.wait()
        for _ in range(200):
            with lock:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [in_thread(lambda lock=lock: work(lock)) for lock in locks * 3]  # type: ignore[misc]
    for thread in threads:
        finish(thread)
    assert (inside, most) == (0, 1)


def test_processes_exclude_each_other(start: Start, path: Path) -> None:
    """No update of a file is lost that all of them read and write."""
    counter = Path(f"{path}.count")
    counter.write_text("0")
    writers = start("worker", "worker", "embedded")
    for writer in writers:
        writer.begin("count")
    for writer in writers:
        assert writer.result() == "None"
    assert int(counter.read_text()) == 900


def test_a_busy_lock_names_its_holder(start: Start, make: Make) -> None:
    """The error says whom to look at."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")
    with pytest.raises(StoreBusy, match=f"worker session 0 .pid {writer.child.pid} on "):
        lock.acquire(timeout_seconds=0.01)
    holder = LockHolder(writer.identity, "worker", "0")
    assert lock.holder() == holder
    writer.do("release")
    with lock:
        assert lock.holder() != holder


def test_an_acquire_with_a_timeout_gets_what_is_released_in_time(
    start: Start, make: Make, reports: queue.Queue[str]
) -> None:
    """It does not sit out its time."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")
    thread = in_thread(lambda: lock.acquire(timeout_seconds=DEADLINE_SECONDS))
    assert "it is running" in reports.get(timeout=DEADLINE_SECONDS)
    writer.do("release")
    finish(thread)
    lock.release()


def test_a_release_needs_an_acquire(make: Make) -> None:
    """A second release would open somebody else's turn."""
    lock = make()
    with pytest.raises(RuntimeError, match="not held"):
        lock.release()
    with lock:
        pass
    with pytest.raises(RuntimeError, match="not held"):
        lock.release()


def test_a_closed_lock_frees_its_file_and_opens_again(make: Make, path: Path) -> None:
    """Closing is not the end of the instance, only of its file."""
    lock = make()
    with lock:
        pass
    folder = Path("/proc/self/fd")
    assert path in [fd.readlink() for fd in folder.iterdir() if fd.exists()]
    lock.close()
    assert path not in [fd.readlink() for fd in folder.iterdir() if fd.exists()]
    with lock:
        assert path.exists()


def test_a_failed_acquire_leaves_nothing_locked(
    path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that cannot be recorded, a folder that is not there, a disk that cannot be read."""
    me = ProcessIdentity.of_self()
    owner = LockHolder(me, "worker", "x" * 600)
    lock = WriteLock(path, owner=lambda: owner, patience_seconds=1)
    with pytest.raises(ValueError, match="512 bytes"):
        lock.acquire()
    owner = LockHolder(me, "worker", "x")
    with lock, pytest.raises(StoreBusy):
        make().acquire(timeout_seconds=0)
    lock.close()
    nowhere = WriteLock(path / "no" / "such", owner=lambda: owner, patience_seconds=1)
    for _ in range(2):
        with pytest.raises(NotADirectoryError):
            nowhere.acquire()
    one, other = make(), make()

    def fail(*_where: object) -> bytes:
        raise OSError(errno.EIO, "no disk")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        with pytest.raises(OSError, match="no disk"):
            one.acquire()
    other.acquire(timeout_seconds=0)
    other.release()
    one.acquire(timeout_seconds=0)
    one.release()


def somebody_waits(path: Path) -> bool:
    """Whether the kernel lists anybody in the queue for a lock."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    inode = f":{path.stat().st_ino}"
    return any(line[1] == "->" and line[6].endswith(inode) for line in lines)


class Interrupted(Exception):
    """What the signal handler below raises."""


def test_a_wait_can_be_interrupted(start: Start, make: Make) -> None:
    """A signal handler that raises ends the wait, and the lock is as good as before."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")

    def interrupt(*_signal: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        main = threading.main_thread().ident
        assert main is not None

        def send_once_it_waits() -> None:
            wait_until(lambda: somebody_waits(lock.path))
            signal.pthread_kill(main, signal.SIGUSR1)

        thread = in_thread(send_once_it_waits)
        with pytest.raises(Interrupted):
            lock.acquire()
        finish(thread)
    finally:
        signal.signal(signal.SIGUSR1, before)
    writer.do("release")
    with lock:
        pass


# The record.


def test_a_record_survives_its_encoding() -> None:
    """Any session id, and one fixed size, so that a shorter one hides a longer one."""
    me = ProcessIdentity.of_self()
    for session_id in ("s", "", 'é "quoted"\n', "x" * 200):
        holder = LockHolder(me, "worker", session_id)
        assert len(holder.encode()) == 512
        assert LockHolder.decode(holder.encode()) == holder


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _one, _other: b"",
        lambda _one, _other: b"\0" * 512,
        lambda one, other: one[:60] + other[60:],
        lambda one, _other: one[:100],
        lambda _one, _other: b"00000000 ",
        lambda _one, _other: b"2144df1c 0",
    ],
)
def test_a_torn_record_names_nobody(spoil: Callable[[bytes, bytes], bytes]) -> None:
    """Empty, torn between two holders, cut off, or not a record at all."""
    me = ProcessIdentity.of_self()
    one = LockHolder(me, "worker", "first").encode()
    other = LockHolder(replace(me, pid=me.pid + 1), "embedded", "second").encode()
    assert LockHolder.decode(spoil(one, other)) is None


def test_nobody_has_held_a_file_that_is_not_there(make: Make) -> None:
    """Nor is it made by asking."""
    lock = make()
    assert lock.holder() is None
    assert not lock.path.exists()


# Holders that stand still.


def test_a_stopped_worker_is_killed_and_the_lock_is_had(
    start: Start, make: Make, reports: queue.Queue[str]
) -> None:
    """It would have stopped the whole fleet."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")
    writer.stop()
    with lock:
        assert writer.child.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    report = reports.get(timeout=DEADLINE_SECONDS)
    assert f"worker session 0 (pid {writer.child.pid} on " in report
    assert report.endswith("it was stopped, and has been killed")


def test_an_acquire_with_a_timeout_kills_a_stopped_worker_too(start: Start, make: Make) -> None:
    """Patience counts, whichever way one waits."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")
    writer.stop()
    lock.acquire(timeout_seconds=DEADLINE_SECONDS)
    assert writer.child.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    lock.release()


def test_a_stopped_application_is_reported_and_left_alone(start: Start, path: Path) -> None:
    """It belongs to somebody else; once in each patience is enough to say so."""
    [writer] = start("embedded")
    reports: queue.Queue[tuple[float, str]] = queue.Queue()
    us = LockHolder(ProcessIdentity.of_self(), "embedded", "us")
    lock = WriteLock(
        path,
        owner=lambda: us,
        patience_seconds=PATIENCE_SECONDS,
        on_report=lambda message: reports.put((time.monotonic(), message)),
    )
    writer.do("acquire")
    writer.stop()
    thread = in_thread(lock.acquire)
    told = [reports.get(timeout=DEADLINE_SECONDS) for _ in range(3)]
    for _at, report in told:
        assert f"embedded session 0 (pid {writer.child.pid} on " in report
        assert f"kill -CONT {writer.child.pid}" in report
    assert told[2][0] - told[0][0] > PATIENCE_SECONDS
    assert writer.child.poll() is None
    assert thread.is_alive()
    writer.child.send_signal(signal.SIGCONT)
    writer.do("release")
    finish(thread)
    lock.release()
    lock.close()


def test_a_slow_holder_is_never_killed(start: Start, make: Make, reports: queue.Queue[str]) -> None:
    """A worker that runs has its reasons, however long they are."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")
    thread = in_thread(lock.acquire)
    for _ in range(2):
        assert "it is running" in reports.get(timeout=DEADLINE_SECONDS)
    assert writer.do("release") == "None"
    finish(thread)
    lock.release()
    assert writer.child.poll() is None


def test_a_stopped_worker_that_only_waits_is_not_killed(
    start: Start, make: Make, reports: queue.Queue[str]
) -> None:
    """It is in nobody's way."""
    holder, waiter = start("worker", "worker")
    lock = make()
    holder.do("acquire")
    waiter.begin("acquire")
    waiter.stop()
    thread = in_thread(lock.acquire)
    for _ in range(2):
        assert "it is running" in reports.get(timeout=DEADLINE_SECONDS)
    holder.do("release")
    finish(thread)
    lock.release()
    assert waiter.child.poll() is None


def test_a_stopped_predecessor_does_not_die_for_an_unrecorded_holder(
    start: Start, make: Make, reports: queue.Queue[str]
) -> None:
    """The record still names the one before; the kernel knows who really holds the lock."""
    predecessor, holder = start("worker", "worker")
    lock = make()
    predecessor.do("acquire")
    predecessor.do("release")
    predecessor.stop()
    holder.do("acquire_without_a_record")
    holder.stop()
    recorded = lock.holder()
    assert recorded is not None
    assert recorded.process == predecessor.identity
    with lock:
        assert holder.child.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    assert f"held by pid {holder.child.pid}: " in reports.get(timeout=DEADLINE_SECONDS)
    assert predecessor.child.poll() is None


def test_one_stopped_worker_after_another_is_killed(start: Start, make: Make) -> None:
    """The same watchdog serves again, and its patience begins anew."""
    lock = make()
    for writer in start("worker", "worker"):
        writer.do("acquire")
        writer.stop()
        with lock:
            assert writer.child.wait(DEADLINE_SECONDS) == -signal.SIGKILL


def test_several_waiters_kill_a_holder_only_once(start: Start, make: Make) -> None:
    """The first to act frees all of them."""
    [writer] = start("worker")
    locks = [make() for _ in range(3)]
    writer.do("acquire")
    writer.stop()

    def pass_through(lock: WriteLock) -> None:
        with lock:
            pass

    for thread in [in_thread(lambda lock=lock: pass_through(lock)) for lock in locks]:  # type: ignore[misc]
        finish(thread)
    assert writer.child.wait(DEADLINE_SECONDS) == -signal.SIGKILL


def test_a_holder_that_cannot_be_examined_is_only_reported(
    start: Start,
    make: Make,
    reports: queue.Queue[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of another PID namespace, for one: the kernel does not show it, its record names it."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")
    writer.stop()
    monkeypatch.setattr(writelock, "flock_holders", lambda _file: iter(()))
    thread = in_thread(lock.acquire)
    report = reports.get(timeout=DEADLINE_SECONDS)
    assert f"worker session 0 (pid {writer.child.pid} on " in report
    assert "cannot be examined" in report
    assert writer.child.poll() is None
    writer.child.send_signal(signal.SIGCONT)
    writer.do("release")
    finish(thread)
    lock.release()


def test_a_report_that_fails_does_not_end_the_watch(
    start: Start, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next holder that stands still must still be found."""
    [writer] = start("embedded")
    calls: queue.Queue[str] = queue.Queue()

    def fail(message: str) -> None:
        calls.put(message)
        raise ValueError(message)

    us = LockHolder(ProcessIdentity.of_self(), "embedded", "us")
    lock = WriteLock(path, owner=lambda: us, patience_seconds=0.1, on_report=fail)
    writer.do("acquire")
    thread = in_thread(lock.acquire)
    for _ in range(2):
        calls.get(timeout=DEADLINE_SECONDS)
    writer.do("release")
    finish(thread)
    lock.release()
    lock.close()
    assert "on_report failed" in caplog.text


ME = ProcessIdentity.of_self()
STOPPED = KernelHolder(ME, killable=True, stopped=True)
SEEN = Sighting(wait=1.0, holder=STOPPED, first=2.0, last=4.0)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({}, 2.0),
        ({"now": 7.5}, 7.5),
        ({"wait": 3.0}, 5.0),
        ({"holder": None}, 5.0),
        ({"holder": replace(STOPPED, stopped=False)}, 5.0),
        ({"holder": replace(STOPPED, process=replace(ME, start_ticks=1))}, 5.0),
    ],
)
def test_a_holders_time_counts_only_while_it_is_seen(
    change: dict[str, object], first: float
) -> None:
    """Not across a stall of our own, another wait of ours, another holder, or one that ran."""
    look = {"wait": 1.0, "holder": STOPPED, "now": 5.0, "gap_max_seconds": 3.0, **change}
    sighting = follow(SEEN, **look)  # type: ignore[arg-type]
    assert (sighting.first, sighting.last) == (first, look["now"])
    assert (sighting.wait, sighting.holder) == (look["wait"], look["holder"])


# Forks.


def test_a_forked_child_does_not_keep_a_dead_parents_lock(start: Start, make: Make) -> None:
    """The child closes its copy of the open file."""
    [writer] = start("worker")
    lock = make()
    writer.do("acquire")
    grandchild = ProcessIdentity.of(int(writer.do("fork")))
    assert grandchild is not None
    try:
        with pytest.raises(StoreBusy):
            lock.acquire(timeout_seconds=0.01)
        writer.child.kill()
        writer.child.wait()
        lock.acquire(timeout_seconds=DEADLINE_SECONDS)
        assert is_alive(grandchild) is True
        lock.release()
    finally:
        kill(grandchild)


FORKED_LOCK = """
import threading
from pathlib import Path
from baton.errors import StoreBusy
from baton.fleet.process import ProcessIdentity
from baton.fleet.writelock import LockHolder, WriteLock

mine = {}

def owner():
    pid = os.getpid()
    if pid not in mine:
        mine[pid] = LockHolder(ProcessIdentity.of_self(), "worker", str(pid))
    return mine[pid]

lock = WriteLock(Path(sys.argv[1]), owner=owner, patience_seconds=1000)
try:
    with lock:
        pid = os.fork()
        if pid == 0:
            try:
                lock.acquire(timeout_seconds=0.01)
            except StoreBusy:
                pass  # excluded by its parent
            else:
                os._exit(1)
        else:
            assert os.waitpid(pid, 0)[1] == 0
            assert lock.holder().session_id == str(os.getpid())
finally:
    if pid == 0:  # left the body without an error, and the parent still holds the lock
        os._exit(0 if sys.exc_info()[0] is None else 2)
inside, leave = threading.Event(), threading.Event()

def hold():
    with lock:
        inside.set()
        leave.wait()

thread = threading.Thread(target=hold)
thread.start()
inside.wait()
pid = os.fork()  # while another thread has the lock: the child has no such thread
if pid == 0:
    lock.acquire()
    os._exit(0 if lock.holder().session_id == str(os.getpid()) else 3)
leave.set()
thread.join()
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_forked_child_has_a_lock_of_its_own(path: Path) -> None:
    """It neither holds what its parent held, nor waits for a thread it does not have."""
    done = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_IS_TESTED + FORKED_LOCK, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Fairness.


def test_four_busy_writers_all_get_their_turns(start: Start, path: Path) -> None:
    """Each gets at least a quarter of its fair share; SQLite's own waiting lets some starve."""
    turns = Path(f"{path}.turns")
    turns.write_bytes(bytes(32))
    writers = start(*["worker"] * 4)
    for writer in writers:
        writer.begin("compete")
    for writer in writers:
        assert writer.result() == "None"
    counts = [int.from_bytes(turns.read_bytes()[i : i + 8], "big") for i in range(0, 32, 8)]
    assert min(counts) / (sum(counts) / 4) >= 0.25
