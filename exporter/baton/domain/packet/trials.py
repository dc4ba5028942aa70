"""Scenarios, soak and kill matrix of a packet, each judged again from what it left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from baton.domain.continuity import judge
from baton.domain.continuity.concluding import Judgement, Result, conclude, with_beside
from baton.domain.continuity.kept import beside_in, trial_of, wanted_in
from baton.domain.continuity.model import Outcome, Trial
from baton.domain.figures import failure_bound
from baton.domain.gate.words import Status
from baton.domain.ledger import GENESIS, event_from_dict
from baton.domain.packet.layout import KILL_MATRIX, SCENARIOS, SCENARIOS_PROC, SOAK
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import Row, Why
from baton.domain.soaks import counts_of, head_after, judgement_of

#: How the reason of a scenario begins that an engine cannot perform.
REFUSED = "refused: "

_STATUSES = {
    Judgement.PASS: Status.PASS,
    Judgement.FAIL: Status.FAIL,
    Judgement.INCONCLUSIVE: Status.INCONCLUSIVE,
    Judgement.ERROR: Status.ERROR,
}
_NAMED = 4
_SHOWN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One scenario as a packet has it.

    Attributes:
        refused: the engine said that it cannot perform it, and why.
        unfired: faults that nobody saw happen.
        differs: what was kept is not what its evidence leads to.
    """

    id: str
    path: str
    judgement: Judgement
    reason: str
    refused: bool = False
    unfired: tuple[str, ...] = ()
    differs: str = ""


def shown(evidence: Evidence, folder: str) -> list[Shown]:
    """Every scenario of a folder, judged again.

    Raises:
        Unreadable: the folder has no summary, or one that cannot be read.
    """
    if folder not in evidence.memo:
        evidence.memo[folder] = _all_shown(evidence, folder)
    found: list[Shown] = evidence.memo[folder]
    return found


def _all_shown(evidence: Evidence, folder: str) -> list[Shown]:
    summary = evidence.json(f"{folder}/summary.json")
    try:
        return [_again(evidence, folder, one) for one in summary["scenarios"]]
    except (KeyError, TypeError) as error:
        raise Unreadable(f"{folder}/summary.json", f"lacks {error}") from error


def _again(evidence: Evidence, folder: str, told: Mapping[str, Any]) -> Shown:
    place = f"{folder}/{told['id']}"
    kept = Judgement(told["judgement"])
    path = f"{place}/result.json.gz"
    if path not in evidence:
        return Shown(id=told["id"], path=path, judgement=kept, reason="", differs="has no result")
    if f"{place}/trial.json.gz" not in evidence:
        # Nothing was performed, and so it cannot have passed.
        refused = str(told["reason"]).startswith(REFUSED)
        said = "passed, and left no trial" if kept is Judgement.PASS else ""
        return Shown(
            id=told["id"],
            path=path,
            judgement=kept,
            reason=told["reason"],
            refused=refused and kept is Judgement.INCONCLUSIVE,
            differs=said,
        )
    result, facts = _judged(evidence, place)
    return Shown(
        id=told["id"],
        path=path,
        judgement=result.judgement,
        reason=result.reason,
        unfired=tuple(one["name"] for one in facts["faults"] or () if not one["fired"]),
        differs=_apart(evidence, place, told, result),
    )


def _judged(evidence: Evidence, place: str) -> tuple[Result, Mapping[str, Any]]:
    facts = evidence.json(f"{place}/trial.json.gz")
    try:
        trial = trial_of(
            facts,
            [event_from_dict(one) for one in evidence.lines(f"{place}/ledger.jsonl.gz")],
            evidence.lines(f"{place}/trace.jsonl.gz"),
        )
        result = conclude(
            wanted_in(facts),
            trial,
            fired=facts["fired"],
            unwatched=facts["unwatched"],
            asked_only=facts["asked_only"],
        )
        for one in beside_in(facts):
            result = with_beside(result, one)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{place}/trial.json.gz", f"is no trial: {error}") from error
    return result, facts


def _apart(evidence: Evidence, place: str, told: Mapping[str, Any], result: Result) -> str:
    """Where what was kept is not what the evidence leads to."""
    kept = evidence.json(f"{place}/result.json.gz")
    if (kept["judgement"], kept["reason"]) != (result.judgement.value, result.reason):
        return f"kept as {kept['judgement']}, and its evidence says {result.judgement}"
    again = [
        {**asdict(one), "outcome": one.outcome.value, "asked": one.assertion in result.asked}
        for one in result.verdicts
    ]
    if json.loads(json.dumps(again)) != kept["assertions"]:
        return "the verdicts of its assertions are not those of its evidence"
    if [asdict(one) for one in result.expectations] != kept["expectations"]:
        return "its expectations are not what its evidence shows"
    if told["judgement"] != kept["judgement"] or told["evidence_digest"] != _digest(
        evidence, place
    ):
        return "the summary tells of other evidence"
    return ""


def _digest(evidence: Evidence, place: str) -> str:
    """The digest that the summary gives, over the files as they were before they were packed."""
    whole = hashlib.sha256()
    names = {name.removesuffix(".gz"): name for name in evidence.below(place)}
    for plain in sorted(names):
        digest = hashlib.sha256(evidence.data(names[plain])).hexdigest()
        whole.update(f"{plain.rpartition('/')[2]}\0{digest}\n".encode())
    return whole.hexdigest()


# Rows


def scenario_rows(evidence: Evidence) -> Iterator[Row]:
    """A row for each engine."""
    for folder, id_, engine in (
        (SCENARIOS, "SCENARIOS-SIM", "in virtual time"),
        (SCENARIOS_PROC, "SCENARIOS-PROC", "with real processes and signals"),
    ):
        question = f"Did every chaos scenario pass {engine}?"
        action = f"Replay what did not pass; the command is in the summary of {folder}."
        path = f"{folder}/summary.json"
        try:
            found = shown(evidence, folder)
            passed = {one.id for one in shown(evidence, SCENARIOS) if _fine(one)}
        except Unreadable as error:
            yield unread(id_, question, error)
            continue
        status, why, detail = _of_scenarios(found, passed)
        worst = [one.path for one in found if not _fine(one)]
        yield Row(
            id=id_,
            question=question,
            status=status,
            why=why,
            detail=detail,
            evidence=[evidence.pointer(path, "/scenarios"), *map(evidence.pointer, worst)],
            next_action="" if status is Status.PASS else action,
        )


def _fine(one: Shown) -> bool:
    return one.judgement is Judgement.PASS and not one.differs


def _of_scenarios(found: list[Shown], passed: set[str]) -> tuple[Status, Why, str]:
    """The worst of some scenarios; what an engine refuses has to pass on the other."""
    if differing := [one for one in found if one.differs]:
        said = "; ".join(f"{one.id}: {one.differs}" for one in differing[:_NAMED])
        return Status.FAIL, Why.DIFFERS, said
    performed = [one for one in found if not one.refused]
    refused = [one for one in found if one.refused]
    bad = [one for one in performed if one.judgement is not Judgement.PASS]
    if bad:
        order = list(Judgement)
        worst = max((one.judgement for one in bad), key=order.index)
        why = Why.NOT_SHOWN if worst is Judgement.INCONCLUSIVE else Why.BROKEN
        said = "; ".join(f"{one.id} {one.judgement}: {one.reason}"[:_SHOWN] for one in bad[:_NAMED])
        return _STATUSES[worst], why, f"{len(bad)} of {len(performed)} did not pass: {said}"
    if not performed:
        return Status.INCONCLUSIVE, Why.NOT_SHOWN, "nothing was performed"
    if alone := [one.id for one in refused if one.id not in passed]:
        said = f"{', '.join(alone)} refused here, and not passed on any other engine"
        return Status.INCONCLUSIVE, Why.NOT_SHOWN, said
    more = f"; {len(refused)} that it cannot perform pass in virtual time" if refused else ""
    return Status.PASS, Why.OK, f"{len(performed)} performed, all pass{more}"


def soak_row(evidence: Evidence) -> Row:
    """What the soak comes to, counted and chained again."""
    question = "Did the soak pass, and were its faults seen to happen?"
    try:
        soak = evidence.json(f"{SOAK}/soak.json")
        lines = evidence.data(f"{SOAK}/cycles.jsonl.gz").decode().splitlines()
        counts = counts_of(json.loads(line) for line in lines)
        head = GENESIS
        for line in lines:
            head = head_after(head, line)
        told, bound = dict(soak["counts"]), soak["failure_probability_of_a_cycle_at_most"]
        kept = Judgement(soak["judgement"])
        told["simulated_us"] = counts["simulated_us"]
    except Unreadable as error:
        return unread("SOAK", question, error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return unread("SOAK", question, Unreadable(f"{SOAK}/soak.json", f"is no soak: {error}"))
    found = judgement_of(counts)
    failed = counts["failed"] + counts["errors"]
    right = failure_bound(failed, counts["cycles"]) if counts["cycles"] else None
    said = (
        f"{counts['cycles']} cycles, {counts['takeovers']} takeovers, {counts['faults_fired']} of"
        f" {counts['faults_planned']} faults fired, {counts['violations']} violations"
    )
    status, why = _STATUSES[found], Why.OK
    if head != soak.get("final_digest") or told != counts or kept is not found or bound != right:
        status, why = Status.FAIL, Why.DIFFERS
        said = f"soak.json is not what its cycles lead to; they say {found}, {said}"
    elif found is not Judgement.PASS:
        why = Why.NOT_SHOWN if found is Judgement.INCONCLUSIVE else Why.BROKEN
        if not counts["faults_fired"]:
            said = f"no fault was seen to happen, so nothing was shown: {said}"
    return Row(
        id="SOAK",
        question=question,
        status=status,
        why=why,
        detail=said,
        evidence=[
            evidence.pointer(f"{SOAK}/soak.json", "/judgement"),
            evidence.pointer(f"{SOAK}/cycles.jsonl.gz"),
        ],
        next_action="" if status is Status.PASS else "Look at soak/not-passed, and soak again.",
    )


def kill_matrix_row(evidence: Evidence) -> Row:
    """Whether every assertion was seen to fail, and every planted bug was caught."""
    question = "Can the checkers fail: is every planted bug caught, by every assertion one?"
    try:
        matrix = evidence.json(KILL_MATRIX)
        bugs, same, harness = matrix["bugs"], matrix["same"], set(matrix["harness"])
        killed = frozenset(
            name
            for bug, caught in bugs.items()
            if bug not in harness
            for names in caught.values()
            for name in names
        )
        escaped = sorted(bug for bug, caught in bugs.items() if not caught and bug not in same)
        odd = sorted(bug for bug, caught in bugs.items() if caught and bug in same)
    except Unreadable as error:
        return unread("KILL-MATRIX", question, error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return unread("KILL-MATRIX", question, Unreadable(KILL_MATRIX, f"is none: {error!r}"))
    (verdict,) = judge(Trial(events=(), mutants_killed=killed), ["V2"])
    status, why = Status.PASS, Why.OK
    said = f"{len(bugs)} planted bugs, {len(same)} of them without effect; {verdict.text}"
    if escaped or odd or verdict.outcome is not Outcome.PASS:
        status, why = Status.FAIL, Why.BROKEN
        if escaped or odd:
            said = f"nothing caught {', '.join(escaped)}" if escaped else f"{odd[0]} has an effect"
    return Row(
        id="KILL-MATRIX",
        question=question,
        status=status,
        why=why,
        detail=said,
        evidence=[evidence.pointer(KILL_MATRIX, "/bugs")],
        next_action="" if status is Status.PASS else "Write the scenario or check that is missing.",
    )


def unread(id_: str, question: str, error: Unreadable) -> Row:
    """The row of a criterion whose evidence is not there or cannot be read."""
    return Row(
        id=id_,
        question=question,
        status=Status.INCONCLUSIVE if error.missing else Status.ERROR,
        why=Why.NO_EVIDENCE if error.missing else Why.UNREADABLE,
        detail=f"{error.path} {error.text}",
        next_action="Run `make release-check` to its end, and build the packet from what it left.",
    )
