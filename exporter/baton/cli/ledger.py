"""``baton ledger``: what happened in a fleet, whether its record holds, and a copy of it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from baton.cli import prune
from baton.cli.continuity import judge_ledger, read_ledger
from baton.cli.output import counted, print_json
from baton.cli.parser import (
    STORE_VARIABLE,
    Parser,
    Verbs,
    add_group,
    add_json,
    add_store,
    add_verb,
    store_url,
)
from baton.domain.ledger import Event
from baton.domain.verify import Finding, Seal, Verifier
from baton.errors import BadInput, UnknownTask
from baton.fleet.archive import read_archives
from baton.fleet.reading import PrunedSoFar
from baton.fleet.store import Store, open_store
from baton.observe.timeline import render_text, timeline, to_dicts

EXIT_FINDINGS = 1

_FILTERS = {
    "task": "only this task",
    "run": "only this run",
    "step": "only this step: a checkpoint id",
    "worker": "only this worker",
}

#: What a file has to call itself to be taken for a seal.
_SEAL_FORMAT = "baton-seal-1"


def add(verbs: Verbs) -> None:
    """Add the verbs."""
    below = add_group(
        verbs, "ledger", "read, check and copy the record of what happened", dest="action"
    )
    _add_export(below)
    prune.add(below)
    _add_timeline(below)
    _add_verify(below)


def _add_export(below: Verbs) -> None:
    parser = add_verb(
        below,
        "export",
        "copy events as JSON Lines, in the order of their commits",
        "With --seal it also writes down how each chain ends: kept where the store's owner cannot"
        " reach it, that makes a rewritten ledger evident to `baton ledger verify --seal`.",
    )
    add_store(parser)
    _add_filters(parser)
    parser.add_argument(
        "--out", metavar="FILE", help="where to, instead of standard output; is written over"
    )
    parser.add_argument(
        "--seal", metavar="FILE", help="write a seal of every chain there; it must not exist yet"
    )
    parser.set_defaults(run=run_export)


def _add_timeline(below: Verbs) -> None:
    parser = add_verb(
        below,
        "timeline",
        "tell what happened, in plain words",
        "Ids of runs and steps may be cut short. What befell the holder of a task belongs to the"
        " task's timeline, and what others took over from a worker to the worker's.",
    )
    add_store(parser)
    add_json(parser)
    _add_filters(parser)
    parser.set_defaults(run=run_timeline)


def _add_verify(below: Verbs) -> None:
    parser = add_verb(
        below,
        "verify",
        "check that the ledger is whole, in order and unedited",
        "Exit 1 if anything is wrong with it. The whole ledger is read in any case; a filter"
        " leaves out the findings about other events. With --continuity it is judged whether"
        " anything was lost, done twice or done by a holder who had been replaced, as far as a"
        " ledger tells: exit 0 if not, 1 if so, 2 if nothing was checked or the ledger is cut off.",
    )
    add_store(parser)
    parser.add_argument(
        "--ledger",
        metavar="FILE",
        help="a ledger that `baton ledger export` wrote, instead of a store",
    )
    parser.add_argument(
        "--continuity", action="store_true", help="judge the continuity assertions instead"
    )
    add_json(parser)
    _add_filters(parser)
    parser.add_argument(
        "--seal", metavar="FILE", help="a seal of this ledger that was kept elsewhere"
    )
    parser.add_argument(
        "--archive",
        metavar="PATH",
        type=Path,
        help="judge what was pruned as well, from this archive or this folder of archives; without"
        " a store, judge that alone",
    )
    parser.set_defaults(run=run_verify)


def _add_filters(parser: Parser) -> None:
    for name, about in _FILTERS.items():
        parser.add_argument(f"--{name}", metavar="ID", dest=f"{name}_id", help=about)


def run_timeline(args: Namespace) -> int:
    """Tell what happened."""
    with closing(_opened(args)) as store:
        events = list(counted(_events(store), "events"))
    rows = timeline(events, **_wanted(args))
    if args.json:
        print_json(to_dicts(rows))
    elif not rows:
        print("no events")
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else None
        colour = terminal and "NO_COLOR" not in os.environ
        print(render_text(rows, width, colour=colour), end="")
    return 0


def run_verify(args: Namespace) -> int:
    """Check the ledger."""
    wanted = _wanted(args)
    if args.continuity and wanted:
        option = min(wanted).removesuffix("_id")
        raise BadInput(detail=f"--continuity is of the whole ledger; leave out --{option}")
    sealed = None if args.seal is None else read_seal(Path(args.seal))
    seal = None if sealed is None else sealed["chains"]
    if args.ledger is not None:
        return _verify_file(args, seal)
    if args.archive is not None and not args.store and not os.environ.get(STORE_VARIABLE):
        return _verify_events(args, seal, counted(read_archives(args.archive), "events"))
    with closing(_opened(args)) as store:
        if sealed is not None and sealed["store_id"] != store.store_id:
            raise BadInput(detail=f"--seal {args.seal} is of another store: {sealed['store_id']}")
        while (code := _verify_store(args, store, seal)) is None:
            pass  # events went while they were read; what is there now is judged anew
        return code


def _verify_file(args: Namespace, seal: Seal | None) -> int:
    """Judge what `baton ledger export` wrote."""
    if args.store is not None or args.archive is not None:
        raise BadInput(detail="--ledger is judged alone; leave out --store and --archive")
    events, whole = read_ledger(Path(args.ledger))
    if args.task_id is not None and all(event.task_id != args.task_id for event in events):
        raise UnknownTask(task_id=args.task_id)
    return _verify_events(args, seal, counted(iter(events), "events"), whole=whole)


def _verify_events(
    args: Namespace, seal: Seal | None, events: Iterable[Event], *, whole: bool = True
) -> int:
    """Judge a ledger that is at hand without its store."""
    if args.continuity:
        return judge_ledger(list(events), complete=whole, seal=seal, as_json=args.json)
    verifier = Verifier(seal)
    found = _judge(verifier, events, _wanted(args))
    return _say(args, verifier, found, PrunedSoFar(0, 0, 0), whole=whole)


def _verify_store(args: Namespace, store: Store, seal: Seal | None) -> int | None:
    """Judge the ledger of a store; None if it was pruned meanwhile."""
    pruned = store.pruned()
    events = counted(archived_and_kept(args.archive, store), "events")
    if args.continuity:
        if pruned.chains and args.archive is None:
            detail = (
                f"{pruned.chains} finished tasks were pruned; name their archives: --archive DIR"
            )
            raise BadInput(detail=detail)
        read = list(events)
        if store.pruned() != pruned:
            return None
        return judge_ledger(read, complete=True, seal=seal, as_json=args.json)
    verifier = Verifier(seal, store.told if args.archive is None else _nothing_told)
    found = _judge(verifier, events, _wanted(args))
    return _say(args, verifier, found, pruned) if store.pruned() == pruned else None


def _judge(verifier: Verifier, events: Iterable[Event], wanted: dict[str, str]) -> list[Finding]:
    found: list[Finding] = []
    for event in events:
        wrong = verifier.apply(event)
        found += wrong if _matches(event, wanted) else []
    return found + verifier.finish()


def _nothing_told(chain: str) -> None:
    """What an archive says is not taken from the store."""
    del chain


def archived_and_kept(archive: Path | None, store: Store) -> Iterator[Event]:
    """What was archived, then what the store has; the heads that are in both come once."""
    known: dict[str, dict[int, str]] = {}
    if archive is not None:
        for event in read_archives(archive):
            known.setdefault(event.chain, {})[event.n] = event.hash
            yield event
    for event in _events(store):
        if known.get(event.chain, {}).get(event.n) != event.hash:
            yield event


def _say(
    args: Namespace,
    verifier: Verifier,
    found: list[Finding],
    pruned: PrunedSoFar,
    *,
    whole: bool = True,
) -> int:
    cut = "" if whole else "; the file is cut off in its last line"
    if args.json:
        print_json(
            {
                "events": verifier.events,
                "summary": verifier.summary() + cut,
                "sealed": args.seal is not None,
                "pruned": {"chains": pruned.chains, "events": pruned.events},
                "checks": verifier.counts,
                "findings": [finding.to_dict() for finding in found],
            }
        )
        return EXIT_FINDINGS if found or not whole else 0
    for finding in found:
        print(finding)
    print(verifier.summary() + cut)
    if pruned.chains:
        judged = "judged from the archive" if args.archive else "in archives, not judged here"
        print(f"{pruned.events} events of {pruned.chains} finished tasks were pruned: {judged}")
    return EXIT_FINDINGS if found or not whole else 0


def run_export(args: Namespace) -> int:
    """Copy events."""
    wanted = _wanted(args)
    if args.seal is not None:
        if wanted:
            raise BadInput(detail=f"--seal is of the whole ledger; leave out --{min(wanted)}")
        _check_new(Path(args.seal))
    heads: dict[str, str] = {}
    position = 0
    with closing(_opened(args)) as store, _output(args.out) as out:
        for event in counted(_events(store), "events"):
            heads[event.chain], position = event.hash, event.seq
            if _matches(event, wanted):
                print(json.dumps(event.to_dict()), file=out)
        if args.seal is not None:
            about = {"format": _SEAL_FORMAT, "store_id": store.store_id, "position": position}
            text = json.dumps({**about, "chains": dict(sorted(heads.items()))}, indent=1)
            with Path(args.seal).open("x", encoding="utf-8") as seal:
                seal.write(f"{text}\n")
    return 0


def _opened(args: Namespace) -> Store:
    """The store, in which the task that was asked for has to be."""
    store = open_store(store_url(args), create=False)
    try:
        if args.task_id is not None:
            store.task(args.task_id)
    except BaseException:
        store.close()
        raise
    return store


def _wanted(args: Namespace) -> dict[str, str]:
    """The filters that were given."""
    given = {name: getattr(args, f"{name}_id") for name in _FILTERS}
    return {name: value for name, value in given.items() if value is not None}


def _matches(event: Event, wanted: dict[str, str]) -> bool:
    return all(getattr(event, f"{name}_id") == value for name, value in wanted.items())


def _events(store: Store) -> Iterator[Event]:
    """The whole ledger, a page at a time."""
    after = 0
    while page := store.events(after):
        after = page[-1].seq
        yield from page


@contextmanager
def _output(name: str | None) -> Iterator[TextIO]:
    """A file to write over, or standard output."""
    if name is None:
        yield sys.stdout
        return
    try:
        file = Path(name).open("w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise BadInput(detail=f"cannot write --out {name}: {error.strerror}") from error
    with file:
        yield file


def _check_new(path: Path) -> None:
    """Refuse early what would fail when everything else is done."""
    if path.exists():
        raise BadInput(detail=f"--seal {path} exists; a seal is kept, choose another name")
    if not os.access(path.parent, os.W_OK):
        raise BadInput(detail=f"cannot write --seal {path}: no writable folder {path.parent}")


def read_seal(path: Path) -> dict[str, Any]:
    """A seal that `baton ledger export --seal` wrote.

    Raises:
        BadInput: it cannot be read, or is none.
    """
    try:
        read: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(detail=f"--seal {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(detail=f"--seal {path} is no seal: {error}") from error
    if (
        not isinstance(read, dict)
        or read.get("format") != _SEAL_FORMAT
        or not isinstance(read.get("chains"), dict)
        or "store_id" not in read
    ):
        raise BadInput(detail=f"--seal {path} is no seal; `baton ledger export --seal` writes one")
    return read
