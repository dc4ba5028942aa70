"""The command line: ``baton VERB``. Each verb is a module with ``add`` and ``run``, and is thin.

Exit codes: 0 for done; 1 and 2 for verdicts; 3 for an error of Baton's own; 4 for everything
that a person must mend, said in one line; 130 for Ctrl-C; 141 when whoever read the output left.
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from baton.cli import (
    compat,
    demo,
    exporter,
    gate,
    ledger,
    packet,
    render,
    report,
    scenario,
    soak,
    store,
    submit,
    tasks,
    worker,
)
from baton.cli.parser import Parser
from baton.errors import EXIT_ERROR, BatonError
from baton.fleet.fleet import package_version

#: In the order of their names, which is the order of the help.
VERBS = (
    compat,
    demo,
    exporter,
    gate,
    ledger,
    packet,
    render,
    report,
    scenario,
    soak,
    store,
    submit,
    tasks,
    worker,
)

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def command_line() -> Parser:
    """The whole command line; docs/cli.md is rendered from it."""
    top = Parser(
        prog="baton",
        description="Leases, takeovers and continuity for fleets of LangGraph workers.",
    )
    top.add_argument("--version", action="version", version=f"baton {package_version()}")
    verbs = top.verbs()
    for verb in VERBS:
        verb.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``baton``; those of the process by default.

    Returns:
        The exit code.
    """
    words = tasks.spelled_out(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except BatonError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe()
    except Exception as error:  # noqa: BLE001 - the last resort, and it never keeps quiet
        return _unexpected(error, debug="--debug" in words)


def _run(words: Sequence[str]) -> int:
    args = Namespace()
    try:
        command_line().parse_args(words, args)
    except SystemExit as done:  # argparse has printed its help or the version
        code = int(done.code or 0)
    else:
        code = args.run(args)
    _flush()
    return code


def _say(line: str, code: int) -> int:
    print(f"baton: {' '.join(line.split())}", file=sys.stderr)
    return code


def _unexpected(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    hint = "" if debug else "; run it again with --debug and report what it shows"
    said = f"unexpected {type(error).__name__} at {where}: {error}{hint}"
    return _say(said, EXIT_ERROR)


def _flush() -> None:
    """Meet a broken pipe here and not in the interpreter's last breath."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _broken_pipe() -> int:
    # Python flushes once more at its end, which must not fail aloud.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE
