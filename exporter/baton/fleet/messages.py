"""What the worker's protocol and the world say to each other: events in, commands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from baton.domain.words import Evidence, TakeoverReason
from baton.errors import BadInput
from baton.fleet.model import Beat, Claim, Claims, LeaseKey, Loss, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How a worker behaves.

    Attributes:
        concurrency: how many tasks at once; 0 for a session that only leases by hand.
        poll_seconds: how often an idle worker looks for tasks.
        drain_timeout_seconds: how long a drain waits for running super-steps.
        deadlines_seconds: by graph, how long a task may go without a durable write.
        fruitless_max: takeovers in a row that brought nothing, after which a task is put aside.
        until_idle: exit once nothing is left to do.
    """

    worker_id: str
    pool: str = "default"
    graphs: tuple[str, ...] = ()
    interval_seconds: float = 5.0
    ttl_seconds: float = 15.0
    concurrency: int = 1
    poll_seconds: float = 0.2
    drain_timeout_seconds: float = 30.0
    deadlines_seconds: Mapping[str, float] = field(default_factory=dict)
    fruitless_max: int = 3
    until_idle: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            BadInput: a setting out of its bounds.
        """
        if not 0 < 2 * self.interval_seconds <= self.ttl_seconds:
            raise BadInput(
                detail=f"--heartbeat {self.interval_seconds:g} must be above 0 and at most half"
                f" of --ttl {self.ttl_seconds:g}"
            )
        if self.concurrency < bool(self.graphs):
            raise BadInput(detail=f"--concurrency {self.concurrency}: run at least 1 task")
        if unknown := sorted(set(self.deadlines_seconds) - set(self.graphs)):
            raise BadInput(detail=f"progress deadline for {unknown[0]!r}, which is no graph here")

    @property
    def margin_seconds(self) -> float:
        """The last part of the TTL, in which a worker that could not renew starts nothing."""
        return self.ttl_seconds / 5


# What the world tells the protocol


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A session was registered; its first heartbeat was sent at ``sent_at``."""

    session_id: str
    beat: Beat
    sent_at: float


@dataclass(frozen=True, slots=True)
class BeatDone:
    """The store answered a heartbeat."""

    beat: Beat
    sent_at: float


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The store did not answer: whether the call took effect is unknown."""

    what: str
    error: str


@dataclass(frozen=True, slots=True)
class PeersSeen:
    """The sessions that may hold leases, at a moment of store time."""

    now_us: int
    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The kernel says that a peer's process is gone.

    Attributes:
        last_sign_at: store time of the end, if evidence of life had been held until then.
    """

    session_id: str
    evidence: Evidence
    last_sign_at: int | None


@dataclass(frozen=True, slots=True)
class Buried:
    """A peer's session is over, by our hand or by another's."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Woken:
    """There may be something to claim, and every worker of the pool is told so."""


@dataclass(frozen=True, slots=True)
class ClaimDone:
    """The outcome of a round of claiming.

    Attributes:
        outstanding: tasks of this pool and these graphs that are not over yet.
    """

    claims: Claims
    outstanding: int


@dataclass(frozen=True, slots=True)
class SessionOver:
    """The store says that our own session has ended."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended, in whatever way.

    Attributes:
        store_trouble: its end could not be recorded, so the lease is in doubt.
        suspect: that was not for want of the store, so the run itself is to blame.
    """

    key: LeaseKey
    store_trouble: bool = False
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A timer has run out."""

    name: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Stop taking tasks, hand over those at hand, and exit."""


@dataclass(frozen=True, slots=True)
class SessionStopped:
    """Our session was stopped."""


Event = (
    SessionOpened
    | BeatDone
    | CallFailed
    | PeersSeen
    | PeerGone
    | Buried
    | Woken
    | ClaimDone
    | SessionOver
    | RunEnded
    | Tick
    | DrainRequested
    | SessionStopped
)


# What the protocol asks of the world


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Register a new session."""


@dataclass(frozen=True, slots=True)
class SendBeat:
    """Renew the session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class NoteLate:
    """Record that a heartbeat came later than the TTL."""

    session_id: str
    silence_us: int


@dataclass(frozen=True, slots=True)
class LookAtPeers:
    """Read the sessions that may hold leases."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch a peer's process for its death."""

    session: Session


@dataclass(frozen=True, slots=True)
class Forget:
    """Stop watching a peer."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Bury:
    """Declare a peer lost."""

    loss: Loss


@dataclass(frozen=True, slots=True)
class TryClaim:
    """Claim at most ``limit`` tasks."""

    session_id: str
    limit: int
    running: int


@dataclass(frozen=True, slots=True)
class StartRun:
    """Run a task under its lease."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class DrainRuns:
    """Ask every run to stop at its next super-step."""


@dataclass(frozen=True, slots=True)
class LoseRuns:
    """Tell every run of a session that its lease is gone."""

    session_id: str
    why: str


@dataclass(frozen=True, slots=True)
class DrainSession:
    """Mark the session as taking nothing new."""

    session_id: str


@dataclass(frozen=True, slots=True)
class StopSession:
    """End the session and release what it holds.

    Attributes:
        cut_off: the store did not serve the session, so what it held is not suspect for that.
    """

    session_id: str
    reason: TakeoverReason
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Say ``Tick(name)`` at a moment of the monotonic clock; replaces the timer of that name."""

    name: str
    at: float


@dataclass(frozen=True, slots=True)
class Exit:
    """The worker is done."""


Command = (
    OpenSession
    | SendBeat
    | NoteLate
    | LookAtPeers
    | Watch
    | Forget
    | Bury
    | TryClaim
    | StartRun
    | DrainRuns
    | LoseRuns
    | DrainSession
    | StopSession
    | SetTimer
    | Exit
)
