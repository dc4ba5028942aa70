"""PostgreSQL does what the model says, whatever happens and in whatever order."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.property.test_store_machine import StoreMachine
from tests.support.house import House, ManualClock
from tests.support.postgres import PostgresServer, house_on


class PostgresMachine(StoreMachine):
    """The same stories, on a server."""

    server: ClassVar[PostgresServer]

    def make_house(self) -> tuple[House, ManualClock]:
        """A fresh store on the server."""
        self.stack = ExitStack()
        return self.stack.enter_context(house_on(self.stack.enter_context(self.server.database())))

    def teardown(self) -> None:
        """Nothing is left to the next story."""
        super().teardown()
        self.stack.close()


def test_postgresql_does_what_the_model_says(postgres: PostgresServer) -> None:
    """Fewer stories than in memory, since each word of them is a round trip."""
    PostgresMachine.server = postgres
    run_state_machine_as_test(
        PostgresMachine,
        settings=settings(
            max_examples=10,
            stateful_step_count=40,
            deadline=None,
            derandomize="CI" in os.environ,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
