"""``baton render``: alert rules, dashboards and their pages, for this operator's fleet."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from baton.cli.parser import Verbs, add_verb

EXIT_DRIFTED = 1


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "render",
        "write alert rules, dashboards and the pages about them",
        "Writes alerts/, contract/, dashboards/ and docs/ below a folder, from the metric catalogue"
        " and your settings: budgets, thresholds, pools, job labels, links. The same settings give"
        " the same bytes. With --check nothing is written; exit 1 names each that has drifted.",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare instead of writing; exit 1 if any differs"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="your settings, in YAML; docs/settings.md lists them (default: none are changed)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="the folder to write to or to compare with (default: the current one)",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Render."""
    # Imported here: a worker that starts need not wait for what draws dashboards.
    from baton.cli.reference import render_cli_doc
    from baton.domain.ledger_schema import render_ledger_schema
    from baton.observe import render
    from baton.observe.settings import Settings
    from baton.prove.gate.doc import render_gate_doc
    from baton.prove.scenarios.doc import render_scenarios_doc

    settings = Settings() if args.config is None else Settings.load(args.config)
    files = {
        **render.rendered(settings),
        "contract/ledger.schema.json": render_ledger_schema(),
        "docs/cli.md": render_cli_doc(),
        "docs/gate.md": render_gate_doc(),
        "docs/scenarios.md": render_scenarios_doc(),
    }
    if args.check:
        wrong = render.drifted(files, args.out)
        for line in wrong:
            print(line)
        return EXIT_DRIFTED if wrong else 0
    render.write(files, args.out)
    for name in render.left_over(files, args.out):
        print(f"{args.out / name} is not rendered any more; remove it", file=sys.stderr)
    print(f"{len(files)} files written below {args.out.resolve()}")
    return 0
