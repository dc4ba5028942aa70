"""What a worker's instruments add to a step, beside what tracers of LangGraph add to the same step.

Each tracer has a process of its own, since undoing one is not something to rely on: there the
fenced step is measured first without anything and with our instruments, alternating, and then,
once the tracer is in, with it. The tracers export to nowhere: what they cost is what they do
before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.observe.instruments import WorkerInstruments, hooks_of
from benchmarks.harness import NOISE_MAX, Figure, measure, paired, say
from benchmarks.step import limited, loop_graph

STEP_BAR = 1.05
TRACER_BAR = 5.0

TRACERS = ("openinference", "openlit", "OpenLLMetry")

#: Steps of one try: a short one finds the processor at its best more often than a long one.
_STEPS = 40

_TIMEOUT_SECONDS = 600


def _steps(fleet: Fleet, *, instrumented: bool) -> Callable[[], None]:
    graph = fleet.attach(loop_graph(_STEPS))
    hooks = hooks_of(WorkerInstruments())

    def run() -> None:
        with fleet.lease(f"t-{uuid.uuid4().hex}") as lease:
            if instrumented:
                lease.on_write = hooks.on_write
                lease.on_node = lambda node, seconds: hooks.on_node("loop", node, seconds)
            graph.invoke({"n": 0}, limited(lease.config), durability="sync")

    return run


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
        rounds: how many alternating rounds of ours, and as many runs with the tracer.

    Returns:
        The ratio and the seconds a step that ours and the tracer add; the base and its noise.
    """
    with (
        tempfile.TemporaryDirectory(prefix="baton-bench-") as folder,
        open_fleet(f"sqlite:///{folder}/fleet.db?synchronous=off") as fleet,
    ):
        bare, ours = _steps(fleet, instrumented=False), _steps(fleet, instrumented=True)
        bare()
        ours()
        # CPU time: what the instruments add is far below what the disk and the scheduler do.
        result = paired(bare, ours, rounds, judged=("cpu",))
        base = min(measure(bare).cpu for _ in range(rounds))
        _install(tracer, folder)
        # Anew, as some tracers wrap a graph while it is compiled.
        bare = _steps(fleet, instrumented=False)
        bare()
        traced = min(measure(bare).cpu for _ in range(rounds))
    return {
        "ratio": result.cpu,
        "noise": result.cpu_noise,
        "base": base / _STEPS,
        "added": (result.cpu - 1) * result.base_cpu / _STEPS,
        "traced": (traced - base) / _STEPS,
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
