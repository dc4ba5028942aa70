"""``baton soak``: killed and resumed it ends as if nothing had been, and what it says is honest."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.command import Command
from tests.support.runs import wait_until

from baton.fleet import sqlite_data
from baton.prove.soak import checkpoint, fleets, plan, running

#: A fleet so small that a test can wait for it.
TINY = fleets.Shape(
    workers=2,
    seconds=4.0,
    apart=(0.3, 0.6),
    submit_every_seconds=0.5,
    ttl_seconds=0.6,
    rest_seconds=0.5,
    graphs={"chain": 1},
)

#: Relays so small that a test can wait for a few of them.
SMALL: Callable[..., Any] = partial(plan.relay, deaths=2, runners=3)

_SMALL_SOAK = """
import sys
from functools import partial
from baton.cli import main
from baton.prove.soak import plan, running
plan.relay, running._TWICE = partial(plan.relay, deaths=2, runners=3), 3
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def baton(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """``baton``, whose soaks are small."""
    monkeypatch.setattr(plan, "relay", SMALL)
    monkeypatch.setattr(running, "_TWICE", 3)
    return Command(capsys, tmp_path)


def position(out: Path) -> int:
    """How many cycles are durable."""
    try:
        return int(json.loads((out / checkpoint.CHECKPOINT).read_text())["cycle"])
    except FileNotFoundError:
        return 0


def test_killed_and_resumed_it_ends_in_the_same_digest(baton: Command, tmp_path: Path) -> None:
    """Killed and resumed it ends in the same digest."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["soak", "--cycles", "400", "--seed", "9", "--out", str(cut)]
    process = subprocess.Popen([sys.executable, "-c", _SMALL_SOAK, *words])
    wait_until(lambda: position(cut) >= 2, what="two cycles")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # It may have died between a cycle's record and the checkpoint that counts it.
    with (cut / checkpoint.CYCLES).open("a") as file:
        file.write('{"cycle": 4')
    cycles = str(position(cut) + 2)
    resumed = baton("soak", "--cycles", cycles, "--resume", str(cut))
    straight = baton("soak", "--cycles", cycles, "--seed", "9", "--out", str(whole))
    assert (resumed.code, straight.code) == (0, 0)
    assert gc.isenabled()
    for name in ("soak.json", checkpoint.CYCLES):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    said = json.loads((cut / "soak.json").read_text())
    counts = said["counts"]
    assert (counts["cycles"], counts["passed"]) == (int(cycles), int(cycles))
    assert counts["takeovers"] > 0
    assert 0 < counts["faults_fired"] <= counts["faults_planned"]
    kinds = said["faults_by_kind"].values()
    assert sum(kind["planned"] for kind in kinds) == counts["faults_planned"]
    assert sum(kind["fired"] for kind in kinds) == counts["faults_fired"]
    assert said["faults_by_kind"]["sigkill"]["fired"] > 0
    assert counts["repeated"] == int(cycles) // 3
    assert counts["differing"] == counts["violations"] == 0
    assert said["failure_probability_of_a_cycle_at_most"] == pytest.approx(
        1 - 0.05 ** (1 / int(cycles))
    )
    assert said["final_digest"] in resumed.out


def test_real_processes_are_killed_and_what_they_leave_is_judged(
    baton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes are killed and frozen by real signals, and nothing is lost."""
    monkeypatch.setattr(fleets, "SHAPE", TINY)
    out = tmp_path / "out"
    said = baton("soak", "--engine", "proc", "--cycles", "1", "--seed", "5", "--out", str(out))
    soak = json.loads((out / "soak.json").read_text())
    assert (said.code, soak["judgement"]) == (0, "PASS"), (out / checkpoint.CYCLES).read_text()
    counts = soak["counts"]
    assert (counts["kills"], counts["freezes"]) == (2, 1)
    assert counts["takeovers"] > 0
    assert counts["faults_fired"] == counts["faults_planned"] == 3
    assert soak["plan_digest"] in said.out
    measured = json.loads((out / "measured.json").read_text())
    took = measured["takeover_seconds"]["heartbeat_lost"]["latency"]
    assert took["most"] >= took["median"] >= TINY.ttl_seconds / 2
    assert f"| `heartbeat_lost` | latency | {took['takeovers']} |" in said.out
    # It is there already: the folder says of which store and engine it is.
    assert baton("soak", "--cycles", "1", "--resume", str(out)).out == said.out


def test_a_violation_fails_it_and_is_kept(
    baton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A violation fails it and is kept."""
    payload = sqlite_data.step_payload
    monkeypatch.setattr(sqlite_data, "step_payload", lambda _, *more: payload("0" * 64, *more))
    out = tmp_path / "out"
    said = baton("soak", "--cycles", "1", "--seed", "9", "--out", str(out), "--json")
    assert said.code == 1
    told = json.loads(said.out)
    assert told["judgement"] == "FAIL"
    assert told["counts"]["failed"] == 1
    assert told["counts"]["violations"] > 0
    assert told["failure_probability_of_a_cycle_at_most"] > 0.5
    assert (out / "not-passed/cycle-1/scenario.yaml").exists()


def test_what_comes_out_otherwise_the_second_time_fails_it(
    baton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes out otherwise the second time fails it."""
    perform, calls = running.perform_one, []

    def other(scenario: Any, engine: Any, seed: int) -> Any:
        calls.append(seed)
        return perform(scenario, engine, seed + len(calls))

    monkeypatch.setattr(running, "perform_one", other)
    monkeypatch.setattr(running, "_TWICE", 1)
    said = baton("soak", "--cycles", "1", "--seed", "9", "--out", str(tmp_path / "out"), "--json")
    assert said.code == 1
    assert json.loads(said.out)["counts"]["differing"] == 1


def test_bad_input_is_one_line(
    baton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input is one line."""
    out, none = tmp_path / "out", tmp_path / "none"
    assert "give --out DIR to begin a soak" in baton("soak", "--cycles", "1").complaint
    simulated = baton("soak", "--cycles", "1", "--store", "postgresql", "--out", str(none))
    assert "--engine sim has a store of its own" in simulated.complaint
    nowhere = ("--engine", "proc", "--store", "postgresql://no@127.0.0.1:1/x")
    unreachable = baton("soak", "--cycles", "1", *nowhere, "--out", str(none)).complaint
    assert unreachable.startswith("--store postgresql://no@127.0.0.1:1/x: ")
    assert "no soak in" in baton("soak", "--cycles", "1", "--resume", str(none)).complaint
    assert baton("soak", "--cycles", "1", "--seed", "9", "--out", str(out)).code == 0
    again = baton("soak", "--cycles", "1", "--out", str(out)).complaint
    assert f"{out} is not empty; name a new folder, or go on with --resume {out}" in again
    other = baton("soak", "--cycles", "1", "--seed", "8", "--resume", str(out)).complaint
    assert "has --seed 9, not 8; leave it out" in other
    stored = baton("soak", "--cycles", "1", "--store", "postgresql", "--resume", str(out))
    assert "has --store sqlite, not postgresql; leave it out" in stored.complaint
    monkeypatch.setattr(checkpoint, "build_digest", lambda: "another")
    assert "begun by other code" in baton("soak", "--cycles", "2", "--resume", str(out)).complaint
    (out / checkpoint.CHECKPOINT).write_text("{")
    assert "cannot be read" in baton("soak", "--cycles", "2", "--resume", str(out)).complaint
    assert not none.exists()


def test_a_full_disk_loses_no_checkpoint(
    baton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk loses no checkpoint."""
    out = tmp_path / "out"
    write = checkpoint.write_whole

    def full(path: Path, text: str) -> None:
        if path.name == checkpoint.CHECKPOINT and position(out) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    monkeypatch.setattr(checkpoint, "write_whole", full)
    said = baton("soak", "--cycles", "3", "--seed", "9", "--out", str(out)).complaint
    assert f"{out}: No space left on device; mend that, and go on with --resume" in said
    assert position(out) == 1
    monkeypatch.setattr(checkpoint, "write_whole", write)
    assert baton("soak", "--cycles", "2", "--resume", str(out)).code == 0
    assert position(out) == 2


def test_what_cannot_be_written_as_a_whole_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written as a whole is as it was, with nothing half written beside it."""
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.write_whole(path, "before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write_whole(path, "after")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(path.name, "before")]
