"""What a worker's instruments add to a step, beside what tracers of LangGraph add to the same step.

Every step of a run is measured by itself, from one node's begin to the next one's, and the
instruments are put on and taken off between them: what this machine does to a whole run is far
more than what they cost. Each tracer has a process of its own, since undoing one is not something
to rely on: there the steps are measured first without anything and with our instruments,
alternating, and then, once the tracer is in, with it. The tracers export to nowhere: what they cost
is what they do before.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from bisect import insort
from functools import partial
from pathlib import Path
from typing import Any

from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.observe.instruments import WorkerInstruments, hooks_of
from benchmarks.harness import NOISE_MAX, PATIENCE, Figure, say
from benchmarks.step import limited, loop_graph

STEP_BAR = 1.05
TRACER_BAR = 5.0

TRACERS = ("openinference", "openlit", "OpenLLMetry")

#: The least of thousands is a step that this machine favoured; so many of them are passed by.
_LEAST = 10

#: Whether the instruments are on, turn by turn.
_TURNS = (False, True, False, True)

#: As a lease is without anybody who listens.
_NOTHING = (lambda seconds: None, lambda node, seconds: None)  # noqa: ARG005 - as they are called

_TIMEOUT_SECONDS = 600


class _Steps:
    """The CPU time of single steps; what the instruments add is far below what the disk does."""

    def __init__(self, fleet: Fleet) -> None:
        #: The few least of each turn, in seconds of this process.
        self._least: tuple[list[float], ...] = tuple([] for _ in _TURNS)
        self._fleet = fleet
        hooks = hooks_of(WorkerInstruments())
        self._worn = (hooks.on_write, partial(hooks.on_node, "loop"))
        self._graph = fleet.attach(loop_graph(self._tick))
        self._count = 0
        self._began: float | None = None

    def _tick(self) -> None:
        """One step has ended, and the next begins."""
        now = time.process_time()
        if self._began is not None:
            least = self._least[self._turn]
            insort(least, now - self._began)
            del least[_LEAST:]
        self._count += 1
        self._wear(instrumented=_TURNS[self._turn])
        self._began = time.process_time()

    @property
    def _turn(self) -> int:
        # The order turns round, so that neither always comes after the other.
        place = self._count % (2 * len(_TURNS))
        return min(place, 2 * len(_TURNS) - 1 - place)

    def _wear(self, *, instrumented: bool) -> None:
        self._lease.on_write, self._lease.on_node = self._worn if instrumented else _NOTHING

    def run(self) -> None:
        """Some hundred steps under a lease of their own."""
        gc.collect()
        gc.disable()
        try:
            with self._fleet.lease(f"t-{uuid.uuid4().hex}") as self._lease:
                self._began = None
                self._graph.invoke({"n": 0}, limited(self._lease.config), durability="sync")
        finally:
            gc.enable()

    def of(self, *, instrumented: bool) -> list[float]:
        """What counts of a step with the instruments, or without: a figure of each turn."""
        pairs = zip(self._least, _TURNS, strict=True)
        return [least[-1] for least, worn in pairs if worn == instrumented]

    @property
    def noise(self) -> float:
        """How far the bare step differs from itself."""
        bare = self.of(instrumented=False)
        return max(bare) / min(bare) - 1


def _provider() -> Any:
    """A tracer provider as in production, whose exporter throws everything away."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            del spans
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


def _install(tracer: str, folder: str) -> None:
    provider = _provider()
    if tracer == "openinference":
        from openinference.instrumentation.langchain import LangChainInstrumentor

        LangChainInstrumentor().instrument(tracer_provider=provider)
    elif tracer == "openlit":
        import openlit
        from opentelemetry import trace

        trace.set_tracer_provider(provider)
        # Its list of prices would come from the network; no step here has a price.
        prices = Path(folder) / "prices.json"
        prices.write_text("{}")
        openlit.init(disable_metrics=True, disable_events=True, pricing_json=str(prices))
    else:
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor

        LangchainInstrumentor().instrument(tracer_provider=provider)


def compare(tracer: str, rounds: int) -> dict[str, float]:
    """Measure ours and one tracer in this process, which is of no further use afterwards.

    Args:
        tracer: one of ``TRACERS``.
        rounds: how many runs without it, or more while they are too noisy, and with it.

    Returns:
        The ratio and the seconds a step that ours and the tracer add; the base and its noise.
    """
    with (
        tempfile.TemporaryDirectory(prefix="baton-bench-") as folder,
        open_fleet(f"sqlite:///{folder}/fleet.db?synchronous=off") as fleet,
    ):
        steps = _Steps(fleet)
        for number in range(rounds * PATIENCE):
            if number >= rounds and number % rounds == 0 and steps.noise <= NOISE_MAX:
                break
            steps.run()
        _install(tracer, folder)
        # Anew, as some tracers wrap a graph while it is compiled.
        traced = _Steps(fleet)
        for _ in range(rounds):
            traced.run()
    bare, ours = (min(steps.of(instrumented=worn)) for worn in (False, True))
    return {
        "ratio": ours / bare,
        "noise": steps.noise,
        "base": bare,
        "added": ours - bare,
        "traced": min(traced.of(instrumented=False)) - bare,
    }


def _apart(tracer: str, rounds: int) -> dict[str, float]:
    say(f"ours and {tracer}, in a process of their own")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.instruments", tracer, str(rounds)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{tracer}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(rounds: int) -> list[Figure]:
    """Ours beside the bare step, and each tracer beside ours."""
    found = {tracer: _apart(tracer, rounds) for tracer in TRACERS}
    best = min(found.values(), key=lambda one: one["noise"])
    figures = [
        Figure(
            "fenced step with a worker's instruments / without, CPU",
            best["ratio"],
            STEP_BAR,
            at_most=True,
            detail=f"{best['base'] * 1e6:.0f} µs a step, {best['added'] * 1e6:+.1f} µs; base "
            f"against base {best['noise']:.1%}, the quietest of {len(found)} processes",
            void=best["noise"] > NOISE_MAX,
        )
    ]
    for tracer, one in found.items():
        # Ours may be below what can be told apart; then it counts as that.
        ours = max(one["added"], one["noise"] * one["base"], 1e-7)
        figures.append(
            Figure(
                f"time added to a step, {tracer} / a worker's instruments",
                one["traced"] / ours,
                TRACER_BAR,
                at_most=False,
                detail=f"{one['traced'] * 1e6:.0f} µs against {one['added'] * 1e6:.1f} µs (noise "
                f"{one['noise'] * one['base'] * 1e6:.1f} µs)",
                void=one["noise"] > NOISE_MAX,
            )
        )
    return figures


def main(tracer: str, rounds: str) -> None:
    """Print one comparison as JSON, and leave without waiting for the tracer's threads."""
    print(json.dumps(compare(tracer, int(rounds))), flush=True)  # noqa: T201 - read by figures
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
