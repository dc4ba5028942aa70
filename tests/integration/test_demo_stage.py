"""What the demo stands on: processes that end, signals as a flag, folders, a real Prometheus."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.support.runs import wait_until

from baton.errors import BadInput, StoreUnreachable
from baton.fleet.fleet import open as open_fleet
from baton.fleet.process import ProcessIdentity, is_alive, is_stopped
from baton.prove.demo import prometheus as prom
from baton.prove.demo.cast import Cast, Process, free_port
from baton.prove.demo.folder import Folder
from baton.prove.demo.picture import Scenery
from baton.prove.demo.play import Options, perform
from baton.prove.demo.show import Show
from baton.prove.demo.stage import Interrupted, Interrupts, NotStarted, Settings, Stage
from baton.prove.demo.view import View

IDLE = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
DEAF = [*IDLE[:2], f"import signal; signal.signal(15, signal.SIG_IGN)\n{IDLE[2]}"]


@pytest.fixture
def cast(tmp_path: Path) -> Iterator[Cast]:
    """A cast that leaves nothing behind."""
    with Cast(tmp_path, {"MARK": "x"}) as cast:
        yield cast


def started(cast: Cast, name: str, command: list[str]) -> tuple[Process, ProcessIdentity]:
    """A process that has come as far as its signal handlers."""
    process = cast.start(name, command)
    wait_until(lambda: process.last_words() == "up", f"{name} is up")
    identity = ProcessIdentity.of(process.pid)
    assert identity is not None
    return process, identity


# Processes


def test_every_process_ends_even_a_stopped_one(cast: Cast) -> None:
    """Those that listen go by SIGTERM, and a frozen one wakes up for it."""
    running, first = started(cast, "running", IDLE)
    frozen, second = started(cast, "frozen", IDLE)
    frozen.send(signal.SIGSTOP)
    wait_until(lambda: is_stopped(second) is not False, "it stands still")
    cast.close()
    assert (is_alive(first), is_alive(second)) == (False, False)
    assert (running.exit_code, frozen.exit_code) == (-signal.SIGTERM, -signal.SIGTERM)


def test_a_process_that_will_not_end_is_killed(cast: Cast) -> None:
    """With its whole group; whoever is in a hurry waits for nobody."""
    deaf, _ = started(cast, "deaf", DEAF)
    cast.hurry()
    cast.close()
    assert deaf.exit_code == -signal.SIGKILL
    assert not deaf.send(signal.SIGTERM)


def test_an_exception_ends_them_too(tmp_path: Path) -> None:
    """Whatever happens in the block, nothing outlives it."""
    identities: list[ProcessIdentity] = []

    def fail() -> None:
        with Cast(tmp_path, {}) as cast:
            identities.append(started(cast, "running", IDLE)[1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [is_alive(identity) for identity in identities] == [False]


def test_processes_are_out_of_reach_of_the_terminal(cast: Cast) -> None:
    """Ctrl-C reaches the foreground group only, and theirs is their own."""
    process, _ = started(cast, "running", IDLE)
    assert os.getpgid(process.pid) == os.getsid(process.pid) == process.pid
    environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert b"MARK=x" in environment


# Signals


def test_signals_are_a_flag_and_are_given_back() -> None:
    """The first is noted, the second is a hurry, and afterwards all is as before."""
    before = signal.getsignal(signal.SIGTERM)
    hurried: list[int] = []
    with Interrupts() as interrupts:
        interrupts.on_repeat = lambda: hurried.append(interrupts.count)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: interrupts.count == 1, "the first signal")
        assert hurried == []
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: interrupts.count == 2, "the second signal")
        assert (hurried, interrupts.number) == ([2], signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored() -> None:
    """Under nohup the demo survives the end of its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert interrupts.count == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# Folders


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]


def test_a_temporary_folder_goes_unless_it_is_kept() -> None:
    """It goes with the demo, and stays if there is something to look into."""
    with Folder(None) as folder:
        (folder.path / "file").touch()
    assert not folder.path.exists()
    with Folder(None) as folder:
        folder.keep = True
    folder.path.rmdir()


def test_a_folder_that_was_asked_for_stays(tmp_path: Path) -> None:
    """With its parents; one that an error left empty does not."""
    wanted = tmp_path / "a" / "b"
    with Folder(wanted) as folder:
        (folder.path / "file").touch()
    assert (wanted / "file").exists()
    with pytest.raises(BadInput), Folder(tmp_path / "c"):
        raise BadInput(detail="whatever")
    assert not (tmp_path / "c").exists()


def test_a_folder_in_use_or_out_of_reach_is_bad_input(tmp_path: Path) -> None:
    """One line that names it, and nothing written."""
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is not empty; name a new folder"):
        Folder(tmp_path)
    with pytest.raises(BadInput, match="Not a directory; name another folder"):
        Folder(tmp_path / "file" / "below")
    assert names(tmp_path) == ["file"]


# Options


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (Options(workers=1), "--workers 1: from 2, as somebody has to take over, to 16"),
        (Options(workers=99), "--workers 99"),
        (Options(tasks=2), "--tasks 2: each of the 3 acts needs one"),
        (Options(store="fleet.db"), "is of neither form: sqlite:///fleet.db"),
    ],
)
def test_what_cannot_be_played_is_refused(
    options: Options, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and exit code 4, and no folder is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(BadInput, match=line) as caught:
        perform(options)
    assert caught.value.exit_code == 4
    assert names(tmp_path) == []


def test_a_store_out_of_reach_is_refused(tmp_path: Path) -> None:
    """The folder that was asked for is not left behind."""
    with pytest.raises(StoreUnreachable):
        perform(Options(store=f"sqlite:///{tmp_path}/none/fleet.db", out=tmp_path / "out"))
    assert names(tmp_path) == []


# The stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage with nobody on it."""
    settings = Settings(
        workers=2,
        tasks=3,
        store_url=f"sqlite:///{tmp_path / 'fleet.db'}",
        pool="demo",
        folder=tmp_path,
    )
    with ExitStack() as stack:
        yield Stage(
            settings=settings,
            fleet=stack.enter_context(open_fleet(settings.store_url)),
            show=stack.enter_context(Show(io.StringIO(), tmp_path / "timeline.txt")),
            cast=stack.enter_context(Cast(tmp_path, {})),
            view=View("demo"),
            scenery=Scenery(names={}, functions={}),
            interrupts=stack.enter_context(Interrupts()),
            headline="a trial",
        )


def timeline(stage: Stage) -> list[str]:
    """What was told so far, without its times."""
    lines = (stage.settings.folder / "timeline.txt").read_text().splitlines()
    return [line.partition(" s  ")[2] for line in lines]


def test_a_wait_ends_with_its_condition_or_its_deadline(stage: Stage) -> None:
    """And says aloud when it gave up."""
    assert stage.wait(lambda: True, "waiting for nothing")
    assert timeline(stage) == []
    assert not stage.wait(lambda: False, "waiting for ever", 0.0)
    assert timeline(stage) == ["gave up waiting for ever after 0 s"]


def test_a_wait_ends_with_a_signal(stage: Stage) -> None:
    """Ctrl-C is noticed at the next look."""
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted):
        stage.wait(lambda: False, "waiting for ever")


def test_the_ledger_is_told_once(stage: Stage) -> None:
    """Each event that matters is one line, however often one looks."""
    with stage.fleet.lease("t-1", pool="demo"):
        stage.read_ledger()
    stage.read_ledger()
    stage.read_ledger()
    told = timeline(stage)
    assert len(told) == len(set(told)) == 3
    assert told[-1] == "t-1 is done"


def test_without_a_prometheus_the_demo_says_so(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for on PATH and beside Python, and missed aloud."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert prom.find_program() is None
    stage.start_prometheus()
    assert stage.prometheus is None
    assert timeline(stage) == ["no Prometheus on PATH; the demo goes on without it"]
    assert stage.picture("").prometheus == "is not on PATH; the demo goes on without it"


def test_a_prometheus_that_fails_is_done_without(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last words are told."""
    fake = tmp_path / "prometheus"
    fake.write_text("#!/bin/sh\necho it is broken\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(prom, "find_program", lambda: str(fake))
    stage.exporter = "127.0.0.1:1"
    stage.start_prometheus()
    assert stage.prometheus is None
    assert "prometheus did not start: it is broken" in timeline(stage)[0]


def test_an_exporter_that_fails_ends_the_demo(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line with its last words and its log."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NotStarted, match=r"exporter did not start: .*exporter\.log"):
        stage.start_exporter()


def test_a_stranger_on_its_port_is_not_taken_for_prometheus(
    stage: Stage, prometheus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was there first answers as well; the port is given up, and another one tried."""
    stage.exporter = "127.0.0.1:1"
    folder = stage.settings.folder
    (config := folder / "stranger.json").write_text(prom.configuration(stage.exporter))
    stranger, free = prom.Prometheus(f"127.0.0.1:{free_port()}"), free_port()
    stage.cast.start(
        "stranger", prom.arguments(prometheus, config, folder / "theirs", stranger.address)
    )
    wait_until(partial(stranger.is_ready, folder / "theirs"), "the stranger answers")
    ports = iter((int(stranger.address.rpartition(":")[2]), free))
    monkeypatch.setattr("baton.prove.demo.stage.free_port", lambda: next(ports))
    stage.start_prometheus()
    assert stage.prometheus is not None
    assert stage.prometheus.address == f"127.0.0.1:{free}"


# Prometheus


def test_a_real_prometheus_understands_every_question(prometheus: str, tmp_path: Path) -> None:
    """The configuration is accepted, and each query is valid PromQL."""
    config = tmp_path / "prometheus.json"
    config.write_text(prom.configuration(f"127.0.0.1:{free_port()}"))
    address = f"127.0.0.1:{free_port()}"
    asked = prom.Prometheus(address)
    with Cast(tmp_path, {}) as cast:
        server = cast.start(
            "prometheus", prom.arguments(prometheus, config, tmp_path / "data", address)
        )
        wait_until(
            lambda: server.exit_code is not None or asked.is_ready(tmp_path / "data"),
            "Prometheus answers",
        )
        for question in prom.questions("demo"):
            assert question.tell(asked.ask(question.query)) == ""
        assert asked.ask("vector(2)") == [prom.Sample({}, 2.0)]
        with pytest.raises(OSError, match="parse error"):
            asked.ask("sum(")
    with pytest.raises(OSError, match="refused"):
        asked.ask("vector(2)")


def test_answers_are_told_in_words() -> None:
    """Series by their label, in the order of its values."""
    samples = [prom.Sample({"reason": "b"}, 2.0), prom.Sample({"reason": "a"}, 1.0)]
    by_words = {question.words: question for question in prom.questions("demo")}
    assert by_words["takeovers"].tell(samples) == "a 1, b 2"
    assert by_words["median takeover"].tell(samples) == "a 1.0 s, b 2.0 s"
    assert by_words["refused writes"].tell(samples[:1]) == "2"


def test_the_configuration_is_valid(promtool: str, tmp_path: Path) -> None:
    """By the word of Prometheus's own checker."""
    config = tmp_path / "prometheus.json"
    config.write_text(prom.configuration("127.0.0.1:1"))
    done = subprocess.run(
        [promtool, "check", "config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
