"""The demo's modules are read by many threads at once."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator

import pytest

from baton.prove.demo.library import choose, standard_library, syntax

THREADS = 6


class Rubbish:
    """Something that is busy when it is collected, as LangGraph's leavings are."""

    def __init__(self) -> None:
        """Refer to itself, so that only a collection frees it."""
        self.me = self

    def __del__(self) -> None:
        """Give other threads a chance to run."""
        for _ in range(200):
            pass


@pytest.fixture
def _restless() -> Iterator[None]:
    """Garbage is collected all the time, and threads take turns as often as they can."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_restless")
def test_threads_may_parse_at_the_same_time() -> None:
    """Python's own parser fails here within a few files, on 3.11 and 3.12."""
    files = [standard_library() / path for path in choose(20)]
    errors: list[SystemError] = []

    def work() -> None:
        for file in files:
            rubbish = [Rubbish() for _ in range(30)]
            try:
                syntax(file)
            except SystemError as error:
                errors.append(error)
            del rubbish

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
