"""Every path that runs a graph asks for durability ``sync``: the guarantees rest on it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "exporter" / "baton"
RUNS_A_GRAPH = {"invoke", "ainvoke", "stream", "astream"}


def loose_runs(source: str) -> Iterator[int]:
    """The lines on which a graph is run without durability ``sync``."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        about = ast.unparse(node.func.value)
        if node.func.attr not in RUNS_A_GRAPH or "graph" not in about.lower():
            continue
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if said.get("durability") != "'sync'":
            yield node.lineno


def test_no_graph_runs_with_another_durability() -> None:
    """In the whole package, whatever the calling code."""
    found = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        for line in loose_runs(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_a_planted_run_is_found() -> None:
    """Left out, or another one: both are seen."""
    source = "self._graph.invoke(x)\ngraph.ainvoke(x, durability='async')\n"
    assert list(loose_runs(source)) == [1, 2]
    assert list(loose_runs("graph.invoke(x, durability='sync')")) == []
