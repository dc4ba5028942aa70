"""Virtual time: a queue of things to happen, worked off one after another.

Nothing here runs beside anything else. What has to wait in the middle of a call into production
code waits by letting the rest of the world go on from inside that call (``World.until``), so
calls that stand still at once end in the reverse order of their beginning.
"""

from __future__ import annotations

import heapq
import inspect
from collections.abc import Callable, Generator
from random import Random
from typing import Protocol

#: What a fiber may wait for: so many microseconds, or a ``Signal``.
Wait = "int | Signal"

Fiber = Generator["int | Signal", None, None]


class TrialOver(BaseException):
    """The trial ended while a call stood still; it never comes back."""


class Died(BaseException):
    """The process in which this was running is gone."""


class Host(Protocol):
    """Where things happen: a process that may be gone or stand still."""

    dead: bool
    frozen: bool

    def keep(self, job: Callable[[], None]) -> None:
        """Keep a job until the process goes on."""


class Signal:
    """Something that fibers wait for."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: list[Callable[[], None]] = []

    def wait(self, then: Callable[[], None]) -> None:
        """Be told once."""
        self._waiting.append(then)

    def fire(self) -> None:
        """Tell whoever waits."""
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()


class World:
    """The queue, the time, and chance."""

    def __init__(self, seed: int, limit_us: int) -> None:
        """Begin at 0.

        Args:
            seed: decides everything that chance decides.
            limit_us: when it is over in any case.
        """
        self.now = 0
        self.limit_us = limit_us
        self.current: Host | None = None
        self.over = False
        self.handled = 0
        self._seed = seed
        self._streams: dict[str, Callable[[int], int]] = {}
        self._queue: list[tuple[int, int, Callable[[], None], Host | None]] = []
        self._seq = 0
        self._tasks: dict[Task, None] = {}

    def chance(self, stream: str, low: int, high: int) -> int:
        """A whole number between two; each stream is its own, so that one does not move another."""
        bits = self._streams.get(stream)
        if bits is None:
            chance = Random(f"{self._seed}/{stream}")  # noqa: S311 - replayed, not secret
            bits = self._streams[stream] = chance.getrandbits
        # What ``randrange`` does in the versions of Python that there are; it is not said to do so
        # in those to come.
        span = high - low + 1
        width = span.bit_length()
        while (drawn := bits(width)) >= span:
            pass
        return low + drawn

    def at(self, when_us: int, job: Callable[[], None], host: Host | None = None) -> None:
        """Let something happen at a time; what is past happens next."""
        self._seq += 1
        when_us = when_us if when_us > self.now else self.now  # noqa: FURB136 - the hottest line
        heapq.heappush(self._queue, (when_us, self._seq, job, host))

    def later(self, in_us: int, job: Callable[[], None], host: Host | None = None) -> None:
        """Let something happen after a while."""
        self.at(self.now + in_us, job, host)

    def until(self, done: Callable[[], bool]) -> None:
        """Let the world go on until something is so.

        Raises:
            TrialOver: the trial was over first.
        """
        here, queue, pop, do = self.current, self._queue, heapq.heappop, self.do
        try:
            while not done():
                if self.over or not queue or queue[0][0] > self.limit_us:
                    self.over = True
                    raise TrialOver
                self.now, _, job, host = pop(queue)
                self.handled += 1
                do(job, host)
        finally:
            self.current = here

    def do(self, job: Callable[[], None], host: Host | None) -> None:
        """Do something where it belongs, if that place is there and moves."""
        if host is None:
            self.current = None
            job()
        elif host.frozen:
            host.keep(job)
        elif not host.dead:
            self.current = host
            try:
                job()
            except Died:
                if not host.dead:
                    raise

    def go(
        self,
        fiber: Fiber,
        host: Host | None,
        then: Callable[[Exception | None], None],
    ) -> Task:
        """Start a fiber now; ``then`` is told how it ended."""
        task = Task(self, fiber, host, then)
        self._tasks[task] = None
        task.step()
        return task

    def forget(self, task: Task) -> None:
        """A fiber has ended."""
        self._tasks.pop(task, None)

    def close(self) -> None:
        """End every fiber where it waits.

        The collector would do so at a moment of its own, deep in somebody else's stack, and a
        fiber takes the lack of room there for an error of its run.
        """
        for task in reversed(tuple(self._tasks)):
            task.cancel()


class Task:
    """A fiber under way."""

    def __init__(
        self,
        world: World,
        fiber: Fiber,
        host: Host | None,
        then: Callable[[Exception | None], None],
    ) -> None:
        """Take a fiber that has not begun."""
        self._world, self._fiber, self._host, self._then = world, fiber, host, then
        self._ended = False

    @property
    def waits(self) -> bool:
        """Whether it has begun and not ended."""
        return inspect.getgeneratorstate(self._fiber) != inspect.GEN_CLOSED

    def step(self) -> None:
        """Go on to the next wait, or to the end."""
        if self._ended:
            return
        try:
            wait = next(self._fiber)
        except StopIteration:
            self._end(None)
        except Exception as error:  # noqa: BLE001 - whoever waits for the fiber meets it
            self._end(error)
        else:
            world = self._world
            if isinstance(wait, Signal):
                wait.wait(lambda: world.later(0, self.step, self._host))
            else:
                world.at(world.now + wait, self.step, self._host)

    def cancel(self) -> None:
        """Let it end where it waits."""
        if not self._ended:
            self._ended = True
            self._world.forget(self)
            self._fiber.close()

    def _end(self, error: Exception | None) -> None:
        self._ended = True
        self._world.forget(self)
        self._then(error)
