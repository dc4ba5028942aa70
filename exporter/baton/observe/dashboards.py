"""The dashboards, rendered: from each ``dashboards/X.dashboard.py`` the text of ``X.json``.

The files follow grafanalib's convention, a ``dashboard`` at module level, so that its own
``generate-dashboards`` works on them too. That one is drawn for the default settings; ``board``
beside it draws the same for others.
"""

from __future__ import annotations

import runpy

from baton import content
from baton.observe import panels
from baton.observe.settings import Settings

SUFFIX = ".dashboard.py"


def rendered(settings: Settings) -> dict[str, str]:
    """Name and text of every file, the same text for the same settings.

    Args:
        settings: an operator's thresholds, jobs and pools.

    Raises:
        ContentMissing: the folder of the dashboards is not there.
    """
    sources = sorted((content.root() / "dashboards").glob(f"*{SUFFIX}"))
    return {
        source.name.removesuffix(SUFFIX) + ".json": panels.as_json(
            runpy.run_path(str(source))["board"](settings)
        )
        for source in sources
    }
