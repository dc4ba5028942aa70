"""A metric gets another name in the catalogue: all follows, or is named by what follows not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.names import PLACES, known_names, strangers, texts

from baton.domain.catalogue import WORKER_LEASES
from baton.observe import render
from baton.observe.settings import Settings

ROOT = Path(__file__).parents[2]

#: A metric that panels, rules, the runbook, tests of rules and recordings all read.
OLD = WORKER_LEASES.name
NEW = OLD.replace("_leases", "_tasks_held")


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which the metric was renamed, in the catalogue alone."""
    copy = tmp_path_factory.mktemp("renamed")
    for place in ("exporter", *PLACES):
        source = ROOT / place
        if source.is_dir():
            shutil.copytree(source, copy / place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / place)
    catalogue = copy / "exporter" / "baton" / "domain" / "catalogue.py"
    text = catalogue.read_text()
    assert text.count(OLD) == 1
    catalogue.write_text(text.replace(OLD, NEW))
    return copy


#: `baton render` of a copy's own code: what has drifted, the mend, and whether it is one.
CHECK_RENDER_CHECK = """
import sys
from baton.cli import main
for options in (["--check"], [], ["--check"]):
    print("exit", main(["render", "--out", sys.argv[1], *options]))
"""


def check_render_check(copy: Path) -> list[str]:
    """The lines that those three said."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK_RENDER_CHECK, str(copy)],
        env={**os.environ, "PYTHONPATH": str(copy / "exporter")},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def holding(root: Path, name: str) -> set[str]:
    """The files below a root that name a metric."""
    return {str(path.relative_to(root)) for path in texts(root) if name in path.read_text()}


def test_every_name_in_a_text_exists() -> None:
    """In pages, runbook, rules, their tests, recordings, dashboards and gates alike."""
    assert strangers(ROOT, known_names()) == {}


def test_what_is_rendered_follows_and_what_is_not_is_named(renamed: Path) -> None:
    """After `baton render`; and the check above is what names the rest, file by file."""
    rendered = set(render.rendered(Settings()))
    before = holding(ROOT, OLD)
    said = check_render_check(renamed)
    assert [line for line in said if line.startswith("exit")] == ["exit 1", "exit 0", "exit 0"]
    drifted = said[: said.index("exit 1")]
    assert {line.split()[0] for line in drifted} == before & rendered
    assert holding(renamed, NEW) == before & rendered
    assert {"dashboards", "alerts", "docs"} == {
        name.partition("/")[0] for name in before & rendered
    }
    by_hand = before - rendered
    assert {"docs/runbook.md", "alerts/tests/fleet.test.yaml"} <= by_hand
    known = known_names() - {OLD} | {NEW}
    assert strangers(renamed, known) == {name: {OLD} for name in by_hand}


def test_no_other_source_knows_the_name(renamed: Path) -> None:
    """The catalogue was the only place to change."""
    sources = (renamed / "exporter").rglob("*")
    assert [path for path in sources if path.is_file() and OLD.encode() in path.read_bytes()] == []
