"""``baton submit``: accept tasks for a fleet."""

from __future__ import annotations

import sys
from argparse import Namespace

from baton.cli import values
from baton.cli.output import print_json
from baton.cli.parser import Verbs, add_json, add_pool, add_store, add_verb, store_url
from baton.errors import BadInput
from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "submit",
        "accept tasks for workers to run",
        "Prints their ids. Makes the store if there is none; workers may start later. Submitting"
        " a task again with the same input changes nothing.",
    )
    add_store(parser)
    add_json(parser)
    add_pool(parser, "whose workers run the task", "default")
    parser.add_argument(
        "--graph",
        metavar="NAME",
        required=True,
        type=values.name("graph"),
        help="the name that workers serve the graph by",
    )
    parser.add_argument(
        "--input",
        metavar="JSON|@FILE",
        default="{}",
        help="the graph's input, written out or in a file (default: {})",
    )
    parser.add_argument(
        "--task",
        metavar="ID",
        type=values.name("task"),
        help="the task's id, which is its LangGraph thread id (default: a fresh one)",
    )
    parser.add_argument(
        "--count",
        metavar="N",
        type=values.count,
        default=1,
        help="how many tasks with this input (default: 1)",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Submit."""
    if args.task and args.count > 1:
        raise BadInput(detail="--task names one task, and --count asks for more; leave one out")
    value = values.json_value("--input", args.input)
    with open_fleet(store_url(args)) as fleet:
        ids = [
            fleet.submit(args.graph, value, task_id=args.task, pool=args.pool)
            for _ in range(args.count)
        ]
        served = _served(fleet, args.graph, args.pool)
    if args.json:
        print_json({"task_ids": ids})
    else:
        print(*ids, sep="\n")
    if not served:
        note = f"no live worker serves graph {args.graph!r} in pool {args.pool!r} yet"
        print(f"baton: note: {note}", file=sys.stderr)
    return 0


def _served(fleet: Fleet, graph: str, pool: str) -> bool:
    _, peers = fleet.store.peers(pool)
    return any(graph in peer.spec.graphs for peer in peers)
