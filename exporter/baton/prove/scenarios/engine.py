"""What an engine is: something that performs a scenario and hands back what can be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from baton.domain.continuity.model import Trial
from baton.prove.scenarios.model import Scenario

#: Told one line at a time what is being done.
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFact:
    """One alert as it was seen, in seconds from the beginning.

    Attributes:
        fired_after_seconds: when it fired first.
        resolved_after_seconds: when it had ended for the last time; None if it fired to the end.
    """

    name: str
    fired_after_seconds: float
    resolved_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What a performed scenario leaves behind.

    Attributes:
        trial: everything that assertions may look at.
        alerts: the alerts that fired; None where nothing evaluated them.
        unwatched: why nothing evaluated them although something had to; empty if nothing had to.
        figures: measurements for people, never judged.
        versions: what took part, for the evidence.
        asked_only: what the scenario does not ask for was not taken down, and is not judged.
    """

    trial: Trial
    alerts: tuple[AlertFact, ...] | None = None
    unwatched: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    asked_only: bool = False


class Engine(Protocol):
    """Performs scenarios."""

    name: str

    def supports(self, scenario: Scenario) -> str | None:
        """Why the engine cannot perform a scenario; None if it can."""

    def perform(self, scenario: Scenario, seed: int, work: Path, progress: Progress) -> Performance:
        """Perform a scenario.

        Args:
            scenario: one that the engine supports.
            seed: decides everything that chance decides.
            work: an empty folder for files of its own; it is gone afterwards.
            progress: told what is being done.

        Raises:
            EngineRefuses: it cannot do a fault of this scenario.
            EngineFailed: the engine itself failed.
        """
