"""Scenario files: what ships is whole, what is broken is refused by line, with a mend."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.charter import rows

from baton.domain.continuity.concluding import Range
from baton.errors import BadInput, BadScenario
from baton.fleet.points import Point
from baton.prove.scenarios.checks import takeovers_in, wrong_word
from baton.prove.scenarios.graphs import GRAPHS
from baton.prove.scenarios.library import chosen, every
from baton.prove.scenarios.model import ALWAYS, ASSERTION_IDS, GRAPH_NAMES, Do, Scenario
from baton.prove.scenarios.parse import load, parse
from baton.prove.scenarios.swarm import swarm
from baton.prove.scenarios.writing import text_of
from baton.prove.sim.shapes import SHAPES

MATRIX = {
    *(f"K0{n}" for n in range(1, 8)),
    *(f"Z0{n}" for n in range(1, 7)),
    *(f"T0{n}" for n in range(1, 5)),
    *(f"S0{n}" for n in range(1, 6)),
    *(f"P0{n}" for n in range(1, 4)),
    *("D01", "D02", "R01", "R02", "R03", "F01", "H01"),
}

PLAIN = """\
id: X01
title: A kill
hypothesis: Nothing is lost.
topology:
  workers: 2
  tasks: {chain: 1}
timing: {ttl_seconds: 3}
faults:
  - {name: kill, do: sigkill, at: step.begin, nth: 2}
expect:
  lease: {chain-1: H1 X H2 D}
  takeovers: 1
  assertions: [C1]
"""


def bare(scenario: Scenario) -> Scenario:
    """Without what tells of its file."""
    faults = tuple(replace(fault, line=0) for fault in scenario.faults)
    return replace(scenario, origin="", digest="", faults=faults)


def test_the_whole_matrix_ships_and_more() -> None:
    """The whole matrix ships and more."""
    found = every()
    assert len(MATRIX) == 32
    assert {one.id for one in found} >= MATRIX
    assert len(found) >= 36
    for one in found:
        assert set(ALWAYS) <= set(one.expect.assertions)
        assert one.expect.must_fire == tuple(fault.name for fault in one.faults)
    with_words = {one.id for one in found if one.expect.lease}
    # Elsewhere what becomes of each task is left to chance, and every legal word is right.
    assert {one.id for one in found} - with_words == LEASES_LEFT_OPEN


#: Scenarios in which whether an alert has time to fire is left to chance.
LEASES_LEFT_OPEN = frozenset({"R02", "S05", "U13"})
ALERTS_LEFT_OPEN = frozenset(
    {"D01", "P03", "S05", "T04", "U01", "U02", "U04", "U05", "U06", "U07", "U08", "U11", "U13"}
)


def test_the_matrix_leaves_no_path_out() -> None:
    """Every family, point of the lifecycle and fault, and every assertion that a run can show."""
    found = every()
    assert {one.id[0] for one in found} >= set("KZTSPDRFH")
    faults = [fault for one in found for fault in one.faults]
    assert {fault.at for fault in faults} >= set(Point)
    assert {fault.do for fault in faults} == set(Do)
    named = {name for one in found for name in one.expect.assertions}
    assert set(ASSERTION_IDS) - named == {"V2"}, "which the kill matrix shows, and no single run"
    told = {one.id for one in found if one.expect.alerts or one.expect.silent}
    assert {one.id for one in found} - told == ALERTS_LEFT_OPEN


def test_the_charter_names_what_is_left_open() -> None:
    """Each exception by its id, and no other."""
    (row,) = (one for one in rows() if one.id == "AC-051-3")
    _, leases, alerts = row.passes_when.split(" named by all but ")
    for text, wanted in ((leases.split(". ")[0], LEASES_LEFT_OPEN), (alerts, ALERTS_LEFT_OPEN)):
        assert set(re.findall(r"\b[KZTSPDRFHU]\d\d\b", text)) == wanted


def test_graphs_are_the_same_everywhere() -> None:
    """Graphs are the same everywhere."""
    assert set(GRAPHS) == set(SHAPES) == set(GRAPH_NAMES)


@pytest.mark.parametrize("scenario", every(), ids=lambda one: one.id)
def test_a_scenario_that_is_written_reads_the_same(scenario: Scenario) -> None:
    """A scenario that is written reads the same."""
    assert bare(parse("again.yaml", text_of(scenario))) == bare(scenario)


def test_a_random_scenario_that_is_written_reads_the_same() -> None:
    """A random scenario that is written reads the same."""
    for scenario in swarm(30, 5):
        # A file always asks for what every scenario must show; a random one may show less.
        read = bare(parse("again.yaml", text_of(scenario)))
        expect = replace(read.expect, assertions=scenario.expect.assertions)
        assert replace(read, expect=expect) == scenario


def test_the_same_seed_gives_the_same_swarm() -> None:
    """The same seed gives the same swarm."""
    assert list(swarm(5, 3)) == list(swarm(5, 3))
    assert list(swarm(5, 3)) != list(swarm(5, 4))


def test_a_plain_scenario_is_read() -> None:
    """A plain scenario is read."""
    scenario = parse("x.yaml", PLAIN)
    assert scenario.topology.worker_names == ("w-1", "w-2")
    assert scenario.topology.task_ids == ("chain-1",)
    assert scenario.faults[0].line == 9
    assert scenario.expect.takeovers == Range(at_least=1, at_most=1)
    assert scenario.expect.assertions == ("C1", "C5", "C6", "C9", "C10", "L1", "V1")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title:", "titel:", "x.yaml:1: the scenario has no 'title'; add `title: …`"),
        ("timing:", "timings:", "x.yaml:7: .* no key 'timings'; did you mean 'timing'?"),
        ("nth: 2", "nht: 2", "x.yaml:9: .* no key 'nht'; did you mean 'nth'?"),
        ("step.begin", "step.begun", "x.yaml:9: at is 'step.begun'.* did you mean 'step.begin'"),
        ("sigkill", "sigkil", "x.yaml:9: do is 'sigkil', which is no fault; did you mean"),
        ("nth: 2", "nth: 0", "x.yaml:9: nth is not a whole number; write 1 or more"),
        ("nth: 2", "nth: 1.5", "x.yaml:9: nth is not a whole number"),
        ("nth: 2", "rate: 2", "x.yaml:9: fault 'kill' has rate, of which sigkill makes nothing"),
        ("nth: 2", "after: nobody", "x.yaml:9: .* comes after 'nobody', which is not above it"),
        ("nth: 2", "actor: w-9", "x.yaml:9: actor is 'w-9'"),
        ("nth: 2", "task: chain-2", "x.yaml:9: task is 'chain-2'"),
        ("at: step.begin, ", "", "x.yaml:9: fault 'kill' counts arrivals at no point"),
        ("at: step.begin, nth: 2", "after_seconds: 1", "no point at which its holder is known"),
        ("do: sigkill", "do: delay", "x.yaml:9: fault 'kill' says delay and not for_seconds"),
        ("do: sigkill", "do: restore", "x.yaml:9: fault 'kill' puts back what nobody copied"),
        ("chain: 1", "chian: 1", "x.yaml:6: there is no graph 'chian'"),
        ("workers: 2", "workers: 0", "x.yaml:5: there is no worker; write 1 or more"),
        ("ttl_seconds: 3", "ttl_seconds: 1", "x.yaml:7: no worker could run like this"),
        ("ttl_seconds: 3", "ttl_seconds: soon", "x.yaml:7: ttl_seconds is not a number"),
        ("H1 X H2 D", "H1 H2 D", "x.yaml:11: lease word 'H1 H2 D' .* H2 follows H1"),
        ("H1 X H2 D", "H1 X H1 D", "x.yaml:11: .* does not raise the epoch 1"),
        ("H1 X H2 D", "H1 D X", "x.yaml:11: .* X follows the end D"),
        ("H1 X H2 D", "H1 Y", "x.yaml:11: .* 'Y' is no letter of it"),
        (
            "takeovers: 1",
            "takeovers: 2",
            "x.yaml:11: 2 takeovers are expected, and the lease words",
        ),
        ("assertions: [C1]", "assertions: [C15]", "x.yaml:13: .*'C15', which is no assertion"),
        ("assertions: [C1]", "assertions: [C1, C1]", "x.yaml:13: assertions names 'C1' twice"),
        ("assertions: [C1]", "alerts: [BatonNothing]", "x.yaml:13: .* which is no alert"),
        ("takeovers: 1", "takeovers: {at_least: 2, at_most: 1}", "which nothing is"),
        ("assertions: [C1]", "must_fire: [other]", "x.yaml:13: .* no fault of this scenario"),
        ("id: X01", "id: !!str X01", "x.yaml:1: tags and aliases are not read"),
        ("id: X01", "id: X01\nid: X02", "x.yaml:2: the scenario has 'id' twice"),
        ("id: X01", "id: {", "x.yaml:.*: not YAML"),
    ],
)
def test_what_is_wrong_is_named_by_line(old: str, new: str, said: str) -> None:
    """What is wrong is named by line."""
    assert old in PLAIN
    with pytest.raises(BadScenario) as refused:
        parse("x.yaml", PLAIN.replace(old, new, 1))
    assert re.search(said, str(refused.value)), str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_alert_cannot_fire_and_be_silent() -> None:
    """An alert cannot fire and be silent."""
    both = "  alerts: [BatonWritesRefused]\n  silent: [BatonWritesRefused]\n"
    with pytest.raises(BadScenario, match="must fire and be silent"):
        parse("x.yaml", PLAIN + both)


def test_nothing_happens_without_faults() -> None:
    """Nothing happens without faults."""
    calm = re.sub(r"faults:\n.*\n", "", PLAIN)
    with pytest.raises(BadScenario, match="takeovers are expected of nothing"):
        parse("x.yaml", calm)


def test_an_empty_file_and_a_missing_one_are_told(tmp_path: Path) -> None:
    """An empty file and a missing one are told."""
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "latin.yaml").write_bytes(b"id: \xe9")
    with pytest.raises(BadScenario, match="the file is empty"):
        load(tmp_path / "empty.yaml")
    with pytest.raises(BadInput, match="not UTF-8"):
        load(tmp_path / "latin.yaml")
    with pytest.raises(BadInput, match=r"cannot read .*none\.yaml: No such file"):
        load(tmp_path / "none.yaml")


def test_a_file_is_named_as_its_scenario(tmp_path: Path) -> None:
    """A file is named as its scenario."""
    (tmp_path / "X02.yaml").write_text(PLAIN)
    with pytest.raises(BadScenario, match="'X01' and the file's name is 'X02'"):
        every(tmp_path)


def test_scenarios_are_chosen_by_id_and_by_tag() -> None:
    """Scenarios are chosen by id and by tag."""
    assert [one.id for one in chosen(["Z01", "K01", "Z01"])] == ["Z01", "K01"]
    assert {one.id for one in chosen((), ["zombie", "risk"])} == {
        *("Z01", "Z02", "Z03", "Z04", "Z06"),
        *("U09", "U10", "U12"),
    }
    with pytest.raises(BadInput, match="no scenario 'k1'; did you mean K01"):
        chosen(["k1"])
    with pytest.raises(BadInput, match="no scenario has the tags lunch"):
        chosen((), ["lunch"])


def test_lease_words() -> None:
    """Lease words."""
    assert wrong_word("H1 X H2 F H3 I H4 D") is None
    assert wrong_word("") == "it is empty"
    assert wrong_word("Q") == "only a task that was left is put aside"
    assert wrong_word("X") == "X is for a task that is held"
    assert [takeovers_in(word) for word in ("H1 D", "H1 X H2 F H3 D", "H1 I H2 D")] == [0, 2, 0]
