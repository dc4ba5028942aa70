"""Make ``.venv`` ready, or see at a glance that it is: ``python tools/setup.py demo|dev|bench``.

``demo`` installs what Baton needs to run, ``dev`` also what its tests need, ``bench`` also what it
is measured beside. Standard library only, as this runs before anything is installed.

A marker in ``.venv`` says what stands there. It is written before the first change (unfinished)
and again after the last one, so that an interrupted run is known for what it is. What is
unfinished is built again from nothing, as pip believes the metadata that a killed pip left behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MARKER = VENV / "baton-setup.json"

#: What can be asked for; each includes the one before it.
LEVELS = ("demo", "dev", "bench")
EXTRAS = "postgres,dashboards,gates,trials"
LINES_OF_A_FAILURE = 20


@dataclass(frozen=True, slots=True)
class Marker:
    """What stands in ``.venv``.

    Attributes:
        level: one of ``LEVELS``.
        root: the checkout it was made in, as the path is written into every script.
        key: ``digest_of_inputs()`` at the time; None while unfinished.
    """

    level: str
    root: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The level to bring ``.venv`` to, and whether to empty it first."""

    level: str
    from_nothing: bool


def plan(standing: Marker | None, wanted: Marker, *, python_stands: bool) -> Plan | None:
    """Decide what ``.venv`` needs; None when it is ready.

    Args:
        standing: what the marker says; None where there is none, as in an environment that was
            made by hand, which is added to and never emptied.
        wanted: what the marker should say. A higher level that stands already is kept.
        python_stands: whether the environment's interpreter is there.
    """
    if standing is None:
        return Plan(wanted.level, from_nothing=False)
    level = max(wanted.level, standing.level, key=LEVELS.index)
    if standing.key is None or standing.root != wanted.root or not python_stands:
        return Plan(level, from_nothing=True)
    if standing == Marker(level, wanted.root, wanted.key):
        return None
    return Plan(level, from_nothing=False)


def digest_of_inputs() -> str:
    """Digest the files that decide what ``.venv`` should hold."""
    files = (ROOT / "pyproject.toml", Path(__file__))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def read_marker() -> Marker | None:
    """Read the marker; None where there is none, unfinished where it cannot be understood."""
    try:
        return Marker(**json.loads(MARKER.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return Marker(LEVELS[0], str(ROOT), None)


def write_marker(marker: Marker) -> None:
    """Replace the marker in one move, so that no reader sees half of it."""
    part = MARKER.with_suffix(".part")
    part.write_text(json.dumps(asdict(marker)))
    part.replace(MARKER)


def wait_for_turn() -> int:
    """Wait until no other set-up runs in this checkout, and return the lock that says so.

    The lock is the checkout's folder itself. What ``run`` starts inherits it: where this script is
    killed and its pip lives on, the next set-up waits until that pip has ended.
    """
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up of .venv is at work; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def empty() -> None:
    """Remove everything from ``.venv`` but the marker, which says that it is unfinished."""
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != MARKER:
            entry.unlink()


def run(lock: int, *module: str) -> None:
    """Run a module with the environment's Python, silently; on failure end with its last words."""
    done = subprocess.run(
        [PYTHON, "-m", *module],
        cwd=ROOT,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
        pass_fds=[lock],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-LINES_OF_A_FAILURE:])
        sys.exit(f"{tail}\nset-up: {module[0]} failed (above); the next make starts .venv afresh")


def build(todo: Plan, wanted: Marker, lock: int) -> None:
    """Carry out ``todo``, between the two writings of the marker."""
    VENV.mkdir(exist_ok=True)
    write_marker(replace(wanted, level=todo.level, key=None))
    if todo.from_nothing:
        say(".venv is unfinished, or was made elsewhere; starting afresh")
        empty()
    if not PYTHON.exists():
        say(f"making .venv with Python {platform.python_version()}")
        venv.EnvBuilder(symlinks=True).create(VENV)
        run(lock, "ensurepip", "--default-pip")
    if todo.level == "demo":
        say("installing Baton and LangGraph (once)")
        run(lock, "pip", "install", "--editable", ".")
    else:
        groups = LEVELS[1 : LEVELS.index(todo.level) + 1]
        say(f"installing Baton, its extras and its groups of tools: {', '.join(groups)} (once)")
        # Dependency groups need a newer pip than Python 3.11 brings.
        run(lock, "pip", "install", "--upgrade", "pip>=25.1")
        asked = [word for group in groups for word in ("--group", group)]
        run(lock, "pip", "install", "--editable", f".[{EXTRAS}]", *asked)
    write_marker(replace(wanted, level=todo.level))


def say(line: str) -> None:
    """Print one line of progress."""
    print(f"set-up: {line}", flush=True)


def main(level: str) -> None:
    """Make ``.venv`` ready for ``level``; silent and quick when it is."""
    wanted = Marker(level, str(ROOT), digest_of_inputs())
    if plan(read_marker(), wanted, python_stands=PYTHON.exists()) is None:
        return
    began = time.monotonic()
    lock = wait_for_turn()
    # Asked again, as the set-up that was waited for may have done it all.
    if todo := plan(read_marker(), wanted, python_stands=PYTHON.exists()):
        build(todo, wanted, lock)
    say(f".venv is ready, after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit("set-up: interrupted; the next make starts .venv afresh")
