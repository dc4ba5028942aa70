"""Where the demo's news goes: a live picture on a terminal or plain lines, and always a file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from baton.prove.demo.picture import Picture
from baton.prove.demo.screen import Screen, style_of, suits


class Show:
    """A picture where the stream is a terminal, lines where it is not, and the timeline."""

    def __init__(self, stream: TextIO, timeline: Path) -> None:
        """Take a stream and name the file.

        Args:
            stream: a terminal, or anything else that takes text.
            timeline: the file in which every line is kept.
        """
        self._stream = stream
        self._timeline = timeline.open("w", encoding="utf-8", buffering=1)
        self._screen = Screen(stream, style_of(stream)) if suits(stream) else None

    @property
    def is_live(self) -> bool:
        """Whether there is a picture to draw."""
        return self._screen is not None

    def __enter__(self) -> Self:
        """Take the terminal, if it is one."""
        if self._screen is not None:
            self._screen.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        self.leave_picture()
        self._timeline.close()

    def leave_picture(self) -> None:
        """Go on with plain lines."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def line(self, elapsed_seconds: float, text: str) -> None:
        """Something happened."""
        line = f"{elapsed_seconds:6.2f} s  {text}"
        self._timeline.write(line + "\n")
        if self._screen is None:
            print(line, file=self._stream, flush=True)

    def draw(self, picture: Picture) -> None:
        """Show how things stand, where there is a picture."""
        if self._screen is not None:
            self._screen.show(picture)
