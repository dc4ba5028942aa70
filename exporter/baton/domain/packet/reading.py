"""Reading the evidence of a packet: documents, lines and ledgers, each with where it lies."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from baton.domain.ledger import Event, event_from_dict

#: Read to the end only up to this size, so that a small file cannot fill the memory.
_INFLATED_BYTES_MAX = 512 * 1024 * 1024
_SUFFIX = ".gz"


class Unreadable(Exception):
    """A piece of evidence is not there, or is not what it has to be."""

    def __init__(self, path: str, text: str, *, missing: bool = False) -> None:
        """Say which.

        Args:
            path: the file.
            text: what is the matter.
            missing: it is not there at all.
        """
        super().__init__(f"{path}: {text}")
        self.path, self.text, self.missing = path, text, missing


class Evidence:
    """The files of a packet that were taken as they were left."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Read nothing yet.

        Args:
            files: bytes by name.
        """
        self.files = files
        #: What was worked out already, by whatever names it.
        self.memo: dict[str, Any] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.files

    def below(self, folder: str) -> list[str]:
        """The names of the files in a folder and in its folders, sorted."""
        return sorted(name for name in self.files if name.startswith(f"{folder}/"))

    def data(self, path: str) -> bytes:
        """The bytes of a file, unpacked where it is packed.

        Raises:
            Unreadable: it is not there, or cannot be unpacked.
        """
        if path not in self.files:
            raise Unreadable(path, "is not there", missing=True)
        packed = self.files[path]
        if not path.endswith(_SUFFIX):
            return packed
        try:
            size = int.from_bytes(packed[-4:], "little")
            if size > _INFLATED_BYTES_MAX:
                raise Unreadable(path, f"unpacks to {size} bytes, more than is read")
            return gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(path, f"cannot be unpacked: {error}") from error

    def json(self, path: str) -> Any:
        """A document.

        Raises:
            Unreadable: there is none.
        """
        try:
            return json.loads(self.data(path))
        except (ValueError, RecursionError) as error:
            raise Unreadable(path, f"is no JSON: {error}") from error

    def lines(self, path: str) -> list[Any]:
        """The documents of a file of JSON Lines.

        Raises:
            Unreadable: one of them is none.
        """
        found = []
        for number, line in enumerate(self.data(path).splitlines(), 1):
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise Unreadable(path, f"line {number} is no JSON: {error}") from error
        return found

    def events(self, path: str) -> list[Event]:
        """The events of a ledger.

        Raises:
            Unreadable: a line is no event.
        """
        try:
            return [event_from_dict(one) for one in self.lines(path)]
        except (ValueError, TypeError, AttributeError) as error:
            raise Unreadable(path, f"is no ledger: {error}") from error

    def pointer(self, path: str, pointer: str = "") -> dict[str, str]:
        """Where something is: a file, its SHA-256, and a JSON pointer or a place within it."""
        digest = hashlib.sha256(self.files[path]).hexdigest() if path in self.files else ""
        return {"path": path, "pointer": pointer, "sha256": digest}
