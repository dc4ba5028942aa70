"""The recorder's notation says what was scraped, and which series a rule takes."""

from __future__ import annotations

import pytest
from tools.queries import grouping_labels, selectors
from tools.tape import Tape, compressed


@pytest.mark.parametrize(
    ("found", "looked", "text"),
    [
        ({0: 1, 1: 1, 2: 1}, [0, 1, 2], "1x2"),
        ({0: 1, 1: 2, 2: 2.5}, [0, 1, 2], "1 2 2.5"),
        ({1: 7}, [0, 1, 2, 3, 4], "_x1 7 stale _x2"),
        ({0: 7, 3: 7}, [0, 1, 2, 3], "7 stale _x1 7"),
        ({0: 7, 3: 7}, [0, 3], "7x3"),
        ({0: 7}, [0, 1, 3], "7 stale _x2"),
    ],
)
def test_runs_are_folded_and_ends_are_marked(
    found: dict[int, float], looked: list[int], text: str
) -> None:
    """A series that a scrape lacks has ended; a second without a scrape says nothing."""
    assert compressed(found, looked) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({0: 1, 1: 2, 2: 3, 3: 4, 4: 5}, "1 3 5x2"),
        ({0: 7, 1: 7}, "7 stale _x1"),
        ({4: 7}, "_x2 7x2"),
    ],
)
def test_a_recording_is_thinned_and_goes_on(found: dict[int, float], text: str) -> None:
    """Every other second; what has not ended then stays as it was twice more, and nothing else."""
    assert compressed(found, [0, 1, 2, 3, 4], every=2, hold=2) == text


def test_a_date_does_not_grow_old_while_the_recorder_is_late() -> None:
    """A sample of a second without a scrape would be a second older than what was served."""
    found = {0: 7.0, 3: 7.0}
    assert compressed(found, [0, 3], dates=True) == "7 _x2 7"


def test_points_in_time_are_counted_from_the_start() -> None:
    """The clock of a test begins at 0, so 1970 was long before it."""
    tape = Tape()
    tape.looked.append(0)
    tape.note(0, "a_total", {"b": "c"}, 3)
    tape.note(0, "other", {}, 3)
    lines = dict(tape.lines(lambda name, _: name != "other"))
    assert lines == {'a_total{b="c"}': "3"}
    tape.note(0, "x_timestamp_seconds", {}, 5)
    (value,) = [text for name, text in tape.lines(lambda name, _: name.startswith("x_"))]
    assert float(value) < -1e9


def test_a_rule_takes_what_it_selects() -> None:
    """By name and by every kind of matcher, inside functions too."""
    (one,) = selectors('rate(a{b="c", d!="e", f=~"g|h", i!~"j.*"}[5m])')
    labels = {"b": "c", "d": "x", "f": "h", "i": "k"}
    assert one.takes("a", labels)
    assert not one.takes("other", labels)
    for label, value in (("b", "x"), ("d", "e"), ("f", "gh"), ("i", "jk")):
        assert not one.takes("a", {**labels, label: value})
    assert [one.name for one in selectors("a + on (x) min_over_time((b - time())[5m:15s])")] == [
        *("a", "b")
    ]


def test_labels_of_a_query_are_found() -> None:
    """Those it groups by, joins on and copies."""
    assert grouping_labels("sum by (a, b) (x) * on (c) group_left (d) y") == set("abcd")
