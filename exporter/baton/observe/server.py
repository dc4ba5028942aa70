"""The HTTP server of the exporter and of a worker: metrics, health, and service discovery.

HTTP/1.0, one answer per connection: a scraper comes every few seconds, and a connection that is
kept open between two scrapes would only hold a thread. Every wait has an end, and so has the
number of connections served at a time.
"""

from __future__ import annotations

import html
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple, Self

from prometheus_client.exposition import gzip_accepted

from baton.errors import BadInput, PortInUse
from baton.observe.exposition import Snapshot
from baton.observe.sharing import SharedCollection

#: Seconds that one read or write on a connection may take: Prometheus' own scrape timeout.
CONNECTION_TIMEOUT_SECONDS = 10.0
#: Connections served at a time; further ones are answered 503 at once.
CONNECTIONS_MAX = 64
#: Seconds between two looks at whether to stop.
_POLL_SECONDS = 0.1
_PORT_MAX = 65535

_log = logging.getLogger(__name__)

Targets = Sequence[Mapping[str, Any]]
"""Target groups as https://prometheus.io/docs/prometheus/latest/http_sd/ has them."""


class Answer(NamedTuple):
    """What a page says."""

    status: HTTPStatus
    body: bytes
    headers: Mapping[str, str]


Page = Callable[[Message], Answer]
"""Answers a request, given its headers."""


def parse_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; an IPv6 host stands in brackets, port 0 means any free one.

    Raises:
        BadInput: the text is not an address.
    """
    host, _, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    number = int(port) if port.isascii() and port.isdigit() else -1
    if not bare or (":" in bare) != bracketed or not 0 <= number <= _PORT_MAX:
        raise BadInput(
            detail=f"{text!r} is not HOST:PORT; write 127.0.0.1:9464 for this machine only, "
            "or 0.0.0.0:9464 for every interface"
        )
    return bare, number


def format_address(host: str, port: int) -> str:
    """The inverse of ``parse_address``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class MetricsServer:
    """Serves ``/metrics``, ``/-/healthy``, ``/-/ready``, ``/sd/workers`` and a page of links.

    Attributes:
        address: ``HOST:PORT`` as it was bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        collect: Callable[[], Snapshot],
        ready: Callable[[], bool] = lambda: True,
        discover: Callable[[], Targets] | None = None,
        title: str = "Baton",
    ) -> None:
        """Bind the address; nothing is served before ``start``.

        Args:
            host: a name or an IP address of this machine.
            port: 0 for any free one; ``address`` tells which.
            collect: gives the values of one scrape; never runs twice at a time.
            ready: whether the process can do its work, such as reach its store.
            discover: the workers' own metric addresses; without it there is no ``/sd/workers``.
            title: what the page of links is headed.

        Raises:
            PortInUse: the address is taken, or is not this machine's to take.
        """
        shared = SharedCollection(collect)
        pages: dict[str, Page] = {
            "/metrics": lambda headers: _metrics(shared, headers),
            "/-/healthy": lambda _: _text(HTTPStatus.OK, "healthy"),
            "/-/ready": lambda _: _readiness(ready),
        }
        if discover is not None:
            pages["/sd/workers"] = lambda _: _targets(discover)
        links = _index(title, [*pages])
        self._http = _bind(host, port, {**pages, "/": lambda _: links})
        self.address = format_address(*self._http.socket.getsockname()[:2])
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )

    @property
    def url(self) -> str:
        """Where a browser finds the page of links."""
        return f"http://{self.address}/"

    def start(self) -> Self:
        """Serve, in a thread of its own."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port, then wait for the answers that are under way."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        self._http.drain(CONNECTION_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        """Serve for the length of a block."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """See ``stop``."""
        self.stop()


def _metrics(shared: SharedCollection, headers: Message) -> Answer:
    compressed = gzip_accepted(headers.get("Accept-Encoding", ""))
    body, kind = shared.body(headers.get("Accept", ""), compressed=compressed)
    encoding = {"Content-Encoding": "gzip"} if compressed else {}
    return Answer(
        HTTPStatus.OK, body, {"Content-Type": kind, "Vary": "Accept, Accept-Encoding", **encoding}
    )


def _readiness(ready: Callable[[], bool]) -> Answer:
    if ready():
        return _text(HTTPStatus.OK, "ready")
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, "not ready")


def _targets(discover: Callable[[], Targets]) -> Answer:
    body = json.dumps([dict(group) for group in discover()], sort_keys=True).encode()
    return Answer(HTTPStatus.OK, body, {"Content-Type": "application/json"})


def _index(title: str, paths: Sequence[str]) -> Answer:
    heading = html.escape(title)
    links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in paths)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f"<h1>{heading}</h1><ul>{links}</ul></html>\n"
    )
    return Answer(HTTPStatus.OK, page.encode(), {"Content-Type": "text/html; charset=utf-8"})


def _text(status: HTTPStatus, line: str) -> Answer:
    return Answer(status, f"{line}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})


def _bind(host: str, port: int, pages: Mapping[str, Page]) -> _HTTPServer:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # `localhost` is the address that people then type, which is the IPv4 one.
        found.sort(key=lambda info: info[0] != socket.AF_INET)
        return _HTTPServer(found[0][0], found[0][4], pages)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PortInUse(address=format_address(host, port), detail=why) from error


class _HTTPServer(socketserver.ThreadingTCPServer):
    """A thread per connection, up to ``CONNECTIONS_MAX`` of them."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, family: int, address: Any, pages: Mapping[str, Page]) -> None:
        self.address_family = family
        self._pages = pages
        self._failing: set[str] = set()
        self._connections = 0
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def answer(self, path: str, headers: Message) -> Answer:
        """What the page says. The first failure of a page is logged, and its recovery."""
        if path not in self._pages:
            return _text(HTTPStatus.NOT_FOUND, "no such page; / lists those there are")
        try:
            answer = self._pages[path](headers)
        except Exception:  # noqa: BLE001 - whatever a page fails of, the others are still served
            if path not in self._failing:
                self._failing.add(path)
                _log.exception("%s fails; it is logged again once it works", path)
            # No detail: an error may name the store with its password.
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "failed; the log of this process has why")
        if path in self._failing:
            self._failing.discard(path)
            _log.warning("%s works again", path)
        return answer

    def drain(self, seconds: float) -> None:
        """Wait, at most so long, until no connection is being served."""
        with self._changed:
            self._changed.wait_for(lambda: self._connections == 0, seconds)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            admitted = self._connections < CONNECTIONS_MAX
            self._connections += admitted
        if not admitted:
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._leave()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A scraper that went away is its own affair, and must not fill the log."""
        _log.debug("connection of %s broke", client_address, exc_info=True)

    def _leave(self) -> None:
        with self._changed:
            self._connections -= 1
            self._changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer."""

    server: _HTTPServer
    timeout = CONNECTION_TIMEOUT_SECONDS
    server_version = "Baton"
    sys_version = ""

    def do_GET(self) -> None:
        answer = self._head()
        self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self._head()

    def log_message(self, *_: Any) -> None:
        """Say nothing: a scrape every few seconds is no news."""

    def _head(self) -> Answer:
        answer = self.server.answer(self.path.partition("?")[0], self.headers)
        self.send_response(answer.status)
        common = {"Content-Length": str(len(answer.body)), "Cache-Control": "no-store"}
        for name, value in {**answer.headers, **common}.items():
            self.send_header(name, value)
        self.end_headers()
        return answer
