"""The client that asks Prometheus: one session, few connections, every wait bounded.

A socket's own time-out starts anew with every byte, so that a server that sends one now and then
would hold the gate for days. A watchdog shuts the connection of whatever is past its deadline.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError

from baton.domain.gate.answers import Answer
from baton.domain.gate.plan import Ask
from baton.domain.gate.words import Reason
from baton.errors import BadInput

TOKEN_VARIABLE = "BATON_PROMETHEUS_TOKEN"  # noqa: S105 - the name of a variable
BASIC_VARIABLE = "BATON_PROMETHEUS_BASIC"

#: Connections at once; a gate must not be what overloads a Prometheus.
CONNECTIONS = 4
#: More than this is no answer to a question about a fleet.
BODY_BYTES_MAX = 16 * 1024 * 1024
_LOOK_SECONDS = 0.05
_BACKOFF_SECONDS = 0.1
_SECRET_MIN = 4
#: An answer within this is that of a near and quick server.
_NEAR_SECONDS = 0.03

#: HTTP statuses after which another try may succeed.
_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where Prometheus is and how it may be asked.

    Attributes:
        url: of the server, without credentials.
        token: a bearer token; empty for none.
        basic: ``USER:PASSWORD``; empty for none.
        ca_file: certificates that are trusted instead of the system's.
        timeout_seconds: for one request, from its first byte to its last.
        tries: how often a request is made at most.
    """

    url: str
    token: str = field(default="", repr=False)
    basic: str = field(default="", repr=False)
    ca_file: Path | None = None
    timeout_seconds: float = 10.0
    tries: int = 3


def access_to(
    url: str,
    *,
    token_file: Path | None,
    basic_file: Path | None,
    ca_file: Path | None,
    timeout_seconds: float,
) -> Access:
    """Take the address apart and read the secrets, from files or from the environment.

    Raises:
        BadInput: the address is none or carries a secret, or a file cannot be used.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise BadInput(detail=f"--prometheus {url.rpartition('@')[2]} is not http(s)://HOST[:PORT]")
    if parts.username is not None or parts.password is not None:
        mend = f"use --basic-file, or set {BASIC_VARIABLE}"
        raise BadInput(detail=f"--prometheus has a user or password in its address; {mend}")
    if parts.query or parts.fragment:
        raise BadInput(detail="--prometheus takes an address without '?' and '#'")
    token = _secret("--token-file", token_file, TOKEN_VARIABLE)
    basic = _secret("--basic-file", basic_file, BASIC_VARIABLE)
    if token and basic:
        raise BadInput(detail="both a token and a basic authorization are given; leave one out")
    if basic and ":" not in basic:
        raise BadInput(detail="the basic authorization is not USER:PASSWORD")
    if ca_file is not None and not ca_file.is_file():
        raise BadInput(detail=f"--ca-file {ca_file}: no such file")
    return Access(
        url=url.rstrip("/"),
        token=token,
        basic=basic,
        ca_file=ca_file,
        timeout_seconds=timeout_seconds,
    )


def _secret(option: str, path: Path | None, variable: str) -> str:
    if path is None:
        return os.environ.get(variable, "").strip()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadInput(detail=f"{option} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(detail=f"{option} {path} is not UTF-8 text") from error
    if not text or len(text.splitlines()) != 1 or not text.isprintable():
        raise BadInput(detail=f"{option} {path} does not hold one line")
    return text


class _Watchdog:
    """Shuts the sockets of requests that are past their deadline."""

    def __init__(self) -> None:
        self._deadlines: dict[int, float] = {}
        self._sockets: dict[int, Any] = {}
        self._late: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="gate-watchdog")
        self._thread.start()

    def begin(self, seconds: float) -> None:
        """The calling thread begins a request."""
        me = threading.get_ident()
        self._late.discard(me)
        self._deadlines[me] = time.monotonic() + seconds

    def uses(self, connection: HTTPConnection) -> None:
        """The calling thread uses a connection."""
        self._sockets[threading.get_ident()] = connection

    def end(self) -> bool:
        """The calling thread's request is over; whether it was cut short."""
        me = threading.get_ident()
        self._deadlines.pop(me, None)
        self._sockets.pop(me, None)
        return me in self._late

    def close(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            for thread, deadline in list(self._deadlines.items()):
                if now > deadline:
                    self._late.add(thread)
                    _shut(getattr(self._sockets.get(thread), "sock", None))


def _shut(found: Any) -> None:
    if isinstance(found, socket.socket):
        with suppress(OSError):
            # Not SSLSocket's own, which takes the object away under its reader.
            socket.socket.shutdown(found, socket.SHUT_RDWR)


def _watched(watchdog: _Watchdog) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections tell the watchdog who uses them."""

    class Plain(HTTPConnection):
        def request(self, *args: Any, **more: Any) -> None:
            watchdog.uses(self)
            super().request(*args, **more)

    class Secure(HTTPSConnection):
        def request(self, *args: Any, **more: Any) -> None:
            watchdog.uses(self)
            super().request(*args, **more)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _OneServer(HTTPAdapter):
    """The way to one server, found once: neither its address nor whom it is trusted by changes.

    ``requests`` takes every address apart anew, which costs as much as a near server's answer.
    """

    _way: ConnectionPool | None = None

    def get_connection_with_tls_context(self, *args: Any, **more: Any) -> ConnectionPool:
        if self._way is None:
            self._way = super().get_connection_with_tls_context(*args, **more)
        return self._way


class Client:
    """Asks one Prometheus; a context that leaves no connection and no thread behind."""

    def __init__(self, access: Access) -> None:
        """Ask nothing yet.

        Args:
            access: where and how.
        """
        self._access = access
        self._watchdog = _Watchdog()
        self._session = requests.Session()
        self._adapter = _OneServer(CONNECTIONS, CONNECTIONS, max_retries=0, pool_block=True)
        self._adapter.poolmanager.pool_classes_by_scheme = _watched(self._watchdog)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        self._proxies = get_environ_proxies(access.url)
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **_authorization(access),
        }
        self._secrets = _secrets(access)
        self._verify = str(access.ca_file) if access.ca_file else _system_certificates()
        self._prepared: dict[str, requests.PreparedRequest] = {}

    def __enter__(self) -> Self:
        """Use it in a ``with``."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self._watchdog.close()
        self._session.close()

    def ask_all(self, asks: Iterable[Ask]) -> dict[Ask, Answer]:
        """Ask everything; the answers come in the order of the questions.

        A server that is near and quick is asked over one connection: threads that take turns at
        Python's lock would cost more than the waiting. From the first slow answer on, several
        questions are asked at once.
        """
        wanted = list(dict.fromkeys(asks))
        answers: dict[Ask, Answer] = {}
        for ask in wanted:
            begun = time.monotonic()
            answers[ask] = self.ask(ask)
            if time.monotonic() - begun > _NEAR_SECONDS:
                break
        rest = wanted[len(answers) :]
        if rest:
            with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="gate") as pool:
                answers |= zip(rest, pool.map(self.ask, rest), strict=True)
        return answers

    def ask(self, ask: Ask) -> Answer:
        """Ask once, and again a bounded number of times where that may help."""
        answer = self._once(ask)
        for attempt in range(1, self._access.tries):
            if not _may_help(answer):
                break
            self._watchdog._over.wait(_BACKOFF_SECONDS * attempt)  # noqa: SLF001 - ends with it
            answer = self._once(ask)
        return answer

    def _once(self, ask: Ask) -> Answer:
        # Silence is for the socket's own time-out to tell; from the first byte on, as long again.
        self._watchdog.begin(2 * self._access.timeout_seconds)
        try:
            answer = self._send(self._request(ask))
        except (requests.RequestException, HTTPError, OSError, ValueError, AttributeError) as error:
            late = self._watchdog.end()
            reason = Reason.TOO_SLOW if late else _reason_of(error)
            return Answer(failure=reason, detail=self._clean(_said(reason, self._access)))
        if self._watchdog.end():
            return Answer(failure=Reason.TOO_SLOW, detail=_said(Reason.TOO_SLOW, self._access))
        return answer

    def _request(self, ask: Ask) -> requests.PreparedRequest:
        """The request for one question; all questions of one path differ in their query alone."""
        if ask.path not in self._prepared:
            whole = requests.Request("GET", f"{self._access.url}{ask.path}", headers=self._headers)
            self._prepared[ask.path] = whole.prepare()
        # A shallow copy, as nobody changes the headers that they share.
        request = copy(self._prepared[ask.path])
        if ask.parameters:
            request.url = f"{request.url}?{urlencode(ask.parameters)}"
        return request

    def _send(self, request: requests.PreparedRequest) -> Answer:
        # Not the session's own ``send``, which keeps cookies and follows redirects.
        with self._adapter.send(
            request,
            stream=True,
            timeout=self._access.timeout_seconds,
            verify=self._verify,
            proxies=self._proxies,
        ) as response:
            body = response.raw.read(BODY_BYTES_MAX + 1, decode_content=True)
            if len(body) > BODY_BYTES_MAX:
                said = f"over {BODY_BYTES_MAX // 1024 // 1024} MiB"
                return Answer(failure=Reason.TOO_LARGE, detail=said)
            return Answer(
                status=response.status_code,
                content_type=response.headers.get("Content-Type", ""),
                body=self._clean_bytes(body),
            )

    def _clean(self, text: str) -> str:
        return self._clean_bytes(text.encode()).decode(errors="replace")

    def _clean_bytes(self, body: bytes) -> bytes:
        """What a server sends back may contain what it was sent."""
        for secret in self._secrets:
            body = body.replace(secret, b"***")
        return body


def _system_certificates() -> bool | str:
    """The certificates that requests trusts, or those that its own variables name."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _authorization(access: Access) -> Mapping[str, str]:
    if access.token:
        return {"Authorization": f"Bearer {access.token}"}
    if access.basic:
        encoded = base64.b64encode(access.basic.encode()).decode()
        return {"Authorization": f"Basic {encoded}"}
    return {}


def _secrets(access: Access) -> tuple[bytes, ...]:
    """Everything that must not come out, the longest first."""
    found = {access.token, access.basic, access.basic.partition(":")[2]}
    found |= {value.partition(" ")[2] for value in _authorization(access).values()}
    # One of a letter or two would be found in everything, and hides nothing.
    return tuple(sorted((one.encode() for one in found if len(one) >= _SECRET_MIN), key=len)[::-1])


def _may_help(answer: Answer) -> bool:
    if answer.failure is not None:
        return answer.failure in (Reason.UNREACHABLE, Reason.CUT_OFF, Reason.TIMEOUT)
    return answer.status in _AGAIN


def _reason_of(error: BaseException) -> Reason:
    """What kind of failure it was; requests and urllib3 wrap one error in another."""
    seen: set[int] = set()
    queue: list[Any] = [error]
    found = {Reason.UNREACHABLE}
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        found.add(_own_reason(one))
        queue += [inner for inner in (one.__cause__, one.__context__) if inner is not None]
        queue += [inner for inner in one.args if isinstance(inner, BaseException)]
        queue += [inner for inner in (getattr(one, "reason", None),) if inner in one.args]
    order = (Reason.TLS, Reason.TIMEOUT, Reason.CUT_OFF, Reason.UNREACHABLE)
    return next(reason for reason in order if reason in found)


def _own_reason(error: BaseException) -> Reason:
    name = type(error).__name__
    if isinstance(error, ssl.SSLError | requests.exceptions.SSLError):
        return Reason.TLS
    if isinstance(error, TimeoutError | requests.Timeout) or name.endswith("TimeoutError"):
        return Reason.TIMEOUT
    cut = ("IncompleteRead", "RemoteDisconnected", "ChunkedEncodingError", "InvalidChunkLength")
    return Reason.CUT_OFF if name in cut else Reason.UNREACHABLE


def _said(reason: Reason, access: Access) -> str:
    """Why in words; those of the libraries name addresses of memory, which differ each time."""
    return {
        Reason.TLS: f"the certificate of {access.url} is not trusted",
        Reason.TIMEOUT: f"no answer within {access.timeout_seconds:g} s, {access.tries} times",
        Reason.TOO_SLOW: f"not whole within {access.timeout_seconds:g} s",
        Reason.CUT_OFF: f"the connection ended early, {access.tries} times",
    }.get(reason, f"no connection to {access.url}, {access.tries} times")
