"""Breaking guardrails one at a time: each breakage in a fork of its own, over checks read once.

A check is a test of the charter that runs inside this process, so that what a breakage changes in
the code is what it meets. ``python -m tests.support.breaking`` prints, by breakage, what each
check came to.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from tests.support.charter import Row, Run, rows, standing

ROOT = Path(__file__).resolve().parents[2]

Plant = Callable[[pytest.MonkeyPatch], None]

#: By node id, what a check came to.
Outcomes = dict[str, str]

#: Of a breakage that took its whole process with it.
DIED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """What breaks one guardrail, and the check of its row that sees it.

    Attributes:
        row: the row of the charter.
        what: what the broken thing does, in one sentence.
        check: one of the row's checks, or some parameters of one.
        plant: puts it in place.
        costly: too slow to be asked under every breakage but in the whole cross product.
        apart: about files of the checkout alone, or about another process, neither of which a
            change to this one meets: asked under its own breakage, and once with nothing broken.
    """

    row: str
    what: str
    check: str
    plant: Plant
    costly: bool = False
    apart: bool = False


def rewritten(function: Any, old: str, new: str) -> Plant:
    """A function of ours whose source says something else, wherever it is known already."""
    function = inspect.unwrap(function)
    path = inspect.getsourcefile(function)
    assert path is not None
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    own, first = inspect.getsourcelines(function)
    before = "".join(own)
    assert before.count(old) == 1, f"{function.__qualname__} has {old!r} {before.count(old)} times"
    whole = [*lines[: first - 1], before.replace(old, new), *lines[first - 1 + len(own) :]]
    code = _code_of(compile("".join(whole), path, "exec"), function.__qualname__)
    return lambda patch: patch.setattr(function, "__code__", code)


def _code_of(code: CodeType, name: str) -> CodeType:
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    for one in inner:
        if one.co_qualname == name:
            return one
        if name.startswith(f"{one.co_qualname}."):
            return _code_of(one, name)
    raise LookupError(name)


def restated(statements: dict[str, str], name: str, old: str, new: str) -> Plant:
    """A statement of the store that says something else."""
    assert old in statements[name], f"{name} has no {old!r}"
    return lambda patch: patch.setitem(statements, name, statements[name].replace(old, new))


def both(*plants: Plant) -> Plant:
    """Several changes that are one breakage."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        for one in plants:
            one(patch)

    return plant


def is_of(node: str, check: str) -> bool:
    """Whether a node that pytest collected is of a check as the charter names it."""
    return node == check or node.startswith((f"{check}[", f"{check}::"))


@dataclass(frozen=True, slots=True)
class Step:
    """One breakage, or none, and the checks to ask while it is there."""

    name: str
    plant: Plant | None
    checks: tuple[str, ...]


def plan(breakages: Sequence[Breakage], *, whole: bool) -> Iterator[Step]:
    """What to break, and what to ask then.

    Args:
        breakages: what to break.
        whole: ask every check every time, and once with nothing broken.
    """
    if whole:
        yield Step("", None, tuple(one.check for one in breakages))
    for broken in breakages:
        others = [one for one in breakages if not (one.apart or (one.costly and not whole))]
        asked = dict.fromkeys(one.check for one in (broken, *others))
        yield Step(broken.row, broken.plant, tuple(asked))


def failing_rows(chosen: Sequence[Row], outcomes: Mapping[str, str]) -> list[str]:
    """The rows of the charter that do not pass; a check that was not asked is taken to hold."""
    others = {check: "passed" for row in chosen for check in row.checks}
    return list(standing(chosen, {**others, **outcomes}))


class Breaker:
    """A plugin of pytest that runs the collected tests once for each step, and reports by step."""

    def __init__(self, steps: Callable[[], Iterable[Step]], told: Callable[[str], None]) -> None:
        """Begin with nothing.

        Args:
            steps: what to break; asked once pytest has read the checks, before anybody else does.
            told: told of each step that was made.
        """
        self.found: dict[str, Outcomes] = {}
        self._steps = steps
        self._told = told

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave PostgreSQL out: a server is nothing that each breakage could have to itself."""
        items[:] = [item for item in items if "postgresql" not in item.name]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of one run of every test."""
        # Made here, so that the forks do not each begin by emptying it; and what is there already
        # is never collected, which would copy it into each.
        gc.freeze()
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # noqa: SLF001
        for step in self._steps():
            items = [
                item
                for item in session.items
                if any(is_of(item.nodeid, check) for check in step.checks)
            ]
            self.found[step.name] = _in_a_fork(step.plant, items)
            self._told(step.name)
        return True


def _in_a_fork(plant: Plant | None, items: Sequence[pytest.Item]) -> Outcomes:
    """What the tests come to in a process that ends with them; one line for each."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Nothing of pytest's own end may run twice, whatever happens here.
        try:
            os.setpgid(0, 0)
            os.close(read)
            with pytest.MonkeyPatch.context() as patch, os.fdopen(write, "w") as out:
                if plant is not None:
                    plant(patch)
                _perform(items, lambda node, outcome: print(f"{outcome} {node}", file=out))
        finally:
            os._exit(0)
    os.close(write)
    outcomes = {item.nodeid: DIED for item in items}
    with os.fdopen(read) as lines:
        for line in lines:
            outcome, _, node = line.rstrip("\n").partition(" ")
            outcomes[node] = outcome
    os.waitpid(pid, 0)
    # What a test left running when its breakage tore it apart.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return outcomes


def _perform(items: Sequence[pytest.Item], told: Callable[[str, str], None]) -> None:
    run = Run()
    for at, item in enumerate(items):
        following = items[at + 1] if at + 1 < len(items) else None
        if at == 0:
            item.config.pluginmanager.register(run)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        told(item.nodeid, run.outcomes.get(item.nodeid, DIED))


def files_of(rows: Iterable[Row]) -> list[str]:
    """The files of the rows' checks that breakages name; found without reading any test."""
    texts = [file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("breakages*")]
    used = {name for text in texts for name in re.findall(r"/(test_\w+\.py)", text)}
    named = {check.partition("::")[0] for row in rows for check in row.checks}
    return sorted(
        name
        for name in named
        if not name.startswith("tests/chaos/") and name.rpartition("/")[2] in used
    )


def broken_by_turns(
    files: Sequence[str], steps: Callable[[], Iterable[Step]], told: Callable[[str], None]
) -> dict[str, Outcomes]:
    """By step, what its checks came to.

    Args:
        files: where the checks are.
        steps: see ``Breaker``.
        told: see ``Breaker``.

    Raises:
        RuntimeError: a check could not even be read.
    """
    breaker = Breaker(steps, told)
    with tempfile.TemporaryDirectory() as folder:
        options = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-s"]
        code = pytest.main([*options, f"--basetemp={folder}/t", *files], plugins=[breaker])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"pytest ended with {code!r}")
    return breaker.found


def broken(told: Callable[[str], None], *, whole: bool, only: str = "") -> dict[str, Outcomes]:
    """Break the guardrails by turns; by row, what its check and others came to.

    Args:
        told: told of each row once it was broken.
        whole: ask every check under every breakage, and not the quick ones alone.
        only: break rows whose id begins so.
    """

    def steps() -> list[Step]:
        planned = plan(breakages(), whole=whole)
        return [one for one in planned if not one.name or one.name.startswith(only)]

    return broken_by_turns(files_of(guardrails()), steps, told)


def guardrails() -> list[Row]:
    """The rows of the charter that are guardrails."""
    return [row for row in rows() if row.id.startswith("GR-")]


def breakages() -> Sequence[Breakage]:
    """What breaks each of them; read late, because it reads tests, as pytest wants to do first."""
    found: Sequence[Breakage] = import_module("tests.support.breakages").BREAKAGES
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Break with the quick checks, and keep what came of it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose id begins so")
    parser.add_argument("--out", type=Path, required=True, help="keep what came of it there")
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def told(name: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s {name}\n")

    found = broken(told, whole=False, only=options.only)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
