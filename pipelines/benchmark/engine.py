"""The engine's figures: each workload in a fresh process, checked against cirq."""

from __future__ import annotations

import pickle
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import QfleetError
from pipelines.benchmark.cases import Case, build, every_angle
from pipelines.benchmark.children import one_line, run_child
from pipelines.benchmark.machine import load_average
from pipelines.benchmark.peers.problem import Problem
from pipelines.benchmark.reference import check
from pipelines.benchmark.worker import WorkerTask
from pipelines.benchmark.workloads import Workload

LIMIT_SECONDS = 600.0
"""A workload that takes longer than this has failed."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A workload's figures, and the problem that peers get with what was found; None where there is nothing to compare."""

    figures: dict[str, Any]
    problem: Problem | None


def warm_up() -> None:
    """Compile the kernels, in processes of their own, unless they are cached on disk: no first call is to hold it."""
    run_child(sys.executable, "pipelines.benchmark.warm", [], LIMIT_SECONDS)


def measure(workload: Workload, precision: str, seconds: float) -> Measured:
    """Time `workload` for about `seconds` and check a sample of its circuits. A refusal becomes ``figures["error"]``."""
    figures: dict[str, Any] = {
        "workload": workload.name,
        "precision": precision,
        "n_qubits": workload.n_qubits,
        "circuits": workload.n_circuits,
        "unit": workload.unit,
        "load_average": load_average(),
    }
    try:
        case = build(workload, precision)
    except QfleetError as error:
        return Measured({**figures, "error": one_line(error)}, None)
    raw, arrays = run_worker(case, seconds)
    if "error" in raw:
        return Measured({**figures, **raw}, None)
    return _with_check(case, figures | raw, arrays)


def run_worker(case: Case, seconds: float) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(the worker's figures, the arrays of its first run), from a process of its own; ``{"error": ...}`` if it refused."""
    with tempfile.TemporaryDirectory(prefix="qfleet-benchmark-") as folder:
        task_file, answer_file = Path(folder) / "task.pickle", Path(folder) / "answer.npz"
        task_file.write_bytes(pickle.dumps(WorkerTask(case.backend, case.circuit, case.job, seconds)))
        raw = run_child(
            sys.executable, "pipelines.benchmark.worker", [str(task_file), str(answer_file)], LIMIT_SECONDS
        )
        if "error" in raw:
            return raw, {}
        with np.load(answer_file) as file:
            return raw | {"execution": chosen_execution(raw["explain"], case.workload.task)}, dict(file)


def chosen_execution(explain: list[dict[str, Any]] | None, task: str = "values") -> str | None:
    """The execution that the cost model chose for `task`, in words; None where it does not choose: for shots, or with one way only."""
    mark = {"values": "is_chosen", "gradient": "is_chosen_for_gradients"}.get(task)
    chosen = (row["execution"] for row in explain or [] if mark is not None and row[mark])
    return next((str(name).replace("_", " ") for name in chosen), None)


def _with_check(case: Case, figures: dict[str, Any], arrays: dict[str, np.ndarray]) -> Measured:
    found = arrays["jacobian"][:, 0, :] if case.workload.task == "gradient" else arrays["values"]
    if case.workload.task == "gradient":
        found = _by_parameter(case, found)
    problem = case.problem(found)
    return Measured(figures | check(problem), problem)


def _by_parameter(case: Case, jacobian: np.ndarray) -> np.ndarray:
    """float64 [S, P] from derivatives by the differentiated angles, [S, Kj]."""
    by_angle = np.zeros((len(jacobian), case.model.template.n_angles))
    by_angle[:, every_angle(case.model)] = jacobian
    angle_map = case.model.angle_map
    return np.stack(
        [angle_map.pullback(by_angle[s : s + 1], case.features[s : s + 1]) for s in range(len(by_angle))]
    )
