"""``baton exporter``: what it refuses before it serves; the rest is in test_exporter.py."""

from __future__ import annotations

import socket

import pytest
from tests.support.command import Command


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--listen", "9464"), "'9464' is not HOST:PORT"),
        (("--listen", "localhost:99999"), "'localhost:99999' is not HOST:PORT"),
        (("--listen", "::1:9464"), "'::1:9464' is not HOST:PORT"),
        (("--listen", "no-such-host.invalid:0"), "cannot listen on no-such-host.invalid:0"),
        (("--expect", "3"), "'3' is not POOL=N, such as default=3"),
        (("--expect", "default="), "'default=' is not POOL=N"),
        (("--expect", "default=many"), "'many' is not a whole number"),
        (("--expect", "default=-1"), "'-1' is not a whole number"),
        (("--expect", "a b=1"), "pool 'a b'"),
        (("--expect", "a=1", "--expect", "a=2"), "--expect names 'a' twice"),
        (("--retention", "0"), "'0' is not a number of seconds above 0"),
        (("--retention", "1d"), "'1d' is not a number of seconds above 0"),
    ],
)
def test_bad_input_is_one_line(command: Command, words: tuple[str, ...], named: str) -> None:
    """It names the value and a form that would do."""
    with command.house():
        pass
    assert named in command.on("exporter", *words).complaint


def test_a_port_in_use_is_named(command: Command) -> None:
    """With the option that chooses another one."""
    with command.house():
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        complaint = command.on("exporter", "--listen", address).complaint
    assert address in complaint
    assert "--listen" in complaint
