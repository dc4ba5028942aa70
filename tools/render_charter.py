"""Render the guardrail charter: charter.yaml in, the acceptance matrix out.

`--check` writes nothing and exits 1 when the page has drifted from its data.
`--complete` exits 1 while any row is still without a check, for the release check.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SPEC = Path(__file__).resolve().parents[1] / "specs" / "005-v1-2-reliability-operator-experience"
DATA = SPEC / "charter.yaml"
PAGE = SPEC / "guardrail-charter-acceptance-matrix.md"
UNBOUND = "unbound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One guardrail or acceptance criterion; `checks` is empty while it is unbound."""

    id: str
    statement: str
    passes_when: str
    evidence: str
    checks: tuple[str, ...]
    bound_by: str


def load() -> dict[str, Any]:
    """Return the charter's data as plain mappings and lists."""
    data: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return data


def sections(charter: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the guardrail families, then the tasks, each with its `rows`."""
    return [*charter["guardrails"], *charter["acceptance"]]


def rows_of(charter: dict[str, Any], section: dict[str, Any]) -> list[Row]:
    """Join a section's rows with their lines under `checks`; KeyError if a row has no line."""
    return [_row(raw, charter["checks"][raw["id"]]) for raw in section["rows"]]


def _row(raw: dict[str, str], binding: dict[str, Any]) -> Row:
    check = binding["check"]
    named = () if check == UNBOUND else (check,) if isinstance(check, str) else tuple(check)
    return Row(**raw, checks=named, bound_by=binding.get("bound_by", ""))


def render(charter: dict[str, Any]) -> str:
    """Return the whole page as Markdown."""
    return "\n".join(_page(charter)) + "\n"


def _page(charter: dict[str, Any]) -> Iterator[str]:
    policy = charter["policy"]
    yield f"# {charter['title']}"
    yield ""
    yield (
        f"Release {charter['release']}, contract {charter['contract']}, runtime"
        f" {charter['runtime']}. Rendered from [charter.yaml](charter.yaml) by"
        " `python tools/render_charter.py`: edit the data, not this page."
        " Phases and roll-back are in the [rollout plan](rollout-plan.md)."
    )
    yield from _standing(charter)
    yield from _heading("Scope")
    yield from _bullets(charter["scope"])
    yield from _heading("Not in scope")
    yield from _bullets(charter["non_goals"])
    yield from _heading("Baseline")
    yield from _table(
        ("anchor", "what stands for it here"),
        ((each["anchor"], each["stands_for_it"]) for each in charter["baseline"]),
    )
    yield from _heading("Compatibility constraints")
    yield from _table(
        ("surface", "frozen", "may grow"),
        ((each["surface"], each["frozen"], each["may_grow"]) for each in charter["compatibility"]),
    )
    yield from _heading("LangGraph only")
    yield policy["rule"]
    yield ""
    yield from _table(("finding", "what the policy check looks for"), policy["looks_for"].items())
    yield ""
    yield (
        f"Check: `{policy['check']}`. Covers: {policy['covers']}."
        f" Exceptions: {policy['exceptions']}."
    )
    yield from _heading("Evidence requirements")
    yield from _bullets(charter["evidence_requirements"])
    yield from _heading("Guardrails")
    yield "Ids are stable: rows may be added, none is renumbered or used again."
    for family in charter["guardrails"]:
        yield from _heading(f"{family['id']}: {family['title']}", level=3)
        yield from _matrix(rows_of(charter, family))
    yield from _heading("Acceptance matrix")
    yield "The number after the task is the number of its acceptance criterion."
    for task in charter["acceptance"]:
        yield from _heading(f"{task['id']}: {task['title']}", level=3)
        yield f"Wave {task['wave']}, after {', '.join(task['needs'])}."
        yield ""
        yield from _matrix(rows_of(charter, task))


def _standing(charter: dict[str, Any]) -> Iterator[str]:
    """Say how many rows are bound, by section, and what the others wait for."""
    rows = [(each["id"], row) for each in sections(charter) for row in rows_of(charter, each)]
    every = Counter(section for section, _ in rows)
    bound = Counter(section for section, row in rows if row.checks)
    waiting = Counter(row.bound_by for _, row in rows if not row.checks)
    yield from _heading("Where it stands")
    yield (
        f"**{bound.total()} of {len(rows)} rows are bound** to a check that a test runs;"
        f" **{waiting.total()} are unbound** and count as not passed."
    )
    yield ""
    yield from _table(
        ("section", "rows", "bound", "unbound"),
        ((name, count, bound[name], count - bound[name]) for name, count in every.items()),
    )
    yield ""
    yield from _table(
        ("milestone", "what it brings", "rows it still has to bind"),
        ((name, text, waiting[name]) for name, text in charter["milestones"].items()),
    )


def _matrix(rows: Iterable[Row]) -> Iterator[str]:
    return _table(
        ("id", "statement", "passes when", "evidence it leaves", "check"),
        ((row.id, row.statement, row.passes_when, row.evidence, _check(row)) for row in rows),
    )


def _check(row: Row) -> str:
    if not row.checks:
        return f"**unbound** ({row.bound_by})"
    return "<br>".join(f"`{check}`" for check in row.checks)


def _heading(text: str, *, level: int = 2) -> Iterator[str]:
    yield ""
    yield f"{'#' * level} {text}"
    yield ""


def _bullets(texts: Iterable[str]) -> Iterator[str]:
    return (f"- {text}" for text in texts)


def _table(head: Sequence[str], body: Iterable[Iterable[object]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *body):
        yield "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page; 0 when all is well, 1 on drift or on rows without a check."""
    parser = argparse.ArgumentParser(description="Render the guardrail charter.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on drift")
    parser.add_argument("--complete", action="store_true", help="exit 1 if a row has no check")
    options = parser.parse_args(arguments)
    charter = load()
    page, problems = render(charter), []
    if not options.check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        problems.append(f"{PAGE.name} has drifted: run python tools/render_charter.py")
    if options.complete:
        problems += [
            f"{row.id} has no check: it waits for {row.bound_by}"
            for section in sections(charter)
            for row in rows_of(charter, section)
            if not row.checks
        ]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
