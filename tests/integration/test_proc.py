"""The engine of real processes: the same faults, judged by the same assertions, and none left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.command import Command
from tests.support.postgres import PostgresServer
from tests.support.processes import marked
from tests.support.runs import wait_until

from baton.fleet.fleet import open as open_fleet
from baton.prove.proc import facts, trial
from baton.prove.proc.engine import ProcEngine
from baton.prove.proc.trial import ProcTrial
from baton.prove.proc.worker import Spec
from baton.prove.scenarios import graphs
from baton.prove.scenarios.judging import Judgement
from baton.prove.scenarios.library import every
from baton.prove.scenarios.model import Worker
from baton.prove.scenarios.parse import parse
from baton.prove.scenarios.running import perform_one


@pytest.fixture
def baton(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """``baton``."""
    return Command(capsys, tmp_path)


#: One fault after another in one short run of many steps.
MANY = """
id: many
title: Many
hypothesis: What stands still, stammers, fails and leaves is survived together.
tags: [test]
topology: {workers: 2, tasks: {pace: 1, ask: 1}}
timing: {ttl_seconds: 1.5, heartbeat_seconds: 0.4, node_seconds: 0.05, poll_seconds: 0.05,
  answer_after_seconds: 0.1}
faults:
  - {name: freeze, do: sigstop, actor: w-1, at: effect.before, for_seconds: 0.4}
  - {name: slow, do: delay, actor: w-1, at: step.begin, after: freeze, for_seconds: 0.1}
  - {name: lost, do: drop_ack, actor: w-1, at: hb.after_write}
  - {name: again, do: resubmit, actor: all, at: step.end, task: pace-1}
  - {name: leap, do: clock_offset, actor: w-2, at: hb.before, seconds: 0.2}
  - {name: kill, do: sigkill, at: ckpt.before, nth: 4, task: pace-1, back_after_seconds: 0.1}
  - {name: leave, do: sigterm, actor: all, at: step.end, after: kill, back_after_seconds: 0.1}
expect:
  assertions: [C1, C2, C3, C4, C7, C8, C11, C12, C13, V1]
  bounds: {converge_seconds: 20}
"""


# The server is there before the mark, which it would carry otherwise.
@pytest.mark.usefixtures("postgres", "mark")
def test_faults_of_many_kinds_are_seen_and_survived(
    postgres: PostgresServer, baton: Command, tmp_path: Path
) -> None:
    """Faults of many kinds are seen and survived."""
    file, out = tmp_path / "many.yaml", tmp_path / "out"
    file.write_text(MANY)
    options = ("--engine", "proc", "--store", postgres.url, "--parity", "--out", str(out))
    said = baton("scenario", "replay", str(file), *options)
    assert (said.code, said.out.splitlines()[-1]) == (0, "1 PASS"), said
    kept = out / "many"
    seen = {one["name"]: one["observed"] for one in json.loads((kept / "faults.json").read_text())}
    assert all(seen.values())
    assert ["stood still" in seen["freeze"][0], "went on" in seen["freeze"][1]] == [True, True]
    assert "ended by signal 9" in seen["kill"][0]
    result = json.loads((kept / "result.json").read_text())
    assert {"name": "parity with sim", "met": True, "text": "the same"} in result["expectations"]
    verdicts = result["assertions"]
    # Each super-step was run again, and each node that began had its lease.
    checked = {one["assertion"]: one["checked"] for one in verdicts if one["asked"]}
    assert checked["C11"] == 13 + 4
    assert checked["C13"] >= 12 + 3
    again = baton("ledger", "verify", "--ledger", str(kept / "ledger.jsonl"))
    assert again.code == 0, again


#: Who froze before a checkpoint wakes up when another holds the task.
FROZEN = """
id: frozen
title: Frozen
hypothesis: A checkpoint of a former holder is refused.
tags: [test]
topology: {workers: 2, tasks: {chain: 1}, hosts: apart}
timing: {ttl_seconds: 0.8, heartbeat_seconds: 0.2, node_seconds: 0.05, poll_seconds: 0.05}
faults: [{name: freeze, do: sigstop, at: ckpt.before, nth: 3, for_seconds: 2}]
expect:
  lease: {chain-1: H1 X H2 D}
  takeovers: 1
  refusals: {at_least: 1}
  assertions: [C1, C2, C3, C4, C7, C8, C11, C12, C13, V1]
"""

#: A worker in which nothing asks whose lease it is before a checkpoint is written.
PLANTED = """
from baton.fleet.sqlite_write import SqliteWrite
SqliteWrite.fence_only = lambda self, key: None
SqliteWrite.fence = lambda self, key: self.head(f"task:{key.task_id}")
from baton.prove.proc.maker import main
main()
"""


def test_a_bug_in_the_workers_shows(monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    """A bug in the workers shows."""
    del mark
    monkeypatch.setattr(trial, "MAKER", (sys.executable, "-c", PLANTED))
    result = perform_one(parse("frozen", FROZEN), ProcEngine(), 1).result
    assert result.judgement is Judgement.FAIL
    assert result.reason.startswith("C3: ")


def test_a_harness_that_is_killed_leaves_nobody(mark: str, tmp_path: Path) -> None:
    """A harness that is killed leaves nobody."""
    command = [sys.executable, "-m", "baton", "scenario", "run", "Z01", "--engine", "proc"]
    tmp_path /= "a-long-way-down-" * 8  # beyond what a socket's path may have
    tmp_path.mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    harness = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: len([*tmp_path.glob("*/p-*.log")]) == 2, "both workers run")
        # The harness, the maker and two workers.
        assert len(marked(mark)) == 4
    finally:
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    wait_until(lambda: marked(mark) == [], "nobody is left")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--parity",), "--parity holds --engine proc against sim"),
        (("--store", "postgresql"), "--engine sim has a store of its own"),
        (("--engine", "proc", "--store", "mysql://x"), "--store mysql://x: use sqlite"),
        (
            ("--engine", "proc", "--store", "postgresql://no@127.0.0.1:1/x"),
            "--store postgresql://no@127.0.0.1:1/x: ",
        ),
    ],
)
def test_a_store_that_cannot_be_had_is_one_line(
    baton: Command, options: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    """A store that cannot be had is one line, and nothing is written."""
    said = baton("scenario", "run", "K01", *options, "--out", str(tmp_path / "out"))
    assert said.complaint.startswith(complaint)
    assert not (tmp_path / "out").exists()


#: Put back from before a takeover, whose epoch is not to be given out again.
PUT_BACK = """
id: put-back
title: Put back
hypothesis: A copy is refused until it is accepted, and no epoch is given out twice.
tags: [test]
topology: {workers: 1, tasks: {pace: 1}}
timing: {ttl_seconds: 0.8, heartbeat_seconds: 0.2, node_seconds: 0.05, poll_seconds: 0.05}
faults:
  - {name: copy, do: snapshot, actor: store, after_seconds: 0.1}
  - {name: die, do: sigkill, at: step.begin, after: copy, back_after_seconds: 0.1}
  - {name: back, do: restore, actor: store, after: die, after_seconds: 0.5}
expect:
  takeovers: {at_least: 1}
  assertions: [C1, C3, C4, C7, C8, C11, C12, C13, V1]
"""


@pytest.mark.usefixtures("mark")
def test_an_older_copy_is_refused_until_it_is_accepted() -> None:
    """An older copy is refused until it is accepted."""
    done = perform_one(parse("put-back", PUT_BACK), ProcEngine(), 1)
    assert done.result.judgement is Judgement.PASS, done.result.reason
    assert done.performance is not None
    faults = done.performance.trial.faults or ()
    (back,) = (fact.observed for fact in faults if fact.name == "back")
    assert back[0].startswith("w-1 refused the copy")
    assert back[-1].startswith("accepted as of position ")


def test_what_cannot_be_done_is_said_in_words(baton: Command, postgres: PostgresServer) -> None:
    """On SQLite everything can."""
    engine, over = ProcEngine(), ProcEngine("postgresql://nowhere/")
    assert [one.id for one in every() if engine.supports(one)] == []
    refused = {one.id: over.supports(one) or "" for one in every() if over.supports(one)}
    assert set(refused) == {"S05", "T04", "U13"}
    assert refused["S05"].startswith("fault 'copy': PostgreSQL copies no")
    assert refused["T04"].startswith("fault 'step': store time is the server's own clock there")
    said = baton("scenario", "run", "T04", "--engine", "proc", "--store", postgres.url)
    assert said.code == 2
    assert "the server's own clock" in said.out
    assert "--engine proc" in said.err


def test_a_process_that_cannot_begin_is_an_error_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    """A process that cannot begin is an error with its last words."""
    del mark
    spec_of = ProcTrial._spec  # noqa: SLF001 - no scenario file can ask for it

    def strange(self: ProcTrial, worker: Worker) -> Spec:
        return replace(spec_of(self, worker), graphs=("strange",))

    monkeypatch.setattr(ProcTrial, "_spec", strange)
    done = perform_one(parse("many", MANY), ProcEngine(), 1)
    assert done.result.judgement is Judgement.ERROR
    assert "ended with 71; last words: KeyError: 'strange'" in done.result.reason


def test_a_replay_that_comes_to_something_else_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A replay that comes to something else is seen."""
    url = f"sqlite:///{tmp_path}/fleet.db"
    facts.control_of("sub", url)
    with open_fleet(url) as fleet:
        honest = facts.replays_of(fleet, ("sub-1",))
        assert [{*fact.replayed} == {fact.recorded} for fact in honest] == [True] * 4
        monkeypatch.setattr(graphs, "effect", lambda what: f"not {what}")
        odd = facts.replays_of(fleet, ("sub-1",))
    # By the rules something else comes out, and not from the recorded writes.
    assert [fact.replayed[0] == fact.recorded for fact in odd] == [False, False, False, True]
    assert [fact.replayed[1] == fact.recorded for fact in odd] == [True] * 4
