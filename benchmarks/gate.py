"""Fifty criteria asked by the gate beside fifty ``requests.get``, of one warm Prometheus.

The gate's side does everything: it asks for the values, for the raw samples that they rest on and
for its canaries, reads every answer and judges every criterion. The other side only gets fifty
answers, as a script would. Reading the policy is done before, on neither side.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from baton.domain.gate.bench import judge
from baton.domain.gate.plan import plan
from baton.domain.gate.policy import Policy
from baton.domain.gate.words import Decision
from baton.prove.demo.cast import free_port
from baton.prove.demo.prometheus import Prometheus, arguments, find_program
from baton.prove.gate.client import Access, Client
from baton.prove.gate.material import Material
from baton.prove.gate.parse import parse
from benchmarks.harness import NOISE_MAX, Figure, paired, say

CRITERIA = 50
BAR = 3.0

_WINDOW_SECONDS = 10
_START_SECONDS = 60.0

_HEAD = f"""\
version: "1.0.0"
name: bench
owner: nobody
parameters: {{window: {_WINDOW_SECONDS}s, scrape_interval: 1s, stale_after: 5s, gap_max: 5s,
  coverage_min: "0.5"}}
criteria:
"""
_CRITERION = """\
  - id: COV-{number}
    question: Is it there?
    why: It should be.
    next: Nothing.
    query: min(avg_over_time(up[{seconds}s]))
    samples: up
    must: ">= 0"
"""


def _policy() -> Policy:
    criteria = (_CRITERION.format(number=number, seconds=number + 10) for number in range(CRITERIA))
    return parse("bench.yaml", _HEAD + "".join(criteria))


def _serve(stack: ExitStack, program: str, folder: Path) -> Prometheus:
    """A Prometheus that scrapes itself, and has for a whole window."""
    server = Prometheus(f"127.0.0.1:{free_port()}")
    jobs = [{"job_name": "self", "static_configs": [{"targets": [server.address]}]}]
    document = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    config = folder / "prometheus.json"
    config.write_text(json.dumps(document))
    process = subprocess.Popen(
        arguments(program, config, folder / "data", server.address),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    deadline, looking = time.monotonic() + _START_SECONDS, threading.Event()
    while not _warm(server, folder):
        if time.monotonic() > deadline:
            raise TimeoutError("Prometheus does not become warm")
        looking.wait(0.2)
    return server


def _warm(server: Prometheus, folder: Path) -> bool:
    if not server.is_ready(folder / "data"):
        return False
    found = server.ask(f"count_over_time(up[{_WINDOW_SECONDS}s])")
    return bool(found) and found[0].value >= _WINDOW_SECONDS - 1


def figures(rounds: int) -> list[Figure]:
    """How many times faster the gate is."""
    program = find_program()
    if program is None:
        raise FileNotFoundError("no Prometheus here; tools/prometheus.sh gets it")
    policy = _policy()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="baton-bench-")))
        say("a Prometheus is warmed up")
        server = _serve(stack, program, folder)
        at = round(time.time(), 3)
        url = f"{server.url}/api/v1/query"
        queries = [criterion.query for criterion in policy.criteria]

        def theirs() -> None:
            for query in queries:
                answer = requests.get(url, params={"query": query, "time": str(at)}, timeout=10)
                assert answer.json()["status"] == "success"

        def ours() -> None:
            with Client(Access(url=server.url)) as client:
                answers = client.ask_all(plan(policy, at))
            places = {ask: f"answers/{n}.json" for n, ask in enumerate(answers)}
            material = Material(
                at=at,
                prometheus=server.url,
                given={},
                policy=policy,
                files={
                    "policy.yaml": b"",
                    **{places[ask]: answer.body for ask, answer in answers.items()},
                },
                answers=answers,
                places=places,
            )
            verdict = judge(material.case())
            assert verdict.decision is Decision.GO, [one.detail for one in verdict.results][:3]

        theirs()
        ours()
        result = paired(theirs, ours, rounds)
    theirs_ms = result.base_wall * 1e3
    return [
        Figure(
            f"{CRITERIA} requests.get / the gate's {CRITERIA} criteria, wall",
            1 / result.wall,
            BAR,
            at_most=False,
            detail=f"{theirs_ms:.0f} ms against {theirs_ms * result.wall:.0f} ms, each against"
            f" itself {result.wall_noise:.1%}",
            void=result.wall_noise > NOISE_MAX,
        )
    ]
