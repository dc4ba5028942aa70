"""The assertions by their ids, and how one is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc

from baton.domain.continuity.model import Outcome, Verdict
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.tally import NotJudgedError, Tally

#: What an assertion may need, and what it is called where it is not there.
NEEDS = {
    "ledger": "the ledger",
    "accepted": "the tasks whose acceptance was confirmed",
    "control": "an undisturbed control run",
    "results": "the final states",
    "replays": "super-steps that were run again",
    "trace": "the workers' trace",
    "faults": "the faults that were planned",
    "counters": "the counters as they were served",
    "expected": "what a scenario expects",
    "mutants_killed": "the planted bugs that were caught in this build",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One assertion.

    Attributes:
        id: its stable name, also the label of its metric.
        title: what it is called.
        question: what it answers, in plain words.
        needs: what it cannot be judged without, keys of ``NEEDS``.
        definition: what exactly must hold.
        hold: holds a reading against it.
    """

    id: str
    title: str
    question: str
    needs: tuple[str, ...]
    definition: str
    hold: Callable[[Reading], Tally]

    @property
    def ledger_only(self) -> bool:
        """Whether a ledger is enough to judge it."""
        return self.needs == ("ledger",)


#: Every assertion by its id; ``baton.domain.continuity`` puts them into their order.
FOUND: dict[str, Assertion] = {}


def assertion(
    id_: str, title: str, question: str, *needs: str
) -> Callable[[Callable[[Reading], Tally]], Callable[[Reading], Tally]]:
    """Enter a function as an assertion; its docstring, behind the first line, is the definition.

    Args:
        id_: its id.
        title: what it is called.
        question: what it answers, in plain words.
        needs: what it needs beside the ledger.
    """

    def register(hold: Callable[[Reading], Tally]) -> Callable[[Reading], Tally]:
        _, _, definition = cleandoc(hold.__doc__ or "").partition("\n\n")
        FOUND[id_] = Assertion(
            id=id_,
            title=title,
            question=question,
            needs=("ledger", *needs),
            definition=" ".join(definition.split()),
            hold=hold,
        )
        return hold

    return register


def judged(found: Assertion, reading: Reading) -> Verdict:
    """The verdict on one assertion: unknown where an input is missing or the judging fails."""
    if found.id not in reading.verdicts:
        reading.verdicts[found.id] = _judge(found, reading)
    return reading.verdicts[found.id]


def _judge(found: Assertion, reading: Reading) -> Verdict:
    trial = reading.trial
    lacking = [NEEDS[n] for n in found.needs if n != "ledger" and getattr(trial, n) is None]
    if lacking:
        return _unjudged(found, f"not judged without {' and '.join(lacking)}")
    try:
        return found.hold(reading).verdict(found.id, complete=trial.complete)
    except NotJudgedError as missing:
        return _unjudged(found, f"not judged without {missing}")
    except Exception as error:  # noqa: BLE001 - whatever a checker fails of, it has not passed
        return _unjudged(found, f"the judging failed: {type(error).__name__}: {error}")


def _unjudged(found: Assertion, text: str) -> Verdict:
    return Verdict(assertion=found.id, outcome=Outcome.UNKNOWN, checked=0, text=text, judged=False)
