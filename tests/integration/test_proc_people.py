"""Those who bring tasks while a trial goes on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pytest
from tests.support.runs import wait_until

import baton
from baton.errors import BatonError
from baton.prove.proc.people import People


def test_who_holds_the_store_holds_up_people_and_not_the_harness(tmp_path: Path) -> None:
    """Who is held in a transaction holds up people, and not the harness that could let it go."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    told: SimpleQueue[object] = SimpleQueue()
    with baton.open(url) as worker:
        people = People(url, told.put)
        accepted = partial(str, "accepted")
        with worker.store.data.write():
            # As a worker that waits at ckpt.write: this would never return on the harness's thread.
            people.submit("chain-1", accepted)
            assert told.empty()
        wait_until(lambda: not told.empty(), what="the task is accepted")
        assert told.get() is accepted
        assert worker.task("chain-1").state == "pending"
        # What goes wrong is raised where the harness hears it.
        people.answer("chain-1", "r-1")
        people.answer("chain-1", "r-1")
        people.close()
        (raises,) = [told.get() for _ in range(told.qsize())]
        assert callable(raises)
        with pytest.raises(BatonError):
            raises()
