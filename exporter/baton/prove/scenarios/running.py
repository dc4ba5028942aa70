"""Performing scenarios one after another, judging each, and keeping the evidence."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from baton.errors import EngineFailed, EngineRefuses
from baton.prove.scenarios import evidence, parity, stock
from baton.prove.scenarios.engine import Engine, Performance
from baton.prove.scenarios.judging import Judgement, Result, conclude
from baton.prove.scenarios.model import Scenario
from baton.prove.scenarios.writing import text_of

#: What decides for chance where neither the command nor the file says.
DEFAULT_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One scenario that was performed and judged.

    Attributes:
        digest: of its evidence; empty where none is kept.
    """

    scenario: Scenario
    seed: int
    performance: Performance | None
    result: Result
    digest: str = ""


def perform_all(
    scenarios: Iterable[Scenario],
    engine: Engine,
    *,
    seed: int | None,
    out: Path | None,
    against: Engine | None = None,
    told: Callable[[Done], None] = lambda done: None,  # noqa: ARG005
    keep: Callable[[Done, Engine, Path], None] = lambda done, engine, folder: None,  # noqa: ARG005
) -> list[Done]:
    """Perform scenarios.

    Args:
        scenarios: in their order.
        engine: what performs them.
        seed: what decides for chance; by default each file's own.
        out: a new folder for the evidence; None to keep none.
        against: an engine that has to come to the same; None to ask none.
        told: called after each.
        keep: called after each whose evidence is kept, with the folder of that.

    Raises:
        BadInput: the evidence cannot be written there.
    """
    done: list[Done] = []
    with ExitStack() as stack:
        folder = None if out is None else stack.enter_context(evidence.folder(out))
        for scenario in scenarios:
            own = DEFAULT_SEED if scenario.seed is None else scenario.seed
            one = perform_one(scenario, engine, own if seed is None else seed, against)
            if scenario.stock is not None and one.performance is not None:
                one = replace(one, result=stock.beside(one.result, scenario.stock))
            if folder is not None:
                text = _file_of(scenario)
                digest = evidence.write_scenario(
                    folder, scenario, text, one.seed, one.performance, one.result
                )
                one = replace(one, digest=digest)
                keep(one, engine, folder / scenario.id)
            # Thousands of ledgers need not stay in memory.
            done.append(replace(one, performance=None))
            told(one)
        if folder is not None:
            evidence.write_environment(folder, engine.name)
            evidence.write_summary(folder, {"engine": engine.name, "scenarios": summary(done)})
    return done


def perform_one(
    scenario: Scenario, engine: Engine, seed: int, against: Engine | None = None
) -> Done:
    """Perform and judge one scenario; what the engine cannot do is said, and shows nothing.

    Args:
        scenario: the scenario.
        engine: what performs it.
        seed: what decides for chance.
        against: an engine that has to come to the same; None to ask none.
    """
    performance = None
    try:
        with tempfile.TemporaryDirectory(prefix="baton-scenario-") as work:
            performance = engine.perform(scenario, seed, Path(work), lambda line: None)  # noqa: ARG005
        result = conclude(scenario, performance)
    except EngineRefuses as error:
        result = Result(judgement=Judgement.INCONCLUSIVE, reason=f"refused: {error.fields['why']}")
    except EngineFailed as error:
        result = Result(judgement=Judgement.ERROR, reason=str(error.fields["why"]))
    done = Done(scenario=scenario, seed=seed, performance=performance, result=result)
    return done if against is None else _compared(done, against)


def _compared(done: Done, against: Engine) -> Done:
    """The same, held against what another engine makes of it."""
    if done.performance is None:
        return done
    other, differences = perform_one(done.scenario, against, done.seed), None
    if other.performance is not None:
        here = parity.projected(done.performance, done.result)
        there = parity.projected(other.performance, other.result)
        differences = tuple(parity.apart(done.scenario, here, there))
    elif other.result.judgement is Judgement.ERROR:
        differences = (f"{against.name} failed: {other.result.reason}",)
    return replace(done, result=parity.compared(done.result, against.name, differences))


def summary(done: Iterable[Done]) -> list[dict[str, object]]:
    """What came of each, in plain values."""
    return [
        {
            "id": one.scenario.id,
            "title": one.scenario.title,
            "seed": one.seed,
            "judgement": one.result.judgement.value,
            "reason": one.result.reason,
            "evidence_digest": one.digest or None,
        }
        for one in done
    ]


def _file_of(scenario: Scenario) -> str:
    """The scenario's own file, or one that says the same where it has none."""
    path = Path(scenario.origin)
    return path.read_text(encoding="utf-8") if scenario.origin else text_of(scenario)
