"""docs/gate.md: how to ask the gate, what its words mean, and a section for each criterion."""

from __future__ import annotations

from collections.abc import Iterator

from baton import content
from baton.domain.gate.policy import FROM_LEDGER, SELF_TEST, Criterion, Kind, Policy
from baton.domain.gate.words import MEANINGS, Status
from baton.prove.gate.parse import BUILT_IN, OPTIONS, parse

_HEAD = """\
# The release gate

Rendered by `baton render` from `gates/release.yaml`; do not edit by hand.

```sh
baton gate --prometheus http://127.0.0.1:9090 --store sqlite:///fleet.db --evidence evidence \\
  --out gate-out
```

It asks everything at one time, keeps every answer, and decides: exit 0 for GO (also "GO with
reservations"), 1 for NO-GO, 2 if something could not be judged, 3 if it could not ask or cannot be
trusted, 4 if a person has to mend the command. `--out` gets `decision.json`, `DECISION.md` (fit for
the summary of a CI job), `junit.xml`, and `raw/`: the answers, the ledger, the policy and the
evidence, each with its SHA-256 in the index.

```sh
baton gate --replay gate-out --out gate-again   # the same bytes, and nobody is asked
```

What makes a yes of it worth something:

- No data, NaN, old, partial, doubled or unexpected data is never a pass: each has a reason code.
  Before a value counts, the raw samples that it rests on have to cover the window without a gap.
- A criterion after one that it `needs`, and that does not hold, is BLOCKED.
- Worst wins, and nothing is outvoted: {statuses}.
- Continuity is judged from the ledger, and the exporter's counts are held against it.
- In every run the gate first proves that it sees what is wrong on purpose ({self_test}).
- A waiver needs an owner, a reason and a day on which it ends. It covers what fails, never what is
  unknown; what is about continuity cannot be waived.

A window has to lie within the life of what is judged: start the release candidate, exercise it
(kill, freeze, drain: [scenarios.md](scenarios.md)), wait until a window has passed, then ask.
`--set window=30m` changes a parameter; `--at` asks about another time.

Secrets: a bearer token comes from `--token-file` or `BATON_PROMETHEUS_TOKEN`, `USER:PASSWORD` from
`--basic-file` or `BATON_PROMETHEUS_BASIC`; certificates are always verified, `--ca-file` names
others to trust. Redirects are not followed. No secret is in any output.

## In a release job

`gates/release_gate.py` is `baton gate` for jobs that run from a checkout. On GitHub Actions:

```yaml
jobs:
  gate:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install '.[gates,postgres]'
      - run: baton scenario run --out evidence/scenarios
      - run: baton compat --check --out evidence/compat.json
      - run: python gates/release_gate.py --evidence evidence --out gate-out
        env:
          BATON_PROMETHEUS: https://prometheus.example.org
          BATON_STORE: ${{ secrets.BATON_STORE }}
          BATON_PROMETHEUS_TOKEN: ${{ secrets.PROMETHEUS_TOKEN }}
      - if: always()
        run: cat gate-out/DECISION.md >> "$GITHUB_STEP_SUMMARY"
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: gate
          path: gate-out
```

On GitLab CI:

```yaml
gate:
  image: python:3.12
  variables:
    BATON_PROMETHEUS: https://prometheus.example.org
  script:
    - pip install '.[gates,postgres]'
    - baton scenario run --out evidence/scenarios
    - baton compat --check --out evidence/compat.json
    - python gates/release_gate.py --evidence evidence --out gate-out
  artifacts:
    when: always
    paths: [gate-out]
    reports:
      junit: gate-out/junit.xml
```

## Reason codes

| code | gives | means | then |
|---|---|---|---|
{reasons}

## What a policy may say

Unknown keys, parameters, metrics and assertions are errors that name the line;
`gates/policy.schema.json` is the format for editors. A policy has a `version`, a `name`, an
`owner`, `parameters` that queries name as `$name`, `criteria` in order, and `waivers`.

| key of a criterion | meaning |
|---|---|
| `id` | its name: COV-, CONT-, LAT-, FRESH- or COMP- and more |
| `question` `why` `next` | what it asks, what is at stake, what to do where it fails |
| `check` | how it comes by its value: {kinds} (left out: query) |
| `query` `samples` | PromQL, and the selector whose raw samples have to cover the window |
| `must` `should` | a sign and a number: what fails, and what is a reservation |
| `each` `series_min` | compare every series and not one, and how many there must be |
| `empty_is` | what an empty answer means where `samples` are there |
| `enough` | `{query, at_least}`: what must have happened before a value means anything |
| `resets_max` | how often a count in `samples` may fall back (0) |
| `needs` `owner` `unit` | what it rests on, who answers for it, of what it is |
| `waivable` | whether a waiver may cover it (true) |
| `with` | what a check takes: {options} |

Parameters that are always there, and their values where a policy does not say: {parameters}.

# Criteria

What holds for every criterion. **INCONCLUSIVE** is about the data: mend what the reason code names
and ask again, and never widen a limit for it. **ERROR** is about the way to the data. **FAIL** is
about the fleet: the section says what to do. The release waits in all three cases.
"""


def render_gate_doc() -> str:
    """The page, from the policy that ships with Baton."""
    path = content.root() / "gates" / "release.yaml"
    policy = parse(path.name, path.read_text(encoding="utf-8"))
    head = (
        _HEAD.replace("{statuses}", " < ".join(Status))
        .replace("{self_test}", f"`{SELF_TEST}`")
        .replace("{reasons}", "\n".join(_reasons()))
        .replace("{kinds}", ", ".join(f"`{kind}`" for kind in Kind))
        .replace("{options}", "; ".join(_options()))
        .replace("{parameters}", ", ".join(_parameters()))
    )
    sections = [section(policy, one) for one in policy.criteria]
    return "\n".join([head, _self_section(), *sections])


def _reasons() -> Iterator[str]:
    for reason, meaning in MEANINGS.items():
        then = meaning.next_action or "-"
        yield f"| `{reason}` | {meaning.status} | {meaning.text} | {then} |"


def _options() -> Iterator[str]:
    for kind, (known, _) in OPTIONS.items():
        if known:
            yield f"{kind}: {', '.join(f'`{name}`' for name in known)}"


def _parameters() -> Iterator[str]:
    for name, value in BUILT_IN.items():
        shown = "this Baton's" if name in ("contract", "version") else f"`{value}`"
        yield f"`{name}` {shown}"


def _self_section() -> str:
    return f"""\
## {SELF_TEST}

**Question.** Does the gate itself see what is wrong? Answers that are wrong on purpose, and three
questions to the server whose answers are known, have to lead to their codes.

**Then.** With another code than `GATE_BROKEN` the server is in trouble: see the reason codes. With
`GATE_BROKEN` something between gate and Prometheus makes answers up, or the gate has a bug: trust
no decision, keep `raw/`, and tell the Baton maintainers.
"""


def section(policy: Policy, one: Criterion) -> str:
    """The section of a criterion."""
    return "\n".join([f"## {one.id}", "", *_section(policy, one)])


def _section(policy: Policy, one: Criterion) -> Iterator[str]:
    limits = f"must be {one.must}" + (f", should be {one.should}" if one.should else "")
    yield f"**Question.** {one.question} The value {limits} {one.unit}".rstrip() + "."
    yield ""
    yield f"**Why.** {one.why}"
    yield ""
    yield from _first_look(policy, one)
    yield "| you see | then |"
    yield "|---|---|"
    yield f"| FAIL | {one.next_action} |"
    if one.needs:
        needs = ", ".join(f"[{name}](#{name.lower()})" for name in one.needs)
        yield f"| BLOCKED | mend {needs} first |"
    if one.enough is not None:
        least = f"{one.enough.at_least:g}"
        yield f"| LOW_SAMPLES | `{one.enough.query}` is below {least}: exercise it |"
    yield "| another code | see the reason codes above; run the gate again when it is mended |"
    yield ""
    yield "**Never.** Do not take it out of the policy, or widen it, to get a release out: write a"
    if one.waivable:
        yield "waiver with your name and a day."
    else:
        yield "incident. It cannot be waived."
    yield ""
    yield "**Verify.** Run the gate again after one more window."
    yield ""
    yield f"**Escalate.** The {one.owner}, who answers for it."
    yield ""


def _first_look(policy: Policy, one: Criterion) -> Iterator[str]:
    if one.query:
        yield "**First query**"
        yield ""
        yield f"```promql\n{one.query}\n```"
    elif one.kind in FROM_LEDGER:
        yield "**First command**"
        yield ""
        command = "baton ledger verify" + (" --continuity" if one.kind is Kind.ASSERTIONS else "")
        yield f"```sh\n{command}\n```"
    elif one.kind is Kind.CATALOGUE:
        yield "**First query**"
        yield ""
        job = policy.parameters["exporter_job"]
        yield f'```promql\ncount by (job) (up{{job=~"{job}"}})\n```'
    elif one.kind is Kind.RULES:
        yield "**First command**"
        yield ""
        yield "```sh\nbaton render --check\n```"
    else:
        yield "**First look.**"
        at = one.option("at") + one.option("field")
        wants = one.option("wants")
        yield f"`{one.option('file')}` in the evidence, at `{at}`: it has to be `{wants}`."
    yield ""
