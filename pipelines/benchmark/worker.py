"""The child that times one job as an actor would run it: session, compile, first run, then run after run with new parameters.

It loads what an actor loads and nothing else; cirq, which the model needs, stays in the parent. ``python -m
pipelines.benchmark.worker TASK ANSWERS`` reads a `WorkerTask`, writes the first run's arrays, and prints its figures.
"""

from __future__ import annotations

import math
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import QfleetError
from orchestrator.jobs import Job
from orchestrator.protocols import Backend, Session
from pipelines.benchmark.children import answer, one_line, use_one_core
from pipelines.benchmark.machine import peak_rss_mib
from pipelines.benchmark.timing import repeat

_DRIFT = 1e-3
"""Radians that the shared angles move from repeat to repeat, as they do in training: no answer can be kept from the last one."""


@dataclass(frozen=True, eq=False)
class WorkerTask:
    """What the parent sends: a job of `circuit` for `backend`, to be timed for `seconds`."""

    backend: Backend
    circuit: MeasuredCircuit
    job: Job
    seconds: float


def measure(task: WorkerTask) -> tuple[dict[str, Any], dict[str, Any]]:
    """(figures as plain values, arrays of the first run).

    Raises:
        CapabilityError: the backend cannot do the job.
    """
    started = time.perf_counter()
    session = task.backend.open_session()
    opened = time.perf_counter()
    compiled = session.compile(task.circuit)
    first = session.run(compiled, task.job)
    n_circuits = task.job.n_samples * task.job.n_displacements
    figures = {
        "open_seconds": opened - started,
        "first_call_seconds": time.perf_counter() - opened,
        **repeat(_runs(session, compiled, task.job), task.seconds).figures(n_circuits),
        "peak_rss_mib": peak_rss_mib(),
        "explain": _explain(session, compiled),
    }
    if task.job.jacobian_angles is not None:
        # the cotangents of a loss that is not linear take the values first: what that adds
        forward = replace(task.job, jacobian_angles=None, cotangents=None)
        timing = repeat(_runs(session, compiled, forward), task.seconds / 4)
        figures["us_per_sample"] = figures["us_per_circuit"]
        figures["us_per_sample_forward"] = timing.figures(n_circuits)["us_per_circuit"]
    session.close()
    jacobian = np.empty(0) if first.jacobian is None else first.jacobian
    return figures, {"values": first.values, "jacobian": jacobian}


def _runs(session: Session, compiled: Any, job: Job) -> Callable[[int], Callable[[], object]]:
    """Repeat i, with parameters of its own."""

    def prepare(i: int) -> Callable[[], object]:
        moved = replace(job, shared_angles=job.shared_angles + (i + 1) * _DRIFT, step=i + 1)
        return lambda: session.run(compiled, moved)

    return prepare


def _explain(session: Session, compiled: Any) -> list[dict[str, Any]] | None:
    """The cost model's table, None from a backend that has but one way; an infinite cost is None, as JSON has no word for it."""
    if not hasattr(session, "explain"):
        return None
    return [{name: _plain(value) for name, value in asdict(row).items()} for row in session.explain(compiled)]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(task_file: str, answer_file: str) -> None:
    """Read, measure, write, print; a refusal is an answer too."""
    use_one_core()
    task: WorkerTask = pickle.loads(Path(task_file).read_bytes())
    try:
        figures, arrays = measure(task)
    except QfleetError as error:
        answer({"error": one_line(error)})
        return
    np.savez(answer_file, **arrays)
    answer(figures)


if __name__ == "__main__":
    main(*sys.argv[1:])
