"""Every command of the runbook is run, on a store that is in the state in which one types it."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.test_cli_tasks import bring_to
from tests.support.command import Command
from tests.support.runs import wait_until

from baton.domain.words import Evidence, TaskState
from baton.fleet.model import Loss

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
COMMANDS = sorted(set(re.findall(r"^baton .+$", RUNBOOK, re.MULTILINE)))

#: The state of `t-1` in which a command is typed; any will do for the others.
STATES = {
    "baton tasks takeover t-1": TaskState.ACTIVE,
    "baton tasks retry t-1": TaskState.QUARANTINED,
    "baton tasks cancel t-1": TaskState.PENDING,
}

#: Run where there is a Prometheus, by tests/integration/test_dashboards_answer.py.
ELSEWHERE = {"baton gate --out gate-out"}

#: Typed when every worker has been stopped, as the page says; before that it is refused.
RESTORE = "baton store accept-restore"

#: Typed in a checkout, whose files it compares.
IN_A_CHECKOUT = {"baton render --check"}

#: It runs until it is told to end, so it is a process of its own.
LASTING = "baton exporter --listen 127.0.0.1:9464"


@pytest.fixture
def incident(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line of somebody whose fleet has lost a worker."""
    monkeypatch.setenv("BATON_STORE", command.url)
    return command


def fleet_with(command: Command, state: TaskState) -> None:
    """A fleet after a loss: a worker that died, a task taken over, and ``t-1`` in a state."""
    with command.house() as house:
        for each in (TaskState.DONE, TaskState.FAILED, TaskState.INTERRUPTED):
            bring_to(house, each, each.value)
        house.submit("lost")
        lost = house.session("w-1")
        claim = lost.claim()
        lost.put(claim)
        house.bury(lost)
        heir = house.session("w-2")
        heir.done(heir.claim())
        bring_to(house, state, "t-1")


def run(command: Command, line: str) -> None:
    """Type one line of the runbook, and hold it to an answer."""
    fleet_with(command, STATES.get(line, TaskState.ACTIVE))
    words = shlex.split(line)[1:]
    if line == RESTORE:
        with command.house() as house:
            for session in house.store.sessions.live():
                house.store.bury(Loss(session_id=session.spec.session_id, evidence=Evidence.PIDFD))
    said = command(*words)
    assert said.code == 0, (line, said)
    assert said.out or Path(words[words.index("--out") + 1]).exists(), line


@pytest.mark.parametrize("line", [one for one in COMMANDS if one not in {*ELSEWHERE, LASTING}])
def test_a_command_of_the_runbook_does_what_it_is_for(
    incident: Command, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """It ends well, and says something or has written what it was to write."""
    if line not in IN_A_CHECKOUT:
        run(incident, line)
        return
    monkeypatch.chdir(ROOT)
    assert incident(*shlex.split(line)[1:]).code == 0


def test_a_restore_is_accepted_by_nobody_else(incident: Command) -> None:
    """While workers run it is refused, and says whom to stop."""
    fleet_with(incident, TaskState.ACTIVE)
    assert RESTORE in COMMANDS
    assert "are running; stop them first" in incident(*shlex.split(RESTORE)[1:]).complaint


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("baton tasks takeover t-1", TaskState.PENDING),
        ("baton tasks retry t-1", TaskState.PENDING),
        ("baton tasks cancel t-1", TaskState.FAILED),
    ],
)
def test_what_acts_on_a_task_has_acted(incident: Command, line: str, state: TaskState) -> None:
    """And is in the ledger, as the page promises of such commands."""
    run(incident, line)
    task = json.loads(incident.on("tasks", "show", "t-1", "--json").out)
    assert task["state"] == state
    assert "operator_action" in {event["type"] for event in task["events"]}


def test_the_exporter_by_hand_serves_until_it_is_told_to_end(incident: Command) -> None:
    """On a free port here, where the page names the usual one."""
    words = shlex.split(LASTING.replace(":9464", ":0"))[1:]
    assert LASTING in COMMANDS
    fleet_with(incident, TaskState.ACTIVE)
    process = subprocess.Popen(
        [sys.executable, "-m", "baton", *words, "--store", incident.url],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "serving http://127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, "the exporter ends")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
