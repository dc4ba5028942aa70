"""``baton store``: what is done to a store as a whole."""

from __future__ import annotations

from argparse import Namespace

from baton.cli.parser import Verbs, add_group, add_store, add_verb, store_url
from baton.fleet.store import open_store


def add(verbs: Verbs) -> None:
    """Add the verbs."""
    below = add_group(verbs, "store", "make, migrate or accept a store", dest="action")
    accept = add_verb(
        below,
        "accept-restore",
        "accept a store that was restored from an older copy",
        "Raises the epoch of every task above whatever was given out before, so that no writer of"
        " the lost time is believed. Refused while workers run on it. A copy of an earlier schema"
        " is brought to this version's.",
    )
    migrate = add_verb(
        below,
        "migrate",
        "make a store, or bring it to this version's schema",
        "Most migrations only add. Workers and `baton submit` do the same when they start; do it"
        " first where the processes that write are not the ones that may change tables. What"
        " workers of an earlier version cannot live with is done here only, and refused while one"
        " of them runs.",
    )
    for parser, run in ((migrate, run_migrate), (accept, run_accept)):
        add_store(parser)
        parser.set_defaults(run=run)


def run_migrate(args: Namespace) -> int:
    """Open the store as a worker would."""
    store = open_store(store_url(args), break_older=True)
    try:
        print(f"store {store.url} is ready (id {store.store_id})")
    finally:
        store.close()
    return 0


def run_accept(args: Namespace) -> int:
    """Accept a restore."""
    store = open_store(store_url(args), create=False, accept_restored=True, break_older=True)
    try:
        tasks = store.accept_restore()
        print(f"store {store.url} is accepted; the epochs of {tasks} tasks were raised")
    finally:
        store.close()
    return 0
