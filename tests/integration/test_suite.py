"""The test suite's own promises: marks by folder, and chaos tests never two at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = {
    "tests/unit/test_quick.py": "def test_quick(): pass",
    "tests/chaos/test_one.py": "def test_a(): pass\ndef test_b(): pass",
    "tests/chaos/test_two.py": "def test_c(): pass\ndef test_d(): pass",
}


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in ``folder`` with this project's settings and conftest."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def make_suite(folder: Path, suite: dict[str, str]) -> None:
    """Lay out ``suite`` in ``folder`` under this project's settings and conftest."""
    for name, source in suite.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    shutil.copytree(ROOT / "tests" / "support", folder / "tests" / "support")
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "render_charter.py", folder / "tools")


def test_chaos_tests_share_one_worker(tmp_path: Path) -> None:
    """Of two workers, one runs every chaos test, and the marks come from the folders."""
    make_suite(tmp_path, SUITE)
    done = run_pytest(tmp_path, "-n", "2", "-v", "-m", "chaos")
    passed = [line for line in done.stdout.splitlines() if "PASSED" in line]
    assert len(passed) == 4, done.stdout
    assert all("tests/chaos/" in line for line in passed)
    assert len({line.split()[0] for line in passed}) == 1, done.stdout


def test_a_test_outside_the_folders_is_refused(tmp_path: Path) -> None:
    """A test that nobody sorted by its cost does not run unseen."""
    make_suite(tmp_path, {"tests/test_stray.py": "def test_stray(): pass"})
    done = run_pytest(tmp_path)
    assert done.returncode == 4
    assert "tests live in one of unit, property, integration, chaos" in done.stderr
