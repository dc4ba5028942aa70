"""``baton gate``: may this fleet be released? Asked of Prometheus and of the ledger."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.cli import values
from baton.cli.output import print_json, print_table
from baton.cli.parser import STORE_VARIABLE, Verbs, add_json, add_store, add_verb
from baton.errors import BadInput

if TYPE_CHECKING:
    from baton.prove.gate.material import Material

URL_VARIABLE = "BATON_PROMETHEUS"


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "gate",
        "decide whether a release may go on, from Prometheus and the ledger",
        "Asks everything that a policy asks, at one time, and keeps the answers. Exit 0 for GO and"
        " for GO with reservations, 1 for NO-GO, 2 if something could not be judged, 3 if the gate"
        " could not ask or cannot be trusted. docs/gate.md has a section for each criterion.",
    )
    parser.add_argument(
        "--prometheus",
        metavar="URL",
        help=f"the server, such as http://127.0.0.1:9090 (default: ${URL_VARIABLE})",
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        help="the criteria (default: gates/release.yaml, as it ships with Baton)",
    )
    add_store(parser)
    parser.add_argument(
        "--archive",
        metavar="PATH",
        type=Path,
        help="what was pruned from the store: an archive or a folder of archives",
    )
    parser.add_argument(
        "--evidence",
        metavar="DIR",
        type=Path,
        help="results of scenarios and soaks: `baton scenario run --out DIR/scenarios`",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="keep decision and answers there; a new folder"
    )
    parser.add_argument(
        "--replay",
        metavar="DIR",
        type=Path,
        help="judge what an earlier --out has kept, and ask nobody; gives the same bytes",
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        type=values.moment,
        help="the time to ask about: Unix seconds, or such as 2026-01-31T12:00:00Z (default: now)",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=_pair,
        help="a parameter of the policy, such as window=30m; may be given again",
    )
    _add_access(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def _add_access(parser: Any) -> None:
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="a bearer token (default: $BATON_PROMETHEUS_TOKEN)",
    )
    parser.add_argument(
        "--basic-file",
        metavar="FILE",
        type=Path,
        help="USER:PASSWORD for basic authorization (default: $BATON_PROMETHEUS_BASIC)",
    )
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        type=Path,
        help="trust these certificates instead of the system's",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=values.seconds,
        default=10.0,
        help="how long one answer may take from its first byte to its last (default: 10)",
    )


def run(args: Namespace) -> int:
    """Decide."""
    from baton.domain.gate import telling
    from baton.domain.gate.bench import judge
    from baton.domain.gate.words import EXIT_CODES
    from baton.prove.gate import output
    from baton.prove.scenarios.evidence import folder

    if args.out is not None and args.out.exists() and any(args.out.iterdir()):
        raise BadInput(detail=f"--out {args.out} is not empty; name a new folder")
    material = _gathered(args) if args.replay is None else _replayed(args)
    verdict = judge(material.case())
    if args.out is not None:
        with folder(args.out) as place:
            output.write(place, output.files(verdict, material))
    document = telling.decision(verdict, material.case())
    if args.json:
        print_json(document)
    else:
        _print(document)
    return EXIT_CODES[verdict.decision]


def _gathered(args: Namespace) -> Material:
    from baton import content

    url = args.prometheus or os.environ.get(URL_VARIABLE)
    if not url:
        said = f"no Prometheus: give --prometheus http://HOST:9090, or set {URL_VARIABLE}"
        raise BadInput(detail=said)
    try:
        from baton.prove.gate.client import access_to
        from baton.prove.gate.gathering import gather
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "requests":
            raise
        said = "a gate asks with requests, which is not installed: pip install"
        raise BadInput(detail=f"{said} 'langgraph-baton[gates]'") from error
    access = access_to(
        url,
        token_file=args.token_file,
        basic_file=args.basic_file,
        ca_file=args.ca_file,
        timeout_seconds=args.timeout,
    )
    return gather(
        access,
        args.policy or content.root() / "gates" / "release.yaml",
        values.once_each("--set", args.set),
        round(time.time() if args.at is None else args.at, 3),
        store_url=args.store or os.environ.get(STORE_VARIABLE) or None,
        archive=args.archive,
        evidence=args.evidence,
    )


#: What says what to ask, and so has no place where nobody is asked.
_ASKING = ("prometheus", "store", "archive", "evidence", "at", "token_file", "basic_file")


def _replayed(args: Namespace) -> Material:
    from baton.prove.gate.material import load

    given = [name for name in (*_ASKING, "ca_file") if getattr(args, name) is not None]
    if args.set or given:
        option = given[0].replace("_", "-") if given else "set"
        raise BadInput(detail=f"--replay asks nobody; leave out --{option}")
    return load(args.replay, args.policy)


def _print(document: dict[str, Any]) -> None:
    from baton.domain.gate.telling import sampled, valued

    rows = [
        (row["id"], row["status"], row["reason"], valued(row), row["must"], sampled(row))
        for row in document["criteria"]
    ]
    print_table(("CRITERION", "STATUS", "REASON", "VALUE", "MUST", "SAMPLES"), rows)
    for row in document["criteria"]:
        if row["status"] != "PASS":
            print(f"{row['id']}: {row['question']} {row['detail']}", file=sys.stderr)
            if row["next_action"]:
                print(f"  next: {row['next_action']} {row['runbook']}", file=sys.stderr)
    print(f"{document['decision']}: {document['says']}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as window=30m")
    return name, value
