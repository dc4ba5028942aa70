"""The verification log: what was run, in which order, and what each stage came to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from baton.domain.gate.words import Status
from baton.domain.packet.layout import LOG, RELEASE
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import Row, Why

#: What exit codes mean where a stage's command gives verdicts: Baton's own do.
_VERDICTS = {0: Status.PASS, 1: Status.FAIL, 2: Status.INCONCLUSIVE}

_REASONS = {
    Status.PASS: Why.OK,
    Status.FAIL: Why.STAGE_FAILED,
    Status.INCONCLUSIVE: Why.STAGE_INCONCLUSIVE,
    Status.ERROR: Why.STAGE_ERROR,
}


def status_of(exit_code: int | None, codes: str, *, judged: bool = False) -> Status:
    """What an exit code says of a stage.

    Args:
        exit_code: None where it was not run to its end.
        codes: ``verdict`` where 1 is a failure, 2 unknown and the rest an error; ``plain`` where
            everything but 0 is a failure.
        judged: its evidence is judged on its own, and it only has to have come to a verdict.
    """
    if exit_code is None:
        return Status.INCONCLUSIVE
    if codes != "verdict":
        return Status.PASS if exit_code == 0 else Status.FAIL
    found = _VERDICTS.get(exit_code, Status.ERROR)
    return Status.PASS if judged and found is not Status.ERROR else found


def rows(evidence: Evidence) -> Iterator[Row]:
    """A row for each stage that was planned, and for each that was run without a plan."""
    try:
        entries = {str(one["stage"]): (n, one) for n, one in enumerate(evidence.lines(LOG))}
        planned = [str(name) for name in evidence.json(RELEASE).get("stages", ())]
    except Unreadable as error:
        yield _no_log(error.path, error.text, missing=error.missing)
        return
    except (KeyError, TypeError, AttributeError) as error:
        yield _no_log(LOG, f"is not as it is written: {error!r}", missing=False)
        return
    for name in dict.fromkeys((*planned, *entries)):
        yield _row(evidence, name, *entries[name]) if name in entries else _not_run(name)


def order_kept(entries: Sequence[Mapping[str, Any]], planned: Sequence[str]) -> bool:
    """Whether stages were run in the order in which they were planned."""
    known = [str(one["stage"]) for one in entries if one["stage"] in planned]
    return known == [name for name in planned if name in known]


def _row(evidence: Evidence, name: str, number: int, entry: Mapping[str, Any]) -> Row:
    pointers = [evidence.pointer(LOG, f"/{number}")]
    try:
        output, digest = entry["output"], entry["output_sha256"]
        judged = list(entry.get("judged_by", ()))
        status = status_of(entry["exit_code"], entry["codes"], judged=bool(judged))
        said, seconds = entry["why"], entry["seconds"]
    except (KeyError, TypeError) as error:
        return _broken(name, f"its entry lacks {error}", pointers)
    if output is not None:
        pointers.append(evidence.pointer(output))
        if output not in evidence:
            return _broken(name, f"{output} is not there", pointers)
        if hashlib.sha256(evidence.data(output)).hexdigest() != digest:
            return _broken(name, f"{output} is not what the log says it printed", pointers)
    detail = said or f"exit code {entry['exit_code']} after {seconds:.1f} s"
    if judged and status is Status.PASS:
        detail = f"{detail}; what it left is judged by {', '.join(judged)}"
    return Row(
        id=f"STAGE-{name.upper()}",
        question=str(entry.get("question") or f"Did the stage {name} pass?"),
        status=status,
        why=Why.NOT_RUN if entry["exit_code"] is None else _REASONS[status],
        detail=detail,
        recomputed=False,
        evidence=pointers,
        next_action="" if status is Status.PASS else str(entry.get("next") or ""),
    )


def _broken(name: str, text: str, pointers: Sequence[dict[str, str]]) -> Row:
    return Row(
        id=f"STAGE-{name.upper()}",
        question=f"Did the stage {name} pass?",
        status=Status.ERROR,
        why=Why.BROKEN,
        detail=text,
        evidence=pointers,
        next_action="Run the release check again.",
    )


def _not_run(name: str) -> Row:
    return Row(
        id=f"STAGE-{name.upper()}",
        question=f"Did the stage {name} pass?",
        status=Status.INCONCLUSIVE,
        why=Why.INTERRUPTED,
        detail="it was planned, and the log ends before it",
        recomputed=False,
        next_action="Go on with `make release-check`, which resumes what was interrupted.",
    )


def _no_log(path: str, text: str, *, missing: bool) -> Row:
    return Row(
        id="STAGES",
        question="Was everything run that a release check runs?",
        status=Status.INCONCLUSIVE if missing else Status.ERROR,
        why=Why.NO_EVIDENCE if missing else Why.UNREADABLE,
        detail=f"{path} {text}",
        recomputed=False,
        next_action="Build the packet from what `make release-check` left.",
    )
