"""The demo for real: every fault fires, every claim holds, and no process is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MARK = "BATON_DEMO_TEST"
#: Far beyond what a demo takes on a machine under load.
DEADLINE_SECONDS = 150.0

pytestmark = pytest.mark.timeout(240)


class Demo:
    """A demo in a process of its own, and a mark on everything that it starts.

    Attributes:
        temporary: where its temporary files go; a folder in its own by default.
    """

    temporary: Path | None = None

    def __init__(self, folder: Path, *options: str) -> None:
        """Start it.

        Args:
            folder: for its output, and its temporary files.
            options: of `baton demo`.
        """
        self.mark = uuid.uuid4().hex
        self.folder = folder
        (folder / "tmp").mkdir()
        temporary = self.temporary or folder / "tmp"
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "baton", "demo", *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={
                    **os.environ,
                    MARK: self.mark,
                    "TMPDIR": str(temporary),
                },
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        """What it has written to standard output."""
        return (self.folder / "stdout").read_text()

    @property
    def err(self) -> str:
        """What it has written to standard error."""
        return (self.folder / "stderr").read_text()

    def marked(self) -> list[int]:
        """The processes that carry its mark, itself included; zombies have none."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in environment:
                found.append(int(folder.name))
        return found

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, and fail with what the demo has said if it does not come true."""
        never, deadline = threading.Event(), time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"no {what}\n{self.out}\n{self.err}", pytrace=False)
            never.wait(0.02)

    def ended(self) -> int:
        """Wait for its end; returns its exit code."""
        self.wait(lambda: self.popen.poll() is not None, "end of the demo")
        return self.popen.returncode

    def clean_up(self) -> None:
        """End whatever a failed demo has left."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        for pid in self.marked():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos, and leaves nothing of them."""
    demos: list[Demo] = []

    def start(*options: str) -> Demo:
        demos.append(Demo(tmp_path, *options))
        return demos[-1]

    yield start
    for one in demos:
        one.clean_up()


def test_the_demo_shows_what_it_promises(demo: Callable[..., Demo], tmp_path: Path) -> None:
    """Every check has its evidence, everything is kept, and the fleet stays up until told to end.

    The end that it is given then is a good one: exit code 0, and no process left.
    """
    out = tmp_path / "kept"
    played = demo("--json", "--out", str(out))
    played.wait(lambda: "Ctrl-C ends it" in played.err, "word that it stays up")
    summary = json.loads(played.out)
    assert len(played.marked()) >= 6
    played.popen.send_signal(signal.SIGTERM)
    assert played.ended() == 0, played.err
    assert played.marked() == []
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["outcome"], summary["exit_code"]) == ("PASS", 0)
    assert {one["check"]: one["outcome"] for one in summary["findings"]} == dict.fromkeys(
        (
            *("results", "effects", "ledger", "one writer"),
            *("crashed", "heartbeat_lost", "drained", "zombie", "prometheus"),
        ),
        "PASS",
    )
    victims = {fault["reason"]: fault for fault in summary["faults"]}
    assert list(victims) == ["crashed", "heartbeat_lost", "drained"]
    for fault in victims.values():
        assert fault["tasks"]
        assert min(fault["fault_to_restored_us"]) > 0
    assert {one["reason"] for one in summary["takeovers"]} == set(victims)
    assert summary["refused_writes"] > 0
    assert set(summary["prometheus"]) == {
        *("workers", "tasks", "takeovers", "median takeover", "oldest heartbeat"),
        "refused writes",
    }
    assert {path.name for path in out.iterdir()} >= {
        *("fleet.db", "ledger.jsonl", "findings.db", "logs", "timeline.txt", "prometheus"),
    }
    told, _, after = played.err.partition("\n The fleet stays up")
    assert (out / "timeline.txt").read_text() == told
    assert "kill -9" in after
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_brings_a_postgresql_of_its_own(
    demo: Callable[..., Demo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same story and the same claims on a server that starts and ends with the demo."""
    # PostgreSQL has a user of its own where the tests are root's, whom pytest's folder keeps out.
    with tempfile.TemporaryDirectory(prefix="baton-demo-") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr(Demo, "temporary", Path(folder))
        played = demo("--once", "--store", "postgresql", "--workers", "3", "--tasks", "4")
        assert played.ended() == 0, played.out + played.err
        assert played.marked() == []
        # The package that brings the server keeps one lock for all servers of a machine there.
        assert {path.name for path in Path(folder).iterdir()} <= {".lockfile"}
    assert "was lost (connection)" in played.out
    assert " PASS: Nothing was lost" in played.out
    assert list((tmp_path / "tmp").iterdir()) == []


def test_ctrl_c_in_the_middle_leaves_nothing_behind(
    demo: Callable[..., Demo], tmp_path: Path
) -> None:
    """Even while a worker is frozen: every process ends, and the temporary folder goes."""
    played = demo()
    played.wait(lambda: "is frozen (SIGSTOP)" in played.out, "frozen worker")
    assert len(played.marked()) >= 6
    played.popen.send_signal(signal.SIGINT)
    assert played.ended() == 130
    assert played.marked() == []
    assert played.err == ""
    assert list((tmp_path / "tmp").iterdir()) == []
