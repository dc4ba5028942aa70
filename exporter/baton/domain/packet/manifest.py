"""The manifest: every file of a packet with its size and SHA-256, and one root over all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from baton.domain.packet.layout import FORMAT, LAYOUT, MANIFEST, SIGNATURE, entry_of

#: Files that the manifest does not name: itself, and what is made over it.
_OUTSIDE = frozenset({MANIFEST, SIGNATURE})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a file that is not as it has to be."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def document_of(value: Any) -> bytes:
    """A JSON document in the one form that packets use."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    return f"{text}\n".encode()


def root_of(digests: Mapping[str, str]) -> str:
    """The root of a Merkle tree as RFC 6962 makes it, over the files in the order of their names.

    Args:
        digests: SHA-256 in hex by name.
    """
    leaves = [
        hashlib.sha256(b"\x00" + f"{digests[name]} {name}".encode()).digest()
        for name in sorted(digests)
    ]
    return _root(leaves).hex()


def _root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The manifest of files, by their names."""
    named = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
        if name not in _OUTSIDE
    }
    root = root_of({name: str(one["sha256"]) for name, one in named.items()})
    return document_of({"files": named, "format": FORMAT, "root": root})


def problems(files: Mapping[str, bytes]) -> Iterator[Problem]:
    """What is not as the manifest says: each file that was changed, removed or added.

    Args:
        files: everything in the folder, by name.
    """
    if MANIFEST not in files:
        yield Problem(MANIFEST, "is missing; without it nothing here can be told from anything")
        return
    try:
        manifest = json.loads(files[MANIFEST])
        named = {str(name): (int(f["bytes"]), str(f["sha256"])) for name, f in _named(manifest)}
        root, whole = manifest["root"], document_of(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield Problem(MANIFEST, f"was changed: it is no manifest ({error})")
        return
    if manifest.get("format") != FORMAT:
        yield Problem(MANIFEST, f"has format {manifest.get('format')!r}; this reads {FORMAT!r}")
    if whole != files[MANIFEST] or root != root_of({n: sha for n, (_, sha) in named.items()}):
        yield Problem(MANIFEST, "was changed: it is not as it was written, or its root is another")
    yield from _differences(files, named)


def _named(manifest: Any) -> Iterator[tuple[str, Any]]:
    yield from manifest["files"].items()


def _differences(
    files: Mapping[str, bytes], named: Mapping[str, tuple[int, str]]
) -> Iterator[Problem]:
    for name in sorted({*files, *named} - _OUTSIDE):
        if name not in named:
            yield Problem(name, "was added: the manifest does not name it")
        elif name not in files:
            yield Problem(name, "is missing: the manifest names it")
        elif hashlib.sha256(files[name]).hexdigest() != named[name][1]:
            said = (
                f"{len(files[name])} bytes" if len(files[name]) != named[name][0] else "its bytes"
            )
            yield Problem(name, f"was changed: {said}, and the manifest says otherwise")
        elif entry_of(name) is None:
            yield Problem(name, "has no place in a packet of this format")
    for entry in LAYOUT:
        if entry.needed and entry.path not in {*files, *named}:
            yield Problem(entry.path, f"is missing: {entry.about}")
