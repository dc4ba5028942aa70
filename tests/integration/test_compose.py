"""docker-compose.yml: Compose reads it, and each service runs here on the very files that it names.

There is no container engine in the tests, so images are neither fetched nor built.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.integration.test_rules import said
from tests.support.compose import (
    GRAFANA_ALERTS,
    MAIN,
    ROOT,
    Json,
    Outside,
    mounts,
    parse,
    project,
    services,
)
from tests.support.runs import wait_until

import baton
from baton.cli import command_line
from baton.cli.graphs import load_graph
from baton.domain.words import TaskState
from baton.observe.server import parse_address
from baton.observe.settings import Settings
from baton.prove.demo.cast import Cast

EXPORTER, WORKER, PROMETHEUS, ALERTMANAGER = 9464, 9465, 9090, 9093
WORKERS = ("worker-1", "worker-2", "worker-3")
#: They end when their work is done, or are nobody's server.
NO_HEALTH = {"migrate", "submitter"}
EITHER_WAY = pytest.mark.parametrize(
    "files", [(MAIN,), (MAIN, GRAFANA_ALERTS)], ids=["main", "alt"]
)


def commands() -> dict[str, list[str]]:
    """What each service of Baton's runs, without the program's name."""
    found = {
        name: one["command"] for name, one in services().items() if one["image"].startswith("lang")
    }
    assert {words[0] for words in found.values()} == {"baton"}
    return {name: words[1:] for name, words in found.items()}


# The file


@EITHER_WAY
def test_compose_takes_it(files: tuple[Path, ...]) -> None:
    """By the parser of `docker compose` itself, which is not silent about a mistake."""
    assert parse(*files).stderr == ""
    assert {"postgres", "prometheus", "grafana", "exporter", "submitter", *WORKERS} <= set(
        services(*files)
    )


def test_compose_refuses_a_mistake(tmp_path: Path) -> None:
    """A parser that takes everything would hold nothing."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(MAIN.read_text().replace("healthcheck:", "healthchek:", 1))
    done = parse(wrong)
    assert done.returncode != 0
    assert "healthchek" in done.stderr


def test_ports_are_published_on_loopback_alone() -> None:
    """What listens for its neighbours is not there for the network of the host."""
    published = [port for one in services().values() for port in one.get("ports", [])]
    assert {port["target"] for port in published} == {3000, EXPORTER, PROMETHEUS, ALERTMANAGER}
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


def test_the_server_that_trusts_is_reached_by_the_fleet_alone() -> None:
    """Without a password, the network is the lock."""
    assert project()["networks"]["store"]["internal"] is True
    postgres = services()["postgres"]
    assert postgres["environment"]["POSTGRES_HOST_AUTH_METHOD"] == "trust"
    assert set(postgres["networks"]) == {"store"}
    assert "ports" not in postgres
    inside = {name for name, one in services().items() if "store" in one["networks"]}
    assert inside == {"postgres", *commands()}


def test_no_secret_stands_in_it() -> None:
    """Neither in a variable of that kind nor in an address."""
    for name, one in services().items():
        for variable, value in (one.get("environment") or {}).items():
            assert not re.search("PASSWORD|SECRET|TOKEN|KEY", variable), (name, variable)
            assert urlsplit(value).password is None, (name, variable)


def test_every_image_is_pinned_and_every_server_has_a_health_check() -> None:
    """To a release, by its number."""
    for name, one in services().items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?$", one["image"]), name
        assert ("healthcheck" in one) is (name not in NO_HEALTH), name


def test_data_outlives_a_container() -> None:
    """In volumes with a name, each in use."""
    named = {
        volume["source"]
        for one in services().values()
        for volume in one.get("volumes", [])
        if volume["type"] == "volume"
    }
    assert (
        named == set(project()["volumes"]) == {"postgres", "prometheus", "alertmanager", "grafana"}
    )


@EITHER_WAY
def test_what_is_mounted_is_there_and_read_only(files: tuple[Path, ...]) -> None:
    """Docker would make an empty folder of a file that is missing."""
    for one in services(*files).values():
        assert all(source.exists() for source in mounts(one).values()), one
        assert all(v.get("read_only") for v in one.get("volumes", []) if v["type"] == "bind"), one


# Baton's services


@pytest.mark.parametrize("name", ["migrate", "exporter", "submitter", *WORKERS])
def test_every_command_is_one_of_batons(name: str) -> None:
    """Its own parser takes it, and the store is the server beside it."""
    args = command_line().parse_args(commands()[name])
    assert callable(args.run)
    postgres = services()["postgres"]["environment"]
    url = urlsplit(services()[name]["environment"]["BATON_STORE"])
    assert (url.hostname, url.username, url.path[1:]) == (
        "postgres",
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_DB"],
    )


def test_the_fleet_is_the_one_that_is_expected() -> None:
    """The exporter expects as many workers as there are, and they serve what is submitted."""
    parsed = {name: command_line().parse_args(words) for name, words in commands().items()}
    assert [name for name, one in parsed.items() if hasattr(one, "worker_id")] == list(WORKERS)
    assert dict(parsed["exporter"].expect) == {"default": len(WORKERS)}
    for name in WORKERS:
        graphs = dict(parsed[name].graph)
        assert set(graphs) == {parsed["submitter"].graph}
        assert [load_graph(*one) for one in graphs.items()]
        assert services()[name]["hostname"] == parsed[name].worker_id == name
        grace = services()[name]["stop_grace_period"]
        assert float(grace.removesuffix("s")) > parsed[name].drain_timeout


def test_what_is_submitted_again_and_again_ends_with_the_first_failure(tmp_path: Path) -> None:
    """So that its restart, and with it the reason, shows."""
    script = services()["submitter"]["entrypoint"]
    outside = Outside(tmp_path, ())
    step = tmp_path / "step"
    step.write_text("#!/bin/sh\necho again >>said; test $(wc -l <said) -lt 3\n")
    step.chmod(0o755)
    command = [*outside.words(script[:-1]), "0", str(step)]
    done = subprocess.run(command, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert (tmp_path / "said").read_text() == "again\n" * 3


# All of it, without containers


def get(address: str, path: str) -> Any:
    """What a server answers in JSON; None while it does not."""
    with closing(HTTPConnection(*parse_address(address), timeout=5)) as connection:
        with suppress(OSError, HTTPException, ValueError):
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        return None


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """A folder with everything that Prometheus and Alertmanager mount."""
    place = Outside(tmp_path, (EXPORTER, WORKER, PROMETHEUS, ALERTMANAGER))
    for name in ("prometheus", "alertmanager"):
        place.lay_out(services()[name])
    return place


def test_promtool_and_amtool_take_the_files(outside: Outside, promtool: str, amtool: str) -> None:
    """As they lie in the containers, rules included."""
    config = outside.path("/etc/prometheus/prometheus.yaml")
    out = said(promtool, "check", "config", config)
    assert "2 rule files found" in out
    assert "SUCCESS" in said(
        amtool, "check-config", outside.path("/etc/alertmanager/alertmanager.yaml")
    )


def test_grafana_alerts_leave_prometheus_the_records(tmp_path: Path, promtool: str) -> None:
    """Each alert from one place: there, Prometheus has none, and Alertmanager does not start."""
    place = Outside(tmp_path, (EXPORTER, ALERTMANAGER))
    instead = services(MAIN, GRAFANA_ALERTS)
    place.lay_out(instead["prometheus"])
    said(promtool, "check", "config", place.path("/etc/prometheus/prometheus.yaml"))
    found = [
        rule
        for file in place.path("/etc/prometheus/rules").glob("*.yaml")
        for group in (yaml.safe_load(file.read_text()) or {"groups": []})["groups"]
        for rule in group["rules"]
    ]
    assert found
    assert not [rule for rule in found if "alert" in rule]
    assert "alertmanager" not in instead
    assert "/etc/grafana/provisioning/alerting/baton.yaml" in mounts(instead["grafana"])
    assert not [target for target in mounts(services()["grafana"]) if "alerting" in target]


def healthy(outside: Outside, service: Json) -> bool:
    """Whether the health check of one of Baton's services passes."""
    _, _, *words = service["healthcheck"]["test"]
    done = subprocess.run(
        [sys.executable, *outside.words(words)], capture_output=True, check=False, timeout=10
    )
    return done.returncode == 0


@pytest.mark.timeout(180)
def test_the_services_work_together(
    outside: Outside, database: str, prometheus: str, alertmanager: str
) -> None:
    """Store, worker, exporter, Prometheus and Alertmanager, with the commands that Compose runs."""
    every = services()
    with Cast(outside.folder, {"BATON_STORE": database}) as cast:

        def start(name: str) -> Any:
            words = outside.words(every[name]["command"])
            return cast.start(name, [sys.executable, "-m", *words])

        migrate = start("migrate")
        wait_until(lambda: migrate.exit_code is not None, "the store is made")
        assert migrate.exit_code == 0, migrate.last_words()
        assert not healthy(outside, every["exporter"])
        for name in ("exporter", "worker-1", "submitter"):
            start(name)
        for port in (EXPORTER, WORKER):
            wait_until(lambda port=port: ready(outside.address(port)), f"{port} is served")
        # Only now, as Prometheus looks again for what it has missed after five seconds.
        for name, program, port in (
            ("prometheus", prometheus, PROMETHEUS),
            ("alertmanager", alertmanager, ALERTMANAGER),
        ):
            words = outside.words(every[name]["command"])
            listen = f"--web.listen-address={outside.address(port)}"
            cast.start(name, [program, *words, listen])
        server = outside.address(PROMETHEUS)
        wait_until(lambda: scraped(server) == {"baton-exporter", "baton-worker"}, "all is scraped")
        wait_until(lambda: managers(server) == 1, "Prometheus has found Alertmanager")
        assert loaded(server) == rules_on_disk()
        assert healthy(outside, every["exporter"])
        assert healthy(outside, every["worker-1"])
        with baton.open(database) as fleet:
            wait_until(lambda: bool(fleet.store.tasks(state=TaskState.DONE)), "a review is done")


def ready(address: str) -> bool:
    """Whether something answers there."""
    with closing(HTTPConnection(*parse_address(address), timeout=5)) as connection:
        with suppress(OSError, HTTPException):
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        return False


def scraped(server: str) -> set[str]:
    """The jobs of which every target was scraped well."""
    answer = get(server, "/api/v1/targets?state=active")
    targets = answer["data"]["activeTargets"] if answer else []
    return {one["labels"]["job"] for one in targets} - {
        one["labels"]["job"] for one in targets if one["health"] != "up"
    }


def managers(server: str) -> int:
    """How many Alertmanagers it sends alerts to."""
    answer = get(server, "/api/v1/alertmanagers")
    return len(answer["data"]["activeAlertmanagers"]) if answer else 0


def loaded(server: str) -> set[str]:
    """The names of all rules that it evaluates."""
    groups = get(server, "/api/v1/rules")["data"]["groups"]
    return {rule["name"] for group in groups for rule in group["rules"]}


def rules_on_disk() -> set[str]:
    """The names of all rules in the rendered files."""
    files = sorted((ROOT / "alerts").glob("*.rules.yaml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule.get("alert") or rule["record"] for group in groups for rule in group["rules"]}


def test_jobs_are_those_that_rules_and_boards_ask_for() -> None:
    """By the names of the default settings."""
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    jobs = {one["job_name"] for one in document["scrape_configs"]}
    assert jobs == {Settings().exporter_job, Settings().worker_job}
