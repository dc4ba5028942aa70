"""The timeline as inline SVG: a lane for each worker, and a row for each takeover's phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from baton.observe.report import table

_Known = Mapping[tuple[str, int], str]

_WIDTH, _LEFT, _RIGHT = 1000, 150, 20
_ROW, _GAP, _TOP = 22, 14, 30
#: So much of a picture nothing is narrower than, or nobody would see it.
_LEAST = 2.0
#: So wide a letter is, about; names that do not fit beside or in a bar are cut.
_LETTER = 6.6
_TICKS = 8

#: The marks by the event they stand for: a shape around 0, 0.
_SHAPES = {
    "session_lost": "M-6-6 6 6M-6 6 6-6",
    "write_refused": "M0-7 7 0 0 7-7 0Z",
    "fault_injected": "M-3-8 3-8-1-1 4-1-4 8-1 1-5 1Z",
    "session_started": "M-4-5 5 0-4 5Z",
    "session_stopped": "M-4-4H4V4H-4Z",
}


def picture(drawing: Mapping[str, Any], known: _Known) -> str:
    """The drawing of a report."""
    return "\n".join(_Picture(drawing, known).lines())


class _Picture:
    def __init__(self, drawing: Mapping[str, Any], known: _Known) -> None:
        self._drawing, self._known = drawing, known
        self._seconds = max(float(drawing["seconds"]), 1e-6)
        self._y = _TOP

    def lines(self) -> list[str]:
        body = [*self._lanes(), *self._phases()]
        height = self._y + 10
        label = 'role="img" aria-label="Timeline of workers, leases and takeovers"'
        head = f'<svg viewBox="0 0 {_WIDTH} {height}" class="timeline" {label}>'
        return [head, *self._axis(height), *body, "</svg>"]

    def _x(self, at: float) -> float:
        return round(_LEFT + at / self._seconds * (_WIDTH - _LEFT - _RIGHT), 2)

    def _axis(self, height: int) -> Iterator[str]:
        step = _step(self._seconds)
        for number in range(int(self._seconds / step) + 1):
            x = self._x(number * step)
            yield f'<line class="grid" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 10}"/>'
            yield f'<text class="tick" x="{x}" y="14">{number * step:g} s</text>'

    def _lanes(self) -> Iterator[str]:
        for lane in self._drawing["lanes"]:
            rows = lane["rows"] or [[]]
            height = len(rows) * _ROW
            middle = self._y + height / 2
            yield f'<rect class="lane" x="0" y="{self._y}" width="{_WIDTH}" height="{height}"/>'
            yield _named(lane["worker_id"], middle)
            for row in rows:
                for bar in row:
                    yield self._bar(bar)
                self._y += _ROW
            yield from (self._mark(mark, middle) for mark in lane["marks"])
            self._y += _GAP

    def _bar(self, bar: Mapping[str, Any]) -> str:
        start, width = self._span(bar)
        name = f"{bar['task_id']} #{bar['epoch']}"
        told = (
            f"{bar['task_id']}, epoch {bar['epoch']}, {bar['from']:.3f} s to {bar['to']:.3f} s:"
            f" {bar['ended']}"
        )
        lost = " lost" if bar["ended"] in ("taken over", "put aside") else ""
        y = self._y + 3
        shape = (
            f'<rect class="lease{lost}" x="{start}" y="{y}" width="{width}" height="16" rx="2"/>'
        )
        text = f'<text class="in" x="{start + 4}" y="{y + 12}">{_fit(name, width - 8)}</text>'
        return self._linked(bar, told, shape + text)

    def _mark(self, mark: Mapping[str, Any], y: float) -> str:
        path, x = _SHAPES[mark["kind"]], self._x(mark["at"])
        move = f'transform="translate({x} {y:g})"'
        shape = f'<path class="{mark["kind"]}" d="{path}" {move}/>'
        return self._linked(mark, f"{mark['text']}, {mark['at']:.3f} s", shape)

    def _phases(self) -> Iterator[str]:
        for one in self._drawing["takeovers"]:
            told = ", ".join(
                f"{part['phase']} {table.lasted(part['seconds'])}" for part in one["parts"]
            )
            title = f"{one['task_id']} to {one['after']} ({one['reason']}): {told}"
            yield _named(f"{one['task_id']} #{one['epoch']}", self._y + _ROW / 2, "takeover")
            parts = ""
            for part in one["parts"]:
                start, width = self._span(part)
                place = f'x="{start}" y="{self._y + 5}" width="{width}" height="12"'
                parts += f'<rect class="{part["phase"]}" {place}/>'
            yield self._linked(one, title, parts)
            self._y += _ROW

    def _span(self, part: Mapping[str, Any]) -> tuple[float, float]:
        start = self._x(part["from"])
        return start, max(round(self._x(part["to"]) - start, 2), _LEAST)

    def _linked(self, one: Mapping[str, Any], title: str, shape: str) -> str:
        name = table.links(one["lines"], self._known)[-1]
        return f'<a href="#{name}"><title>{clean(title)}</title>{shape}</a>'


def clean(text: object) -> str:
    """Text that is only text in a page, whatever is in it."""
    line = " ".join(str(text).split())
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))


def _named(name: str, y: float, kind: str = "") -> str:
    text = _fit(name, _LEFT - 12)
    return (
        f'<text class="name {kind}" x="6" y="{y + 4:g}"><title>{clean(name)}</title>{text}</text>'
    )


def _fit(name: str, width: float) -> str:
    most = int(width / _LETTER)
    cut = name if len(name) <= most else f"{name[: most - 1]}…"
    return clean(cut) if most > 1 else ""


def _step(seconds: float) -> float:
    """A round distance between two ticks."""
    power: float = 1e-6
    while power * 10 < seconds / _TICKS:
        power *= 10
    found = next(power * size for size in (1, 2, 5, 10) if power * size >= seconds / _TICKS)
    return float(f"{found:.6g}")
