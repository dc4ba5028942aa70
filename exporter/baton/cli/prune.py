"""``baton ledger prune``: finished tasks go from the store into archives."""

from __future__ import annotations

from argparse import Namespace
from contextlib import closing
from pathlib import Path

from baton.cli import values
from baton.cli.output import counted, print_json
from baton.cli.parser import Verbs, add_json, add_store, add_verb, store_url
from baton.fleet.pruning import Pruned, prune
from baton.fleet.store import open_store


def add(below: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        below,
        "prune",
        "archive tasks that finished long ago, and remove them from the store",
        "Their events go to JSON Lines files that `baton ledger verify --archive` checks; their"
        " checkpoints, effects and input go for good. Their names, epochs and the heads of their"
        " chains stay, and no counter falls. Workers may run meanwhile. A run that was killed is"
        " finished by the next one with the same --archive. Threads leased with `fleet.lease`, and"
        " chains that do not verify, are left alone.",
    )
    add_store(parser)
    add_json(parser)
    parser.add_argument(
        "--older-than",
        metavar="DURATION",
        type=values.duration,
        required=True,
        help="how long ago they ended at least: 30d, 12h, 90m or 45s",
    )
    parser.add_argument(
        "--archive",
        metavar="DIR",
        type=Path,
        required=True,
        help="the folder for the archives; made if it is not there",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Archive and prune."""
    done = Pruned()
    with closing(open_store(store_url(args), create=False)) as store:
        for done in counted(  # noqa: B007 - the last one is the sum
            prune(store, args.archive, round(args.older_than * 1e6)), "batches"
        ):
            pass
    files = [str(path) for path in done.archives]
    if args.json:
        print_json(
            {"tasks": done.tasks, "events": done.events, "archives": files, "left": done.left}
        )
        return 0
    print(f"{done.tasks} tasks pruned, {done.events} events removed, {len(files)} archives written")
    for chain in done.left:
        print(f"{chain} does not verify and was left; see `baton ledger verify`")
    return 0
