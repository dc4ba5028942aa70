"""The image's recipe, as far as it can be tried without an engine: its files make the wheel."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.support.compose import IMAGE_FOLDER, ROOT

TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
LINES = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and line[0] != "#"]
STAGES = [number for number, (word, _) in enumerate(LINES) if word == "FROM"]
BUILD, FINAL = LINES[: STAGES[1]], LINES[STAGES[1] :]


def copied(stage: list[list[str]]) -> list[tuple[Path, str]]:
    """What a stage copies from the checkout, and where to."""
    words = [shlex.split(rest) for word, rest in stage if word == "COPY"]
    return [(ROOT / source, line[-1]) for line in words for source in line[:-1]]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the first stage builds, with what it has copied and nothing else."""
    folder = tmp_path_factory.mktemp("context")
    for source, target in copied(BUILD):
        if source.is_dir():
            shutil.copytree(source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / target / source.name)
    return folder


def test_the_wheel_builds_from_what_is_copied(context: Path, tmp_path: Path) -> None:
    """Without the rest of the checkout, and with all content in it."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"baton/__init__.py", "baton/assets/alerts/alertmanager.yaml"} <= names
    assert "baton/assets/dashboards/fleet.json" in names


def test_docker_is_given_what_is_copied_and_no_more() -> None:
    """.dockerignore shuts everything out and lets exactly that in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and line[0] != "#"]
    assert rules[0] == "*"
    let_in = {line[1:] for line in rules if line[0] == "!"}
    wanted = {str(source.relative_to(ROOT)) for source, _ in copied(BUILD) + copied(FINAL)}
    assert let_in == wanted


def test_the_scripts_of_compose_are_in_the_image() -> None:
    """Where docker-compose.yml calls them."""
    assert copied(FINAL) == [(ROOT / "deploy" / "baton", IMAGE_FOLDER.rstrip("/"))]
    called = re.findall(
        rf"(?<![.\w]){IMAGE_FOLDER}([\w.]+)", (ROOT / "docker-compose.yml").read_text()
    )
    assert set(called) == {path.name for path in (ROOT / "deploy" / "baton").iterdir()}


def test_it_is_pinned_and_runs_as_nobody_in_particular() -> None:
    """One base for both stages, by its number, and a user without rights."""
    bases = {LINES[number][1].split()[0] for number in STAGES}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())
    assert [rest for word, rest in FINAL if word == "USER"] == ["10001"]
