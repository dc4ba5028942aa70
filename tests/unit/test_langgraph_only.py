"""LangGraph is the only orchestration runtime: a policy check over every text of the checkout.

`findings(path, text)` is the check; it knows no file system. Command line help is covered where it
is written, in the source.
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SPEC = "specs/005-v1-2-reliability-operator-experience"
PLAN = f"{SPEC}/rollout-plan.md"
THIS = "tests/unit/test_langgraph_only.py"

Place = tuple[int, str]
"""A line number and what stands there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that breaks the policy; rule is dependency, switch or wording."""

    path: str
    line: int
    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """A file in which findings of some rules break nothing, and why."""

    path: str
    rules: tuple[str, ...]
    reason: str


ALLOWED = (
    Allowed(f"{SPEC}/charter.yaml", ("wording",), "states the rule, so it names what is absent"),
    Allowed(
        f"{SPEC}/guardrail-charter-acceptance-matrix.md",
        ("wording",),
        "is rendered from charter.yaml",
    ),
    Allowed("tests/data/README.md", ("wording",), "names an option of npm's as npm spells it"),
    Allowed(THIS, ("dependency", "switch", "wording"), "holds the patterns and planted violations"),
)


def findings(path: str, text: str) -> list[Finding]:
    """Return every place in text that breaks the policy, in order of rule and line.

    `path` is relative to the checkout; its name and suffix decide which forms are looked for.
    """
    found = {
        Finding(path, line, rule, what)
        for rule, look in RULES.items()
        for line, what in look(path, text)
    }
    return sorted(found, key=lambda each: (each.rule, each.line, each.text))


#: What the rules look at.
_KINDS = (ast.Module, ast.Import, ast.ImportFrom, ast.Call, ast.Constant)


@lru_cache(maxsize=1)  # the rules look at one text after another
def _nodes(text: str) -> tuple[ast.AST, ...]:
    return tuple(node for node in ast.walk(ast.parse(text)) if isinstance(node, _KINDS))


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[Place]:
    for match in pattern.finditer(text):
        yield _line(text, match.start()), " ".join(match[0].split())


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


# -- dependency --

MODULES = {
    *("celery", "temporalio", "prefect", "dagster", "airflow", "dbos", "crewai", "autogen"),
    *("pyautogen", "ray", "dramatiq", "rq", "huey", "luigi", "burr", "procrastinate"),
    *("taskiq", "arq", "metaflow", "kedro", "flytekit", "restate", "hatchet_sdk", "inngest"),
    *("llama_index", "haystack", "semantic_kernel", "pydantic_graph", "smolagents", "agno"),
}
# Distributions and images whose name differs from the module's.
PRODUCTS = MODULES | {"ag2", "temporal", "rayproject", "restate_sdk", "hatchet", "farm_haystack"}

_PRODUCT = rf"(?<![a-z])(?:{'|'.join(name.replace('_', '[-_]') for name in sorted(PRODUCTS))})"
_INSTALL = r"\b(?:pip3?|pipx|uv|poetry|conda)[ ](?:pip[ ])?(?:install|add)\b"
INSTALLS = re.compile(rf"{_INSTALL}[^\n]*?{_PRODUCT}(?![a-z_.])")
IMAGES = re.compile(rf"(?:\bimage:[ ]*|^FROM )\S*?{_PRODUCT}(?![a-z])", re.MULTILINE)
SNIPPETS = re.compile(rf"^[ >]*(?:import|from) (?:{'|'.join(sorted(MODULES))})\b", re.MULTILINE)
REQUIREMENT = re.compile(r'(?:name = ")?([A-Za-z0-9][\w.-]*)')
REQUIREMENT_FILES = re.compile(r"(?:requirements|constraints).*\.(?:txt|in)|.*\.lock")


def _dependencies(path: str, text: str) -> Iterator[Place]:
    yield from _imports(_nodes(text)) if path.endswith(".py") else _matches(SNIPPETS, text)
    yield from _matches(INSTALLS, text)
    yield from _matches(IMAGES, text)
    for requirement in _requirements(Path(path).name, text):
        name = REQUIREMENT.match(requirement)
        if name and _is_product(name[1]):
            yield _line(text, text.find(requirement)), requirement


def _is_product(distribution: str) -> bool:
    """Tell whether it is a runtime, or a part of one such as `autogen-core`."""
    name = re.sub(r"[-_.]+", "_", distribution.lower()).removeprefix("apache_")
    return any(name == each or name.startswith(f"{each}_") for each in PRODUCTS)


def _requirements(name: str, text: str) -> Iterable[str]:
    if name == "pyproject.toml":
        return _declared(tomllib.loads(text))
    return text.splitlines() if REQUIREMENT_FILES.fullmatch(name) else ()


def _declared(pyproject: dict[str, Any]) -> Iterator[str]:
    project = pyproject.get("project", {})
    lists = chain(
        [project.get("dependencies", []), pyproject.get("build-system", {}).get("requires", [])],
        project.get("optional-dependencies", {}).values(),
        pyproject.get("dependency-groups", {}).values(),
    )
    # A dependency group may include another group, which is a table and no requirement.
    return (each for each in chain.from_iterable(lists) if isinstance(each, str))


def _imports(nodes: Iterable[ast.AST]) -> Iterator[Place]:
    for node in nodes:
        for module in _imported(node):
            if module.split(".")[0] in MODULES:
                yield getattr(node, "lineno", 0), f"import {module}"


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(args=[ast.Constant(value=str(module)), *_]):
            return [module] if _called(node) in {"import_module", "__import__"} else []
    return []


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


# -- switch --

SCENARIO_ENGINES = {"sim", "proc"}
KEY_VALUES = {
    "runtime": {"langgraph"},
    "orchestrator": {"langgraph"},
    "engine": SCENARIO_ENGINES,
    "engines": SCENARIO_ENGINES,
}
DATA_FILES = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg")

OPTIONS = re.compile(r"--(?:agent-|graph-|workflow-)?(?:runtime|orchestrator)(?![\w-])")
VARIABLES = re.compile(r"\bBATON_(?:[A-Z]+_)?(?:RUNTIME|ORCHESTRATOR|ENGINE)\b")
ENGINE_VALUES = re.compile(r"""--engine(?:[= ]|["'],\s*["'])([\w|\\{},/]+)""")
KEYS = re.compile(
    r"""(?:^|[{,])[ \t]*(?:-[ ]+)?["']?(runtime|orchestrator|engines?)["']?[ ]*[:=][ \t]*"""
    r"(\[[^\]]*\]|[^\n,#}]+)",
    re.MULTILINE,
)


def _switches(path: str, text: str) -> Iterator[Place]:
    yield from _matches(OPTIONS, text)
    yield from _matches(VARIABLES, text)
    for match in ENGINE_VALUES.finditer(text):
        # An f-string's `--engine {engine}` passes on a value that is judged where it comes from.
        passed_on = path.endswith(".py") and re.fullmatch(r"\{\w+\}", match[1])
        if not passed_on and not set(re.findall(r"\w+", match[1])) <= SCENARIO_ENGINES:
            yield _line(text, match.start()), match[0]
    if path.endswith(".py"):
        yield from _engine_options(_nodes(text))
    if path.endswith(DATA_FILES):
        for match in KEYS.finditer(text):
            values = re.findall(r"(?<![\w.])[a-z][\w.-]*", match[2].lower())
            if not set(values) <= KEY_VALUES[match[1]]:
                yield _line(text, match.start(1)), match[0].strip(" \t{,-")


def _engine_options(nodes: Sequence[ast.AST]) -> Iterator[Place]:
    """Find definitions of `--engine` whose choices are not literally `sim` and `proc`."""
    constants = {
        ast.unparse(node.targets[0]): node.value
        for node in nodes[0].body  # type: ignore[attr-defined] - the first is the module
        if isinstance(node, ast.Assign)
    }
    for node in nodes:
        if isinstance(node, ast.Call) and _called(node).lower().endswith(("argument", "option")):
            if "--engine" not in map(_constant, node.args):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}.get("choices")
            choices = given and constants.get(ast.unparse(given), given)
            offered = {_constant(each) for each in ast.walk(choices)} - {None} if choices else set()
            if offered != SCENARIO_ENGINES:
                yield node.lineno, "--engine without the literal choices sim and proc"


def _constant(node: ast.AST) -> object:
    return node.value if isinstance(node, ast.Constant) else None


# -- wording --

_GAP = r"[\s#>-]+"  # a phrase may go on in the next line of a comment or quotation
WORDING = re.compile(
    r"(?<![a-z])legacy(?![a-z])"
    r"|\b(?:deprecated|alternative|alternate|fallback|pluggable|swappable|former|non-langgraph)"
    rf"{_GAP}(?:orchestration{_GAP})?(?:runtime|engine|orchestrator|execution{_GAP}path)s?\b"
    rf"|\b(?:other|another|second|different){_GAP}(?:orchestration{_GAP})?"
    r"(?:runtime|orchestrator)s?\b"
    rf"|\b(?:runtime|engine|orchestrator){_GAP}(?:switch|selector)\b"
    rf"|\b(?:runtime|orchestrator){_GAP}(?:agnostic|independent)\b",
    re.IGNORECASE,
)


#: One of these is in whatever WORDING matches, and is looked for in a fraction of the time.
_KEY_WORD = re.compile("legacy|runtime|engine|orchestrator|execution", re.IGNORECASE)


def _wording(path: str, text: str) -> Iterator[Place]:
    if _KEY_WORD.search(text):
        yield from _matches(WORDING, text)
    if path.endswith(".py"):
        # Help text is often written as several literals, which only the parser joins.
        for node in _nodes(text):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            if _KEY_WORD.search(node.value):
                yield from ((node.lineno, what) for _, what in _matches(WORDING, node.value))


RULES = {"dependency": _dependencies, "switch": _switches, "wording": _wording}


# -- the checkout --

SUFFIXES = {
    *DATA_FILES,
    *(".py", ".md", ".txt", ".in", ".lock", ".sh", ".sql", ".html", ".css", ".js", ".tmpl"),
}
NAMES = {"Makefile", "Dockerfile", "run", ".env", ".env.example"}
DOT_FOLDERS = {".ci", ".github"}
NOT_OURS = {"__pycache__", "node_modules", "build", "dist", "release.out", "soak.out"}


def _texts() -> Iterator[tuple[str, str]]:
    """Yield path and text of every text file of the checkout, whether committed yet or not."""
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if _is_ours(here / name))
        for file in (here / name for name in sorted(files)):
            if file.suffix in SUFFIXES or file.name in NAMES:
                yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def _is_ours(folder: Path) -> bool:
    if folder.name.startswith("."):
        return folder.name in DOT_FOLDERS
    return folder.name not in NOT_OURS and not (folder / "pyvenv.cfg").exists()


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every text of the checkout by its path."""
    return dict(_texts())


@pytest.fixture(scope="module")
def everything(texts: dict[str, str]) -> list[Finding]:
    """Every finding in the checkout, before exceptions."""
    return [each for path, text in texts.items() for each in findings(path, text)]


@pytest.mark.parametrize("rule", RULES)
def test_assets_are_clean(rule: str, everything: list[Finding]) -> None:
    """No code, document, spec, policy or configuration file breaks the policy."""
    allowed = {entry.path for entry in ALLOWED if rule in entry.rules}
    assert [each for each in everything if each.rule == rule and each.path not in allowed] == []


def test_exceptions_are_needed(everything: list[Finding]) -> None:
    """Each exception has a reason, and each of its rules still excuses something."""
    found = {(each.path, each.rule) for each in everything}
    assert all(entry.reason for entry in ALLOWED)
    assert {(entry.path, rule) for entry in ALLOWED for rule in entry.rules} <= found


def test_checkout_is_really_read(texts: dict[str, str]) -> None:
    """The walk reaches code, tests, tools and specs, and leaves out what is not ours."""
    assert {THIS, PLAN, "tools/render_charter.py", "exporter/baton/errors.py"} <= texts.keys()
    assert not [path for path in texts if path.startswith((".venv", ".git/"))]


def test_langgraph_is_required(texts: dict[str, str]) -> None:
    """The package requires LangGraph itself, not as an extra."""
    required = tomllib.loads(texts["pyproject.toml"])["project"]["dependencies"]
    assert "langgraph" in {re.split(r"[^\w-]", each)[0] for each in required}


def test_rollout_plan_needs_no_exception(texts: dict[str, str]) -> None:
    """The rollout plan is clean by itself, and says that LangGraph is the only runtime."""
    assert findings(PLAN, texts[PLAN]) == []
    assert PLAN not in {entry.path for entry in ALLOWED}
    assert "LangGraph is the only orchestration runtime" in texts[PLAN]


def test_charter_states_what_is_looked_for(texts: dict[str, str]) -> None:
    """The charter names this check and exactly the rules that it applies."""
    policy = yaml.safe_load(texts[f"{SPEC}/charter.yaml"])["policy"]
    assert policy["check"] == THIS
    assert list(policy["looks_for"]) == list(RULES)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "import celery"),
        ("a.py", "def f():\n    from temporalio.client import Client"),
        ("a.py", "import os, ray"),
        ("a.py", "importlib.import_module('prefect.flows')"),
        ("a.py", "try:\n    __import__('dbos')\nexcept ImportError: ..."),
        ("pyproject.toml", '[project]\ndependencies = ["langgraph", "apache-airflow>=2"]'),
        ("pyproject.toml", '[project.optional-dependencies]\nx = ["autogen-core"]'),
        ("pyproject.toml", '[dependency-groups]\nx = [{include-group = "y"}, "RQ"]\ny = []'),
        ("pyproject.toml", '[build-system]\nrequires = ["crewai[tools]"]'),
        ("requirements-dev.txt", "pytest\nllama-index==1"),
        ("uv.lock", '[[package]]\nname = "dagster"'),
        ("docs/a.md", "Then `pip install baton dramatiq`."),
        ("docs/a.md", "```python\nfrom huey import Huey\n```"),
        ("docker-compose.yml", "services:\n  x:\n    image: temporalio/auto-setup:1"),
        ("Dockerfile", "FROM rayproject/ray:2"),
        (".ci/run", "uv pip install 'burr[start]'"),
    ],
)
def test_planted_dependency_is_found(path: str, text: str) -> None:
    """Imports, requirements, installs and images of another runtime are found."""
    assert {each.rule for each in findings(path, text)} == {"dependency"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cli.py", 'parser.add_argument("--runtime", help="what runs the graph")'),
        ("cli.py", 'parser.add_argument("--orchestrator")'),
        ("cli.py", 'HELP = "usage: baton worker [--agent-runtime NAME]"'),
        ("cli.py", 'parser.add_argument("--engine", choices=("sim", "proc", "other"))'),
        ("cli.py", 'parser.add_argument("-e", "--engine")'),
        ("cli.py", 'E = ("langgraph", "own")\nparser.add_argument("--engine", choices=E)'),
        ("cli.py", 'os.environ["BATON_RUNTIME"]'),
        ("cli.py", 'run("worker", "--engine", "local")'),
        ("README.md", "baton worker --engine langgraph --store URL"),
        ("README.md", "baton worker --runtime=langgraph"),
        ("README.md", "Set `BATON_WORKER_ENGINE`."),
        ("gates/a.yaml", "policy:\n  engine: temporal"),
        ("gates/a.yaml", "- runtime: native"),
        ("a.json", '{"x": 1, "engines": ["sim", "thread"]}'),
        ("pyproject.toml", '[tool.baton]\norchestrator = "own"'),
    ],
)
def test_planted_switch_is_found(path: str, text: str) -> None:
    """Options, variables and keys that select a runtime are found."""
    assert {each.rule for each in findings(path, text)} == {"switch"}


@pytest.mark.parametrize(
    "text",
    [
        "The legacy path stays for now.",
        "def legacy_run(): ...",
        "a deprecated runtime",
        "an Alternative\nruntime",
        "the fallback engine",
        "pluggable orchestration engines",
        "or another orchestrator",
        "works with other runtimes",
        "an engine switch",
        "runtime-agnostic",
    ],
)
@pytest.mark.parametrize("path", ["docs/a.md", "alerts/a.yaml"])
def test_planted_wording_is_found(path: str, text: str) -> None:
    """Words that suggest another path are found, also over a line's end."""
    assert {each.rule for each in findings(path, text)} == {"wording"}


@pytest.mark.parametrize(
    "text",
    [
        'parser.add_argument("--pool", help="the pool, or the alternative "\n    "runtime")',
        'parser.add_argument("--pool", help=f"the {pool} of a legacy fleet")',
        "# a fallback\n# engine",
    ],
)
def test_planted_help_and_comment_are_found(text: str) -> None:
    """Help text and comments are read as a person reads them, joined over lines."""
    assert {each.rule for each in findings("exporter/baton/cli/x.py", text)} == {"wording"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "from . import ray\nfrom langgraph.runtime import Runtime"),
        ("a.py", "async def node(state, runtime): return runtime.context"),
        ("a.py", 'E = ("sim", "proc")\nparser.add_argument("--engine", choices=E)'),
        ("a.py", 'parser.add_argument("--engine", choices=["proc", "sim"], default="sim")'),
        ("a.py", 'print(f"baton scenario replay {file} --engine {engine}")'),
        ("a.py", 'run("scenario", "run", "--engine", "sim")'),
        ("a.py", 'run("scenario", "run", "--engine", engine)'),
        ("README.md", "`baton scenario run --engine sim|proc`; `--engine` chooses the engine."),
        ("README.md", "| `--engine sim\\|proc` | both engines read the same files |"),
        ("README.md", "Adopt the lease in a LangGraph runtime that you already have."),
        ("README.md", "Arrays of temporal data; an array, a burrito."),
        ("README.md", "pip install langgraph-baton[postgres]"),
        ("soak.yaml", "engine: sim  # or proc\nmax_runtime_seconds: 60\nengines: [sim, proc]"),
        ("charter.yaml", "runtime: LangGraph"),
        ("docker-compose.yml", "services:\n  x:\n    image: prom/prometheus:v3"),
        ("pyproject.toml", '[project]\ndependencies = ["langgraph", "arrow", "rqdata"]'),
    ],
)
def test_clean_text_has_no_finding(path: str, text: str) -> None:
    """What LangGraph and the scenario engines need is not mistaken for a violation."""
    assert findings(path, text) == []


def test_finding_says_where() -> None:
    """A finding names file, line, rule and the offending words."""
    text = "LangGraph only.\n\nThe legacy\nway.\n"
    assert findings("docs/a.md", text) == [Finding("docs/a.md", 3, "wording", "legacy")]
