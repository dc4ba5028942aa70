"""The gate, the ledger and the report of a packet, each judged again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from baton.domain.continuity import ASSERTIONS, Outcome, Trial, judge
from baton.domain.gate import telling
from baton.domain.gate.answers import Answer
from baton.domain.gate.bench import LEDGER as KEPT_LEDGER
from baton.domain.gate.bench import Case, Verdict
from baton.domain.gate.bench import judge as judge_gate
from baton.domain.gate.plan import Ask
from baton.domain.gate.portable import policy_from_plain, rules_from_plain
from baton.domain.gate.words import Reason, Status
from baton.domain.ledger import Event
from baton.domain.packet.layout import GATE, GATE_INPUTS, LEDGER, REPORT, SEAL
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import Row, Why
from baton.domain.packet.trials import unread
from baton.domain.verify import verify

_EVIDENCE = "evidence/"
_POLICY = "policy.yaml"
_NAMED = 3


def case_of(evidence: Evidence) -> Case:
    """The gate's case as it was kept.

    Raises:
        Unreadable: something of it is missing or is not as it was written.
    """
    index, inputs = evidence.json(f"{GATE}/raw/index.json"), evidence.json(GATE_INPUTS)
    raw = f"{GATE}/raw/"
    try:
        digests = {str(name): str(digest) for name, digest in index["sha256"].items()}
        for name, digest in digests.items():
            if evidence.pointer(f"{raw}{name}")["sha256"] != digest:
                raise Unreadable(f"{raw}{name}", "is not what the gate's index names")
        asks = {_ask(one): one for one in index["answers"]}
        return Case(
            at=float(index["at"]),
            version=index["baton"],
            prometheus=index["prometheus"],
            policy=policy_from_plain(inputs["policy"]),
            policy_sha256=digests[_POLICY],
            store=index["store"],
            answers={ask: _answer(evidence, one) for ask, one in asks.items()},
            places={ask: one["file"] for ask, one in asks.items()},
            digests=digests,
            rules=partial(rules_from_plain, inputs["rules"]),
            evidence={
                name.removeprefix(_EVIDENCE): evidence.data(f"{raw}{name}")
                for name in digests
                if name.startswith(_EVIDENCE)
            },
            ledger=partial(_gate_ledger, evidence),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(GATE_INPUTS, f"is not what a gate kept: {error!r}") from error


def _ask(one: Mapping[str, Any]) -> Ask:
    return Ask(one["path"], tuple((str(name), str(value)) for name, value in one["parameters"]))


def _answer(evidence: Evidence, one: Mapping[str, Any]) -> Answer:
    return Answer(
        failure=None if one["failure"] is None else Reason(one["failure"]),
        detail=one["detail"],
        status=one["status"],
        content_type=one["content_type"],
        body=evidence.files[f"{GATE}/raw/{one['file']}"],
    )


def _gate_ledger(evidence: Evidence) -> list[Event]:
    try:
        return evidence.events(f"{GATE}/raw/{KEPT_LEDGER}")
    except Unreadable as error:
        raise ValueError(str(error)) from error


def gate_rows(evidence: Evidence, *, why_none: str = "") -> Iterator[Row]:
    """A row for each criterion of the gate, judged again, and one for what it left.

    Args:
        evidence: of the packet.
        why_none: why there is no gate, if somebody knows.
    """
    question = "Was the fleet judged by the gate, and does its decision follow from its answers?"
    try:
        case = case_of(evidence)
    except Unreadable as error:
        row = unread("GATE", question, error)
        yield row if not (why_none and error.missing) else _without(row, why_none)
        return
    verdict = judge_gate(case)
    different = [
        name
        for name, data in telling.files(verdict, case).items()
        if evidence.files.get(f"{GATE}/{name}") != data
    ]
    yield Row(
        id="GATE",
        question=question,
        status=Status.FAIL if different else Status.PASS,
        why=Why.DIFFERS if different else Why.OK,
        detail=f"{', '.join(different)} is not what the answers lead to"
        if different
        else f"{len(verdict.results)} criteria, judged again to the same bytes",
        evidence=[evidence.pointer(f"{GATE}/decision.json", "/decision")],
        next_action="Trust the packet's own criteria, and ask who changed it." if different else "",
    )
    yield from _criteria(evidence, case, verdict)


def _without(row: Row, why: str) -> Row:
    return Row(
        id=row.id,
        question=row.question,
        status=row.status,
        why=row.why,
        detail=f"no gate was asked: {why}",
        next_action="Mend that, and run `make release-check` again.",
    )


def _criteria(evidence: Evidence, case: Case, verdict: Verdict) -> Iterator[Row]:
    document = telling.decision(verdict, case)
    for number, row in enumerate(document["criteria"]):
        pointers = [evidence.pointer(f"{GATE}/decision.json", f"/criteria/{number}")]
        pointers += [
            evidence.pointer(f"{GATE}/{one['file']}", one["pointer"]) for one in row["evidence"]
        ]
        yield Row(
            id=row["id"],
            question=row["question"],
            status=Status(row["status"]),
            why=row["reason"],
            detail=row["detail"],
            evidence=pointers,
            next_action=row["next_action"],
            owner=row["owner"],
        )


# The ledger and the report


def ledger_rows(evidence: Evidence) -> Iterator[Row]:
    """The chains of the ledger, what it proves of continuity, and whether the gate saw the same."""
    chains = "Is the fleet's ledger whole: every chain dense, linked and truly hashed?"
    holds = "Does the fleet's ledger show that nothing was lost or done twice?"
    try:
        events, seal = evidence.events(LEDGER), _seal(evidence)
    except Unreadable as error:
        yield unread("LEDGER", chains, error)
        yield unread("CONTINUITY", holds, error)
        return
    pointers = [evidence.pointer(LEDGER)]
    if seal is not None:
        pointers.append(evidence.pointer(SEAL, "/chains"))
    found = verify(events, seal)
    apart = _apart(evidence, events)
    status = Status.FAIL if found or apart else Status.PASS
    said = "; ".join(str(one) for one in found[:_NAMED]) or apart
    yield Row(
        id="LEDGER",
        question=chains,
        status=status if events else Status.INCONCLUSIVE,
        why=(Why.BROKEN if found or apart else Why.OK) if events else Why.NOT_SHOWN,
        detail=said or f"{len(events)} events in {len({one.chain for one in events})} chains hold",
        evidence=pointers,
        next_action="Compare it with a seal or an archive." if found or apart else "",
    )
    yield _continuity(events, seal, holds, pointers)


def _continuity(
    events: list[Event],
    seal: Mapping[str, str] | None,
    question: str,
    pointers: list[dict[str, str]],
) -> Row:
    names = [name for name in ASSERTIONS if not name.startswith("V")]
    verdicts = judge(Trial(events=events, seal=seal), names)
    broken = [one for one in verdicts if one.outcome is Outcome.FAIL]
    checked = [one for one in verdicts if one.checked and one.judged]
    others = ", ".join(one.assertion for one in verdicts if not one.judged)
    status, why = Status.PASS, Why.OK
    said = f"{', '.join(one.assertion for one in checked)} hold"
    if broken:
        status, why = Status.FAIL, Why.BROKEN
        said = "; ".join(f"{one.assertion}: {one.text}" for one in broken[:_NAMED])
    elif not checked:
        status, why, said = Status.INCONCLUSIVE, Why.NOT_SHOWN, "there was nothing to check"
    if others:
        said = f"{said}; {others} need more than a ledger, and are judged by the scenarios"
    return Row(
        id="CONTINUITY",
        question=question,
        status=status,
        why=why,
        detail=said,
        evidence=pointers,
        next_action="Follow docs/runbook.md for the tasks that are named." if broken else "",
    )


def _seal(evidence: Evidence) -> Mapping[str, str] | None:
    if SEAL not in evidence:
        return None
    try:
        return {str(chain): str(head) for chain, head in evidence.json(SEAL)["chains"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(SEAL, f"is no seal: {error!r}") from error


def _apart(evidence: Evidence, events: list[Event]) -> str:
    """Whether the gate judged another ledger than this one."""
    path = f"{GATE}/raw/{KEPT_LEDGER}"
    if path not in evidence:
        return ""
    known = {(one.chain, one.n): one.hash for one in events}
    for one in evidence.events(path):
        if known.get((one.chain, one.n)) != one.hash:
            return f"the gate judged another ledger: {one.chain} event {one.n} is not the same"
    return ""


_VERDICTS = {
    0: (Status.PASS, Why.OK, "nothing was lost or done twice, as far as a ledger tells"),
    1: (Status.FAIL, Why.BROKEN, "it tells of something lost, done twice or altered"),
    2: (Status.INCONCLUSIVE, Why.NOT_SHOWN, "it cannot say whether anything was lost"),
}


def report_row(evidence: Evidence) -> Row:
    """What the recovery report says; each line that it rests on is held against the ledger."""
    question = "Does the recovery report say that nothing was lost, on lines that are there?"
    path = f"{REPORT}/report.json.gz"
    try:
        report = evidence.json(path)
        known = {(one.chain, one.n): one.hash for one in evidence.events(LEDGER)}
        status, why, said = _VERDICTS[report["exit_code"]]
        lines = [(one["chain"], one["n"], one["hash"]) for one in report["lines"]]
    except Unreadable as error:
        return unread("REPORT", question, error)
    except (KeyError, TypeError) as error:
        return unread("REPORT", question, Unreadable(path, f"is no report: {error!r}"))
    strange = [f"{chain} event {n}" for chain, n, hash_ in lines if known.get((chain, n)) != hash_]
    if strange:
        status, why = Status.FAIL, Why.DIFFERS
        said = f"it rests on lines that the ledger does not have: {', '.join(strange[:_NAMED])}"
    return Row(
        id="REPORT",
        question=question,
        status=status,
        why=why,
        detail=f"{said} ({len(lines)} lines of the ledger)",
        recomputed=False,
        evidence=[evidence.pointer(path, "/exit_code")],
        next_action="" if status is Status.PASS else "Read report/REPORT.md.",
    )
