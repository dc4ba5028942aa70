"""The boards as Grafana would read them: their panels, their queries, and today's schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from baton.observe.dashboards import rendered
from baton.observe.settings import Settings

Json = dict[str, Any]

SCHEMA = Path(__file__).parents[1] / "data" / "grafana-dashboard.schema.json"


@cache
def boards() -> dict[str, Json]:
    """Every board that is rendered by default, by its title."""
    return {(board := json.loads(text))["title"]: board for text in rendered(Settings()).values()}


def panels(board: Json) -> list[Json]:
    """The panels of a board, without its rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


@dataclass(frozen=True)
class Asked:
    """One query of one panel."""

    board: str
    panel: str
    target: Json

    def __str__(self) -> str:
        """Where it stands."""
        return f"{self.board} / {self.panel} / {self.target['refId']}"


def asked() -> Iterator[Asked]:
    """Every query of every panel."""
    for title, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Asked(title, panel["title"], target)


def interpolated(board: Json, text: str, **windows: str) -> str:
    """A query as Grafana sends it while all values of every variable are chosen.

    Args:
        board: whose variables are meant.
        text: the query.
        windows: what Grafana's own variables stand for, such as ``__range="1h"``.
    """
    chosen = {
        variable["name"]: variable.get("allValue", ".+")
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    }
    # The longest first, as a name may be the beginning of another.
    for name, value in sorted((chosen | windows).items(), key=lambda item: -len(item[0])):
        text = text.replace(f"${name}", value)
    return text


@cache
def schema() -> Json:
    """Today's schema; tests/data/README.md says where it comes from."""
    found: Json = json.loads(SCHEMA.read_text())
    return found


def broken(kind: str, value: Any) -> list[str]:
    """What in a value the schema's type of that name does not allow."""
    validator = jsonschema.Draft7Validator({**schema(), "$ref": f"#/definitions/{kind}"})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
