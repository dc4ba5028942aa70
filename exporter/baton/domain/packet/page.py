"""The front page of a packet: the decision first, fit for somebody who was not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from baton.domain.gate.words import Status
from baton.domain.packet.layout import LAYOUT

_Plain = Mapping[str, Any]

_HOW = """\
## Check it yourself

```sh
python3 verify.py      # Python 3.11 or newer, nothing else; `baton packet verify DIR` does the same
```

It compares every file with `manifest.json`, verifies the chains of the ledgers, judges each
scenario, the soak, the kill matrix and every criterion of the gate again from what they left, and
makes this page again. It names each file that was changed, removed or added, each verdict that does
not follow from its evidence, and what it could not judge again."""


def page(
    decision: _Plain, criteria: Sequence[_Plain], risks: Sequence[_Plain], rollback: _Plain
) -> str:
    """The page, in Markdown.

    Args:
        decision: of ``decision.json``.
        criteria: of ``criteria.json``.
        risks: of ``risks.json``.
        rollback: of ``rollback.json``.
    """
    parts = (_head(decision), _against(criteria), (_HOW,), _risks(risks), _back(rollback))
    lines = [line for part in parts for line in (*part, "")]
    return "\n".join([*lines, *_all(criteria), "", *_contents()]) + "\n"


def _head(decision: _Plain) -> Iterator[str]:
    release = decision["release"]
    version, commit = release.get("version") or "unknown", release.get("commit")
    yield f"# {decision['decision']}: Baton {version}"
    yield ""
    yield f"**{decision['says']}**"
    yield ""
    yield "Decided by rule, not by hand: the worst of all criteria below decides, and what could"
    yield "not be measured is never a yes."
    yield ""
    clean = "a clean tree" if release.get("tree_clean") else "a tree with changes"
    signed = release.get("signed_by")
    facts = (
        ("released", f"Baton {version}, contract {release.get('contract') or 'unknown'}"),
        ("source", f"commit `{commit}`, {clean}" if commit else "unknown"),
        ("checked", f"{release.get('began') or 'unknown'} to {release.get('ended') or 'unknown'}"),
        ("with", _with(release)),
        ("signed", f"by {signed}" if signed else "**UNSIGNED**: hashes show integrity, not who"),
        ("criteria", ", ".join(f"{n} {name}" for name, n in decision["counts"].items() if n)),
    )
    yield "| what | |"
    yield "|---|---|"
    yield from (f"| {name} | {_cell(value)} |" for name, value in facts)


def _with(release: _Plain) -> str:
    packages = release.get("packages") or {}
    found = [f"{name} {value}" for name, value in sorted(packages.items()) if value]
    return ", ".join([*filter(None, (release.get("python"), release.get("platform"))), *found])


def _against(criteria: Sequence[_Plain]) -> Iterator[str]:
    yield "## What stands against it"
    yield ""
    bad = [row for row in criteria if row["status"] != Status.PASS]
    if not bad:
        yield "Nothing: every criterion was judged and holds."
    for row in sorted(bad, key=lambda one: -Status(one["status"]).rank):
        yield f"- **{row['id']}** {row['status']} ({row['reason']}): {_cell(row['detail'])}"
        if row["next_action"]:
            yield f"  Next: {_cell(row['next_action'])} Owner: {row['owner']}."


def _risks(risks: Sequence[_Plain]) -> Iterator[str]:
    yield "## Residual risks"
    yield ""
    yield "Generated from the evidence; each goes away only with its fact."
    yield ""
    yield "| risk | what | trigger | mitigation | owner |"
    yield "|---|---|---|---|---|"
    for one in risks:
        cells = (one["id"], one["text"], one["trigger"], one["mitigation"], one["owner"])
        yield f"| {' | '.join(map(_cell, cells))} |"


def _back(rollback: _Plain) -> Iterator[str]:
    yield "## Rollback"
    yield ""
    yield f"Previous version: {rollback['previous'] or 'none'}."
    yield ""
    yield from (f"{n}. {step}" for n, step in enumerate(rollback["steps"], 1))
    yield ""
    schemas = ", ".join(f"{name} {n}" for name, n in sorted(rollback["schema"]["versions"].items()))
    yield f"- Schema: {rollback['schema']['text']} Versions here: {schemas or 'unknown'}."
    yield f"- Epochs: {rollback['epochs']}"
    yield f"- Checkpoints: {rollback['checkpoints']}"
    yield f"- Point of no return: {rollback['point_of_no_return']}"
    yield f"- Last drill: {rollback['drill']['text']}"


def _all(criteria: Sequence[_Plain]) -> Iterator[str]:
    yield "## All criteria"
    yield ""
    yield "| criterion | status | question | found | judged again | evidence |"
    yield "|---|---|---|---|---|---|"
    for row in criteria:
        first = row["evidence"][0] if row["evidence"] else None
        place = f"[{first['path']}]({first['path']}) {first['pointer']}" if first else "none"
        again = "yes" if row["recomputed"] else "no"
        cells = (row["id"], row["status"], row["question"], row["detail"], again, place)
        yield f"| {' | '.join(map(_cell, cells))} |"


def _contents() -> Iterator[str]:
    yield "## What is in here"
    yield ""
    yield "| file | what it is |"
    yield "|---|---|"
    yield from (f"| `{entry.path}` | {entry.about} |" for entry in LAYOUT)


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
