"""What Grafana reads at its start: its fields are documented, and its files fit together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.support.compose import GRAFANA_ALERTS, MAIN, ROOT, mounts, services

Json = dict[str, Any]

SCHEMA = yaml.safe_load((ROOT / "tests/data/grafana-provisioning.schema.yaml").read_text())
PROVISIONING = "/etc/grafana/provisioning"


def read(path: Path) -> Json:
    """A document."""
    found: Json = yaml.safe_load(path.read_text())
    return found


def provisioned(kind: str, *files: Path) -> Json:
    """The one file that Grafana's container sees in a folder below its provisioning."""
    seen = mounts(services(*files)["grafana"])
    below = [
        source for target, source in seen.items() if target.startswith(f"{PROVISIONING}/{kind}")
    ]
    found = [one for path in below for one in ([path] if path.is_file() else path.iterdir())]
    (file,) = found
    return read(file)


def broken(kind: str, document: Json) -> list[str]:
    """What Grafana would not know in it."""
    validator = jsonschema.Draft7Validator({**SCHEMA, "$ref": f"#/definitions/{kind}"})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


RULES = read(ROOT / "alerts" / "grafana-rules.yaml")
SOURCES = provisioned("datasources")
BOARDS = provisioned("dashboards")


@pytest.mark.parametrize(
    ("kind", "document"), [("rules", RULES), ("datasources", SOURCES), ("dashboards", BOARDS)]
)
def test_every_field_is_documented(kind: str, document: Json) -> None:
    """Grafana passes over a field that it does not know, and says nothing."""
    assert broken(kind, document) == []


def _rule(change: Callable[[Json], object]) -> Json:
    document = copy.deepcopy(RULES)
    change(document["groups"][0]["rules"][0])
    return document


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("rules", _rule(lambda rule: rule.update(grafana_alert={}))),
        ("rules", _rule(lambda rule: rule.update(no_data_state="OK"))),
        ("rules", _rule(lambda rule: rule.update(noDataState="Fine"))),
        ("rules", _rule(lambda rule: rule.update({"for": "soon"}))),
        ("rules", _rule(lambda rule: rule.update(keepFiringFor=60))),
        ("rules", _rule(lambda rule: rule.pop("title"))),
        ("rules", _rule(lambda rule: rule["data"][0].pop("datasourceUid"))),
        ("rules", _rule(lambda rule: rule["annotations"].update(summary="${labels.pool}"))),
        ("rules", {**RULES, "rules": []}),
        ("datasources", {**SOURCES, "datasources": [{"name": "Prometheus", "kind": "prometheus"}]}),
        ("dashboards", {**BOARDS, "providers": [{"name": "b", "options": {"path": "boards"}}]}),
    ],
)
def test_a_planted_mistake_is_seen(kind: str, document: Json) -> None:
    """A schema that takes everything would hold nothing."""
    assert broken(kind, document)


def test_each_rule_asks_what_it_then_judges() -> None:
    """Its condition is one of its own queries, and their letters agree."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            letters = [query["refId"] for query in rule["data"]]
            assert len(set(letters)) == len(letters)
            assert rule["condition"] in letters
            assert [query["model"]["refId"] for query in rule["data"]] == letters


def test_rules_ask_the_data_source_that_is_provisioned() -> None:
    """By its uid; what is computed from the answers has Grafana's own."""
    (source,) = SOURCES["datasources"]
    queries = [q for group in RULES["groups"] for rule in group["rules"] for q in rule["data"]]
    assert {query["datasourceUid"] for query in queries} == {source["uid"], "__expr__"}
    assert provisioned("alerting", MAIN, GRAFANA_ALERTS) == RULES


def test_the_data_source_is_the_prometheus_beside_it() -> None:
    """At the port on which that is asked whether it is ready."""
    (source,) = SOURCES["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "localhost:9090" in str(services()["prometheus"]["healthcheck"]["test"])


def test_the_boards_lie_where_grafana_looks() -> None:
    """The provider's folder is where the checkout's is mounted; the first page is one of them."""
    (provider,) = BOARDS["providers"]
    grafana = services()["grafana"]
    assert mounts(grafana)[provider["options"]["path"]] == ROOT / "dashboards"
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (ROOT / "dashboards" / home.name).is_file()


def test_visitors_may_look_and_nobody_may_log_in() -> None:
    """There is no password because there is no account."""
    said = services()["grafana"]["environment"]
    assert (said["GF_AUTH_ANONYMOUS_ENABLED"], said["GF_AUTH_ANONYMOUS_ORG_ROLE"]) == (
        "true",
        "Viewer",
    )
    assert said["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert said["GF_AUTH_BASIC_ENABLED"] == "false"
