"""Makes worker processes: a process that has imported everything, and forks one for each spec.

``python -m baton.prove.proc.maker`` reads specs from its standard input, a line each, and says
on its standard output that it is ready, which process began and how each ended, as ``waitpid``
tells it. It has no
threads and no files of any fleet, so what it forks is as good as new. It ends with its standard
input, and then leaves nobody behind.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import sys
from contextlib import suppress
from typing import Any

from baton.prove.proc.worker import Spec, run

_log = logging.getLogger("baton.trial")

#: The exit code of a process that could not even begin.
_FAILED = 71


class Maker:
    """Forks, and waits for what it has forked."""

    def __init__(self) -> None:
        """Be woken by the ends of children."""
        self._wake_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._fds = (self._wake_fd, write_fd)
        self._children: set[int] = set()

    def serve(self) -> None:
        """Go on until the standard input ends."""
        selector = selectors.DefaultSelector()
        for fd in (0, self._wake_fd):
            selector.register(fd, selectors.EVENT_READ)
        rest = b""
        try:
            while True:
                for key, _ in selector.select():
                    read = os.read(key.fd, 65536)
                    if key.fd == self._wake_fd:
                        self._reap()
                        continue
                    if not read:
                        return
                    *lines, rest = (rest + read).split(b"\n")
                    for line in lines:
                        self._fork(Spec.decode(line.decode()))
        finally:
            for child in self._children:
                with suppress(ProcessLookupError, ChildProcessError):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)

    def _fork(self, spec: Spec) -> None:
        child = os.fork()
        if child == 0:
            self._become(spec)
        self._children.add(child)
        _say(process=spec.process, pid=child)

    def _become(self, spec: Spec) -> None:
        """What a forked child does; it does not come back."""
        code = _FAILED
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in self._fds:
                os.close(fd)
            log = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = run(spec)
        except BaseException:  # noqa: BLE001 - this is the end of the process, whatever it is
            _log.exception("this process failed")
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _reap(self) -> None:
        for child in tuple(self._children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                self._children.discard(pid)
                _say(pid=pid, code=os.waitstatus_to_exitcode(status))


def _say(**fields: Any) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


def main() -> None:
    """Import what every worker needs, then serve."""
    from baton.prove.scenarios import graphs

    # Touched so that the import is there before the first fork.
    _log.debug("%d graphs", len(graphs.GRAPHS))
    maker = Maker()
    _say(ready=True)
    maker.serve()


if __name__ == "__main__":
    main()
