"""Alert rules for a trial: those that ship, with every time in them made short.

Nothing else of a rule is touched. What alerts compare with a pool's TTL or heartbeat interval
scales by itself, as they read both from the metrics that tell them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

#: So long lasts a minute of the rules, as part of a trial's TTL.
_MINUTE_IN_TTLS = 1 / 3

#: No trial waits longer for an alert to hold than so many TTLs, whatever the rule says.
_HOLD_IN_TTLS = 3.0

#: A window has to hold so many scrapes, or there is no rate.
_SCRAPES = 5

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+)([smhd])")
_WINDOW = re.compile(r"\[(\d+[smhd])\]")


class Scale:
    """How long the times of the rules last in a trial."""

    def __init__(self, ttl_seconds: float) -> None:
        """Scale to a trial's TTL.

        Args:
            ttl_seconds: of its sessions.
        """
        self._factor = ttl_seconds * _MINUTE_IN_TTLS / 60.0
        self._hold_most = ttl_seconds * _HOLD_IN_TTLS
        #: Between two scrapes, and between two evaluations of the rules.
        self.scrape_seconds = round(max(0.5, ttl_seconds / 4), 3)

    def hold_seconds(self, seconds: float) -> float:
        """How long an alert has to hold, or goes on firing.

        Args:
            seconds: what its rule says.
        """
        return min(seconds * self._factor, self._hold_most)

    def window_seconds(self, seconds: float) -> float:
        """How far back a rule looks.

        Args:
            seconds: what it says.
        """
        return max(seconds * self._factor, _SCRAPES * self.scrape_seconds)

    def rules(self, text: str) -> str:
        """A file of rules with its times made short.

        Args:
            text: as it ships.
        """
        document = yaml.safe_load(text)
        for group in document["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                self._scale(rule)
        return yaml.safe_dump(document, sort_keys=False, width=10_000)

    def _scale(self, rule: dict[str, Any]) -> None:
        rule["expr"] = _WINDOW.sub(
            lambda found: f"[{_told(self.window_seconds(_seconds(found[1])))}]", rule["expr"]
        )
        for key in ("for", "keep_firing_for"):
            if key in rule:
                rule[key] = _told(self.hold_seconds(_seconds(rule[key])))

    def write(self, shipped: Path, folder: Path) -> list[Path]:
        """Write the rules that ship, made short.

        Args:
            shipped: their folder.
            folder: where the short ones go.

        Returns:
            Their paths.
        """
        written = []
        for path in sorted(shipped.glob("*.rules.yaml")):
            short = folder / path.name
            short.write_text(self.rules(path.read_text(encoding="utf-8")), encoding="utf-8")
            written.append(short)
        return written


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration of one unit")
    return int(found[1]) * _UNITS[found[2]]


def _told(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
