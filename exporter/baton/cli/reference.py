"""docs/cli.md, rendered from the parser so that it cannot fall behind it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from baton.cli import command_line
from baton.cli.parser import Parser

_HEAD = """\
# Command line

Rendered by `baton render` from the parser; do not edit by hand.

- `--store` takes `sqlite:///fleet.db` (in the current folder), `sqlite:////absolute/fleet.db` or
  `postgresql://user@host/name`; without it, the environment variable `BATON_STORE` is read.
- Options are never abbreviated. `--json` prints one JSON document for machines.
- Results go to standard output, everything else to standard error.
- An error is one line that names the thing and the mend.
- `baton --version` says which Baton this is, and `--help` after any verb what it takes.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | what was checked does not hold |
| 2 | what was checked cannot be judged |
| 3 | an error of Baton's own; `--debug` shows its traceback |
| 4 | something that you have to mend: the input, the store, a port; nothing was written |
| 130 | interrupted by Ctrl-C |
| 141 | whoever read the output went away |
"""


def render_cli_doc() -> str:
    """The page, one section per verb."""
    return "\n".join([_HEAD, *(_section(each) for each in leaves(command_line()))])


def leaves(top: Parser) -> Iterator[Parser]:
    """The parsers of all verbs that do something, in the order of their names."""
    below = verbs_of(top)
    if not below:
        yield top
    for name in sorted(below):
        yield from leaves(below[name])


def verbs_of(one: Parser) -> dict[str, Parser]:
    """The verbs that a parser has below it, by their names."""
    return {
        name: below
        for action in one._actions  # noqa: SLF001 - argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
        for name, below in action.choices.items()
    }


def arguments_of(one: Parser) -> list[argparse.Action]:
    """What a verb takes: first what is given by its place, then its options by name."""
    taken = [
        action
        for action in one._actions  # noqa: SLF001
        if not isinstance(action, argparse._HelpAction)  # noqa: SLF001
    ]
    return sorted(taken, key=lambda action: list(action.option_strings))


def _section(one: Parser) -> str:
    arguments = arguments_of(one)
    needed = [_written(action) for action in arguments if action.required]
    lines = [
        f"## {one.prog}",
        "",
        one.description or "",
        "",
        f"`{' '.join([one.prog, *needed, '[options]'])}`",
        "",
        "| argument | meaning |",
        "|---|---|",
        *(f"| `{_cell(_written(a))}` | {_cell(a.help or '')} |" for a in arguments),
        "",
    ]
    return "\n".join(lines)


def _written(action: argparse.Action) -> str:
    """An argument as it is typed."""
    value = "" if action.nargs == 0 else str(action.metavar or "|".join(action.choices or ()))
    return " ".join([*action.option_strings[-1:], value]).strip()


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
