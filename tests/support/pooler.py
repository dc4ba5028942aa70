"""A pooler in front of a PostgreSQL server, at the level of its messages, as PgBouncer works.

In transaction mode a client is given a server connection with its first message, the one that was
used last if any is free, and loses it when the server says that no transaction is open. What a
client announces at its start goes no further than here; its process number is an invented one.
"""

from __future__ import annotations

import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["transaction", "session"]

_SSL, _GSS = 80877103, 80877104
_PROTOCOL = 196608


class _Ended(Exception):
    """The other side has gone."""


def _exactly(end: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        try:
            more = end.recv(size - len(found))
        except OSError as error:
            raise _Ended from error
        if not more:
            raise _Ended
        found += more
    return found


def _message(end: socket.socket) -> tuple[bytes, bytes]:
    """A message: its kind, and the whole of it."""
    head = _exactly(end, 5)
    return head[:1], head + _exactly(end, struct.unpack("!I", head[1:])[0] - 4)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


@dataclass
class Pooler:
    """One pool.

    Attributes:
        connect: makes a connection to the server.
        login: the user and the database, as a start-up message names them.
        mode: how long a client keeps a server connection.
        ignores_options: takes no notice of ``options``; otherwise it refuses whoever names them.
    """

    connect: Callable[[], socket.socket]
    login: bytes
    mode: Mode
    ignores_options: bool
    listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _free: list[socket.socket] = field(default_factory=list)
    _all: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listening.getsockname()[1])

    def run(self) -> None:
        """Serve until it is closed."""
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            with self._lock:
                self._all.append(client)
                self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End every connection."""
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        with self._lock:
            ends, threads = tuple(self._all), tuple(self._threads)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for end in ends:
            end.close()

    def _serve(self, client: socket.socket) -> None:
        with suppress(_Ended, OSError), client:
            if not self._greeted(client):
                return
            if self.mode == "session":
                self._keep(client)
            else:
                self._take_turns(client)

    def _greeted(self, client: socket.socket) -> bool:
        while True:
            (size,) = struct.unpack("!I", _exactly(client, 4))
            asked = _exactly(client, size - 4)
            (code,) = struct.unpack("!I", asked[:4])
            if code not in (_SSL, _GSS):
                break
            client.sendall(b"N")
        if code != _PROTOCOL:
            return False
        if b"\0options\0" in asked and not self.ignores_options:
            words = "unsupported startup parameter: options"
            body = b"".join(
                kind + text.encode() + b"\0"
                for kind, text in ((b"S", "FATAL"), (b"C", "08P01"), (b"M", words))
            )
            client.sendall(_packed(b"E", body + b"\0"))
            return False
        number = _packed(b"K", secrets.token_bytes(8))
        about = b"".join(
            _packed(b"S", name + b"\0" + value + b"\0")
            for name, value in (
                (b"server_version", b"18.0"),
                (b"client_encoding", b"UTF8"),
                (b"standard_conforming_strings", b"on"),
                (b"integer_datetimes", b"on"),
            )
        )
        ready = _packed(b"Z", b"I")
        client.sendall(_packed(b"R", struct.pack("!I", 0)) + about + number + ready)
        return True

    def _server(self) -> socket.socket:
        with self._lock:
            if self._free:
                return self._free.pop()
        server = self.connect()
        body = struct.pack("!I", _PROTOCOL) + self.login
        server.sendall(struct.pack("!I", len(body) + 4) + body)
        while _message(server)[0] != b"Z":
            pass
        with self._lock:
            self._all.append(server)
        return server

    def _take_turns(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        try:
            while True:
                kind, message = _message(client)
                if kind == b"X":
                    return
                server = server or self._server()
                server.sendall(message)
                # A simple query and a Sync are answered until the server is ready again.
                while kind in (b"Q", b"S"):
                    said, answer = _message(server)
                    client.sendall(answer)
                    if said == b"Z":
                        if answer[5:] == b"I":
                            with self._lock:
                                self._free.append(server)
                            server = None
                        break
        finally:
            if server is not None:
                server.close()

    def _keep(self, client: socket.socket) -> None:
        server = self._server()
        there = threading.Thread(target=_pump, args=(client, server), daemon=True)
        there.start()
        _pump(server, client)
        there.join()
        server.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def pooler(
    connect: Callable[[], socket.socket],
    *,
    user: str,
    database: str,
    mode: Mode,
    ignores_options: bool,
) -> Iterator[str]:
    """A running pooler; yields the URL of the database through it."""
    login = f"user\0{user}\0database\0{database}\0client_encoding\0UTF8\0\0".encode()
    running = Pooler(connect, login, mode, ignores_options)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        yield f"postgresql://{user}@127.0.0.1:{running.port}/{database}"
    finally:
        running.close()
        thread.join()
