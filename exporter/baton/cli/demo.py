"""``baton demo``: a small fleet over real work, faults on purpose, and a verdict."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from baton.cli import values
from baton.cli.parser import Verbs, add_json, add_verb


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "demo",
        "watch a small fleet lose workers and lose nothing else",
        "Workers review modules of the standard library. One is killed, one frozen and thawed, one"
        " rotated; every claim is then checked against an undisturbed run. Ends with exit code 0"
        " if all of it holds, 1 if continuity was violated, 2 if that could not be told.",
    )
    add_json(parser)
    parser.add_argument(
        "--once", action="store_true", help="end after the verdict (default: stay up until Ctrl-C)"
    )
    parser.add_argument(
        "--store",
        metavar="sqlite|postgresql|URL",
        default="sqlite",
        help="sqlite or postgresql for a store of the demo's own, or the URL of one to work in, in"
        " a pool of its own (default: sqlite)",
    )
    for option, default, about in (
        ("--workers", 4, "how many workers, at least 2"),
        ("--tasks", 12, "how many modules to review, at least 3"),
    ):
        parser.add_argument(
            option,
            metavar="N",
            type=values.count,
            default=default,
            help=f"{about} (default: {default})",
        )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="keep ledger, findings, logs, timeline and Prometheus' data there; a new or empty"
        " folder (default: a temporary one, kept only if something did not hold)",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Play it."""
    # Imported here: it builds a graph, which a worker that starts need not wait for.
    from baton.prove.demo.play import Options, perform

    return perform(
        Options(
            once=args.once,
            store=args.store,
            workers=args.workers,
            tasks=args.tasks,
            out=args.out,
            as_json=args.json,
        )
    )
