"""``baton report``: what happened, whether anything was lost, and what to do now."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.cli import values
from baton.cli.continuity import read_ledger
from baton.cli.ledger import archived_and_kept, read_seal
from baton.cli.output import counted, print_json
from baton.cli.parser import Verbs, add_json, add_store, add_verb, store_url
from baton.errors import BadInput, UnknownTask

if TYPE_CHECKING:
    from baton.observe.report.findings import Ledger
    from baton.observe.report.scope import Scope


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "report",
        "tell what happened, whether anything was lost, and what to do now",
        "Writes report.json, REPORT.md and report.html, each statement with the ledger lines that"
        " it rests on. Exit 0 if nothing was lost or done twice, as far as a ledger tells; 1 if"
        " something was, or if the ledger was altered: then nothing is said that rests on what is"
        " in doubt; 2 if that cannot be said. In all three cases the report is written.",
    )
    add_store(parser)
    parser.add_argument(
        "--ledger",
        metavar="FILE",
        type=Path,
        help="a ledger that `baton ledger export` wrote, instead of a store",
    )
    parser.add_argument(
        "--archive",
        metavar="PATH",
        type=Path,
        help="what was pruned from the store: an archive or a folder of archives",
    )
    parser.add_argument(
        "--seal", metavar="FILE", type=Path, help="a seal of this ledger that was kept elsewhere"
    )
    parser.add_argument("--task", metavar="ID", dest="task_id", help="only this task")
    parser.add_argument("--worker", metavar="ID", dest="worker_id", help="only this worker")
    for name, what in (("since", "from"), ("until", "until")):
        parser.add_argument(
            f"--{name}",
            metavar="TIME",
            type=values.moment,
            help=f"only what happened {what} then: Unix seconds, or such as 2026-01-31T12:00:00Z",
        )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where to write; a new folder"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Make the report."""
    from baton.fleet.fleet import package_version
    from baton.observe.report.document import build
    from baton.observe.report.files import files
    from baton.observe.report.scope import Scope
    from baton.prove.scenarios.evidence import folder

    scope = Scope(
        task=args.task_id,
        worker=args.worker_id,
        since_us=_microseconds(args.since),
        until_us=_microseconds(args.until),
    )
    if (
        scope.since_us is not None
        and scope.until_us is not None
        and scope.since_us > scope.until_us
    ):
        raise BadInput(detail="--since lies behind --until; nothing lies between them")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise BadInput(detail=f"--out {args.out} is not empty; name a new folder")
    ledger = _from_store(args) if args.ledger is None else _from_file(args)
    _check(ledger, scope)
    document = build(ledger, scope, package_version())
    made = files(document)
    with folder(args.out) as place:
        for name, data in made.items():
            (place / name).write_bytes(data)
    if args.json:
        print_json(document)
    else:
        _print(document, args.out)
    return int(document["exit_code"])


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _from_file(args: Namespace) -> Ledger:
    from baton.observe.report.findings import Ledger

    if args.store is not None or args.archive is not None:
        raise BadInput(detail="--ledger is read alone; leave out --store and --archive")
    sealed = None if args.seal is None else read_seal(args.seal)
    events, whole = read_ledger(args.ledger)
    return Ledger(events=events, complete=whole, seal=None if sealed is None else sealed["chains"])


def _from_store(args: Namespace) -> Ledger:
    from baton.fleet.store import open_store
    from baton.observe.report.findings import Ledger

    sealed = None if args.seal is None else read_seal(args.seal)
    with closing(open_store(store_url(args), create=False)) as store:
        if sealed is not None and sealed["store_id"] != store.store_id:
            raise BadInput(detail=f"--seal {args.seal} is of another store: {sealed['store_id']}")
        while True:
            pruned = store.pruned()
            events = list(counted(archived_and_kept(args.archive, store), "events"))
            told = {
                event.chain: store.told(event.chain)
                for event in (events if args.archive is None and pruned.chains else ())
                if event.n
            }
            if store.pruned() == pruned:
                break  # and if not, events went while they were read
        return Ledger(
            events=events,
            store_id=store.store_id,
            seal=None if sealed is None else sealed["chains"],
            told=told.get,
        )


def _check(ledger: Ledger, scope: Scope) -> None:
    """Refuse to report on what is not there.

    Raises:
        BadInput: there are no events, or none of those that were asked for.
        UnknownTask: the ledger knows no such task.
    """
    events = ledger.events
    if not events:
        raise BadInput(detail="the ledger is empty: nothing was ever submitted or started here")
    if scope.task is not None and not any(one.chain == f"task:{scope.task}" for one in events):
        raise UnknownTask(task_id=scope.task)
    if scope.worker is not None and all(one.worker_id != scope.worker for one in events):
        raise BadInput(detail=f"no worker {scope.worker!r} in this ledger; `baton ledger timeline`")
    walls = [one.wall for one in events if type(one.wall) is int]
    if not any((scope.since_us or wall) <= wall <= (scope.until_us or wall) for wall in walls):
        from baton.observe.report.scope import moment

        span = f"{moment(min(walls))} to {moment(max(walls))}" if walls else "no time at all"
        raise BadInput(detail=f"nothing happened in that window; the ledger tells of {span}")


def _print(document: Mapping[str, Any], out: Path) -> None:
    from baton.observe.report.table import headline

    print(f"{headline(document)}: {document['about']}")
    for finding in document["ledger"]["findings"]:
        place = f"{finding['chain']} event {finding['n']}"
        print(f"  {finding['check']}: {place}: {finding['detail']}")
    for section in document["sections"]:
        print(f"{section['question']} {section['statements'][0]['text']}")
    print(f"The report is {out / 'report.html'}, with REPORT.md and report.json beside it.")
