"""A run's figures as Ray's metrics, which the metrics port of the driver's node shows to Prometheus.

Ray exports them with the prefix ``ray_``; counters end in ``_total``, and every name says its unit. They are told once a second, as
differences of totals, on a thread beside the training loop: 3 us a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from orchestrator.protocols import WorkerStatus

_OF_RUN = ("run", "backend")
_OF_WORKER = ("run", "backend", "worker")
_MAX_OBSERVED = 1000
"""Jobs that a histogram is told of at once; of more, so many spread evenly."""
JOB_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Upper bounds of the histogram's buckets."""


class Metric(NamedTuple):
    """One metric.

    Attributes:
        kind: a counter is told totals and exports what was added since the run began.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    tags: tuple[str, ...] = _OF_RUN


METRICS = (
    Metric("qfleet_jobs_total", "counter", "Jobs answered."),
    Metric("qfleet_jobs_retried_total", "counter", "Jobs sent again after a failure."),
    Metric("qfleet_jobs_simulated_total", "counter", "Failed jobs answered by a simulator."),
    Metric("qfleet_workers_lost_total", "counter", "Actors lost."),
    Metric("qfleet_circuits_total", "counter", "Circuits run."),
    Metric("qfleet_shots_total", "counter", "Repetitions of circuits."),
    Metric("qfleet_cost_dollars_total", "counter", "Price of the circuits, US dollars."),
    Metric("qfleet_cache_hits_total", "counter", "Jobs whose circuit was compiled already."),
    Metric("qfleet_cache_lookups_total", "counter", "Jobs that asked for a compiled circuit."),
    Metric("qfleet_job_seconds", "histogram", "Time of a job on its worker, seconds."),
    Metric("qfleet_workers", "gauge", "Actors that are ready."),
    Metric("qfleet_utilisation_ratio", "gauge", "Share of the actors' time spent in the backend."),
    Metric("qfleet_reserved_dollars", "gauge", "Dollars set aside for jobs under way."),
    Metric("qfleet_spending_cap_dollars", "gauge", "Dollars that the run may cost."),
    Metric("qfleet_step", "gauge", "Steps done."),
    Metric("qfleet_steps_planned", "gauge", "Steps of the whole run."),
    Metric("qfleet_step_seconds", "gauge", "Wall time of the newest step, seconds."),
    Metric("qfleet_loss", "gauge", "Loss of the newest batch."),
    Metric("qfleet_validation_loss", "gauge", "Loss of the newest validation."),
    Metric("qfleet_gradient_norm", "gauge", "Euclidean norm of the newest gradient."),
    Metric("qfleet_worker_jobs_total", "counter", "Jobs answered by an actor.", _OF_WORKER),
    Metric("qfleet_worker_circuits_total", "counter", "Circuits run by an actor.", _OF_WORKER),
    Metric("qfleet_worker_busy_seconds_total", "counter", "Time in the backend, seconds.", _OF_WORKER),
    Metric("qfleet_worker_failures_total", "counter", "Jobs that an actor failed.", _OF_WORKER),
    Metric("qfleet_worker_jobs_in_flight", "gauge", "Jobs sent to an actor and not answered.", _OF_WORKER),
)


class FleetMetrics:
    """Tells Ray the figures of one run. Needs a connection to Ray; what is told without one is lost.

    Args:
        run: its name. backend: where its circuits run.
    """

    def __init__(self, run: str, backend: str) -> None:
        self._tags = {"run": run, "backend": backend}
        self._metrics = {metric.name: _made(metric) for metric in METRICS}
        self._told: dict[tuple[str, str], float] = {}
        self._workers: set[str] = set()

    def tell(
        self,
        totals: Mapping[str, float],
        gauges: Mapping[str, float],
        workers: Sequence[WorkerStatus] = (),
        job_seconds: Sequence[float] = (),
    ) -> None:
        """Tell the newest figures.

        Args:
            totals: of counters, since the run began in this process, by name. gauges: by name.
            workers: the actors there are; one that is gone has nothing in flight.
            job_seconds: of the jobs done since the call before.
        """
        for name, value in gauges.items():
            self._metrics[name].set(float(value), self._tags)
        for name, value in totals.items():
            self._count(name, value, self._tags)
        for worker in workers:
            tags = self._tags | {"worker": worker.worker}
            self._count("qfleet_worker_jobs_total", worker.jobs_done, tags)
            self._count("qfleet_worker_circuits_total", worker.circuits_done, tags)
            self._count("qfleet_worker_busy_seconds_total", worker.busy_seconds, tags)
            self._count("qfleet_worker_failures_total", worker.failures, tags)
            self._metrics["qfleet_worker_jobs_in_flight"].set(float(worker.jobs_in_flight), tags)
        there = {worker.worker for worker in workers}
        for gone in self._workers - there:
            self._metrics["qfleet_worker_jobs_in_flight"].set(0.0, self._tags | {"worker": gone})
        self._workers = there
        every = max(-(-len(job_seconds) // _MAX_OBSERVED), 1)
        for seconds in job_seconds[::every]:
            self._metrics["qfleet_job_seconds"].observe(float(seconds), self._tags)

    def _count(self, name: str, total: float, tags: dict[str, str]) -> None:
        """Add what is new of a total; a counter that has added nothing yet is not shown."""
        key = (name, tags.get("worker", ""))
        new = total - self._told.get(key, 0.0)
        if new > 0:
            self._metrics[name].inc(new, tags)
            self._told[key] = total


def _made(metric: Metric) -> Any:
    from ray.util import metrics

    if metric.kind == "counter":
        return metrics.Counter(metric.name, description=metric.description, tag_keys=metric.tags)
    if metric.kind == "gauge":
        return metrics.Gauge(metric.name, description=metric.description, tag_keys=metric.tags)
    return metrics.Histogram(
        metric.name, description=metric.description, boundaries=list(JOB_SECONDS), tag_keys=metric.tags
    )
