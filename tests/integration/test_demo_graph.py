"""The demo's graph: real checks on real files, the same each time, published once."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from tests.support.runs import Runs

from baton.errors import BadInput
from baton.prove.demo import review_graph
from baton.prove.demo.checks import CHECKS, review, units
from baton.prove.demo.library import FUNCTIONS_MAX, FUNCTIONS_MIN, choose, parsed
from baton.prove.demo.play import undisturbed
from baton.prove.demo.sink import Sink

PATH = "json/decoder.py"

#: A function for each check that breaks this rule and no other.
OFFENCES = {
    "bare-except": "def _f():\n try: pass\n except: pass",
    "mutable-default": "def _f(a=[]): pass",
    "too-many-arguments": "def _f(a, b, c, d, e, f, *, g): pass",
    "too-many-branches": "def _f(a):\n" + " if a: pass\n" * 13,
    "too-many-returns": "def _f(a):\n" + " return a\n" * 7,
    "too-many-statements": "def _f(a):\n" + " a()\n" * 51,
    "missing-docstring": "def f(): pass",
    "shadowed-builtin": "def _f(list): pass",
    "unused-variable": "def _f():\n a = 1",
    "none-by-equality": "def _f(a):\n return a == None",
}


def only_function(source: str) -> Any:
    """The one function in a source."""
    (unit,) = units(ast.parse(source))
    return unit.function


@pytest.mark.parametrize("rule", OFFENCES)
def test_each_check_finds_its_offence(rule: str) -> None:
    """Every rule is caught, and by its own check alone."""
    assert [remark.rule for remark in review(only_function(OFFENCES[rule]))] == [rule]
    assert len(OFFENCES) == len(CHECKS)


def test_good_code_passes() -> None:
    """A reviewer who always finds something is none."""
    source = 'def f(a, *, b=None):\n """Say so."""\n c = a is None\n return c or b'
    assert review(only_function(source)) == []


def test_units_are_functions_and_methods_but_not_what_is_inside_them() -> None:
    """Names carry their classes and their line, so that namesakes stay apart."""
    source = (
        "def a():\n def inner(): pass\nclass B:\n def c(self): pass\n class D:\n"
        "  def e(self): pass\ntry:\n def g(): pass\nexcept E:\n def g(): pass\n"
    )
    names = [unit.name for unit in units(ast.parse(source))]
    assert names == ["a:1", "B.c:4", "B.D.e:6", "g:8", "g:10"]


def test_the_same_modules_are_chosen_each_time() -> None:
    """More tasks begin with the same ones, and each has a fan-out worth showing."""
    few, many = choose(3), choose(30)
    assert many[:3] == few
    assert len(set(many)) == 30
    assert all(FUNCTIONS_MIN <= len(parsed(path)) <= FUNCTIONS_MAX for path in many)


def test_more_modules_than_there_are_is_bad_input() -> None:
    """The line says how many there are."""
    with pytest.raises(BadInput, match=r"--tasks 9999: .* has \d+ modules that fit"):
        choose(9999)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.py", "json/../../x.py", "README.txt"])
def test_only_the_standard_library_is_read(path: str) -> None:
    """The graph's input leads nowhere else."""
    with pytest.raises(ValueError, match="no module of the standard library"):
        parsed(path)


def test_a_review_is_the_same_each_time() -> None:
    """States and publications of two undisturbed runs are equal, and not empty."""
    tasks = {"a": PATH, "b": "shlex.py"}
    states, published = undisturbed(tasks)
    assert (states, published) == undisturbed(tasks)
    report = states["a"]["report"]
    assert report["functions"] == len(parsed(PATH)) > 1
    assert report["findings"] == len(states["a"]["findings"]) == sum(report["by_rule"].values())
    assert report["findings"] > 0
    assert len(published) == sum(len(state["functions"]) for state in states.values())


def test_a_leased_run_equals_an_undisturbed_one(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a lease it comes to the same state, and its publications carry effect keys."""
    sink = Sink(tmp_path / "findings.db")
    sink.create()
    monkeypatch.setenv(review_graph.SINK_VARIABLE, str(sink.path))
    lease = runs.lease("t-1")
    graph = review_graph.graph.copy({"checkpointer": runs.saver})
    state = graph.invoke({"path": PATH}, lease.config, durability="sync")
    states, expected = undisturbed({"t-1": PATH})
    assert state == states["t-1"]
    found = sink.publications()
    assert sorted((one.task_id, one.function, one.findings) for one in found) == sorted(expected)
    assert {one.attempts for one in found} == {1}


def test_the_sink_honours_the_key(tmp_path: Path) -> None:
    """The first publication under a key stands; the others are counted and change nothing."""
    sink = Sink(tmp_path / "findings.db")
    sink.create()
    sink.publish("key", "t-1", "f", "first")
    sink.publish("key", "t-1", "f", "second")
    (found,) = sink.publications()
    assert (found.findings, found.attempts) == ("first", 2)
    assert sink.is_free(0.0)
