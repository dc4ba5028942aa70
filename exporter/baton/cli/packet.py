"""``baton packet``: the evidence of a release, put together and verified."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from baton.cli.output import print_json
from baton.cli.parser import Parser, Verbs, add_group, add_json, add_verb
from baton.errors import BadInput


def add(verbs: Verbs) -> None:
    """Add the verbs."""
    below = add_group(
        verbs, "packet", "put the evidence of a release together, or verify it", dest="packet_verb"
    )
    _add_build(below)
    _add_verify(below)


def _add_build(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "build",
        "build an evidence packet from what a release check left",
        "Decides by the worst of all criteria, generates the residual risks, and seals all of it"
        " under one manifest; the same evidence gives the same bytes. Exit 0 for GO and for GO with"
        " reservations, 1 for NO-GO, 2 for INCONCLUSIVE, 3 for ERROR: the packet is built in each"
        " of these cases.",
    )
    _add_folder(parser, "the packet: a new folder")
    parser.add_argument(
        "--from",
        metavar="RUN",
        dest="run_folder",
        type=Path,
        required=True,
        help="the folder that `make release-check` left",
    )
    parser.add_argument(
        "--replace", action="store_true", help="put it in the place of an earlier packet"
    )
    parser.add_argument(
        "--sign", metavar="KEY", type=Path, help="sign the manifest with this SSH key"
    )
    parser.add_argument("--signer", metavar="NAME", help="who signs, such as ann@example.org")
    add_json(parser)
    parser.set_defaults(run=run_build)


def _add_verify(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "verify",
        "verify a packet, and judge again everything that it decides",
        "The same as `python3 DIR/verify.py`, and it reads the gate's YAML too. Exit 0 if the"
        " packet is whole and follows from its evidence, whatever it decides; 1 if not.",
    )
    _add_folder(parser, "the packet")
    parser.add_argument(
        "--signers",
        metavar="FILE",
        type=Path,
        help="who may have signed: an OpenSSH allowed_signers file",
    )
    add_json(parser)
    parser.set_defaults(run=run_verify)


def _add_folder(parser: Parser, about: str) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help=about)


def run_build(args: Namespace) -> int:
    """Build."""
    from baton.prove.packet.building import build

    if (args.sign is None) != (args.signer is None):
        raise BadInput(detail="give --sign KEY and --signer NAME together, or neither")
    if args.sign is not None and not args.sign.is_file():
        raise BadInput(detail=f"--sign {args.sign}: no such key")
    decision = build(
        args.folder,
        args.run_folder,
        key=args.sign,
        signer=args.signer or "",
        replace=args.replace,
    )
    if args.json:
        print_json(decision)
    else:
        _print_decision(decision, args.folder)
    return int(decision["exit_code"])


def _print_decision(decision: dict[str, Any], folder: Path) -> None:
    for row in decision["against"]:
        print(f"{row['id']}: {row['status']} ({row['reason']}): {row['detail']}", file=sys.stderr)
    if not decision["release"].get("signed_by"):
        print("UNSIGNED: nothing shows who made this packet; see --sign", file=sys.stderr)
    print(f"{decision['decision']}: {decision['says']}")
    print(f"The packet is {folder}; read {folder / 'README.md'}, check {folder / 'verify.py'}")


def run_verify(args: Namespace) -> int:
    """Verify."""
    from baton.prove.packet.building import verify
    from baton.prove.packet.standalone import EXIT_PROBLEMS, lines_of

    found = verify(args.folder, args.signers)
    if args.json:
        print_json(found)
    else:
        print("\n".join(lines_of(found)))
    return 0 if found["verified"] else EXIT_PROBLEMS
