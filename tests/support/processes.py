"""The processes that a test has started, told from all others of this machine by a mark."""

from __future__ import annotations

import os
from pathlib import Path

#: Tells the processes of one test from all others of this machine.
MARK = "BATON_TEST_MARK"


def marked(mark: str) -> list[str]:
    """The command lines of the processes that carry a mark, this one apart."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment and folder.name != str(os.getpid()):
            found.append(command.replace(b"\0", b" ").decode())
    return found
