"""Building a packet, whole or not at all, and verifying one with everything that Baton has."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baton.domain.packet.check import POLICY_UNREAD
from baton.domain.packet.derive import derived
from baton.domain.packet.layout import (
    DECISION,
    GATE_INPUTS,
    MANIFEST,
    RELEASE,
    SIGNATURE,
    VERIFIER,
    entry_of,
)
from baton.domain.packet.manifest import document_of, manifest_of
from baton.errors import BadInput
from baton.prove.packet.bundle import verifier
from baton.prove.packet.gathering import gate_inputs, gathered
from baton.prove.packet.standalone import NAMESPACE, read_folder, verified
from baton.prove.scenarios.evidence import folder

_SIGN_SECONDS = 60.0


def build(
    out: Path, run: Path, *, key: Path | None = None, signer: str = "", replace: bool = False
) -> dict[str, Any]:
    """Build a packet.

    Args:
        out: a new or empty folder, or with ``replace`` an earlier packet.
        run: the folder that a release check left.
        key: an SSH key to sign with; None to leave it unsigned.
        signer: who that is.
        replace: put it in the place of an earlier packet.

    Returns:
        The decision.

    Raises:
        BadInput: something that was named cannot be used; then nothing was written.
    """
    files = gathered(run)
    files = {name: data for name, data in files.items() if entry_of(name) is not None}
    release = _release(files[RELEASE], signer if key else "")
    files[RELEASE] = document_of(release)
    files |= derived(files)
    files[VERIFIER] = verifier()
    files[MANIFEST] = manifest_of(files)
    with _place(out, replace=replace) as place:
        for name, data in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (place / VERIFIER).chmod(0o755)
        if key is not None:
            _sign(place / MANIFEST, key)
    decision: dict[str, Any] = json.loads(files[DECISION])
    return decision


def _release(data: bytes, signer: str) -> dict[str, Any]:
    try:
        release: dict[str, Any] = dict(json.loads(data))
    except (ValueError, TypeError) as error:
        raise BadInput(detail=f"{RELEASE} is no JSON object: {error}") from error
    return {**release, "signed_by": signer or None}


@contextmanager
def _place(out: Path, *, replace: bool) -> Iterator[Path]:
    """A folder that takes its name only when it is whole."""
    if not (replace and (out / MANIFEST).is_file()):
        with folder(out) as place:
            yield place
        return
    fresh, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    with folder(fresh) as place:
        yield place
    try:
        out.rename(old)
        fresh.rename(out)
    except OSError as error:
        raise BadInput(detail=f"cannot replace {out}: {error.strerror}") from error
    shutil.rmtree(old)


def _sign(manifest: Path, key: Path) -> None:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise BadInput(detail="--sign needs ssh-keygen, which is not on PATH; install OpenSSH")
    done = subprocess.run(
        [program, "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(manifest)],
        capture_output=True,
        timeout=_SIGN_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode or not manifest.with_name(SIGNATURE).is_file():
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise BadInput(detail=f"--sign {key}: {said or 'no signature was made'}")


def verify(packet: Path, signers: Path | None) -> dict[str, Any]:
    """Verify a packet, and compare what the standard library cannot read.

    Args:
        packet: its folder.
        signers: an OpenSSH ``allowed_signers`` file; None for none.

    Raises:
        BadInput: there is no packet, or it cannot be read.
    """
    if not packet.is_dir():
        raise BadInput(detail=f"{packet}: no such folder; name one that `baton packet build` made")
    try:
        found = verified(packet, signers)
        files, _ = read_folder(packet)
    except OSError as error:
        raise BadInput(detail=f"cannot read {error.filename}: {error.strerror}") from error
    found["not_judged_again"] = [one for one in found["not_judged_again"] if one != POLICY_UNREAD]
    if said := _inputs_differ(files):
        found["problems"].append({"path": GATE_INPUTS, "text": said})
        found["verified"] = False
    return found


def _inputs_differ(files: dict[str, bytes]) -> str:
    """Why the gate's inputs are not what its YAML says; empty where they are."""
    try:
        again = gate_inputs(files)
    except Exception as error:  # noqa: BLE001 - damaged evidence may be wrong in any way
        return f"cannot be compared with what it was read from: {error}"
    if again is not None and files.get(GATE_INPUTS) != again:
        return "is not what gate/raw/policy.yaml and gate/raw/rules say"
    return ""
