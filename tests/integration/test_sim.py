"""The simulator: every scenario holds, one seed is one outcome, and planted bugs are found."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

import baton
from baton.domain.continuity import ASSERTIONS, lease_words
from baton.domain.continuity.model import Outcome
from baton.domain.continuity.portable import effects_of, steps_of
from baton.domain.continuity.registry import FOUND
from baton.fleet import moves, points, protocol, sqlite_data, sqlite_write
from baton.fleet.lease import LiveSession
from baton.fleet.transactions import Store
from baton.prove.scenarios import graphs
from baton.prove.scenarios.judging import Judgement, Result
from baton.prove.scenarios.library import chosen, every
from baton.prove.scenarios.model import Do, Of, Scenario
from baton.prove.scenarios.parse import parse
from baton.prove.scenarios.running import perform_all, perform_one
from baton.prove.scenarios.swarm import shrink, swarm
from baton.prove.scenarios.writing import text_of
from baton.prove.sim.engine import SimEngine, perform
from baton.prove.sim.trial import SimTrial
from baton.prove.sim.world import Task, World
from baton.prove.soak import plan

SIM = SimEngine()


def result_of(scenario: Scenario | str, seed: int = 1) -> Result:
    """What comes of a scenario, by its id or as it is."""
    (found,) = chosen([scenario]) if isinstance(scenario, str) else (scenario,)
    return perform_one(found, SIM, seed).result


@pytest.mark.parametrize("scenario", every(), ids=lambda one: one.id)
def test_every_scenario_holds(scenario: Scenario) -> None:
    """Every scenario holds."""
    result = result_of(scenario)
    assert result.judgement is Judgement.PASS, result.reason
    assert points.listener is None


@pytest.mark.parametrize("scenario", every(), ids=lambda one: one.id)
def test_no_scenario_loses_a_step(scenario: Scenario) -> None:
    """Of all that a scenario shows only this: the steps are those of the undisturbed run."""
    for verdict in result_of(scenario).verdicts:
        if verdict.assertion in ("C1", "C7"):
            asked = verdict.assertion in scenario.expect.assertions
            wanted = {Outcome.PASS} if asked else {Outcome.PASS, Outcome.UNKNOWN}
            assert verdict.outcome in wanted, verdict


def test_a_random_fleet_loses_nothing() -> None:
    """A random fleet loses nothing."""
    for scenario in swarm(12, 11):
        result = perform_one(scenario, SIM, 11).result
        assert result.judgement is Judgement.PASS, (scenario.id, result.reason)


def test_a_store_that_takes_no_checkpoints_makes_no_task_suspect() -> None:
    """Each of its workers lives, and gives the lease back itself, again and again."""
    (*_, scenario) = swarm(106, 7)
    assert scenario.faults[0].of is Of.CHECKPOINTS
    only = replace(scenario, faults=scenario.faults[:1])
    for one in (scenario, only):
        words = lease_words(perform(one, 7).trial.events)
        assert {word[-1] for word in words.values()} == {"D"}, words
    assert all("F" in word for word in words.values()), words


def test_a_task_that_hangs_its_workers_is_put_aside() -> None:
    """Whoever begins a step of it stands still for longer than its TTL, and lives on."""
    (scenario,) = chosen(["F01"])
    hang = replace(scenario.faults[0], do=Do.SIGSTOP, for_seconds=9.0, back_after_seconds=None)
    apart = replace(scenario.topology, hosts="apart")
    events = perform(replace(scenario, topology=apart, faults=(hang,)), 1).trial.events
    assert lease_words(events) == {"chain-1": "H1 X H2 X H3 X H4 X Q"}


# One seed, one outcome

SOME = ("K01", "Z03", "U01", "H01")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file that may not differ between machines."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "environment.json"
    }


def test_the_same_seed_leaves_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """The same seed leaves the same bytes in another process."""
    perform_all(chosen(SOME), SIM, seed=5, out=tmp_path / "here")
    command = [sys.executable, "-m", "baton", "scenario", "run", *SOME, "--seed", "5", "--out"]
    environment = {**os.environ, "PYTHONHASHSEED": "99"}
    subprocess.run([*command, str(tmp_path / "there")], check=True, env=environment, timeout=60)
    here, there = tree(tmp_path / "here"), tree(tmp_path / "there")
    assert len(here) == 7 * len(SOME) + 1
    assert here == there


def test_the_same_seed_leaves_the_same_bytes_twice(tmp_path: Path) -> None:
    """Whatever the hour."""
    for name in ("one", "two"):
        perform_all(chosen(["K01"]), SIM, seed=5, out=tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_another_seed_is_another_course() -> None:
    """Another seed is another course."""
    (scenario,) = chosen(["R02"])
    one, other = (perform(scenario, seed).trial.events for seed in (1, 2))
    assert [event.hash for event in one] != [event.hash for event in other]


@pytest.mark.parametrize("span", [1, 2, 3, 1_000_000, 2**62 + 1])
def test_chance_is_what_random_draws(span: int) -> None:
    """Chance is what ``random`` draws, stream by stream, so that seeds keep their meaning."""
    world, stream = World(5, 1), Random("5/work")  # noqa: S311 - replayed, not secret
    drawn = [world.chance("work", 7, 6 + span) for _ in range(50)]
    assert drawn == [stream.randrange(7, 7 + span) for _ in range(50)]


# What is played instead of LangGraph is what LangGraph does


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """The super-steps and effects of each graph as LangGraph itself ran it."""
    folder = tmp_path_factory.mktemp("real")
    fleet = baton.open(f"sqlite:///{folder}/fleet.db?synchronous=off")
    made = {name: make() for name, make in graphs.GRAPHS.items()}
    for name in made:
        fleet.submit(name, graphs.input_of(name), task_id=f"{name}-1")
    baton.Worker(fleet, graphs=made, worker_id="w-1", concurrency=4, until_idle=True).run()
    fleet.resume("ask-1", graphs.ANSWER)
    baton.Worker(fleet, graphs=made, worker_id="w-1", until_idle=True).run()
    events = fleet.store.events(0)
    fleet.close()
    found = {}
    for name in made:
        own = [event for event in events if event.task_id == f"{name}-1"]
        assert own[-1].type == "done"
        found[name] = (steps_of(own), effects_of(own))
    return found


@pytest.mark.parametrize("graph", sorted(graphs.GRAPHS))
def test_a_played_graph_does_what_langgraph_does(
    graph: str, real: dict[str, tuple[Any, Any]]
) -> None:
    """A played graph does what LangGraph does."""
    text = f"""
        {{id: calm, title: Calm, hypothesis: Nothing happens.,
        topology: {{workers: 1, tasks: {{{graph}: 1}}}}, expect: {{}}}}"""
    events = perform(parse("calm", text), 1).trial.events
    own = [event for event in events if event.task_id]
    assert (steps_of(own), effects_of(own)) == real[graph]


# A bug in production code or in its SQL shows


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Every write is let in."""

    def head(self: sqlite_write.SqliteWrite, key: Any) -> Any:
        return self.head(f"task:{key.task_id}")

    patch.setattr(sqlite_write.SqliteWrite, "fence", head)
    patch.setattr(sqlite_write.SqliteWrite, "fence_only", lambda self, key: None)  # noqa: ARG005


def edited(name: str, old: str, new: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A statement of the store with something else in it."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        assert old in sqlite_write.SQL[name]
        patch.setitem(sqlite_write.SQL, name, sqlite_write.SQL[name].replace(old, new))

    return plant


def stale_release(patch: pytest.MonkeyPatch) -> None:
    """A release does not ask whose lease it is."""

    def release(self: Store, claim: Any, type_: Any, reason: Any) -> None:
        with self.data.write() as write:
            moves.vacate(write, write.task(claim.task_id), type_, reason)

    patch.setattr(Store, "release", release)


def replaced(owner: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Some part of production is another."""
    return lambda patch: patch.setattr(owner, name, value)


@pytest.mark.parametrize(
    ("plant", "scenario", "assertion"),
    [
        (no_fence, "Z02", "C3"),
        (no_fence, "P02", "C3"),
        (no_fence, "Z01", "C2"),
        (edited("claim", "epoch = epoch + 1", "epoch = epoch"), "H01", "C5"),
        (stale_release, "Z04", "C5"),
        (
            replaced(protocol.WorkerProtocol, "_may_bury", property(lambda _: True)),
            "U08",
            "C9",
        ),
        (replaced(LiveSession, "confirmed", property(lambda _: True)), "S04", "C13"),
        (replaced(moves, "cause_of", lambda *_: None), "K01", "C8"),
        (
            replaced(sqlite_data.DataFile, "_insert_writes", staticmethod(lambda *_: None)),
            "U01",
            "C11",
        ),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    scenario: str,
    assertion: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A planted bug is found."""
    assert result_of(scenario).judgement is Judgement.PASS
    plant(monkeypatch)
    result = result_of(scenario)
    assert result.judgement is Judgement.FAIL
    failed = [
        v.assertion for v in result.verdicts if v.outcome == "fail" and v.assertion in result.asked
    ]
    assert assertion in failed


def test_a_failure_is_cut_down_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is cut down and replayed."""
    no_fence(monkeypatch)
    (scenario,) = swarm(1, 22)
    failed = perform_one(scenario, SIM, 22)
    assert failed.result.judgement is Judgement.FAIL
    least, runs = shrink(failed, SIM)
    assert 1 <= len(least.faults) < len(failed.scenario.faults)
    assert runs >= 1
    again = perform_one(parse("least.yaml", text_of(least)), SIM, least.seed or 0)
    assert again.result.judgement is Judgement.FAIL
    assert again.result.reason.partition(":")[0] == failed.result.reason.partition(":")[0]
    monkeypatch.undo()
    healed = perform_one(parse("least.yaml", text_of(least)), SIM, least.seed or 0)
    assert healed.result.judgement is not Judgement.FAIL


# What shows nothing does not pass


def changed(scenario: str, old: str, new: str) -> Scenario:
    """A scenario that ships, with something else in it."""
    (found,) = chosen([scenario])
    text = Path(found.origin).read_text()
    assert old in text
    return parse("changed.yaml", text.replace(old, new))


def test_a_fault_that_does_not_fire_shows_nothing() -> None:
    """A fault that does not fire shows nothing."""
    result = result_of(changed("K01", "nth: 2", "nth: 200"))
    assert result.judgement is Judgement.INCONCLUSIVE
    assert result.reason.startswith("V1: ")
    assert "kill never fired" in result.reason


def test_a_wrong_expectation_fails() -> None:
    """A wrong expectation fails."""
    result = result_of(changed("K03", "takeovers: 1", "takeovers: 1\n  refusals: {at_least: 1}"))
    assert result.judgement is Judgement.FAIL
    assert result.reason == "refused writes: 0, and 1 or more expected"


def test_a_bound_that_is_too_tight_fails() -> None:
    """A bound that is too tight fails."""
    result = result_of(changed("K01", "{crashed: 1}", "{crashed: 0.0001}"))
    assert result.judgement is Judgement.FAIL
    assert result.reason.startswith("L2: ")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("do: sigstop, at: ckpt.write, for_seconds: 1", "would hold the write lock"),
        ("do: delay, at: ckpt.write, for_seconds: 1", "would hold the write lock"),
        ("do: drop_ack, at: claim.after", "answers are lost here at"),
        ("do: fail_write, at: writes.before", "a write fails here at ckpt.write only"),
        ("do: block_loop, at: step.end, for_seconds: 1", "a loop is blocked here at step.begin"),
    ],
)
def test_what_the_engine_cannot_do_it_refuses(fault: str, why: str) -> None:
    """What the engine cannot do it refuses."""
    result = result_of(changed("K01", "do: sigkill, at: step.begin, nth: 2", fault))
    assert result.judgement is Judgement.INCONCLUSIVE
    assert result.reason.startswith("refused: fault 'kill': ")
    assert why in result.reason


def test_an_engine_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that fails is an error."""

    def fall_over(*_: Any) -> Any:
        raise ZeroDivisionError("over")

    monkeypatch.setattr("baton.prove.sim.engine.SimTrial", fall_over)
    result = result_of("K01")
    assert result.judgement is Judgement.ERROR
    assert result.reason == "ZeroDivisionError: over"


# What a soak takes down and has judged


class _BrokenChecker(Exception):
    """What a checker fails of."""


def _broken(reading: Any) -> Any:
    raise _BrokenChecker(type(reading).__name__)


@pytest.mark.parametrize("scenario", [*chosen(["K01"]), *swarm(1, 3), plan.relay(1, runners=3)])
def test_what_is_asked_for_is_judged_the_same_though_nothing_else_is(scenario: Scenario) -> None:
    """What is asked for is judged the same though nothing else is."""
    everything, asked = (
        perform_one(scenario, engine, 4) for engine in (SIM, SimEngine(asked_only=True))
    )
    assert everything.performance is not None
    assert asked.performance is not None
    assert asked.performance.trial.events == everything.performance.trial.events
    wanted = [
        one for one in everything.result.verdicts if one.assertion in scenario.expect.assertions
    ]
    assert list(asked.result.verdicts) == wanted
    assert {one.assertion for one in wanted} == set(scenario.expect.assertions)
    assert (asked.result.judgement, asked.result.reason) == (Judgement.PASS, "")


@pytest.mark.parametrize("name", plan.relay(1).expect.assertions)
def test_a_checker_that_fails_has_passed_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checker that fails has passed nothing."""
    real = FOUND[name]
    monkeypatch.setitem(ASSERTIONS, name, replace(real, hold=_broken))  # type: ignore[arg-type]
    result = perform_one(plan.relay(1, deaths=1, runners=2), SimEngine(asked_only=True), 1).result
    assert result.judgement is Judgement.INCONCLUSIVE
    assert result.reason == f"{name}: the judging failed: _BrokenChecker: Reading"


def test_each_death_in_a_relay_is_a_takeover_of_every_task() -> None:
    """Each death in a relay is a takeover of every task: to a step that comes after it."""
    events = perform(plan.relay(1, deaths=5, runners=6), 2).trial.events
    claims = [event for event in events if event.type == "claimed" and event.reason]
    assert [event.reason for event in claims] == ["crashed"] * 30
    for claim in claims:
        own = [e for e in events if e.task_id == claim.task_id and e.epoch == claim.epoch]
        assert [event.type for event in own[:3]] == ["claimed", "resumed", "step"]
        assert own[1].data["outcome"] == "resumed"


def test_no_fiber_is_left_to_the_collector() -> None:
    """It would end them deep in somebody else's stack, where one that has no room goes on."""
    (scenario,) = chosen(("K01",), ())
    trial = SimTrial(scenario, 1)
    trial.run()
    waiting = [task for task in gc.get_objects() if isinstance(task, Task) and task.waits]
    assert waiting, "every fiber of this trial has ended, so nothing is shown"
    trial.close()
    assert not any(task.waits for task in waiting)
