"""``baton scenario``: verdicts, exit codes, evidence that is whole or not there."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.command import Command

from baton.domain.continuity.concluding import Judgement
from baton.domain.packet.reading import Evidence
from baton.domain.packet.trials import shown
from baton.fleet import sqlite_write
from baton.prove.scenarios.library import every, folder


@pytest.fixture
def baton(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """``baton``."""
    return Command(capsys, tmp_path)


def test_list_names_every_scenario(baton: Command) -> None:
    """List names every scenario."""
    said = baton("scenario", "list")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == [one.id for one in every()]
    tagged = json.loads(baton("scenario", "list", "--tag", "zombie", "--json").out)
    assert {one["id"] for one in tagged} == {
        *("Z01", "Z02", "Z03", "Z04", "Z05", "Z06"),
        *("U09", "U10", "U12"),
    }
    assert all(one["refused_by_sim"] is None for one in tagged)


def test_run_leaves_evidence(baton: Command, tmp_path: Path) -> None:
    """Run leaves evidence."""
    out = tmp_path / "out"
    said = baton("scenario", "run", "K01", "Z01", "--out", str(out))
    assert (said.code, said.out.splitlines()[-1]) == (0, "2 PASS")
    assert sorted(path.name for path in out.iterdir()) == [
        "K01",
        "Z01",
        "environment.json",
        "summary.json",
    ]
    (fault,) = json.loads((out / "K01/faults.json").read_text())
    assert fault["fired"] == 1
    assert "ended by signal 9" in fault["observed"][0]
    verdicts = json.loads((out / "K01/result.json").read_text())
    assert verdicts["judgement"] == "PASS"
    assert {one["assertion"] for one in verdicts["assertions"] if one["asked"]} >= {"C1", "V1"}
    assert (out / "K01/scenario.yaml").read_bytes() == (folder() / "K01.yaml").read_bytes()
    # The ledger that is kept can be judged again by the command that judges any ledger.
    again = baton("ledger", "verify", "--ledger", str(out / "K01/ledger.jsonl"))
    assert again.code == 0, again


def packed(out: Path) -> Iterator[tuple[str, bytes]]:
    """The evidence of a run as a packet has it."""
    for path in sorted(out.rglob("*.*")):
        name = f"scenarios/{path.relative_to(out)}"
        top = path.parent == out
        yield (
            (name, path.read_bytes())
            if top
            else (
                f"{name}.gz",
                gzip.compress(path.read_bytes()),
            )
        )


@pytest.mark.timeout(240)
def test_what_the_stock_saver_drops_and_doubles_is_told_beside(
    baton: Command, tmp_path: Path
) -> None:
    """What the stock saver drops and doubles is told beside what the fenced one does not."""
    out = tmp_path / "out"
    said = baton("scenario", "run", "K02", "K04", "H01", "--out", str(out))
    assert (said.code, said.out.splitlines()[-1]) == (0, "3 PASS")
    # A packet comes to the same from what was kept; H01 has tasks of two digits.
    again = shown(Evidence(dict(packed(out))), "scenarios")
    assert [(one.id, one.judgement, one.differs) for one in again] == [
        (name, Judgement.PASS, "") for name in ("K02", "K04", "H01")
    ]
    told = {}
    for name in ("K02", "K04"):
        result = json.loads((out / name / "result.json").read_text())
        fenced = {one["assertion"]: one["outcome"] for one in result["assertions"]}
        # Accepted and never absent, and no effect twice.
        assert [fenced["C2"], fenced["C8"]] == ["pass", "pass"]
        told[name] = [one for one in result["expectations"] if "stock saver" in one["name"]]
    assert told == {
        "K02": [
            {
                "name": "langgraph#8764 on the stock saver",
                "met": True,
                "text": "shows: after a death before the first checkpoint the successor found"
                " nothing to go on with",
            }
        ],
        "K04": [
            {
                "name": "langgraph#8039 on the stock saver",
                "met": True,
                "text": "shows: of a step that died before its checkpoint, effects: 1 if its"
                " writes came first, 2 if they were late",
            }
        ],
    }


def test_json_says_the_same(baton: Command) -> None:
    """Json says the same."""
    said = baton("scenario", "run", "K01", "--seed", "3", "--json")
    told = json.loads(said.out)
    assert told["judgement"] == "PASS"
    assert [(one["id"], one["seed"]) for one in told["scenarios"]] == [("K01", 3)]
    assert said.err == ""


def test_a_failure_says_how_to_see_it_again(
    baton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure says how to see it again."""
    monkeypatch.setattr(sqlite_write.SqliteWrite, "fence_only", lambda self, key: None)  # noqa: ARG005
    monkeypatch.setattr(
        sqlite_write.SqliteWrite, "fence", lambda self, key: self.head(f"task:{key.task_id}")
    )
    said = baton("scenario", "run", "Z02", "--seed", "4")
    assert said.code == 1
    assert said.err == "replay Z02: baton scenario run Z02 --seed 4\n"
    out = tmp_path / "swarm"
    swarm = baton("scenario", "run", "--swarm", "1", "--seed", "22", "--out", str(out))
    assert swarm.code == 1
    command = swarm.err.splitlines()[0].partition(": ")[2].split()
    assert command[:3] == ["baton", "scenario", "replay"]
    assert Path(command[3]).name == "shrunk.yaml"
    again = baton(*command[1:])
    assert again.code == 1


def test_exit_2_if_nothing_was_shown(baton: Command, tmp_path: Path) -> None:
    """Exit 2 if nothing was shown."""
    text = (folder() / "K01.yaml").read_text().replace("nth: 2", "nth: 99")
    (tmp_path / "K01.yaml").write_text(text)
    said = baton("scenario", "replay", str(tmp_path / "K01.yaml"))
    assert said.code == 2
    assert "INCONCLUSIVE" in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "K99"), "no scenario 'K99'"),
        (("run", "K01", "--tag", "risk"), "give IDs or --tag, and not both"),
        (("run", "--swarm", "2"), "--swarm keeps what fails: give --out DIR as well"),
        (("run", "--swarm", "0"), "not a whole number above 0"),
        (("replay", "none.yaml"), "cannot read none.yaml"),
        (("list", "--tag", "lunch"), "no scenario has the tags lunch"),
    ],
)
def test_bad_input_is_one_line(baton: Command, words: tuple[str, ...], said: str) -> None:
    """Bad input is one line."""
    assert said in baton("scenario", *words).complaint


def test_a_broken_file_is_named_by_line(baton: Command, tmp_path: Path) -> None:
    """A broken file is named by line."""
    broken = tmp_path / "K01.yaml"
    broken.write_text((folder() / "K01.yaml").read_text().replace("sigkill", "sigkilled"))
    out = tmp_path / "out"
    complaint = baton("scenario", "replay", str(broken), "--out", str(out)).complaint
    assert f"{broken}:11: do is 'sigkilled'" in complaint
    assert not out.exists()


def test_a_folder_with_something_in_it_is_left_alone(baton: Command, tmp_path: Path) -> None:
    """A folder with something in it is left alone."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    complaint = baton("scenario", "run", "K01", "--out", str(out)).complaint
    assert "is not empty; name a new folder" in complaint
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "mine").read_text() == "keep"
    shutil.rmtree(out)
    out.mkdir()
    assert baton("scenario", "run", "K01", "--out", str(out)).code == 0


def test_a_full_disk_leaves_nothing(
    baton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves nothing."""
    write = Path.write_text

    def full(self: Path, text: str, **more: Any) -> int:
        if self.name == "summary.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, **more)

    monkeypatch.setattr(Path, "write_text", full)
    complaint = baton("scenario", "run", "K01", "--out", str(tmp_path / "out")).complaint
    assert complaint.endswith("out: No space left on device")
    assert list(tmp_path.iterdir()) == []


# Drills

FORMS = Path(__file__).parents[2] / "docs" / "drills"


def test_a_drill_fills_its_form(command: Command, tmp_path: Path) -> None:
    """With what was performed, its log, its checklists and its times; the rest stays open."""
    out = tmp_path / "out"
    form = FORMS / "kill-a-worker.md"
    said = command("scenario", "run", "--drill", str(form), "--out", str(out))
    assert said.code == 0, said
    page = (out / "K01" / "drill.md").read_text()
    assert "<!--" not in page
    assert "| scenario | K01: SIGKILL in the middle of a step |" in page
    assert "| engine, seed | sim, 1 |" in page
    assert "| verdict | PASS |" in page
    assert "took over chain-1" in page
    ledger = hashlib.sha256((out / "K01" / "ledger.jsonl").read_bytes()).hexdigest()
    assert f"| ledger.jsonl | yes | `{ledger}` |" in page
    assert "| takeover of chain-1, epoch 2 | crashed: detect " in page
    # Nobody evaluates alerts in virtual time, and a drill does not take that for silence.
    assert "| alerts as expected | 0 of 1 |" in page
    assert "| alerts.json is not there | fleet owner |" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--drill keeps the filled form: give --out DIR as well"),
        (("--out", "out", "K02"), "performs K01, and nothing else"),
        (("--out", "out", "--swarm", "3"), "performs K01, and nothing else"),
        (("--out", "out", "--tag", "risk"), "performs K01, and nothing else"),
    ],
)
def test_a_drill_is_its_scenario(
    command: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    """And nothing is performed under another's form."""
    form = str(FORMS / "kill-a-worker.md")
    assert said in command("scenario", "run", "--drill", form, *words).complaint
    assert not (tmp_path / "out").exists()
