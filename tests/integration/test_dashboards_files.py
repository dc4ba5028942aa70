"""The boards as files: written the same by any process, and sent as their page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from baton import content
from baton.observe.dashboards import rendered
from baton.observe.settings import Board, Settings

ROOT = content.root()


def test_rendering_depends_on_nothing_else() -> None:
    """Not on the order of a set: another process, with other hashes, writes the same bytes."""
    script = (
        "import sys; from baton.observe.dashboards import rendered; "
        "from baton.observe.settings import Settings; "
        "sys.stdout.write(''.join(rendered(Settings()).values()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == "".join(rendered(Settings()).values())


def test_the_pages_command_sends_each_board(tmp_path: Path) -> None:
    """The shell block under its heading, with a curl that writes down what it is given."""
    curl = tmp_path / "curl"
    curl.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "assert sys.argv[-1] == 'http://grafana.test/api/dashboards/db', sys.argv\n"
        "sent = json.load(sys.stdin)\n"
        "print(json.dumps([sent['overwrite'], sent['dashboard']['uid']]))\n"
    )
    curl.chmod(0o755)
    found = re.search(
        r"## Install.*?```sh\n(.*?)```", (ROOT / "docs" / "dashboards.md").read_text(), re.DOTALL
    )
    assert found
    path = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    done = subprocess.run(
        ["sh", "-e", "-c", found[1]],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "GRAFANA_URL": "http://grafana.test"},
        capture_output=True,
        text=True,
        check=True,
    )
    sent = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(sent) == [[True, uid] for uid in sorted(Board)]
