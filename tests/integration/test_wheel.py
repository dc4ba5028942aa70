"""The sdist holds what a wheel is built from; that wheel holds what it should, and runs alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from baton import content

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run ``command`` and return what it printed; fail the test with its errors."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(target: str, source: Path, out: Path) -> Path:
    """Build with the hatchling that is installed here, so without any network."""
    out.mkdir()
    run(sys.executable, "-m", "hatchling", "build", "--target", target, "-d", out, cwd=source)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder / "built")) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.glob("langgraph_baton-*")
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as whoever has the sdist alone builds it."""
    return build("wheel", sdist, tmp_path_factory.mktemp("wheel") / "built")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it, which borrows only the dependencies from ours."""
    home = tmp_path_factory.mktemp("installed")
    venv.EnvBuilder(symlinks=True).create(home)
    pip = (sys.executable, "-m", "pip", "--python", home, "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=home)
    site = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    # Behind its own packages on sys.path; and .pth files in a folder added like this are not read,
    # so our editable install of the checkout stays out.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home


def test_the_wheel_holds_the_package_and_its_content_alone(wheel: Path) -> None:
    """Nothing but ``baton/`` lands in site-packages: no tests, and no content at the top level."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "baton",
        "langgraph_baton-1.2.0.dist-info",
    }
    assert not [name for name in names if "test_" in name or "__pycache__" in name]
    assert "baton/py.typed" in names


def test_all_content_is_in_the_wheel(wheel: Path) -> None:
    """Each file of each content folder ships, byte for byte."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = {
            name.removeprefix("baton/assets/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("baton/assets/")
        }
    here = {
        str(file.relative_to(ROOT)): file.read_bytes()
        for folder in content.FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert shipped == here


def test_the_installed_package_reads_its_own_content(installed: Path) -> None:
    """Neither the code nor the content comes from the checkout."""
    printed = run(
        installed / "bin" / "python",
        "-c",
        "import baton.content as c; print(c.__file__); print(c.root())",
        cwd=installed,
    )
    module, assets = (Path(line) for line in printed.splitlines())
    assert module.is_relative_to(installed)
    assert assets == module.parent / "assets"


def test_the_installed_command_runs(installed: Path) -> None:
    """``baton --help`` works where no checkout and no development tool is."""
    assert "usage: baton" in run(installed / "bin" / "baton", "--help", cwd=installed)


def test_the_sdist_makes_the_wheel_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Nothing is missing from it: the two wheels hold the same files."""
    ours = zipfile.ZipFile(build("wheel", ROOT, tmp_path / "built"))
    theirs = zipfile.ZipFile(wheel)
    assert sorted(theirs.namelist()) == sorted(ours.namelist())
    assert [name for name in ours.namelist() if ours.read(name) != theirs.read(name)] == []


@pytest.mark.timeout(180)
def test_the_demo_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    """It loses workers and nothing else; without a Prometheus at hand it says so and goes on."""
    away = f"{installed / 'bin'}:/usr/bin:/bin"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = ("--once", "--workers", "2", "--tasks", "3", "--out", str(tmp_path / "out"))
    printed = run(
        installed / "bin" / "baton", "demo", *words, cwd=tmp_path, env={**kept, "PATH": away}
    )
    assert (tmp_path / "out" / "summary.json").is_file()
    missing = shutil.which("prometheus", path=away) is None
    assert ("no Prometheus" in printed) == missing
