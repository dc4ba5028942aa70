"""``baton render``: the same bytes each time, and a name for each file that has drifted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.command import Command

from baton.observe import render
from baton.observe.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Everything that is rendered with no settings changed."""
    return render.rendered(Settings())


def test_nothing_in_the_checkout_has_drifted(files: dict[str, str]) -> None:
    """Rules, dashboards and pages are those of the code beside them."""
    assert render.drifted(files, ROOT) == []


def test_it_is_all_there_and_stable(files: dict[str, str]) -> None:
    """Sorted, ending in a line, and the same when it is rendered again."""
    assert list(files) == sorted(files)
    assert {name.partition("/")[0] for name in files} == {"alerts", "dashboards", "docs"}
    assert all(text.endswith("\n") for text in files.values())
    assert render.rendered(Settings()) == files


def test_written_files_are_checked_and_drift_is_named(command: Command, tmp_path: Path) -> None:
    """Missing, edited and left over: each file by its name, and exit 1."""
    out = tmp_path / "out"
    missing = command("render", "--check", "--out", str(out))
    assert missing.code == 1
    assert "alerts/alertmanager.yaml is missing\n" in missing.out
    assert not out.exists()
    written = command("render", "--out", str(out))
    assert (written.code, written.err) == (0, "")
    assert "files written below" in written.out
    assert command("render", "--check", "--out", str(out)).out == ""
    (out / "docs" / "alerts.md").write_text("mine")
    (out / "alerts" / "baton-records.rules.yaml").unlink()
    (out / "dashboards" / "old.json").write_text("{}")
    drifted = command("render", "--check", "--out", str(out))
    assert (drifted.code, drifted.out.splitlines()) == (
        1,
        [
            "alerts/baton-records.rules.yaml is missing",
            "dashboards/old.json is not rendered any more",
            "docs/alerts.md differs from what is rendered",
        ],
    )
    again = command("render", "--out", str(out))
    assert again.code == 0
    assert again.err == f"{out}/dashboards/old.json is not rendered any more; remove it\n"


def test_settings_are_rendered(command: Command, tmp_path: Path) -> None:
    """Other settings give other files, and the checkout's own are not touched."""
    (tmp_path / "mine.yaml").write_text("exporter_job: my-exporters\n")
    options = ("--config", str(tmp_path / "mine.yaml"), "--out", str(tmp_path))
    assert command("render", *options).code == 0
    assert "my-exporters" in (tmp_path / "alerts" / "baton-alerts.rules.yaml").read_text()
    assert command("render", "--check", *options).code == 0
    assert command("render", "--check", "--out", str(tmp_path)).code == 1


def test_bad_settings_write_nothing(command: Command, tmp_path: Path) -> None:
    """One line, exit 4."""
    (tmp_path / "mine.yaml").write_text("job: x\n")
    options = ("--config", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert "job is unknown" in command("render", *options).complaint
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(command: Command, tmp_path: Path) -> None:
    """One line, exit 4."""
    (tmp_path / "docs").write_text("a file")
    (tmp_path / "alerts").mkdir()
    said = command("render", "--out", str(tmp_path))
    assert said.code == 4
    assert f"cannot write {tmp_path}/docs/" in said.err


def test_without_grafanalib_it_says_what_to_install(tmp_path: Path) -> None:
    """It is an extra: whoever runs workers needs none of it."""
    script = f"""
import sys
sys.modules["grafanalib"] = None
from baton.cli import main
sys.exit(main(["render", "--out", {str(tmp_path)!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1
    assert "pip install 'langgraph-baton[dashboards]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_at_once(files: dict[str, str], tmp_path: Path) -> None:
    """No part of a file is left beside it, also over an older one."""
    render.write(files, tmp_path)
    render.write(files, tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == list(files)
    shutil.rmtree(tmp_path / "docs")
    assert render.drifted(files, tmp_path)
