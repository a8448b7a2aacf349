"""``qfleet benchmark``: measurements of this machine that anyone can repeat."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import StepReport
from pipelines.compose import build_backend, build_coordinator
from pipelines.report import print_sections, summary
from pipelines.run_setup import prepare_run

DEFAULT_JOB = Path(__file__).with_name("configs") / "breast_cancer.toml"
_WARM_UP = 10


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark the command line names. Returns what ``--json`` prints."""
    config = TrainingConfig.from_toml(options.config or DEFAULT_JOB, options.set)
    figures = overhead(config, options.steps)
    sections = {
        "Step (median)": {
            "wall time": f"{figures['step_ms']:.2f} ms",
            "engine": f"{figures['engine_ms']:.2f} ms",
            "overhead": f"{figures['overhead_ms']:.2f} ms  (95th percentile {figures['overhead_p95_ms']:.2f} ms)",
        },
        "Wall time by phase (median)": {k: f"{v:.3f} ms" for k, v in figures["phases_ms"].items()},
        "Job": {
            "gradient rule": figures["rule"],
            "circuits a step": figures["circuits_per_step"],
            "steps timed": figures["steps"],
            "actors": 1,
        },
    }
    print_sections("orchestration overhead", sections, to_stdout=not options.json)
    return figures


def overhead(config: TrainingConfig, n_steps: int) -> dict[str, Any]:
    """Wall time of a training step on one actor, less the time the engine computes, over `n_steps` steps after a warm-up.

    Raises:
        ConfigError: no steps to time.
    """
    if n_steps < 1:
        raise ConfigError("--steps", n_steps, "should be greater than or equal to 1", "1")
    length = ["run.epochs=1000000", f"run.max_steps={n_steps + _WARM_UP}", "run.early_stopping_patience=none"]
    config = config.with_overrides(["fleet.n_actors=1", *length])
    prepared = prepare_run(config)
    coordinator = build_coordinator(config.fleet, build_backend(config))
    try:
        everything = list(train(prepared.task, initial_state(prepared.task), coordinator))
    finally:
        coordinator.dispatcher.close()
    timed = [report for report in everything if isinstance(report, StepReport)][_WARM_UP:]
    walls = [1e3 * sum(r.seconds.values()) for r in timed]
    engine = [1e3 * r.compute_seconds for r in timed]
    excess = sorted(w - e for w, e in zip(walls, engine, strict=True))
    return {
        "benchmark": "overhead",
        "rule": prepared.task.rule.name,
        "steps": len(timed),
        "circuits_per_step": summary(prepared)["circuits_per_step"],
        "step_ms": statistics.median(walls),
        "engine_ms": statistics.median(engine),
        "overhead_ms": statistics.median(excess),
        "overhead_p95_ms": excess[int(0.95 * (len(excess) - 1))],
        "phases_ms": {
            name: 1e3 * statistics.median(r.seconds[name] for r in timed) for name in timed[0].seconds
        },
    }


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["benchmark", *sys.argv[1:]]))
