"""The three files of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from baton.observe.report.markdown import markdown
from baton.observe.report.page import page

NAMES = ("report.json", "REPORT.md", "report.html")


def files(document: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file by its name."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    made = (text, markdown(document), page(document))
    # A lone surrogate in an id is no UTF-8; it is told as a question mark, and nothing fails.
    return {name: one.encode("utf-8", "replace") for name, one in zip(NAMES, made, strict=True)}
