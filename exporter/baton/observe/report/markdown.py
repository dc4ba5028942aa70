"""REPORT.md, rendered from report.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from baton.observe.report import table

_Known = Mapping[tuple[str, int], str]

#: What has a meaning of its own in Markdown or in the HTML that it may hold.
_SPECIAL = "\\`*_[]<>|#&~$!"


def markdown(document: table.Document) -> str:
    """The report as a page."""
    return "\n".join(_page(document)) + "\n"


def _page(document: table.Document) -> Iterator[str]:
    known = table.ids(document)
    yield f"# {_text(table.headline(document))}"
    yield ""
    yield " ".join(_text(fact) for fact in table.facts(document))
    if document["ledger"]["findings"]:
        yield from _findings(document)
    for section in document["sections"]:
        yield ""
        yield f"## {section['question']}"
        yield ""
        yield from (_statement(one, known) for one in section["statements"])
        if section["id"] == "continuity":
            yield from _unjudged(document["continuity"])
        elif section["id"] == "handovers" and document["takeovers"]:
            rows = [table.takeover_cells(one) for one in document["takeovers"][: table.ROWS_MAX]]
            yield from _table(table.TAKEOVER_HEAD, rows)
        elif section["id"] == "slowness" and document["measures"]:
            rows = [table.measure_cells(one) for one in document["measures"]]
            yield from _table(table.MEASURE_HEAD, rows)
    yield ""
    yield "## Ledger lines"
    yield ""
    yield "| line | time (UTC) | since | what happened | chain | n | hash |"
    yield "|---|---|---|---|---|---|---|"
    for line in document["lines"]:
        cells = (line["time"], f"{line['since_seconds']:+.3f} s", line["text"], line["chain"])
        shown = " | ".join(map(_text, cells))
        anchor = f'<a id="{line["id"]}"></a>{line["id"]}'
        yield f"| {anchor} | {shown} | {line['n']} | {line['hash']} |"


def _findings(document: table.Document) -> Iterator[str]:
    yield ""
    yield "## What the checks of the ledger found"
    yield ""
    for one in document["ledger"]["findings"]:
        place = f"{one['chain']} event {one['n']}" if one["n"] >= 0 else one["chain"]
        yield f"- {_text(one['check'])}: {_text(place)}: {_text(one['detail'])}"


def _statement(one: Mapping[str, Any], known: _Known) -> str:
    command = "" if one["command"] is None else f" {_code(one['command'])}"
    return f"- {_text(one['text'])}{command}{_ground(one, known)}"


def _ground(one: Mapping[str, Any], known: _Known) -> str:
    lines = one["lines"]
    if not lines:
        return ""
    names = [f"[{name}](#{name})" for name in table.links(lines, known)]
    if one["rests_on"] == "every line":
        return f" (every line from {names[0]} to {names[-1]})"
    return f" ({', '.join(names)}{table.rest(lines)})"


def _unjudged(continuity: Mapping[str, Any]) -> Iterator[str]:
    for one in continuity["not_judged"]:
        yield f"- Not judged: {one['id']} {_text(one['title'])} ({_text(one['why'])})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(map(_text, row))} |" for row in rows)


def _text(text: object) -> str:
    """Text that is shown as it is, whatever is in it."""
    line = " ".join(str(text).split())
    printable = (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in printable)


def _code(command: str) -> str:
    """A command as it is typed; one that holds a backtick has a longer fence."""
    line = " ".join(command.split())
    fence = "`" if "`" not in line else "```"
    return f"{fence}{line}{fence}"
