"""The demo on a terminal: a picture drawn with plain ANSI, no wider and no higher than the window.

``render`` is pure; ``Screen`` writes what it gives to a terminal. The sequences are those of
ECMA-48 and xterm's alternate screen
(https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TextIO

from baton.domain.takeovers import Takeover
from baton.domain.words import SessionState, TakeoverPhase, TaskState
from baton.observe.wording import duration
from baton.prove.demo.picture import FROZEN, KILLED, Picture, TaskRow, WorkerRow
from baton.prove.demo.view import Refusal, task_name

#: Below this many columns a picture is no use, and lines of text are.
COLUMNS_MIN = 60
_CELL_COLUMNS = 39
_BAR_COLUMNS = 8
_ACT_LINES_MAX = 2
_PID_COLUMNS_MIN = 75

Span = tuple[str, str]
Line = list[Span]

_CODES = {
    "": "",
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_STATE_COLOURS = {
    SessionState.STARTING.value: "dim",
    SessionState.IDLE.value: "cyan",
    SessionState.BUSY.value: "green",
    SessionState.DRAINING.value: "yellow",
    SessionState.STOPPED.value: "dim",
    SessionState.LOST.value: "red",
    KILLED: "red",
    FROZEN: "blue",
}
_PHASES = tuple(TakeoverPhase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What the terminal can show."""

    colour: bool = True
    unicode: bool = True

    def bar(self, share: float, columns: int = _BAR_COLUMNS) -> str:
        """A bar that is filled to ``share`` (0 to 1)."""
        full, empty = ("▰", "▱") if self.unicode else ("#", ".")
        filled = round(max(0.0, min(1.0, share)) * columns)
        return full * filled + empty * (columns - filled)

    @property
    def arrow(self) -> str:
        """From one to another."""
        return "→" if self.unicode else "->"


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading and its rows; the oldest or the last rows give way where room is short."""

    heading: Line
    rows: list[Line]
    least: int
    newest_last: bool = False

    def lines(self, room: int) -> list[Line]:
        """At most ``room`` lines."""
        if len(self.rows) < room:
            return [self.heading, *self.rows]
        kept = max(0, room - 1)
        rows = self.rows[-kept:] if self.newest_last and kept else self.rows[:kept]
        return [self.heading, *rows]


def render(picture: Picture, *, columns: int, lines: int, style: Style) -> list[str]:
    """The picture as text, one string a line.

    Args:
        picture: what there is to show.
        columns: the terminal's width.
        lines: its height.
        style: what it can show.
    """
    # Writing into the last column makes some terminals wrap.
    columns -= 1
    head = _head(picture, columns)
    sections = [
        _workers(picture.workers, columns, style),
        _tasks(picture.tasks, columns, style),
        _takeovers(picture.takeovers, columns, style),
        _refusals(picture.refusals),
        _prometheus(picture),
    ]
    spare = lines - len(head)
    body = _arranged([section for section in sections if section.rows], spare)
    return [_painted(line, columns, style) for line in [*head, *body][:lines]]


def _head(picture: Picture, columns: int) -> list[Line]:
    clock = f"{picture.elapsed_seconds:.1f} s"
    title = f" baton demo  {picture.headline}"[: columns - len(clock) - 1]
    gap = " " * (columns - len(title) - len(clock))
    acts: list[Line] = [[(f" {line}", "magenta")] for line in wrap(picture.act, columns - 2)]
    return [
        [(title, "bold"), (gap + clock, "dim")],
        *acts[:_ACT_LINES_MAX],
        [(f" {picture.waiting}", "dim")],
    ]


def _arranged(sections: Sequence[_Section], room: int) -> list[Line]:
    """The sections within ``room`` lines, with blank lines between them where there is room."""
    wanted = [1 + len(section.rows) for section in sections]
    least = [1 + min(section.least, len(section.rows)) for section in sections]
    # Those that grow without end, further down, give way first.
    for place in reversed(range(len(sections))):
        excess = sum(wanted) - room
        if excess > 0:
            wanted[place] = max(least[place], wanted[place] - excess)
    blanks = sum(wanted) + len(sections) <= room
    lines: list[Line] = []
    for section, height in zip(sections, wanted, strict=True):
        lines += [[], *section.lines(height)] if blanks else section.lines(height)
    return lines


def _workers(rows: Iterable[WorkerRow], columns: int, style: Style) -> _Section:
    heading = f" {'WORKER':<9}{'SESSION':<9}{'STATE':<10}{'HEARTBEAT, OF TTL':<20}HOLDS"
    pids = columns >= _PID_COLUMNS_MIN
    room = columns - len(heading) + len("HOLDS") - (len("pid 1234567") if pids else 0)
    lines = [_worker(row, room, style, pids=pids) for row in rows]
    return _Section([(heading, "dim")], lines, least=2)


def _worker(row: WorkerRow, room: int, style: Style, *, pids: bool) -> Line:
    colour = _STATE_COLOURS.get(row.state, "")
    if row.age_seconds is None:
        beat, beat_colour = " " * 20, ""
    else:
        share = row.age_seconds / row.ttl_seconds
        beat = f"{row.age_seconds:4.1f} s {style.bar(share)}".ljust(20)
        beat_colour = "red" if share >= 1 else "yellow" if share > 1 / 2 else "green"
    return [
        (f" {row.worker_id:<9}", "bold"),
        (f"{row.session:<9}", ""),
        (f"{row.state:<10}", colour),
        (beat, beat_colour),
        (_shortened(row.holds, room), ""),
        (f"pid {row.pid}" if pids else "", "dim"),
    ]


def _shortened(names: Sequence[str], room: int) -> str:
    """As many names as fit, and how many more there are."""
    for shown in range(len(names), -1, -1):
        more = f" +{len(names) - shown}" if shown < len(names) else ""
        text = (", ".join(names[:shown]) + more).lstrip()
        if len(text) < room:
            return text.ljust(room)
    return " " * room


def _tasks(rows: Sequence[TaskRow], columns: int, style: Style) -> _Section:
    done = sum(row.step == TaskState.DONE.value for row in rows)
    heading = f" TASKS {done} of {len(rows)} done; holder, epoch, functions reviewed"
    across = max(1, columns // _CELL_COLUMNS)
    # Down before across, as one reads a list.
    down = -(-len(rows) // across)
    lines: list[Line] = []
    for place in range(down):
        line: Line = []
        for row in rows[place::down]:
            line += _task(row, style)
        lines.append(line)
    return _Section([(heading, "dim")], lines, least=3)


def _task(row: TaskRow, style: Style) -> Line:
    holder, colour = row.worker_id or row.step, "green"
    if row.orphan:
        colour = "red"
    elif row.worker_id is None:
        colour = "dim" if row.step == TaskState.DONE.value else "yellow"
    bar = style.bar(row.done / row.of if row.of else 0, _BAR_COLUMNS - 1)
    count = f"{row.done}/{row.of}"
    return [
        (f" {row.name:<13.12}", ""),
        (f"{holder:<8.8}", colour),
        (f"e{row.epoch:<2}", "magenta" if row.epoch > 1 else ""),
        (f" {bar}", colour),
        (f" {count:<5}"[:6], ""),
    ]


def _takeovers(takeovers: Sequence[Takeover], columns: int, style: Style) -> _Section:
    heading = (
        f" {f'TAKEOVERS {len(takeovers)}':<14}{'FROM ' + style.arrow + ' TO':<13}{'REASON':<15}"
    )
    phases = "".join(f"{phase.value:>9}" for phase in _PHASES)
    narrow = columns < len(heading) + len(phases)
    rows = [_takeover(one, style, narrow=narrow) for one in takeovers]
    heading += f"{'latency':>9}" if narrow else phases
    return _Section([(heading, "dim")], rows, least=2, newest_last=True)


def _takeover(one: Takeover, style: Style, *, narrow: bool) -> Line:
    times = [one.latency_us] if narrow else [one.phase_us(phase) for phase in _PHASES]
    return [
        (f" {task_name(one.task_id):<14.13}", ""),
        (f"{one.from_worker} {style.arrow} {one.to_worker}".ljust(13), "bold"),
        (f"{one.reason.value:<15}", "yellow"),
        ("".join(f"{lasted(us):>9}" for us in times), "cyan"),
    ]


def lasted(us: int | None) -> str:
    """How long something took, in microseconds; a dash for what has not passed yet."""
    return "-" if us is None else duration(us)


def _refusals(refusals: Sequence[Refusal]) -> _Section:
    rows: list[Line] = [
        [
            (f" {task_name(one.task_id):<14.13}", ""),
            (f"{one.worker_id} at epoch {one.epoch}", "bold"),
            (": refused; ", "red"),
            (f"{one.holder} took it over at epoch {one.held_epoch}", ""),
        ]
        for one in refusals
    ]
    heading: Line = [(f" REFUSED WRITES {len(refusals)}", "dim")]
    return _Section(heading, rows, least=1, newest_last=True)


def _prometheus(picture: Picture) -> _Section:
    rows: list[Line] = [
        [(f" {question:<22}", ""), (answer, "cyan")] for question, answer in picture.answers
    ]
    return _Section([(f" PROMETHEUS {picture.prometheus}", "dim")], rows, least=2)


def _painted(line: Line, columns: int, style: Style) -> str:
    """The line cut to the width, with its colours; what is cut off cannot leave a colour on."""
    parts: list[str] = []
    room = columns
    for text, colour in line:
        shown = text[:room]
        room -= len(shown)
        code = _CODES[colour] if style.colour else ""
        parts.append(f"\x1b[{code}m{shown}\x1b[0m" if code and shown.strip() else shown)
    return "".join(parts).rstrip()


class Screen:
    """The alternate screen of a terminal, for as long as the demo runs."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        """Take the terminal; ``open`` changes to its other screen.

        Args:
            stream: the terminal.
            style: what it can show.
        """
        self._stream = stream
        self._style = style
        self._open = False

    def open(self) -> None:
        """Change to the alternate screen and hide the cursor."""
        self._open = True
        self._write("\x1b[?1049h\x1b[?25l")

    def close(self) -> None:
        """Give the terminal back as it was; harmless when done twice."""
        if self._open:
            self._open = False
            self._write("\x1b[?25h\x1b[?1049l")

    def show(self, picture: Picture) -> None:
        """Draw over what was there, in one write, so that nothing flickers."""
        size = os.get_terminal_size(self._stream.fileno())
        lines = render(picture, columns=size.columns, lines=size.lines, style=self._style)
        self._write("\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def suits(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which a picture can be drawn."""
    if not stream.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return os.get_terminal_size(stream.fileno()).columns >= COLUMNS_MIN


def style_of(stream: TextIO) -> Style:
    """What a stream can show, as far as one can tell (https://no-color.org)."""
    return Style(
        colour=stream.isatty() and not os.environ.get("NO_COLOR"),
        unicode=(stream.encoding or "").lower().startswith("utf"),
    )
