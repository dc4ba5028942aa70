"""Every error Baton raises on purpose.

    BatonError                      exit 4: the input or the surroundings must be mended
    ├── BadInput                    a value that cannot be used
    ├── UnknownTask, TaskConflict, IllegalTransition
    ├── StoreError
    │   ├── StoreUnreachable, StoreCorrupt, StoreNewer, StoreRestored, StoreBusy
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

from langgraph.errors import GraphBubbleUp

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


class LeaseLost(GraphBubbleUp):
    """Another session took the task over, so this write or node start was refused."""

    def __init__(self, task_id: str, epoch: int, why: str = "superseded") -> None:
        """Name the lost lease.

        Args:
            task_id: the task whose lease is lost.
            epoch: the epoch that this process still believed in.
            why: ``superseded`` (the fence said so), ``expired`` (this process could not renew
                in time and stopped itself) or ``stopped`` (its own session gave it up).
        """
        super().__init__(f"lease on task {task_id!r} at epoch {epoch} is lost: {why}")
        self.task_id = task_id
        self.epoch = epoch
        self.why = why


class LeaseRequired(GraphBubbleUp):
    """A checkpoint write arrived without a lease."""

    def __init__(self, task_id: str) -> None:
        """Name the task.

        Args:
            task_id: the thread whose write was refused.
        """
        super().__init__(
            f"no lease for thread {task_id!r}: write inside `with fleet.lease(...) as lease` "
            "and pass lease.config"
        )
        self.task_id = task_id
