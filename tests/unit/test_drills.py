"""The forms of drills: each names a scenario and its alerts, and an unfit one is refused."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from baton.domain.ledger import event_from_dict
from baton.domain.verify import verify
from baton.errors import BadInput, BadScenario
from baton.prove.scenarios.drill import MARKERS, Drill, load_drill
from baton.prove.scenarios.library import chosen

FORMS = sorted(
    path
    for path in (Path(__file__).parents[2] / "docs" / "drills").glob("*.md")
    if path.name != "README.md"
)
EACH = pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)


def test_there_are_forms_for_what_happens_at_night() -> None:
    """A death, a silence, a rotation and a store that is away."""
    assert len(FORMS) >= 4


@EACH
def test_a_form_expects_what_its_scenario_expects(path: Path) -> None:
    """The same alerts and the same silence, with a bound for each alert."""
    drill = load_drill(path)
    (scenario,) = chosen((drill.scenario,), ())
    assert tuple(drill.alerts) == scenario.expect.alerts
    assert drill.silent == scenario.expect.silent
    assert drill.alerts or drill.silent
    assert {"ledger.jsonl", "faults.json", "result.json"} <= set(drill.evidence)
    assert f"--drill docs/drills/{path.name} " in drill.page


@EACH
def test_the_index_names_it(path: Path) -> None:
    """So that somebody finds it."""
    assert f"]({path.name})" in (path.parent / "README.md").read_text()


GOOD = """---
scenario: K01
owner: fleet owner
abort_when: two tasks wait
abort_by: whoever leads
alerts: {BatonWorkerHeartbeatStale: 60}
evidence: [ledger.jsonl]
---
""" + "\n".join(f"<!-- {name} -->" for name in MARKERS)


def read(tmp_path: Path, text: str) -> Drill:
    """A form from a text."""
    path = tmp_path / "drill.md"
    path.write_text(text)
    return load_drill(path)


def test_a_form_is_read(tmp_path: Path) -> None:
    """Its head as values, its page as it is."""
    drill = read(tmp_path, GOOD)
    assert (drill.scenario, drill.abort_when) == ("K01", "two tasks wait")
    assert drill.alerts == {"BatonWorkerHeartbeatStale": 60.0}
    assert drill.page.startswith("<!-- hypothesis -->")


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("two tasks wait", '""', "abort_when"),
        ("abort_by: whoever leads\n", "", "abort_by"),
        ("BatonWorkerHeartbeatStale", "BatonNothing", "docs/alerts.md lists them"),
        ("[ledger.jsonl]", "[../ledger.jsonl]", "without a folder"),
        ("owner:", "owners:", "owner"),
        ("<!-- log -->", "", "write <!-- log --> into the page, once"),
        ("<!-- log -->", "<!-- log --> <!-- log -->", "write <!-- log --> into the page, once"),
        ("---\nscenario", "scenario", "between two lines of ---"),
    ],
)
def test_an_unfit_form_is_refused(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    """Before anything is broken on purpose, and with the mend."""
    assert was in GOOD
    with pytest.raises((BadInput, BadScenario), match=said):
        read(tmp_path, GOOD.replace(was, becomes, 1))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """Or is not there."""
    with pytest.raises(BadInput, match="cannot read drill"):
        load_drill(tmp_path / "none.md")


DONE = sorted((Path(__file__).parents[2] / "docs" / "drills" / "done").glob("*/drill.md"))


def test_some_were_carried_out() -> None:
    """One that pages, and one that must not."""
    assert {path.parent.name for path in DONE} >= {"kill-a-worker", "rotate-the-fleet"}


@pytest.mark.parametrize("path", DONE, ids=lambda path: path.parent.name)
def test_what_was_carried_out_can_be_checked(path: Path) -> None:
    """Its evidence is what was kept then, its ledger verifies, and its form exists."""
    page = path.read_text(encoding="utf-8")
    form = load_drill(path.parents[2] / f"{path.parent.name}.md")
    hashes = dict(re.findall(r"^\| (\S+) \| yes \| `([0-9a-f]{64})` \|$", page, re.MULTILINE))
    assert tuple(hashes) == form.evidence
    for name, expected in hashes.items():
        assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == expected
    lines = (path.parent / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event_from_dict(json.loads(line)) for line in lines]
    assert events
    assert verify(events) == []
    result = json.loads((path.parent / "result.json").read_text(encoding="utf-8"))
    assert f"| verdict | {result['judgement']} |" in page
