"""The HTTP server, over real connections: what a scraper, a prober and a browser get."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from baton.domain.catalogue import CATALOGUE, SOURCE_UP
from baton.domain.metric import Metric, MetricType
from baton.errors import BadInput, PortInUse
from baton.observe import server as server_module
from baton.observe import sharing
from baton.observe.exposition import Exemplar, HistogramPoint, Point, Snapshot
from baton.observe.server import CONNECTIONS_MAX, MetricsServer, format_address, parse_address

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}
DEADLINE_SECONDS = 20.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, and fail if it takes too long."""
    give_up = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < give_up, "the condition never came true"
        pause.wait(0.005)


def up() -> Snapshot:
    """The least that can be collected."""
    return {SOURCE_UP: [Point((), 1)]}


def serve(collect: Callable[[], Snapshot] = up, **options: object) -> MetricsServer:
    """A server on a free port of the loopback interface."""
    return MetricsServer("127.0.0.1", 0, collect=collect, **options)  # type: ignore[arg-type]


def get(
    server: MetricsServer,
    path: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> tuple[HTTPResponse, bytes]:
    """One request over a connection of its own."""
    connection = HTTPConnection(*parse_address(server.address), timeout=DEADLINE_SECONDS)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def a_value(metric: Metric) -> float | str | HistogramPoint:
    """Some value that the metric can have."""
    match metric.type:
        case MetricType.STATESET:
            return metric.states[0]
        case MetricType.HISTOGRAM:
            exemplars = [Exemplar({"task_id": "t-1", "run_id": "r-1"}, 0.3)]
            return HistogramPoint.of(metric, [0.3, 1e4], exemplars)
    return 1.0


def everything() -> Snapshot:
    """Each metric of the catalogue, with each known label value and one for each other label."""
    return {
        metric: [
            Point(labels, a_value(metric))
            for labels in metric.label_sets(
                **{name: [name] for name in metric.labels if name not in metric.known.labels}
            )
        ]
        for metric in CATALOGUE
    }


def test_the_whole_catalogue_is_clean_for_promtool(promtool: str) -> None:
    """Prometheus' own linter has nothing to say about any metric."""
    with serve(everything) as server:
        _, body = get(server, "/metrics")
    linted = subprocess.run(
        [promtool, "check", "metrics"], input=body, capture_output=True, check=False
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, b"", b"")
    bad = body.replace(SOURCE_UP.name.encode(), b"sourceUp_total")
    broken = subprocess.run(
        [promtool, "check", "metrics"], input=bad, capture_output=True, check=False
    )
    assert broken.returncode != 0


def test_the_whole_catalogue_is_openmetrics() -> None:
    """A strict parser reads each metric back with its type, help, unit and exemplars."""
    with serve(everything) as server:
        response, body = get(server, "/metrics", OPENMETRICS)
    assert response.headers["Content-Type"].startswith(
        "application/openmetrics-text; version=1.0.0"
    )
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert len(families) == len(CATALOGUE)
    for metric in CATALOGUE:
        family = families[metric.name.removesuffix("_total").removesuffix("_info")]
        assert (family.type, family.unit) == (metric.type, metric.unit)
        assert family.documentation == metric.help
        assert {name for s in family.samples for name in s.labels} - {"le"} == {
            *metric.series_labels
        }
        assert any(sample.exemplar for sample in family.samples) == metric.exemplars


def scrapes_waiting() -> int:
    """How many threads are inside a scrape that waits for a collection."""
    body = sharing._Flight.body.__code__  # noqa: SLF001 - the place where sharers wait
    stacks = map(traceback.walk_stack, sys._current_frames().values())  # noqa: SLF001
    return sum(any(frame.f_code is body for frame, _ in stack) for stack in stacks)


def test_sixteen_scrapers_share_one_collection() -> None:
    """All get its values, in either format; the next scrape collects anew."""
    scrapers, release, collections = 16, threading.Event(), []

    def collect() -> Snapshot:
        collections.append(threading.get_ident())
        assert release.wait(DEADLINE_SECONDS)
        return {SOURCE_UP: (Point((), value) for value in [len(collections)])}

    with serve(collect) as server, ThreadPoolExecutor(scrapers) as pool:
        pending = [
            pool.submit(get, server, "/metrics", OPENMETRICS if odd % 2 else None)
            for odd in range(scrapers)
        ]
        until(lambda: scrapes_waiting() == scrapers - 1)
        release.set()
        answers = [each.result() for each in pending]
        assert len(collections) == 1
        assert {response.status for response, _ in answers} == {HTTPStatus.OK}
        assert len({body for _, body in answers}) == 2
        assert all(f"{SOURCE_UP.name} 1.0\n".encode() in body for _, body in answers)
        assert f"{SOURCE_UP.name} 2.0\n".encode() in get(server, "/metrics")[1]


def test_a_format_is_rendered_once_for_all_who_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering is most of the work of a scrape, and it is shared too."""
    scrapers, release, rendered = 6, threading.Event(), []
    render = sharing.render

    def count(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
        rendered.append(accept)
        return render(snapshot, accept)

    def collect() -> Snapshot:
        assert release.wait(DEADLINE_SECONDS)
        return up()

    monkeypatch.setattr(sharing, "render", count)
    with serve(collect) as server, ThreadPoolExecutor(scrapers) as pool:
        wishes = [OPENMETRICS, OPENMETRICS | {"Accept-Encoding": "gzip"}] * (scrapers // 2)
        pending = [pool.submit(get, server, "/metrics", wish) for wish in wishes]
        until(lambda: scrapes_waiting() == scrapers - 1)
        release.set()
        bodies = [each.result()[1] for each in pending]
    assert len(rendered) == 1
    assert {gzip.decompress(body) for body in bodies[1::2]} == {*bodies[::2]}


def test_a_failed_collection_is_told_once_and_withdraws_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The scrape fails rather than serve old values; the log has why, the answer has no secret."""
    trouble = ["postgresql://baton:secret@db is gone"] * 3

    def collect() -> Snapshot:
        if trouble:
            raise OSError(trouble.pop())
        return up()

    with caplog.at_level(logging.WARNING), serve(collect) as server:
        answers = [get(server, "/metrics") for _ in range(5)]
        assert get(server, "/-/healthy")[0].status == HTTPStatus.OK
    statuses = [response.status for response, _ in answers]
    assert statuses == [HTTPStatus.SERVICE_UNAVAILABLE] * 3 + [HTTPStatus.OK] * 2
    assert not any(b"secret" in body or SOURCE_UP.name.encode() in body for _, body in answers[:3])
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "is gone" in caplog.text


def test_a_point_that_does_not_fit_fails_the_scrape(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong series is never served."""
    with serve(lambda: {SOURCE_UP: [Point(("extra",), 1)]}) as server:
        assert get(server, "/metrics")[0].status == HTTPStatus.SERVICE_UNAVAILABLE
    assert SOURCE_UP.name in caplog.text


def test_nobody_waits_for_ever_for_a_collection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that hangs costs one thread; the scrapes that would share it are sent away."""
    monkeypatch.setattr(sharing, "COLLECTION_TIMEOUT_SECONDS", 0.05)
    running, release = threading.Event(), threading.Event()

    def collect() -> Snapshot:
        running.set()
        assert release.wait(DEADLINE_SECONDS)
        return up()

    with serve(collect) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, server, "/metrics")
        assert running.wait(DEADLINE_SECONDS)
        assert get(server, "/metrics")[0].status == HTTPStatus.SERVICE_UNAVAILABLE
        release.set()
        assert first.result()[0].status == HTTPStatus.OK
    assert "no values within" in caplog.text


def test_gzip_is_the_scrapers_choice() -> None:
    """The same text either way, and the same bytes each time."""
    with serve(everything) as server:
        plain, body = get(server, "/metrics")
        packed, small = get(server, "/metrics", {"Accept-Encoding": "br, gzip"})
        assert get(server, "/metrics", {"Accept-Encoding": "gzip"})[1] == small
    assert plain.headers["Content-Encoding"] is None
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Content-Length"] == str(len(small))
    assert gzip.decompress(small) == body
    assert len(small) * 4 < len(body)


def test_head_has_everything_but_the_body() -> None:
    """A prober may look without taking."""
    with serve() as server:
        response, body = get(server, "/metrics", method="HEAD")
        assert (response.status, body) == (HTTPStatus.OK, b"")
        assert response.headers["Content-Length"] == str(len(get(server, "/metrics")[1]))


def test_readiness_follows_the_store() -> None:
    """Healthy means that the process answers; ready means that it can do its work."""
    ready = [True, False]
    with serve(ready=ready.pop) as server:
        statuses = [get(server, "/-/ready")[0].status for _ in range(3)]
        assert get(server, "/-/healthy")[0].status == HTTPStatus.OK
    # The third look finds nothing to pop: a check that breaks is not ready either.
    unavailable = HTTPStatus.SERVICE_UNAVAILABLE
    assert statuses == [unavailable, HTTPStatus.OK, unavailable]


def test_service_discovery() -> None:
    """Prometheus reads the workers' addresses as JSON; a worker has none to tell."""
    groups = [{"targets": ["127.0.0.1:9000"], "labels": {"worker": "w-1", "pool": "default"}}]
    with serve(discover=lambda: groups) as server:
        response, body = get(server, "/sd/workers?pool=default")
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(body) == groups
    with serve() as server:
        assert get(server, "/sd/workers")[0].status == HTTPStatus.NOT_FOUND


def test_the_page_of_links_leads_everywhere() -> None:
    """Each link on it answers, and its title is text."""
    with serve(discover=list, title="Baton <exporter>") as server:
        response, body = get(server, "/")
        page = body.decode()
        paths = [part.split('"')[0] for part in page.split('href="')[1:]]
        assert paths == ["/metrics", "/-/healthy", "/-/ready", "/sd/workers"]
        assert {get(server, path)[0].status for path in paths} == {HTTPStatus.OK}
    assert "Baton &lt;exporter&gt;" in page
    assert response.headers["Content-Type"].startswith("text/html")
    assert server.url == f"http://{server.address}/"


@pytest.mark.parametrize("path", ["/metrics/", "/favicon.ico", "//[", "/../etc/passwd", "*"])
def test_other_paths_are_not_found(path: str) -> None:
    """There are the pages that the index lists, and no others."""
    with serve() as server:
        assert get(server, path)[0].status == HTTPStatus.NOT_FOUND


def test_nothing_can_be_posted() -> None:
    """The server only tells."""
    with serve() as server:
        assert get(server, "/metrics", method="POST")[0].status == HTTPStatus.NOT_IMPLEMENTED


def test_a_port_in_use_is_named() -> None:
    """The error names the address; after a stop the port is free again."""
    with serve() as server, pytest.raises(PortInUse, match=server.address):
        MetricsServer(*parse_address(server.address), collect=up)
    again = MetricsServer(*parse_address(server.address), collect=up)
    again.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70 + ".invalid"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    """Neither another machine's address nor a name that cannot be one can be bound."""
    with pytest.raises(PortInUse, match=f"cannot listen on {host}:0: .+; choose another"):
        MetricsServer(host, 0, collect=up)


def test_localhost_is_what_people_then_type() -> None:
    """The name binds the IPv4 loopback address, where 127.0.0.1 finds it."""
    server = MetricsServer("localhost", 0, collect=up)
    try:
        assert server.address.startswith("127.0.0.1:")
    finally:
        server.stop()


def test_a_stop_gives_the_answers_that_are_under_way() -> None:
    """A rollout of the exporter costs no scrape that had begun."""
    running, release = threading.Event(), threading.Event()

    def collect() -> Snapshot:
        running.set()
        assert release.wait(DEADLINE_SECONDS)
        return up()

    with ThreadPoolExecutor(2) as pool:
        server = serve(collect).start()
        scrape = pool.submit(get, server, "/metrics")
        assert running.wait(DEADLINE_SECONDS)
        stopping = pool.submit(server.stop)
        until(lambda: not listening(server))
        assert not stopping.done()
        release.set()
        assert scrape.result()[0].status == HTTPStatus.OK
        stopping.result(DEADLINE_SECONDS)
    server.stop()  # A second stop finds nothing left to do.


def listening(server: MetricsServer) -> bool:
    """Whether the port of the server is still open."""
    return server._http.socket.fileno() != -1  # noqa: SLF001 - asking by connecting would disturb


def stalled(server: MetricsServer) -> socket.socket:
    """A connection that never finishes its request."""
    connection = socket.create_connection(parse_address(server.address), timeout=DEADLINE_SECONDS)
    connection.sendall(b"GET /metrics HTTP/1.1\r\n")
    return connection


def test_a_client_that_stalls_is_let_go(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A request has its time; the end of it is not worth a line in the log."""
    monkeypatch.setattr(server_module._Handler, "timeout", 0.05)  # noqa: SLF001 - the default is long
    with serve() as server, stalled(server) as connection:
        assert connection.recv(1) == b""
    assert capfd.readouterr() == ("", "")


def test_a_client_that_goes_away_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    """A scraper that hangs up early leaves no traceback, and the next one is served."""
    with serve(everything) as server:
        with socket.create_connection(parse_address(server.address)) as connection:
            reset = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert get(server, "/metrics")[0].status == HTTPStatus.OK
    assert capfd.readouterr() == ("", "")


@contextmanager
def full(server: MetricsServer) -> Iterator[None]:
    """As many stalled connections as the server serves at a time."""
    with ExitStack() as connections:
        for _ in range(CONNECTIONS_MAX):
            connections.enter_context(stalled(server))
        yield


def answered(server: MetricsServer, status: HTTPStatus) -> bool:
    """Whether a request is answered with ``status`` now."""
    try:
        return get(server, "/-/healthy")[0].status == status
    except ConnectionError:  # Refused so early that the request met a closed connection.
        return status is HTTPStatus.SERVICE_UNAVAILABLE


def test_too_many_connections_exhaust_nothing() -> None:
    """One more than the server serves is refused at once, and served when there is room."""
    with serve() as server:
        with full(server):
            until(lambda: answered(server, HTTPStatus.SERVICE_UNAVAILABLE))
        until(lambda: answered(server, HTTPStatus.OK))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("0.0.0.0:0", "0.0.0.0", 0),  # noqa: S104 - parsed, not bound
        ("exporter.internal:65535", "exporter.internal", 65535),
        ("[::1]:9464", "::1", 9464),
    ],
)
def test_addresses_are_host_and_port(text: str, host: str, port: int) -> None:
    """Also those of IPv6, in brackets; the way back gives the same text."""
    assert parse_address(text) == (host, port)
    assert format_address(host, port) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "9464", ":9464", "host", "host:", "host:http", "host:-1", "host:65536"),
        *("::1:9464", "[]:9464", "[host]:9464", "[::1]", "host:٣", "http://host:9464"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """The error repeats what was given and says how to write it."""
    with pytest.raises(BadInput) as refused:
        parse_address(text)
    assert repr(text) in str(refused.value)
    assert "HOST:PORT; write 127.0.0.1:9464" in str(refused.value)
