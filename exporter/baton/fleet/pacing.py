"""When a worker that has room asks for tasks: at once in a small fleet, spread out in a large one.

A submit, a loss or the end of a deadline wakes every worker that has room, and each of them would
ask the store at the same moment for what only a few of them can get. So each waits a random part
of a window that grows with their number. The first of them asks as soon as ever (the least of
``n`` draws from a window of ``n`` slots is about one slot), and the store is asked at one rate
however many wait.
"""

from __future__ import annotations

#: Up to so many workers with room ask at once: a lone standby, or a few, never wait for each other.
PROMPT = 8

#: The share of time that each worker beyond those has to itself, in seconds. A claim that finds
#: nothing takes a store about as long.
SLOT_SECONDS = 0.005


def wake_seconds(standbys: int, draw: float) -> float:
    """How long a worker waits that has just been woken.

    Args:
        standbys: how many have room and were woken too, itself included.
        draw: a random number from 0 to below 1.
    """
    return max(0, standbys - PROMPT) * SLOT_SECONDS * draw


def poll_seconds(every_seconds: float, standbys: int, draw: float) -> float:
    """How long a worker waits that nobody wakes.

    Args:
        every_seconds: how often a worker asks that has no others beside it.
        standbys: how many have room, itself included.
        draw: a random number from 0 to below 1.
    """
    if standbys <= PROMPT:
        return every_seconds
    return max(every_seconds, standbys * SLOT_SECONDS) * (0.5 + draw)
