"""The small trainings that are disturbed: what they run on, and how much of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from actors.backends.ideal import IdealBackend, IdealSession
from orchestrator.config import TrainingConfig
from orchestrator.jobs import Job, JobResult

JOB_SECONDS = 0.015
RUN = "stormy"
_COMMON = [
    "model.n_qubits=4", "data.n_components=4", "run.epochs=4", "checkpoint.every_steps=7", "gradient.rule=parameter_shift",
    "tracking.enabled=false", f"run.name={RUN}",
]  # fmt: skip


class SlowBackend(IdealBackend):
    """The ideal simulator, each job of which takes a while, so that there is something to strike at."""

    def open_session(self) -> IdealSession:
        """A session."""
        return _SlowSession(self)


class _SlowSession(IdealSession):
    def run(self, compiled: Any, job: Job) -> JobResult:
        time.sleep(JOB_SECONDS)
        return super().run(compiled, job)


@dataclass(frozen=True)
class Workload:
    """A training of `n_steps` steps; `is_paid`: through the IonQ emulator, every job for money."""

    name: str
    n_steps: int
    is_paid: bool
    overrides: tuple[str, ...]

    def arguments(self, *overrides: str) -> list[str]:
        """What comes after ``qfleet train``, without the configuration's file."""
        sets = [word for each in (*_COMMON, *self.overrides, *overrides) for word in ("--set", each)]
        return [*sets, *(["--yes-spend", "1e6"] if self.is_paid else [])]

    def config(self) -> TrainingConfig:
        """The same as a configuration."""
        return TrainingConfig().with_overrides([*_COMMON, *self.overrides])


FREE = Workload("free", 40, False, (
    "data.name=breast_cancer", "data.max_samples=160", "run.batch_size=12", "backend.shots=50", "fleet.job_seconds=0.005",
    "backend.name=tests.chaos.workloads:SlowBackend",
))  # fmt: skip
PAID = Workload("paid", 28, True, (
    "data.name=iris", "data.max_samples=40", "loss.name=mse", "model.n_layers=1", "run.batch_size=4", "backend.name=ionq",
    "backend.target=qpu.aria-1", "backend.shots=600", "backend.circuits_per_job=20", "backend.lookup_seconds=0.3",
    "backend.request_seconds=2", "backend.jobs_in_flight=2",
))  # fmt: skip
WORKLOADS = {each.name: each for each in (FREE, PAID)}
