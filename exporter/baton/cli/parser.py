"""The house's argparse: an error is one line and exit 4, help is sorted, nothing is abbreviated.

Here are also the options that several verbs share, each described once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import Any, NoReturn, TypeAlias

from baton.cli import values
from baton.errors import BadInput

#: Where a verb adds itself.
Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - has no public name

STORE_VARIABLE = "BATON_STORE"


class SortedHelp(argparse.HelpFormatter):
    """Lists options by name, whatever the order in which they were added."""

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        """Add them sorted; what is given by its place stays in its place."""
        super().add_arguments(sorted(actions, key=lambda action: list(action.option_strings)))


class Parser(argparse.ArgumentParser):
    """A parser whose errors are Baton's."""

    def __init__(self, **settings: Any) -> None:
        """Take argparse's own settings, which also come from ``add_parser``."""
        super().__init__(**{"formatter_class": SortedHelp, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            BadInput: always.
        """
        raise BadInput(detail=f"{message}; see `{self.prog} --help`")

    def verbs(self, dest: str = "verb") -> Verbs:
        """Let verbs add themselves below this parser; one of them has to be given."""
        return self.add_subparsers(
            title="verbs", dest=dest, metavar="VERB", required=True, parser_class=Parser
        )


def add_group(verbs: Verbs, name: str, summary: str, more: str = "", *, dest: str) -> Verbs:
    """Add a verb that has verbs of its own; returns where they add themselves."""
    parser = verbs.add_parser(name, help=summary, description=_sentence(summary, more))
    return parser.verbs(dest)


def add_verb(verbs: Verbs, name: str, summary: str, more: str = "") -> Parser:
    """Add a verb with its one line of help, and what else its own help says."""
    parser = verbs.add_parser(name, help=summary, description=_sentence(summary, more))
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an unexpected error"
    )
    return parser


def add_store(parser: Parser) -> None:
    """The store that a verb works on; read it with ``store_url``."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="the store: sqlite:///fleet.db, sqlite:////absolute/fleet.db, or"
        f" postgresql://host/name (default: ${STORE_VARIABLE})",
    )


def store_url(args: argparse.Namespace) -> str:
    """The store that was asked for.

    Raises:
        BadInput: none was.
    """
    url: str | None = args.store or os.environ.get(STORE_VARIABLE)
    if not url:
        raise BadInput(detail=f"no store: give --store sqlite:///fleet.db, or set {STORE_VARIABLE}")
    return url


def add_json(parser: Parser) -> None:
    """Output for machines."""
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def add_log(parser: Parser) -> None:
    """How a verb that goes on for long writes its log."""
    parser.add_argument(
        "--log",
        choices=("json", "text"),
        default="text",
        help="how the log is written to standard error (default: text)",
    )


def add_pool(parser: Parser, about: str, default: str | None = None) -> None:
    """A pool of workers."""
    shown = f" (default: {default})" if default else ""
    parser.add_argument(
        "--pool", metavar="POOL", type=values.name("pool"), default=default, help=about + shown
    )


def _sentence(summary: str, more: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}. {more}".rstrip()
