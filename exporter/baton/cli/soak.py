"""``baton soak``: seeded scenarios for hours, checkpointed after each."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from baton.cli import values
from baton.cli.output import print_json
from baton.cli.parser import Verbs, add_json, add_verb
from baton.errors import BadInput

if TYPE_CHECKING:
    from baton.prove.scenarios.engine import Engine
    from baton.prove.soak.checkpoint import Folder


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "soak",
        "break fleets for hours, and judge all of it as one",
        "Each cycle is a scenario that the seed has drawn; with --engine proc, a fleet whose"
        " workers are killed, frozen and sent away by real signals every other second. A"
        " checkpoint follows each, so that a soak that was interrupted or killed goes on with"
        " --resume and ends in the same digest (of real processes: of the plan)."
        " Exit 0 if all cycles passed, 1 if one failed or came out otherwise when it was"
        " performed again, 2 if one showed nothing, 3 if the engine itself failed.",
    )
    much = parser.add_mutually_exclusive_group(required=True)
    much.add_argument("--cycles", metavar="N", type=values.count, help="so many cycles in all")
    much.add_argument(
        "--hours", metavar="H", type=_hours, help="until it has gone on for so long in all"
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=values.whole_number,
        help="draws the cycles, and decides for chance in them (default: 1)",
    )
    parser.add_argument(
        "--engine",
        choices=("sim", "proc"),
        help="what performs them: sim, scenarios in virtual time; proc, fleets of real processes"
        " under real signals, some two minutes each (default: sim)",
    )
    parser.add_argument(
        "--store",
        metavar="sqlite|postgresql|URL",
        help="for --engine proc: sqlite, postgresql for a server of its own, or the URL of one"
        " whose user may make databases, as each cycle has a new one (default: sqlite)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="begin anew there; a new or empty folder"
    )
    parser.add_argument("--resume", metavar="DIR", type=Path, help="go on with the soak in there")
    add_json(parser)
    parser.set_defaults(run=run)


def _hours(text: str) -> float:
    return values.seconds(text) * 3600


def run(args: Namespace) -> int:
    """Soak."""
    from baton.prove.scenarios.judging import EXIT_CODES
    from baton.prove.soak.running import soak
    from baton.prove.soak.summary import judgement, write_summary

    if (args.out is None) == (args.resume is None):
        raise BadInput(detail="give --out DIR to begin a soak, or --resume DIR to go on with one")
    with _staged(args) as (folder, engine):
        progress = _progress(args.cycles, args.hours)
        soak(folder, engine, cycles=args.cycles, seconds=args.hours, told=progress)
        found = write_summary(folder)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        print_json(found) if args.json else print((folder.path / "SOAK.md").read_text("utf-8"))
        return EXIT_CODES[judgement(folder)]


@contextmanager
def _staged(args: Namespace) -> Iterator[tuple[Folder, Engine]]:
    """The folder of the soak that is meant, and what performs its cycles."""
    from baton.prove.proc.engine import ProcEngine
    from baton.prove.scenarios.engines import kind_of, opened
    from baton.prove.soak.checkpoint import begun, resumed

    with ExitStack() as stack:
        if args.out is None:
            folder = stack.enter_context(resumed(args.resume))
            _same(args, folder)
            at = folder.checkpoint
            engine = stack.enter_context(opened(at.engine, args.store or at.store, asked_only=True))
        else:
            name, store = args.engine or "sim", args.store or "sqlite"
            engine = stack.enter_context(opened(name, store, asked_only=True))
            if isinstance(engine, ProcEngine):
                engine.probe()
            seed = 1 if args.seed is None else args.seed
            folder = stack.enter_context(begun(args.out, seed, name, kind_of(store)))
        yield folder, engine


def _same(args: Namespace, folder: Folder) -> None:
    """Refuse to go on with another soak than the one that was begun."""
    from baton.prove.scenarios.engines import kind_of

    store = None if args.store is None else kind_of(args.store)
    for name, wanted in (("seed", args.seed), ("engine", args.engine), ("store", store)):
        was = getattr(folder.checkpoint, name)
        if wanted not in (None, was):
            raise BadInput(
                detail=f"the soak in {folder.path} has --{name} {was}, not {wanted}; leave it out"
            )


def _progress(cycles: int | None, seconds: float | None) -> Callable[[Folder], None]:
    def told(folder: Folder) -> None:
        at = folder.checkpoint
        if not sys.stderr.isatty():
            return
        share = at.cycle / cycles if cycles else at.seconds / (seconds or 1)
        counts = at.counts
        line = (
            f"{min(share, 1):6.1%}  {at.cycle:,} cycles, {counts['takeovers']:,} takeovers,"
            f" {counts['violations']:,} violations"
        )
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    return told
