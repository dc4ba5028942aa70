"""Write what was added since into the compatibility baseline, contract/1.0.0.json.

From then on it is promised. Nothing that is promised can be changed or removed by this: then
nothing is written, and the exit code is 1. `--begin` writes a baseline where there is none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from baton.cli.compat import surfaces
from baton.domain.compat import Surfaces, differences, holds
from baton.prove.compat import baseline


def frozen(promised: Surfaces, found: Surfaces) -> Surfaces:
    """The baseline with everything that was added; ValueError where the promise is broken."""
    differs = differences(promised, found)
    if not holds(differs):
        raise ValueError("\n".join(str(one) for one in differs if one.breaks))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Freeze; 0 when it is written, 1 when the promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--begin", action="store_true", help="there is no baseline yet")
    options = parser.parse_args(arguments)
    path = baseline.default_path()
    if options.begin == path.exists():
        parser.error(f"{path} is {'already there' if options.begin else 'not there'}")
    try:
        found = frozen({} if options.begin else baseline.load(path), surfaces())
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    path.write_text(baseline.text_of(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
