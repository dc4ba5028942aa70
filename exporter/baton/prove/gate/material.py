"""Everything that a decision rests on, as bytes: gathered once, kept, and judged again from there.

What is judged is always what is kept, so that a replay needs no server and gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baton.domain.gate.answers import Answer
from baton.domain.gate.bench import LEDGER, Case
from baton.domain.gate.facts import Rule
from baton.domain.gate.plan import Ask, plan
from baton.domain.gate.policy import Policy
from baton.domain.gate.words import Reason
from baton.domain.ledger import Event, event_from_dict
from baton.errors import BadInput
from baton.fleet.fleet import package_version
from baton.prove.gate import parse
from baton.prove.gate.rules import rules_in

FORMAT = "baton-gate-1"
INDEX = "index.json"
POLICY = "policy.yaml"

_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a decision rests on.

    Attributes:
        at: the one time that everything was asked about, Unix seconds, whole milliseconds.
        prometheus: the server's address.
        given: parameters that took the place of the policy's.
        policy: as it was read.
        files: bytes by name, below the folder ``raw``.
        answers: what came back, by what was asked.
        places: the file of each answer, by what was asked.
        store: about the ledger; None where no store was given.
    """

    at: float
    prometheus: str
    given: Mapping[str, str]
    policy: Policy
    files: Mapping[str, bytes]
    answers: Mapping[Ask, Answer]
    places: Mapping[Ask, str]
    store: Mapping[str, Any] | None = None
    version: str = field(default_factory=package_version)

    def digest(self, name: str) -> str:
        """SHA-256 of a file."""
        return hashlib.sha256(self.files[name]).hexdigest()

    def events(self) -> list[Event]:
        """The ledger, in the order of its tail.

        Raises:
            ValueError: a line is no event.
        """
        lines = gzip.decompress(self.files[LEDGER]).decode().splitlines()
        return [event_from_dict(json.loads(line)) for line in lines]

    def case(self) -> Case:
        """The material as it is judged."""
        own = "evidence/"
        return Case(
            at=self.at,
            version=self.version,
            prometheus=self.prometheus,
            policy=self.policy,
            policy_sha256=self.digest(POLICY),
            store=self.store,
            answers=self.answers,
            places=self.places,
            digests={name: self.digest(name) for name in self.files},
            rules=self.rules,
            evidence={
                name.removeprefix(own): data
                for name, data in self.files.items()
                if name.startswith(own)
            },
            ledger=self.events,
        )

    def rules(self) -> list[Rule]:
        """The rules of the repository."""
        return [rule for text in self.rule_files() for rule in rules_in(text)]

    def rule_files(self) -> Iterator[bytes]:
        """The files of the rules of the repository."""
        yield from (data for name, data in self.files.items() if name.startswith("rules/"))

    def index(self) -> bytes:
        """What tells what each file is."""
        document = {
            "format": FORMAT,
            "baton": self.version,
            "at": self.at,
            "prometheus": self.prometheus,
            "set": dict(self.given),
            "store": self.store,
            "answers": [
                {
                    "path": ask.path,
                    "parameters": [list(pair) for pair in ask.parameters],
                    "file": self.places[ask],
                    "failure": answer.failure,
                    "detail": answer.detail,
                    "status": answer.status,
                    "content_type": answer.content_type,
                }
                for ask, answer in self.answers.items()
            ],
            "sha256": {name: self.digest(name) for name in sorted(self.files)},
        }
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def load(folder: Path, policy_path: Path | None = None) -> Material:
    """Read what a gate has kept.

    Args:
        folder: what was ``--out``.
        policy_path: another policy to judge it by; it may ask nothing that was not asked.

    Raises:
        BadInput: it is not there, or is not what was kept.
        BadPolicy: the policy is wrong.
    """
    raw = folder / "raw"
    try:
        index = json.loads((raw / INDEX).read_bytes())
        if index["format"] != FORMAT:
            raise BadInput(detail=f"--replay {folder}: its format is not {FORMAT}")
        if index["baton"] != package_version():
            said = f"--replay {folder} was made by Baton {index['baton']}; replay it with that"
            raise BadInput(detail=said)
        files = {name: _kept(raw, name, digest) for name, digest in index["sha256"].items()}
        answers = {_ask(one): _answer(one, files) for one in index["answers"]}
        places = {_ask(one): one["file"] for one in index["answers"]}
        policy = parse.parse(POLICY, files[POLICY].decode(), index["set"])
        at = float(index["at"])
        if policy_path is not None:
            policy, text = parse.load(policy_path, index["set"])
            files[POLICY] = text.encode()
            if odd := [ask for ask in plan(policy, at) if ask not in answers]:
                said = f"--policy {policy_path} asks what was not asked: {odd[0].parameters}"
                raise BadInput(detail=said)
        return Material(
            at=at,
            prometheus=index["prometheus"],
            given=index["set"],
            policy=policy,
            files=files,
            answers=answers,
            places=places,
            store=index["store"],
        )
    except OSError as error:
        said = f"--replay {folder} holds no answers of a gate: {error.strerror}: {error.filename}"
        raise BadInput(detail=said) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(detail=f"--replay {folder}: {INDEX} is not as written: {error}") from error


def _kept(raw: Path, name: str, digest: str) -> bytes:
    if _NAME.fullmatch(name) is None or ".." in name:
        raise BadInput(detail=f"--replay names a file outside of itself: {name!r}")
    data = (raw / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise BadInput(detail=f"--replay: raw/{name} was changed since it was written")
    return data


def _ask(one: Mapping[str, Any]) -> Ask:
    return Ask(one["path"], tuple((str(name), str(value)) for name, value in one["parameters"]))


def _answer(one: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer:
    return Answer(
        failure=None if one["failure"] is None else Reason(one["failure"]),
        detail=one["detail"],
        status=one["status"],
        content_type=one["content_type"],
        body=files[one["file"]],
    )
