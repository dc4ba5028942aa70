"""``baton tasks``: what an operator may know of tasks, and do to them."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from baton.cli import values
from baton.cli.output import ago, print_facts, print_json, print_table
from baton.cli.parser import (
    Parser,
    Verbs,
    add_group,
    add_json,
    add_pool,
    add_store,
    add_verb,
    store_url,
)
from baton.domain.ledger import task_chain
from baton.domain.transitions import OPERATOR_ACTIONS
from baton.domain.words import TaskState
from baton.errors import BadInput
from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.fleet.model import Task
from baton.observe.trouble import Trouble, trouble_of, troubles

#: How many events of a task ``show`` prints.
_EVENTS_SHOWN = 10


def spelled_out(words: Sequence[str]) -> list[str]:
    """``baton tasks --troubled`` is short for ``baton tasks list --troubled``."""
    verb, after = [*words, "", ""][:2]
    option = after.startswith("-") and after not in ("-h", "--help")
    if verb == "tasks" and (option or len(words) == 1):
        return ["tasks", "list", *words[1:]]
    return list(words)


def add(verbs: Verbs) -> None:
    """Add the verbs."""
    below = add_group(
        verbs,
        "tasks",
        "see tasks, and act on them",
        "Without a verb of its own it lists. Whatever is done to a task is an event of the ledger.",
        dest="action",
    )
    _add_action(below, "cancel", "end a task for good; its holder is refused from then on")
    _add_list(below)
    _add_action(below, "release", "take a task from its holder, for any worker to continue")
    _add_resume(below)
    _add_action(below, "retry", "begin a new run of a task that failed or was quarantined")
    show = _add_action(below, "show", "say everything about one task")
    show.set_defaults(run=run_show)
    _add_action(below, "takeover", "take a task from its holder, for another worker to continue")


def _add_action(below: Verbs, name: str, summary: str) -> Parser:
    parser = add_verb(below, name, summary)
    add_store(parser)
    add_json(parser)
    parser.add_argument("task", metavar="ID", help="the task")
    parser.set_defaults(run=run_action)
    return parser


def _add_resume(below: Verbs) -> None:
    parser = _add_action(below, "resume", "answer the interrupt that a task waits at")
    parser.add_argument(
        "--value",
        metavar="JSON|@FILE",
        required=True,
        help="the answer, written out or in a file",
    )


def _add_list(below: Verbs) -> None:
    parser = add_verb(below, "list", "list tasks, newest first")
    add_store(parser)
    add_json(parser)
    add_pool(parser, "only tasks of this pool")
    parser.add_argument(
        "--state",
        choices=sorted(state.value for state in TaskState),
        help="only tasks in this state",
    )
    parser.add_argument(
        "--troubled",
        action="store_true",
        help="only tasks that need somebody, worst first: why, and what can be done",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=values.count,
        default=100,
        help="how many at most; with --troubled, how many of each state (default: 100)",
    )
    parser.set_defaults(run=run_list)


def _open(args: Namespace) -> Fleet:
    return open_fleet(store_url(args), create=False)


def run_list(args: Namespace) -> int:
    """List tasks."""
    if args.troubled and args.state:
        raise BadInput(detail="--troubled looks at every state; leave out --state")
    with _open(args) as fleet:
        now_us = fleet.store.clock.now_us()
        if args.troubled:
            _print_troubles(troubles(fleet.store, pool=args.pool, limit=args.limit), now_us, args)
            return 0
        state = args.state and TaskState(args.state)
        # One more than shown, to know whether that was all.
        found = fleet.store.tasks(state=state, pool=args.pool, limit=args.limit + 1)
    shown = found[: args.limit]
    if args.json:
        print_json([task.to_dict() for task in shown])
    elif shown:
        head = ("TASK", "POOL", "GRAPH", "STATE", "WORKER", "EPOCH", "SUBMITTED")
        print_table(head, [_row(task, now_us) for task in shown])
    else:
        print("no tasks")
    if len(found) > len(shown):
        print(f"baton: note: only the newest {args.limit}; see --limit", file=sys.stderr)
    return 0


def _row(task: Task, now_us: int) -> tuple[object, ...]:
    submitted = f"{ago(task.submitted_at, now_us)} ago"
    about = (task.task_id, task.pool, task.graph, task.state.value)
    return (*about, task.worker_id, task.epoch, submitted)


def _print_troubles(found: Sequence[Trouble], now_us: int, args: Namespace) -> None:
    if args.json:
        print_json([trouble.to_dict() for trouble in found])
    elif found:
        rows = [
            (
                trouble.task.task_id,
                trouble.task.state.value,
                ago(trouble.since, now_us),
                trouble.what,
                trouble.mend,
            )
            for trouble in found
        ]
        print_table(("TASK", "STATE", "FOR", "WHAT", "WHAT TO DO"), rows)
    else:
        print("no task is in trouble")


def run_show(args: Namespace) -> int:
    """Say everything about one task."""
    with _open(args) as fleet:
        store = fleet.store
        task = store.task(args.task)
        events = store.chain(task_chain(task.task_id))
        trouble = trouble_of(store, task)
        now_us = store.clock.now_us()
    if args.json:
        print_json(
            {
                **task.to_dict(),
                "trouble": trouble.what if trouble else None,
                "mend": trouble.mend if trouble else None,
                "actions": _legal(task),
                "events": [event.to_dict() for event in events],
            }
        )
        return 0
    print_facts([*_facts(task, trouble, now_us), ("you may", ", ".join(_legal(task)))])
    print()
    rows = [
        (f"{ago(event.at, now_us)} ago", event.type, event.worker_id, event.epoch, event.reason)
        for event in events[-_EVENTS_SHOWN:]
    ]
    print_table(("WHEN", "EVENT", "WORKER", "EPOCH", "REASON"), rows)
    if len(events) > _EVENTS_SHOWN:
        print(f"({len(events) - _EVENTS_SHOWN} earlier events: baton ledger timeline --task)")
    return 0


def _facts(task: Task, trouble: Trouble | None, now_us: int) -> list[tuple[str, object]]:
    def when(at_us: int | None) -> str | None:
        return None if at_us is None else f"{ago(at_us, now_us)} ago"

    return [
        ("task", task.task_id),
        ("state", task.state.value),
        ("trouble", trouble and trouble.what),
        ("what to do", trouble and trouble.mend),
        ("error", task.error),
        ("graph", task.graph),
        ("pool", task.pool),
        ("runs in", "somebody's own runtime" if task.external else "workers"),
        ("run", task.run_id),
        ("epoch", task.epoch),
        ("worker", task.worker_id),
        ("session", task.session_id),
        ("submitted", when(task.submitted_at)),
        ("claimed", when(task.claimed_at)),
        ("ended", when(task.ended_at)),
        ("fruitless takeovers", task.fruitless or None),
        ("input digest", task.input_digest),
    ]


def _legal(task: Task) -> list[str]:
    """What an operator may do to the task as it stands."""
    acts = [
        name
        for name, (states, after) in OPERATOR_ACTIONS.items()
        if task.state in states and after is not None
    ]
    return sorted([*acts, "resume"] if task.state is TaskState.INTERRUPTED else acts)


def run_action(args: Namespace) -> int:
    """Act on one task."""
    value = values.json_value("--value", args.value) if args.action == "resume" else None
    with _open(args) as fleet:
        _act(fleet, args.action, args.task, value)
        task = fleet.task(args.task)
    if args.json:
        print_json(task.to_dict())
    else:
        print(f"task {task.task_id}: {args.action}; it is {task.state.value}, run {task.run_id}")
    return 0


def _act(fleet: Fleet, action: str, task_id: str, value: Any) -> None:
    match action:
        case "cancel":
            fleet.store.cancel(task_id)
        case "resume":
            fleet.resume(task_id, value)
        case "retry":
            fleet.store.retry(task_id)
        case _:
            fleet.store.take_away(task_id, action)
