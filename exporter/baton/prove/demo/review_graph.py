"""The demo's graph: reviews one module of the standard library, one node per function.

    parse ─▶ review (one per function, by Send) ─▶ report

It is an ordinary LangGraph graph, and the way to run it is the ordinary one::

    baton worker --store URL --graph review=baton.prove.demo.review_graph:graph
    baton submit --store URL --graph review --input '{"path": "json/decoder.py"}'

Each reviewer publishes its findings through ``baton.once`` and passes the effect's key on to the
sink. The pause of a reviewer comes after that: a worker that dies in it has told the world, but
has not yet told its checkpoint, and that is the moment worth breaking.

Two environment variables set the stage, so that the state holds nothing but the review:
``BATON_REVIEW_SINK``, a file made by ``Sink.create`` (by default findings stay in the state), and
``BATON_REVIEW_PACE_SECONDS``, how long each node pauses (0 by default).
"""

from __future__ import annotations

import json
import operator
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Send

import baton
from baton.prove.demo.checks import review as remarks_on
from baton.prove.demo.library import parsed
from baton.prove.demo.sink import Sink

SINK_VARIABLE = "BATON_REVIEW_SINK"
PACE_VARIABLE = "BATON_REVIEW_PACE_SECONDS"

#: Reviewers of one module that work at the same time, whatever the machine has to offer.
REVIEWERS = 4


class Finding(TypedDict):
    """One remark on one function."""

    function: str
    line: int
    rule: str
    text: str


class Report(TypedDict):
    """What the review of a module came to."""

    path: str
    functions: int
    findings: int
    by_rule: dict[str, int]


class Review(TypedDict, total=False):
    """The graph's state. ``path`` is its input, relative to the standard library."""

    path: str
    functions: list[str]
    findings: Annotated[list[Finding], operator.add]
    report: Report


class Assignment(TypedDict):
    """What one reviewer is sent."""

    path: str
    function: str


Publish = Callable[[str, list[Finding]], None]
"""Publishes the findings on one function; called inside a node."""


def build(publish: Publish, pause: Callable[[], None]) -> Pregel[Any, Any, Any, Any]:
    """The graph, compiled without a checkpointer.

    Args:
        publish: the reviewers' effect.
        pause: called once in each node.
    """

    def parse(state: Review) -> Review:
        functions = list(parsed(state["path"]))
        pause()
        return {"functions": functions}

    def assign(state: Review) -> list[Send]:
        return [
            Send("review", {"path": state["path"], "function": function})
            for function in state["functions"]
        ]

    def review(state: Assignment) -> Review:
        unit = parsed(state["path"])[state["function"]]
        found: list[Finding] = [
            {"function": unit.name, "line": line, "rule": rule, "text": text}
            for line, rule, text in remarks_on(unit.function)
        ]
        publish(unit.name, found)
        pause()
        return {"findings": found}

    def report(state: Review) -> Review:
        found = state.get("findings", [])
        pause()
        return {
            "report": {
                "path": state["path"],
                "functions": len(state["functions"]),
                "findings": len(found),
                "by_rule": dict(sorted(Counter(one["rule"] for one in found).items())),
            }
        }

    graph = StateGraph(Review)
    graph.add_node("parse", parse)
    graph.add_node("review", review)
    graph.add_node("report", report)
    graph.add_edge(START, "parse")
    graph.add_conditional_edges("parse", assign, ["review"])
    graph.add_edge("review", "report")
    graph.add_edge("report", END)
    return graph.compile().with_config(max_concurrency=REVIEWERS)


def publication(found: list[Finding]) -> str:
    """The text that is published for one function."""
    return json.dumps(found, sort_keys=True)


def _publish_once(function: str, found: list[Finding]) -> None:
    task_id = get_config()["configurable"]["thread_id"]
    baton.once("publish", _tell_sink, baton.effect_key("publish"), task_id, function, found)


def _tell_sink(effect_key: str, task_id: str, function: str, found: list[Finding]) -> None:
    if path := os.environ.get(SINK_VARIABLE):
        Sink(Path(path)).publish(effect_key, task_id, function, publication(found))


def _pause() -> None:
    time.sleep(float(os.environ.get(PACE_VARIABLE, "0")))


graph = build(_publish_once, _pause)
