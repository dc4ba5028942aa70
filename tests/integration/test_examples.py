"""The examples run as they stand, and what deploys a fleet names commands and paths that exist."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from configparser import ConfigParser
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.command import Command

import baton
from baton.cli import command_line
from baton.cli.reference import leaves
from baton.domain import catalogue as c
from baton.observe.collector import StoreCollector
from baton.observe.source import StoreSource

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
MANIFESTS = [
    manifest
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
]
PODS = [one for one in MANIFESTS if one["kind"] in ("Deployment", "Job")]

#: A new user's code may take so many lines: the path in the README says so.
NEW_LINES_MAX = 10


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with the examples in it."""
    for file in EXAMPLES.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("BATON_STORE", raising=False)
    return tmp_path


def test_an_application_that_takes_a_lease_shows_in_the_metrics(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within ten new lines; and without them it is the same graph."""
    text = (here / "adopt.py").read_text()
    new = [line for line in text.splitlines() if "#+" in line]
    assert 0 < len(new) <= NEW_LINES_MAX
    runpy.run_path("adopt.py")
    assert capsys.readouterr().out == "Hello, Ada!\n"
    with closing(StoreSource(f"sqlite:///{here / 'fleet.db'}")) as source:
        collector = StoreCollector(source, {})
        collector.catch_up(lambda: False)
        assert sum(point.value for point in collector.collect()[c.RUNS]) == 1


def test_a_plain_graph_is_served_by_a_worker(here: Path, command: Command) -> None:
    """The commands of its first lines, as they stand."""
    assert (here / "hello.py").exists()
    lines = re.findall(r"^ *(baton .*)$", (here / "hello.py").read_text(), re.MULTILINE)
    said = [command(*shlex.split(line)[1:], "--store", "sqlite:///fleet.db") for line in lines]
    assert [one.code for one in said] == [0] * len(lines) == [0, 0, 0]
    assert "done" in said[-1].out


def test_an_effect_happens_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One charge, under the key that the bank was given."""
    assert here.exists()
    runpy.run_path("invoice.py", run_name="__main__")
    assert re.fullmatch(r"receipt-1 \{'[0-9a-f]+': 30\}\n", capsys.readouterr().out)


def test_each_example_is_listed() -> None:
    """On their own page, and no other is."""
    listed = re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def unit(path: Path) -> ConfigParser:
    """A unit, with its keys as they are written."""
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_of_batons(path: Path) -> None:
    """Its own parser takes it; it may drain; and what a person must mend is not tried for ever."""
    service = unit(path)["Service"]
    started = service["ExecStart"].replace("%H", "host").replace("%i", "1")
    program, *words = shlex.split(started)
    assert Path(program).name == "baton"
    args = command_line().parse_args(words)
    assert callable(args.run)
    assert service["RestartPreventExitStatus"] == str(baton.BatonError.exit_code)
    if hasattr(args, "drain_timeout"):
        assert float(service["TimeoutStopSec"]) > args.drain_timeout
        assert {f"{name}.py" for _, (name, _) in _graphs(args)} <= _names()
    assert set(unit(path).sections()) == {"Unit", "Service", "Install"}


def _graphs(args: Any) -> list[tuple[str, list[str]]]:
    return [(name, place.split(":")) for name, place in args.graph]


def _names() -> set[str]:
    return {path.name for path in EXAMPLES.iterdir()}


@pytest.mark.parametrize("manifest", PODS, ids=lambda one: one["metadata"]["name"])
def test_a_pod_runs_a_command_of_batons(manifest: dict[str, Any]) -> None:
    """Its own parser takes it, its ports and probes are those that it serves, and it may drain."""
    spec = manifest["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"][0] == "baton"
    given = {one["name"] for one in container["env"]}
    words = [
        re.sub(r"\$\((\w+)\)", lambda name: _given(name[1], given), word)
        for word in container["args"]
    ]
    args = command_line().parse_args(words[1:])
    assert callable(args.run)
    assert re.search(r":\d+\.\d+\.\d+$", container["image"])
    assert {"name": "baton", "key": "store"} in [
        one["valueFrom"].get("secretKeyRef") for one in container["env"]
    ]
    assert spec["securityContext"]["runAsNonRoot"]
    assert not container["securityContext"].get("allowPrivilegeEscalation", True)
    served = getattr(args, "listen", None) or getattr(args, "metrics", None)
    ports = [port["containerPort"] for port in container.get("ports", [])]
    assert ports == ([] if served is None else [served[1]])
    (exporter,) = [one for one in leaves(command_line()) if one.prog == "baton exporter"]
    for name in ("livenessProbe", "readinessProbe"):
        if name in container:
            assert f" {container[name]['httpGet']['path']}" in str(exporter.description)
    if hasattr(args, "drain_timeout"):
        assert spec["terminationGracePeriodSeconds"] > args.drain_timeout
        assert "livenessProbe" not in container
        assert {f"{name}.py" for _, (name, _) in _graphs(args)} <= _names()


def _given(name: str, names: set[str]) -> str:
    """A variable that Kubernetes puts in, which has to be among those of the container."""
    assert name in names
    return "value"


def test_the_manifests_belong_together() -> None:
    """As many workers as are expected; selectors select; the service leads to the exporter."""
    named = {(one["kind"], one["metadata"]["name"]): one for one in MANIFESTS}
    worker = named["Deployment", "baton-worker"]["spec"]
    exporter = named["Deployment", "baton-exporter"]["spec"]
    (container,) = exporter["template"]["spec"]["containers"]
    args = command_line().parse_args(container["args"][1:])
    assert dict(args.expect) == {"default": worker["replicas"]}
    for one in (worker, exporter):
        labels = one["template"]["metadata"]["labels"]
        assert one["selector"]["matchLabels"].items() <= labels.items()
    service = named["Service", "baton-exporter"]["spec"]
    assert service["selector"] == exporter["selector"]["matchLabels"]
    assert service["ports"][0]["targetPort"] == container["ports"][0]["name"]
    budget = named["PodDisruptionBudget", "baton-worker"]["spec"]
    assert budget["selector"] == worker["selector"]
