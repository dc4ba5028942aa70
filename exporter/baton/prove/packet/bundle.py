"""``verify.py``: the domain band's own modules as text, and the few lines that run them."""

from __future__ import annotations

from pathlib import Path

import baton.domain
from baton.prove.packet import standalone

_HEAD = '''\
#!/usr/bin/env python3
"""Verify the evidence packet that this file lies in: `python3 verify.py`, Python 3.11 or newer.

Made by `baton packet build`. Nothing in here is a second implementation: MODULES is the text of
the modules of Baton that judged in the first place (exporter/baton/domain), and what follows it is
the text of exporter/baton/prove/packet/standalone.py.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):
    sys.exit("verify.py needs Python 3.11 or newer; this is " + sys.version.split()[0])
# Nothing may be written into the packet, and nothing that was put into it may be imported.
sys.dont_write_bytecode = True
sys.path[:] = sys.path[1:]

MODULES = {
    "baton": '"""Only what verifies is in here."""',
'''

_TAIL = """\

if __name__ == "__main__":
    serve(MODULES)
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
"""

_QUOTES = "'''"


def verifier() -> bytes:
    """The text of ``verify.py``."""
    parts = [_HEAD]
    for name, text in sorted(modules().items()):
        if _QUOTES in text or text.endswith("\\"):
            raise ValueError(f"{name} cannot be quoted: it has {_QUOTES} in it")
        parts.append(f"    {name!r}: r{_QUOTES}{text}{_QUOTES},\n")
    parts.append("}\n\n")
    parts.append(_without_future(Path(standalone.__file__).read_text(encoding="utf-8")))
    parts.append(_TAIL)
    return "".join(parts).encode()


def modules() -> dict[str, str]:
    """The text of every module of the domain band, by its name."""
    base = Path(baton.domain.__file__).parent
    found = {}
    for path in sorted(base.rglob("*.py")):
        parts = ["baton", "domain", *path.relative_to(base).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def _without_future(text: str) -> str:
    """A module's text behind other text, where no import from the future may stand."""
    return text.replace("from __future__ import annotations\n", "", 1)
