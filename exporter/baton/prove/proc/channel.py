"""One line of JSON after another over a socket: how a harness and its workers talk."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

Message = dict[str, Any]


class Channel:
    """One end of a connection; any thread may send, one thread reads."""

    def __init__(self, end: socket.socket) -> None:
        """Take a connected stream socket.

        Args:
            end: closed with the channel.
        """
        self._end = end
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send one message.

        Raises:
            OSError: the other end is gone.
        """
        line = json.dumps(message).encode() + b"\n"
        with self._sending:
            self._end.sendall(line)

    def messages(self) -> Iterator[Message]:
        """What the other end says, until it is gone; half a message at the end is no message."""
        rest = b""
        with suppress(OSError):
            while read := self._end.recv(65536):
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    def close(self) -> None:
        """End the connection, and wake up whoever reads."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()


def listen(path: str) -> socket.socket:
    """A socket of a harness, which its workers connect to.

    Args:
        path: where it is made.
    """
    end = socket.socket(socket.AF_UNIX)
    with _within_reach(path) as short:
        end.bind(short)
    end.listen()
    return end


def connect(path: str) -> Channel:
    """Connect to a harness.

    Args:
        path: of its socket.
    """
    end = socket.socket(socket.AF_UNIX)
    with _within_reach(path) as short:
        end.connect(short)
    return Channel(end)


@contextmanager
def _within_reach(path: str) -> Iterator[str]:
    """Another path to a socket: the kernel takes no longer ones than 107 bytes."""
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
