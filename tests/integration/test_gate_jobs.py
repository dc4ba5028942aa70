"""The release jobs of docs/gate.md: their YAML parses, and their commands do what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TOKEN = "not-told-to-any"  # noqa: S105 - of nobody
BLOCKS = [
    yaml.safe_load(text)
    for text in re.findall(r"```yaml\n(.+?)```", (ROOT / "docs" / "gate.md").read_text(), re.DOTALL)
]


def github() -> tuple[list[str], dict[str, Any]]:
    """The commands of the GitHub job, and the environment of the gate's step."""
    steps = BLOCKS[0]["jobs"]["gate"]["steps"]
    (gate,) = [step for step in steps if "release_gate.py" in step.get("run", "")]
    return [step["run"] for step in steps if "run" in step], gate["env"]


def gitlab() -> tuple[list[str], dict[str, Any]]:
    """The commands of the GitLab job, and its variables."""
    job = BLOCKS[1]["gate"]
    assert job["artifacts"]["reports"]["junit"] == "gate-out/junit.xml"
    return job["script"], job["variables"]


def test_the_command_of_both_jobs_runs(tmp_path: Path) -> None:
    """As it is written, against a server that is not there: 3, and the outputs are there."""
    lines = set()
    for job in (github, gitlab):
        commands, environment = job()
        lines |= {one for one in commands if "release_gate.py" in one}
        assert environment["BATON_PROMETHEUS"].startswith("https://")
        others = [one for one in commands if one.startswith("baton ")]
        assert others == [
            "baton scenario run --out evidence/scenarios",
            "baton compat --check --out evidence/compat.json",
        ]
    (line,) = lines
    words = shlex.split(line)
    assert words[:2] == ["python", "gates/release_gate.py"]
    (tmp_path / "evidence").mkdir()
    words[:2] = [sys.executable, str(ROOT / "gates" / "release_gate.py")]
    given = {"BATON_PROMETHEUS": "http://127.0.0.1:9", "BATON_PROMETHEUS_TOKEN": TOKEN}
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={**os.environ, **given, "BATON_STORE": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ERROR: ")
    summary = (tmp_path / "gate-out" / "DECISION.md").read_text()
    assert summary.startswith("# ERROR\n")
    assert (tmp_path / "gate-out" / "junit.xml").exists()
    assert TOKEN not in done.stdout + done.stderr + summary
