"""``baton compat``: what contract 1.0.0 promises, and whether this version keeps it."""

from __future__ import annotations

import argparse
import json
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from baton import cli
from baton.cli.output import print_json, print_table
from baton.cli.parser import Parser, Verbs, add_json, add_verb
from baton.domain.compat import Difference, Kind, Surfaces, Things, Value, differences, holds
from baton.errors import BadInput

EXIT_BROKEN = 1

_VARIABLE = re.compile(r"\$BATON_[A-Z_]+")

#: The form of what ``--json`` and ``--out`` give.
FORMAT = "1.0.0"


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "compat",
        "show what the contract promises, and check that this version keeps it",
        "With --check, everything that this version offers is held against the baseline that ships"
        " with it: what was added is told, what was changed or removed fails. Exit 0 if the"
        " promise is kept, 1 if not.",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the baseline; exit 1 if it is broken"
    )
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        type=Path,
        help="another baseline, such as that of the version you run (default: the one that ships)",
    )
    parser.add_argument("--surface", metavar="NAME", help="only this surface, thing by thing")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="with --check, keep the result there as JSON, such as in the folder that `baton gate"
        " --evidence` reads; is written over",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Show the contract, or check it."""
    from baton.prove.compat import baseline

    if args.out is not None and not args.check:
        raise BadInput(detail="--out keeps the result of a comparison; add --check")
    path = args.baseline or baseline.default_path()
    promised = _only(baseline.load(path), args.surface)
    if not args.check:
        _show(promised, args)
        return 0
    return _check(promised, surfaces(args.surface), args)


def surfaces(only: str | None = None) -> Surfaces:
    """What this version offers, surface by surface.

    Args:
        only: the name of one of them; None for all.
    """
    from baton.prove.compat.facts import SURFACES

    known: dict[str, Callable[[], Things]] = {
        "command line": lambda: dict(_verbs(cli.command_line())),
        **SURFACES,
        "exit codes": lambda: {**dict(_exit_codes()), **SURFACES["exit codes"]()},
    }
    return {name: gather() for name, gather in known.items() if only in (None, name)}


def summary(promised: Surfaces, found: Surfaces) -> dict[str, Any]:
    """The result of a comparison in plain values.

    Args:
        promised: the baseline.
        found: what there is.
    """
    from baton.fleet.fleet import package_version
    from baton.observe.collector import CONTRACT_VERSION

    differs = differences(promised, found)
    return {
        "format": FORMAT,
        "contract": CONTRACT_VERSION,
        "version": package_version(),
        "judgement": "PASS" if holds(differs) else "FAIL",
        "says": _says(differs),
        "surfaces": [
            {"surface": name, "promised": len(things), **_counts(differs, name)}
            for name, things in promised.items()
        ],
        "differences": [
            {"kind": one.kind, "surface": one.surface, "thing": one.thing, "detail": one.detail}
            for one in differs
        ],
    }


def _counts(differs: Sequence[Difference], surface: str) -> dict[str, int]:
    return {
        kind: sum(one.kind is kind and one.surface == surface for one in differs) for kind in Kind
    }


def _says(differs: Sequence[Difference]) -> str:
    counts = {kind: sum(one.kind is kind for one in differs) for kind in Kind}
    if not differs:
        return "everything is as it was promised"
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"{told}; {'the promise is kept' if holds(list(differs)) else 'the promise is broken'}"


def _only(found: Surfaces, surface: str | None) -> Surfaces:
    if surface is None:
        return found
    if surface not in found:
        raise BadInput(detail=f"no surface {surface!r}; there are {', '.join(found)}")
    return {surface: found[surface]}


def _show(promised: Surfaces, args: Namespace) -> None:
    if args.json:
        print_json({"format": FORMAT, "surfaces": promised})
    elif args.surface is None:
        print_table(("SURFACE", "THINGS"), [(name, len(all_)) for name, all_ in promised.items()])
        print("Show one with --surface NAME; compare with --check.")
    else:
        for thing, facts in promised[args.surface].items():
            print("  ".join([thing, *(f"{name}: {json.dumps(v)}" for name, v in facts.items())]))


def _check(promised: Surfaces, found: Surfaces, args: Namespace) -> int:
    from baton.observe.render import write

    result = summary(promised, found)
    if args.out is not None:
        write({args.out.name: json.dumps(result, indent=1) + "\n"}, args.out.parent)
    if args.json:
        print_json(result)
    else:
        for one in differences(promised, found):
            print(one)
        print(f"{result['judgement']}: {result['says']} (contract {result['contract']})")
    return 0 if result["judgement"] == "PASS" else EXIT_BROKEN


def _exit_codes() -> Iterator[tuple[str, Mapping[str, Value]]]:
    """The codes that the command and its verbs name."""
    for module in (cli, *cli.VERBS):
        name = module.__name__.rpartition(".")[2] if module is not cli else "every verb"
        for constant, code in vars(module).items():
            if constant.startswith("EXIT_") and isinstance(code, int):
                meaning = constant.removeprefix("EXIT_").lower().replace("_", " ")
                yield f"{name}: {meaning}", {"code": code}


def _verbs(one: Parser) -> Iterator[tuple[str, Mapping[str, Value]]]:
    from baton.cli.reference import arguments_of, verbs_of

    yield one.prog, {}
    below = verbs_of(one)
    for name in sorted(below):
        yield from _verbs(below[name])
    for action in () if below else arguments_of(one):
        for spelling in action.option_strings or [str(action.metavar or action.dest)]:
            thing = f"{one.prog} {spelling}"
            yield thing, _argument(action)
            for choice in action.choices or ():
                yield f"{thing}={choice}", {}
        for variable in _VARIABLE.findall(action.help or ""):
            yield f"{one.prog} {variable}", {}


def _argument(action: argparse.Action) -> dict[str, Value]:
    default = action.default
    plain = isinstance(default, str | int | float | None)
    several = action.nargs in ("*", "+") or type(action).__name__ == "_AppendAction"
    return {
        # By its place an argument of `*` may be left out, whatever argparse says of it.
        "required": action.required and action.nargs != "*",
        "takes": "nothing" if action.nargs == 0 else "several" if several else "one",
        "value": None if action.choices else str(action.metavar or ""),
        "default": default if plain else str(default),
    }
