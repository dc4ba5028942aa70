"""Everything that Baton renders from its catalogue and an operator's settings, as files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from baton.errors import BadInput
from baton.observe.alerts_doc import render_alerts_doc
from baton.observe.metrics_doc import render_metrics_doc
from baton.observe.rules_yaml import rule_files
from baton.observe.settings import Settings
from baton.observe.settings_doc import render_settings_doc

#: In these places every file of this kind is rendered, so one that is not is left over.
_OWNED = (("alerts", "*.rules.yaml"), ("dashboards", "*.json"))


def rendered(settings: Settings) -> dict[str, str]:
    """Path below the output folder and text of every file, in the order of the paths.

    Raises:
        BadInput: the settings make no sense, or a library that draws dashboards is missing.
    """
    files = {
        **{f"alerts/{name}": text for name, text in rule_files(settings).items()},
        **{f"dashboards/{name}": text for name, text in _dashboards(settings).items()},
        "docs/metrics.md": render_metrics_doc(),
        "docs/alerts.md": render_alerts_doc(settings),
        "docs/settings.md": render_settings_doc(),
    }
    return dict(sorted(files.items()))


def drifted(files: Mapping[str, str], out: Path) -> list[str]:
    """The files that are missing, differ, or are left over, each with what is wrong with it.

    Args:
        files: from ``rendered``.
        out: the folder that they should be in.
    """
    wrong = {name: said for name, text in files.items() if (said := _differs(out / name, text))}
    wrong |= dict.fromkeys(left_over(files, out), "is not rendered any more")
    return [f"{name} {said}" for name, said in sorted(wrong.items())]


def left_over(files: Mapping[str, str], out: Path) -> list[str]:
    """Files in ``out`` that look rendered and are not among ``files``."""
    found = (
        str(PurePosixPath(folder, path.name))
        for folder, pattern in _OWNED
        for path in (out / folder).glob(pattern)
    )
    return sorted(set(found) - files.keys())


def write(files: Mapping[str, str], out: Path) -> None:
    """Write every file, each at once: a reader sees the old or the new one.

    Raises:
        BadInput: a file cannot be written there.
    """
    for name, text in files.items():
        path = out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)  # noqa: PTH105 - the same, and says that it replaces
        except OSError as error:
            raise BadInput(detail=f"cannot write {path}: {error.strerror}") from error


def _differs(path: Path, text: str) -> str | None:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == text.encode() else "differs from what is rendered"


def _dashboards(settings: Settings) -> dict[str, str]:
    try:
        from baton.observe.dashboards import rendered as boards
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "grafanalib":
            raise
        raise BadInput(
            detail="dashboards are drawn with grafanalib, which is not installed:"
            " pip install 'langgraph-baton[dashboards]'"
        ) from error
    return boards(settings)
