"""``qfleet benchmark staleness``: when it pays to send the next steps' circuits before those of the present one are back.

A classifier is trained by the real training loop on a simulated paid machine, from several seeds, until its training loss has come to a
target: for each staleness at the learning rate that gets there in the fewest steps, and once more all at the same cautious rate. Staleness
changes the steps, and time does not: so steps are counted once, and the same runs then go through several queues and with more or fewer
jobs in flight, in virtual time (`virtual_queue`). Time and dollars are up to the target; what is in flight then is paid too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from actors.ionq.emulator.timing import GateTimes, Lognormal, Queue
from actors.serial import SerialDispatcher
from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.costs.catalogue import Catalogue
from orchestrator.costs.money import in_usd
from orchestrator.costs.work import PlanPricer, QuoteSettings
from orchestrator.errors import ConfigError
from orchestrator.jobs import Job, JobResult
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import Samples, StepReport
from orchestrator.training.task import TrainingTask
from pipelines.benchmark.gradients import exact_loss
from pipelines.benchmark.staleness_report import tables
from pipelines.benchmark.virtual_queue import Service, VirtualQueue
from pipelines.compose import build_backend
from pipelines.quote import ionq_gate_counts
from pipelines.run_setup import prepare_run

TARGET, SHOTS, BATCH, CIRCUITS_PER_JOB = "qpu.aria-1", 100, 4, 25
PROBLEM = [
    "data.name=iris", "data.classes=[1, 2]", "data.n_components=none", "data.max_samples=60", "data.test_fraction=0",
    "data.validation_fraction=0.2", "model.n_qubits=4", "model.n_layers=1", "model.initial_scale=0.5", f"run.batch_size={BATCH}",
    "optimizer.name=sgd", "optimizer.momentum=0", "backend.name=noisy", "backend.noise=aria-1", f"backend.shots={SHOTS}",
    "gradient.rule=parameter_shift", "fleet.dispatcher=serial", "tracking.enabled=false", "run.epochs=100",
]  # fmt: skip
"""Two overlapping kinds of iris: 48 samples, 12 steps an epoch, 68 circuits a step in 3 jobs."""
TARGET_LOSS = 0.55
"""It begins at about 0.8, and ends at about 0.45."""
STALENESS = (0, 1, 2, 4)
RATES = (0.4, 0.8, 1.2, 1.6, 2.4)
QUEUES: dict[str, Queue] = {
    "none": 0.0,
    "10 min, always": 600.0,
    "10 min, 100 min": Lognormal(600.0, 6000.0),
}
"""Median and 90th percentile."""
JOBS_IN_FLIGHT = (4, 20)
EPOCHS = (2, 4, 8, 24)
"""Steps of an epoch, for what draining at its end costs."""
_CONFIDENCE, _RESAMPLES = 0.95, 2000


@dataclass(frozen=True, eq=False)
class _Study:
    """What all runs share.

    Attributes:
        base: the task, of one seed and synchronous. backend: what computes. pricer: what the machine charges.
    """

    base: TrainingTask
    backend: Any
    pricer: PlanPricer

    def task(self, seed: int, staleness: int, rate: float, n_steps: int) -> TrainingTask:
        run = self.base.run.model_copy(update={"seed": seed, "max_steps": n_steps})
        optimizer = self.base.optimizer.model_copy(update={"learning_rate": rate})
        return replace(self.base, run=run, optimizer=optimizer, max_staleness=staleness)

    def service(self, queue: Queue, jobs_in_flight: int) -> Service:
        times = GateTimes()
        known: dict[tuple[str, int], tuple[float, int]] = {}

        def about(job: Job) -> tuple[float, int]:
            key = job.circuit_key, job.n_samples * job.n_displacements
            if key not in known:
                counts = self._counts[job.circuit_key] * key[1]
                known[key] = times.seconds(counts, SHOTS), self.pricer.job_price(counts, SHOTS)
            return known[key]

        return Service(queue, jobs_in_flight, lambda job: about(job)[0], lambda job: about(job)[1])

    @property
    def _counts(self) -> dict[str, Any]:
        from orchestrator.planning.joint import joint_strings

        model = self.base.model
        circuits = (model.measured, joint_strings(model.measured, self.base.variance_factor).circuit)
        return {circuit.key: self.pricer.counts(circuit) for circuit in circuits}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Study, print the tables, draw if asked. Returns what ``--json`` prints.

    Raises:
        ConfigError: a number of seeds or steps is refused.
    """
    if options.seeds < 2:
        raise ConfigError("--seeds", options.seeds, "intervals need at least two", "2")
    if options.steps < 12:
        raise ConfigError("--steps", options.steps, "should be an epoch at least", "12")
    if not 0 < options.target_loss < float("inf"):
        raise ConfigError("--target-loss", options.target_loss, "should be greater than 0", str(TARGET_LOSS))
    outcome = study(options.seeds, options.steps, options.target_loss)
    if options.plot:
        from pipelines.plots.staleness import staleness_study

        path = Path(options.plot)
        path = path / "staleness.png" if path.suffix == "" else path
        staleness_study(outcome, path)
        outcome["files"] = [str(path)]
    if not options.json:
        print(tables(outcome))
    return outcome


def study(
    n_seeds: int,
    n_steps: int,
    target: float = TARGET_LOSS,
    *,
    staleness: Sequence[int] = STALENESS,
    rates: Sequence[float] = RATES,
    queues: dict[str, Queue] | None = None,
    jobs_in_flight: Sequence[int] = JOBS_IN_FLIGHT,
    epochs: Sequence[int] = EPOCHS,
) -> dict[str, Any]:
    """The figures, as plain values. The same arguments give the same figures to the bit.

    Args:
        n_steps: after which a run that has not reached the `target` loss is given up.
    """
    shared = _study()
    outcome: dict[str, Any] = {
        "benchmark": "staleness", "target": TARGET, "shots": SHOTS, "target_loss": target, "seeds": n_seeds, "most_steps": n_steps,
        "steps_an_epoch": shared.base.n_batches, "steps": [], "conditions": [], "epochs": _epochs(shared, staleness, epochs),
    }  # fmt: skip
    taken: dict[tuple[int, float], list[int | None]] = {}
    for s in staleness:
        for rate in rates:
            tasks = [shared.task(seed, s, rate, n_steps) for seed in range(n_seeds)]
            taken[s, rate] = [_steps_to(target, shared, task) for task in tasks]
            print(
                f"staleness {s}, learning rate {rate:g}: steps {taken[s, rate]}", file=sys.stderr, flush=True
            )
    for (s, rate), steps in taken.items():
        reached = [n for n in steps if n is not None]
        about = {"staleness": s, "learning_rate": rate, "reached": len(reached), "steps": _interval(reached)}
        outcome["steps"].append(about)
    for regime, rates_of in _regimes(taken, staleness, n_steps).items():
        chosen = {s: (rate, taken[s, rate]) for s, rate in rates_of.items()}
        for row in _conditions(shared, chosen, queues or QUEUES, jobs_in_flight):
            outcome["conditions"].append(
                {"rates": regime, "learning_rate": rates_of[row["staleness"]], **row}
            )
    return outcome


def _regimes(
    taken: dict[tuple[int, float], list[int | None]], staleness: Sequence[int], n_steps: int
) -> dict[str, dict[int, float]]:
    """Learning rates by staleness: of each the best, a run that does not get there counting twice the most steps; and all the same."""

    rates = sorted({rate for _, rate in taken})
    means = {key: np.mean([2 * n_steps if n is None else n for n in steps]) for key, steps in taken.items()}
    best = {s: min((means[s, rate], rate) for rate in rates)[1] for s in staleness}
    return {"best": best, "cautious": dict.fromkeys(staleness, rates[0])}


def _study() -> _Study:
    prepared = prepare_run(TrainingConfig().with_overrides(PROBLEM))
    backend = build_backend(prepared.config)
    settings = QuoteSettings(TARGET, "qis", False, CIRCUITS_PER_JOB, SHOTS)
    pricer = PlanPricer(Catalogue.default().entry(TARGET), settings, ionq_gate_counts(TARGET))
    return _Study(replace(prepared.task, validation=None), backend, pricer)


def _coordinator(shared: _Study, dispatcher: Any) -> Coordinator:
    capabilities = replace(shared.backend.capabilities, circuits_per_job=CIRCUITS_PER_JOB)
    return Coordinator(dispatcher, capabilities)


def _steps_to(target: float, shared: _Study, task: TrainingTask) -> int | None:
    """Updates after which the exact loss of the training split is at most `target` for the first time; None: it never is."""
    with closing(SerialDispatcher(shared.backend)) as machine, closing(SerialDispatcher(_ideal())) as ideal:
        exact = Coordinator(ideal, _ideal().capabilities)
        state = initial_state(task)
        with closing(train(task, state, _coordinator(shared, machine))) as reports:
            for report in reports:
                if isinstance(report, StepReport) and exact_loss(task, state.params, exact) <= target:
                    return report.step
    return None


def _ideal() -> Any:
    from actors.backends.ideal import IdealBackend

    return IdealBackend()


def _conditions(
    shared: _Study,
    chosen: dict[int, tuple[float, list[int | None]]],
    queues: dict[str, Queue],
    jobs_in_flight: Sequence[int],
) -> list[dict[str, Any]]:
    """Time and dollars until the target is reached, under every condition."""
    found: dict[tuple[str, int, int], list[tuple[float, float] | None]] = {}
    for s, (rate, steps) in chosen.items():
        for seed, n_steps in enumerate(steps):
            answers: dict[str, JobResult] = {}
            for name, queue in queues.items():
                for n in jobs_in_flight:
                    reached = None
                    if n_steps is not None:
                        task = shared.task(seed, s, rate, shared.base.n_steps)
                        reached = _timed(shared, task, shared.service(queue, n), seed, n_steps, answers)
                    found.setdefault((name, n, s), []).append(reached)
    first = next(iter(chosen))
    rows = []
    for (name, n, s), runs in found.items():
        pairs = [
            (one, base)
            for one, base in zip(runs, found[name, n, first], strict=True)
            if one is not None and base is not None
        ]
        rows.append(
            {
                "queue": name,
                "jobs_in_flight": n,
                "staleness": s,
                "seconds": _interval([one[0] for one, _ in pairs]),
                "usd": _interval([one[1] for one, _ in pairs]),
                "speed_up": _interval_of_ratio([base[0] for _, base in pairs], [one[0] for one, _ in pairs]),
                "usd_ratio": _interval_of_ratio([one[1] for one, _ in pairs], [base[1] for _, base in pairs]),
            }
        )
    return rows


def _timed(
    shared: _Study,
    task: TrainingTask,
    service: Service,
    seed: int,
    n_steps: int,
    answers: dict[str, JobResult],
) -> tuple[float, float]:
    """Virtual seconds and dollars of the first `n_steps` steps; what was sent beyond them is paid."""
    with closing(VirtualQueue(shared.backend, service, seed, answers)) as queue:
        with closing(train(task, initial_state(task), _coordinator(shared, queue))) as reports:
            for report in reports:
                if isinstance(report, StepReport) and report.step == n_steps:
                    break
        return queue.seconds, in_usd(queue.sent_micro)


def _epochs(shared: _Study, staleness: Sequence[int], epochs: Sequence[int]) -> list[dict[str, Any]]:
    """Seconds of as many steps as the longest epoch has, in the longest queue, by the steps of an epoch: where one ends, nothing is out."""
    name, queue = list(QUEUES.items())[-1]
    samples = shared.base.train
    rows = []
    for n_batches in epochs:
        some = np.resize(np.arange(len(samples.targets)), n_batches * BATCH)
        base = replace(shared.base, train=Samples(samples.features[some], samples.targets[some]))
        for s in staleness:
            if s >= n_batches:
                continue
            task = replace(base, max_staleness=s, run=base.run.model_copy(update={"max_steps": max(epochs)}))
            service, answers = shared.service(queue, max(JOBS_IN_FLIGHT)), {}  # type: Service, dict[str, JobResult]
            times = [_timed(shared, task, service, seed, max(epochs), answers)[0] for seed in range(20)]
            rows.append(
                {
                    "queue": name,
                    "jobs_in_flight": max(JOBS_IN_FLIGHT),
                    "steps": max(epochs),
                    "steps_an_epoch": n_batches,
                    "staleness": s,
                    "seconds": _interval(times),
                }
            )
    return rows


def _interval(values: Sequence[float]) -> dict[str, float]:
    """Mean, and a bootstrap interval of it (Efron, Ann. Statist. 1979) at 95 %."""
    return _interval_of_ratio(values, np.ones(len(values)))


def _interval_of_ratio(
    above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray
) -> dict[str, float]:
    """Ratio of the means of paired values, resampled in pairs."""
    if not len(above):
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan")}
    left, right = np.asarray(above, float), np.asarray(below, float)
    drawn = np.random.default_rng(0).integers(0, len(left), (_RESAMPLES, len(left)))
    ratios = left[drawn].mean(axis=1) / right[drawn].mean(axis=1)
    low, high = np.quantile(ratios, ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2)).tolist()
    return {"mean": float(left.mean() / right.mean()), "low": low, "high": high}
