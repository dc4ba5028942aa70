"""Those who bring tasks and answer questions while a trial goes on.

What they do to the store waits behind whoever is held in the middle of a transaction, and the
harness, which alone can let that one go, must not wait with them: they have a thread and a
connection of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

import baton
from baton.fleet.fleet import Fleet
from baton.prove.scenarios.graphs import ANSWER, input_of

#: Something to do to a store.
Errand = Callable[[Fleet], object]


class People:
    """Do one errand after another."""

    def __init__(self, url: str, tell: Callable[[Callable[[], object]], object]) -> None:
        """Begin with nothing to do.

        Args:
            url: the store, which is there.
            tell: hands something on to the harness's own thread.
        """
        self._tell = tell
        self._errands: SimpleQueue[tuple[Errand, Callable[[], object]] | None] = SimpleQueue()
        self._answered: set[str] = set()
        self._fleet = baton.open(url)
        self._thread = threading.Thread(target=self._work, name="trial-people", daemon=True)
        self._thread.start()

    def submit(self, task_id: str, accepted: Callable[[], object]) -> None:
        """Submit a task soon.

        Args:
            task_id: which one.
            accepted: called in the harness's thread once the store has it.
        """
        graph = task_id.rpartition("-")[0]
        self._errands.put((partial(_submit, graph, task_id), accepted))

    def answer(self, task_id: str, run_id: str) -> None:
        """Answer a task's question soon, once.

        Args:
            task_id: which task.
            run_id: the run that asks.
        """
        if run_id not in self._answered:
            self._answered.add(run_id)
            self._errands.put((partial(_answer, task_id), lambda: None))

    def _work(self) -> None:
        while (sent := self._errands.get()) is not None:
            errand, done = sent
            try:
                errand(self._fleet)
            except Exception as error:  # noqa: BLE001 - raised again where it is heard
                self._tell(_raising(error))
            else:
                self._tell(done)

    def close(self) -> None:
        """Go home; to be called once nobody holds the store any more."""
        self._errands.put(None)
        self._thread.join()
        self._fleet.close()


def _submit(graph: str, task_id: str, fleet: Fleet) -> None:
    fleet.submit(graph, input_of(graph), task_id=task_id)


def _answer(task_id: str, fleet: Fleet) -> None:
    fleet.resume(task_id, ANSWER)


def _raising(error: Exception) -> Callable[[], object]:
    def again() -> object:
        raise error

    return again
