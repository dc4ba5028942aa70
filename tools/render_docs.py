"""Write the pages that are rendered from code: the metrics and the command line."""

from __future__ import annotations

from pathlib import Path

from baton.cli.reference import render_cli_doc
from baton.observe.metrics_doc import render_metrics_doc

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write every page; the tests say where one has drifted."""
    (DOCS / "metrics.md").write_text(render_metrics_doc(), encoding="utf-8")
    (DOCS / "cli.md").write_text(render_cli_doc(), encoding="utf-8")


if __name__ == "__main__":
    main()
