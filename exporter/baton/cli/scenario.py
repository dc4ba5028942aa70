"""``baton scenario``: break a fleet on purpose, and judge what came of it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from baton.cli import values
from baton.cli.output import print_json, print_table
from baton.cli.parser import Parser, Verbs, add_group, add_json, add_verb
from baton.errors import BadInput

if TYPE_CHECKING:
    from baton.prove.scenarios.engine import Engine
    from baton.prove.scenarios.model import Scenario
    from baton.prove.scenarios.running import Done

_EXITS = (
    "Exit 0 if every scenario passed, 1 if one failed, 2 if one showed nothing (a fault did not"
    " fire, nothing was checked, the engine cannot perform it), 3 if the engine itself failed."
)


def add(verbs: Verbs) -> None:
    """Add the verbs."""
    below = add_group(
        verbs, "scenario", "break a fleet on purpose and judge what came of it", dest="action"
    )
    _add_list(below)
    _add_replay(below)
    _add_run(below)


def _add_list(below: Verbs) -> None:
    parser = add_verb(below, "list", "name the scenarios; docs/scenarios.md tells of each")
    _add_tag(parser)
    add_json(parser)
    parser.set_defaults(run=run_list)


def _add_replay(below: Verbs) -> None:
    parser = add_verb(
        below,
        "replay",
        "perform one scenario from a file, such as a failure that was shrunk",
        _EXITS,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the scenario, in YAML")
    _add_performing(parser)
    parser.set_defaults(run=run_replay)


def _add_run(below: Verbs) -> None:
    parser = add_verb(
        below,
        "run",
        "perform scenarios and judge them",
        "Without an ID, all of them, or those of --tag. With --swarm, random ones: a failure is cut"
        f" down to the fewest faults and kept as a file to replay. {_EXITS}",
    )
    parser.add_argument("ids", metavar="ID", nargs="*", help="a scenario, such as K01")
    parser.add_argument(
        "--swarm",
        metavar="N",
        type=values.count,
        help="perform N random scenarios; with no ID these alone, and --out is needed",
    )
    parser.add_argument(
        "--drill",
        metavar="FILE",
        type=Path,
        help="perform the scenario of a drill's form (docs/drills), and keep the form beside the"
        " evidence with its log, checklist and score filled in; needs --out",
    )
    _add_tag(parser)
    _add_performing(parser)
    parser.set_defaults(run=run_run)


def _add_tag(parser: Parser) -> None:
    parser.add_argument(
        "--tag",
        metavar="TAG",
        action="append",
        default=[],
        help="only scenarios with this tag, such as risk; may be given again",
    )


def _add_performing(parser: Parser) -> None:
    parser.add_argument(
        "--engine",
        choices=("sim", "proc"),
        default="sim",
        help="what performs them: sim, in virtual time; proc, with real processes, signals and"
        " stores, some ten seconds each (default: sim)",
    )
    parser.add_argument(
        "--store",
        metavar="sqlite|postgresql|URL",
        default="sqlite",
        help="for --engine proc: sqlite, postgresql for a server of its own, or the URL of one"
        " whose user may make databases, as each scenario has a new one (default: sqlite)",
    )
    parser.add_argument(
        "--prometheus",
        action="store_true",
        help="for --engine proc: judge the alerts and the silence that a scenario expects by a real"
        " Prometheus, which loads Baton's own rules with a minute as short as a third of the TTL;"
        " a scenario of which it sees too little passes in no case",
    )
    parser.add_argument(
        "--parity",
        action="store_true",
        help="perform each in virtual time as well: both have to come to the same lease words and"
        " outcomes of assertions, or the scenario fails; for --engine proc",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="keep the evidence there: scenarios, ledgers, traces, verdicts; a new or empty folder",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=values.whole_number,
        help="what decides for chance; the same seed gives the same bytes (default: each file's"
        " own, or 1)",
    )
    add_json(parser)


def run_list(args: Namespace) -> int:
    """Name the scenarios."""
    from baton.prove.scenarios.engines import ENGINES
    from baton.prove.scenarios.library import chosen

    engines, found = [made() for made in ENGINES.values()], chosen((), args.tag)
    if args.json:
        print_json(
            [
                {
                    "id": one.id,
                    "title": one.title,
                    "hypothesis": one.hypothesis,
                    "tags": one.tags,
                    "assertions": one.expect.assertions,
                    **{f"refused_by_{engine.name}": engine.supports(one) for engine in engines},
                }
                for one in found
            ]
        )
        return 0
    rows = [
        (
            *(one.id, one.title, ", ".join(one.tags)),
            *(engine.supports(one) or "yes" for engine in engines),
        )
        for one in found
    ]
    print_table(("ID", "TITLE", "TAGS", *(engine.name.upper() for engine in engines)), rows)
    return 0


def run_replay(args: Namespace) -> int:
    """Perform one file."""
    from baton.prove.scenarios.parse import load

    return _perform(args, (load(args.file),))


def run_run(args: Namespace) -> int:
    """Perform scenarios."""
    from baton.prove.scenarios.library import chosen
    from baton.prove.scenarios.running import DEFAULT_SEED
    from baton.prove.scenarios.swarm import swarm

    if args.ids and args.tag:
        raise BadInput(detail="give IDs or --tag, and not both")
    if args.drill is not None:
        return _drilled(args)
    if args.swarm is not None and args.out is None:
        raise BadInput(detail="--swarm keeps what fails: give --out DIR as well")
    named = bool(args.ids or args.tag) or args.swarm is None
    found = chosen(args.ids, args.tag) if named else ()
    if args.swarm is not None:
        found += tuple(swarm(args.swarm, DEFAULT_SEED if args.seed is None else args.seed))
    return _perform(args, found)


def _drilled(args: Namespace) -> int:
    """Perform the scenario of a drill, and fill its form."""
    from baton.prove.scenarios.drill import fill, load_drill
    from baton.prove.scenarios.library import chosen

    drill = load_drill(args.drill)
    if args.out is None:
        raise BadInput(detail="--drill keeps the filled form: give --out DIR as well")
    if args.tag or args.swarm is not None or args.ids not in ([], [drill.scenario]):
        raise BadInput(detail=f"--drill {args.drill} performs {drill.scenario}, and nothing else")

    def keep(done: Done, engine: Engine, folder: Path) -> None:
        (folder / "drill.md").write_text(fill(drill, done, engine.name, folder), encoding="utf-8")

    return _perform(args, chosen((drill.scenario,), ()), keep)


def _perform(
    args: Namespace,
    scenarios: Sequence[Scenario],
    keep: Callable[[Done, Engine, Path], None] | None = None,
) -> int:
    from baton.prove.scenarios.engines import ENGINES, opened
    from baton.prove.scenarios.judging import EXIT_CODES, Judgement, worst
    from baton.prove.scenarios.running import perform_all, summary

    if args.parity and args.engine == "sim":
        raise BadInput(detail="--parity holds --engine proc against sim; add --engine proc")
    if args.prometheus and args.engine == "sim":
        raise BadInput(detail="--prometheus watches real processes; add --engine proc")
    with opened(args.engine, args.store, watched=args.prometheus) as engine:
        done = perform_all(
            scenarios,
            engine,
            seed=args.seed,
            out=args.out,
            against=ENGINES["sim"]() if args.parity else None,
            told=_progress(len(scenarios)),
            keep=keep or _keep_shrunk,
        )
    total = worst(one.result.judgement for one in done)
    if args.json:
        print_json({"engine": engine.name, "judgement": total.value, "scenarios": summary(done)})
    else:
        print_table(
            ("ID", "SEED", "VERDICT", "WHY"),
            [
                (one.scenario.id, one.seed, one.result.judgement.value, one.result.reason)
                for one in done
            ],
        )
        counts = {
            judgement: sum(one.result.judgement is judgement for one in done)
            for judgement in Judgement
        }
        print(", ".join(f"{count} {judgement}" for judgement, count in counts.items() if count))
    for one in done:
        if one.result.judgement is not Judgement.PASS:
            print(f"replay {one.scenario.id}: {_command(args, one)}", file=sys.stderr)
    return EXIT_CODES[total]


def _progress(total: int) -> Callable[[Done], None]:
    number = 0

    def told(done: Done) -> None:
        nonlocal number
        number += 1
        if sys.stderr.isatty():
            end = "\r\x1b[K" if number == total else ""
            line = f"\r\x1b[K{number}/{total} {done.scenario.id} {done.result.judgement}"
            print(line, end=end, file=sys.stderr, flush=True)

    return told


def _keep_shrunk(done: Done, engine: Engine, folder: Path) -> None:
    """Beside the evidence of a random scenario that failed, the least that fails as it does."""
    from baton.prove.scenarios.judging import Judgement
    from baton.prove.scenarios.swarm import shrink
    from baton.prove.scenarios.writing import text_of

    if done.result.judgement is Judgement.FAIL and not done.scenario.origin:
        least, _ = shrink(done, engine)
        (folder / "shrunk.yaml").write_text(text_of(least), encoding="utf-8")


def _command(args: Namespace, done: Done) -> str:
    """What performs it again, to paste."""
    scenario = done.scenario
    engine = args.engine
    chosen = "" if engine == "sim" else f" --engine {engine}"
    # A URL may have a password in it, which is nobody's to print.
    kind = args.store if args.store == "postgresql" else "URL"
    chosen += "" if args.store == "sqlite" else f" --store {kind}"
    chosen += " --prometheus" if args.prometheus else ""
    if not scenario.origin:
        kept = args.out / scenario.id
        name = "shrunk.yaml" if (kept / "shrunk.yaml").exists() else "scenario.yaml"
        return f"baton scenario replay {kept / name}{chosen}"
    if args.action == "replay":
        return f"baton scenario replay {args.file} --seed {done.seed}{chosen}"
    return f"baton scenario run {scenario.id} --seed {done.seed}{chosen}"
