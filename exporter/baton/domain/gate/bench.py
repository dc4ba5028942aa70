"""A decision from what was kept: each criterion judged, what rests on what, the gate's own test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from baton.domain.gate import facts
from baton.domain.gate.answers import Answer, data_of, matrix_of, vector_of
from baton.domain.gate.judging import Measured, Result, compared, doubted, judge_query, settle
from baton.domain.gate.plan import CANARIES, Ask, asks_of, counts, query
from baton.domain.gate.policy import FROM_LEDGER, SELF_TEST, Criterion, Kind, Policy
from baton.domain.gate.selftest import flaws
from baton.domain.gate.words import Decision, Doubt, Reason, decide
from baton.domain.ledger import Event

#: The name of the kept ledger.
LEDGER = "ledger.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a decision rests on, read and ready to be judged.

    Attributes:
        at: the one time that everything was asked about, Unix seconds.
        version: of Baton, that asked.
        prometheus: the server's address.
        policy_sha256: of the policy's file.
        store: about the ledger; None where no store was given.
        answers: what came back, by what was asked.
        places: the file of each answer, by what was asked.
        digests: SHA-256 of every kept file by its name.
        rules: reads the rules of the repository.
        evidence: results of scenarios and soaks, by the name of their file.
        ledger: reads the ledger, in the order of its tail; raises ValueError where it is none.
    """

    at: float
    version: str
    prometheus: str
    policy: Policy
    policy_sha256: str
    store: Mapping[str, Any] | None
    answers: Mapping[Ask, Answer]
    places: Mapping[Ask, str]
    digests: Mapping[str, str]
    rules: Callable[[], Sequence[facts.Rule]]
    evidence: Mapping[str, bytes]
    ledger: Callable[[], list[Event]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where what a result rests on is kept."""

    role: str
    file: str
    sha256: str
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate comes to.

    Attributes:
        results: the gate's own test, then every criterion in order.
        references: by the id of a result.
    """

    decision: Decision
    results: tuple[Result, ...]
    references: Mapping[str, tuple[Reference, ...]]


def judge(case: Case) -> Verdict:
    """Judge what was kept."""
    bench = _Bench(case)
    own = bench.self_test()
    results = (own, *settle(case.policy, case.at, bench.judge))
    by_id = {one.id: one for one in results}
    return Verdict(
        decision=decide(one.status for one in results),
        results=results,
        references={
            SELF_TEST: tuple(
                bench.reference("query", query(one.query, case.at)) for one, _ in CANARIES
            ),
            **{
                criterion.id: bench.references(criterion, by_id[criterion.id])
                for criterion in case.policy.criteria
            },
        },
    )


class _Bench:
    """Judges one criterion after another from the same material."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.policy = case.policy
        self._tracks_of = cache(matrix_of)
        self._asks = {
            criterion.id: asks_of(criterion, case.policy, case.at)
            for criterion in case.policy.criteria
        }
        self._kinds: Mapping[Kind, Callable[[Criterion], Measured]] = {
            Kind.CATALOGUE: self._catalogue,
            Kind.RULES: self._rules,
            Kind.LEDGER: lambda _: facts.ledger_verified(self._events),
            Kind.ASSERTIONS: lambda one: facts.continuity(self._events, one.options["assertions"]),
            Kind.REFUSALS: lambda _: facts.refusals_explained(self._events),
            Kind.AGREEMENT: self._agreement,
            Kind.EVIDENCE: self._evidence,
        }

    def judge(self, criterion: Criterion) -> Result:
        """One criterion by itself; what the judging itself falls over is no pass either."""
        try:
            if criterion.kind is Kind.QUERY:
                return judge_query(
                    criterion,
                    self.policy,
                    self.case.at,
                    self._answers(criterion),
                    counts=counts(criterion),
                    tracks_of=self._tracks_of,
                )
            if criterion.kind in FROM_LEDGER:
                self._need_ledger()
            return compared(criterion, self._kinds[criterion.kind](criterion))
        except Doubt as doubt:
            return doubted(criterion, doubt)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here is no pass
            said = f"the judging failed: {type(error).__name__}: {error}"
            return doubted(criterion, Doubt(Reason.GATE_BROKEN, said))

    def self_test(self) -> Result:
        """Whether what is known to be wrong is seen, in this run and with this server."""
        subject = replace(CANARIES[0][0], id=SELF_TEST)
        wrong = flaws()
        for canary, expected in CANARIES:
            answer = self.case.answers[query(canary.query, self.case.at)]
            found = judge_query(canary, self.policy, self.case.at, {"query": answer}, counts=False)
            if found.reason is expected:
                continue
            if found.reason not in (Reason.OK, Reason.THRESHOLD):
                return doubted(subject, Doubt(found.reason, found.detail))
            # The server makes up an answer, and then anything may pass.
            wrong.append(f"{canary.query} gives {found.reason} and not {expected}")
        if wrong:
            return doubted(subject, Doubt(Reason.GATE_BROKEN, "; ".join(wrong)))
        said = "everything that is wrong on purpose is seen"
        return compared(subject, Measured(value=0, text=said, checked=len(CANARIES)))

    # Kinds

    def _answers(self, criterion: Criterion) -> Mapping[str, Answer]:
        return {role: self.case.answers[ask] for role, ask in self._asks[criterion.id].items()}

    def _catalogue(self, criterion: Criterion) -> Measured:
        points = vector_of(self._answers(criterion)["query"], self.case.at)
        return facts.catalogue_served(points, criterion.options.get("optional", ()))

    def _rules(self, criterion: Criterion) -> Measured:
        data = data_of(self._answers(criterion)["rules"])
        return facts.rules_loaded(
            _dated(data), self.case.rules(), self.case.at, self.policy.stale_seconds
        )

    def _agreement(self, criterion: Criterion) -> Measured:
        window = self.policy.stale_seconds
        tracks = matrix_of(self._answers(criterion)["counts"], self.case.at, window)
        return facts.metrics_agree(
            tracks, criterion.options["metrics"], self._events, self.policy.slack_seconds
        )

    def _evidence(self, criterion: Criterion) -> Measured:
        name = criterion.option("file")
        data = self.case.evidence.get(name)
        if data is None:
            raise Doubt(Reason.NO_EVIDENCE, f"no {name} in the evidence")
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Doubt(Reason.EVIDENCE_UNREADABLE, f"{name} is no JSON: {error}") from error
        return facts.evidence_holds(
            document,
            criterion.option("at"),
            criterion.option("field"),
            criterion.option("wants"),
            int(criterion.option("at_least", "1")),
        )

    # The ledger

    def _need_ledger(self) -> None:
        store = self.case.store
        if store is None:
            raise Doubt(Reason.NO_STORE, "continuity is judged from the ledger")
        if store["pruned_chains"] and not store["archived"]:
            raise Doubt(Reason.PRUNED, f"{store['pruned_chains']} finished tasks were pruned")
        try:
            _ = self._events
        except ValueError as error:
            raise Doubt(Reason.NOT_JUDGED, f"the kept ledger is none: {error}") from error

    @cached_property
    def _events(self) -> list[Event]:
        return self.case.ledger()

    # References

    def reference(self, role: str, ask: Any, pointer: str = "/data/result") -> Reference:
        """Where an answer is kept."""
        return self._file(role, self.case.places[ask], pointer)

    def _file(self, role: str, name: str, pointer: str) -> Reference:
        digest = self.case.digests[name]
        return Reference(role=role, file=f"raw/{name}", sha256=digest, pointer=pointer)

    def references(self, criterion: Criterion, result: Result) -> tuple[Reference, ...]:
        """Everything that a result rests on."""
        pointers = result.measured.pointers if result.measured else {}
        found = [
            self.reference(role, ask, pointers.get(role, "/data"))
            for role, ask in self._asks[criterion.id].items()
        ]
        if criterion.kind in FROM_LEDGER and LEDGER in self.case.digests:
            found.append(self._file("ledger", LEDGER, ""))
        name = f"evidence/{criterion.option('file')}"
        if criterion.kind is Kind.EVIDENCE and name in self.case.digests:
            found.append(self._file("evidence", name, pointers.get("evidence", "")))
        return tuple(found)


def _dated(data: Any) -> Any:
    """The rules as Prometheus tells them, with the time of each one's last evaluation."""
    groups = data.get("groups") if isinstance(data, dict) else None
    for group in groups if isinstance(groups, list) else ():
        rules = group.get("rules") if isinstance(group, dict) else None
        for rule in rules if isinstance(rules, list) else ():
            if isinstance(rule, dict):
                rule["evaluated_at"] = _unix(rule.get("lastEvaluation"))
    return data


def _unix(text: Any) -> float | None:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when.timestamp() if when.tzinfo is not None and when.year > 1 else None
