"""The SQLite store: two files on one host, for many processes.

The data file has tasks, ledger, effects, and LangGraph's checkpoints. Sessions live in the file
beside it, so that a heartbeat never waits for a data write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from baton.fleet.evidence import OnGone
from baton.fleet.sqlite_data import DataFile
from baton.fleet.sqlite_files import parse_url
from baton.fleet.sqlite_sessions import SessionsFile
from baton.fleet.transactions import Store
from baton.fleet.watching import HostEvidence

if TYPE_CHECKING:
    from baton.fleet.saver import FencedSqliteSaver, Leases


class SqliteStore(Store):
    """A store in two files, or in this process's memory."""

    data: DataFile
    sessions: SessionsFile

    def saver(self, leases: Leases, *, auto_lease: bool = False) -> FencedSqliteSaver:
        """The fenced checkpointer over LangGraph's tables in the data file."""
        from baton.fleet.saver import FencedSqliteSaver

        return FencedSqliteSaver(self.data, leases, auto_lease=auto_lease, serde=self.serde)

    def evidence(self, on_gone: OnGone, on_wake: Callable[[], None]) -> HostEvidence:
        """The kernel of this host; nothing here tells of tasks, so ``on_wake`` is not called."""
        del on_wake
        return HostEvidence(parse_url(self.url).beside(".locks").absolute(), on_gone)
