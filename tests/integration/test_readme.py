"""The README's examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.runs import in_a_row, says

import baton

README = Path(__file__).parents[2] / "README.md"


def block(heading: str, language: str) -> str:
    """The first code block of a language under a heading."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None, f"no {language} block under {heading}"
    return found[1]


def test_a_fleet_in_five_commands(tmp_path: Path) -> None:
    """Submit, work, look: the shell block under its heading, line by line."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    script = "set -e\n" + block("Run graphs on a fleet", "sh")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert "t-1" in done.stdout
    assert "done" in done.stdout


def test_adopting_just_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python block, with a graph and an input of ours."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"builder": in_a_row(a=says("a")), "value": {"seen": []}}
    exec(block("Adopt just the lease", "python"), names)  # noqa: S102 - our own README
    fleet = names["fleet"]
    assert fleet.task("thread-42").state == "done"
    fleet.close()


def test_an_effect_with_its_key(tmp_path: Path) -> None:
    """The node of the README charges once, and passes the key on."""
    charged: list[tuple[str, str]] = []

    def charge(order: str, key: str) -> str:
        charged.append((order, key))
        return "receipt"

    names: dict[str, Any] = {"baton": baton, "charge": charge}
    exec(block("Effects", "python"), names)  # noqa: S102 - our own README

    def node(state: Any) -> dict[str, list[str]]:
        del state
        return {"seen": [names["send_invoice"]({"order": "o-1"})["receipt"]]}

    with baton.open(f"sqlite:///{tmp_path / 'fleet.db'}") as fleet, fleet.lease("t") as lease:
        graph = fleet.attach(in_a_row(pay=node))
        output = graph.invoke({"seen": []}, lease.config, durability="sync")
    assert output == {"seen": ["receipt"]}
    ((order, key),) = charged
    assert order == "o-1"
    assert re.fullmatch("[0-9a-f]{64}", key)
