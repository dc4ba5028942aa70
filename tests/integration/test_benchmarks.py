"""What a benchmark starts ends with it, however it is ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict
from tests.support.runs import wait_until

BENCHMARK = """
import threading
from benchmarks.server import ended_in_order, tuned_postgres
with ended_in_order(), tuned_postgres({"max_connections": "10"}) as url:
    print(url, flush=True)
    threading.Event().wait()
"""


def test_a_benchmark_that_is_told_to_end_takes_its_server_along() -> None:
    """SIGTERM, as a scheduler or an impatient person sends it."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", BENCHMARK], cwd=root, stdout=subprocess.PIPE, text=True
    ) as benchmark:
        assert benchmark.stdout is not None
        host = conninfo_to_dict(benchmark.stdout.readline().strip())["host"]
        folder = Path(str(host))
        server = int((folder / "postmaster.pid").read_text().splitlines()[0])
        benchmark.terminate()
        assert benchmark.wait(60) == 128 + signal.SIGTERM
    wait_until(lambda: not Path(f"/proc/{server}").exists(), "the end of the server")
    assert not folder.exists()
