"""The recovery report: what it says of a ledger, and that each word of it rests on lines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support.house import House
from tests.support.story import healthy_ledger

from baton.cli import command_line
from baton.cli.continuity import read_ledger
from baton.domain.ledger import Event, recomputed_hash
from baton.domain.words import Evidence
from baton.observe.report.document import build
from baton.observe.report.files import files
from baton.observe.report.findings import Ledger
from baton.observe.report.scope import Scope
from baton.prove.scenarios.library import chosen
from baton.prove.sim.engine import perform

SCHEMA = json.loads((Path(__file__).parents[2] / "contract" / "report.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def poisoned() -> Sequence[Event]:
    """A task that took three workers with it, and was put aside."""
    house, _ = House.in_memory()
    house.submit("t-poison")
    for number in range(3):
        member = house.session(f"w-{number}")
        member.claim()
        house.bury(member, Evidence.PIDFD)
    assert house.session("w-last").claims().quarantined == ("t-poison",)
    events = house.events()
    house.store.close()
    return events


@cache
def ledger_of(what: str) -> tuple[Event, ...]:
    """A ledger by the id of its scenario, or by its name."""
    if what == "poisoned":
        return tuple(poisoned())
    if what == "everything":
        return tuple(healthy_ledger())
    (scenario,) = chosen([what])
    return tuple(perform(scenario, 1).trial.events)


def report_of(events: Sequence[Event], **scope: Any) -> dict[str, Any]:
    """A report."""
    return build(Ledger(events=events, store_id="store-1"), Scope(**scope), "1.2.0")


def fits(document: dict[str, Any]) -> bool:
    """Whether a report, as it is read back, fits its schema."""
    return VALIDATOR.is_valid(json.loads(files(document)["report.json"]))


def answers(document: dict[str, Any], section: str) -> str:
    """What a report says to one of the six questions."""
    (found,) = (one for one in document["sections"] if one["id"] == section)
    return "\n".join(one["text"] for one in found["statements"])


def test_the_schema_is_one() -> None:
    """A schema with an error in it would let anything pass."""
    VALIDATOR.check_schema(SCHEMA)
    document = report_of(ledger_of("K01"))
    assert fits(document)
    document["takeovers"][0]["surplus"] = 1
    assert not fits(document)


@pytest.mark.parametrize("what", ["Z01", "R01", "poisoned"])
def test_a_report_fits_its_schema(what: str) -> None:
    """Whatever it is about, and also where its ledger was altered."""
    events = ledger_of(what)
    assert fits(report_of(events))
    assert fits(report_of(events, task=next(one.task_id for one in events if one.task_id)))
    assert fits(report_of(edited(events, 2, wall=0)))


# What it must name

CASES = [
    ("K01", "chain-1", "crashed", "w-1", "w-2", "the end of its process"),
    ("Z01", "chain-1", "heartbeat_lost", "w-1", "w-2", "frozen or cut off and not dead"),
    ("R01", "pace-1", "drained", "w-1", "w-1", "as planned"),
]


@pytest.mark.parametrize(("what", "task", "reason", "before", "after", "cause"), CASES)
def test_a_takeover_is_told_with_cause_holders_phases_and_outcome(
    what: str, task: str, reason: str, before: str, after: str, cause: str
) -> None:
    """For a killed, a frozen and a drained task."""
    document = report_of(ledger_of(what), task=task)
    (one,) = document["takeovers"]
    assert one["reason"] == reason
    assert cause in one["cause"]["text"]
    assert (one["before"]["worker_id"], one["after"]["worker_id"]) == (before, after)
    assert one["after"]["epoch"] == one["before"]["epoch"] + 1
    seconds = {phase["phase"]: phase["seconds"] for phase in one["phases"]}
    assert list(seconds) == ["detect", "claim", "restore", "progress"]
    assert sum(list(seconds.values())[:3]) == pytest.approx(one["latency_seconds"])
    assert all(phase["lines"] for phase in one["phases"])
    assert one["continuity"]["outcome"] == document["continuity"]["outcome"] == "held"
    assert one["steps_replayed"] == (reason != "drained")
    assert cause in answers(document, "handovers")
    assert document["exit_code"] == 0


def test_a_frozen_worker_is_named_with_its_late_write() -> None:
    """The fence held, and somebody should look at that host."""
    document = report_of(ledger_of("Z01"))
    (one,) = document["takeovers"]
    assert one["writes_refused"]["count"] == 1
    assert "1 late write of w-1 was refused" in answers(document, "continuity")
    assert "host of w-1" in answers(document, "actions")
    assert "the TTL of 3.0 s" in answers(document, "slowness")


def test_a_poisoned_task_is_told_as_held_by_nobody() -> None:
    """With the takeovers that brought nothing, and what to do."""
    document = report_of(ledger_of("poisoned"), task="t-poison")
    *before, aside = document["takeovers"]
    assert [one["outcome"] for one in before] == ["abandoned", "abandoned"]
    assert (aside["kind"], aside["outcome"], aside["after"]) == ("quarantine", "quarantined", None)
    assert aside["before"]["worker_id"] == "w-2"
    assert "3 takeovers in a row brought nothing durable" in aside["cause"]["text"]
    assert [phase["seconds"] is None for phase in aside["phases"]] == [False, False, True, True]
    assert aside["continuity"]["outcome"] == "held"
    assert "wait" in answers(document, "over")
    assert "2 of 2 takeovers lost the successor" in answers(document, "recurrence")
    (todo,) = (one for one in document["sections"][3]["statements"])
    assert todo["command"] == "baton tasks retry t-poison"


def test_a_run_without_a_successor_is_not_over() -> None:
    """The last line that was read decides."""
    events = ledger_of("K01")
    lost = next(place for place, event in enumerate(events) if event.type == "session_lost")
    document = report_of(events[: lost + 1])
    assert answers(document, "over").startswith("No: 1 task without a living holder.")
    assert document["tasks"][0]["waits_because"]


def test_every_command_that_it_gives_is_one() -> None:
    """Somebody in an incident types what is written there."""
    found = [
        one["command"]
        for what in ("Z01", "poisoned", "everything")
        for one in report_of(ledger_of(what))["sections"][3]["statements"]
        if one["command"]
    ]
    assert found
    for command in found:
        command_line().parse_args(command.split()[1:])


# Scope


def test_a_worker_has_its_own_report() -> None:
    """With what others took over from it."""
    events = ledger_of("everything")
    document = report_of(events, worker="w-1")
    assert {"w-1"} == {one["before"]["worker_id"] for one in document["takeovers"][:1]}
    assert document["scope"]["kind"] == "worker"
    assert len(document["takeovers"]) < len(report_of(events)["takeovers"])


def test_a_window_leaves_out_what_was_before_and_after() -> None:
    """What happened in it is told with the whole histories of its tasks."""
    events = ledger_of("everything")
    claims = [one for one in events if one.type == "claimed" and one.reason]
    middle = claims[2].wall
    one = report_of(events, since_us=middle, until_us=middle)
    assert one["takeovers"]
    assert len(one["takeovers"]) == sum(claim.wall == middle for claim in claims)
    assert one["continuity"]["outcome"] == "held"


# What it rests on


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in a report that is said with lines beside it."""
    if isinstance(value, dict):
        if "lines" in value and value.keys() != {"lines"} and "format" not in value:
            yield value
        for below in value.values():
            yield from statements(below)
    elif isinstance(value, list):
        for below in value:
            yield from statements(below)


@pytest.mark.parametrize("what", ["K01", "Z01", "R01", "poisoned", "everything"])
def test_every_statement_names_lines_that_there_are(what: str) -> None:
    """Chain, place and hash are those of the ledger, and each line is listed."""
    events = ledger_of(what)
    known = {(event.chain, event.n): event.hash for event in events}
    document = report_of(events)
    listed = {(line["chain"], line["n"]) for line in document["lines"]}
    named = 0
    for one in statements(document):
        for line in one["lines"]:
            named += 1
            assert known[line["chain"], line["n"]] == line["hash"]
            assert (line["chain"], line["n"]) in listed
    assert named > len(events)
    for section in document["sections"]:
        assert all(one["lines"] for one in section["statements"]), section["id"]


class Page(HTMLParser):
    """What is in a page: its ids, its links within, its tags and whatever would be fetched."""

    def __init__(self, text: str) -> None:
        """Read it."""
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and (value or "").startswith("#"):
                self.links.append((value or "")[1:])
            elif name in ("href", "src") or name.startswith("on") or "url(" in (value or ""):
                self.fetched.append(f"{name}={value}")


@pytest.mark.parametrize("what", ["K01", "Z01", "R01", "poisoned", "everything"])
def test_every_link_leads_to_a_line_within_the_page(what: str) -> None:
    """In both pages; nothing is fetched, and no script runs."""
    made = files(report_of(ledger_of(what)))
    page = Page(made["report.html"].decode())
    assert page.links
    assert set(page.links) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.fetched == []
    assert "svg" in page.tags
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed"}
    text = made["REPORT.md"].decode()
    links = re.findall(r"\]\(#(\w+)\)", text)
    assert links
    assert set(links) <= set(re.findall(r'<a id="(\w+)">', text))


def test_the_same_ledger_gives_the_same_bytes() -> None:
    """Whoever renders it, and whenever."""
    one, other = (files(report_of(list(ledger_of("R01")))) for _ in range(2))
    assert one == other


def test_names_cannot_break_out_of_the_pages() -> None:
    """A task may be called anything, a control character or a tag among it."""
    name = "<script>alert(1)</script>|`x`](javascript:1)\x1b[31m"
    house, _ = House.in_memory()
    house.submit(name)
    first = house.session("w-1")
    first.claim()
    house.bury(first)
    second = house.session('"><img src=x onerror=alert(1)>')
    second.done(second.claim())
    made = files(report_of(house.events()))
    house.store.close()
    page = Page(made["report.html"].decode())
    assert not page.tags & {"script", "img"}
    assert page.fetched == []
    text = made["REPORT.md"].decode()
    assert "<script" not in re.sub(r"\\<", "", text)
    assert "\x1b" not in text + made["report.html"].decode()


def test_the_sample_is_what_a_report_is_now() -> None:
    """`baton report --ledger docs/samples/ledger.jsonl --out docs/samples/report` makes it."""
    samples = Path(__file__).parents[2] / "docs" / "samples"
    events, whole = read_ledger(samples / "ledger.jsonl")
    assert whole
    written = {path.name: path.read_bytes() for path in (samples / "report").iterdir()}
    version = json.loads(written["report.json"])["baton"]
    assert files(build(Ledger(events=events), Scope(), version)) == written
    assert VALIDATOR.is_valid(json.loads(written["report.json"]))


# What cannot be believed


def edited(events: Sequence[Event], place: int, **change: Any) -> list[Event]:
    """A ledger in which somebody wrote over an event, and made its hash anew."""
    event = replace(events[place], **change)
    event = replace(event, hash=recomputed_hash(event))
    return [*events[:place], event, *events[place + 1 :]]


def rewritten(events: Sequence[Event], place: int, **change: Any) -> list[Event]:
    """A ledger whose hashes hold: what it tells is what was written, however impossible."""
    chain, found, prev = events[place].chain, list(events), events[place].prev
    for number, event in enumerate(events):
        if event.chain == chain and event.n >= events[place].n:
            new = replace(event, prev=prev, **(change if number == place else {}))
            found[number] = new = replace(new, hash=recomputed_hash(new))
            prev = new.hash
    return found


def test_a_broken_guarantee_is_told_as_one_and_not_as_a_forgery() -> None:
    """A write of a holder who had been replaced was accepted: the fence failed, on record."""
    events = ledger_of("K01")
    claims = [event for event in events if event.type == "claimed"]
    place = max(n for n, event in enumerate(events) if event.type == "step")
    first = claims[0]
    document = report_of(
        rewritten(
            events,
            place,
            worker_id=first.worker_id,
            session_id=first.session_id,
            epoch=first.epoch,
        )
    )
    assert (document["exit_code"], document["ledger"]["trusted"]) == (1, True)
    assert document["continuity"]["outcome"] == "broken"
    broken = {one["id"] for one in document["continuity"]["assertions"] if one["violations"]}
    assert "C3" in broken
    (one,) = document["takeovers"]
    assert one["continuity"]["outcome"] == "broken"
    assert answers(document, "continuity").startswith("Yes: ")
    assert "Stop the fleet" in answers(document, "actions")
    assert fits(document)
    text = files(document)["REPORT.md"].decode()
    assert text.startswith("# A guarantee was broken\n")
    assert "altered" not in text


def test_time_that_runs_backwards_is_no_length() -> None:
    """It is a finding, and spoils no figure."""
    events = ledger_of("K01")
    place = next(n for n, one in enumerate(events) if one.type == "resumed")
    document = report_of(rewritten(events, place, at=events[place].at - 10**9))
    (one,) = document["takeovers"]
    assert [phase["seconds"] is None for phase in one["phases"]] == [False, False, True, False]
    assert one["latency_seconds"] is None
    assert "restore" not in {figure["measure"] for figure in document["measures"]}
    assert document["exit_code"] == 1
    assert fits(document)


def test_an_altered_ledger_is_told_and_not_relied_on() -> None:
    """No total is given, and nothing about the task whose chain was altered."""
    events = ledger_of("everything")
    place = next(n for n, one in enumerate(events) if one.type == "claimed" and one.reason)
    task = events[place].task_id
    document = report_of(edited(events, place, reason="drained"))
    assert document["exit_code"] == 1
    assert document["ledger"]["in_doubt"] == [f"task:{task}"]
    assert document["continuity"]["outcome"] == "cannot be said"
    assert (document["measures"], document["bounds"]) == ([], [])
    assert task not in {one["task_id"] for one in document["takeovers"]}
    assert document["takeovers"]
    for section in document["sections"]:
        first = section["statements"][0]
        assert "altered" in first["text"] or first["command"] == "baton ledger verify"
    page = Page(files(document)["report.html"].decode())
    assert set(page.links) <= set(page.ids)
    assert "findings" in page.links


def test_another_task_keeps_its_report_in_an_altered_ledger() -> None:
    """What it rests on was not touched; that the ledger was is said all the same."""
    events = ledger_of("everything")
    place = next(n for n, one in enumerate(events) if one.chain == "task:t-op")
    altered = edited(events, place, wall=events[place].wall + 1)
    other = report_of(altered, task="t-poison")
    assert (other["exit_code"], other["continuity"]["outcome"]) == (1, "held")
    assert other["ledger"]["findings"]
    own = report_of(altered, task="t-op")
    assert (own["exit_code"], own["takeovers"], own["tasks"]) == (1, [], [])


def test_a_missing_session_event_withholds_what_rests_on_it() -> None:
    """The loss was cut out of the middle of a session's chain."""
    events = ledger_of("Z01")
    altered = [event for event in events if event.type != "session_lost"]
    document = report_of(altered, task="chain-1")
    assert document["ledger"]["in_doubt"]
    assert document["takeovers"] == []
    assert document["exit_code"] == 1


def test_a_ledger_that_is_cut_off_proves_nothing() -> None:
    """A line that is missing at the end might say otherwise."""
    ledger = Ledger(events=ledger_of("K01"), complete=False)
    document = build(ledger, Scope(), "1.2.0")
    assert fits(document)
    assert document["exit_code"] == 2
    assert document["measures"] == []


# In a browser


def chromium() -> str:
    """The browser that `make pictures` takes too."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no browser on PATH: {', '.join(names)}")
    return found


def test_a_browser_shows_the_page_without_a_word_of_complaint(tmp_path: Path) -> None:
    """Headless and offline; what it read is what was written, timeline and all."""
    browser = chromium()
    page = tmp_path / "report.html"
    page.write_bytes(files(report_of(ledger_of("Z01")))["report.html"])
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    said = subprocess.run(
        [browser, *options, f"--user-data-dir={tmp_path}/profile", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "CONSOLE" not in said.stderr
    seen, written = Page(said.stdout), Page(page.read_text())
    assert seen.ids == written.ids
    assert (seen.links, seen.fetched) == (written.links, [])
    assert said.stdout.count('class="lease') == page.read_text().count('class="lease')
