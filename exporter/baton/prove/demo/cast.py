"""The demo's processes: started in groups of their own, and ended whatever happens.

Everything is done by process id to direct children that nobody else waits for, so that an id
cannot have been given to another process in between.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

#: How long all processes together have for an orderly end.
GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.02
#: Below the first port that Linux (32768) or macOS (49152) gives to whoever asks for any.
_PORTS = range(20_000, 32_000)


class Process:
    """One process, its name on the screen and its log."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        """Take a process that was just started.

        Args:
            name: what the demo calls it.
            popen: the process, the first of a group of its own.
            log: where its output goes.
        """
        self.name = name
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it lives, stopped or not."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this process alone; False if it has ended."""
        if self.exit_code is not None:
            return False
        os.kill(self.pid, number)
        return True

    def kill_group(self) -> None:
        """End it and whatever it has started; a stopped process is ended too."""
        if self.exit_code is None:
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until the kernel has taken it away."""
        self._popen.wait()

    def last_words(self) -> str:
        """The last line that it wrote, for a message."""
        lines = self._written().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def said(self, pattern: str) -> str | None:
        """What the first group of a pattern matches in what it wrote; None until it does."""
        found = re.search(pattern, self._written())
        return found[1] if found else None

    def _written(self) -> str:
        with suppress(OSError):
            return self.log.read_text(errors="replace")
        return ""


class Cast:
    """All processes of one demo; a context that leaves none behind."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        """Start nothing yet.

        Args:
            logs: the folder of their logs.
            environment: variables on top of this process's own.
        """
        self._logs = logs
        self._environment = {**os.environ, **environment}
        self._all: list[Process] = []
        self._grace_seconds = GRACE_SECONDS

    def __enter__(self) -> Self:
        """Use the cast in a ``with``."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        self.close()

    def start(self, name: str, command: Sequence[str], folder: Path | None = None) -> Process:
        """Start a process in a session of its own, where the terminal's signals do not reach it.

        Args:
            name: what to call it; its log is ``NAME.log``, appended to.
            command: the program and its arguments.
            folder: where it works; None for where the demo does.
        """
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                list(command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self._all.append(process)
        return process

    def close(self) -> None:
        """End every process: politely at first, then not, and wait for each."""
        living = [process for process in self._all if process.exit_code is None]
        for process in living:
            # A stopped process acts on SIGTERM only after SIGCONT, so that one goes second.
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
        began = time.monotonic()
        while living and time.monotonic() - began < self._grace_seconds:
            living = [process for process in living if process.exit_code is None]
            time.sleep(_POLL_SECONDS)
        for process in self._all:
            process.kill_group()
        for process in self._all:
            process.wait()

    def hurry(self) -> None:
        """End everything at once, also while ``close`` is waiting; for a signal handler."""
        self._grace_seconds = 0.0


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago.

    Below the range from which the kernel serves those who ask for any port, so that nobody who
    does can come by it before whoever is told to listen there does.
    """
    while True:
        port = random.randrange(_PORTS.start, _PORTS.stop)  # noqa: S311 - no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
