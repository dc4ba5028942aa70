"""Continuity: nothing lost, nothing done twice, nobody superseded, judged from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from baton.domain.continuity import bounds, contents, leases
from baton.domain.continuity.lease_words import lease_words
from baton.domain.continuity.model import Outcome, Trial, Verdict
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import FOUND, NEEDS, Assertion, judged
from baton.domain.continuity.watch import LEDGER_ONLY, Watch

_ORDER = (
    *(f"C{number}" for number in range(1, 15)),
    *(f"L{number}" for number in range(1, 5)),
    *(f"V{number}" for number in range(1, 4)),
)

#: The modules that enter assertions by being imported.
_GROUPS = (contents, leases, bounds)

#: Every assertion by its id, in the order in which they are judged and told.
ASSERTIONS: Mapping[str, Assertion] = {name: FOUND[name] for name in _ORDER}

_WORST_FIRST = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS)


def judge(trial: Trial, ids: Iterable[str] | None = None) -> tuple[Verdict, ...]:
    """Hold a trial against the assertions.

    Args:
        trial: everything that is known of it.
        ids: the assertions to judge; None for all.

    Returns:
        A verdict for each, in the order of ``ASSERTIONS``.

    Raises:
        ValueError: an id is none.
    """
    wanted = set(ASSERTIONS if ids is None else ids)
    if odd := sorted(wanted - ASSERTIONS.keys()):
        raise ValueError(f"no assertion is called {odd[0]}")
    reading = Reading(trial)
    return tuple(judged(found, reading) for name, found in ASSERTIONS.items() if name in wanted)


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of some outcomes; unknown if there are none."""
    found = set(outcomes)
    return next((outcome for outcome in _WORST_FIRST if outcome in found), Outcome.UNKNOWN)


__all__ = [
    "ASSERTIONS",
    "LEDGER_ONLY",
    "NEEDS",
    "Assertion",
    "Outcome",
    "Trial",
    "Verdict",
    "Watch",
    "judge",
    "lease_words",
    "merge",
]
