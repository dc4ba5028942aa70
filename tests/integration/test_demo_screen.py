"""The demo's screen and its plain lines, at a fixed moment."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from tests.support.house import House, ManualClock

from baton.domain.takeovers import Takeover
from baton.domain.words import Evidence, TakeoverOutcome, TakeoverReason
from baton.prove.demo.picture import (
    FROZEN,
    Picture,
    Scenery,
    TaskRow,
    WorkerRow,
    task_rows,
    worker_rows,
)
from baton.prove.demo.screen import Screen, Style, render
from baton.prove.demo.show import Show
from baton.prove.demo.view import Refusal, View

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PLAIN = Style(colour=False)

NAMES = [
    *("json.decoder", "csv", "shlex", "heapq", "textwrap"),
    *("glob", "timeit", "tabnanny", "netrc", "mimetypes"),
]


def worker(number: int, state: str, age_seconds: float | None, *holds: str) -> WorkerRow:
    """A worker in its first session."""
    return WorkerRow(
        worker_id=f"w-{number}",
        session=1,
        pid=41_000 + number,
        state=state,
        age_seconds=age_seconds,
        ttl_seconds=3.0,
        holds=holds,
    )


def task(place: int, name: str) -> TaskRow:
    """The first tasks are done, the last waits, and the sixth is orphaned."""
    steps = ["done"] * 4 + ["review"] * 5 + ["pending"]
    holds = steps[place] == "review"
    return TaskRow(
        name=name,
        worker_id=f"w-{place % 4 + 1}" if holds else None,
        orphan=place == 5,
        epoch=1 + (place % 3 == 0),
        step=steps[place],
        done=[9, 17, 15, 15, 4, 8, 3, 16, 0, 0][place],
        of=[9, 17, 15, 15, 14, 18, 9, 16, 11, 17][place],
    )


def takeover(name: str, reason: TakeoverReason, detect_us: int, *, over: bool = True) -> Takeover:
    """A takeover from w-2 by w-1."""
    return Takeover(
        task_id=f"demo:{name}",
        run_id="r",
        pool="demo",
        graph="review",
        external=False,
        reason=reason,
        from_worker="w-2",
        from_session="s-2",
        from_epoch=1,
        to_worker="w-1",
        to_session="s-1",
        epoch=2,
        last_sign_at=0,
        lost_at=detect_us,
        claimed_at=detect_us + 3_900,
        restored_at=detect_us + 24_900,
        progress_at=detect_us + 1_924_900 if over else None,
        outcome=TakeoverOutcome.RESUMED,
    )


PICTURE = Picture(
    headline="4 workers review 10 modules of the standard library",
    elapsed_seconds=17.34,
    act="Act 2 of 3: w-2 is frozen (SIGSTOP) in the middle of glob, timeit and mimetypes.",
    waiting="waiting until its TTL of 3 s is over and the others have gone on",
    workers=(
        worker(1, "busy", 0.31, "textwrap", "netrc"),
        worker(2, FROZEN, 2.44, "glob"),
        worker(3, "lost", None),
        worker(4, "idle", 0.02, *NAMES[:5]),
    ),
    tasks=tuple(task(place, name) for place, name in enumerate(NAMES)),
    takeovers=(
        takeover("csv", TakeoverReason.CRASHED, 1_800),
        takeover("json.decoder", TakeoverReason.HEARTBEAT_LOST, 3_004_000, over=False),
    ),
    refusals=(
        Refusal(
            task_id="demo:glob",
            worker_id="w-2",
            session_id="s-2",
            epoch=1,
            holder="w-1",
            held_epoch=2,
        ),
    ),
    answers=(("workers", "busy 2, idle 1"), ("takeovers", "crashed 1"), ("tasks", "done 4")),
    prometheus="http://127.0.0.1:45123, 6 of 6 targets up",
)

GOLDEN = """\
 baton demo  4 workers review 10 modules of the standard library         17.3 s
 Act 2 of 3: w-2 is frozen (SIGSTOP) in the middle of glob, timeit and
 mimetypes.
 waiting until its TTL of 3 s is over and the others have gone on
 WORKER   SESSION  STATE     HEARTBEAT, OF TTL   HOLDS
 w-1      1        busy       0.3 s ▰▱▱▱▱▱▱▱     textwrap, netrc    pid 41001
 w-2      1        frozen     2.4 s ▰▰▰▰▰▰▰▱     glob               pid 41002
 w-3      1        lost                                             pid 41003
 w-4      1        idle       0.0 s ▱▱▱▱▱▱▱▱     json.decoder +4    pid 41004
 TASKS 4 of 10 done; holder, epoch, functions reviewed
 json.decoder done    e2  ▰▰▰▰▰▰▰ 9/9   glob         w-2     e1  ▰▰▰▱▱▱▱ 8/18
 csv          done    e1  ▰▰▰▰▰▰▰ 17/17 timeit       w-3     e2  ▰▰▱▱▱▱▱ 3/9
 shlex        done    e1  ▰▰▰▰▰▰▰ 15/15 tabnanny     w-4     e1  ▰▰▰▰▰▰▰ 16/16
 heapq        done    e2  ▰▰▰▰▰▰▰ 15/15 netrc        w-1     e1  ▱▱▱▱▱▱▱ 0/11
 textwrap     w-1     e1  ▰▰▱▱▱▱▱ 4/14  mimetypes    pending e2  ▱▱▱▱▱▱▱ 0/17
 TAKEOVERS 2   FROM → TO    REASON            detect    claim  restore progress
 csv           w-2 → w-1    crashed           1.8 ms   3.9 ms    21 ms    1.9 s
 json.decoder  w-2 → w-1    heartbeat_lost     3.0 s   3.9 ms    21 ms        -
 REFUSED WRITES 1
 glob          w-2 at epoch 1: refused; w-1 took it over at epoch 2
 PROMETHEUS http://127.0.0.1:45123, 6 of 6 targets up
 workers               busy 2, idle 1
 takeovers             crashed 1
 tasks                 done 4"""

SMALL = """\
 baton demo  4 workers review 10 modules of the stan 17.3 s
 Act 2 of 3: w-2 is frozen (SIGSTOP) in the middle of
 glob, timeit and mimetypes.
 waiting until its TTL of 3 s is over and the others have g
 WORKER   SESSION  STATE     HEARTBEAT, OF TTL   HOLDS
 w-1      1        busy       0.3 s #.......     +2
 w-2      1        frozen     2.4 s #######.     glob
 TASKS 4 of 10 done; holder, epoch, functions reviewed
 json.decoder done    e2  ####### 9/9
 csv          done    e1  ####### 17/17
 shlex        done    e1  ####### 15/15
 TAKEOVERS 2   FROM -> TO   REASON           latency
 csv           w-2 -> w-1   crashed            27 ms
 json.decoder  w-2 -> w-1   heartbeat_lost     3.0 s
 REFUSED WRITES 1
 glob          w-2 at epoch 1: refused; w-1 took it over at"""


def test_the_picture_at_80_by_24() -> None:
    """Golden: everything an operator asks for is on the smallest common terminal."""
    lines = render(PICTURE, columns=80, lines=24, style=PLAIN)
    assert lines == GOLDEN.splitlines()


def test_a_small_terminal_keeps_the_newest() -> None:
    """Golden: what gives way is what is older or further down, and ASCII stands in."""
    lines = render(PICTURE, columns=60, lines=16, style=Style(colour=False, unicode=False))
    assert lines == SMALL.splitlines()


@pytest.mark.parametrize("columns", [60, 79, 80, 81, 120, 200])
@pytest.mark.parametrize("lines", [10, 16, 24, 50])
def test_nothing_is_wider_or_higher_than_the_window(columns: int, lines: int) -> None:
    """A line that wraps, or one too many, would make the picture crawl up the screen."""
    drawn = render(PICTURE, columns=columns, lines=lines, style=Style())
    assert len(drawn) <= lines
    assert max(len(ANSI.sub("", line)) for line in drawn) < columns


def test_colours_change_nothing_but_colours() -> None:
    """Without its colours a picture reads the same, and no colour is left on."""
    coloured = render(PICTURE, columns=80, lines=24, style=Style())
    assert [ANSI.sub("", line).rstrip() for line in coloured] == GOLDEN.splitlines()
    assert all(line.count("\x1b[0m") * 2 == line.count("\x1b[") for line in coloured)


def test_a_roomy_terminal_has_blank_lines_between_the_parts() -> None:
    """And shows everything."""
    drawn = render(PICTURE, columns=80, lines=40, style=PLAIN)
    assert [line for line in drawn if line] == GOLDEN.splitlines()
    assert drawn.count("") == 5


def test_an_empty_fleet_is_a_picture_too() -> None:
    """Before the first session there is nothing but the head."""
    empty = Picture(headline="x", elapsed_seconds=0.0, act="Starting.", waiting="waiting")
    assert render(empty, columns=80, lines=24, style=PLAIN)[1:] == [" Starting.", " waiting"]


def test_the_terminal_is_given_back() -> None:
    """The alternate screen and the cursor are restored, once."""
    stream = io.StringIO()
    screen = Screen(stream, PLAIN)
    screen.open()
    screen.close()
    screen.close()
    assert stream.getvalue() == "\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l"


def test_in_a_pipe_there_are_plain_lines(tmp_path: Path) -> None:
    """One line for each thing that happened, in the stream and in the timeline."""
    stream = io.StringIO()
    with Show(stream, tmp_path / "timeline.txt") as show:
        assert not show.is_live
        show.draw(PICTURE)
        show.line(3.14159, "w-1 claims csv")
    assert stream.getvalue() == "  3.14 s  w-1 claims csv\n"
    assert (tmp_path / "timeline.txt").read_text() == stream.getvalue()


def test_takeovers_and_refusals_are_followed(house: House, clock: ManualClock) -> None:
    """Who took over from whom, and who was refused; other pools are none of its business."""
    house.submit("other:t-1")
    house.submit("demo:csv", pool="demo")
    first, second = house.session("w-1", pool="demo"), house.session("w-2", pool="demo")
    zombie = first.claim()
    clock.forward(15)
    house.bury(first, Evidence.TTL)
    clock.forward(0.1)
    lease = second.claim()
    house.store.resumed(lease, "w-2", TakeoverOutcome.RESUMED, "s-0")
    second.done(lease)
    house.store.refused(zombie.key)
    house.session("w-1", pool="demo")
    view = View("demo")
    taken = [event for event in house.events() if view.take(event) is not None]
    assert taken == view.events
    assert len(taken) == len(house.events()) - 1
    (takeover,) = view.taken_from(first.id)
    assert (takeover.from_worker, takeover.to_worker, takeover.latency_us) == (
        *("w-1", "w-2"),
        15_100_000,
    )
    (refusal,) = view.refusals
    assert (refusal.worker_id, refusal.epoch) == ("w-1", 1)
    assert (refusal.holder, refusal.held_epoch) == ("w-2", 2)
    assert [(one.worker_id, one.number) for one in view.newest()] == [("w-1", 2), ("w-2", 1)]


def test_rows_say_what_is_known_of_each(house: House, clock: ManualClock) -> None:
    """Workers by their newest session, tasks by their holder and what it is doing."""
    house.submit("demo:csv", pool="demo")
    house.submit("demo:ast", pool="demo")
    busy, idle, gone = (house.session(f"w-{n}", pool="demo") for n in (1, 2, 3))
    claim, orphan = busy.claim(), gone.claim()
    for member in (busy, idle):
        member.beat()
    house.bury(gone)
    busy.put(claim, step=1)
    clock.forward(2)
    view = View("demo")
    for event in house.events():
        view.take(event)
    scenery = Scenery(
        names={claim.task_id: "first", orphan.task_id: "second"},
        functions={claim.task_id: 3, orphan.task_id: 4},
        afflicted={idle.id: FROZEN},
    )
    now_us, live = house.store.peers("demo")
    rows = worker_rows(view, live, now_us, scenery)
    assert [(row.worker_id, row.state, row.age_seconds, row.holds) for row in rows] == [
        ("w-1", "busy", 2.0, ("first",)),
        ("w-2", FROZEN, 2.0, ()),
        ("w-3", "lost", None, ("second",)),
    ]
    tasks = task_rows(view, rows, scenery)
    assert [(row.name, row.worker_id, row.orphan, row.step, row.of) for row in tasks] == [
        ("first", "w-1", False, "review", 3),
        ("second", "w-3", True, "parse", 4),
    ]
