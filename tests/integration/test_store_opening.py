"""Opening a store while others write to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, cast

from tests.support.house import House

from baton.fleet import sqlite_files as files
from baton.fleet.store import open_store


class InTheMeantime:
    """A connection that lets something happen between the first question and its answer."""

    def __init__(self, connection: sqlite3.Connection, happens: Any) -> None:
        """Stand in for ``connection``."""
        self._connection = connection
        self._happens = happens

    def execute(self, *question: Any) -> sqlite3.Cursor:
        """Answer, and let it happen once."""
        answer = self._connection.execute(*question)
        happens, self._happens = self._happens, lambda: None
        happens()
        return answer


def test_a_store_that_others_write_to_is_no_older_copy(tmp_path: Path) -> None:
    """A session that starts between the two looks raises both, and proves nothing."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    store = open_store(url)
    location = files.parse_url(url)
    data = files.open_data(location, create=False)
    sessions = files.open_sessions(location, store.store_id)
    house = House(store, store.clock)
    for which in ("data", "sessions"):
        both = {"data": data, "sessions": sessions}
        slow = InTheMeantime(both[which], house.session)
        both[which] = cast("sqlite3.Connection", slow)
        files.check_restored(location, both["data"], both["sessions"])
    for connection in (data, sessions):
        connection.close()
    store.close()
