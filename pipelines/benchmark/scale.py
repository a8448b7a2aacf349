"""``qfleet benchmark scale``: how many job completions a second the driver holds, by the number of actors.

Coordinator and scheduler are the real ones, on a fleet in virtual time (`scale_fleet`). All processor time counts: cutting a plan into
jobs, scheduling, checking, assembling, and the simulation itself. What Ray's calls cost comes on top and is measured apart.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
import tracemalloc
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError
from orchestrator.jobs import Displacements
from orchestrator.models.model import Model
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.protocols import Capabilities
from pipelines.benchmark import machine
from pipelines.benchmark.scale_fleet import VirtualFleet, job_seconds
from pipelines.report import print_sections
from pipelines.run_setup import prepare_run

_N_ROWS, _SHOTS = 9, 1024
_MODEL = ["data.name=breast_cancer", "data.n_components=4", "model.n_qubits=4", "model.n_layers=1"]
_JOBS_PER_ACTOR, _FEWEST_JOBS = 4, 100
"""Of one plan."""
_N_JOBS_TRACED, _FEWEST_PLANS_TRACED = 2_000, 6
"""Memory is followed over so many plans: a leak goes on, and what actors come to hold in their first few jobs does not."""
REQUIRED_JOBS_PER_SECOND = 20_000.0


@dataclass(frozen=True)
class Size:
    """The figures of one number of actors.

    Attributes:
        n_jobs, n_plans: answered.
        jobs_per_second: of the driver's processor time.
        microseconds_per_job: of the driver's processor time.
        most_open: jobs queued or in flight at the same time, at most.
        bytes_per_open_job: most memory that Python held for the run, over `most_open`.
        growth_bytes_per_job: by how much more that is after the last of some plans than in the middle of them, over the jobs in between.
        busy_share: of the actors' virtual time until the last answer.
        actors_fed: as many actors as keep the driver busy all the time, with jobs as in the trace.
    """

    n_actors: int
    n_jobs: int
    n_plans: int
    jobs_per_second: float
    microseconds_per_job: float
    most_open: int
    bytes_per_open_job: float
    growth_bytes_per_job: float
    busy_share: float
    actors_fed: float


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark. Returns what ``--json`` prints.

    Raises:
        ConfigError: an option is refused; nothing has been measured. FleetError: Ray cannot be reached.
    """
    for option, values in (("--actors", options.actors), ("--jobs", [options.jobs])):
        for value in values:
            if value < 1:
                raise ConfigError(option, value, "should be greater than or equal to 1", "1")
    if options.plot and Path(options.plot).suffix.lower() not in ("", ".png", ".svg", ".pdf"):
        nearest = str(Path(options.plot).with_suffix(".png"))
        raise ConfigError("--plot", options.plot, "a folder, or a .png, .svg or .pdf file", nearest)
    seconds = job_seconds(None if options.trace is None else Path(options.trace))
    mean = float(seconds.mean())
    outcome: dict[str, Any] = {
        "benchmark": "scale",
        "machine": machine.describe(),
        "job_seconds": {"mean": mean, **_quantiles(seconds)},
        "sizes": [],
    }
    for n_actors in options.actors:
        n_jobs = options.jobs if n_actors == max(options.actors) else max(options.jobs // 10, 1)
        print(f"{n_actors:,} actors, {n_jobs:,} jobs", file=sys.stderr, flush=True)
        outcome["sizes"].append(asdict(measure(n_actors, n_jobs, seconds)))
    if options.ray:
        from pipelines.benchmark.scale_ray import measure as measure_ray

        print("one and two Ray actors that compute nothing", file=sys.stderr, flush=True)
        outcome["ray"] = [measure_ray(n_actors) for n_actors in (1, 2)]
    if options.plot:
        from pipelines.plots.driver_scale import driver_scale

        path = Path(options.plot)
        path = path / "scale.png" if path.suffix == "" else path
        driver_scale(outcome, path, REQUIRED_JOBS_PER_SECOND)
        outcome["files"] = [str(path)]
    if options.markdown:
        print(markdown(outcome))
    else:
        print_sections("the driver, by number of actors", _sections(outcome), to_stdout=not options.json)
    return outcome


def measure(n_actors: int, n_jobs: int, seconds: np.ndarray) -> Size:
    """Answer at least `n_jobs` jobs with `n_actors` virtual actors, in plans of a few jobs an actor.

    Args:
        seconds: float64 [n], what jobs take.
    """
    per_plan = min(max(_JOBS_PER_ACTOR * n_actors, _FEWEST_JOBS), max(n_jobs, _FEWEST_JOBS))
    held, growth = _memory(n_actors, per_plan, seconds)
    fleet, plan = VirtualFleet(n_actors, seconds), plan_of(per_plan)
    coordinator = _coordinator(fleet)
    coordinator.evaluate(replace(plan, step=10**6))  # fills caches
    n_plans = math.ceil(n_jobs / per_plan)
    began_at = time.process_time()
    done = sum(coordinator.evaluate(replace(plan, step=step)).n_jobs for step in range(n_plans))
    each = (time.process_time() - began_at) / done
    return Size(
        n_actors=n_actors,
        n_jobs=done,
        n_plans=n_plans,
        jobs_per_second=1 / each,
        microseconds_per_job=1e6 * each,
        most_open=fleet.most_open,
        bytes_per_open_job=held / fleet.most_open,
        growth_bytes_per_job=growth,
        busy_share=fleet.busy_seconds / (n_actors * fleet.now),
        actors_fed=float(seconds.mean()) / each,
    )


def plan_of(n_jobs: int) -> EvaluationPlan:
    """A plan that is cut into `n_jobs` jobs of 9 circuits each: a sample of breast_cancer with all of its displacements."""
    model, features = _model()
    angles = model.angles(model.initial_params(0), np.resize(features, (n_jobs, features.shape[1])))
    number = np.arange(_N_ROWS - 1)
    moved = Displacements.single(number // 2, np.where(number % 2, -np.pi / 2, np.pi / 2))
    keys = noise_keys(0, "benchmark", model.measured)
    return EvaluationPlan(model.measured, angles, moved=moved, shots=_SHOTS, noise_keys=keys)


@functools.cache
def _model() -> tuple[Model, np.ndarray]:
    """A model of 4 qubits, and features float64 [S, F] of samples for it."""
    run = prepare_run(TrainingConfig().with_overrides(_MODEL))
    return run.task.model, run.data.train.features


def _coordinator(fleet: VirtualFleet) -> Coordinator:
    can = Capabilities(
        is_exact=True, has_shots=True, has_jacobian=False, max_qubits=4, circuits_per_job=_N_ROWS
    )
    return Coordinator(fleet, can)


def _memory(n_actors: int, n_jobs: int, seconds: np.ndarray) -> tuple[int, float]:
    """Most bytes held by a plan of `n_jobs` jobs and the fleet; by how many it grows for a job done, in the later half of some plans."""
    plan = plan_of(n_jobs)
    n_plans = max(_N_JOBS_TRACED // n_jobs, _FEWEST_PLANS_TRACED)
    tracemalloc.start()
    try:
        coordinator = _coordinator(VirtualFleet(n_actors, seconds))
        peaks = []
        for step in range(n_plans):
            tracemalloc.reset_peak()
            coordinator.evaluate(replace(plan, step=step))
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    middle = n_plans // 2
    return max(peaks), (peaks[-1] - peaks[middle]) / ((n_plans - 1 - middle) * n_jobs)


def markdown(outcome: dict[str, Any]) -> str:
    """The table of the figures."""
    lines = [
        "| actors | jobs | completions/s | driver, µs a job | most jobs open | bytes a job open | growth, bytes a job done | "
        "actors busy | actors fed |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {s['n_actors']:,} | {s['n_jobs']:,} | {s['jobs_per_second']:,.0f} | {s['microseconds_per_job']:.1f} | {s['most_open']:,} | "
        f"{s['bytes_per_open_job']:,.0f} | {s['growth_bytes_per_job']:+.1f} | {s['busy_share']:.0%} | "
        f"{s['actors_fed']:,.0f} |"
        for s in outcome["sizes"]
    ]
    lines += ["", *_limits(outcome).values()]
    return "\n".join(lines)


def _sections(outcome: dict[str, Any]) -> dict[str, dict[str, str]]:
    sections = {
        f"{s['n_actors']:,} actors, {s['n_jobs']:,} jobs": {
            "driver": f"{s['jobs_per_second']:,.0f} completions/s  ({s['microseconds_per_job']:.1f} µs a job)",
            "memory": f"{s['bytes_per_open_job']:,.0f} bytes a job open  (at most {s['most_open']:,} open)",
            "growth": f"{s['growth_bytes_per_job']:+.1f} bytes a job done",
            "actors busy": f"{s['busy_share']:.0%} of the virtual time",
            "actors fed": f"{s['actors_fed']:,.0f} with jobs as in the trace take all of the driver's time",
        }
        for s in outcome["sizes"]
    }
    return sections | {"where the driver is the limit": _limits(outcome)}


def _limits(outcome: dict[str, Any]) -> dict[str, str]:
    """Actors that keep the driver busy all the time, in words."""
    mean = outcome["job_seconds"]["mean"]
    worst = max(s["microseconds_per_job"] for s in outcome["sizes"])
    told = {
        "bookkeeping": f"{mean * 1e6 / worst:,.0f} actors with jobs of {1e3 * mean:.0f} ms (the trace's mean) take all of the driver's time"
    }
    for found in outcome.get("ray", ()):
        each = found["microseconds_per_job"]
        told[f"Ray, {found['n_actors']} actor{'s' * (found['n_actors'] > 1)}"] = (
            f"{each:,.0f} µs of the driver a job, all included ({found['jobs_per_second']:,.0f} jobs/s of wall time): "
            f"{mean * 1e6 / each:,.0f} actors with such jobs take all of its time, {1e6 / each:,.0f} with jobs of 1 s"
        )
    return told


def _quantiles(seconds: np.ndarray) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(seconds, q)) for q in (10, 50, 90, 99)}
