"""The wire between one worker and a PostgreSQL server, cut or made to refuse what a trial says.

A store that is away is played here as it is met in life: connections end, and no new ones are
taken. A store that refuses one kind of call answers it as a server does whose table is locked; the
server itself never sees the call, and the connection goes on.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from baton.fleet.postgres_connect import address_of
from baton.prove.scenarios.model import Of

_CHUNK = 65_536

#: How a request for encryption begins, which comes before the start and has one byte as answer.
_ASKS_FOR_CRYPT = (80_877_103, 80_877_104)

#: The words by which the text of a statement is known, by the kind of call.
_MARKS = {
    Of.HEARTBEATS: (b"baton_heartbeat(",),
    # A super-step is one plain statement, or a call where that does not do.
    Of.CHECKPOINTS: (b"INSERT INTO checkpoints ", b"baton_put("),
}

#: An error as of a lock that was not had in time, and that the server is ready again.
_FIELDS = b"SERROR\0VERROR\0C55P03\0Mthe trial refuses the call\0\0"
_REFUSAL = b"E" + struct.pack("!I", 4 + len(_FIELDS)) + _FIELDS + b"Z" + struct.pack("!I", 5) + b"I"


@dataclass(eq=False)
class _Link:
    """One connection through here.

    Attributes:
        texts: the statements that were prepared on it, by their names.
        started: whether its start was said, after which each message says what it is.
        swallowing: whether what comes up to the next synchronisation is refused.
    """

    client: socket.socket
    server: socket.socket
    texts: dict[bytes, bytes] = field(default_factory=dict)
    started: bool = False
    swallowing: bool = False
    held: bytes = b""

    def cut(self) -> None:
        """End it on both sides."""
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def messages(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole by now."""
        self.held += data
        while len(self.held) >= (5 if self.started else 8):
            head = 1 if self.started else 0
            (length,) = struct.unpack_from("!I", self.held, head)
            if len(self.held) < head + length:
                return
            message, self.held = self.held[: head + length], self.held[head + length :]
            if not self.started:
                self.started = struct.unpack_from("!I", message, 4)[0] not in _ASKS_FOR_CRYPT
                yield b"\0" + message
            else:
                yield message

    def text(self, message: bytes) -> bytes:
        """The statement that a message is about; empty if it is about none."""
        match message[:1]:
            case b"Q":
                return message[5:]
            case b"P":
                name, text = message[5:].split(b"\0", 2)[:2]
                self.texts[name] = text
                return text
            case b"B":
                return self.texts.get(message[5:].split(b"\0", 2)[1], b"")
            case _:
                return b""


class Wire:
    """Forwards every connection of one worker, until it is told otherwise."""

    def __init__(self, url: str) -> None:
        """Listen on a free port of this host.

        Args:
            url: the store, as it is reached without a wire.
        """
        self._dial = _dialler(url)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._of: Of | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        where = f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"
        rest = [pair for pair in parts.query.split("&") if pair and not _names_a_place(pair)]
        #: The same store through here.
        self.url = urlunsplit(parts._replace(netloc=where, query="&".join(rest)))
        threading.Thread(target=self._accept, name="trial-wire", daemon=True).start()

    def refuse(self, of: Of | None) -> None:
        """Change what is refused from now on.

        Args:
            of: which calls; None for none.
        """
        self._of = of
        if of is Of.EVERYTHING:
            self._cut()

    def close(self) -> None:
        """End everything."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            links = tuple(self._links)
        for link in links:
            link.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._of is Of.EVERYTHING:
                    raise ConnectionRefusedError
                link = _Link(client, self._dial())
            except OSError:
                client.close()
                continue
            with self._lock:
                self._links.add(link)
            threading.Thread(target=self._run, args=(link,), name="trial-wire", daemon=True).start()

    def _run(self, link: _Link) -> None:
        back = threading.Thread(target=_answers, args=(link,), name="trial-wire", daemon=True)
        with link.client, link.server:
            back.start()
            with suppress(OSError):
                while data := link.client.recv(_CHUNK):
                    for message in link.messages(data):
                        self._pass(link, message)
            link.cut()
            back.join()
        with self._lock:
            self._links.discard(link)

    def _pass(self, link: _Link, message: bytes) -> None:
        if message[:1] == b"\0":
            link.server.sendall(message[1:])
            return
        marks = () if self._of is None else _MARKS.get(self._of, ())
        text = link.text(message)
        link.swallowing = link.swallowing or any(mark in text for mark in marks)
        if not link.swallowing:
            link.server.sendall(message)
        elif message[:1] in (b"S", b"Q"):
            link.swallowing = False
            link.client.sendall(_REFUSAL)


def _answers(link: _Link) -> None:
    with suppress(OSError):
        while data := link.server.recv(_CHUNK):
            link.client.sendall(data)
    link.cut()


def _names_a_place(pair: str) -> bool:
    return pair.partition("=")[0] in ("host", "hostaddr", "port")


def _dialler(url: str) -> Callable[[], socket.socket]:
    host, port = address_of(url)

    def dial() -> socket.socket:
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            connection.close()
            raise
        return connection

    return dial
