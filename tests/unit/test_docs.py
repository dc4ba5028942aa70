"""Pages lead where they say: links, the index, the commands of the front page."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from baton.cli import command_line

ROOT = Path(__file__).parents[2]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)

DECISION_LINES_MAX = 60


@cache
def pages() -> dict[str, str]:
    """Every Markdown page of the checkout by its path, without what is fenced."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(set(paths))}


@cache
def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them, and those that are set by hand."""
    plain = _FENCE.sub("", text)
    heads = re.findall(r"^#+ +(.+?)\s*$", plain, re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads)
    return {*words, *re.findall(r'(?:id|name)="([^"]+)"', text)}


def broken(name: str, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for groups in _LINK.findall(re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))):
        target, _, anchor = "".join(groups).partition("#")
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        if not path.exists():
            found.append(f"{target} is not there")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path.read_text()):
            found.append(f"{target} has no #{anchor}")
    return found


def test_every_link_leads_somewhere() -> None:
    """On every page, to a file and to a heading in it."""
    assert {name: found for name, text in pages().items() if (found := broken(name, text))} == {}


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see [x](gone.md)", 1),
        ("![x](gone.png)", 1),
        ("[x](README.md#no-such-heading)", 1),
        ("[x](#gone)", 1),
        ("[x](README.md#five-jobs) [y](docs/) [z](https://example.org/gone)", 0),
        ("```\n[x](gone.md)\n```\n`[x](gone.md)`", 0),
    ],
)
def test_a_planted_link_is_found(text: str, links: int) -> None:
    """To no file, and to no heading."""
    assert len(broken("README.md", text)) == links


def test_every_page_is_in_the_index() -> None:
    """Each page of docs/ has its line in docs/README.md, or in the index of its own folder."""
    index = pages()["docs/README.md"]
    missing = [
        name
        for name in (path.relative_to(ROOT / "docs").as_posix() for path in _docs())
        if f"({name})" not in index
    ]
    assert missing == []


def _docs() -> list[Path]:
    return [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "README.md"]


def test_a_decision_says_what_it_costs() -> None:
    """On less than a page, under a number of its own, and listed."""
    folder = ROOT / "docs" / "adr"
    decisions = [path for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert len(text.splitlines()) <= DECISION_LINES_MAX
        for part in ("**Decided.**", "**Why.**", "**What it costs.**"):
            assert part in text, f"{path.name} has no {part}"
        assert f"({path.name})" in (folder / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """What a page tells to type of Baton's: in its blocks of shell, and in its running text."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    lines = [line.partition("#")[0].strip() for line in blocks.splitlines()]
    inline = re.findall(r"`(baton [a-z][^`]*)`", _FENCE.sub("", text))
    return [one for one in (*lines, *inline) if one.startswith("baton ") and "|" not in one]


@pytest.mark.parametrize("line", commands((ROOT / "README.md").read_text(encoding="utf-8")))
def test_a_command_of_the_front_page_can_be_typed(line: str) -> None:
    """Its own parser takes it."""
    assert callable(command_line().parse_args(shlex.split(line)[1:]).run)
