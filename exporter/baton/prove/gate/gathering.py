"""Asking, reading and copying everything that a decision rests on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from baton import content
from baton.domain.gate.bench import LEDGER
from baton.domain.gate.plan import plan
from baton.domain.gate.policy import FROM_LEDGER, Kind, Policy
from baton.domain.ledger import Event
from baton.errors import BadInput
from baton.fleet.archive import read_archives
from baton.fleet.store import Store, open_store
from baton.prove.gate import parse
from baton.prove.gate.client import Access, Client
from baton.prove.gate.material import POLICY, Material

_EVIDENCE_BYTES_MAX = 16 * 1024 * 1024


def gather(
    access: Access,
    policy_path: Path,
    given: Mapping[str, str],
    at: float,
    *,
    store_url: str | None,
    archive: Path | None,
    evidence: Path | None,
) -> Material:
    """Ask, read and copy everything.

    Args:
        access: where Prometheus is.
        policy_path: the policy.
        given: parameters that take the place of the policy's.
        at: the time that everything is asked about, Unix seconds.
        store_url: the fleet's store; None for none.
        archive: what was pruned from it.
        evidence: the folder of scenario and soak results.

    Raises:
        BadInput: something that was named cannot be used.
        BadPolicy: the policy is wrong.
        StoreError: the store cannot be read.
    """
    policy, text = parse.load(policy_path, given)
    files = {POLICY: text.encode()}
    rules = content.root() / "alerts"
    for path in sorted(rules.glob("*.rules.yaml")):
        files[f"rules/{path.name}"] = path.read_bytes()
    if evidence is not None:
        files |= _evidence(policy, evidence)
    if store_url is not None:
        # What is missing is said before anybody is asked.
        open_store(store_url, create=False).close()
    with Client(access) as client:
        answers = client.ask_all(plan(policy, at))
    places = {ask: f"answers/{number:03}.json" for number, ask in enumerate(answers, 1)}
    files |= {places[ask]: answer.body for ask, answer in answers.items()}
    about = None
    if store_url is not None and any(one.kind in FROM_LEDGER for one in policy.criteria):
        # After Prometheus was asked: what it has counted is in the ledger by now.
        about, files[LEDGER] = _ledger(store_url, archive)
    return Material(
        at=at,
        prometheus=access.url,
        given=given,
        policy=policy,
        files=dict(sorted(files.items())),
        answers=answers,
        places=places,
        store=about,
    )


def _evidence(policy: Policy, folder: Path) -> Iterator[tuple[str, bytes]]:
    if not folder.is_dir():
        raise BadInput(detail=f"--evidence {folder}: no such folder")
    wanted = (one.option("file") for one in policy.criteria if one.kind is Kind.EVIDENCE)
    for name in dict.fromkeys(wanted):
        path = folder / name
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > _EVIDENCE_BYTES_MAX:
                raise BadInput(detail=f"--evidence {path} is larger than is read")
            yield f"evidence/{name}", path.read_bytes()
        except OSError as error:
            raise BadInput(detail=f"--evidence {path}: {error.strerror}") from error


def _ledger(url: str, archive: Path | None) -> tuple[Mapping[str, Any], bytes]:
    with closing(open_store(url, create=False)) as store:
        while True:
            pruned = store.pruned()
            events = list(_events(store, archive))
            if store.pruned() == pruned:
                break
        about = {
            "id": store.store_id,
            "events": len(events),
            "pruned_chains": pruned.chains,
            "archived": archive is not None,
        }
    lines = "".join(f"{json.dumps(one.to_dict(), ensure_ascii=False)}\n" for one in events)
    return about, gzip.compress(lines.encode(), mtime=0)


def _events(store: Store, archive: Path | None) -> Iterable[Event]:
    """What was archived and what the store has, each event once, in the order of the tail."""
    kept = _tail(store)
    if archive is None:
        return kept
    seen: dict[tuple[str, int, str], Event] = {}
    for event in chain(read_archives(archive), kept):
        seen.setdefault((event.chain, event.n, event.hash), event)
    return sorted(seen.values(), key=lambda event: event.seq)


def _tail(store: Store) -> Iterator[Event]:
    after = 0
    while page := store.events(after):
        after = page[-1].seq
        yield from page
