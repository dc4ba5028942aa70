"""A worker whose tasks stand still: ``python -m benchmarks.wave_worker URL NAME CONCURRENCY``.

It is a worker in all but the graph: its runs write one checkpoint and wait, because a thousand
graphs that begin would measure LangGraph.
"""

from __future__ import annotations

import logging
import sys
import threading

from langgraph.checkpoint.base import empty_checkpoint

import baton
from baton.fleet.driver import Driver
from baton.fleet.lease import Lease
from baton.fleet.messages import WorkerConfig

#: A thousand runs begin on two cores meanwhile; nothing here is about being frozen.
_TTL_SECONDS = 60.0


def main(url: str, worker_id: str, concurrency: int) -> None:
    """Work until killed."""
    logging.disable(logging.WARNING)
    fleet = baton.open(url, kind="worker", ttl_seconds=_TTL_SECONDS)

    def begin_and_wait(lease: Lease) -> bool:
        configurable = {"checkpoint_ns": "", **lease.config["configurable"]}
        fleet.saver().put(
            {"configurable": configurable}, empty_checkpoint(), {"source": "input", "step": -1}, {}
        )
        threading.Event().wait()
        return False

    config = WorkerConfig(
        worker_id=worker_id,
        graphs=("still",),
        interval_seconds=_TTL_SECONDS / 3,
        ttl_seconds=_TTL_SECONDS,
        concurrency=concurrency,
    )
    driver = Driver(fleet.store, config, kind="worker", runner=begin_and_wait)
    fleet.register(driver)
    driver.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
