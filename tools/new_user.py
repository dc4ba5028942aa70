"""Walk a new user's path from a fresh clone, and time each step: `python tools/new_user.py`.

Nothing of this checkout is used but its last commit, and nothing of its environment: the clone sets
up its own. A Grafana is not at hand everywhere, so the boards go to a stand-in that takes what
Grafana's interface takes, and what is timed is the line of the README.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WAIT_SECONDS = 600.0


def main() -> None:
    """Print a row for each step."""
    with tempfile.TemporaryDirectory(prefix="baton-new-user-") as name:
        clone = Path(name) / "baton"
        steps: list[tuple[str, Callable[[], object]]] = [
            ("git clone", lambda: run(["git", "clone", "--quiet", str(ROOT), str(clone)], ROOT)),
            ("make demo, everything set up", lambda: run(["make", "demo", "ARGS=--once"], clone)),
            ("the same again", lambda: run(["make", "demo", "ARGS=--once"], clone)),
            ("own graph leased", lambda: run([python(clone), "examples/adopt.py"], clone)),
            ("seen in metrics", lambda: seen_in_metrics(clone)),
        ]
        for what, step in steps:
            tell(what, step)
        with fleet(clone) as found, stand_in() as grafana:
            url = found["places"]["prometheus"]
            tell("boards imported, rules named", lambda: boards(clone, grafana, url))
            tell("gate run", lambda: gate(clone, found))


def tell(what: str, step: Callable[[], object]) -> None:
    """Time one step."""
    began = time.monotonic()
    step()
    print(f"| {what} | {time.monotonic() - began:.1f} s |", flush=True)


def python(clone: Path) -> str:
    """The clone's own interpreter."""
    return str(clone / ".venv/bin/python")


def environment(clone: Path) -> dict[str, str]:
    """That of somebody who has put ``baton`` on the path."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TERM") if name in os.environ}
    return {**kept, "PATH": f"{clone / '.venv/bin'}:{os.environ['PATH']}"}


def run(command: list[str], folder: Path, *, codes: tuple[int, ...] = (0,), **more: str) -> str:
    """Run a command to its end; ends everything where it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder) | more,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in codes:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def background(command: list[str], clone: Path, folder: Path) -> Iterator[None]:
    """Something that runs until it is no longer needed."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment(clone), stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def until(found: Callable[[], bool], what: str) -> None:
    """Wait for something, and not for ever."""
    deadline, never = time.monotonic() + WAIT_SECONDS, threading.Event()
    while not found():
        if time.monotonic() > deadline:
            sys.exit(f"not within {WAIT_SECONDS:g} s: {what}")
        never.wait(0.02)


def seen_in_metrics(clone: Path) -> None:
    """The run of examples/adopt.py, at the exporter."""
    command = ["baton", "exporter", "--store", "sqlite:///fleet.db"]
    with background(command, clone, clone):
        until(
            lambda: (
                re.search(r"^langgraph_runs_total\{.*external.*\} 1", scraped(), re.MULTILINE)
                is not None
            ),
            "the run",
        )


def scraped() -> str:
    """What the exporter serves; nothing while it is not up."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


@contextmanager
def fleet(clone: Path) -> Iterator[dict[str, Any]]:
    """A demo that has come to its verdict, and goes on; what it says of itself."""
    out = clone / "demo.out"
    with background(["baton", "demo", "--out", str(out)], clone, clone):
        summary = out / "summary.json"
        until(summary.exists, "the verdict of the demo")
        yield json.loads(summary.read_text(encoding="utf-8"))


@contextmanager
def stand_in() -> Iterator[str]:
    """A server that accepts boards."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))["dashboard"]["title"]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def boards(clone: Path, grafana: str, prometheus: str) -> None:
    """The README's one line."""
    text = (clone / "README.md").read_text(encoding="utf-8")
    line = next(one for one in text.splitlines() if one.startswith("for board in dashboards/"))
    said = run(["sh", "-c", line], clone, GRAFANA_URL=grafana, PROMETHEUS_URL=prometheus)
    if ".rules.yaml" not in said:
        sys.exit(f"no rule file was named: {said}")


def gate(clone: Path, found: dict[str, Any]) -> None:
    """A question about the demo's fleet; over its short life, so it may say INCONCLUSIVE."""
    settings = {"window": f"{found['scraped_seconds']}s", "scrape_interval": "1s"}
    settings |= {"stale_after": "5s", "gap_max": "10s"}
    store = f"sqlite:///{clone}/demo.out/fleet.db"
    command = ["baton", "gate", "--prometheus", found["places"]["prometheus"], "--store", store]
    command += ["--at", str(found["at"]), "--out", "gate-out"]
    command += [f"--set={name}={value}" for name, value in settings.items()]
    run(command, clone, codes=(0, 2))


if __name__ == "__main__":
    main()
