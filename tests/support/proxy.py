"""A proxy in front of a server, which cuts, mutes and loses what a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class _Trap:
    """What is to happen to the next request that has these bytes in it."""

    containing: bytes
    request_arrives: bool
    sprung: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    client: socket.socket
    server: socket.socket
    trap: _Trap | None = None

    def cut(self) -> None:
        """End it on both sides."""
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def run(self, requests: Callable[[_Link], None], answers: Callable[[_Link], None]) -> None:
        """Forward in both directions until it has ended, and leave nothing open."""
        thread = threading.Thread(target=answers, args=(self,), daemon=True)
        with self.client, self.server:
            thread.start()
            requests(self)
            thread.join()


class Proxy:
    """Forwards every connection, until it is told otherwise."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        """Listen on a free port of this host.

        Args:
            connect: makes a connection to the server.
        """
        self._connect = connect
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._trap: _Trap | None = None
        self._threads: list[threading.Thread] = []
        self._open = True
        self.muted = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if not self._open:
                client.close()
                continue
            try:
                link = _Link(client, self._connect())
            except OSError:
                client.close()
                continue
            with self._lock:
                self._links.append(link)
            thread = threading.Thread(
                target=link.run, args=(self._requests, self._answers), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _requests(self, link: _Link) -> None:
        with suppress(OSError):
            while data := link.client.recv(65536):
                with self._lock:
                    trap = self._trap
                    sprung = trap is not None and trap.containing in data
                    if sprung:
                        self._trap = None
                if trap is None or not sprung:
                    link.server.sendall(data)
                    continue
                if trap.request_arrives:
                    # The server has done it once it answers; see ``_answers``.
                    link.trap = trap
                    link.server.sendall(data)
                    continue
                trap.sprung.set()
                break
        link.cut()

    def _answers(self, link: _Link) -> None:
        with suppress(OSError):
            while data := link.server.recv(65536):
                if link.trap is not None:
                    link.trap.sprung.set()
                    break
                if self.muted:
                    continue
                link.client.sendall(data)
        link.cut()

    def lose_answer(self, containing: bytes = b"") -> threading.Event:
        """Let the next such request arrive, and cut the connection instead of its answer."""
        return self._set(containing, request_arrives=True)

    def lose_request(self, containing: bytes = b"") -> threading.Event:
        """Cut the connection in the place of the next such request."""
        return self._set(containing, request_arrives=False)

    def _set(self, containing: bytes, *, request_arrives: bool) -> threading.Event:
        with self._lock:
            self._trap = _Trap(containing, request_arrives)
            return self._trap.sprung

    def cut(self) -> None:
        """End every connection; new ones are welcome."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.cut()

    @contextmanager
    def away(self, *, cut: bool = True) -> Iterator[None]:
        """Take no new connection for a while, and end those that there are unless told not to."""
        self._open = False
        if cut:
            self.cut()
        try:
            yield
        finally:
            self._open = True

    @contextmanager
    def silence(self, *, cut: bool = True) -> Iterator[None]:
        """Lose every answer for a while, and tell nobody.

        Args:
            cut: end in the end what has lost its answer; else nobody ever does.
        """
        self.muted = True
        try:
            yield
        finally:
            self.muted = False
            if cut:
                self.cut()

    def close(self) -> None:
        """End everything."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join()
        self.cut()
        for thread in self._threads:
            thread.join()
