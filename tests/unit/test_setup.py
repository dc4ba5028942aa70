"""tools/setup.py decides rightly what .venv needs; carrying it out is `make`'s daily work."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "setup.py"


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    """The script as a module; it is run by path, so it has no name to import it by."""
    spec = importlib.util.spec_from_file_location("baton_setup", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("standing", "python_stands", "expected"),
    [
        (None, False, ("demo", False)),  # no .venv at all
        (None, True, ("demo", False)),  # one made by hand is added to, never emptied
        (("demo", "here", "key"), True, None),
        (("dev", "here", "key"), True, None),  # dev includes demo
        (("bench", "here", "key"), True, None),  # and so does bench
        (("demo", "here", "old"), True, ("demo", False)),  # pyproject.toml changed
        (("dev", "here", "old"), True, ("dev", False)),  # and what stands stays at its level
        (("dev", "here", None), True, ("dev", True)),  # interrupted
        (("demo", "here", "key"), False, ("demo", True)),  # its Python was removed
        (("demo", "elsewhere", "key"), True, ("demo", True)),  # the checkout was moved
    ],
)
def test_plan(
    setup: ModuleType,
    standing: tuple[str, str, str | None] | None,
    python_stands: bool,  # noqa: FBT001 - a column of the table above
    expected: tuple[str, bool] | None,
) -> None:
    """Only a finished .venv of this place, these inputs and this level is left alone."""
    marker = standing and setup.Marker(*standing)
    wanted = setup.Marker("demo", "here", "key")
    todo = setup.plan(marker, wanted, python_stands=python_stands)
    assert todo == (expected and setup.Plan(expected[0], from_nothing=expected[1]))


def test_dev_is_asked_for_where_demo_stands(setup: ModuleType) -> None:
    """What the tests need is added to what the demo needed."""
    todo = setup.plan(
        setup.Marker("demo", "here", "key"),
        setup.Marker("dev", "here", "key"),
        python_stands=True,
    )
    assert todo == setup.Plan("dev", from_nothing=False)


@pytest.mark.parametrize("text", ["", "{", '{"level": "dev"}', "[]"])
def test_a_marker_that_cannot_be_read_counts_as_unfinished(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A full disk or a version that wrote other fields leads to a rebuild, not to a crash."""
    marker = tmp_path / "marker.json"
    marker.write_text(text)
    monkeypatch.setattr(setup, "MARKER", marker)
    assert setup.read_marker().key is None
