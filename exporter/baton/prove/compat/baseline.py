"""The committed baseline: a file that ships with Baton, one line a thing, so that a diff reads."""

from __future__ import annotations

import json
from pathlib import Path

from baton import content
from baton.domain.compat import Surfaces
from baton.errors import BadInput
from baton.observe.collector import CONTRACT_VERSION

_HEAD = {"contract": CONTRACT_VERSION}


def default_path() -> Path:
    """The baseline of this contract, as it ships."""
    return content.root() / "contract" / f"{CONTRACT_VERSION}.json"


def load(path: Path) -> Surfaces:
    """Read a baseline.

    Raises:
        BadInput: it cannot be read, or is no baseline of this contract.
    """
    try:
        found = json.loads(path.read_bytes())
        contract, surfaces = found["contract"], found["surfaces"]
        sane = all(
            isinstance(facts, dict) for things in surfaces.values() for facts in things.values()
        )
    except OSError as error:
        raise BadInput(detail=f"cannot read baseline {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(detail=f"{path} is no baseline; contract/ has one") from error
    if not (sane and surfaces):
        raise BadInput(detail=f"{path} is no baseline; contract/ has one")
    if contract != CONTRACT_VERSION:
        said = f"baseline {path} is of contract {contract!r}, this Baton's is {CONTRACT_VERSION}"
        raise BadInput(detail=f"{said}; compare with a Baton of that contract")
    return dict(surfaces)


def text_of(surfaces: Surfaces) -> str:
    """A baseline as a file."""
    parts = []
    for surface, things in surfaces.items():
        lines = [f"{json.dumps(name)}: {json.dumps(dict(things[name]))}" for name in sorted(things)]
        inside = ",\n".join(f"   {line}" for line in lines)
        parts.append(f"  {json.dumps(surface)}: {{\n{inside}\n  }}")
    head = "\n".join(f" {json.dumps(key)}: {json.dumps(value)}," for key, value in _HEAD.items())
    return f'{{\n{head}\n "surfaces": {{\n' + ",\n".join(parts) + "\n }\n}\n"
