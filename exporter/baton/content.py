"""Where the content folders are: dashboards, alerts, scenarios, gates and the contract.

In a wheel they lie in ``assets/`` beside the modules; in a checkout, at its root. Everything that
reads content asks here, and nothing goes through ``importlib.resources``: an editable install
leaves copies of the content in ``site-packages`` that no edit in the checkout reaches.
"""

from __future__ import annotations

from pathlib import Path

from baton.errors import ContentMissing

#: The folders that ship with Baton.
FOLDERS = ("dashboards", "alerts", "scenarios", "gates", "contract")


def root() -> Path:
    """Return the folder that holds the content folders of this installation.

    Raises:
        ContentMissing: one of ``FOLDERS`` is not there.
    """
    return locate(Path(__file__).resolve().parent)


def locate(package: Path) -> Path:
    """Return the folder that holds the content folders for the package at ``package``.

    Args:
        package: the folder of the ``baton`` package itself, absolute.

    Raises:
        ContentMissing: one of ``FOLDERS`` is not there.
    """
    assets = package / "assets"
    found = assets if assets.is_dir() else package.parents[1]
    for name in FOLDERS:
        if not (found / name).is_dir():
            raise ContentMissing(name=name, path=found / name)
    return found
