"""What LangGraph's stock saver makes of the same death: the fault that a scenario is about.

A scenario that names a fault of LangGraph is told beside the same death without Baton: a graph on
the stock saver, in a process of its own that SIGKILL ends inside ``put``, and a second process
that takes the thread up. All of it is LangGraph's; only its calls of the saver are held up.
"""

from __future__ import annotations

import json
import operator
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import EmptyInputError
from langgraph.graph import END, START, StateGraph

from baton.domain.continuity.concluding import Beside, with_beside
from baton.prove.scenarios.judging import Finding, Judgement, Result
from baton.prove.scenarios.model import Issue

#: How long the processes of a contrast may take in all.
_PATIENCE_SECONDS = 120.0

#: What a successor says that finds no checkpoint, and no input to begin with.
_NOTHING = "found nothing to go on with"

_THREAD: RunnableConfig = {"configurable": {"thread_id": "chain-1"}}


class _State(TypedDict):
    log: Annotated[list[str], operator.add]


def _graph(folder: Path, saver: SqliteSaver) -> Any:
    """Two steps, each of which leaves a line behind."""

    def step(name: str) -> Callable[..., Any]:
        def node(state: _State) -> _State:
            del state
            with (folder / "effects").open("a") as out:
                out.write(f"{name}\n")
            return {"log": [name]}

        return node

    graph = StateGraph(_State)
    graph.add_node("n1", step("n1"))
    graph.add_node("n2", step("n2"))
    graph.add_edge(START, "n1")
    graph.add_edge("n1", "n2")
    graph.add_edge("n2", END)
    return graph.compile(checkpointer=saver)


def _begin(folder: Path, kill_at: int, *, writes: str) -> None:
    """Run until the checkpoint of a step is about to be written, and die there.

    Args:
        folder: of the store and of the effects.
        kill_at: the number of that step; -1 is the input.
        writes: what is to be known of the first node's by then: ``first``, they are durable;
            ``late``, they are on their way; ``none``, there are none yet.
    """
    with closing(sqlite3.connect(folder / "store.db", check_same_thread=False)) as connection:
        saver, written = SqliteSaver(connection), threading.Event()
        put, put_writes = saver.put, saver.put_writes

        @wraps(put)
        def dies(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
            if metadata["step"] == kill_at:
                if writes == "first":
                    written.wait(_PATIENCE_SECONDS)
                os.kill(os.getpid(), signal.SIGKILL)
            return put(config, checkpoint, metadata, versions)

        @wraps(put_writes)
        def held_up(config: Any, batch: Any, *args: Any, **kwargs: Any) -> None:
            own = ("log", ["n1"]) in batch
            if own and writes == "late":
                threading.Event().wait(_PATIENCE_SECONDS)
            put_writes(config, batch, *args, **kwargs)
            if own:
                written.set()

        saver.setup()
        vars(saver).update(put=dies, put_writes=held_up)
        _graph(folder, saver).invoke({"log": []}, _THREAD, durability="sync")


def _take_up(folder: Path) -> str:
    """Go on with the thread as a successor would; returns how that went."""
    with closing(sqlite3.connect(folder / "store.db", check_same_thread=False)) as connection:
        saver = SqliteSaver(connection)
        if saver.get_tuple(_THREAD) is not None:
            _graph(folder, saver).invoke(None, _THREAD, durability="sync")
            return "went on"
        try:
            _graph(folder, saver).invoke(None, _THREAD, durability="sync")
        except EmptyInputError:
            return _NOTHING
        return "went on"


def _child(body: Callable[[], str | None]) -> tuple[int, str]:
    """Do something in a process of its own; returns how that ended, and what it said."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            os.write(write, (body() or "").encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        text = said.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def _die_and_take_up(kill_at: int, *, writes: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="baton-stock-") as made:
        folder = Path(made)
        ended, _ = _child(lambda: _begin(folder, kill_at, writes=writes))
        code, said = _child(lambda: _take_up(folder))
        effects = folder / "effects"
        return {
            "ended": ended,
            "code": code,
            "said": said,
            "effects": effects.read_text().split() if effects.exists() else [],
        }


def main() -> None:
    """Try every fault in this process, which has no other threads, and print what came of it."""
    seen = {
        Issue.ORDER: [_die_and_take_up(1, writes=when) for when in ("first", "late")],
        Issue.DROPPED: [_die_and_take_up(-1, writes="none")],
    }
    sys.stdout.write(json.dumps(seen))


@cache
def _tried() -> dict[str, list[dict[str, Any]]]:
    """What came of every fault, tried once and in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        capture_output=True,
        timeout=_PATIENCE_SECONDS,
        check=True,
    )
    seen: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    for one in (one for tries in seen.values() for one in tries):
        if (one["ended"], one["code"]) != (-signal.SIGKILL, 0):
            raise ValueError(f"a process ended otherwise than it was to: {one}")
    return seen


def contrast(issue: Issue) -> Finding:
    """What the stock saver makes of a fault.

    Args:
        issue: the fault.

    Returns:
        Met if it shows; None if it does not, as LangGraph may be mended; not met if it could not
        be tried.
    """
    name = f"{issue} on the stock saver"
    try:
        seen = _tried()[issue]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Finding(name=name, met=False, text=f"could not be tried: {error}")
    if issue is Issue.ORDER:
        times = [one["effects"].count("n1") for one in seen]
        text = (
            f"of a step that died before its checkpoint, effects: {times[0]} if its writes came"
            f" first, {times[1]} if they were late"
        )
        shows = times == [1, 2]
    else:
        text = f"after a death before the first checkpoint the successor {seen[0]['said']}"
        shows = seen[0]["said"] == _NOTHING and not seen[0]["effects"]
    said = "shows" if shows else "does not show"
    return Finding(name=name, met=shows or None, text=f"{said}: {text}")


def beside(result: Result, issue: Issue) -> Result:
    """A result that also tells of the stock saver.

    Args:
        result: of a scenario that was performed.
        issue: what it is about.
    """
    return with_beside(result, Beside(finding=contrast(issue), otherwise=Judgement.ERROR))


if __name__ == "__main__":
    main()
