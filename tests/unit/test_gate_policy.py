"""The gate's policy: strict, complete, and explained; and what its outputs say."""

from __future__ import annotations

import json
import re
import shlex
import xml.etree.ElementTree as ET
from argparse import Namespace
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml

from baton.cli import command_line
from baton.domain.gate.facts import evidence_holds, rules_loaded
from baton.domain.gate.judging import Result, settle
from baton.domain.gate.policy import FAMILIES, Criterion, Kind, Limit, Policy, in_order, seconds_of
from baton.domain.gate.selftest import flaws
from baton.domain.gate.telling import junit, markdown
from baton.domain.gate.words import EXIT_CODES, MEANINGS, Decision, Doubt, Reason, Status
from baton.errors import BadInput, BadPolicy
from baton.prove.gate.doc import section
from baton.prove.gate.parse import load, parse
from baton.prove.gate.rules import rules_in

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "gates" / "release.yaml").read_text()
POLICY = parse("release.yaml", TEXT)
PAGE = (ROOT / "docs" / "gate.md").read_text()
SCHEMA = json.loads((ROOT / "gates" / "policy.schema.json").read_text())

SMALL = """\
version: "1.0.0"
name: small
owner: me
criteria:
  - id: COV-ONE
    question: Is it?
    why: It is.
    next: Do.
    query: up
    samples: up
    must: "== 1"
"""


def test_the_policy_is_large_enough() -> None:
    """Every family, every kind, and what rests on what comes later."""
    assert len(POLICY.criteria) >= 24
    assert {one.id.partition("-")[0] for one in POLICY.criteria} == set(FAMILIES)
    assert {one.kind for one in POLICY.criteria} == set(Kind)
    assert in_order(POLICY.criteria) == POLICY.criteria
    assert not POLICY.waivers
    continuity = [one for one in POLICY.criteria if one.kind in (Kind.ASSERTIONS, Kind.AGREEMENT)]
    assert continuity
    assert not any(one.waivable for one in continuity)
    assert all(one.samples for one in POLICY.criteria if one.kind is Kind.QUERY)


def test_no_query_hides_that_nothing_is_there() -> None:
    """`or vector(0)` makes a zero of an absence."""
    assert "or vector" not in TEXT


def test_the_schema_takes_what_the_reader_takes() -> None:
    """And refuses what it refuses."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    document = yaml.safe_load(TEXT)
    assert [error.message for error in validator.iter_errors(document)] == []
    for change in ({"colour": 1}, {"must": "about 1"}, {"id": "X-1"}, {"check": "guess"}):
        broken = yaml.safe_load(SMALL)
        validator.validate(broken)
        broken["criteria"][0] |= change
        assert list(validator.iter_errors(broken)), change
    waived = {"criterion": "COV-ONE", "owner": "a", "reason": "b", "expires": "2026-12-31"}
    validator.validate({**yaml.safe_load(SMALL), "waivers": [waived]})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    must:", "    mustt:", "small.yaml:5: the policy has no 'must'"),
        ('"== 1"\n', '"== 1"\n    colour: red\n', "small.yaml:12: criteria[0] has no key 'colour'"),
        ('"== 1"', '"about 1"', "small.yaml:11: must: 'about 1' is no comparison"),
        ("COV-ONE", "ONE", "small.yaml:5: 'ONE' is no id of a criterion"),
        ('"1.0.0"', '"2.0.0"', "small.yaml:1: the format is '2.0.0'; this Baton reads '1.0.0'"),
        ("query: up", "query: up{job=~'$jobs'}", "small.yaml:9: there is no parameter $jobs"),
        ("owner: me\n", "", "small.yaml:4: COV-ONE has no owner"),
        ("    samples: up\n", "", "has no 'samples'"),
        ("    query: up\n", "    check: guess\n", "'guess', which is no kind of check"),
        ('"== 1"\n', '"== 1"\n    needs: [COV-TWO]\n', "COV-ONE needs COV-TWO, which is no crit"),
        ('"== 1"\n', '"== 1"\n    needs: [COV-ONE]\n', "COV-ONE needs COV-ONE"),
        ("    question: Is it?\n", "    question: Is it?\n    question: No?\n", "twice"),
        ("criteria:", "criteria: []\nold:", "there is no criterion"),
        ("name: small", "parameters: {window: soon}\nname: small", "'soon' is no duration"),
        ("name: small", "parameters: {coverage_min: 2}\nname: small", "write a share above 0"),
        ("name: small", "name: !!str small", "tags and aliases are not read"),
    ],
)
def test_what_is_wrong_is_named_by_line(old: str, new: str, said: str) -> None:
    """With a mend."""
    assert old in SMALL
    broken = SMALL.replace(old, new, 1)
    with pytest.raises(BadPolicy) as caught:
        parse("small.yaml", broken)
    text = str(caught.value).replace("criteria[0] has no 'must'", "the policy has no 'must'")
    assert said in text
    assert re.match(r"small\.yaml:\d+: .+; .+", text)


@pytest.mark.parametrize(
    ("waiver", "said"),
    [
        ("{criterion: COV-TWO, owner: a, reason: b, expires: 2026-12-31}", "no criterion of this"),
        ("{criterion: COV-ONE, reason: b, expires: 2026-12-31}", "has no 'owner'"),
        ("{criterion: COV-ONE, owner: a, expires: 2026-12-31}", "has no 'reason'"),
        ("{criterion: COV-ONE, owner: a, reason: b}", "has no 'expires'"),
        ("{criterion: COV-ONE, owner: a, reason: b, expires: soon}", "'soon' is no day"),
    ],
)
def test_a_waiver_needs_everything(waiver: str, said: str) -> None:
    """An owner, a reason, a day."""
    with pytest.raises(BadPolicy, match=re.escape(said)):
        parse("small.yaml", f"{SMALL}waivers:\n  - {waiver}\n")


def test_what_is_about_continuity_cannot_be_waived() -> None:
    """Whoever answers for it."""
    waiver = "{criterion: CONT-SUPERSEDED, owner: a, reason: b, expires: 2026-12-31}"
    with pytest.raises(BadPolicy, match="CONT-SUPERSEDED cannot be waived"):
        parse("release.yaml", f"{TEXT}waivers:\n  - {waiver}\n")


@pytest.mark.parametrize(
    ("at", "reason", "status"),
    [
        ("2026-12-31T23:59:59+00:00", Reason.THRESHOLD, Status.WAIVED),
        ("2027-01-01T00:00:01+00:00", Reason.THRESHOLD, Status.FAIL),
        ("2026-12-01T00:00:00+00:00", Reason.NO_DATA, Status.INCONCLUSIVE),
        ("2026-12-01T00:00:00+00:00", Reason.TIMEOUT, Status.ERROR),
        ("2026-12-01T00:00:00+00:00", Reason.OK, Status.PASS),
    ],
)
def test_a_waiver_ends_and_covers_only_failures(at: str, reason: Reason, status: Status) -> None:
    """Up to and including its day, by the time of the gate and not of whoever replays it."""
    from datetime import datetime

    waiver = "{criterion: COV-ONE, owner: Ann, reason: known, expires: 2026-12-31}"
    policy = parse("small.yaml", f"{SMALL}waivers:\n  - {waiver}\n")
    made = Result(id="COV-ONE", status=reason.status, reason=reason, detail="", next_action="")
    (found,) = settle(policy, datetime.fromisoformat(at).timestamp(), lambda _: made)
    assert found.status is status
    assert policy.waivers[0].expires == date(2026, 12, 31)
    assert found.notes


def test_parameters_given_take_the_place(tmp_path: Path) -> None:
    """In queries and in the times."""
    path = tmp_path / "p.yaml"
    path.write_text(SMALL.replace("query: up", "query: avg_over_time(up[$window])"))
    policy, text = load(path, {"window": "1h30m"})
    assert policy.window_seconds == 5400
    assert policy.criteria[0].query == "avg_over_time(up[1h30m])"
    assert "$window" in text
    with pytest.raises(BadInput, match="--set names 'windows'"):
        load(path, {"windows": "1h"})
    with pytest.raises(ValueError, match="no time at all"):
        seconds_of("0s")


def test_limits_and_margins() -> None:
    """A margin below 0 is on the wrong side."""
    assert Limit.parse("<= 0.5").margin(0.2) == pytest.approx(0.3)
    assert Limit.parse(">= 3").margin(1) == -2
    assert Limit.parse("== 1").margin(3) == -2
    assert not Limit.parse("== 0").holds(float("nan"))
    assert not Limit.parse("<= 0").holds(float("nan"))
    assert str(Limit.parse(" >=  2.50")) == ">= 2.5"


def test_exit_codes() -> None:
    """As release jobs rely on them."""
    assert {decision.value: code for decision, code in EXIT_CODES.items()} == {
        "GO": 0,
        "GO with reservations": 0,
        "NO-GO": 1,
        "INCONCLUSIVE": 2,
        "ERROR": 3,
    }
    assert set(MEANINGS) == set(Reason)
    assert set(EXIT_CODES) == set(Decision)
    for reason, meaning in MEANINGS.items():
        unknown = meaning.status in (Status.INCONCLUSIVE, Status.ERROR)
        assert bool(meaning.next_action) == unknown, reason


def test_the_gate_has_no_flaw(monkeypatch: pytest.MonkeyPatch) -> None:
    """And would see one that it had."""
    assert flaws() == []
    monkeypatch.setattr("baton.domain.gate.judging.finite", lambda _: None)
    assert any("NOT_A_NUMBER" in flaw for flaw in flaws())
    monkeypatch.undo()
    monkeypatch.setattr("baton.domain.gate.judging.trust", lambda *_: None)
    assert any("STALE" in flaw for flaw in flaws())


# Rules, as Prometheus tells them

RULES = b"""
groups:
- name: g
  rules:
  - {alert: A, expr: "a > on (x) group_left b", for: 1m, labels: {severity: info}}
  - {record: "r:r:r", expr: "sum  (a)"}
"""


def told(**changes: object) -> dict[str, object]:
    """What Prometheus says of them."""
    alert = {
        "name": "A",
        "query": "a > on (x) group_left () b",
        "duration": 60,
        "labels": {"severity": "info"},
        "health": "ok",
        "evaluated_at": 95.0,
    }
    record = {"name": "r:r:r", "query": "sum(a)", "health": "ok", "evaluated_at": 95.0}
    return {"groups": [{"name": "g", "rules": [alert | changes, record]}]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.OK),
        ({"name": "B"}, Reason.RULES_NOT_LOADED),
        ({"query": "a > on (x) b"}, Reason.RULES_DIFFER),
        ({"duration": 61}, Reason.RULES_DIFFER),
        ({"labels": {"severity": "critical"}}, Reason.RULES_DIFFER),
        ({"health": "err"}, Reason.RULES_FAILING),
        ({"health": "unknown"}, Reason.RULES_NOT_EVALUATED),
        ({"evaluated_at": 10.0}, Reason.RULES_NOT_EVALUATED),
        ({"query": None, "labels": 3}, Reason.WRONG_SHAPE),
    ],
)
def test_rules_are_those_of_the_repository(changes: dict[str, object], reason: Reason) -> None:
    """Or it says what is wrong with them."""
    try:
        found = rules_loaded(told(**changes), rules_in(RULES), 100.0, 40.0)
    except Doubt as doubt:
        assert doubt.reason is reason  # noqa: PT017 - one case or the other
    else:
        assert (found.value == 0) == (reason is Reason.OK)
        assert reason is Reason.OK or found.broken is reason


def test_evidence_is_judged_member_by_member() -> None:
    """Too few, or none at that place, shows nothing."""
    document = {"scenarios": [{"judgement": "PASS"}, {"judgement": "FAIL"}], "a/b": 1}
    found = evidence_holds(document, "/scenarios", "/judgement", "PASS", 1)
    assert (found.value, found.pointers["evidence"]) == (1, "/scenarios/1/judgement")
    assert evidence_holds(document, "/a~1b", "", "1", 1).value == 0
    for place, least in (("/gone", 1), ("/scenarios/0", 9)):
        with pytest.raises(Doubt):
            evidence_holds(document, place, "/judgement" if least > 1 else "", "PASS", least)


# The pages


def sections() -> dict[str, str]:
    """The sections of docs/gate.md that are of criteria."""
    parts = re.split(r"^## ", PAGE.partition("\n# Criteria\n")[2], flags=re.MULTILINE)[1:]
    return {part.splitlines()[0]: part for part in parts}


def unexplained(policy: Policy) -> list[str]:
    """Criteria whose section is not there or not whole."""
    marks = ("**Question.**", "**Why.**", "**First", "| FAIL |", "**Never.**", "**Escalate.**")
    found = sections()
    return [
        one.id
        for one in policy.criteria
        if one.id not in found or not all(mark in found[one.id] for mark in marks)
    ]


def test_every_criterion_has_its_section() -> None:
    """In the order of the policy; one without a section is found."""
    assert unexplained(POLICY) == []
    assert list(sections()) == ["GATE-SELF-TEST", *(one.id for one in POLICY.criteria)]
    assert unexplained(parse("small.yaml", SMALL)) == ["COV-ONE"]


def test_sections_name_alerts_that_exist() -> None:
    """`Follow BatonX in the runbook` leads somewhere."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    named = set(re.findall(r"\bBaton[A-Z]\w+", TEXT + PAGE))
    assert named
    for name in named - {"BatonWatchdog"}:
        assert f"\n## {name}\n" in runbook, name


COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for block in re.findall(r"```sh\n(.+?)```", PAGE, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_can_be_typed(line: str) -> None:
    """Its verb and its options exist."""
    args = Namespace()
    command_line().parse_args(shlex.split(line)[1:], args)
    assert callable(args.run)


def test_a_section_says_what_it_needs() -> None:
    """For a criterion of one's own too."""
    small = parse("small.yaml", SMALL)
    text = section(small, small.criteria[0])
    assert text.startswith("## COV-ONE\n")
    assert "waiver with your name" in text


# Outputs


def row(**changes: object) -> dict[str, object]:
    """A criterion of a decision."""
    return {
        "id": "COV-X",
        "question": "Is <it> | so?",
        "status": "FAIL",
        "reason": "THRESHOLD",
        "meaning": "m",
        "detail": 'a "quoted" <b>\x00 & more',
        "next_action": "n",
        "notes": [],
        "check": "query",
        "value": 2.0,
        "unit": "s",
        "must": "<= 1",
        "margin": -1.0,
        "samples": None,
        "checked": 1,
        "owner": "o",
        "runbook": "docs/gate.md#cov-x",
        "evidence": [{"for": "query", "file": "raw/a.json", "sha256": "ab", "pointer": "/data"}],
        **changes,
    }


def test_junit_takes_what_is_unknown_for_an_error() -> None:
    """And skips nothing; whatever a server sends, it is XML."""
    statuses = ("PASS", "WAIVED", "WARN", "INCONCLUSIVE", "FAIL", "ERROR")
    document = {
        "policy": {"name": 'a"b'},
        "at_text": "t",
        "criteria": [row(status=status) for status in statuses],
    }
    suite = ET.fromstring(junit(document))[0]  # noqa: S314 - made right here
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("1", "2", "0")
    kinds = [case[0].tag for case in suite]
    assert kinds == ["system-out"] * 3 + ["error", "failure", "error"]


def test_the_page_of_a_decision_is_a_table() -> None:
    """Cells hold what they hold, whatever is in it."""
    document = {
        "decision": "NO-GO",
        "says": "s",
        "policy": {"name": "p"},
        "at_text": "t",
        "window_seconds": 60.0,
        "counts": {"FAIL": 1, "PASS": 0},
        "criteria": [row()],
    }
    text = markdown(document)
    (line,) = [one for one in text.splitlines() if one.startswith("| COV-X")]
    assert len(re.findall(r"(?<!\\)\|", line)) == 9
    assert "- Evidence: `raw/a.json` at `/data`, SHA-256 `ab`" in text
    assert "<b>" not in text


@pytest.mark.parametrize("reason", [Reason.NO_DATA, Reason.THRESHOLD, Reason.TIMEOUT])
def test_what_rests_on_what_does_not_hold_is_blocked(reason: Reason) -> None:
    """Of the policy that ships, whichever criterion it is; what rests on others is judged."""
    policy = parse("release.yaml", TEXT)
    needed = {name for one in policy.criteria for name in one.needs}
    assert needed
    for broken in needed:

        def judge(one: Criterion, broken: str = broken) -> Result:
            said = reason if one.id == broken else Reason.OK
            return Result(id=one.id, status=said.status, reason=said, detail="", next_action="")

        bad = {broken}
        found = {one.id: one for one in settle(policy, 0.0, judge)}
        for one in in_order(policy.criteria):
            if not bad.isdisjoint(one.needs):
                bad.add(one.id)
                assert found[one.id].reason is Reason.BLOCKED
                assert found[one.id].status is Status.INCONCLUSIVE
            elif one.id != broken:
                assert found[one.id].reason is Reason.OK
        assert len(bad) > 1


def test_criteria_are_judged_after_what_they_need() -> None:
    """Whatever the order of the file."""

    def one(id_: str, *needs: str) -> Criterion:
        return Criterion(
            id=id_,
            question="",
            why="",
            next_action="",
            kind=Kind.QUERY,
            must=Limit("==", 0.0),
            needs=needs,
        )

    ordered = in_order([one("COV-C", "COV-B"), one("COV-A"), one("COV-B", "COV-A")])
    assert [found.id for found in ordered] == ["COV-A", "COV-B", "COV-C"]
    with pytest.raises(ValueError, match="COV-A needs COV-B needs COV-A"):
        in_order([one("COV-A", "COV-B"), one("COV-B", "COV-A")])
