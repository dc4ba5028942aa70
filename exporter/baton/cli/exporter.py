"""``baton exporter``: the metrics of a fleet, for Prometheus to scrape."""

from __future__ import annotations

import logging
import signal
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from baton.cli import values
from baton.cli.lasting import log_to_stderr
from baton.cli.parser import Verbs, add_log, add_store, add_verb, store_url
from baton.domain.catalogue import SOURCE_UP
from baton.observe.collector import DEADLINE_SECONDS, RETENTION_SECONDS
from baton.observe.exporter import Exporter
from baton.observe.server import parse_address

_log = logging.getLogger("baton.exporter")

_STOPS = (signal.SIGTERM, signal.SIGINT)


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "exporter",
        "serve a fleet's metrics to Prometheus",
        "Serves /metrics, /-/healthy, /-/ready and /sd/workers until SIGTERM or SIGINT. It reads"
        " the store at each scrape and never makes one; a store that goes away later shows as"
        f" {SOURCE_UP.name} 0.",
    )
    add_store(parser)
    add_log(parser)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=parse_address,
        default="127.0.0.1:9464",
        help="where to serve; port 0 takes any free one (default: 127.0.0.1:9464)",
    )
    parser.add_argument(
        "--expect",
        metavar="POOL=N",
        action="append",
        default=[],
        type=values.pair("pool", "POOL=N", "default=3", values.whole_number),
        help="how many workers the pool should have; may be given again for other pools",
    )
    parser.add_argument(
        "--retention",
        metavar="SECONDS",
        type=values.seconds,
        default=RETENTION_SECONDS,
        help="how long a worker is shown after its last session has ended"
        f" (default: {RETENTION_SECONDS:g}, a day)",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=values.seconds,
        default=DEADLINE_SECONDS,
        help="how long one scrape waits for the store, which is shown as down beyond that; keep it"
        f" below Prometheus' scrape_timeout (default: {DEADLINE_SECONDS:g})",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Serve until told to stop."""
    expect = values.once_each("--expect", args.expect)
    url = store_url(args)
    with (
        _signals_held(),
        log_to_stderr(args),
        Exporter(
            url,
            *args.listen,
            expect=expect,
            retention_seconds=args.retention,
            deadline_seconds=args.deadline,
        ) as exporter,
    ):
        _log.info("serving http://%s/metrics", exporter.address)
        signal.sigwait(_STOPS)
        _log.info("stopping")
    return 0


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keep SIGTERM and SIGINT back until they are waited for, in every thread begun meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
