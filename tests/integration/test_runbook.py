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

from baton.domain.words import TaskState

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

#: It runs until it is told to end, so it is a process of its own.
LASTING = "baton exporter --listen 127.0.0.1:9464"


@pytest.fixture
def incident(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A fleet after a loss: a worker that died, a task taken over, one of each trouble."""
    monkeypatch.setenv("BATON_STORE", command.url)
    with command.house() as house:
        for state in (TaskState.DONE, TaskState.FAILED, TaskState.INTERRUPTED):
            bring_to(house, state, state.value)
        house.submit("lost")
        lost = house.session("w-1")
        claim = lost.claim()
        lost.put(claim)
        house.bury(lost)
        heir = house.session("w-2")
        heir.done(heir.claim())
    return command


def run(command: Command, line: str) -> None:
    """Type one line of the runbook, and hold it to an answer."""
    with command.house() as house:
        bring_to(house, STATES.get(line, TaskState.ACTIVE), "t-1")
    said = command(*shlex.split(line)[1:])
    assert said.code == 0, (line, said)
    assert said.out + said.err, line


@pytest.mark.parametrize("line", [one for one in COMMANDS if one not in {*ELSEWHERE, LASTING}])
def test_a_command_of_the_runbook_does_what_it_is_for(incident: Command, line: str) -> None:
    """It ends well, and says something."""
    run(incident, line)


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
