"""What remains open though everything else holds: generated from the evidence, each with an owner.

Nothing here is written by hand. A risk comes of a fact that the packet itself contains, names it,
and goes away only with the fact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from baton.domain.figures import failure_bound
from baton.domain.gate.words import Status
from baton.domain.packet.layout import (
    GATE_INPUTS,
    KILL_MATRIX,
    LEDGER,
    LOG,
    RELEASE,
    SCENARIOS,
    SCENARIOS_PROC,
    SEAL,
    SOAK,
)
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import OWNER, Row
from baton.domain.packet.trials import Shown, shown
from baton.domain.takeovers import Takeover, TakeoverTracker

#: From so many values on, a 95th percentile can be bounded by the largest of them.
_P95_MIN = 59
_FLEET_OWNER = "fleet owner"
_ENGINES = {SCENARIOS: "sim", SCENARIOS_PROC: "proc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """One thing that the evidence leaves open.

    Attributes:
        id: its name, the same as long as the fact is.
        kind: what sort of fact it comes of.
        text: the fact.
        trigger: what would make it matter.
        mitigation: what is done about it meanwhile.
        evidence: where the fact is, from ``Evidence.pointer``.
    """

    id: str
    kind: str
    text: str
    trigger: str
    mitigation: str
    owner: str = OWNER
    evidence: Sequence[dict[str, str]] = ()

    def to_plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "evidence": list(self.evidence)}


def risks_of(evidence: Evidence, rows: Iterable[Row]) -> list[Risk]:
    """Every risk that the evidence shows, the gravest kinds first.

    Args:
        evidence: of the packet.
        rows: its criteria.
    """
    makers = (
        _of_rows(evidence, rows),
        _unsigned(evidence),
        _survivors(evidence),
        _engines(evidence),
        _left_out(evidence),
        _refusals_and_faults(evidence),
        _soak(evidence),
        _waivers(evidence),
        _small_numbers(evidence),
        _unsealed(evidence),
        _words(evidence, rows),
    )
    return [risk for found in makers for risk in found]


def _of_rows(evidence: Evidence, rows: Iterable[Row]) -> Iterator[Risk]:
    del evidence
    for row in rows:
        if row.status in (Status.WAIVED, Status.WARN):
            yield Risk(
                id=f"RESERVATION-{row.id}",
                kind="reservation",
                text=f"{row.id} is {row.status}: {row.detail}",
                trigger="It gets worse, or the waiver ends.",
                mitigation=row.next_action or "Read what the gate says of it.",
                owner=row.owner,
                evidence=row.evidence,
            )


def _unsigned(evidence: Evidence) -> Iterator[Risk]:
    release = _json(evidence, RELEASE)
    if not release.get("signed_by"):
        yield Risk(
            id="UNSIGNED",
            kind="unsigned",
            text="The packet is unsigned: hashes show that it is whole, not who made it. Whoever"
            " can write all of its files can make another one that verifies.",
            trigger="Somebody who has to trust it did not get it from somebody they trust.",
            mitigation="Compare the manifest's root with one that came another way, or build it"
            " with `baton packet build --sign KEY`.",
            evidence=[evidence.pointer(RELEASE, "/signed_by")],
        )
    if release.get("tree_clean") is not True or not release.get("commit"):
        yield Risk(
            id="UNKNOWN-SOURCE",
            kind="unknown source",
            text="Nothing says that the tree was exactly one commit when this was made.",
            trigger="Somebody has to build the same again.",
            mitigation="Run `make release-check` on a clean checkout.",
            evidence=[evidence.pointer(RELEASE, "/tree_clean")],
        )


def _survivors(evidence: Evidence) -> Iterator[Risk]:
    matrix = _json(evidence, KILL_MATRIX)
    same = matrix.get("same") or {}
    for bug, caught in sorted((matrix.get("bugs") or {}).items()):
        if not caught:
            reason = same.get(bug)
            yield Risk(
                id=f"SURVIVOR-{bug}",
                kind="surviving planted bug",
                text=f"No scenario catches the planted bug {bug}"
                + (f", which is said to change nothing: {reason}." if reason else "."),
                trigger="What makes it harmless is changed; the fence, for most of them.",
                mitigation="`make lint` fails when it is caught and said to be harmless, or the"
                " other way round; read the argument at each change of the store.",
                evidence=[evidence.pointer(KILL_MATRIX, f"/bugs/{bug}")],
            )


def _engines(evidence: Evidence) -> Iterator[Risk]:
    for folder, engine in _ENGINES.items():
        if f"{folder}/summary.json" not in evidence:
            yield Risk(
                id=f"ENGINE-{engine}",
                kind="engine not tested",
                text=f"No scenario was performed by the engine {engine}.",
                trigger="A release is decided on by this packet.",
                mitigation=f"`baton scenario run --engine {engine}`; see STAGE rows for why not.",
                evidence=[evidence.pointer(LOG)],
            )
    environment = _json(evidence, f"{SCENARIOS_PROC}/environment.json")
    if environment and environment.get("store", "sqlite") != "postgresql":
        yield Risk(
            id="STORE-postgresql",
            kind="engine not tested",
            text="Real processes were tried on SQLite only; PostgreSQL has its tests, and none of"
            " this packet's scenarios.",
            trigger="A fleet over several hosts, which is what PostgreSQL is for.",
            mitigation="`baton scenario run --engine proc --store postgresql` before it is used.",
            evidence=[evidence.pointer(f"{SCENARIOS_PROC}/environment.json")],
        )


def _left_out(evidence: Evidence) -> Iterator[Risk]:
    by_engine = {folder: {one.id for one in _shown(evidence, folder)} for folder in _ENGINES}
    every = set().union(*by_engine.values())
    for folder, engine in _ENGINES.items():
        missing = sorted(every - by_engine[folder])
        if by_engine[folder] and missing:
            yield Risk(
                id=f"LEFT-OUT-{engine}",
                kind="engine not tested",
                text=f"{len(missing)} scenarios were not tried by {engine}: {', '.join(missing)}.",
                trigger="What they show differs between virtual time and a real machine.",
                mitigation=f"`baton scenario run --engine {engine}` tries all of them.",
                evidence=[evidence.pointer(f"{folder}/summary.json", "/scenarios")],
            )


def _refusals_and_faults(evidence: Evidence) -> Iterator[Risk]:
    for folder, engine in _ENGINES.items():
        for one in _shown(evidence, folder):
            if one.refused:
                yield Risk(
                    id=f"REFUSED-{engine}-{one.id}",
                    kind="engine not tested",
                    text=f"{one.id} was not performed by {engine}: {one.reason}",
                    trigger="What it shows differs between virtual time and a real machine.",
                    mitigation="It passes on the other engine; drill it by hand (docs/runbook.md).",
                    evidence=[evidence.pointer(one.path, "/reason")],
                )
            for name in one.unfired:
                yield Risk(
                    id=f"UNFIRED-{engine}-{one.id}-{name}",
                    kind="fault not fired",
                    text=f"The fault {name!r} of {one.id} was not seen to happen on {engine}.",
                    trigger="What it would have broken is broken for the first time in production.",
                    mitigation="The scenario does not rest on it (`must_fire`), or it would not"
                    " have passed.",
                    evidence=[evidence.pointer(f"{folder}/{one.id}/trial.json.gz", "/faults")],
                )


def _soak(evidence: Evidence) -> Iterator[Risk]:
    soak = _json(evidence, f"{SOAK}/soak.json")
    if not soak:
        return
    pointer = [evidence.pointer(f"{SOAK}/soak.json", "/counts")]
    counts = soak.get("counts") or {}
    planned, fired = counts.get("faults_planned", 0), counts.get("faults_fired", 0)
    if fired < planned:
        yield Risk(
            id="SOAK-UNFIRED",
            kind="fault not fired",
            text=f"The soak planned {planned} faults and {fired} fired; the others waited for a"
            " moment that did not come before their fleet was done.",
            trigger="The moments that did not come are the ones that matter.",
            mitigation="Directed scenarios have to see each of their faults happen.",
            evidence=pointer,
        )
    bound = soak.get("failure_probability_of_a_cycle_at_most")
    if isinstance(bound, float):
        yield Risk(
            id="SOAK-BOUND",
            kind="small numbers",
            text=f"The soak's {counts.get('cycles')} cycles bound the probability that one fails"
            f" only by {bound:.2g}, at 95 %, and in virtual time ({soak.get('engine')}).",
            trigger="A fleet lives through more takeovers than the soak did.",
            mitigation="`make soak` goes on for an hour; longer is better.",
            evidence=pointer,
        )


def _waivers(evidence: Evidence) -> Iterator[Risk]:
    policy = _json(evidence, GATE_INPUTS).get("policy") or {}
    for number, one in enumerate(policy.get("waivers") or ()):
        yield Risk(
            id=f"WAIVER-{one['criterion']}",
            kind="waiver",
            text=f"{one['owner']} answers for {one['criterion']} until {one['expires']}:"
            f" {one['reason']}",
            trigger=f"It fails, or it is later than {one['expires']}.",
            mitigation="Mend what it covers before it ends.",
            owner=one["owner"],
            evidence=[evidence.pointer(GATE_INPUTS, f"/policy/waivers/{number}")],
        )


def _small_numbers(evidence: Evidence) -> Iterator[Risk]:
    for folder, engine in _ENGINES.items():
        found = [one for one in _shown(evidence, folder) if not one.refused]
        if found:
            bound = failure_bound(0, len(found))
            yield Risk(
                id=f"FEW-SCENARIOS-{engine}",
                kind="small numbers",
                text=f"{len(found)} scenarios on {engine}, each once: even if all pass, were they"
                f" drawn at random, up to {bound:.0%} of such could fail (95 %). They are chosen"
                " by hand, so even that is no bound.",
                trigger="A failure that no scenario names.",
                mitigation="`baton scenario run --swarm`, and the soak, draw others at random.",
                evidence=[evidence.pointer(f"{folder}/summary.json", "/scenarios")],
            )
    counts = Counter(
        one.reason.value for one in takeovers_of(evidence) if one.restored_at is not None
    )
    few = {reason: n for reason, n in sorted(counts.items()) if n < _P95_MIN}
    if few:
        said = ", ".join(f"{n} {reason}" for reason, n in few.items())
        yield Risk(
            id="FEW-TAKEOVERS",
            kind="small numbers",
            text=f"The fleet's ledger has few takeovers ({said}): their longest is a maximum and"
            f" no percentile, for which {_P95_MIN} are needed.",
            trigger="A takeover in production is slower than any that was seen here.",
            mitigation="The alert BatonTakeoverSlow measures each one; `make bench` has more.",
            owner=_FLEET_OWNER,
            evidence=[evidence.pointer(LEDGER)],
        )


def _unsealed(evidence: Evidence) -> Iterator[Risk]:
    text = "The ledger has no seal: whoever owns its store could have written another one."
    if SEAL in evidence:
        text = "The ledger's seal was made by whoever made the packet, and lies beside it."
    if LEDGER in evidence:
        yield Risk(
            id="SEAL",
            kind="unsigned",
            text=text,
            trigger="Somebody doubts whoever runs the store.",
            mitigation="Keep `baton ledger export --seal` out of reach of the store's owner.",
            owner=_FLEET_OWNER,
            evidence=[evidence.pointer(SEAL if SEAL in evidence else LEDGER)],
        )


def _words(evidence: Evidence, rows: Iterable[Row]) -> Iterator[Risk]:
    taken = [row.id for row in rows if not row.recomputed]
    if taken:
        yield Risk(
            id="TAKEN-AT-THEIR-WORD",
            kind="not recomputed",
            text="A verifier cannot judge these again, only see what they printed:"
            f" {', '.join(taken)}.",
            trigger="The machine that ran them was not what it seems.",
            mitigation="Run `make release-check` on a checkout of the same commit.",
            evidence=[evidence.pointer(LOG)],
        )


def takeovers_of(evidence: Evidence) -> list[Takeover]:
    """The takeovers in the fleet's ledger, each as far as it came."""
    try:
        events = evidence.events(LEDGER)
    except Unreadable:
        return []
    tracker, found = TakeoverTracker(), dict[tuple[str, int], Takeover]()
    for event in events:
        for reached in tracker.apply(event):
            found[reached.task_id, reached.epoch] = reached
    return list(found.values())


def _shown(evidence: Evidence, folder: str) -> list[Shown]:
    try:
        return shown(evidence, folder)
    except Unreadable:
        return []  # a criterion says so


def _json(evidence: Evidence, path: str) -> Mapping[str, Any]:
    try:
        found = evidence.json(path)
    except Unreadable:
        return {}  # a criterion says so
    return found if isinstance(found, dict) else {}
