"""A store that hangs: each scrape is answered all the same, and recovers with the store."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.house import House
from tests.support.postgres import PostgresServer
from tests.support.runs import wait_until

from baton.domain import catalogue as c
from baton.errors import BadInput
from baton.fleet.store import new_id, open_store
from baton.observe.exporter import Exporter
from baton.observe.patience import Patience
from baton.observe.server import parse_address

BOTH_STORES = True

#: Of a scrape; what hangs here hangs for much longer.
DEADLINE_SECONDS = 0.5

#: Takes every lock of SQLite's shared memory and keeps it, as a process does that is stopped in
#: the middle of a recovery; see https://www.sqlite.org/walformat.html, section 2.3.
_HOLD_EVERY_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as shared_memory:
    fcntl.lockf(shared_memory, fcntl.LOCK_EX, 8, 120)
    print("held", flush=True)
    sys.stdin.read()
"""

Hang = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def hanging(
    kind: str, store_url: str, request: pytest.FixtureRequest
) -> Iterator[tuple[str, Hang]]:
    """The URL of a store, and what makes it hang for the length of a block."""
    if kind == "sqlite":
        yield store_url, lambda: _locked(Path(store_url.removeprefix("sqlite:///") + "-shm"))
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.proxy(store_url) as (proxy, url):
        yield url, proxy.silence


@contextmanager
def _locked(shared_memory: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD_EVERY_LOCK, str(shared_memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.kill()


def scrape(address: str, path: str = "/metrics") -> dict[str, float]:
    """The samples without labels, and one of each name with labels."""
    connection = HTTPConnection(*parse_address(address), timeout=30)
    connection.request("GET", path)
    body = connection.getresponse().read().decode()
    connection.close()
    families = text_string_to_metric_families(body)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_a_store_that_hangs_does_not_hang_the_scrape(hanging: tuple[str, Hang]) -> None:
    """Down in time, its series withdrawn, one thread in waiting; up again once it answers."""
    url, hang = hanging
    store = open_store(url)
    House(store, store.clock, new_id).submit()
    store.close()
    with Exporter(url, "127.0.0.1", 0, deadline_seconds=DEADLINE_SECONDS) as exporter:
        up = c.SOURCE_UP.name
        wait_until(lambda: c.EVENTS.name in scrape(exporter.address), "the first whole scrape")
        with hang():
            wait_until(lambda: scrape(exporter.address)[up] == 0, "an answer without the store")
            down = [scrape(exporter.address) for _ in range(3)]
            assert not any(c.TASKS.name in one or c.EVENTS.name in one for one in down)
            assert [one[up] for one in down] == [0, 0, 0]
            waiting = [thread for thread in threading.enumerate() if thread.name == "collection"]
            assert len(waiting) <= 1
            assert exporter.collector.ready() is False
        wait_until(lambda: scrape(exporter.address)[up] == 1, "the store again")
        assert scrape(exporter.address)[c.TASKS.name] >= 0


def test_an_exporter_of_a_store_that_hangs_can_be_ended(hanging: tuple[str, Hang]) -> None:
    """Its end waits for the deadline and not for the store."""
    url, hang = hanging
    store = open_store(url)
    store.close()
    with hang_after(Exporter(url, "127.0.0.1", 0, deadline_seconds=DEADLINE_SECONDS), hang) as one:
        wait_until(lambda: scrape(one.address)[c.SOURCE_UP.name] == 0, "the store to hang")


@contextmanager
def hang_after(exporter: Exporter, hang: Hang) -> Iterator[Exporter]:
    """Let the store hang from the start of an exporter until after its end."""
    exporter.__enter__()
    with hang():
        yield exporter
        exporter.__exit__()


def test_what_a_call_raises_is_raised_and_the_next_one_is_made() -> None:
    """Patience adds a deadline and nothing else."""
    patience = Patience(30.0)

    def fails() -> None:
        raise BadInput(detail="no")

    with pytest.raises(BadInput, match="no"):
        patience.call(fails)
    assert patience.call(lambda: 1) == 1


def test_a_timeout_of_the_call_itself_is_not_ours() -> None:
    """A TimeoutError that the store raises is passed on as it is."""

    def fails() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        Patience(30.0).call(fails)
