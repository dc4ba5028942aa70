"""Where a demo keeps what it makes: a folder it was given, or one that goes when it does."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from baton.errors import BadInput


class Folder:
    """A new or empty folder, as a context.

    Attributes:
        path: the folder, absolute.
        keep: whether it outlives the demo; a folder that was asked for always does.
    """

    def __init__(self, wanted: Path | None) -> None:
        """Make it.

        Args:
            wanted: a folder that is empty or not there yet; None for a temporary one.

        Raises:
            BadInput: there is something in it, or it cannot be made.
        """
        self.keep = wanted is not None
        self._made = wanted is None or not wanted.exists()
        self.path = _temporary() if wanted is None else _made(wanted)

    def __enter__(self) -> Self:
        """Use it in a ``with``."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove a temporary folder, and one that nothing was put into."""
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
        elif error is not None and self._made:
            with suppress(OSError):
                self.path.rmdir()


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="baton-demo-")).resolve()


def _made(wanted: Path) -> Path:
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if any(wanted.iterdir()):
            raise BadInput(detail=f"--out {wanted} is not empty; name a new folder")
        # Whether one may write is known for sure only by writing.
        with tempfile.TemporaryFile(dir=wanted):
            return wanted.resolve()
    except OSError as error:
        raise BadInput(detail=f"--out {wanted}: {error.strerror}; name another folder") from error
