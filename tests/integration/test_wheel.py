"""The built wheel holds what it should, and runs without the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from baton import content

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """Run ``command`` and return what it printed; fail the test with its errors."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the hatchling that is installed here, so without any network."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", out, cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


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
