"""What a gate leaves behind: what it says, and the material in raw/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from baton.domain.gate import telling
from baton.domain.gate.bench import Verdict
from baton.prove.gate.material import INDEX, Material


def files(verdict: Verdict, material: Material) -> dict[str, bytes]:
    """Every file by its name below the output folder."""
    return {
        **telling.files(verdict, material.case()),
        f"raw/{INDEX}": material.index(),
        **{f"raw/{name}": data for name, data in material.files.items()},
    }


def write(folder: Path, found: Mapping[str, bytes]) -> None:
    """Write files into a folder that is there."""
    for name, data in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
