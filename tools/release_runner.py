"""Running the stages of a release check one after another, and writing down what each came to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from release_stages import Absent, Plan, Stage, words_of

from baton.domain.gate.facts import pointed
from baton.domain.gate.words import Doubt, Status
from baton.domain.packet.stages import status_of

_LOOK_SECONDS = 0.1
_END_SECONDS = 30.0
#: No more of an output is kept than that, its end being worth the most.
_OUTPUT_BYTES_MAX = 200_000
_NO_PROGRAM = 127

Entry = dict[str, Any]


class Interrupted(Exception):
    """Somebody asked the check to end."""


class Runner:
    """Runs stages in their order."""

    def __init__(self, plan: Plan, run: Path, root: Path, begun: Sequence[Entry]) -> None:
        """Get ready.

        Args:
            plan: the stages.
            run: the folder that everything is left in, which is there.
            root: where commands are run.
            begun: entries of an earlier run of the same, which are kept if they passed.
        """
        self.plan, self.folder, self.root = plan, run, root
        self._begun = {str(one["stage"]): one for one in begun}
        self._entries: dict[str, Entry] = {}
        self._behind: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped = ""

    def run(self) -> list[Entry]:
        """Run every stage; returns what the log has.

        Raises:
            Interrupted: somebody asked for an end; no process is left, and what was done is kept.
        """
        (self.folder / "logs").mkdir(exist_ok=True)
        with _interruptible():
            try:
                for number, stage in enumerate(self.plan.stages, 1):
                    self._say(f"[{number:2}/{len(self.plan.stages)}] {stage.id:<15}", end="")
                    began = time.monotonic()
                    entry = self._kept(stage) or self._performed(stage)
                    self._entries[stage.id] = entry
                    self._write_log()
                    status = self.status(stage.id)
                    self._say(f" {status:<12} {time.monotonic() - began:6.1f} s  {entry['why']}")
                    self._after(stage, status)
            finally:
                for name in list(self._behind):
                    self._end(name)
        return list(self._entries.values())

    def status(self, id_: str) -> Status:
        """What a stage that is over came to."""
        entry = self._entries[id_]
        judged = bool(entry["judged_by"])
        return status_of(entry["exit_code"], entry["codes"], judged=judged)

    def _after(self, stage: Stage, status: Status) -> None:
        if stage.stops and status is not Status.PASS:
            self._stopped = f"not run: {stage.id} did not pass, and nothing means anything without"
        for name in list(self._behind):
            behind = next(one for one in self.plan.stages if one.id == name)
            if behind.until == stage.id:
                self._end(name)

    def _kept(self, stage: Stage) -> Entry | None:
        """The entry of an earlier try, where it passed and nothing in the background is needed."""
        entry = self._begun.get(stage.id)
        if entry is None or entry["exit_code"] != 0 or self._near_background(stage):
            return None
        return {**entry, "why": entry["why"]}

    def _near_background(self, stage: Stage) -> bool:
        """Whether a stage is one of those between a background stage and the last that needs it."""
        ids = [one.id for one in self.plan.stages]
        return any(
            ids.index(one.id) <= ids.index(stage.id) <= ids.index(one.until)
            for one in self.plan.stages
            if one.ready is not None and one.until in ids
        )

    def _performed(self, stage: Stage) -> Entry:
        began = _now()
        why = self._stopped or self._lacking(stage)
        if why:
            return self._entry(stage, began, None, why, stage.run)
        for name in stage.leaves:
            _remove(self.folder / name)
        try:
            words = words_of(stage, self.plan, self.folder, self.root)
        except Absent as error:
            return self._entry(stage, began, None, stage.absent or str(error), stage.run)
        output = self.folder / f".{stage.id}.out"
        code, why = self._executed(stage, words, output)
        if code == _NO_PROGRAM and stage.absent:
            code, why = None, stage.absent
        return self._entry(stage, began, code, why, words, output)

    def _lacking(self, stage: Stage) -> str:
        """Why a stage cannot be run; empty where it can."""
        for name in stage.needs:
            if (status := self.status(name)) is not Status.PASS:
                return f"not run: it needs {name}, which is {status}: {self._entries[name]['why']}"
        return ""

    def _executed(self, stage: Stage, words: Sequence[str], output: Path) -> tuple[int | None, str]:
        """Run a command until it ends, or is up, or takes too long; its exit code, and why."""
        with output.open("wb") as said:
            try:
                process = subprocess.Popen(
                    words,
                    cwd=self.root,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=_environment(self.root),
                )
            except OSError as error:
                return _NO_PROGRAM, f"{words[0]}: {error.strerror}"
        self._behind[stage.id] = process
        deadline = time.monotonic() + stage.minutes * 60
        while process.poll() is None and time.monotonic() < deadline:
            if stage.ready is not None and (self.folder / stage.ready[0]).is_file():
                return self._up(stage)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
        if process.poll() is None:
            self._end(stage.id)
            return None, f"given up after {stage.minutes:g} min"
        del self._behind[stage.id]
        if stage.ready is not None and process.returncode == 0:
            return None, f"it ended, and {stage.ready[0]} is not there"
        return process.returncode, ""

    def _up(self, stage: Stage) -> tuple[int | None, str]:
        """What the ready file of a background stage says."""
        file, pointer = stage.ready or ("", "")
        deadline = time.monotonic() + _END_SECONDS
        while True:
            try:
                return int(pointed(json.loads((self.folder / file).read_bytes()), pointer)), ""
            except (OSError, ValueError, TypeError, Doubt) as error:
                # It may be half written.
                if time.monotonic() > deadline:
                    return None, f"{file} is there, and says nothing at {pointer}: {error}"
            time.sleep(_LOOK_SECONDS)

    def _end(self, name: str) -> None:
        """End a process with everything that it started."""
        process = self._behind.pop(name)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
                return

    # What is written down

    def _entry(
        self,
        stage: Stage,
        began: datetime,
        code: int | None,
        why: str,
        words: Sequence[str],
        output: Path | None = None,
    ) -> Entry:
        ended = _now()
        text = self._plain(output.read_bytes().decode(errors="replace")) if output else ""
        place = f"logs/{stage.id}.txt"
        _write_whole(self.folder / place, text.encode())
        return {
            "stage": stage.id,
            "question": stage.question,
            "command": [self._plain(word) for word in words],
            "began": began.isoformat(timespec="milliseconds"),
            "ended": ended.isoformat(timespec="milliseconds"),
            "seconds": round((ended - began).total_seconds(), 3),
            "exit_code": code,
            "codes": stage.codes,
            "why": self._plain(why),
            "next": stage.next_action,
            "judged_by": list(stage.judged_by),
            "output": place,
            "output_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }

    def _plain(self, text: str) -> str:
        """A text without the places of this machine, and not too long."""
        for place, name in (
            (str(self.folder.resolve()), "RUN"),
            (str(self.root), "."),
            (str(Path.home()), "~"),
        ):
            text = text.replace(place, name)
        if len(text) > _OUTPUT_BYTES_MAX:
            text = f"(its beginning was left out)\n{text[-_OUTPUT_BYTES_MAX:]}"
        return text

    def _write_log(self) -> None:
        lines = (json.dumps(one, sort_keys=True) for one in self._entries.values())
        text = "".join(f"{line}\n" for line in lines)
        _write_whole(self.folder / "log.jsonl", text.encode())

    @staticmethod
    def _say(text: str, end: str = "\n") -> None:
        print(text, end=end, file=sys.stderr, flush=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the check in order."""

    def asked(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, asked) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment(root: Path) -> Mapping[str, str]:
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{root / '.venv' / 'bin'}{os.pathsep}{path}"}


def _now() -> datetime:
    return datetime.now(UTC)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole or as it was."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
