"""The release check: stages as data, run in their order, and a decision with the right reason."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import packets
from tests.support.runs import wait_until

from baton.domain.packet.derive import derived
from baton.domain.packet.layout import README
from baton.errors import BadInput, BadScenario
from baton.prove.packet.gathering import about_release, gathered

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from release_runner import Runner  # noqa: E402 - found by the line above, as the script finds it
from release_stages import Plan, load  # noqa: E402

#: What a release check does, with something small and real at the edge of each stage: each copies
#: evidence that the real engines made before, and ends as they would.
STAGES = """
version: "1.0.0"
parameters: {lint: "0"}
stages:
  - {id: environment, question: "?", run: ["true"], codes: plain, minutes: 1, stops: true}
  - {id: lint, question: "?", run: [sh, -c, exit $lint], codes: plain, minutes: 1}
  - id: scenarios
    question: Did they run?
    run: [cp, -r, MADE/scenarios, "{run}/scenarios"]
    codes: verdict
    leaves: [scenarios]
    judged_by: [SCENARIOS-SIM]
    minutes: 1
  - id: scenarios-proc
    question: Did they run?
    run: [cp, -r, MADE/scenarios-proc, "{run}/scenarios-proc"]
    codes: verdict
    leaves: [scenarios-proc]
    minutes: 1
  - id: soak
    question: Did it go on?
    run: [cp, -r, MADE/soak, "{run}/soak"]
    codes: verdict
    leaves: [soak]
    judged_by: [SOAK]
    minutes: 1
  - id: fleet
    question: Is it up?
    run: [sh, -c, "cp MADE/summary.json {run}/fleet.json; exec sleep 600"]
    codes: verdict
    leaves: [fleet.json]
    ready: {file: fleet.json, code: /exit_code}
    until: report
    minutes: 1
  - id: gate
    question: Did it decide?
    run: [sh, -c, "cp -r MADE/gate {run}/gate; echo asked $0", "{fleet:/places/prometheus}"]
    codes: verdict
    needs: [fleet]
    leaves: [gate]
    judged_by: [GATE]
    minutes: 1
    absent: the fleet has no Prometheus
  - id: report
    question: Was it made?
    run: [sh, -c, "cp -r MADE/report MADE/ledger.jsonl MADE/kill-matrix.json {run}"]
    codes: verdict
    needs: [fleet]
    leaves: [report, ledger.jsonl]
    minutes: 1
"""
UP = {"exit_code": 0, "places": {"prometheus": "http://127.0.0.1:1"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages copy; nobody writes to it."""
    made = packets.good_run(tmp_path_factory.mktemp("made") / "run")
    (made / "summary.json").write_text(json.dumps(UP))
    return made


@pytest.fixture
def edges(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return shutil.copytree(made, tmp_path / "made")


def plan_of(tmp_path: Path, made: Path, text: str = STAGES, **given: str) -> Plan:
    """The stages over what was made."""
    path = tmp_path / "stages.yaml"
    path.write_text(text.replace("MADE", str(made)))
    return load(path, given)


class Check:
    """A check that ran, and what a packet of it says."""

    def __init__(self, plan: Plan, run: Path, begun: tuple[dict[str, Any], ...] = ()) -> None:
        """Run it."""
        run.mkdir(exist_ok=True)
        self.entries = {one["stage"]: one for one in Runner(plan, run, ROOT, begun).run()}
        stages = [stage.id for stage in plan.stages]
        release = {**about_release(), "stages": stages}
        (run / "release.json").write_text(json.dumps(release))
        made = derived(gathered(run))
        self.decision = json.loads(made["decision.json"])
        self.page = made[README].decode()

    @property
    def against(self) -> dict[str, tuple[str, str]]:
        """Reason and detail of what does not pass."""
        return {one["id"]: (one["reason"], one["detail"]) for one in self.decision["against"]}


def sleepers(run: Path) -> list[int]:
    """Background processes that still work for a check."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"RELEASE_RUN={run}".encode() in place.read_bytes():
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run's folder by which its processes are known."""
    run = tmp_path / "run"
    monkeypatch.setenv("RELEASE_RUN", str(run))
    yield run
    assert [pid for pid in sleepers(run) if pid != os.getpid()] == []


def test_all_stages_in_order_lead_to_go(marked: Path, made: Path, tmp_path: Path) -> None:
    """With a log for machines; and no process is left."""
    check = Check(plan_of(tmp_path, made), marked)
    assert check.decision["decision"] == "GO", check.against
    lines = [json.loads(one) for one in (marked / "log.jsonl").read_text().splitlines()]
    order = ["environment", "lint", "scenarios", "scenarios-proc", "soak", "fleet", "gate"]
    assert [one["stage"] for one in lines] == [*order, "report"]
    assert [one["began"] for one in lines] == sorted(one["began"] for one in lines)
    gate = lines[6]
    assert gate["command"][-1] == "http://127.0.0.1:1"
    assert (marked / gate["output"]).read_text() == "asked http://127.0.0.1:1\n"
    assert (gate["exit_code"], gate["judged_by"]) == (0, ["GATE"])
    assert "# GO: Baton" in check.page


def test_no_prometheus_is_inconclusive(marked: Path, edges: Path, tmp_path: Path) -> None:
    """The gate is not asked, and that is said; the rest goes on."""
    (edges / "summary.json").write_text(json.dumps({"exit_code": 0, "places": {}}))
    check = Check(plan_of(tmp_path, edges), marked)
    assert check.decision["decision"] == "INCONCLUSIVE"
    assert check.against == {
        "STAGE-GATE": ("NOT_RUN", "the fleet has no Prometheus"),
        "GATE": ("NO_EVIDENCE", "no gate was asked: the fleet has no Prometheus"),
    }


def test_a_failing_scenario_is_no_go(marked: Path, edges: Path, tmp_path: Path) -> None:
    """Judged from its evidence, and the stages after it are run."""
    shutil.rmtree(edges / "scenarios")
    packets.scenarios(edges / "scenarios", "K01", fails=True)
    check = Check(plan_of(tmp_path, edges), marked)
    assert check.decision["decision"] == "NO-GO"
    assert list(check.against) == ["SCENARIOS-SIM"]
    assert "K01 FAIL: takeovers: 1, and 9 expected" in check.against["SCENARIOS-SIM"][1]
    assert check.entries["report"]["exit_code"] == 0


def test_a_soak_without_faults_is_inconclusive(marked: Path, edges: Path, tmp_path: Path) -> None:
    """It went on to its end, and showed nothing."""
    shutil.rmtree(edges / "soak")
    packets.soak(edges / "soak", fired=0)
    check = Check(plan_of(tmp_path, edges), marked)
    assert check.decision["decision"] == "INCONCLUSIVE"
    assert list(check.against) == ["SOAK"]
    assert check.against["SOAK"][1].startswith("no fault was seen to happen")


def test_a_criterion_without_data_is_inconclusive(
    marked: Path, edges: Path, tmp_path: Path
) -> None:
    """By the gate's own reason."""
    shutil.rmtree(edges / "gate")
    packets.gate(edges / "gate", (edges / "ledger.jsonl").read_bytes(), value=None)
    check = Check(plan_of(tmp_path, edges), marked)
    assert check.decision["decision"] == "INCONCLUSIVE"
    assert {one: reason for one, (reason, _) in check.against.items()} == {"COV-UP": "NO_DATA"}


def test_a_fleet_that_lost_something_is_no_go(marked: Path, edges: Path, tmp_path: Path) -> None:
    """Neither gate nor report is asked about it, and both say why."""
    (edges / "summary.json").write_text(json.dumps({**UP, "exit_code": 1}))
    check = Check(plan_of(tmp_path, edges), marked)
    assert check.decision["decision"] == "NO-GO"
    assert check.against["STAGE-FLEET"][0] == "STAGE_FAILED"
    assert check.against["STAGE-GATE"] == (
        "NOT_RUN",
        "not run: it needs fleet, which is FAIL: ",
    )


def test_what_makes_the_rest_meaningless_stops(marked: Path, made: Path, tmp_path: Path) -> None:
    """And what does not, does not."""
    plan = plan_of(tmp_path, made, lint="1")
    check = Check(plan, marked)
    assert check.decision["decision"] == "NO-GO"
    assert check.against["STAGE-LINT"][0] == "STAGE_FAILED"
    assert list(check.against) == ["STAGE-LINT"]
    other = tmp_path / "other"
    stopped = Check(plan_of(tmp_path, made, STAGES.replace('["true"]', '["false"]', 1)), other)
    codes = {name: one["exit_code"] for name, one in stopped.entries.items()}
    assert codes.pop("environment") == 1
    assert set(codes.values()) == {None}
    assert "environment did not pass" in stopped.entries["soak"]["why"]
    assert stopped.decision["decision"] == "NO-GO"


def test_a_stage_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    """With everything that it started."""
    text = """
version: "1.0.0"
stages:
  - {id: slow, question: "?", run: [sh, -c, "sleep 600 & wait"], codes: plain, minutes: 0.002}
  - {id: none, question: "?", run: [no-such-program], codes: plain, minutes: 1, absent: get it}
"""
    check = Check(plan_of(tmp_path, tmp_path, text), tmp_path / "run")
    assert check.against["STAGE-SLOW"] == ("NOT_RUN", "given up after 0.002 min")
    assert check.against["STAGE-NONE"] == ("NOT_RUN", "get it")


def test_what_passed_is_not_run_again(marked: Path, made: Path, tmp_path: Path) -> None:
    """But what rests on a process that is gone, and what did not pass."""
    first = Check(plan_of(tmp_path, made, lint="1"), marked)
    again = Check(plan_of(tmp_path, made), marked, tuple(first.entries.values()))
    same = {name for name, one in again.entries.items() if one == first.entries[name]}
    assert same == {"environment", "scenarios", "scenarios-proc", "soak"}
    assert again.decision["decision"] == "GO"


def test_an_interrupt_leaves_nothing_half_done(marked: Path, tmp_path: Path) -> None:
    """Neither a process nor an entry nor a packet; and --resume goes on from there."""
    text = """
version: "1.0.0"
parameters: {wait: "600"}
stages:
  - {id: one, question: "?", run: ["true"], codes: plain, minutes: 1}
  - {id: two, question: "?", run: [sh, -c, "touch {run}/on; sleep 600"], codes: plain, minutes: 9}
"""
    (tmp_path / "stages.yaml").write_text(text)
    command = [sys.executable, str(ROOT / "tools" / "release_check.py"), "--out", str(marked)]
    command += ["--stages", str(tmp_path / "stages.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until((marked / "on").exists, "the second stage has begun")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "go on with ARGS=--resume" in said
    (line,) = (marked / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["stage"] == "one"
    assert not (marked / "packet").exists()


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ("needs: [fleet]", "needs: [nobody]", BadScenario, "nobody"),
        ("id: soak", "id: lint", BadScenario, "twice"),
        ("codes: plain", "codes: plane", BadScenario, "did you mean 'plain'"),
        ("minutes: 1\n    absent", "minuets: 1\n    absent", BadScenario, "minutes"),
    ],
)
def test_stages_that_make_no_sense_are_refused(
    tmp_path: Path, old: str, new: str, error: type[Exception], says: str
) -> None:
    """In one line."""
    with pytest.raises(error) as refused:
        plan_of(tmp_path, tmp_path, STAGES.replace(old, new, 1))
    assert says in str(refused.value)
    with pytest.raises(BadInput, match="--set names 'nothing'"):
        plan_of(tmp_path, tmp_path, nothing="1")


def test_the_stages_that_ship_name_what_there_is() -> None:
    """Every criterion that judges a stage's evidence is one of a packet's, and files match."""
    plan = load(ROOT / "tools" / "release-check.yaml", {})
    ids = [stage.id for stage in plan.stages]
    assert ids.index("environment") == 0
    assert {
        "charter",
        "tests",
        "compat",
        "scenarios",
        "scenarios-proc",
        "soak",
        "fleet",
        "gate",
    } <= set(ids)
    known = {"SCENARIOS-SIM", "SCENARIOS-PROC", "SOAK", "KILL-MATRIX", "LEDGER", "CONTINUITY"}
    assert {name for stage in plan.stages for name in stage.judged_by} <= {*known, "GATE", "REPORT"}
