"""Finding the graphs that a worker is told to serve: ``NAME=module:attribute``."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from baton.errors import UnknownGraph
from baton.fleet.guard import AnyGraph

_GRAPHS = (StateGraph, Pregel)


def load_graph(graph: str, place: str) -> AnyGraph:
    """The graph at ``module:attribute``, imported from the current folder too.

    Args:
        graph: the name that it will be served by, for messages.
        place: a StateGraph, a compiled graph, or a function without arguments that returns one.

    Raises:
        UnknownGraph: there is no such thing, or getting it failed.
    """
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise UnknownGraph(
            graph=graph, detail=f"{place!r} is not module:attribute, such as app.graphs:review"
        )
    found = _attribute(graph, _module(graph, module_name), attribute)
    if not isinstance(found, _GRAPHS) and callable(found):
        found = _attempt(graph, f"calling {place}", found)
    if not isinstance(found, _GRAPHS):
        raise UnknownGraph(
            graph=graph,
            detail=f"{place} is {type(found).__name__}, neither a StateGraph nor a compiled graph",
        )
    return found


def _module(graph: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module: ModuleType = _attempt(
            graph, f"importing {name}", lambda: importlib.import_module(name)
        )
    except UnknownGraph as failed:
        missing = failed.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{name}.".startswith(f"{missing.name}."):
            detail = f"no module {missing.name!r} in {here} or on PYTHONPATH"
            raise UnknownGraph(graph=graph, detail=detail) from missing
        raise
    return module


def _attribute(graph: str, module: ModuleType, name: str) -> Any:
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        graphs = [key for key, value in vars(module).items() if isinstance(value, _GRAPHS)]
        others = f"; it has {', '.join(sorted(graphs))}" if graphs else ""
        raise UnknownGraph(
            graph=graph, detail=f"module {module.__name__!r} has no {name!r}{others}"
        ) from error


def _attempt(graph: str, what: str, act: Callable[[], Any]) -> Any:
    """Run the user's own code, which may fail of anything, or try to leave."""
    try:
        return act()
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        raise UnknownGraph(graph=graph, detail=f"{what} failed: {said}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """Where it was raised, in code that somebody wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    written = [
        f"{frame.filename}:{frame.lineno}"
        for frame in frames
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f" ({written[-1]})" if written else ""
