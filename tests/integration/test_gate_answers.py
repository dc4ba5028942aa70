"""A Prometheus that answers badly in every way: each has its own code, and none says GO."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.command import Command

from baton.domain.gate import telling
from baton.domain.gate.bench import judge
from baton.domain.gate.plan import CANARIES
from baton.domain.gate.words import Reason, Status
from baton.prove.gate import client
from baton.prove.gate.gathering import gather

AT = 1_800_000_000.0
POLICY = """
version: "1.0.0"
name: one
owner: nobody
parameters: {window: 60s, scrape_interval: 15s, stale_after: 20s, gap_max: 20s}
criteria:
  - id: COV-ONE
    question: Is it zero?
    why: It should be.
    next: Make it zero.
    query: q
    samples: langgraph_steps_total
    enough: {query: e, at_least: 1}
    must: "== 0"
"""

Reply = tuple[int, Mapping[str, str], bytes]


def reply(document: object, status: int = 200, **headers: str) -> Reply:
    """A JSON answer."""
    return status, {"Content-Type": "application/json", **headers}, json.dumps(document).encode()


def data(kind: str, *rows: object, **more: object) -> Reply:
    """An answer of the query API."""
    return reply({"status": "success", "data": {"resultType": kind, "result": rows}, **more})


def point(value: object = "0", name: str = "a", at: float = AT) -> dict[str, object]:
    """A series of an instant answer."""
    return {"metric": {"n": name}, "value": [at, value]}


def track(*samples: tuple[float, object], name: str = "a") -> dict[str, object]:
    """A series of raw samples; times before the gate's own."""
    rows = [[AT - ago, value] for ago, value in samples]
    return {"metric": {"n": name}, "values": rows}


def steady(*values: object, first: float = 55.0) -> dict[str, object]:
    """Samples every fifteen seconds."""
    return track(*((first - 15 * n, value) for n, value in enumerate(values)))


GOOD: Mapping[str, Reply] = {
    "q": data("vector", point()),
    "langgraph_steps_total[60s]": data("matrix", steady("1", "1", "2", "3")),
    "e": data("vector", point("5")),
    CANARIES[0][0].query: data("vector"),
    CANARIES[1][0].query: data("vector", point("NaN")),
    CANARIES[2][0].query: data("vector", point("1")),
}


@dataclass
class Fake:
    """A server that answers each query as it is told; what it is told may also act by itself."""

    replies: dict[str, Reply | Callable[[BaseHTTPRequestHandler], None]] = field(
        default_factory=lambda: dict(GOOD)
    )
    url: str = ""
    asked: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """Serve on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query).get("query", [self.path])[0]
            fake.asked.append(query)
            fake.headers.append(dict(self.headers))
            found = fake.replies.get(query, data("vector"))
            if callable(found):
                found(self)
                self.close_connection = True
                return
            status, headers, body = found
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Whoever asked may have gone."""

    server = Server(("127.0.0.1", 0), Handler)
    server.over = fake.over  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        fake.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A server of a test's own."""
    with serving(Fake()) as found:
        yield found


def head(handler: BaseHTTPRequestHandler, length: int, kind: str = "application/json") -> None:
    """The head of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Never say anything."""
    handler.server.over.wait(5)  # type: ignore[attr-defined]


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """End the connection before an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Promise more than is sent."""
    head(handler, 1000)
    handler.wfile.write(b'{"status": "success"')


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    """Send one byte now and then, so that no time-out of a socket is ever reached."""
    head(handler, 10_000)
    _drip(handler, b" " * 10_000)


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    """The same before the answer has begun."""
    _drip(handler, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000)


def _drip(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    waiting, began = threading.Event(), time.monotonic()
    for byte in data:
        handler.wfile.write(bytes([byte]))
        if waiting.wait(0.05) or time.monotonic() - began > 5:
            return


def huge(handler: BaseHTTPRequestHandler) -> None:
    """More than is read."""
    head(handler, 1 << 30)
    for _ in range(64):
        handler.wfile.write(b" " * 65_536)


def twice(document: object) -> bytes:
    """JSON with one value cut off."""
    return json.dumps(document).encode()[:-9]


SAMPLES = "langgraph_steps_total[60s]"
OK = {"status": "success", "data": {"resultType": "vector", "result": [point()]}}
JSON = {"Content-Type": "application/json"}

#: What is answered to which query, and the code that it has to lead to.
BAD: Mapping[str, tuple[str, Reply | Callable[[BaseHTTPRequestHandler], None], Reason]] = {
    "empty": ("q", data("vector"), Reason.NO_DATA),
    "nan": ("q", data("vector", point("NaN")), Reason.NOT_A_NUMBER),
    "infinite": ("q", data("vector", point("+Inf")), Reason.INFINITE),
    "minus infinite": ("q", data("vector", point("-Inf")), Reason.INFINITE),
    "beyond its limit": ("q", data("vector", point("1")), Reason.THRESHOLD),
    "extra series": ("q", data("vector", point(), point(name="b")), Reason.MULTI_SERIES),
    "duplicate series": ("q", data("vector", point(), point()), Reason.DUPLICATE_SERIES),
    "another time": ("q", data("vector", point(at=AT - 600)), Reason.WRONG_TIME),
    "future value": ("q", data("vector", point(at=AT + 60)), Reason.FUTURE),
    "warnings": ("q", data("vector", point(), warnings=["a store is away"]), Reason.PARTIAL),
    "a matrix": ("q", data("matrix", steady("0", "0")), Reason.WRONG_TYPE),
    "a scalar": (
        "q",
        reply({**OK, "data": {"resultType": "scalar", "result": [AT, "0"]}}),
        Reason.WRONG_TYPE,
    ),
    "a histogram": ("q", data("vector", {"metric": {}, "histogram": [AT, {}]}), Reason.WRONG_TYPE),
    "no number": ("q", data("vector", point("zero")), Reason.BAD_VALUE),
    "a number of Python's": ("q", data("vector", point("1_0")), Reason.BAD_VALUE),
    "a number and no text": ("q", data("vector", point(0)), Reason.WRONG_SHAPE),
    "no status": ("q", reply({"data": OK["data"]}), Reason.WRONG_SHAPE),
    "no data": ("q", reply({"status": "success"}), Reason.WRONG_SHAPE),
    "a list": ("q", reply([OK]), Reason.WRONG_SHAPE),
    "no labels": ("q", data("vector", {"value": [AT, "0"]}), Reason.WRONG_SHAPE),
    "an error of the API": (
        "q",
        reply({"status": "error", "errorType": "execution", "error": "x"}, 422),
        Reason.API_ERROR,
    ),
    "an error with status 200": (
        "q",
        reply({"status": "error", "errorType": "internal", "error": "x"}),
        Reason.API_ERROR,
    ),
    "bad query": (
        "q",
        reply({"status": "error", "errorType": "bad_data", "error": "x"}, 400),
        Reason.QUERY_REFUSED,
    ),
    "query given up": (
        "q",
        reply({"status": "error", "errorType": "timeout", "error": "x"}, 503),
        Reason.QUERY_TIMEOUT,
    ),
    "401": ("q", reply({}, 401), Reason.UNAUTHORIZED),
    "403": ("q", reply({}, 403), Reason.UNAUTHORIZED),
    "404": ("q", (404, {}, b"404 page not found"), Reason.NOT_FOUND),
    "405": ("q", (405, {}, b"no"), Reason.HTTP_CLIENT),
    "429": ("q", (429, {}, b"slow down"), Reason.BUSY),
    "500": ("q", (500, {}, b"oh"), Reason.HTTP_SERVER),
    "503": ("q", (503, {}, b"away"), Reason.HTTP_SERVER),
    "a redirect": ("q", (302, {"Location": "http://127.0.0.1:9/"}, b""), Reason.REDIRECT),
    "html": ("q", (200, {"Content-Type": "text/html"}, b"<html>log in</html>"), Reason.HTML),
    "no body": ("q", (200, JSON, b""), Reason.EMPTY_BODY),
    "no json": ("q", (200, JSON, b"status: success"), Reason.NOT_JSON),
    "NaN in JSON": ("q", (200, JSON, b'{"status": NaN}'), Reason.NOT_JSON),
    "no text": ("q", (200, JSON, b'{"a": "\xff"}'), Reason.NOT_JSON),
    "too deep": ("q", (200, JSON, b"[" * 100_000), Reason.NOT_JSON),
    "truncated": ("q", (200, JSON, twice(OK)), Reason.TRUNCATED),
    "cut off": ("q", cut, Reason.CUT_OFF),
    "hung up": ("q", hang_up, Reason.CUT_OFF),
    "no answer": ("q", silent, Reason.TIMEOUT),
    "slow drip": ("q", drip_body, Reason.TOO_SLOW),
    "slow drip of headers": ("q", drip_head, Reason.TOO_SLOW),
    "huge": ("q", huge, Reason.TOO_LARGE),
    "no samples": (SAMPLES, data("matrix"), Reason.NO_DATA),
    "stale": (SAMPLES, data("matrix", steady("1", "1")), Reason.STALE),
    "short window": (SAMPLES, data("matrix", steady("1", "1", first=25)), Reason.SHORT_WINDOW),
    "gap": (SAMPLES, data("matrix", track((55, "1"), (40, "1"), (10, "1"))), Reason.GAP),
    "few samples": (
        SAMPLES,
        data("matrix", track((50, "1"), (31, "1"), (12, "1"))),
        Reason.LOW_COVERAGE,
    ),
    "reset": (SAMPLES, data("matrix", steady("5", "6", "1", "2")), Reason.RESET),
    "future sample": (
        SAMPLES,
        data("matrix", track((50, "1"), (35, "1"), (20, "1"), (-9, "1"))),
        Reason.FUTURE,
    ),
    "disordered": (
        SAMPLES,
        data("matrix", track((50, "1"), (20, "1"), (35, "1"), (5, "1"))),
        Reason.DISORDERED,
    ),
    "sample before the window": (
        SAMPLES,
        data("matrix", track((90, "1"), (55, "1"), (40, "1"))),
        Reason.WRONG_TIME,
    ),
    "one series of two stale": (
        SAMPLES,
        data("matrix", steady("1", "1", "1", "1"), track((55, "1"), (40, "1"), name="b")),
        Reason.STALE,
    ),
    "nan among samples": (
        SAMPLES,
        data("matrix", steady("1", "NaN", "1", "1")),
        Reason.NOT_A_NUMBER,
    ),
    "too little happened": ("e", data("vector", point("0.2")), Reason.LOW_SAMPLES),
    "nobody says how much happened": ("e", data("vector"), Reason.NO_DATA),
    "a server that makes it up": (
        CANARIES[0][0].query,
        data("vector", point("0")),
        Reason.GATE_BROKEN,
    ),
}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """One criterion."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between tries, and take less for huge."""
    monkeypatch.setattr(client, "_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(client, "BODY_BYTES_MAX", 300_000)


def asked(command: Command, fake: Fake, policy: Path, *more: str) -> dict[str, Any]:
    """What the gate decides; its exit code is that of the decision."""
    words = ("--prometheus", fake.url, "--policy", str(policy), "--at", str(AT), "--json")
    said = command("gate", *words, *more)
    document: dict[str, Any] = json.loads(said.out)
    assert document["exit_code"] == said.code
    return document


def test_a_good_answer_goes(command: Command, fake: Fake, policy: Path) -> None:
    """Or the rest would show nothing."""
    document = asked(command, fake, policy)
    assert (document["decision"], document["exit_code"]) == ("GO", 0)
    assert sorted(fake.asked) == sorted(GOOD)


@pytest.fixture(scope="module")
def shared() -> Iterator[Fake]:
    """A server for all bad answers."""
    with serving(Fake()) as found:
        yield found


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_never_goes(shared: Fake, policy: Path, name: str) -> None:
    """And says by its own code what was bad about it."""
    query, answer, reason = BAD[name]
    shared.replies = {**GOOD, query: answer}
    slow = reason in (Reason.TIMEOUT, Reason.TOO_SLOW)
    access = client.Access(url=shared.url, timeout_seconds=0.25 if slow else 5.0)
    material = gather(access, policy, {}, AT, store_url=None, archive=None, evidence=None)
    document = telling.decision(judge(material.case()), material.case())
    rows = {row["id"]: row for row in document["criteria"]}
    row = rows["GATE-SELF-TEST" if reason is Reason.GATE_BROKEN else "COV-ONE"]
    assert (row["reason"], row["status"]) == (reason, reason.status)
    assert document["exit_code"] != 0
    assert row["next_action"]


def test_there_are_many_codes() -> None:
    """Each kind of answer has its own."""
    assert len(BAD) >= 30
    assert len({reason for _, _, reason in BAD.values()}) >= 30
    assert not any(reason.status is Status.PASS for _, _, reason in BAD.values())


def test_nobody_there(command: Command, policy: Path) -> None:
    """No connection at all is an error, and is tried a few times only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        fake = Fake(url=f"http://127.0.0.1:{probe.getsockname()[1]}")
        document = asked(command, fake, policy)
    assert {row["reason"] for row in document["criteria"]} == {"UNREACHABLE"}
    assert document["exit_code"] == 3


def test_another_try_where_it_may_help(command: Command, fake: Fake, policy: Path) -> None:
    """A server that was busy once is asked again, a bounded number of times."""
    calls = iter([(503, {}, b"away"), (429, {}, b"busy"), GOOD["q"]])

    def busy(handler: BaseHTTPRequestHandler) -> None:
        status, _, body = next(calls)
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    fake.replies["q"] = busy
    assert asked(command, fake, policy)["decision"] == "GO"
    fake.replies["q"] = (503, {}, b"away")
    fake.asked.clear()
    assert asked(command, fake, policy)["exit_code"] == 3
    assert fake.asked.count("q") == 3


SECRET = "s3cr3t-t0ken-of-the-fleet"  # noqa: S105 - of nobody


@pytest.mark.parametrize(
    ("option", "text", "header"),
    [
        ("--token-file", SECRET, f"Bearer {SECRET}"),
        ("--basic-file", f"ann:{SECRET}", "Basic YW5uOnMzY3IzdC10MGtlbi1vZi10aGUtZmxlZXQ="),
    ],
)
def test_a_secret_is_sent_and_never_told(
    command: Command, fake: Fake, policy: Path, tmp_path: Path, option: str, text: str, header: str
) -> None:
    """Not even where the server says it back."""
    (tmp_path / "secret").write_text(f"{text}\n")
    fake.replies["q"] = (418, {}, f"you sent {header} and {text}".encode())
    out = tmp_path / "out"
    words = ("--prometheus", fake.url, "--policy", str(policy), "--at", str(AT), "--out", str(out))
    said = command("gate", *words, option, str(tmp_path / "secret"))
    assert said.code == 3
    assert {one["Authorization"] for one in fake.headers} == {header}
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    encoded = header.partition(" ")[2]
    for hidden in (SECRET, encoded):
        assert hidden.encode() not in written
        assert hidden not in said.out + said.err
    assert b"you sent" in written


def test_few_connections(command: Command, fake: Fake, policy: Path) -> None:
    """One session and at most four connections, however many questions."""
    text = POLICY.partition("criteria:")[0] + "criteria:\n"
    for number in range(40):
        fake.replies[f"q{number}"] = data("vector", point())
        text += (
            POLICY.partition("criteria:\n")[2]
            .replace("COV-ONE", f"COV-{number}")
            .replace("query: q\n", f"query: q{number}\n")
        )
    policy.write_text(text)
    ports: set[int] = set()

    def note(handler: BaseHTTPRequestHandler) -> None:
        ports.add(handler.client_address[1])

    original = BaseHTTPRequestHandler.parse_request

    def parse(handler: BaseHTTPRequestHandler) -> bool:
        note(handler)
        return original(handler)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseHTTPRequestHandler, "parse_request", parse)
        assert asked(command, fake, policy)["decision"] == "GO"
    assert len(fake.asked) == 40 + 5
    assert len(ports) <= 4


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--prometheus", "ftp://x"), "--prometheus ftp://x is not http(s)://HOST[:PORT]"),
        (("--prometheus", "http://ann:pw@x"), "has a user or password in its address"),
        (("--prometheus", "http://x?y=1"), "an address without"),
        ((), "no Prometheus: give --prometheus"),
        (("--prometheus", "http://x", "--token-file", "gone"), "--token-file gone: No such file"),
        (("--prometheus", "http://x", "--ca-file", "gone"), "--ca-file gone: no such file"),
        (("--prometheus", "http://x", "--evidence", "gone"), "--evidence gone: no such folder"),
        (("--prometheus", "http://x", "--set", "colour=red"), "--set names 'colour'; the policy"),
        (("--prometheus", "http://x", "--set", "window=soon"), "parameter window: 'soon' is no"),
        (("--prometheus", "http://x", "--set", "window"), "'window' is not NAME=VALUE"),
        (("--prometheus", "http://x", "--at", "noon"), "'noon' is no time"),
        (("--prometheus", "http://x", "--at", "2026-01-31T12:00:00"), "has no time zone"),
        (("--prometheus", "http://x", "--store", "sqlite:///gone.db"), "gone.db"),
        (("--replay", "gone"), "--replay gone holds no answers of a gate"),
        (("--replay", "gone", "--store", "sqlite:///a.db"), "--replay asks nobody"),
        (("--replay", "gone", "--set", "window=5m"), "--replay asks nobody; leave out --set"),
        (("--prometheus", "http://x", "--policy", "gone"), "cannot read --policy gone"),
    ],
)
def test_what_a_person_has_to_mend(
    command: Command, words: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    """One line, exit 4, nothing written."""
    assert complaint in command("gate", *words, "--out", "out", "--timeout", "0.2").complaint
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(command: Command, tmp_path: Path) -> None:
    """Before anybody is asked."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    said = command("gate", "--prometheus", "http://x", "--out", "out")
    assert re.search("--out out is not empty", said.complaint)


def test_what_was_kept_and_changed_is_refused(
    command: Command, fake: Fake, policy: Path, tmp_path: Path
) -> None:
    """A replay is of what was answered."""
    asked(command, fake, policy, "--out", "out")
    assert command("gate", "--replay", "out", "--out", "again").code == 0
    for name in ("answers/001.json", "policy.yaml"):
        path = tmp_path / "out" / "raw" / name
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        said = command("gate", "--replay", "out", "--out", "more").complaint
        assert said == f"--replay: raw/{name} was changed since it was written"
        path.write_bytes(before)
