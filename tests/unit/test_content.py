"""Content is found in a wheel and in a checkout, and its absence is said clearly."""

from __future__ import annotations

from pathlib import Path

import pytest

from baton import content
from baton.errors import ContentMissing

CHECKOUT = Path(__file__).parents[2]


def make_folders(parent: Path, names: tuple[str, ...] = content.FOLDERS) -> None:
    """Make empty content folders under ``parent``."""
    for name in names:
        (parent / name).mkdir(parents=True)


def test_the_checkout_is_the_root_of_an_editable_install() -> None:
    """An edit in the checkout is what Baton reads, not a copy made at install time."""
    assert content.root() == CHECKOUT


def test_assets_beside_the_package_come_first(tmp_path: Path) -> None:
    """A wheel reads its own assets even where folders of the same names lie above it."""
    package = tmp_path / "site-packages" / "baton"
    make_folders(package / "assets")
    make_folders(tmp_path)
    assert content.locate(package) == package / "assets"


@pytest.mark.parametrize("missing", content.FOLDERS)
def test_a_missing_folder_is_named_with_its_place(tmp_path: Path, missing: str) -> None:
    """The error names the folder, where it should be, and what to do."""
    make_folders(tmp_path, tuple(name for name in content.FOLDERS if name != missing))
    with pytest.raises(ContentMissing) as caught:
        content.locate(tmp_path / "exporter" / "baton")
    assert repr(missing) in str(caught.value)
    assert str(tmp_path / missing) in str(caught.value)
    assert "reinstall" in str(caught.value)
