"""How a packet is verified where nothing but Python is at hand.

The text of this module is the second half of a packet's ``verify.py``; the first half is the
domain band's own modules, as text. So nothing of Baton is imported here before ``serve`` was
called, and whoever has Baton installed runs the same code by ``baton packet verify``.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import json
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baton.domain.packet.check import Checked

EXIT_WHOLE = 0
EXIT_PROBLEMS = 1
EXIT_USAGE = 4

#: What signatures are over; a key that signs other things says so by this.
NAMESPACE = "baton-packet"
_SIGNATURE_SECONDS = 20.0


class Bundle(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from their text, before anybody else is asked for them."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        """Take the text of each module by its name."""
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module comes from; None for those of others."""
        del path, target
        if fullname not in self._modules:
            return None
        package = any(name.startswith(f"{fullname}.") for name in self._modules)
        return importlib.util.spec_from_loader(fullname, self, is_package=package)

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's text."""
        text = self._modules[module.__name__]
        exec(compile(text, f"verify.py: {module.__name__}", "exec"), module.__dict__)  # noqa: S102 - its own text, which the manifest names


def serve(modules: Mapping[str, str]) -> None:
    """Let the bundled modules be imported, and no others of their names."""
    sys.meta_path.insert(0, Bundle(modules))


def read_folder(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Every file of a folder by its name, and what is no plain file, with why.

    Raises:
        OSError: something cannot be read.
    """
    files: dict[str, bytes] = {}
    odd: dict[str, str] = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            files[name] = path.read_bytes()
        else:
            odd[name] = "was added: it is no plain file"
    return files, odd


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def signature_says(files: Mapping[str, bytes], signer: str, signers: Path | None) -> str:
    """What a signature is worth, in words; empty where it is good.

    Args:
        files: of the packet.
        signer: whom it names.
        signers: an OpenSSH ``allowed_signers`` file; None where nobody gave one.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        return "the signature was NOT CHECKED: there is no ssh-keygen"
    with tempfile.TemporaryDirectory(prefix="baton-verify-") as place:
        signature = Path(place) / "signature"
        signature.write_bytes(files["manifest.json.sig"])
        mode = ["check-novalidate"]
        if signers is not None:
            mode = ["verify", "-f", str(signers), "-I", signer]
        done = subprocess.run(
            [program, "-Y", *mode, "-n", NAMESPACE, "-s", str(signature)],
            input=files["manifest.json"],
            capture_output=True,
            timeout=_SIGNATURE_SECONDS,
            check=False,
        )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        return f"the signature does NOT HOLD: {said}"
    if signers is None:
        return f"the signature holds; that it is of {signer} was NOT CHECKED: give --signers FILE"
    return ""


def told(checked: Checked, odd: Mapping[str, str], signature: str, root: str) -> dict[str, Any]:
    """What came of a verification, in plain values."""
    problems = [{"path": one.path, "text": one.text} for one in checked.problems]
    problems += [{"path": name, "text": text} for name, text in sorted(odd.items())]
    if "NOT HOLD" in signature:
        problems.append({"path": "manifest.json.sig", "text": signature})
    return {
        "verified": not problems,
        "decision": checked.decision,
        "root": root,
        "criteria_judged_again": checked.criteria,
        "problems": problems,
        "not_judged_again": list(checked.not_recomputed),
        "signed_by": checked.signed_by or None,
        "signature": signature,
    }


def verified(folder: Path, signers: Path | None) -> dict[str, Any]:
    """Verify a packet.

    Args:
        folder: the packet.
        signers: an OpenSSH ``allowed_signers`` file; None for none.

    Raises:
        OSError: it cannot be read.
    """
    from baton.domain.packet.check import check

    files, odd = read_folder(folder)
    checked = check(files)
    signature = ""
    if checked.signed_by and "manifest.json.sig" in files:
        signature = signature_says(files, checked.signed_by, signers)
    return told(checked, odd, signature, _root(files))


def _root(files: Mapping[str, bytes]) -> str:
    try:
        return str(json.loads(files["manifest.json"])["root"])
    except (KeyError, ValueError, TypeError):
        return ""


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """What came of a verification, for people."""
    for one in found["problems"]:
        yield f"PROBLEM {one['path']}: {one['text']}"
    for text in found["not_judged_again"]:
        yield f"NOT JUDGED AGAIN {text}"
    if not found["signed_by"]:
        yield "UNSIGNED: this shows that the packet is whole, not who made it"
    elif found["signature"]:
        yield f"SIGNATURE {found['signature']}"
    else:
        yield f"SIGNED by {found['signed_by']}"
    if found["verified"]:
        yield (
            f"VERIFIED: {found['decision']}, and {found['criteria_judged_again']} criteria judged"
            f" again lead to it; root {found['root']}"
        )
    else:
        yield f"NOT VERIFIED: {len(found['problems'])} problems; believe nothing that it says"


def main(argv: Sequence[str], folder: Path) -> int:
    """Verify the packet that this lies in, or another one.

    Args:
        argv: the words after the program's name.
        folder: where the program lies.

    Returns:
        0 if it is whole and follows from its evidence, 1 if not, 4 if there is none to read.
    """
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify an evidence packet.")
    parser.add_argument("folder", nargs="?", type=Path, default=folder, help="default: this one")
    parser.add_argument("--signers", type=Path, help="an OpenSSH allowed_signers file")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    args = parser.parse_args(argv)
    try:
        found = verified(args.folder, args.signers)
    except OSError as error:
        sys.stderr.write(f"verify.py: cannot read {error.filename}: {error.strerror}\n")
        return EXIT_USAGE
    text = json.dumps(found, indent=1) if args.json else "\n".join(lines_of(found))
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return EXIT_WHOLE if found["verified"] else EXIT_PROBLEMS
