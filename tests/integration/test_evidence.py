"""A peer's death is seen at once, once, and never where there was none."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from baton.domain.words import Evidence
from baton.fleet import evidence
from baton.fleet.evidence import DeathWatch, SessionLock, lock_is_free, remove_dead_lock
from baton.fleet.process import ProcessIdentity, is_alive, is_stopped, kill

SOURCE = Path(evidence.__file__).parents[2]
DEADLINE_SECONDS = 30.0

#: The package itself would bring LangGraph along, which takes a child a second to import.
ONLY_WHAT_IS_TESTED = f"""
import os, subprocess, sys, types
sys.modules["baton"] = package = types.ModuleType("baton")
package.__path__ = [{str(SOURCE / "baton")!r}]
"""

PEER = """
from pathlib import Path
from baton.fleet.evidence import SessionLock

lock = SessionLock(Path(sys.argv[1]), sys.argv[2])
print(lock.inode, flush=True)

def fork():
    # A child that outlives its parent, until it is told to end or killed.
    pid = os.fork()
    if pid == 0:
        while True:
            os.read(0, 1) or os._exit(0)
    return pid

def fork_multiprocessing():
    import multiprocessing, signal
    child = multiprocessing.get_context("fork").Process(target=signal.pause)
    child.start()
    return child.pid

def children():
    for _ in range(3):
        subprocess.run([sys.executable, "-c", ""], check=True)
        if os.fork() == 0:
            lock.release()  # without effect in a child
            os._exit(0)
        os.wait()
    return "done"

def execute():
    again = "import sys; print('done', flush=True); sys.stdin.read()"
    os.execv(sys.executable, [sys.executable, "-c", again])

def release():
    lock.release()
    lock.release()
    return "done"

for line in iter(sys.stdin.readline, ""):
    print(globals()[line.strip()](), flush=True)
"""


@dataclass
class Peer:
    """A session in a process of its own."""

    session_id: str
    child: subprocess.Popen[str]
    identity: ProcessIdentity
    lock_path: Path
    lock_inode: int

    def do(self, command: str) -> str:
        """Have the peer call one of its functions, and give back what it returned."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        return self.child.stdout.readline().strip()

    def end(self) -> None:
        """Kill it, and leave nothing of it behind."""
        self.child.kill()
        self.child.wait()


Start = Callable[[], Peer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start peers; they are ended with the test."""
    peers: list[Peer] = []

    def begin() -> Peer:
        session_id = f"s-{len(peers)}"
        child = subprocess.Popen(
            [sys.executable, "-c", ONLY_WHAT_IS_TESTED + PEER, str(tmp_path), session_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        identity = ProcessIdentity.of(child.pid)
        assert identity is not None
        assert child.stdout is not None
        inode = int(child.stdout.readline())
        peers.append(Peer(session_id, child, identity, tmp_path / f"{session_id}.lock", inode))
        return peers[-1]

    yield begin
    for peer in peers:
        peer.end()
        peer.child.communicate()


class Watcher:
    """A DeathWatch whose calls are collected, and which may be denied its pidfds."""

    def __init__(self, kind: Evidence) -> None:
        """Start it; under ``flock`` every peer seems to live in another PID namespace."""
        self.kind = kind
        self.calls: queue.Queue[tuple[str, Evidence, bool, int]] = queue.Queue()
        self.watch = DeathWatch(lambda *call: self.calls.put(call), poll_interval_seconds=0.005)

    def add(self, peer: Peer) -> None:
        """Watch a peer."""
        identity = peer.identity
        if self.kind is Evidence.FLOCK:
            identity = replace(identity, pid_namespace=1)
        self.watch.watch(peer.session_id, identity, peer.lock_path, peer.lock_inode)

    def next_gone(self) -> tuple[str, Evidence, bool]:
        """Wait for the next call."""
        return self.calls.get(timeout=DEADLINE_SECONDS)[:3]

    def settle(self, canary: Peer) -> None:
        """Wait until the watch has surely looked at everybody: until it saw a canary die."""
        self.add(canary)
        canary.end()
        session_id, _kind, _held = self.next_gone()
        assert session_id == canary.session_id, "a living peer was reported gone"


@pytest.fixture(params=[Evidence.PIDFD, Evidence.FLOCK])
def watcher(request: pytest.FixtureRequest) -> Iterator[Watcher]:
    """A watcher by either kind of evidence."""
    made = Watcher(request.param)
    yield made
    made.watch.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a generous deadline."""
    never = threading.Event()
    for _ in range(int(DEADLINE_SECONDS / 0.005)):
        if condition():
            return
        never.wait(0.005)
    pytest.fail(f"not within {DEADLINE_SECONDS} s")


# The session's lock.


def test_a_lock_is_held_until_the_holder_dies(start: Start) -> None:
    """The kernel frees it, whatever the process was doing."""
    peer = start()
    assert lock_is_free(peer.lock_path, peer.lock_inode) is False
    peer.end()
    assert lock_is_free(peer.lock_path, peer.lock_inode) is True


def test_asking_leaves_the_lock_as_it_was(tmp_path: Path) -> None:
    """A question must neither take the lock nor disturb its holder."""
    lock = SessionLock(tmp_path, "s")
    assert lock_is_free(lock.path, lock.inode) is False
    assert lock_is_free(lock.path, lock.inode) is False
    lock.release()
    again = SessionLock(tmp_path, "s")
    assert lock_is_free(again.path, again.inode) is False
    again.release()


def test_a_released_lock_leaves_no_file(tmp_path: Path) -> None:
    """After an orderly end there is nothing to learn and nothing to clean up."""
    lock = SessionLock(tmp_path / "made" / "here", "s")
    lock.release()
    assert list(lock.path.parent.iterdir()) == []
    assert lock_is_free(lock.path, lock.inode) is None


def test_a_file_removed_under_a_living_session_is_no_death(tmp_path: Path) -> None:
    """Somebody cleaned up; the session may well live, so nothing is concluded."""
    lock = SessionLock(tmp_path, "s")
    lock.path.unlink()
    assert lock_is_free(lock.path, lock.inode) is None
    lock.release()


@pytest.mark.parametrize("locked", [True, False])
def test_a_file_made_anew_says_nothing(tmp_path: Path, *, locked: bool) -> None:
    """Neither its freedom is the session's death nor its lock the session's life."""
    lock = SessionLock(tmp_path, "s")
    lock.path.unlink()
    with lock.path.open("w") as other:
        if locked:
            fcntl.flock(other, fcntl.LOCK_EX)
        assert os.fstat(other.fileno()).st_ino != lock.inode
        assert lock_is_free(lock.path, lock.inode) is None
        assert remove_dead_lock(lock.path, lock.inode) is False
    lock.release()
    assert lock.path.exists(), "release removed a file that is not its own"


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """A lock file that points elsewhere is not the session's."""
    lock = SessionLock(tmp_path / "real", "s")
    link = tmp_path / "s.lock"
    link.symlink_to(lock.path)
    assert lock_is_free(link, lock.inode) is None
    with pytest.raises(OSError, match=str(link)):
        SessionLock(tmp_path, "s")
    lock.release()


def test_a_session_id_is_taken_once(tmp_path: Path) -> None:
    """A second living session of the same id is refused, and the first is not harmed by it."""
    first = SessionLock(tmp_path, "s")
    with pytest.raises(BlockingIOError):
        SessionLock(tmp_path, "s")
    assert lock_is_free(first.path, first.inode) is False
    first.release()


def test_a_leftover_file_is_taken_over(start: Start, tmp_path: Path) -> None:
    """What a crash left behind does not stop anybody."""
    peer = start()
    peer.end()
    lock = SessionLock(tmp_path, peer.session_id)
    assert lock.path == peer.lock_path
    assert lock_is_free(lock.path, lock.inode) is False
    lock.release()


def test_ids_never_meet_in_one_file(tmp_path: Path) -> None:
    """Any characters will do, in any length, and stay inside the folder."""
    ids = ["a/b", "a_b", "a b", "../a", "é", "x" * 500, "x" * 501, "", "."]
    locks = [SessionLock(tmp_path, session_id) for session_id in ids]
    assert len({lock.inode for lock in locks}) == len(ids)
    assert {lock.path.resolve().parent for lock in locks} == {tmp_path.resolve()}
    for lock in locks:
        lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_lock_is_removed_and_a_living_one_is_not(start: Start) -> None:
    """Crashed sessions leave no litter."""
    peer = start()
    assert remove_dead_lock(peer.lock_path, peer.lock_inode) is False
    assert peer.lock_path.exists()
    peer.end()
    assert remove_dead_lock(peer.lock_path, peer.lock_inode) is True
    assert not peer.lock_path.exists()
    assert remove_dead_lock(peer.lock_path, peer.lock_inode) is False


@pytest.mark.parametrize("how", ["fork", "fork_multiprocessing"])
def test_a_forked_child_does_not_keep_a_dead_parents_lock(start: Start, how: str) -> None:
    """The child closes its copy of the open file, else the lock would live as long as it."""
    peer = start()
    grandchild = ProcessIdentity.of(int(peer.do(how)))
    assert grandchild is not None
    try:
        peer.end()
        assert is_alive(grandchild) is True
        wait_until(lambda: lock_is_free(peer.lock_path, peer.lock_inode) is True)
    finally:
        kill(grandchild)


def test_children_that_end_take_no_lock_with_them(start: Start) -> None:
    """A child closes and never unlocks: the lock is the parent's too. Nor can it release."""
    peer = start()
    assert peer.do("children") == "done"
    assert lock_is_free(peer.lock_path, peer.lock_inode) is False


# The watch.


def test_a_death_is_told_once(start: Start, watcher: Watcher) -> None:
    """With the kind of evidence, and that life was known before."""
    peer, bystander = start(), start()
    watcher.add(bystander)
    watcher.add(peer)
    watcher.add(peer)
    watcher.settle(start())
    peer.end()
    assert watcher.next_gone() == (peer.session_id, watcher.kind, True)
    watcher.settle(start())
    assert watcher.calls.empty()


def test_the_time_of_death_is_the_watchers(start: Start, watcher: Watcher) -> None:
    """It lies after the kill, on the clock of the watching process."""
    peer = start()
    watcher.add(peer)
    watcher.settle(start())
    before_ns = time.monotonic_ns()
    peer.end()
    call = watcher.calls.get(timeout=DEADLINE_SECONDS)
    assert before_ns < call[3] <= time.monotonic_ns()


def test_one_found_dead_is_no_sign_of_life(start: Start, watcher: Watcher) -> None:
    """This watcher cannot tell how long ago it died."""
    peer = start()
    peer.end()
    watcher.add(peer)
    assert watcher.next_gone() == (peer.session_id, watcher.kind, False)


def test_one_found_dead_but_not_waited_for_is_no_sign_of_life(start: Start) -> None:
    """A pidfd can still be had of it, and is readable from the start."""
    peer, watcher = start(), Watcher(Evidence.PIDFD)
    peer.child.kill()
    os.waitid(os.P_PID, peer.child.pid, os.WEXITED | os.WNOWAIT)
    watcher.add(peer)
    assert watcher.next_gone() == (peer.session_id, Evidence.PIDFD, False)
    watcher.watch.close()


def test_a_stopped_peer_is_not_gone(start: Start, watcher: Watcher) -> None:
    """Stopping is silence, not death."""
    peer = start()
    watcher.add(peer)
    peer.child.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(peer.identity) is True)
    watcher.settle(start())
    peer.child.send_signal(signal.SIGCONT)
    watcher.settle(start())
    peer.child.send_signal(signal.SIGSTOP)
    peer.end()
    assert watcher.next_gone() == (peer.session_id, watcher.kind, True)


def test_a_peer_whose_children_end_is_not_gone(start: Start, watcher: Watcher) -> None:
    """Neither forked nor spawned children count."""
    peer = start()
    watcher.add(peer)
    assert peer.do("children") == "done"
    watcher.settle(start())
    peer.end()
    assert watcher.next_gone() == (peer.session_id, watcher.kind, True)


@pytest.mark.parametrize("how", ["fork", "fork_multiprocessing"])
def test_a_peer_with_a_living_child_is_gone(start: Start, watcher: Watcher, how: str) -> None:
    """A child does not stand in for its parent."""
    peer = start()
    watcher.add(peer)
    grandchild = ProcessIdentity.of(int(peer.do(how)))
    assert grandchild is not None
    try:
        watcher.settle(start())
        peer.end()
        assert watcher.next_gone() == (peer.session_id, watcher.kind, True)
        assert is_alive(grandchild) is True
    finally:
        kill(grandchild)


def test_exec_is_not_death_under_a_pidfd(start: Start) -> None:
    """The process lives on; silence will tell if it no longer is a worker."""
    peer, watcher = start(), Watcher(Evidence.PIDFD)
    watcher.add(peer)
    assert peer.do("execute") == "done"
    watcher.settle(start())
    peer.end()
    assert watcher.next_gone() == (peer.session_id, Evidence.PIDFD, True)
    watcher.watch.close()


def test_exec_ends_the_session_under_a_flock(start: Start) -> None:
    """The program that held the lock is no more."""
    peer, watcher = start(), Watcher(Evidence.FLOCK)
    watcher.add(peer)
    watcher.settle(start())
    assert peer.do("execute") == "done"
    assert watcher.next_gone() == (peer.session_id, Evidence.FLOCK, True)
    watcher.watch.close()


def test_an_id_given_out_again_is_not_the_peer(start: Start) -> None:
    """The start time differs: the peer is gone, and the process that has its id lives on."""
    peer, watcher = start(), Watcher(Evidence.PIDFD)
    peer.identity = replace(peer.identity, start_ticks=peer.identity.start_ticks - 1)
    watcher.add(peer)
    assert watcher.next_gone() == (peer.session_id, Evidence.PIDFD, False)
    assert peer.child.poll() is None
    watcher.watch.close()


def test_a_release_ends_the_session_under_a_flock(start: Start) -> None:
    """The file goes first and the lock after; the watch has the file open and sees it."""
    peer, watcher = start(), Watcher(Evidence.FLOCK)
    watcher.add(peer)
    watcher.settle(start())
    assert peer.do("release") == "done"
    assert watcher.next_gone() == (peer.session_id, Evidence.FLOCK, True)
    watcher.watch.close()


def test_removing_the_file_of_a_watched_peer_changes_nothing(start: Start) -> None:
    """Once the watch has the file open, its name does not matter."""
    peer, watcher = start(), Watcher(Evidence.FLOCK)
    watcher.add(peer)
    watcher.settle(start())
    peer.lock_path.unlink()
    peer.lock_path.touch()
    watcher.settle(start())
    peer.end()
    assert watcher.next_gone() == (peer.session_id, Evidence.FLOCK, True)
    watcher.watch.close()


@pytest.mark.parametrize("remade", [True, False])
def test_a_wrong_file_is_no_evidence(start: Start, *, remade: bool) -> None:
    """Missing or made anew before anybody looked: neither life nor death is concluded."""
    peer, watcher = start(), Watcher(Evidence.FLOCK)
    peer.lock_path.unlink()
    if remade:
        peer.lock_path.touch()
    watcher.add(peer)
    watcher.settle(start())
    peer.end()
    watcher.settle(start())
    assert watcher.calls.empty()
    watcher.watch.close()


def test_a_forgotten_peer_may_die_unnoticed(start: Start, watcher: Watcher) -> None:
    """Unless it is watched again, which is a new watch."""
    peer = start()
    watcher.add(peer)
    watcher.watch.forget(peer.session_id)
    watcher.watch.forget("never seen")
    peer.end()
    watcher.settle(start())
    assert watcher.calls.empty()
    watcher.add(peer)
    assert watcher.next_gone() == (peer.session_id, watcher.kind, False)


def test_what_happens_while_a_call_lasts(start: Start) -> None:
    """Three peers die while the watch is busy, so that it learns of them all at once.

    The one that is forgotten in the call for its twin is not told any more. The one that is
    watched again, after its death, must not look as if it was found dead.
    """
    first, second = start(), start()
    twins = {peer.session_id: peer for peer in (start(), start())}
    calls: queue.Queue[tuple[str, bool]] = queue.Queue()
    may_return = threading.Event()

    def on_gone(session_id: str, _evidence: Evidence, held: bool, _at_ns: int) -> None:  # noqa: FBT001
        calls.put((session_id, held))
        for twin in twins.keys() - {session_id} if session_id in twins else ():
            watch.forget(twin)
        may_return.wait(DEADLINE_SECONDS)

    watch = DeathWatch(on_gone)
    for peer in (*twins.values(), second, first):
        watch.watch(peer.session_id, peer.identity)
    first.end()
    assert calls.get(timeout=DEADLINE_SECONDS)[0] == first.session_id
    for peer in (*twins.values(), second):
        peer.end()
    watch.watch(second.session_id, second.identity)
    may_return.set()
    told = {calls.get(timeout=DEADLINE_SECONDS) for _ in range(2)}
    assert (second.session_id, True) in told
    assert len(told & {(twin, True) for twin in twins}) == 1
    watch.watch("found dead", first.identity)
    assert calls.get(timeout=DEADLINE_SECONDS) == ("found dead", False)
    watch.close()


def test_a_call_that_fails_hides_no_other_death(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged, and the watch goes on."""
    calls: queue.Queue[str] = queue.Queue()

    def fail(session_id: str, *_more: object) -> None:
        calls.put(session_id)
        raise ValueError(session_id)

    watch = DeathWatch(fail)
    for peer in (start(), start()):
        watch.watch(peer.session_id, peer.identity)
        peer.end()
        assert calls.get(timeout=DEADLINE_SECONDS) == peer.session_id
    watch.close()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_call_may_use_the_watch(start: Start) -> None:
    """It may watch, forget and close: what a worker does when it hears of a death."""
    first, second, third = start(), start(), start()
    done = threading.Event()

    def on_gone(session_id: str, *_more: object) -> None:
        if session_id == first.session_id:
            watch.forget(third.session_id)
            watch.watch(second.session_id, second.identity)
        else:
            watch.close()
            done.set()

    watch = DeathWatch(on_gone)
    watch.watch(third.session_id, third.identity)
    watch.watch(first.session_id, first.identity)
    first.end()
    second.end()
    assert done.wait(DEADLINE_SECONDS)
    with pytest.raises(RuntimeError):
        watch.watch(third.session_id, third.identity)


def open_files() -> list[Path]:
    """The files this process has open."""
    folder = Path("/proc/self/fd")
    return sorted(fd.readlink() for fd in folder.iterdir() if fd.exists())


def test_closing_leaves_nothing_open(start: Start, watcher: Watcher) -> None:
    """Neither descriptors nor the thread, and no call after it."""
    peers = [start() for _ in range(3)]
    before = open_files(), threading.active_count()
    for peer in peers:
        watcher.add(peer)
    peers[0].end()
    assert watcher.next_gone()[0] == peers[0].session_id
    watcher.watch.close()
    watcher.watch.close()
    assert (open_files(), threading.active_count()) == before
    peers[1].end()
    watcher.watch.forget(peers[1].session_id)
    assert watcher.calls.empty()


def test_many_deaths_at_once_are_each_told_once(start: Start, watcher: Watcher) -> None:
    """One thread is enough, and loses none."""
    peers = [start() for _ in range(12)]
    for peer in peers:
        watcher.add(peer)
    watcher.settle(start())
    for peer in peers:
        peer.child.kill()
    gone = [watcher.next_gone() for _ in peers]
    assert sorted(gone) == sorted((peer.session_id, watcher.kind, True) for peer in peers)
    watcher.settle(start())
    assert watcher.calls.empty()


FORKED_WATCH = """
import queue
from dataclasses import replace
from pathlib import Path
from baton.fleet.evidence import DeathWatch, SessionLock
from baton.fleet.process import ProcessIdentity

calls = queue.Queue()
watch = DeathWatch(lambda *call: calls.put(call[:2]), poll_interval_seconds=0.005)
sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]
lock = SessionLock(Path(sys.argv[1]), "s")
first = subprocess.Popen(sleeper, stdin=subprocess.PIPE)
watch.watch("first", ProcessIdentity.of(first.pid))
watch.watch("by lock", replace(ProcessIdentity.of_self(), pid_namespace=1), lock.path, lock.inode)
pid = os.fork()
if pid == 0:
    # The parent's watches are not the child's, and closing its files does the parent no harm.
    second = subprocess.Popen(sleeper, stdin=subprocess.PIPE)
    watch.watch("second", ProcessIdentity.of(second.pid))
    second.kill()
    told = calls.get(timeout=30)
    watch.close()
    second.wait()
    os._exit(0 if told == ("second", "pidfd") and calls.empty() else 1)
assert os.waitpid(pid, 0)[1] == 0
first.kill()
assert calls.get(timeout=30) == ("first", "pidfd")
first.wait()
lock.release()
assert calls.get(timeout=30) == ("by lock", "flock")
watch.close()
"""


def test_a_forked_child_has_a_watch_of_its_own(tmp_path: Path) -> None:
    """Prefork servers: the child begins with no peers, and the parent's watch is not disturbed."""
    done = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_IS_TESTED + FORKED_WATCH, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
