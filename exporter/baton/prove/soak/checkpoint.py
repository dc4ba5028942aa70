"""A soak's folder: what was done, cycle by cycle, and from where it goes on.

``cycles.jsonl`` holds what is the same in every run of the same soak, ``timings.jsonl`` what is
not. Both only grow, and are durable before ``checkpoint.json`` says how far they count; what lies
behind that is cut off when the soak goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import IO, Any

from baton.content import root
from baton.domain.ledger import GENESIS
from baton.domain.soaks import COUNTED, head_after
from baton.errors import BadInput

CHECKPOINT = "checkpoint.json"
CYCLES = "cycles.jsonl"
TIMINGS = "timings.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a soak stands after a cycle.

    Attributes:
        store: the kind of store that it began with.
        build: the digest of the code and of the scenarios that it began with.
        generator: the state of the generator that draws the cycles.
        head: the hash of the last cycle's record, over the one before.
        counts: of ``COUNTED``.
        seconds: how long it has gone on, over all its parts.
        sizes: how many bytes of each file count.
    """

    seed: int
    engine: str
    build: str
    store: str = "sqlite"
    cycle: int = 0
    generator: tuple[Any, ...] = ()
    head: str = GENESIS
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    seconds: float = 0.0
    sizes: dict[str, int] = field(default_factory=lambda: {CYCLES: 0, TIMINGS: 0})

    def random(self) -> Random:
        """The generator as it stood."""
        chance = Random(f"soak/{self.seed}")  # noqa: S311 - replayed, not secret
        if self.generator:
            version, state, gauss = self.generator
            chance.setstate((version, tuple(state), gauss))
        return chance


def build_digest() -> str:
    """SHA-256 over the code that performs and judges, and over the scenarios."""
    whole = hashlib.sha256()
    code = Path(__file__).parents[2]
    for folder, pattern in ((code, "*.py"), (code, "*.sql"), (root() / "scenarios", "*.yaml")):
        for path in sorted(folder.rglob(pattern)):
            name = path.relative_to(folder).as_posix()
            whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


class Folder:
    """Where a soak keeps what it has done."""

    def __init__(self, path: Path, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; what was written behind it is cut off."""
        self.path, self.checkpoint = path, checkpoint
        self._files: dict[str, IO[bytes]] = {}
        for name, size in checkpoint.sizes.items():
            file = self._files[name] = (path / name).open("ab")
            file.truncate(size)

    def save(
        self,
        chance: Random,
        counts: dict[str, int],
        seconds: float,
        record: dict[str, Any],
        timing: dict[str, Any],
    ) -> None:
        """Make a cycle durable, and then the checkpoint that counts it.

        Args:
            chance: the generator, after it drew the cycle.
            counts: of everything, this cycle included.
            seconds: how long the soak has gone on.
            record: what is the same in every run.
            timing: what is not.
        """
        before = self.checkpoint
        line = json.dumps(record, sort_keys=True)
        sizes = {}
        for name, text in ((CYCLES, line), (TIMINGS, json.dumps(timing, sort_keys=True))):
            file = self._files[name]
            file.write(f"{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())
            sizes[name] = file.tell()
        self.checkpoint = replace(
            before,
            cycle=before.cycle + 1,
            generator=chance.getstate(),
            head=head_after(before.head, line),
            counts=dict(counts),
            seconds=seconds,
            sizes=sizes,
        )
        write_whole(self.path / CHECKPOINT, json.dumps(asdict(self.checkpoint)))

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a file."""
        with (self.path / name).open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there as a whole or as it was."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        # On a full disk it would lie in the way of whoever goes on.
        part.unlink(missing_ok=True)
        raise


@contextmanager
def begun(out: Path, seed: int, engine: str, store: str = "sqlite") -> Iterator[Folder]:
    """A new soak.

    Args:
        out: its folder.
        seed: draws its cycles.
        engine: the name of what performs them.
        store: the kind of store that they are performed on.

    Raises:
        BadInput: there is something in the folder, or it cannot be written.
    """
    with _told(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadInput(
                detail=f"--out {out} is not empty; name a new folder, or go on with --resume {out}"
            )
        out.mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint(seed=seed, engine=engine, build=build_digest(), store=store)
        write_whole(out / CHECKPOINT, json.dumps(asdict(checkpoint)))
        folder = Folder(out, checkpoint)
        try:
            yield folder
        finally:
            folder.close()


@contextmanager
def resumed(path: Path) -> Iterator[Folder]:
    """A soak that goes on.

    Raises:
        BadInput: there is none, or another version of the code began it.
    """
    with _told(path):
        folder = Folder(path, _read(path))
        try:
            yield folder
        finally:
            folder.close()


def _read(path: Path) -> Checkpoint:
    try:
        stored = json.loads((path / CHECKPOINT).read_text(encoding="utf-8"))
        checkpoint = Checkpoint(**{**stored, "generator": tuple(stored["generator"])})
        checkpoint.random()
    except FileNotFoundError:
        raise BadInput(
            detail=f"no soak in {path}: {CHECKPOINT} is missing; begin one with --out"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(detail=f"{path / CHECKPOINT} cannot be read ({error}); begin anew") from None
    if checkpoint.build != build_digest():
        raise BadInput(
            detail=f"the soak in {path} was begun by other code, and what follows would not be the"
            " same; check that out again, or begin anew with --out"
        )
    for name, size in checkpoint.sizes.items():
        if not (path / name).is_file() or (path / name).stat().st_size < size:
            raise BadInput(detail=f"{path / name} is shorter than its checkpoint says; begin anew")
    return checkpoint


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line what the disk says."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            detail=f"cannot write {path}: {error.strerror}; mend that, and go on with"
            f" --resume {path}"
        ) from error
