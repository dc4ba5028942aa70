"""report.html, rendered from report.json: one page, without a script and readable offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from baton.observe.report import table
from baton.observe.report.picture import clean, picture

_Known = Mapping[tuple[str, int], str]

#: Nothing may be fetched and nothing run, whatever the ledger holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #5b6470; --line: #d5dae0;
  --lane: #f3f5f8; --link: #0b57b0; --lease: #2f6fb5; --in: #fff; --bad: #c0262d; --good: #1a7f46;
  --unsure: #8a5a00; --detect: #c0262d; --claim: #b86e00; --restore: #1a7f46; --progress: #6b7684; }
@media (prefers-color-scheme: dark) { :root { --back: #14171b; --text: #e6e9ed; --soft: #a0a9b4;
  --line: #343b44; --lane: #1c2127; --link: #7db7ff; --lease: #4f8fd6; --in: #0b0e12;
  --bad: #ff7b72; --good: #56d08a; --unsure: #e3b341; --detect: #ff7b72; --claim: #e3b341;
  --restore: #56d08a; --progress: #8b96a3; } }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif;
  margin: 0 auto; max-width: 1280px; padding: 1.5rem; }
h1 { border-left: 6px solid; font-size: 1.6rem; line-height: 1.25; padding-left: .7rem; }
h1.code0 { border-color: var(--good); } h1.code1 { border-color: var(--bad); }
h1.code2 { border-color: var(--unsure); } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
a { color: var(--link); } .soft, .ground { color: var(--soft); font-size: .87rem; }
ul { padding-left: 1.2rem; } li { margin: .25rem 0; overflow-wrap: anywhere; }
code { background: var(--lane); border-radius: 3px; padding: .1rem .3rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .87rem; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .5rem; text-align: left;
  vertical-align: top; } .figures td { white-space: nowrap; }
td.hash { font-family: monospace; font-size: .75rem; min-width: 17rem; overflow-wrap: anywhere; }
.time { white-space: nowrap; } .said { min-width: 18rem; }
tr:target { background: var(--lane); outline: 2px solid var(--link); }
svg.timeline { display: block; min-width: 700px; width: 100%; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; } svg .tick { fill: var(--soft);
  text-anchor: middle; } svg .in { fill: var(--in); } svg .grid { stroke: var(--line); }
svg .lane { fill: var(--lane); } svg .lease { fill: var(--lease); } svg .lost { stroke: var(--bad);
  stroke-dasharray: 4 2; stroke-width: 2; } svg .session_lost { stroke: var(--bad);
  stroke-width: 3; } svg .write_refused { fill: var(--bad); stroke: var(--back); }
svg .fault_injected { fill: var(--unsure); } svg .session_started { fill: var(--good); }
svg .session_stopped { fill: var(--soft); } .detect { fill: var(--detect); }
.claim { fill: var(--claim); } .restore { fill: var(--restore); } .progress { fill: var(--progress);
} svg .takeover { fill: var(--soft); } .legend span { margin-right: 1.1rem; white-space: nowrap; }
.legend svg { height: 14px; vertical-align: middle; width: 18px; }
@media print { body { max-width: none; } }
"""

_LEGEND = (
    ('<rect class="lease" x="1" y="2" width="16" height="11"/>', "lease"),
    ('<rect class="lease lost" x="1" y="2" width="16" height="11"/>', "lease that was taken over"),
    ('<path class="session_lost" d="M4 2 14 12M4 12 14 2"/>', "worker lost"),
    ('<path class="write_refused" d="M9 0 16 7 9 14 2 7Z"/>', "late write refused"),
    ('<path class="session_started" d="M5 2 14 7 5 12Z"/>', "session began"),
    ('<path class="session_stopped" d="M5 3H13V11H5Z"/>', "session stopped"),
    ('<rect class="detect" x="1" y="2" width="16" height="11"/>', "detect"),
    ('<rect class="claim" x="1" y="2" width="16" height="11"/>', "claim"),
    ('<rect class="restore" x="1" y="2" width="16" height="11"/>', "restore"),
    ('<rect class="progress" x="1" y="2" width="16" height="11"/>', "progress"),
)


def page(document: table.Document) -> str:
    """The report as a page."""
    return "\n".join(_page(document)) + "\n"


def _page(document: table.Document) -> Iterator[str]:
    known, title = table.ids(document), clean(table.headline(document))
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}: {clean(document['about'])}</title>"
    yield f"<style>{_STYLE}</style></head><body>"
    yield f'<h1 class="code{document["exit_code"]}">{title}</h1>'
    yield f'<p class="soft">{" ".join(map(clean, table.facts(document)))}</p>'
    if document["ledger"]["findings"]:
        yield from _findings(document["ledger"]["findings"])
    for section in document["sections"]:
        yield f'<section id="{section["id"]}"><h2>{clean(section["question"])}</h2><ul>'
        yield from (_statement(one, known) for one in section["statements"])
        yield "</ul>"
        if section["id"] == "continuity":
            yield from _unjudged(document["continuity"]["not_judged"])
        elif section["id"] == "handovers":
            yield from _handovers(document, known)
        elif section["id"] == "slowness" and document["measures"]:
            rows = [_cells(table.measure_cells(one)) for one in document["measures"]]
            yield from _table(table.MEASURE_HEAD, rows)
        yield "</section>"
    yield from _lines(document["lines"])
    yield "</body></html>"


def _findings(findings: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="findings"><h2>What the checks of the ledger found</h2><ul>'
    for one in findings:
        place = f"{one['chain']} event {one['n']}" if one["n"] >= 0 else one["chain"]
        yield f"<li>{clean(one['check'])}: {clean(place)}: {clean(one['detail'])}</li>"
    yield "</ul></section>"


def _statement(one: Mapping[str, Any], known: _Known) -> str:
    command = "" if one["command"] is None else f" <code>{clean(one['command'])}</code>"
    return f"<li>{clean(one['text'])}{command}{_ground(one, known)}</li>"


def _ground(one: Mapping[str, Any], known: _Known) -> str:
    lines = one["lines"]
    if not lines:
        return ' <span class="ground"><a href="#findings">findings</a></span>' * _found(one)
    names = [f'<a href="#{name}">{name}</a>' for name in table.links(lines, known)]
    told = f"{', '.join(names)}{table.rest(lines)}"
    if one["rests_on"] == "every line":
        told = f"every line from {names[0]} to {names[-1]}"
    return f' <span class="ground">({told})</span>'


def _found(one: Mapping[str, Any]) -> bool:
    return bool(one["rests_on"] == "findings")


def _unjudged(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    told = [f"{one['id']} {one['title']} ({one['why']})" for one in found]
    if told:
        yield f'<p class="soft">Not judged: {"; ".join(map(clean, told))}.</p>'


def _handovers(document: table.Document, known: _Known) -> Iterator[str]:
    drawing, takeovers = document["timeline"], document["takeovers"]
    if takeovers:
        rows = []
        for one in takeovers[: table.ROWS_MAX]:
            first, *more = _cells(table.takeover_cells(one))
            name = table.links(one["lines"], known)[0]
            rows.append([f'<a href="#{name}">{first}</a>', *more])
        yield from _table(table.TAKEOVER_HEAD, rows)
        if len(takeovers) > table.ROWS_MAX:
            left = len(takeovers) - table.ROWS_MAX
            yield f'<p class="soft">{left} more takeovers are in report.json.</p>'
    if drawing is not None:
        yield f'<div class="wide">{picture(drawing, known)}</div><p class="soft legend">'
        for shape, name in _LEGEND:
            yield f'<span><svg viewBox="0 0 18 14" aria-hidden="true">{shape}</svg> {name}</span>'
        yield "<span>#2: under epoch 2</span></p>"
        left_out = drawing["left_out"]
        if any(left_out.values()):
            told = f"{left_out['leases']} leases and {left_out['takeovers']} takeovers"
            yield f'<p class="soft">Not drawn, for want of room: {told}.</p>'


def _lines(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="lines"><h2>Ledger lines</h2><div class="wide"><table><tr>'
    heads = ("line", "time (UTC)", "since", "what happened", "chain", "n", "hash")
    yield "".join(f"<th>{head}</th>" for head in heads) + "</tr>"
    for line in lines:
        since = f"{line['since_seconds']:+.3f} s"
        shown = "".join(
            f'<td class="{kind}">{clean(cell)}</td>'
            for kind, cell in (
                *(("time", line["id"]), ("time", line["time"]), ("time", since)),
                *(("said", line["text"]), ("place", line["chain"]), ("place", line["n"])),
                ("hash", line["hash"]),
            )
        )
        yield f'<tr id="{line["id"]}">{shown}</tr>'
    yield "</table></div></section>"


def _cells(cells: Iterable[str]) -> list[str]:
    return [clean(cell) for cell in cells]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    heads = "".join(f"<th>{clean(name)}</th>" for name in head)
    yield f'<div class="wide"><table class="figures"><tr>{heads}</tr>'
    for row in rows:
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
    yield "</table></div>"
