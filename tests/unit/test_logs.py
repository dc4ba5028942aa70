"""Log lines: what they are about is beside the message, whoever reads them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from baton.observe.logs import CORRELATION, Format, JsonLines, Lines, shown

ABOUT = {"task_id": "t-1", "run_id": "r-1", "session_id": "s-1", "epoch": 2, "graph": "review"}


def record(message: str = "task claimed", **extra: object) -> logging.LogRecord:
    """A record as ``logger.info(message, extra=extra)`` makes it, at a known time."""
    made = logging.getLogger("baton.worker").makeRecord(
        "baton.worker", logging.INFO, "worker.py", 1, message, (), None, extra=extra
    )
    made.created = 1_700_000_000.25
    return made


def test_a_json_line_carries_every_id_under_its_own_key() -> None:
    """A machine joins lines with ledger and exemplars by these keys."""
    every = dict(zip(CORRELATION, ["t-1", "r-1", "c-1", "s-1", "w-1", 3], strict=True))
    line = json.loads(JsonLines().format(record(**every, graph="review")))
    assert line == {
        "at": "2023-11-14T22:13:20.250000Z",
        "level": "info",
        "logger": "baton.worker",
        "message": "task claimed",
        **every,
        "graph": "review",
    }
    assert [key for key in line if key in CORRELATION] == list(CORRELATION)


def test_fields_of_the_process_stand_in_every_json_line() -> None:
    """The worker's name is known once; a record that names another one is believed."""
    lines = JsonLines({"worker_id": "w-1", "pool": "default"})
    assert json.loads(lines.format(record()))["worker_id"] == "w-1"
    assert json.loads(lines.format(record(worker_id="w-2")))["worker_id"] == "w-2"


def test_a_line_for_people_is_one_line_with_its_ids_behind() -> None:
    """A message is read first; what it is about can be copied from the same line."""
    assert Lines().format(record(**ABOUT, error=None)) == (
        "2023-11-14T22:13:20Z INFO    task claimed"
        " task_id=t-1 run_id=r-1 session_id=s-1 epoch=2 graph=review"
    )
    assert (
        Lines()
        .format(record(error="ValueError: no\nidea"))
        .endswith(' error="ValueError: no\\nidea"')
    )


def test_what_json_does_not_know_is_written_as_text() -> None:
    """A log line must never fail of its own content."""
    line = json.loads(JsonLines().format(record(path={1, 2})))
    assert line["path"] == "{1, 2}"


@pytest.mark.parametrize("format_", ["json", "text"])
def test_a_traceback_is_kept(format_: Format) -> None:
    """What went wrong is never shortened away."""
    stream = io.StringIO()
    with shown(format_, stream):
        try:
            int("no idea")
        except ValueError:
            logging.getLogger("baton.worker").exception("failed")
    assert "ValueError: invalid literal" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()
    if format_ == "json":
        assert len(stream.getvalue().splitlines()) == 1


def test_others_speak_up_from_warnings_on() -> None:
    """Baton's own news is shown; a library's chatter is not; and all of it ends with the block."""
    stream = io.StringIO()
    before = logging.getLogger("baton").level
    with shown("text", stream):
        logging.getLogger("baton.worker").info("ours")
        logging.getLogger("somebody").info("chatter")
        logging.getLogger("somebody").warning("theirs")
    logging.getLogger("baton.worker").warning("later")
    lines = [line.split()[2] for line in stream.getvalue().splitlines()]
    assert lines == ["ours", "theirs"]
    assert logging.getLogger("baton").level == before
