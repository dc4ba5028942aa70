"""The words of a gate: statuses, reason codes, decisions, and the exit codes of a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What came of one criterion, the best first; the worst of all decides."""

    PASS = "PASS"  # noqa: S105 - a verdict, and no password
    WAIVED = "WAIVED"
    WARN = "WARN"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    ERROR = "ERROR"

    @property
    def rank(self) -> int:
        """Its place: the higher, the worse."""
        return _RANKS[self]

    @property
    def good(self) -> bool:
        """Whether a release may go on in spite of it."""
        return self.rank < Status.INCONCLUSIVE.rank


_RANKS = {status: rank for rank, status in enumerate(Status)}


class Decision(StrEnum):
    """What a release job is told."""

    GO = "GO"
    RESERVATIONS = "GO with reservations"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_GO = "NO-GO"
    ERROR = "ERROR"


#: What the command ends with.
EXIT_CODES: Mapping[Decision, int] = {
    Decision.GO: 0,
    Decision.RESERVATIONS: 0,
    Decision.NO_GO: 1,
    Decision.INCONCLUSIVE: 2,
    Decision.ERROR: 3,
}

_DECISIONS: Mapping[Status, Decision] = {
    Status.PASS: Decision.GO,
    Status.WAIVED: Decision.RESERVATIONS,
    Status.WARN: Decision.RESERVATIONS,
    Status.INCONCLUSIVE: Decision.INCONCLUSIVE,
    Status.FAIL: Decision.NO_GO,
    Status.ERROR: Decision.ERROR,
}


def decide(statuses: Iterable[Status]) -> Decision:
    """The worst wins; of nothing at all nothing follows but that the gate is wrong."""
    return _DECISIONS[max(statuses, key=lambda status: status.rank, default=Status.ERROR)]


class Reason(StrEnum):
    """Why a criterion has its status: each way to be wrong has a code of its own."""

    OK = "OK"
    WAIVER = "WAIVER"
    SOFT_LIMIT = "SOFT_LIMIT"
    # Unknown: the data does not say
    NO_DATA = "NO_DATA"
    MISSING_SERIES = "MISSING_SERIES"
    MULTI_SERIES = "MULTI_SERIES"
    DUPLICATE_SERIES = "DUPLICATE_SERIES"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    INFINITE = "INFINITE"
    STALE = "STALE"
    FUTURE = "FUTURE"
    WRONG_TIME = "WRONG_TIME"
    DISORDERED = "DISORDERED"
    SHORT_WINDOW = "SHORT_WINDOW"
    GAP = "GAP"
    LOW_COVERAGE = "LOW_COVERAGE"
    RESET = "RESET"
    LOW_SAMPLES = "LOW_SAMPLES"
    PARTIAL = "PARTIAL"
    BLOCKED = "BLOCKED"
    NO_STORE = "NO_STORE"
    PRUNED = "PRUNED"
    NOT_JUDGED = "NOT_JUDGED"
    RULES_NOT_EVALUATED = "RULES_NOT_EVALUATED"
    NO_EVIDENCE = "NO_EVIDENCE"
    EVIDENCE_UNREADABLE = "EVIDENCE_UNREADABLE"
    # Broken
    THRESHOLD = "THRESHOLD"
    MISSING_METRIC = "MISSING_METRIC"
    RULES_NOT_LOADED = "RULES_NOT_LOADED"
    RULES_DIFFER = "RULES_DIFFER"
    RULES_FAILING = "RULES_FAILING"
    LEDGER_DAMAGED = "LEDGER_DAMAGED"
    CONTINUITY_BROKEN = "CONTINUITY_BROKEN"
    REFUSAL_UNEXPLAINED = "REFUSAL_UNEXPLAINED"
    METRIC_MISMATCH = "METRIC_MISMATCH"
    EVIDENCE_FAILED = "EVIDENCE_FAILED"
    # The answer is none
    UNREACHABLE = "UNREACHABLE"
    TIMEOUT = "TIMEOUT"
    TOO_SLOW = "TOO_SLOW"
    CUT_OFF = "CUT_OFF"
    TLS = "TLS"
    REDIRECT = "REDIRECT"
    UNAUTHORIZED = "UNAUTHORIZED"
    NOT_FOUND = "NOT_FOUND"
    BUSY = "BUSY"
    HTTP_CLIENT = "HTTP_CLIENT"
    HTTP_SERVER = "HTTP_SERVER"
    TOO_LARGE = "TOO_LARGE"
    EMPTY_BODY = "EMPTY_BODY"
    HTML = "HTML"
    NOT_JSON = "NOT_JSON"
    TRUNCATED = "TRUNCATED"
    WRONG_SHAPE = "WRONG_SHAPE"
    WRONG_TYPE = "WRONG_TYPE"
    BAD_VALUE = "BAD_VALUE"
    QUERY_REFUSED = "QUERY_REFUSED"
    QUERY_TIMEOUT = "QUERY_TIMEOUT"
    API_ERROR = "API_ERROR"
    GATE_BROKEN = "GATE_BROKEN"

    @property
    def status(self) -> Status:
        """The status that it gives."""
        return MEANINGS[self].status

    @property
    def next_action(self) -> str:
        """What to do about it."""
        return MEANINGS[self].next_action


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason code means.

    Attributes:
        status: what it gives.
        text: in plain words.
        next_action: what to do about it; empty where the criterion itself says.
    """

    status: Status
    text: str
    next_action: str = ""


_SERIES = "Look at the series in Prometheus; mend the exporter, the scrape or the query."
_WAIT = "Wait until the window holds nothing but whole data, then run the gate again."
_SERVER = "Look at the Prometheus server and at what stands between it and the gate."
_STORE = "Give --store with the fleet's store."
_EVIDENCE = "Make the evidence anew and give its folder with --evidence."

_UNKNOWN = Status.INCONCLUSIVE
#: Every code, with what it means.
MEANINGS: Mapping[Reason, Meaning] = {
    Reason.OK: Meaning(Status.PASS, "it was measured, and holds"),
    Reason.WAIVER: Meaning(Status.WAIVED, "it does not hold, and somebody answers for that"),
    Reason.SOFT_LIMIT: Meaning(Status.WARN, "it holds, and is not as it should be"),
    Reason.NO_DATA: Meaning(_UNKNOWN, "there is no such series", _SERIES),
    Reason.MISSING_SERIES: Meaning(_UNKNOWN, "fewer series than there must be", _SERIES),
    Reason.MULTI_SERIES: Meaning(_UNKNOWN, "several series where one was expected", _SERIES),
    Reason.DUPLICATE_SERIES: Meaning(_UNKNOWN, "one series comes twice in an answer", _SERVER),
    Reason.NOT_A_NUMBER: Meaning(_UNKNOWN, "the value is NaN", _SERIES),
    Reason.INFINITE: Meaning(_UNKNOWN, "the value is infinite", _SERIES),
    Reason.STALE: Meaning(_UNKNOWN, "the newest sample is too old", _SERIES),
    Reason.FUTURE: Meaning(_UNKNOWN, "a sample is later than the time asked about", _SERVER),
    Reason.WRONG_TIME: Meaning(_UNKNOWN, "the answer is about another time", _SERVER),
    Reason.DISORDERED: Meaning(_UNKNOWN, "samples are not in the order of time", _SERVER),
    Reason.SHORT_WINDOW: Meaning(_UNKNOWN, "the data begins after the window does", _WAIT),
    Reason.GAP: Meaning(_UNKNOWN, "the window has a hole", _WAIT),
    Reason.LOW_COVERAGE: Meaning(_UNKNOWN, "the window has too few samples", _WAIT),
    Reason.RESET: Meaning(_UNKNOWN, "a count fell back within the window", _SERIES),
    Reason.LOW_SAMPLES: Meaning(
        _UNKNOWN, "too little happened to judge by", "Exercise the fleet, then run the gate again."
    ),
    Reason.PARTIAL: Meaning(_UNKNOWN, "the answer came with warnings", _SERVER),
    Reason.BLOCKED: Meaning(
        _UNKNOWN, "what it rests on does not hold", "Mend the criterion that it needs."
    ),
    Reason.NO_STORE: Meaning(_UNKNOWN, "no store was given", _STORE),
    Reason.PRUNED: Meaning(
        _UNKNOWN, "a part of the ledger is in archives", "Give --archive with the archives."
    ),
    Reason.NOT_JUDGED: Meaning(_UNKNOWN, "the ledger has nothing to check", _STORE),
    Reason.RULES_NOT_EVALUATED: Meaning(_UNKNOWN, "rules were not evaluated lately", _WAIT),
    Reason.NO_EVIDENCE: Meaning(_UNKNOWN, "the evidence is not there", _EVIDENCE),
    Reason.EVIDENCE_UNREADABLE: Meaning(_UNKNOWN, "the evidence cannot be read", _EVIDENCE),
    Reason.THRESHOLD: Meaning(Status.FAIL, "the value is beyond its limit"),
    Reason.MISSING_METRIC: Meaning(Status.FAIL, "the exporter does not serve what it must"),
    Reason.RULES_NOT_LOADED: Meaning(Status.FAIL, "rules of the repository are not loaded"),
    Reason.RULES_DIFFER: Meaning(Status.FAIL, "a loaded rule is not the repository's"),
    Reason.RULES_FAILING: Meaning(Status.FAIL, "Prometheus cannot evaluate a rule"),
    Reason.LEDGER_DAMAGED: Meaning(Status.FAIL, "the ledger does not hold"),
    Reason.CONTINUITY_BROKEN: Meaning(Status.FAIL, "the ledger shows a breach of continuity"),
    Reason.REFUSAL_UNEXPLAINED: Meaning(
        Status.FAIL, "a write was refused that nobody had superseded"
    ),
    Reason.METRIC_MISMATCH: Meaning(Status.FAIL, "the metrics say something else than the ledger"),
    Reason.EVIDENCE_FAILED: Meaning(Status.FAIL, "the evidence shows a failure"),
    Reason.UNREACHABLE: Meaning(Status.ERROR, "no connection to Prometheus", _SERVER),
    Reason.TIMEOUT: Meaning(Status.ERROR, "Prometheus does not answer in time", _SERVER),
    Reason.TOO_SLOW: Meaning(Status.ERROR, "the answer trickles in too slowly", _SERVER),
    Reason.CUT_OFF: Meaning(Status.ERROR, "the connection ended within the answer", _SERVER),
    Reason.TLS: Meaning(
        Status.ERROR, "the server's certificate is not to be trusted", "Give --ca-file, or mend it."
    ),
    Reason.REDIRECT: Meaning(
        Status.ERROR, "the server points elsewhere", "Give the address that it points to."
    ),
    Reason.UNAUTHORIZED: Meaning(
        Status.ERROR, "the server wants other credentials", "Give --token-file or --basic-file."
    ),
    Reason.NOT_FOUND: Meaning(
        Status.ERROR, "the server has no such interface", "Is this the address of a Prometheus?"
    ),
    Reason.BUSY: Meaning(Status.ERROR, "the server refuses more requests", _SERVER),
    Reason.HTTP_CLIENT: Meaning(Status.ERROR, "the server refuses the request", _SERVER),
    Reason.HTTP_SERVER: Meaning(Status.ERROR, "the server has failed", _SERVER),
    Reason.TOO_LARGE: Meaning(
        Status.ERROR, "the answer is larger than is read", "Narrow the query, or the window."
    ),
    Reason.EMPTY_BODY: Meaning(Status.ERROR, "the answer is empty", _SERVER),
    Reason.HTML: Meaning(Status.ERROR, "the answer is a web page", _SERVER),
    Reason.NOT_JSON: Meaning(Status.ERROR, "the answer is no JSON", _SERVER),
    Reason.TRUNCATED: Meaning(Status.ERROR, "the answer is cut off", _SERVER),
    Reason.WRONG_SHAPE: Meaning(Status.ERROR, "the answer is none of Prometheus's", _SERVER),
    Reason.WRONG_TYPE: Meaning(Status.ERROR, "the answer has another type", _SERVER),
    Reason.BAD_VALUE: Meaning(Status.ERROR, "a value is no number at all", _SERVER),
    Reason.QUERY_REFUSED: Meaning(
        Status.ERROR, "Prometheus does not understand the query", "Mend the query in the policy."
    ),
    Reason.QUERY_TIMEOUT: Meaning(Status.ERROR, "Prometheus gave the query up", _SERVER),
    Reason.API_ERROR: Meaning(Status.ERROR, "Prometheus answers with an error", _SERVER),
    Reason.GATE_BROKEN: Meaning(
        Status.ERROR, "the gate itself does not see what is wrong", "Report it; trust no decision."
    ),
}


class Doubt(Exception):
    """Something is not as it has to be before a value may be believed."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Say why.

        Args:
            reason: the code.
            detail: what was found.
        """
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
