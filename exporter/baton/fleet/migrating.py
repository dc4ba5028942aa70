"""What a new schema may do to those who use a store: additions go on, a break is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from baton.errors import StoreUnreachable


def refuse_a_break(
    url: str,
    found: int,
    breaking: Collection[int],
    *,
    asked: bool,
    alive: Callable[[], Sequence[str]],
) -> None:
    """Refuse what processes of an earlier version cannot live with, unless none is left.

    Args:
        url: for the message.
        found: the schema that the store has; 0 if there is none yet.
        breaking: the schemas of this version that an earlier one cannot live with.
        asked: somebody has asked for the migration; whoever only starts to work has not.
        alive: the workers whose sessions live.

    Raises:
        StoreUnreachable: it is not asked for, or not yet possible.
    """
    ahead = sorted(version for version in breaking if version > found > 0)
    if not ahead:
        return
    if not asked:
        detail = (
            f"its schema is {found}, and workers of that version cannot live with {ahead[0]}; stop"
            " them, then run `baton store migrate`"
        )
        raise StoreUnreachable(url=url, detail=detail)
    if workers := alive():
        names = ", ".join(workers)
        detail = (
            f"workers {names} run on its schema {found} and cannot live with {ahead[0]}; stop them"
            " first"
        )
        raise StoreUnreachable(url=url, detail=detail)
