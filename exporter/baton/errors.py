"""Every error Baton raises on purpose.

    BatonError                      exit 4: the input or the surroundings must be mended
    ├── BadInput                    a value that cannot be used
    ├── UnknownTask, TaskConflict, IllegalTransition
    ├── StoreError
    │   ├── StoreUnreachable, StoreCorrupt, StoreNewer, StoreRestored, StoreBusy, StoreUnfit
    │   └── ConnectionCut           a server does not answer; CommitUnknown: nor say what it did
    ├── LeaseHeld                   another live session holds the task
    ├── PortInUse
    ├── BadScenario, EngineRefuses, BadPolicy
    ├── EngineFailed                exit 3: an error of Baton's own
    └── ContentMissing
    LeaseLost (GraphBubbleUp)       raised inside a graph; LangGraph neither retries nor records it
    LeaseRequired (GraphBubbleUp)   a write on a task that this process holds no lease for

A class's docstring is its message: the words a tired reader sees are the words in the docs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baton.bubbling import LeaseLost as LeaseLost  # noqa: PLC0414 - mypy: it is published here
    from baton.bubbling import LeaseRequired as LeaseRequired  # noqa: PLC0414 - as above

#: The exit code of the command line for everything a person must mend.
EXIT_USAGE = 4

#: Its exit code for an error of Baton's own.
EXIT_ERROR = 3


class BatonError(Exception):
    """{detail}"""

    exit_code = EXIT_USAGE

    def __init__(self, **fields: object) -> None:
        """Fill the docstring's placeholders with ``fields``.

        Args:
            fields: the values that the docstring names, kept as ``self.fields``.
        """
        self.fields = fields
        super().__init__((type(self).__doc__ or "").format(**fields))


class BadInput(BatonError):
    """{detail}"""


class UnknownTask(BatonError):
    """no task {task_id!r} in this store; `baton tasks list` shows those there are"""


class UnknownGraph(BatonError):
    """no graph {graph!r}: {detail}"""


class TaskConflict(BatonError):
    """task {task_id!r} exists with another {what}; choose another --task or leave it out"""


class IllegalTransition(BatonError):
    """task {task_id!r} is {state}, and {verb} is only for {legal}"""


class LeaseHeld(BatonError):
    """task {task_id!r} is held by worker {worker_id!r} (session {session_id}, epoch {epoch})"""


class StoreError(BatonError):
    """{url}: {detail}"""


class StoreUnreachable(StoreError):
    """cannot open store {url}: {detail}"""


class StoreCorrupt(StoreError):
    """store {url} is damaged ({detail}); restore it from a copy, then `baton store accept-restore`"""


class StoreNewer(StoreError):
    """store {url} has schema {found}, this Baton knows up to {known}; upgrade langgraph-baton"""


class StoreRestored(StoreError):
    """store {url} is an older copy ({detail}); if that is meant, run `baton store accept-restore`"""


class StoreBusy(StoreError):
    """the store's write lock is held by {holder}; try again, or end that process"""

    def __init__(self, **fields: object) -> None:
        """See ``BatonError``; a busy store needs no URL to be recognised."""
        super().__init__(**fields)


class StoreUnfit(StoreError):
    """store {url} cannot keep what is written: {detail}"""


class ConnectionCut(StoreError):
    """store {url} does not answer: {detail}"""


class ServerFull(ConnectionCut):
    """store {url} has no connection left ({detail}); start fewer workers, or raise its limit"""


class CommitUnknown(ConnectionCut):
    """store {url} does not answer ({detail}), so whether the last transaction took effect is open"""

    def __init__(self, **fields: object) -> None:
        """See ``BatonError``; two fields more settle the question later.

        Args:
            fields: besides ``url`` and ``detail``, the transaction's ``xid`` and the ``outcome``
                that it was to have.
        """
        super().__init__(**fields)
        self.xid = str(fields["xid"])
        self.outcome = fields["outcome"]


class PortInUse(BatonError):
    """cannot listen on {address}: {detail}; choose another --listen or --metrics address"""


class ContentMissing(BatonError):
    """the folder {name!r} that ships with Baton is not at {path}; reinstall langgraph-baton"""


class BadScenario(BatonError):
    """{where}: {what}; {mend}"""


class BadPolicy(BatonError):
    """{where}: {what}; {mend}"""


class EngineRefuses(BatonError):
    """scenario {scenario}: the {engine} engine cannot perform it: {why}"""


class EngineFailed(BatonError):
    """scenario {scenario}: the {engine} engine failed: {why}"""

    exit_code = EXIT_ERROR


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The two that bubble up through a graph, and with them LangGraph, where they are named.

        Most commands run no graph, and LangGraph takes seconds to import.
        """
        if name not in ("LeaseLost", "LeaseRequired"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("baton.bubbling"), name)
