"""The files that the demo reviews: modules of the standard library, as this Python has them."""

from __future__ import annotations

import ast
import sysconfig
import threading
from functools import lru_cache
from pathlib import Path, PurePosixPath

from baton.errors import BadInput
from baton.prove.demo.checks import Unit, units

#: Well-known modules of a size that shows a fan-out; those that a Python lacks are passed over.
FIRST = (
    *("json/decoder.py", "csv.py", "shlex.py", "heapq.py", "textwrap.py", "glob.py"),
    *("timeit.py", "tabnanny.py", "netrc.py", "mimetypes.py", "reprlib.py", "getopt.py"),
    *("copy.py", "runpy.py", "code.py", "pyclbr.py", "copyreg.py", "cmd.py", "graphlib.py"),
    *("email/charset.py", "urllib/response.py", "unittest/main.py", "importlib/util.py"),
)
FUNCTIONS_MIN = 6
FUNCTIONS_MAX = 24

_parsing = threading.Lock()


def standard_library() -> Path:
    """The folder that holds the standard library's sources."""
    return Path(sysconfig.get_path("stdlib"))


def parsed(path: str) -> dict[str, Unit]:
    """The functions of a module by name, in their order.

    Args:
        path: relative to the standard library, such as ``json/decoder.py``.

    Raises:
        ValueError: the path leads elsewhere, or to something that is not Python.
        OSError: there is no such file.
    """
    inner = PurePosixPath(path)
    if inner.is_absolute() or ".." in inner.parts or inner.suffix != ".py":
        raise ValueError(f"{path!r} is no module of the standard library, like json/decoder.py")
    return _parsed(standard_library() / inner)


@lru_cache(maxsize=64)
def _parsed(file: Path) -> dict[str, Unit]:
    return {unit.name: unit for unit in units(syntax(file))}


def syntax(file: Path) -> ast.Module:
    """The syntax tree of a file, from any thread.

    Until Python 3.13 all threads count the depth of a tree in one place, and a collection of
    garbage may let another in: `SystemError: AST constructor recursion depth mismatch`
    (https://github.com/python/cpython/issues/106905). So one parses at a time.

    Raises:
        OSError: there is no such file.
        SyntaxError: it is not Python.
    """
    with _parsing:
        return ast.parse(file.read_bytes(), str(file))


def choose(count: int) -> list[str]:
    """The paths of ``count`` modules, the same ones each time.

    Raises:
        BadInput: this Python has fewer that fit, or comes without its sources.
    """
    root = standard_library()
    chosen = [path for path in FIRST if _fits(root / path)][:count]
    for file in sorted(root.glob("[a-z]*.py")) if len(chosen) < count else ():
        if len(chosen) < count and file.name not in chosen and _fits(file):
            chosen.append(file.name)
    if len(chosen) < count:
        raise BadInput(detail=f"--tasks {count}: {root} has {len(chosen)} modules that fit")
    return chosen


def _fits(file: Path) -> bool:
    try:
        return FUNCTIONS_MIN <= len(_parsed(file)) <= FUNCTIONS_MAX
    except (OSError, SyntaxError, ValueError):
        return False
