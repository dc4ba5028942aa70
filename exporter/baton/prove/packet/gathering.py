"""What of a release check's folder goes into a packet, and in which form."""

from __future__ import annotations

import gzip
import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from baton.domain.gate.portable import policy_to_plain, rules_to_plain
from baton.domain.packet.layout import (
    COMPAT,
    GATE,
    GATE_INPUTS,
    KILL_MATRIX,
    LOG,
    RELEASE,
    REPORT,
    SCENARIOS,
    SCENARIOS_PROC,
    SEAL,
    SOAK,
)
from baton.domain.packet.manifest import document_of
from baton.errors import BadInput
from baton.fleet.fleet import package_version
from baton.fleet.sql import schemas
from baton.observe.collector import CONTRACT_VERSION
from baton.prove.gate import parse
from baton.prove.gate.rules import rules_in

#: Packed, because they are long and much the same in every line.
_PACKED = (".jsonl", "/trial.json", "/result.json", "/report.json")
_NEVER_PACKED = frozenset({LOG})

#: Single files, and folders with what is left out of each.
_FILES = (RELEASE, LOG, KILL_MATRIX, COMPAT, SEAL, "ledger.jsonl")
_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "logs": (),
    GATE: (),
    SCENARIOS: (),
    SCENARIOS_PROC: (),
    SOAK: ("checkpoint.json",),
    REPORT: (),
}
_PACKAGES = (
    *("langgraph-baton", "langgraph", "langgraph-checkpoint", "langgraph-checkpoint-sqlite"),
    *("prometheus-client", "PyYAML"),
)


def gathered(run: Path) -> dict[str, bytes]:
    """The evidence of a packet, by the names that it has there.

    Args:
        run: the folder that a release check left.

    Raises:
        BadInput: it is no such folder, or something in it cannot be read.
    """
    if not run.is_dir():
        raise BadInput(detail=f"--from {run}: no such folder; `make release-check` makes one")
    try:
        files = dict(_packed(_found(run)))
    except OSError as error:
        raise BadInput(detail=f"--from {run}: {error.filename}: {error.strerror}") from error
    if not files:
        raise BadInput(detail=f"--from {run} holds no evidence; `make release-check` makes some")
    files.setdefault(RELEASE, document_of(about_release()))
    if (inputs := gate_inputs(files)) is not None:
        files[GATE_INPUTS] = inputs
    return files


def _found(run: Path) -> Iterator[tuple[str, bytes]]:
    for name in _FILES:
        if (run / name).is_file():
            yield name, (run / name).read_bytes()
    for folder, left_out in _FOLDERS.items():
        for path in sorted((run / folder).rglob("*")):
            name = path.relative_to(run).as_posix()
            if path.is_file() and not path.is_symlink() and path.name not in left_out:
                yield name, path.read_bytes()


def _packed(found: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    for name, data in found:
        if name.endswith(_PACKED) and name not in _NEVER_PACKED:
            yield f"{name}.gz", gzip.compress(data, mtime=0)
        else:
            yield name, data


def gate_inputs(files: Mapping[str, bytes]) -> bytes | None:
    """The gate's policy and rules, read from the YAML that it kept; None where there is no gate.

    Raises:
        BadInput: there is one that cannot be read.
    """
    raw = f"{GATE}/raw/"
    if f"{raw}index.json" not in files:
        return None
    try:
        index = json.loads(files[f"{raw}index.json"])
        policy = parse.parse("policy.yaml", files[f"{raw}policy.yaml"].decode(), index["set"])
        rules = [
            rule
            for name in index["sha256"]
            if name.startswith("rules/")
            for rule in rules_in(files[f"{raw}{name}"])
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(detail=f"{GATE}/raw is not what `baton gate` keeps: {error!r}") from error
    return document_of({"policy": policy_to_plain(policy), "rules": rules_to_plain(rules)})


def about_release() -> dict[str, Any]:
    """What this installation is; nothing that differs from one moment to the next."""
    return {
        "version": package_version(),
        "contract": CONTRACT_VERSION,
        "schemas": schemas(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
