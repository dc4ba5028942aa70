"""The worker's protocol without any I/O: events in, commands out.

``WorkerProtocol.on(event, now)`` is all there is. Threads drive it in production
(``driver.py``); a scheduler with a virtual clock may drive it as well, and neither decides
anything. ``now`` is the caller's monotonic clock in seconds; store time comes with the store's
replies. The rules it keeps, each in one place:

* a session is renewed once per interval, whatever it holds (``_tick``);
* it buries another for silence only after two heartbeats of its own in a row, between which the
  store's clock moved as its own did (``_acknowledge``, ``_peers_seen``);
* it starts no node once it could not renew in time, and gives up a session that it doubts
  (``confirmed_until``, ``_beat_done``);
* it says whether it was the store that left it in doubt: a worker that came round too late itself
  was perhaps held up by what it runs, which stays suspect (``on``, ``_give_up``);
* it claims when it has room, and alone where the task is suspect (``_claim_if_room``);
* it does not ask when everybody else does (``_woken``, ``pacing.py``);
* it drains in bounded time (``_drain``).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from baton.domain.words import Evidence, TakeoverReason
from baton.fleet import messages as m
from baton.fleet import pacing
from baton.fleet.model import LeaseKey, Loss, Session

_BEAT = "beat"
_CLAIM = "claim"
_LOOK = "look"
_DRAIN = "drain"
_LEAVE = "leave"
_OPEN = "open"
_STOP = "stop"

#: How long a new peer may stay unwatched at most, in seconds, unless the interval is shorter.
_LOOK_SECONDS = 1.0

#: How soon a heartbeat that failed is tried again, in seconds, unless the interval is shorter.
_RETRY_SECONDS = 1.0


class WorkerProtocol:
    """One worker: its session, its leases, and what it may say of its peers."""

    def __init__(self, config: m.WorkerConfig, draw: Callable[[], float] = random.random) -> None:
        """Start outside any session.

        Args:
            config: how the worker behaves.
            draw: random numbers from 0 to below 1, for ``pacing``.
        """
        self.config = config
        self._draw = draw
        self._graphs = frozenset(config.graphs)
        self.session_id: str | None = None
        #: Until when, on the monotonic clock, this session's leases are sure to be ours.
        self.confirmed_until = float("-inf")
        self.runs: set[LeaseKey] = set()
        self._opened_at = float("-inf")
        self._acked_at = float("-inf")
        self._acked_store_us = 0
        self._streak = 0
        self._failed_since_ack = False
        self._doubtful = False
        #: Our own standing still, or a run of ours, may be why we doubt.
        self._suspect = False
        #: When we mean to renew next.
        self._beat_due = float("inf")
        self._beat_in_flight = False
        self._claim_in_flight = False
        #: When we ask for tasks next, if nothing happens before.
        self._claim_at = float("inf")
        #: We were told that there is something, and have not asked since.
        self._awake = False
        #: How many workers have room for the same tasks, ourselves included.
        self._standbys = 1
        self._holders: frozenset[str] = frozenset()
        self._alone: LeaseKey | None = None
        self._alone_waiting = False
        self._draining = False
        self._drain_until = float("inf")
        self._stopping = False
        self._stop_reason = TakeoverReason.DRAINED
        self._cut_off = False
        self._watched: set[str] = set()
        self._burying: set[str] = set()

    def start(self) -> list[m.Command]:
        """The first commands."""
        return [m.OpenSession()]

    def on(self, event: m.Event, now: float) -> list[m.Command]:  # noqa: C901, PLR0911, PLR0912 - the dispatch table, flat on purpose
        """React to one event.

        Args:
            event: what happened.
            now: the monotonic clock, in seconds.
        """
        if now - self._beat_due > self._spare_seconds:
            self._suspect = True
        match event:
            case m.SessionOpened():
                return self._opened(event, now)
            case m.BeatDone():
                return self._beat_done(event, now)
            case m.CallFailed():
                return self._failed(event, now)
            case m.PeersSeen():
                return self._peers_seen(event, now)
            case m.PeerGone():
                return self._peer_gone(event)
            case m.Buried():
                self._watched.discard(event.session_id)
                self._burying.discard(event.session_id)
                return [m.Forget(event.session_id), *self._woken(now)]
            case m.Woken():
                return self._woken(now)
            case m.ClaimDone():
                return self._claim_done(event, now)
            case m.SessionOver():
                self._claim_in_flight = False
                return self._over("stopped", now)
            case m.RunEnded():
                return self._run_ended(event)
            case m.Tick() if event.name == _LEAVE:
                # The store has not even said whether our session is stopped. Our end will tell.
                return [m.Exit()]
            case m.Tick():
                return self._tick(event.name, now)
            case m.DrainRequested():
                return self._drain(now)
            case m.SessionStopped():
                return self._stopped()

    # The session and its heartbeats

    def _opened(self, event: m.SessionOpened, now: float) -> list[m.Command]:
        self.session_id = event.session_id
        self._opened_at = now
        self._streak = 0
        self._doubtful = self._suspect = False
        self._beat_in_flight = False
        self._acknowledge(event.beat.at_us, event.sent_at)
        commands: list[m.Command] = [
            self._renew_at(now + self.config.interval_seconds),
            m.LookAtPeers(),
        ]
        if self._draining:
            return [*commands, *self._drain(now)]
        return [*commands, *self._claim_if_room()]

    def _tick(self, name: str, now: float) -> list[m.Command]:
        if name == _CLAIM:
            self._claim_at = float("inf")
        if name == _OPEN and self.session_id is None:
            return [m.OpenSession()]
        if name == _STOP and self._stopping and self.session_id is not None:
            return [m.StopSession(self.session_id, self._stop_reason, self._cut_off)]
        if self.session_id is None or self._stopping:
            return [m.Exit()] if name == _DRAIN and self.session_id is None else []
        if name == _BEAT:
            again = self._renew_at(now + self.config.interval_seconds)
            if self._beat_in_flight:
                return [again]
            self._beat_in_flight = True
            return [m.SendBeat(self.session_id), again]
        if name == _CLAIM:
            return self._claim_if_room()
        if name == _LOOK:
            return [m.LookAtPeers()]
        return self._stop(TakeoverReason.DRAINED) if name == _DRAIN else []

    def _renew_at(self, at: float) -> m.Command:
        self._beat_due = at
        return m.SetTimer(_BEAT, at)

    @property
    def _spare_seconds(self) -> float:
        """How late we may renew and still be sure of our leases."""
        config = self.config
        return config.ttl_seconds - config.margin_seconds - config.interval_seconds

    def _acknowledge(self, store_us: int, sent_at: float) -> None:
        """Count a renewal: how long it holds, and whether it makes a pair with the last one."""
        interval = self.config.interval_seconds
        apart = sent_at - self._acked_at
        moved = (store_us - self._acked_store_us) / 1e6
        # A gap means that we or the store slept, and so perhaps did everybody else.
        steady = apart <= 2 * interval and abs(moved - apart) <= interval
        self._streak = self._streak + 1 if steady else 1
        self._acked_at = sent_at
        self._acked_store_us = store_us
        self._failed_since_ack = False
        self.confirmed_until = sent_at + self.config.ttl_seconds - self.config.margin_seconds

    @property
    def _may_bury(self) -> bool:
        return self._streak >= 2  # noqa: PLR2004 - two heartbeats in a row, by definition

    def _beat_done(self, event: m.BeatDone, now: float) -> list[m.Command]:
        self._beat_in_flight = False
        if self.session_id is None or self._stopping:
            return []
        if not event.beat.accepted:
            return self._over("lost", now)
        silence_us = event.beat.at_us - self._acked_store_us
        failed = self._failed_since_ack
        if failed and event.sent_at > self.confirmed_until:
            self._doubtful = True
        self._acknowledge(event.beat.at_us, event.sent_at)
        if self._doubtful:
            return self._give_up()
        self._suspect = False
        commands: list[m.Command] = []
        if silence_us > self.config.ttl_seconds * 1e6:
            commands.append(m.NoteLate(self.session_id, silence_us))
        commands.append(self._renew_at(now + self.config.interval_seconds))
        return [*commands, m.LookAtPeers(), *(self._claim_if_room() if failed else ())]

    def _failed(self, event: m.CallFailed, now: float) -> list[m.Command]:
        retry_at = now + min(_RETRY_SECONDS, self.config.interval_seconds)
        match event.what:
            case "beat":
                self._beat_in_flight = False
                self._failed_since_ack = True
                self._streak = 0
                return [self._renew_at(retry_at)]
            case "claim":
                self._claim_in_flight = False
                return [self._ask_after(retry_at - now, now)]
            case "bury":
                self._burying.clear()
                return [m.SetTimer(_LOOK, retry_at)]
            case "peers":
                return [m.SetTimer(_LOOK, retry_at)]
            case "open":
                return [m.Exit()] if self._draining else [m.SetTimer(_OPEN, retry_at)]
            case "stop" if now >= self._drain_until:
                # The store stays away beyond the drain's bound; our silence will tell the others.
                return [m.Exit()]
            case "stop":
                return [m.SetTimer(_STOP, retry_at)]
            case _:
                return []

    def _give_up(self) -> list[m.Command]:
        """Stop the session that we doubt; a new one begins when the store has agreed."""
        return self._stop(TakeoverReason.HEARTBEAT_LOST, "expired", cut_off=not self._suspect)

    def _over(self, why: str, now: float) -> list[m.Command]:
        """Our session has ended without us; what ran under it is no longer ours."""
        if self.session_id is None:
            return []
        lost = m.LoseRuns(self.session_id, why)
        self._leave()
        if self._draining:
            # What still runs is told, and refused; the drain's bound holds for it as well.
            return [lost] if self.runs else [lost, m.Exit()]
        # A session that ends as soon as it has begun would fill the ledger with its successors.
        again_at = self._opened_at + min(_RETRY_SECONDS, self.config.interval_seconds)
        if now < again_at:
            return [lost, m.SetTimer(_OPEN, again_at)]
        return [lost, m.OpenSession()]

    def _leave(self) -> None:
        self.session_id = None
        self._stopping = False
        self.confirmed_until = float("-inf")
        self._claim_in_flight = False

    def _stopped(self) -> list[m.Command]:
        self._leave()
        return [m.Exit()] if self._draining else [m.OpenSession()]

    # Peers

    def _peers_seen(self, event: m.PeersSeen, now: float) -> list[m.Command]:
        commands: list[m.Command] = []
        alive = {session.spec.session_id for session in event.sessions}
        commands += [m.Forget(gone) for gone in sorted(self._watched - alive)]
        self._watched &= alive
        next_look = min(_LOOK_SECONDS, self.config.interval_seconds)
        self._standbys = 1 + sum(map(self._has_room, event.sessions))
        for session in event.sessions:
            peer = session.spec.session_id
            if peer == self.session_id:
                continue
            if peer not in self._watched:
                self._watched.add(peer)
                commands.append(m.Watch(session))
            left_us = session.beat_at + session.spec.ttl_us - event.now_us
            if left_us > 0:
                next_look = min(next_look, left_us / 1e6 + 0.001)
            elif self._may_bury and peer not in self._burying:
                self._burying.add(peer)
                loss = Loss(
                    session_id=peer, evidence=Evidence.TTL, beat=session.beat, by=self.session_id
                )
                commands.append(m.Bury(loss))
        return [*commands, m.SetTimer(_LOOK, now + next_look)]

    def _peer_gone(self, event: m.PeerGone) -> list[m.Command]:
        self._watched.discard(event.session_id)
        self._burying.add(event.session_id)
        loss = Loss(
            session_id=event.session_id,
            evidence=event.evidence,
            last_sign_at=event.last_sign_at,
            by=self.session_id,
        )
        return [m.Bury(loss)]

    # Claims and runs

    def _has_room(self, peer: Session) -> bool:
        """Whether a peer may ask for the same tasks; one of several slots may have a free one."""
        spec = peer.spec
        return (
            spec.session_id != self.session_id
            and spec.pool == self.config.pool
            and not self._graphs.isdisjoint(spec.graphs)
            and (spec.concurrency > 1 or spec.session_id not in self._holders)
        )

    def _ask_after(self, seconds: float, now: float) -> m.Command:
        """Ask for tasks after a while; others that wait as long do not ask at that moment."""
        seconds = pacing.poll_seconds(seconds, self._standbys, self._draw())
        self._claim_at = now + seconds
        return m.SetTimer(_CLAIM, self._claim_at)

    def _woken(self, now: float) -> list[m.Command]:
        """There is something to claim, and everybody with room was told so."""
        if self._standbys <= pacing.PROMPT:
            return self._claim_if_room()
        if self._awake:
            # A second draw would only ever bring it forward, and every wake that of everybody.
            return []
        self._awake = True
        return [] if self._claim_in_flight else self._wait_for_a_slot(now)

    def _wait_for_a_slot(self, now: float) -> list[m.Command]:
        at = now + pacing.wake_seconds(self._standbys, self._draw())
        if self._claim_at <= at:
            return []
        self._claim_at = at
        return [m.SetTimer(_CLAIM, at)]

    def _claim_if_room(self) -> list[m.Command]:
        room = self.config.concurrency - len(self.runs)
        blocked = self._alone is not None or (self._alone_waiting and bool(self.runs))
        # What a session in doubt wins it would give back at once.
        doubt = self._doubtful or self._failed_since_ack
        idle = self.session_id is None or self._draining or self._stopping or doubt
        if idle or blocked or self._claim_in_flight or room <= 0:
            return []
        assert self.session_id is not None
        self._claim_in_flight = True
        self._awake = False
        return [m.TryClaim(self.session_id, room, len(self.runs))]

    def _claim_done(self, event: m.ClaimDone, now: float) -> list[m.Command]:
        self._claim_in_flight = False
        claims = event.claims
        self._alone_waiting = claims.alone_waiting
        if self._draining or self._stopping:
            # What was won while we were leaving is released by the end of the session.
            return [] if self.runs else self._stop(TakeoverReason.DRAINED)
        commands: list[m.Command] = []
        for claim in claims.won:
            self.runs.add(claim.key)
            self._alone = claim.key if claim.alone else self._alone
            commands.append(m.StartRun(claim))
        nothing_left = not self.runs and not event.outstanding and not claims.won
        if self.config.until_idle and nothing_left:
            return self._drain(now)
        self._holders = claims.holders
        commands.append(self._ask_after(self.config.poll_seconds, now))
        if claims.more:
            return [*commands, *self._claim_if_room()]
        # Told while the answer was on its way, which may not know of it.
        return [*commands, *(self._wait_for_a_slot(now) if self._awake else ())]

    def _run_ended(self, event: m.RunEnded) -> list[m.Command]:
        self.runs.discard(event.key)
        if event.key == self._alone:
            self._alone = None
        if event.store_trouble and event.key.session_id == self.session_id:
            # The lease may still be ours in the store; only a new session makes that sure.
            self._doubtful = True
            self._suspect = self._suspect or event.suspect
        if self._draining and not self.runs:
            return self._stop(TakeoverReason.DRAINED) if self.session_id else [m.Exit()]
        return self._claim_if_room()

    # The end

    def _drain(self, now: float) -> list[m.Command]:
        self._draining = True
        if self.session_id is None:
            return [m.Exit()]
        self._drain_until = min(self._drain_until, now + self.config.drain_timeout_seconds)
        leave = m.SetTimer(_LEAVE, self._drain_until + self.config.margin_seconds)
        if not self.runs and not self._claim_in_flight:
            return [leave, *self._stop(TakeoverReason.DRAINED)]
        return [
            leave,
            m.DrainSession(self.session_id),
            m.DrainRuns(),
            m.SetTimer(_DRAIN, self._drain_until),
        ]

    def _stop(
        self, reason: TakeoverReason, why: str = "stopped", *, cut_off: bool = False
    ) -> list[m.Command]:
        if self.session_id is None or self._stopping:
            return []
        self._stopping = True
        self._stop_reason, self._cut_off = reason, cut_off
        return [m.LoseRuns(self.session_id, why), m.StopSession(self.session_id, reason, cut_off)]
