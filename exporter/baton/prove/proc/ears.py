"""The ears of a trial, each on a thread of its own: what they hear goes to its one inbox."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from queue import SimpleQueue

from baton.prove.proc.channel import Channel, Message

Inbox = SimpleQueue[Callable[[], object]]
Met = Callable[[str, Channel], object]
Told = Callable[[str, Message], object]


def accept(listening: socket.socket, inbox: Inbox, met: Met, told: Told) -> None:
    """Take whoever calls, until the socket is closed.

    Args:
        listening: where processes call.
        inbox: what is to be done about what is heard.
        met: takes a process's name and its channel, once.
        told: takes a process's name and each of its messages.
    """
    with suppress(OSError):
        while True:
            end, _ = listening.accept()
            threading.Thread(
                target=_hear, args=(Channel(end), inbox, met, told), name="trial-ears", daemon=True
            ).start()


def _hear(channel: Channel, inbox: Inbox, met: Met, told: Told) -> None:
    with closing(channel):
        messages = channel.messages()
        hello = next(messages, None)
        if hello is None:
            return
        key = hello["process"]
        inbox.put(partial(met, key, channel))
        for message in messages:
            inbox.put(partial(told, key, message))


def hear_maker(
    maker: subprocess.Popen[bytes],
    inbox: Inbox,
    made: Callable[[Message], object],
    gone: Callable[[], object],
) -> None:
    """Listen to what makes the processes, until it is gone.

    Args:
        maker: the process.
        inbox: what is to be done about what is heard.
        made: takes each of its messages.
        gone: called at its end.
    """
    assert maker.stdout is not None
    with maker.stdout as said:
        for line in said:
            inbox.put(partial(made, json.loads(line)))
    inbox.put(gone)
