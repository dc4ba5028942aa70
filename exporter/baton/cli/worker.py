"""``baton worker``: a process that runs graphs for a fleet."""

from __future__ import annotations

import logging
import os
import socket
import sys
from argparse import Namespace
from contextlib import ExitStack
from functools import cache
from typing import NoReturn

from baton.cli import values
from baton.cli.lasting import log_to_stderr
from baton.cli.parser import Parser, Verbs, add_log, add_pool, add_store, add_verb, store_url
from baton.fleet.driver import Hooks
from baton.fleet.fleet import open as open_fleet
from baton.fleet.messages import WorkerConfig
from baton.observe.instruments import WorkerInstruments
from baton.observe.server import MetricsServer, format_address, parse_address

_log = logging.getLogger("baton.worker")

_EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound to


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "worker",
        "run graphs on the tasks of a fleet",
        "Claims tasks, continues those of dead workers, and drains on SIGTERM or SIGINT: it"
        " finishes the running super-steps and hands its tasks over. Makes the store if there is"
        " none.",
    )
    add_store(parser)
    add_log(parser)
    add_pool(parser, "the set of interchangeable workers that it joins", "default")
    parser.add_argument(
        "--graph",
        metavar="NAME=MODULE:ATTRIBUTE",
        required=True,
        action="append",
        type=values.pair("graph", "NAME=MODULE:ATTRIBUTE", "review=app.graphs:review", str),
        help="a graph to serve, imported from the current folder too: a StateGraph, a compiled"
        " graph, or a function without arguments that returns one; may be given again",
    )
    parser.add_argument(
        "--worker-id",
        metavar="ID",
        type=values.name("worker"),
        help="a name that is stable over restarts (default: host name and process id)",
    )
    parser.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        type=parse_address,
        help="serve this worker's own metrics there; port 0 takes any free one (default: nowhere)",
    )
    parser.add_argument(
        "--until-idle", action="store_true", help="end once no task of its graphs is left to run"
    )
    _add_timing(parser)
    parser.set_defaults(run=run)


def _add_timing(parser: Parser) -> None:
    for option, default, about in (
        ("--ttl", 15.0, "silence after which others may take its tasks"),
        ("--drain-timeout", 30.0, "how long a drain waits for running super-steps"),
        ("--poll", 0.2, "how often an idle worker looks for tasks"),
    ):
        parser.add_argument(
            option,
            metavar="SECONDS",
            type=values.seconds,
            default=default,
            help=f"{about} (default: {default:g})",
        )
    parser.add_argument(
        "--heartbeat",
        metavar="SECONDS",
        type=values.seconds,
        help="time between two heartbeats, at most half the TTL (default: a third of it)",
    )
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=values.count,
        default=1,
        help="how many tasks at once (default: 1)",
    )
    parser.add_argument(
        "--fruitless-max",
        metavar="N",
        type=values.count,
        default=3,
        help="takeovers in a row without durable work after which a task is quarantined"
        " (default: 3)",
    )
    parser.add_argument(
        "--progress-deadline",
        metavar="NAME=SECONDS",
        action="append",
        default=[],
        type=values.pair("graph", "NAME=SECONDS", "review=300", values.seconds),
        help="how long a task of that graph may go without durable work before others may take"
        " it from this live worker; may be given again",
    )


def run(args: Namespace) -> int:
    """Work until there is nothing to do, or until told to stop."""
    from baton.cli.graphs import load_graph
    from baton.fleet.worker import Worker

    places = values.once_each("--graph", args.graph)
    deadlines = values.once_each("--progress-deadline", args.progress_deadline)
    heartbeat = args.ttl / 3 if args.heartbeat is None else args.heartbeat
    # What cannot work is refused here, before a store is made and a port is taken.
    WorkerConfig(
        worker_id=args.worker_id or "",
        graphs=tuple(places),
        interval_seconds=heartbeat,
        ttl_seconds=args.ttl,
        deadlines_seconds=deadlines,
    )
    graphs = {name: load_graph(name, place) for name, place in places.items()}
    url = store_url(args)
    instruments = WorkerInstruments()
    with ExitStack() as stack:
        address = None
        if args.metrics is not None:
            server = MetricsServer(
                *args.metrics, collect=instruments.snapshot, title="A Baton worker"
            )
            address = _advertised(stack.enter_context(server))
        fleet = stack.enter_context(open_fleet(url, kind="worker", ttl_seconds=args.ttl))
        worker = Worker(
            fleet,
            graphs,
            worker_id=args.worker_id,
            pool=args.pool,
            ttl_seconds=args.ttl,
            heartbeat_seconds=heartbeat,
            concurrency=args.concurrency,
            drain_timeout_seconds=args.drain_timeout,
            progress_deadlines_seconds=deadlines,
            fruitless_max=args.fruitless_max,
            poll_seconds=args.poll,
            until_idle=args.until_idle,
            metrics_address=address,
            hooks=hooks_of(instruments),
        )
        about = {"worker_id": worker.config.worker_id, "pool": worker.config.pool}
        with log_to_stderr(args, about):
            worker.run()
            if worker.stuck:
                _leave_at_once()
    return 0


def _leave_at_once() -> NoReturn:
    """End this process though a node of it does not end, as ``--drain-timeout`` promises.

    Python would wait for the node's thread, and closing the fleet for a store that does not
    answer. The tasks are released or will be taken over; the fence refuses what still runs.
    """
    _log.warning("left at the drain timeout with something under way")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def hooks_of(instruments: WorkerInstruments) -> Hooks:
    """Tell the instruments what the worker measures."""
    observer = cache(instruments.node)
    return Hooks(
        on_beat=lambda result, seconds: instruments.heartbeat[result](seconds),
        on_node=lambda graph, node, seconds: observer(graph, node)(seconds),
        on_write=instruments.checkpoint_write,
    )


def _advertised(server: MetricsServer) -> str:
    """Where a Prometheus elsewhere finds it: every interface is no address to connect to."""
    host, port = parse_address(server.address)
    return format_address(socket.gethostname() if host in _EVERY_INTERFACE else host, port)
