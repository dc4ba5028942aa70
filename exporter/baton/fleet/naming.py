"""Names of workers, pools, graphs and tasks."""

from __future__ import annotations

import re

from baton.errors import BadInput

#: Names that travel into metrics, file names and commands.
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")


def checked_name(what: str, name: str) -> str:
    """A name fit for metrics, files and commands.

    Raises:
        BadInput: it is not.
    """
    if not _NAME.match(name):
        raise BadInput(
            detail=f"{what} {name!r}: use letters, digits and . _ : @ - (at most 128, no spaces)"
        )
    return name
