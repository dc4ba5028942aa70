"""An operator's settings: strict about what they say, and every key is explained."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from baton.errors import BadInput
from baton.observe.settings import Budgets, Settings, Thresholds
from baton.observe.settings_doc import meanings, render_settings_doc


def load(folder: Path, text: str) -> Settings:
    """Settings from a file with this text."""
    path = folder / "baton.yaml"
    path.write_text(text)
    return Settings.load(path)


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    """What is left out keeps its default."""
    assert load(tmp_path, text) == Settings()


def test_what_is_said_is_taken(tmp_path: Path) -> None:
    """At every depth, whole numbers too."""
    found = load(
        tmp_path,
        """
        pools: [a, b]
        exporter_job: my-exporters
        budgets: {crashed_seconds: 10}
        thresholds: {fleet_min_ratio: 0.5}
        hold_seconds: {BatonQueueStalled: 5}
        """,
    )
    assert found.pools == ("a", "b")
    assert found.pool_regex == "a|b"
    assert found.exporter_job == "my-exporters"
    assert found.budgets == Budgets(crashed_seconds=10.0)
    assert found.thresholds == Thresholds(fleet_min_ratio=0.5)
    assert dict(found.hold_seconds) == {"BatonQueueStalled": 5.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pool: a", "pool is unknown; known are exporter_job,"),
        ("budgets: {crash: 1}", "budgets.crash is unknown"),
        ("- a", "the file has to be a table"),
        ("budgets: 3", "budgets has to be a table"),
        ("pools: default", "pools has to be a list"),
        ("pools: [1]", "pools has to be text"),
        ("exporter_job: ''", "exporter_job has to be text"),
        ("thresholds: {fleet_min_ratio: much}", "fleet_min_ratio has to be a number of at least 0"),
        ("thresholds: {fleet_min_ratio: true}", "fleet_min_ratio has to be a number of at least 0"),
        ("thresholds: {fleet_min_ratio: 1.5}", "fleet_min_ratio is a share, between 0 and 1"),
        ("thresholds: {ledger_lag_seconds: -1}", "ledger_lag_seconds has to be a number"),
        ("thresholds: {ledger_lag_seconds: .nan}", "ledger_lag_seconds has to be a number"),
        ("budgets: {crashed_seconds: 3}", "budgets.crashed_seconds has to be one of 0.001,"),
        ("hold_seconds: [1]", "hold_seconds has to be a table of seconds"),
        ("hold_seconds: {A: soon}", "hold_seconds.A has to be a number"),
        ("a: [", "is no YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    """It names the file, the key and the mend."""
    with pytest.raises(BadInput, match=re.escape(said)) as refused:
        load(tmp_path, text)
    assert str(refused.value).startswith(f"--config {tmp_path / 'baton.yaml'}")
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Nothing is rendered with defaults by accident."""
    with pytest.raises(BadInput, match=r"cannot read --config .*none\.yaml"):
        Settings.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("kind", [Settings, Budgets, Thresholds])
def test_every_key_is_explained(kind: type[Settings]) -> None:
    """On its page, by the docstring of the code that reads it."""
    page = render_settings_doc()
    for each in dataclasses.fields(kind):
        assert meanings(kind)[each.name].endswith(".")
        if not dataclasses.is_dataclass(getattr(kind(), each.name)):
            assert re.search(rf"^\| `(\w+\.)?{each.name}` \| .+ \| .+ \|$", page, re.MULTILINE)


def test_the_example_on_the_page_can_be_loaded(tmp_path: Path) -> None:
    """As it stands there."""
    found = re.search(r"```yaml\n(.+?)```", render_settings_doc(), re.DOTALL)
    assert found
    assert load(tmp_path, found[1]).pools == ("default", "nightly")
