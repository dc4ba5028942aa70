"""The README's one line: each board arrives at a Grafana, each rule file is loaded by the demo."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_compose import loaded, rules_on_disk
from tests.integration.test_readme import block
from tests.support.compose import ROOT
from tests.support.grafana import boards, broken
from tests.support.runs import wait_until

from baton.prove.demo import prometheus as prom
from baton.prove.demo.cast import Cast, free_port

BASIC_ADMIN = "Basic YWRtaW46YWRtaW4="


@contextmanager
def grafana() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes what Grafana's own API for boards would, and nothing else."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/api/dashboards/db" and set(sent) == {"overwrite", "dashboard"}
            admitted = self.headers["Authorization"] == BASIC_ADMIN
            good = known and admitted and not broken("Dashboard", sent["dashboard"])
            taken.extend([sent] if good else [])
            said = {"status": "success"} if good else {"message": "bad request"}
            self.send_response(200 if good else 400)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(**where: str) -> subprocess.CompletedProcess[str]:
    """The line as it stands in the README."""
    (line,) = block("Boards and rules", "sh").splitlines()
    return subprocess.run(
        ["sh", "-c", line],
        cwd=ROOT,
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.fixture(scope="module")
def demos(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus as the demo starts it, by its address; it has nothing to scrape."""
    folder = tmp_path_factory.mktemp("demo")
    config, data, address = folder / "prometheus.json", folder / "data", f"127.0.0.1:{free_port()}"
    config.write_text(prom.configuration("127.0.0.1:1"))
    with Cast(folder, {}) as cast:
        cast.start("prometheus", prom.arguments(prometheus, config, data, address))
        wait_until(lambda: prom.Prometheus(address).is_ready(data), "Prometheus answers")
        yield address


def test_the_demos_prometheus_evaluates_every_rule(demos: str) -> None:
    """As it says itself, and as they lie in the rendered files."""
    assert loaded(demos) == rules_on_disk()


def test_the_line_imports_each_board_and_names_each_rule_file(demos: str) -> None:
    """What comes back is an answer for each board, and the two files."""
    with grafana() as (url, taken):
        done = run(GRAFANA_URL=url, PROMETHEUS_URL=f"http://{demos}")
    assert done.returncode == 0, done.stderr
    assert {one["dashboard"]["title"] for one in taken} == set(boards())
    assert all(one["overwrite"] for one in taken)
    said = done.stdout.splitlines()
    assert said.count('{"status": "success"}') == len(taken)
    files = [Path(line.rpartition(":")[2].strip('"')).name for line in said if "rules" in line]
    assert files == ["baton-alerts.rules.yaml", "baton-records.rules.yaml"]


def test_a_grafana_that_refuses_is_heard(demos: str) -> None:
    """The line says so on standard error, with the status."""
    with grafana() as (url, taken):
        done = run(GRAFANA_URL=url, GRAFANA_USER="x:y", PROMETHEUS_URL=f"http://{demos}")
    assert taken == []
    assert done.stderr.count("400") == len(boards())
