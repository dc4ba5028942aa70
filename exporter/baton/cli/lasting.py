"""What the verbs that go on for long have in common: their log."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from baton.errors import BatonError
from baton.observe import logs

_log = logging.getLogger("baton.cli")


@contextmanager
def log_to_stderr(args: Namespace, about: Mapping[str, object] | None = None) -> Iterator[None]:
    """Write the log as ``--log`` asks; an unexpected end is in it with its traceback.

    A process that ran for days cannot be asked to fail once more with ``--debug``.

    Args:
        args: the options, with those of ``add_log``.
        about: fields of every JSON line.
    """
    with logs.shown(args.log, sys.stderr, about):
        try:
            yield
        except BatonError:
            raise
        except Exception:
            _log.critical("stopped by an unexpected error", exc_info=True)
            raise
