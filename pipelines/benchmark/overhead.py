"""Wall time of a training step less the time the engine computes: what orchestration costs."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import StepReport
from pipelines.compose import build_backend, build_coordinator, report_on_stderr, warming_up
from pipelines.data.circuit_writer import CircuitWriter
from pipelines.report import print_sections, summary
from pipelines.run_setup import prepare_run

DEFAULT_JOB = Path(__file__).parents[1] / "configs" / "breast_cancer.toml"
_WARM_UP = 10


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark on one actor, or as many as ``--set fleet.n_actors`` says. Returns what ``--json`` prints."""
    config = TrainingConfig.from_toml(options.config or DEFAULT_JOB, ["fleet.n_actors=1", *options.set])
    figures = overhead(config, options.steps)
    sections = {
        "Step (median)": {
            "wall time": f"{figures['step_ms']:.2f} ms",
            "engine": f"{figures['engine_ms']:.2f} ms  ({figures['engine_share']:.0%} of the step)",
            "overhead": f"{figures['overhead_ms']:.2f} ms  (95th percentile {figures['overhead_p95_ms']:.2f} ms)",
        },
        "Wall time by phase (median)": {k: f"{v:.3f} ms" for k, v in figures["phases_ms"].items()},
        "Job": {
            "gradient rule": figures["rule"],
            "circuits a step": figures["circuits_per_step"],
            "steps timed": figures["steps"],
            "actors": figures["actors"],
            "jobs a step": f"{figures['jobs_per_step']:.2f}",
        },
    }
    print_sections("orchestration overhead", sections, to_stdout=not options.json)
    return figures


def overhead(config: TrainingConfig, n_steps: int) -> dict[str, Any]:
    """Wall time of a training step, less the time the engine computes on its critical path, over `n_steps` steps after a warm-up.

    Raises:
        ConfigError: no steps to time.
    """
    if n_steps < 1:
        raise ConfigError("--steps", n_steps, "should be greater than or equal to 1", "1")
    length = ["run.epochs=1000000", f"run.max_steps={n_steps + _WARM_UP}", "run.early_stopping_patience=none"]
    prepared = prepare_run(config.with_overrides(length))
    backend = build_backend(config)
    with warming_up(backend, prepared.task.model.measured, config.backend.shots, report_on_stderr):
        coordinator = build_coordinator(config.fleet, backend)
    try:
        with _circuit_log(config, coordinator):
            everything = list(train(prepared.task, initial_state(prepared.task), coordinator))
    finally:
        coordinator.dispatcher.close()
    timed = [report for report in everything if isinstance(report, StepReport)][_WARM_UP:]
    return {
        "benchmark": "overhead",
        "rule": prepared.task.rule.name,
        "actors": config.fleet.n_actors if config.fleet.dispatcher == "ray" else 1,
        "circuits_per_step": summary(prepared)["circuits_per_step"],
    } | _figures(timed)


@contextmanager
def _circuit_log(config: TrainingConfig, coordinator: Coordinator) -> Iterator[None]:
    """The circuit log, where ``tracking.circuit_log`` asks for one, in a temporary folder; its time is part of the phase ``assemble``."""
    if not config.tracking.circuit_log:
        yield
        return
    with TemporaryDirectory() as folder, closing(CircuitWriter(Path(folder), config.run.seed)) as log:
        coordinator.observe = log.add
        yield


def _figures(timed: Sequence[StepReport]) -> dict[str, Any]:
    """Medians over the steps."""
    walls = [1e3 * sum(report.seconds.values()) for report in timed]
    engine = [1e3 * report.seconds["compute"] for report in timed]
    excess = sorted(wall - inside for wall, inside in zip(walls, engine, strict=True))
    return {
        "steps": len(timed),
        "jobs_per_step": statistics.mean(report.n_jobs for report in timed),
        "step_ms": statistics.median(walls),
        "engine_ms": statistics.median(engine),
        "engine_share": sum(engine) / sum(walls),
        "overhead_ms": statistics.median(excess),
        "overhead_p95_ms": excess[int(0.95 * (len(excess) - 1))],
        "phases_ms": {
            name: 1e3 * statistics.median(report.seconds[name] for report in timed)
            for name in timed[0].seconds
        },
    }
