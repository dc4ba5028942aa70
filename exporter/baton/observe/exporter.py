"""The exporter: a store, its collector, and the HTTP server in front of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from baton.observe.collector import DEADLINE_SECONDS, RETENTION_SECONDS, StoreCollector
from baton.observe.patience import Patience
from baton.observe.server import MetricsServer
from baton.observe.source import StoreSource

#: How often the ledger is read on between two scrapes, in seconds.
_CATCH_UP_SECONDS = 0.5


class Exporter:
    """Serves a store's metrics for the length of a ``with`` block.

    The ledger is read on in the background too, so that a scrape finds little left to read, in a
    busy fleet as well; ``/-/ready`` says when it was read to its end for the first time.
    """

    def __init__(
        self,
        url: str,
        host: str,
        port: int,
        *,
        expect: Mapping[str, int] | None = None,
        retention_seconds: float = RETENTION_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Open the store and bind the address; nothing is served yet.

        Args:
            url: the store, which has to exist.
            host: a name or an IP address of this machine.
            port: 0 for any free one; ``address`` tells which.
            expect: how many workers each pool should have.
            retention_seconds: how long a worker is shown after its last session has ended.
            deadline_seconds: how long one scrape waits for the store at most.

        Raises:
            BatonError: the store cannot be opened, or the address is taken.
        """
        self._source = StoreSource(url)
        self.collector = StoreCollector(
            self._source,
            expect,
            retention_seconds=retention_seconds,
            deadline_seconds=deadline_seconds,
        )
        self._patience = Patience(deadline_seconds)
        try:
            self._server = MetricsServer(
                host,
                port,
                collect=self.collector.collect,
                ready=self.collector.ready,
                discover=self.collector.targets,
                title="The Baton exporter",
            )
        except BaseException:
            self._source.close()
            raise
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._keep_up, name="ledger", daemon=True)

    @property
    def address(self) -> str:
        """``HOST:PORT`` as it was bound."""
        return self._server.address

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._reader.start()
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the answers that are under way, and close the store."""
        self._stopping.set()
        self._server.stop()
        # A store that hangs is left to hang: this process ends all the same.
        self._reader.join(self._patience.seconds)
        with suppress(TimeoutError):
            self._patience.call(self._source.close)

    def _keep_up(self) -> None:
        while True:
            self.collector.catch_up(self._stopping.is_set)
            if self._stopping.wait(_CATCH_UP_SECONDS):
                return
