"""Retention: finished tasks go into archives, and nothing that counts on them notices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command import Command
from tests.support.house import House
from tests.support.runs import wait_until

from baton.domain import catalogue as c
from baton.domain.folds import FOLDED
from baton.domain.ledger import event_from_dict
from baton.domain.words import Evidence, TakeoverOutcome, TaskState
from baton.errors import BadInput
from baton.fleet import pruning
from baton.fleet.archive import read_archives
from baton.fleet.store import new_id, open_store
from baton.observe.collector import StoreCollector

BOTH_STORES = True

FINISHED = ("done-1", "done-2", "failed", "taken")

#: Prunes in a process of its own, and is killed as it comes to a place for the second time.
_KILLED = """
import os, signal, sys
from pathlib import Path
from baton.fleet import pruning
from baton.fleet.store import open_store
url, folder, place = sys.argv[1:]
calls, plain = [], getattr(pruning, place)
def killed(*args):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*args)
setattr(pruning, place, killed)
pruning.BATCH_TASKS, pruning.TRANSACTION_EVENTS = 2, 1
list(pruning.prune(open_store(url), Path(folder), 0))
"""


@pytest.fixture
def house(store_url: str) -> Iterator[House]:
    """A store with finished tasks, one that is held, one that waits, and somebody's own thread."""
    store = open_store(store_url)
    house = House(store, store.clock, new_id)
    worker = house.session("w-1")
    for task_id in FINISHED[:3]:
        house.submit(task_id)
        claim = worker.claim()
        worker.park(claim)
        worker.put(claim)
        store.record_effect(claim, "w-1", f"key-{task_id}", "step", ("json", b"1"))
        (worker.failed if task_id == "failed" else worker.done)(claim)
    victim = house.session("w-2")
    house.submit("taken")
    step_id = victim.put(victim.claim())
    assert house.bury(victim, Evidence.TTL)
    claim = worker.claim()
    store.resumed(claim, "w-1", TakeoverOutcome.RESUMED, step_id)
    worker.done(claim)
    thread = worker.lease("thread")
    worker.put(thread)
    worker.done(thread)
    house.submit("held")
    worker.put(worker.claim())
    house.submit("waits")
    yield house
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where archives go."""
    return tmp_path / "archive"


def pruned(house: House, folder: Path) -> pruning.Pruned:
    """Everything that can go."""
    *_, last = [pruning.Pruned(), *pruning.prune(house.store, folder, 0)]
    return last


def counters(collector: StoreCollector) -> dict[object, object]:
    """What is counted from the ledger, and the tasks by state."""
    collector.catch_up()
    found = collector.collect()
    assert found[c.SOURCE_UP][0].value == 1  # type: ignore[index]
    every = (*FOLDED, c.DIAGNOSTICS_INVALID, c.TASKS)
    return {m: sorted((p.labels, str(p.value)) for p in found[m]) for m in every}


def assert_verified(command: Command, url: str, folder: Path) -> None:
    """The store, the archive, and both together."""
    for words in (("--store", url), ("--archive", str(folder))):
        said = command("ledger", "verify", *words)
        assert (said.code, "no findings" in said.out) == (0, True), said
    said = command("ledger", "verify", "--store", url, "--archive", str(folder))
    assert (said.code, "no findings" in said.out) == (0, True), said


def test_what_finished_goes_and_the_heads_stay(
    house: House, folder: Path, command: Command, store_url: str
) -> None:
    """Checkpoints, effects and input with it; whatever is not finished, or not ours, stays."""
    untouched = {task: house.types(f"task:{task}") for task in ("held", "waits", "thread")}
    heads = {task: house.last(f"task:{task}") for task in FINISHED}
    done = pruned(house, folder)
    assert (done.tasks, len(done.archives), done.left) == (len(FINISHED), 1, [])
    for task, head in heads.items():
        assert house.store.chain(f"task:{task}") == [head]
        assert house.store.task(task).input is None
        assert house.execute("SELECT 1 FROM checkpoints WHERE thread_id = ?", task) == []
        assert house.execute("SELECT 1 FROM baton_effect WHERE task_id = ?", task) == []
    for task, types in untouched.items():
        assert house.types(f"task:{task}") == types
    assert house.store.task("taken").epoch == heads["taken"].epoch
    said = command("ledger", "verify", "--store", store_url)
    assert f"{done.events} events of 4 finished tasks were pruned" in said.out
    assert_verified(command, store_url, folder)
    judged = ("ledger", "verify", "--continuity", "--store", store_url)
    assert "name their archives: --archive DIR" in command(*judged).complaint
    whole = command(*judged, "--archive", str(folder)).out
    assert all(f"PASS {name}" in whole for name in ("C2 ", "C4 ", "C6 ", "C9 ", "C10"))
    assert pruned(house, folder).tasks == 0
    assert len(list(folder.glob("*.jsonl"))) == 1


def test_no_counter_falls(house: House, folder: Path) -> None:
    """Not in an exporter that runs, nor in one that starts afterwards, nor in one that lags."""
    running, lagging = StoreCollector(house.store), StoreCollector(house.store)
    lagging._tail.advance(house.store)  # noqa: SLF001 - a page, and no more
    before = counters(running)
    pruned(house, folder)
    assert counters(running) == before
    assert counters(StoreCollector(house.store)) == before
    assert counters(lagging) == before
    house.submit("one-more")
    after = counters(running)
    assert after != before
    assert counters(StoreCollector(house.store)) == after


def test_a_reader_in_the_middle_of_what_goes_begins_behind_it(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read half a chain when the other half is removed."""
    whole = counters(StoreCollector(house.store))
    monkeypatch.setattr("baton.observe.tail.PAGE_EVENTS", 5)
    reader = StoreCollector(house.store)
    reader._tail.advance(house.store)  # noqa: SLF001 - a page, and no more
    pruned(house, folder)
    assert counters(reader) == whole


def test_a_pruned_name_is_taken(house: House, folder: Path) -> None:
    """Submitted again it is known; a failed task has nothing left to be tried again from."""
    pruned(house, folder)
    epoch = house.store.task("done-1").epoch
    house.submit("done-1")
    assert (house.state("done-1"), house.store.task("done-1").epoch) == (TaskState.DONE, epoch)
    with pytest.raises(BadInput, match="task 'failed' was pruned"):
        house.store.retry("failed")


@pytest.mark.parametrize("place", ["_archive", "_remove"])
def test_a_run_that_is_killed_is_finished_by_the_next(
    house: House, folder: Path, command: Command, store_url: str, place: str
) -> None:
    """Nothing is lost, nothing is there twice, and no counter has fallen in between."""
    before = counters(StoreCollector(house.store))
    wanted = {e.hash for e in house.events() if e.task_id in FINISHED and e.chain[:5] == "task:"}
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, store_url, str(folder), place],
        check=False,
        env={**os.environ},
    )
    assert killed.returncode == -signal.SIGKILL
    assert counters(StoreCollector(house.store)) == before
    assert command("ledger", "verify", "--store", store_url).code == 0

    def finished() -> bool:
        # A server may take a moment to notice that the one who was killed is gone.
        pruned(house, folder)
        return all(len(house.store.chain(f"task:{task}")) == 1 for task in FINISHED)

    wait_until(finished, "what was begun to be finished")
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    archived = [line for line in lines if '"chain"' in line]
    assert len(archived) == len(wanted)
    assert {event.hash for event in read_archives(folder)} == wanted
    assert counters(StoreCollector(house.store)) == before
    assert_verified(command, store_url, folder)


def test_a_chain_that_does_not_verify_is_left(house: House, folder: Path) -> None:
    """It is evidence."""
    house.execute("UPDATE baton_event SET wall = wall + 1 WHERE chain = 'task:done-1' AND n = 1")
    done = pruned(house, folder)
    assert (done.tasks, done.left) == (3, ["task:done-1"])
    assert len(house.store.chain("task:done-1")) > 1
    assert len(house.store.chain("task:done-2")) == 1


def test_a_task_that_goes_on_meanwhile_stays(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody tries a failed task again after it was archived and before it was removed."""
    plain = pruning.write_archive

    def slowly(path: Path, store_id: str, chains: object) -> None:
        plain(path, store_id, chains)  # type: ignore[arg-type]
        house.store.retry("failed")

    monkeypatch.setattr(pruning, "write_archive", slowly)
    assert pruned(house, folder).tasks == 3
    types = house.types("task:failed")
    assert (types[0], types[-1]) == ("submitted", "operator_action")


def test_an_archive_that_was_edited_or_cut_is_found_out(
    house: House, folder: Path, command: Command
) -> None:
    """By the chains that are in it, and by its last line."""
    (path,) = pruned(house, folder).archives
    whole = path.read_text()
    path.write_text(whole.replace('"type": "submitted"', '"type": "claimed"', 1))
    assert command("ledger", "verify", "--archive", str(path)).code == 1
    path.write_text("\n".join(whole.splitlines()[:-1]))
    assert "is not whole" in command("ledger", "verify", "--archive", str(path)).complaint
    path.write_text("{}\n")
    assert "this is no archive" in command("ledger", "verify", "--archive", str(path)).complaint
    assert (
        "has no archives"
        in command("ledger", "verify", "--archive", str(path.parent / "..")).complaint
    )


def test_the_command(house: House, folder: Path, command: Command, store_url: str) -> None:
    """Durations have units; what is too young stays; a folder that cannot be is one line."""
    about = ("ledger", "prune", "--store", store_url, "--archive", str(folder), "--older-than")
    assert "not a duration, such as 30d" in command(*about, "30").complaint
    assert command(*about, "1h").out.startswith("0 tasks pruned")
    assert command(*about, "0s").out.startswith("4 tasks pruned")
    assert len(house.store.chain("task:done-1")) == 1
    nowhere = ("--archive", str(folder / "a" / "b"), "--older-than", "0s")
    assert "No such file" in command("ledger", "prune", "--store", store_url, *nowhere).complaint


def test_events_of_an_archive_are_those_of_an_export(house: House, folder: Path) -> None:
    """The same form, so that whatever reads the one reads the other."""
    before = {event.hash: event for event in house.events()}
    pruned(house, folder)
    for event in read_archives(folder):
        assert event == before[event.hash] == event_from_dict(event.to_dict())
