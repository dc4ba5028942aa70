"""Reading a gate's policy: strict, with the line and a mend for whatever is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from types import MappingProxyType

from baton.domain.catalogue import CATALOGUE
from baton.domain.continuity import LEDGER_ONLY
from baton.domain.folds import FOLDED
from baton.domain.gate.policy import (
    ID,
    Criterion,
    Enough,
    Kind,
    Limit,
    Policy,
    Waiver,
    in_order,
    seconds_of,
)
from baton.errors import BadInput, BadPolicy, BadScenario
from baton.fleet.fleet import package_version
from baton.observe.collector import CONTRACT_VERSION
from baton.observe.settings import Settings
from baton.prove.scenarios.reader import Place, Table, read_yaml

FORMAT = "1.0.0"

_NAMED = re.compile(r"\$([a-z_]+)")
_NO_WORDS: tuple[str, ...] = ()

#: Parameters with a meaning of their own, and what they are where a file does not say.
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "window": "15m",
        "scrape_interval": "15s",
        "stale_after": "40s",
        "gap_max": "60s",
        "coverage_min": "0.9",
        "slack": "5s",
        "exporter_job": Settings().exporter_job,
        "worker_job": Settings().worker_job,
        "contract": CONTRACT_VERSION,
        "version": package_version(),
    }
)

#: What each kind takes under ``with``, and what of it has to be there.
OPTIONS: Mapping[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        Kind.QUERY: ((), ()),
        Kind.CATALOGUE: (("optional",), ()),
        Kind.RULES: ((), ()),
        Kind.LEDGER: ((), ()),
        Kind.ASSERTIONS: (("assertions",), ("assertions",)),
        Kind.REFUSALS: ((), ()),
        Kind.AGREEMENT: (("metrics",), ("metrics",)),
        Kind.EVIDENCE: (
            ("file", "at", "field", "wants", "at_least"),
            ("file", "at", "wants"),
        ),
    }
)


def load(path: Path, given: Mapping[str, str] | None = None) -> tuple[Policy, str]:
    """Read a policy from a file; also returns its text.

    Args:
        path: the file.
        given: parameters that take the place of the file's.

    Raises:
        BadInput: it cannot be read at all, or has no such parameter.
        BadPolicy: something in it is wrong; the message names file, line and mend.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise BadInput(detail=f"cannot read --policy {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(detail=f"--policy {path} is not UTF-8 text (byte {error.start})") from error
    return parse(str(path), text, given), text


def parse(origin: str, text: str, given: Mapping[str, str] | None = None) -> Policy:
    """Read a policy from a text.

    Args:
        origin: what to call it in messages.
        text: YAML.
        given: parameters that take the place of the file's.

    Raises:
        BadInput: it has no such parameter, or the parameter makes no sense.
        BadPolicy: something in it is wrong.
    """
    try:
        return _policy(read_yaml(origin, text, "the policy").table(), given or {})
    except BadScenario as error:
        raise BadPolicy(**error.fields) from error


def _policy(table: Table, given: Mapping[str, str]) -> Policy:
    version = table.need("version")
    if version.text() != FORMAT:
        version.wrong(f"the format is {version.text()!r}", f"this Baton reads {FORMAT!r}")
    parameters = _parameters(table, given)
    owner = table.get("owner", Place.text, "")
    place = table.need("criteria")
    criteria = tuple(_criterion(item.table(), parameters, owner) for item in place.items())
    _check_criteria(place, criteria)
    waivers = table.maybe("waivers")
    policy = Policy(
        name=table.need("name").text(),
        window_seconds=_seconds(table, parameters, "window"),
        interval_seconds=_seconds(table, parameters, "scrape_interval"),
        stale_seconds=_seconds(table, parameters, "stale_after"),
        gap_seconds=_seconds(table, parameters, "gap_max"),
        coverage_min=_share(table, parameters, "coverage_min"),
        slack_seconds=_seconds(table, parameters, "slack"),
        runbook=table.get("runbook", Place.text, "docs/gate.md"),
        criteria=criteria,
        waivers=tuple(_waiver(item.table(), criteria) for item in waivers.items())
        if waivers
        else (),
        parameters=MappingProxyType(parameters),
    )
    table.end()
    return policy


def _parameters(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    own: dict[str, str] = {}
    if (place := table.maybe("parameters")) is not None:
        for name, value in place.table().all().items():
            if _NAMED.fullmatch(f"${name}") is None:
                value.wrong(f"{name!r} is no parameter", "use small letters and '_'")
            own[name] = value.text()
    known = {**BUILT_IN, **own}
    for name in given:
        if name not in known:
            raise BadInput(
                detail=f"--set names {name!r}; the policy has {', '.join(sorted(known))}"
            )
    return {**known, **given}


def _seconds(table: Table, parameters: Mapping[str, str], name: str) -> float:
    try:
        return seconds_of(parameters[name])
    except ValueError as error:
        return table.place.wrong(f"parameter {name}: {error}", "write 15m, 30s or 1h30m")


def _share(table: Table, parameters: Mapping[str, str], name: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(parameters[name])) <= 1:
            return value
    return table.place.wrong(
        f"parameter {name} is {parameters[name]!r}", "write a share above 0 and up to 1"
    )


def _check_criteria(place: Place, criteria: tuple[Criterion, ...]) -> None:
    ids = [one.id for one in criteria]
    if not ids:
        place.wrong("there is no criterion", "a gate that asks nothing proves nothing")
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        place.wrong(f"{twice[0]} is there twice", "give each its own id")
    try:
        in_order(criteria)
    except ValueError as error:
        place.wrong(str(error), "name criteria of this file under `needs`, and no circle")


def _criterion(table: Table, parameters: Mapping[str, str], owner: str) -> Criterion:
    id_ = table.need("id")
    if ID.fullmatch(id_.text()) is None:
        id_.wrong(
            f"{id_.text()!r} is no id of a criterion",
            "begin with COV-, CONT-, LAT-, FRESH- or COMP- and go on in capitals",
        )
    kind = Kind(table.get("check", lambda p: p.one_of(Kind, "kind of check"), Kind.QUERY.value))
    empty = table.maybe("empty_is")
    if empty is not None and "samples" not in table:
        empty.wrong("`empty_is` without `samples`", "name the series that show it is a true zero")
    should = table.maybe("should")
    criterion = Criterion(
        id=id_.text(),
        question=_line(table.need("question")),
        why=_line(table.need("why")),
        next_action=_line(table.need("next")),
        kind=kind,
        query=_promql(table.need("query"), parameters) if kind is Kind.QUERY else "",
        samples=_samples(table, kind, parameters),
        each=table.get("each", Place.yes, False),
        series_min=table.get("series_min", lambda p: p.count(1), 1),
        empty_is=None if empty is None else empty.number(),
        enough=table.get("enough", lambda p: _enough(p, parameters), None),
        must=_limit(table.need("must")),
        should=None if should is None else _limit(should),
        unit=table.get("unit", Place.text, ""),
        resets_max=table.get("resets_max", lambda p: p.count(), 0),
        needs=table.get("needs", Place.words, _NO_WORDS),
        owner=table.get("owner", Place.text, owner),
        waivable=table.get("waivable", Place.yes, True),
        options=_options(table, kind, parameters),
    )
    table.end()
    if not criterion.owner:
        table.place.wrong(f"{criterion.id} has no owner", "add `owner: …` here or to the policy")
    return criterion


def _samples(table: Table, kind: Kind, parameters: Mapping[str, str]) -> str:
    if kind is not Kind.QUERY:
        return ""
    return _promql(table.need("samples"), parameters)


def _line(place: Place) -> str:
    return " ".join(place.text().split())


def _promql(place: Place, parameters: Mapping[str, str]) -> str:
    return filled(place, _line(place), parameters)


def filled(place: Place, text: str, parameters: Mapping[str, str]) -> str:
    """A text with its ``$names`` replaced."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in parameters:
            place.wrong(f"there is no parameter ${name}", f"choose from {', '.join(parameters)}")
        return parameters[name]

    return _NAMED.sub(value, text)


def _limit(place: Place) -> Limit:
    try:
        return Limit.parse(place.text())
    except ValueError as error:
        return place.wrong(f"{place.name}: {error}", "write a sign and a number")


def _enough(place: Place, parameters: Mapping[str, str]) -> Enough:
    table = place.table()
    enough = Enough(_promql(table.need("query"), parameters), table.need("at_least").number())
    table.end()
    return enough


def _options(
    table: Table, kind: Kind, parameters: Mapping[str, str]
) -> Mapping[str, tuple[str, ...]]:
    place = table.maybe("with")
    known, needed = OPTIONS[kind]
    if place is None:
        if needed:
            table.place.wrong(f"`check: {kind}` has no `with`", f"add {', '.join(needed)}")
        return MappingProxyType({})
    inside = place.table()
    found: dict[str, tuple[str, ...]] = {}
    for name in known:
        value = inside.need(name) if name in needed else inside.maybe(name)
        if value is not None:
            found[name] = tuple(filled(value, word, parameters) for word in _words_of(name, value))
    inside.end()
    if not found.get("at_least", ("1",))[0].isdecimal():
        inside.need("at_least").wrong("at_least is no whole number", "write 1 or more")
    return MappingProxyType(found)


def _words_of(name: str, place: Place) -> tuple[str, ...]:
    if name == "assertions":
        return place.words(LEDGER_ONLY, "assertion that a ledger alone can judge")
    if name == "metrics":
        return place.words([m.name for m in FOLDED if not m.buckets], "count of the ledger")
    if name == "optional":
        return place.words([metric.name for metric in CATALOGUE], "metric of the catalogue")
    return (place.text(),)


def _waiver(table: Table, criteria: tuple[Criterion, ...]) -> Waiver:
    by_id = {one.id: one for one in criteria}
    name = table.need("criterion")
    criterion = by_id[name.one_of(by_id, "criterion of this policy")]
    if not criterion.waivable:
        name.wrong(f"{criterion.id} cannot be waived", "mend what it finds")
    expires = table.need("expires")
    try:
        day = date.fromisoformat(expires.text())
    except ValueError:
        expires.wrong(f"{expires.text()!r} is no day", "write it as 2026-12-31")
    waiver = Waiver(
        criterion=criterion.id,
        owner=table.need("owner").text(),
        reason=_line(table.need("reason")),
        expires=day,
    )
    table.end()
    return waiver
