"""The house style, held by tests. Each rule is shown to catch a planted offence."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "exporter"

MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70

#: Imports only point to a lower number or the same. The package itself, whose public names come
#: from fleet, is what any user imports, so the bands above may import it too.
BANDS = {
    "bubbling": 0,
    "errors": 0,
    "content": 0,
    "domain": 0,
    "fleet": 1,
    "": 2,
    "observe": 2,
    "prove": 3,
    "cli": 4,
    "__main__": 4,
}

#: What reads or changes the world, or differs from run to run.
IMPURE_MODULES = frozenset(
    {
        *("asyncio", "ctypes", "fcntl", "glob", "http", "importlib", "io", "logging", "mmap"),
        *(
            "multiprocessing",
            "os",
            "pathlib",
            "platform",
            "random",
            "resource",
            "secrets",
            "select",
        ),
        *("selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys"),
        *("tempfile", "threading", "time", "urllib", "uuid", "warnings"),
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint", "eval", "exec"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})

#: Each of these is imported by one module at most, so that it can be replaced in one place.
FENCED = ("grafanalib", "requests", "psycopg")

REGISTRY_HOST = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.org|deb\.debian\.org|archive\.ubuntu\.com"
    r"|docker\.io|ghcr\.io|quay\.io)\b"
)
HOME_FOLDER = re.compile(r"(?<![\w.])/(?:home|Users|root)/\w")


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its text and its syntax tree."""

    name: str
    text: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    def parse(cls, name: str, text: str, *, is_package: bool = False) -> Module:
        """Parse ``text``; also how the offences below are planted."""
        return cls(name, text, ast.parse(text), is_package)

    @property
    def band(self) -> str:
        """The first part of the name below ``baton``; empty for the package itself."""
        return [*self.name.split("."), ""][1]


def load(file: Path, base: Path) -> Module:
    """Parse the module at ``file``, named by its place under ``base``."""
    parts = list(file.relative_to(base).with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module.parse(name, file.read_text(), is_package=is_package)


MODULES = [load(file, SOURCE) for file in sorted((SOURCE / "baton").rglob("*.py"))]
NAMES = frozenset(module.name for module in MODULES)
TEST_MODULES = [load(file, ROOT) for file in sorted((ROOT / "tests").rglob("*.py"))]


def imports(module: Module, known: Iterable[str] = NAMES) -> Iterator[str]:
    """Name every module that ``module`` imports, anywhere in it; ``known`` are Baton's own."""
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in known else base


# The rules: each takes a module and yields what offends in it.


def no_docstring(module: Module) -> Iterator[str]:
    """Every module says what it is about."""
    if not ast.get_docstring(module.tree):
        yield f"{module.name} has no docstring"


def too_long(module: Module) -> Iterator[str]:
    """A module holds one idea, and a function can be seen whole."""
    if (lines := len(module.text.splitlines())) > MODULE_LINES_MAX:
        yield f"{module.name} has {lines} lines"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.name}.{node.name} has {lines} lines"


def imports_a_higher_band(module: Module, known: Iterable[str] = NAMES) -> Iterator[str]:
    """Imports only point up the list of bands."""
    if module.band not in BANDS:
        yield f"{module.name} belongs to no band"
        return
    for name in imports(module, known):
        top, _, below = name.partition(".")
        band = below.partition(".")[0]
        if top == "baton" and BANDS.get(band, 0) > BANDS[module.band]:
            yield f"{module.name} imports {name}"


def impure(module: Module) -> Iterator[str]:
    """The domain is pure: standard library only, no I/O, no clock, no randomness."""
    if module.band != "domain":
        return
    for name in imports(module):
        top = name.partition(".")[0]
        if name == "baton.domain" or name.startswith("baton.domain."):
            continue
        if top not in sys.stdlib_module_names or top in IMPURE_MODULES:
            yield f"{module.name} imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in IMPURE_CALLS:
            yield f"{module.name} calls {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr in CLOCK_METHODS:
            yield f"{module.name} reads the clock by .{node.attr}"


def sleeps(module: Module) -> Iterator[str]:
    """A test waits for a condition with a deadline, never for a length of time."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                yield f"{module.name}:{node.lineno} sleeps"
            case ast.ImportFrom(module="time", names=all_) if "sleep" in {a.name for a in all_}:
                yield f"{module.name}:{node.lineno} imports sleep"


def found(rule: object, modules: Iterable[Module]) -> list[str]:
    """Apply ``rule`` to each module and collect what offends."""
    assert callable(rule)
    return [offence for module in modules for offence in rule(module)]


RULES = (no_docstring, too_long, imports_a_higher_band, impure)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: object) -> None:
    """No module of Baton offends against a rule above."""
    assert MODULES, "no modules were found, so nothing was checked"
    assert found(rule, MODULES) == []


def test_no_test_sleeps() -> None:
    """No test waits for a length of time."""
    assert found(sleeps, TEST_MODULES) == []


PLANTED = [
    (no_docstring, "baton.fleet.x", "import os"),
    (too_long, "baton.fleet.x", "\n" * (MODULE_LINES_MAX + 1)),
    (too_long, "baton.fleet.x", "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX),
    (imports_a_higher_band, "baton.domain.x", "from baton.fleet import store"),
    (imports_a_higher_band, "baton.fleet.x", "def f():\n    import baton.observe.report"),
    (imports_a_higher_band, "baton.fleet.x", "from ..prove import gate"),
    (imports_a_higher_band, "baton.fleet.x", "import baton"),
    (imports_a_higher_band, "baton.errors", "from baton.fleet.store import Store"),
    (imports_a_higher_band, "baton.newcomer", ""),
    (impure, "baton.domain.x", "import time"),
    (impure, "baton.domain.x", "from os import path"),
    (impure, "baton.domain.x", "import langgraph"),
    (impure, "baton.domain.x", "from baton.errors import BatonError"),
    (impure, "baton.domain.x", "from datetime import datetime\nat = datetime.now()"),
    (impure, "baton.domain.x", "text = open('a').read()"),
    (sleeps, "tests.unit.test_x", "import time\ntime.sleep(1)"),
    (sleeps, "tests.unit.test_x", "from time import monotonic, sleep"),
]


@pytest.mark.parametrize(("rule", "name", "text"), PLANTED)
def test_each_rule_catches_its_offence(rule: object, name: str, text: str) -> None:
    """A rule that cannot fail holds nothing."""
    assert found(rule, [Module.parse(name, text)])


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (imports_a_higher_band, "baton.prove.x", "import baton\nfrom baton.domain import words"),
        (impure, "baton.domain.x", "import hashlib\nfrom baton.domain.words import TaskState"),
        (impure, "baton.fleet.x", "import time"),
        (sleeps, "tests.unit.test_x", "import asyncio\nasync def f(): await asyncio.sleep(0)"),
    ],
)
def test_the_rules_leave_good_code_alone(rule: object, name: str, text: str) -> None:
    """Nor does a rule that always fails."""
    assert found(rule, [Module.parse(name, text)]) == []


def importers(library: str, modules: Iterable[Module]) -> list[str]:
    """Name the modules that import ``library``."""
    return [
        module.name
        for module in modules
        if any(name.partition(".")[0] == library for name in imports(module))
    ]


@pytest.mark.parametrize("library", FENCED)
def test_fenced_libraries_have_one_importer(library: str) -> None:
    """Each of these can be replaced by rewriting one module."""
    assert len(importers(library, MODULES)) <= 1
    planted = (f"import {library}.x", f"from {library} import y", "import json")
    assert importers(library, [Module.parse("x", text) for text in planted]) == ["x", "x"]


def ignores_without_reason(pyproject: str) -> list[str]:
    """Name the lint rules that are ignored without a comment beside them."""
    lint = tomllib.loads(pyproject)["tool"]["ruff"]["lint"]
    codes = [*lint["ignore"], *(c for codes in lint["per-file-ignores"].values() for c in codes)]
    reasoned = set(re.findall(r'^\s*"(\w+)",?\s+# \w', pyproject, re.MULTILINE))
    return [code for code in codes if code not in reasoned]


def test_every_lint_ignore_has_its_reason() -> None:
    """An ignore without a reason cannot be judged, so it cannot be removed."""
    assert ignores_without_reason((ROOT / "pyproject.toml").read_text()) == []
    planted = """[tool.ruff.lint]
        ignore = [
            "A1", # why
            "B2",
        ]
        per-file-ignores = {x = ["C3"]}
    """
    assert ignores_without_reason(planted) == ["B2", "C3"]


def test_missing_types_are_never_ignored_everywhere() -> None:
    """One global switch would turn every unresolved import into Any and hide real errors."""
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert mypy["strict"] is True
    assert "ignore_missing_imports" not in mypy


def strange_places(text: str, checkout: Path, home: Path) -> list[str]:
    """Name what in ``text`` is true only of the machine it was written on, or of its registries."""
    common = (Path("/"), Path(tempfile.gettempdir()))
    places = [f"{place}/" for place in (checkout, checkout.parent, home) if place not in common]
    return [
        *(place for place in places if place in text),
        *HOME_FOLDER.findall(text),
        *REGISTRY_HOST.findall(text),
    ]


def project_files() -> list[Path]:
    """List the files that are in git or would be added to it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [file for name in listed.stdout.split("\0") if name and (file := ROOT / name).is_file()]


def test_no_file_names_this_machine_or_a_registry() -> None:
    """What works only here, or only with one registry, does not belong in the repository."""
    files = project_files()
    assert files
    strange = {
        str(file.relative_to(ROOT)): places
        for file in files
        if (places := strange_places(file.read_text(errors="ignore"), ROOT, Path.home()))
    }
    assert strange == {}


@pytest.mark.parametrize(
    "text",
    [
        "see /srv/ci/notes.txt",
        "see /srv/ci/clone/README.md",
        "cd /var/people/ann/x",
        "cd /{}/ann/x".format("home"),
        "from https://{}.org/simple".format("pypi"),
    ],
)
def test_strange_places_are_caught(text: str) -> None:
    """Paths of the checkout, of its surroundings and of any home, and registries' hosts."""
    assert strange_places(text, Path("/srv/ci/clone"), Path("/var/people/ann"))


def test_ordinary_places_pass() -> None:
    """Paths that mean the same on every machine are no offence."""
    text = "#!/usr/bin/env bash; sqlite:////var/lib/baton/fleet.db; /tmp/out; docs/home/x"
    assert strange_places(text, Path(tempfile.gettempdir(), "clone"), Path("/var/people/ann")) == []


def test_ci_runs_the_command_that_the_readme_gives() -> None:
    """What a reader is told to run is what a release must pass."""
    command = "make test"
    assert re.search(rf"^{command}\b", (ROOT / "README.md").read_text(), re.MULTILINE)
    ci = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line[:1] != "#"]
    assert ci[-1] == f"exec {command}"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
