"""The diagnostics model says what the code does, and all of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.story import healthy_ledger

from baton.domain.ledger import FIELDS
from baton.domain.shapes import SHAPES
from baton.domain.takeovers import Stage
from baton.domain.words import (
    SESSION_EVENTS,
    EventType,
    Evidence,
    TakeoverOutcome,
    TakeoverPhase,
    TakeoverReason,
)

ROOT = Path(__file__).resolve().parents[2]


def _tool() -> ModuleType:
    """Load tools/render_diagnostics.py, which is a script and in no package."""
    path = ROOT / "tools" / "render_diagnostics.py"
    spec = importlib.util.spec_from_file_location("render_diagnostics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool = _tool()


def test_the_page_is_not_behind() -> None:
    """Whoever changes the model renders it again: `make docs`."""
    assert tool.main(["--check"]) == 0


def test_a_page_that_is_behind_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And written anew without --check."""
    monkeypatch.setattr(tool, "PAGE", tmp_path / "diagnostics-model.md")
    assert tool.main(["--check"]) == 1
    assert "has drifted: run python tools/render_diagnostics.py" in capsys.readouterr().err
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    tool.PAGE.write_text(tool.PAGE.read_text() + "more\n")
    assert tool.main(["--check"]) == 1


def test_every_word_has_its_meaning() -> None:
    """A new field, reason, outcome, phase, stage or evidence is explained before it ships."""
    assert set(tool.FIELD_MEANINGS) == {*FIELDS, "hash", "seq"}
    for words, meanings in (
        (TakeoverReason, tool.REASON_MEANINGS),
        (TakeoverOutcome, tool.OUTCOME_MEANINGS),
        (TakeoverPhase, tool.PHASE_MEANINGS),
        (Evidence, tool.EVIDENCE_MEANINGS),
        (Stage, tool.STAGE_MEANINGS),
    ):
        assert list(meanings) == list(words)


def test_every_type_of_event_has_its_shape() -> None:
    """In the order of the words, on the chain that they say."""
    assert list(SHAPES) == list(EventType)
    sessions = tuple(type_ for type_, shape in SHAPES.items() if shape.chain == "session")
    assert sessions == SESSION_EVENTS
    assert len({shape.meaning for shape in SHAPES.values()}) == len(SHAPES)
    page = tool.render()
    for type_, shape in SHAPES.items():
        assert f"| `{type_}` | {shape.chain} | {shape.meaning} |" in page


@pytest.mark.parametrize("type_", sorted({*EventType} - {EventType.FAULT_INJECTED}))
def test_the_store_writes_what_the_model_says_and_no_more(type_: str) -> None:
    """Every key that the store writes is in the model, with what it means."""
    shape = SHAPES[EventType(type_)]
    found = [event for event in healthy_ledger() if event.type == type_]
    assert found
    for event in found:
        always = {*shape.payload, *(shape.with_reason if event.reason else ())}
        assert always <= set(event.data) <= always | set(shape.further)
