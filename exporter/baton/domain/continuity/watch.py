"""What the ledger alone proves or breaks, one event at a time: at bounded cost for each.

The checks of ``baton.domain.checks`` find what is wrong with an event; here each finding is laid
to the assertion that it breaks, and what spans several chains or events is added.
"""

from __future__ import annotations

from collections.abc import Iterable

from baton.domain.continuity.tally import Tally, line_of
from baton.domain.ledger import Event
from baton.domain.verify import Finding
from baton.domain.words import SESSION_EVENTS, EventType, Evidence, TakeoverReason

_E = EventType

#: The assertions that need the ledger and nothing else.
LEDGER_ONLY = ("C2", "C3", "C4", "C5", "C6", "C9", "C10", "C12", "L4")

#: What a holder writes of its work.
WRITES = frozenset({_E.RESUMED, _E.STEP, _E.EFFECT, _E.EFFECT_DEDUPLICATED})
#: How a holder gives a task back, whatever the task has come to.
ENDS = frozenset({_E.RELEASED, _E.DRAINED, _E.INTERRUPTED, _E.DONE, _E.FAILED})
_RENEWALS = frozenset({_E.HEARTBEAT_LATE, _E.SESSION_STOPPED})
_EFFECTS = frozenset({_E.EFFECT, _E.EFFECT_DEDUPLICATED})
_LOSSES = frozenset({TakeoverReason.CRASHED, TakeoverReason.HEARTBEAT_LOST})

#: Checks that find somebody to be no holder.
_FOREIGN = frozenset({"holder_mismatch", "epoch_regressed", "impossible_order"})


def _checked_by(type_: str) -> Iterable[str]:
    """The assertions that an event of a type is held against."""
    yield "C10"
    if type_ in {*EventType} - {_E.FAULT_INJECTED}:
        yield "C9"
    if type_ in WRITES:
        yield "C3"
    if type_ in ENDS or type_ in _RENEWALS:
        yield "C12"
    if type_ == _E.STEP:
        yield "C4"
    if type_ == _E.CLAIMED:
        yield "C5"
    if type_ in {*EventType} - {*SESSION_EVENTS, _E.SUBMITTED, _E.FAULT_INJECTED}:
        yield "C6"


_CHECKED_BY = {type_.value: tuple(_checked_by(type_.value)) for type_ in EventType}


def _broken_by(check: str, type_: str) -> set[str]:
    """The assertions that a finding breaks; what no other owns is the ledger's integrity."""
    broken = set()
    if check in _FOREIGN:
        broken |= {"C3"} if type_ in WRITES else set()
        broken |= {"C12"} if type_ in ENDS or type_ in _RENEWALS else set()
    if type_ == _E.CLAIMED and check in _FOREIGN | {"negative_time"}:
        broken.add("C5")
    owner = {"epoch_regressed": "C6", "impossible_order": "C9", "step_discontinuous": "C4"}
    broken |= {owner[check]} if check in owner else set()
    return broken or {"C10"}


class Watch:
    """Follows a ledger, with the findings that a ``Verifier`` has of each event.

    It remembers the effect keys of tasks that are not done, and what became of each session.

    Attributes:
        tallies: by assertion, those of ``LEDGER_ONLY``.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self.tallies = {name: Tally() for name in LEDGER_ONLY}
        self._keys: dict[str, dict[str, str]] = {}
        self._cut: set[str] = set()
        self._ttl_us: dict[str, int] = {}
        self._ended_at: dict[str, tuple[int, str]] = {}
        self._waiting: dict[str, list[tuple[int, str]]] = {}

    def apply(self, event: Event, findings: Iterable[Finding]) -> None:
        """Take the next event, and what a verifier found wrong with it."""
        found, wrong = tuple(findings), dict[str, str]()
        for finding in found:
            for name in _broken_by(finding.check, event.type):
                wrong.setdefault(name, str(finding))
        line = line_of(event)
        for name in _CHECKED_BY.get(event.type, ("C10",)):
            self.tallies[name].check(wrong.pop(name, None), line)
        for name, detail in wrong.items():
            self.tallies[name].check(detail, line)
        if any(finding.check == "event_missing" for finding in found):
            # What came before is not known: an effect may have been recorded there.
            self._cut.add(event.chain)
        self._note(event, line)

    def finish(self, findings: Iterable[Finding]) -> None:
        """Take what a verifier could only find at the end: a seal that is not met."""
        for finding in findings:
            self.tallies["C10"].check(str(finding), f"{finding.chain}#{max(finding.n, 0)}")

    def _note(self, event: Event, line: str) -> None:
        if event.type in _EFFECTS:
            self._effect(event, line)
        elif event.type == _E.DONE:
            # Nothing is written after it, or it breaks C3, until a thread is leased again.
            self._keys.pop(event.chain, None)
            self._cut.discard(event.chain)
        elif event.type == _E.CLAIMED:
            self._claimed(event, line)
        elif event.type == _E.SESSION_STARTED:
            ttl_us = event.data.get("ttl_us")
            if type(ttl_us) is int and event.session_id:
                self._ttl_us[event.session_id] = ttl_us
        elif event.type in (_E.SESSION_LOST, _E.SESSION_STOPPED):
            self._session_over(event, line)

    def _effect(self, event: Event, line: str) -> None:
        key = event.data.get("effect_key")
        if not isinstance(key, str):
            return
        known = self._keys.setdefault(event.chain, {})
        first, again = known.get(key), event.type == _E.EFFECT_DEDUPLICATED
        if again:
            lost = first is None and event.chain not in self._cut
            wrong = f"{key[:12]} is answered from a record that is not there" if lost else None
            self.tallies["C2"].check(wrong, line)
        elif first is None:
            self.tallies["C2"].check(None, line)
            known[key] = line
        else:
            self.tallies["C2"].check(f"{key[:12]} is recorded twice", first, line)

    def _claimed(self, event: Event, line: str) -> None:
        anew = event.reason is None and event.n > 1 and event.chain not in self._keys
        if anew and event.data.get("external"):
            # What an earlier run of the thread recorded was forgotten with its end.
            self._cut.add(event.chain)
        before = event.data.get("previous_session")
        if event.reason not in _LOSSES or not isinstance(before, str):
            return
        ended = self._ended_at.get(before)
        if ended is None:
            # The record of a loss may come behind that of the claim.
            self._waiting.setdefault(before, []).append((event.at, line))
        elif ended[0] > event.at:
            detail = f"{line} was claimed before its holder was lost"
            self.tallies["C5"].violate(detail, line, ended[1])

    def _session_over(self, event: Event, line: str) -> None:
        session, data = event.session_id or "", event.data
        lost_at = data.get("lost_at") if event.type == _E.SESSION_LOST else None
        ended_at = lost_at if type(lost_at) is int else event.at
        self._ended_at[session] = (ended_at, line)
        for at, claim in self._waiting.pop(session, ()):
            if ended_at > at:
                detail = f"{claim} was claimed before its holder was lost"
                self.tallies["C5"].violate(detail, claim, line)
        ttl_us, silence_us = self._ttl_us.pop(session, None), data.get("silence_us")
        by_silence = event.type == _E.SESSION_LOST and data.get("evidence") == Evidence.TTL
        if by_silence and ttl_us is not None and type(silence_us) is int:
            early = f"{session} was silent for {silence_us} us of a TTL of {ttl_us} us"
            self.tallies["L4"].check(early if silence_us < ttl_us else None, line)
