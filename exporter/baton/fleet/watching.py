"""Evidence of death as a worker uses it: a sign of its own life, and its peers'."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from baton.fleet.evidence import DeathWatch, OnGone, SessionLock
from baton.fleet.model import Session


class Watching(Protocol):
    """Where a worker shows that it lives, and sees that another does not."""

    def hold(self, session_id: str) -> tuple[Path, int] | None:
        """Show, from now on, that this session lives; the one before it is over.

        Returns:
            The lock's file and inode for the session's row, where there is a file.
        """

    def watch(self, session: Session) -> None:
        """Begin to watch a peer; one that is under watch already stays under that watch."""

    def forget(self, session_id: str) -> None:
        """Stop watching a peer."""

    def close(self) -> None:
        """Watch nobody and let go of what is held."""


class HostEvidence:
    """The kernel of this host: a pidfd for each peer, and a lock file where that cannot be."""

    def __init__(self, folder: Path, on_gone: OnGone) -> None:
        """Prepare; nothing is held or watched yet.

        Args:
            folder: where sessions keep their lock files.
            on_gone: called once for each peer that is gone.
        """
        self._folder = folder
        self._watch = DeathWatch(on_gone)
        self._lock: SessionLock | None = None

    def hold(self, session_id: str) -> tuple[Path, int]:
        """Lock a file for this session, and let go of the one before it."""
        self._release()
        self._lock = SessionLock(self._folder, session_id)
        return self._lock.path, self._lock.inode

    def watch(self, session: Session) -> None:
        """Watch a peer's process or, failing that, its lock file."""
        spec = session.spec
        path = Path(spec.lock_path) if spec.lock_path else None
        self._watch.watch(spec.session_id, spec.identity, path, spec.lock_inode)

    def forget(self, session_id: str) -> None:
        """Stop watching a peer."""
        self._watch.forget(session_id)

    def close(self) -> None:
        """Watch nobody and let go of the lock."""
        self._watch.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
