"""Whether a packet is whole, and everything that it says follows from the evidence in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from baton.domain.packet.derive import derived
from baton.domain.packet.layout import DECISION, RELEASE, SIGNATURE
from baton.domain.packet.manifest import Problem, problems

#: What whoever verifies may still want to know, where the standard library cannot tell it.
POLICY_UNREAD = (
    "gate-inputs.json: whether it is what gate/raw/policy.yaml and gate/raw/rules say, as the"
    " standard library reads no YAML; `baton packet verify` compares them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of verifying a packet.

    Attributes:
        problems: everything that is not as it has to be; empty if it is whole and follows.
        decision: what its evidence leads to, in this verification.
        criteria: how many criteria were judged again.
        not_recomputed: what was taken at its word, in words.
        signed_by: whom the packet names as its signer; empty if nobody.
    """

    problems: tuple[Problem, ...]
    decision: str
    criteria: int
    not_recomputed: tuple[str, ...]
    signed_by: str = ""


def check(files: Mapping[str, bytes]) -> Checked:
    """Verify a packet.

    Args:
        files: everything in its folder, by name.
    """
    found = list(problems(files))
    try:
        again = derived(files)
        decision = json.loads(again[DECISION])
    except Exception as error:  # noqa: BLE001 - damaged evidence may be wrong in any way
        said = f"nothing can be derived from the evidence: {type(error).__name__}: {error}"
        found.append(Problem(DECISION, said))
        return Checked(problems=tuple(found), decision="", criteria=0, not_recomputed=())
    found += _differing(files, again)
    found += _unsigned(files)
    not_again = list(decision["not_recomputed"])
    return Checked(
        problems=tuple(found),
        decision=decision["decision"],
        criteria=sum(decision["counts"].values()) - len(not_again),
        not_recomputed=(*_words(files, not_again),),
        signed_by=_signer(files),
    )


def _differing(files: Mapping[str, bytes], again: Mapping[str, bytes]) -> Iterator[Problem]:
    for name, data in again.items():
        if name in files and files[name] != data:
            yield Problem(name, "is not what the evidence leads to")


def _words(files: Mapping[str, bytes], rows: list[str]) -> Iterator[str]:
    if rows:
        yield f"{', '.join(rows)}: what was run elsewhere, taken at its word"
    if any(name.startswith("gate/") for name in files):
        yield POLICY_UNREAD


def _signer(files: Mapping[str, bytes]) -> str:
    try:
        return str(json.loads(files[RELEASE]).get("signed_by") or "")
    except (KeyError, ValueError, AttributeError):
        return ""


def _unsigned(files: Mapping[str, bytes]) -> Iterator[Problem]:
    signer = _signer(files)
    if signer and SIGNATURE not in files:
        yield Problem(SIGNATURE, f"is missing: the packet says that {signer} signed it")
    if not signer and SIGNATURE in files:
        yield Problem(SIGNATURE, "was added: the packet does not say that anybody signed it")
