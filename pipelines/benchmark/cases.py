"""From a workload to what an actor gets: backend, measured circuit and job, made as the coordinator's planner makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import DataConfig, TrainingConfig
from orchestrator.jobs import Job
from orchestrator.models.model import Model
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.protocols import Backend
from orchestrator.registry import resolve
from pipelines.benchmark.peers.problem import Problem
from pipelines.benchmark.workloads import ROTATIONS_PER_QUBIT, Workload
from pipelines.compose import build_backend

SEED = 7

NOISE_RATES = {"aria-1": (0.0005, 0.0133)}
"""(one-qubit, two-qubit) rates of IonQ's published noise models, for the simulators that are run beside ours."""


@dataclass(frozen=True, eq=False)
class Case:
    """A workload with its numbers.

    Attributes:
        workload: what it was made from.
        backend: where it runs.
        model: circuit, angle map and read-out.
        features: float64 [S, n], radians.
        params: float64 [P], radians.
        weights: float64 [S, M], cotangents of a gradient; empty otherwise.
        job: the whole workload as one job.
    """

    workload: Workload
    backend: Backend
    model: Model
    features: np.ndarray
    params: np.ndarray
    weights: np.ndarray
    job: Job

    @property
    def circuit(self) -> MeasuredCircuit:
        """What the session compiles."""
        return self.model.measured

    def problem(self, expected: np.ndarray) -> Problem:
        """The same for other simulators, with what was found here; see `Problem.expected`."""
        w = self.workload
        per_row = (w.n_layers, w.n_qubits, ROTATIONS_PER_QUBIT)
        return Problem(
            workload=w.name,
            task=w.task,
            n_qubits=w.n_qubits,
            pairs=np.array(resolve("entanglement", w.entanglement)(w.n_qubits), np.int64).reshape(-1, 2),
            observed=np.array([pauli.index("Z") for pauli in self.circuit.paulis], np.int64),
            features=self.features,
            params=self._displaced_params().reshape(-1, *per_row),
            shots=w.shots or 0,
            noise=np.array(NOISE_RATES[w.noise] if w.noise else ()),
            weights=self.weights,
            expected=expected.reshape(-1, *per_row) if w.task == "gradient" else expected,
        )

    def _displaced_params(self) -> np.ndarray:
        """float64 [D, P]: the parameters of every displacement row; here each angle of a layer is one parameter."""
        angle_map, rows = self.model.angle_map, self.job.displacements
        owned = angle_map.param >= 0
        param_of = dict(zip(angle_map.angle[owned].tolist(), angle_map.param[owned].tolist(), strict=True))
        table = np.tile(self.params, (len(rows), 1))
        for row in range(len(rows)):
            for entry in range(rows.indptr[row], rows.indptr[row + 1]):
                table[row, param_of[int(rows.angles[entry])]] += rows.deltas[entry]
        return table


def build(workload: Workload, precision: str = "double") -> Case:
    """The workload's numbers, from a fixed seed.

    Raises:
        ConfigError: there is no such backend, or it has no such precision or noise model.
    """
    config = configuration(workload, precision)
    model = Model.from_config(config.model)
    rng = np.random.Generator(np.random.Philox(key=SEED + workload.n_qubits))
    features = rng.uniform(0, np.pi, (workload.n_samples, model.n_features))
    params = rng.uniform(-np.pi, np.pi, model.n_circuit_params)
    shape = (workload.n_samples, len(model.measured.paulis)) if workload.task == "gradient" else (0, 0)
    weights = rng.normal(size=shape)
    rule = resolve("gradient rule", "adjoint" if workload.task == "gradient" else "parameter_shift")()
    plan = EvaluationPlan(
        circuit=model.measured,
        angles=model.angle_map.angles(params, features),
        wanted=every_angle(model),
        derivative=rule.derivative(model.template, every_angle(model)),
        shots=workload.shots,
        cotangents=weights if workload.task == "gradient" else None,
        noise_keys=noise_keys(SEED, "benchmark", model.measured)
        if workload.shots
        else np.zeros(0, np.uint64),
    )
    return Case(workload, build_backend(config), model, features, params, weights, plan.job())


def every_angle(model: Model) -> np.ndarray:
    """int64: what peers differentiate by, which do not know what no observable feels."""
    return model.angles_moved_by(np.ones(model.n_circuit_params, bool))


def configuration(workload: Workload, precision: str) -> TrainingConfig:
    """The configuration of a run that has this workload in its steps.

    Raises:
        ConfigError: as `build`.
    """
    overrides = [
        f"backend.name={workload.backend}",
        f"model.n_qubits={workload.n_qubits}",
        f"model.n_layers={workload.n_layers}",
        f"model.entanglement={workload.entanglement}",
        f"model.observables={workload.observables}",
    ]
    if precision != "double":
        overrides.append(f"backend.precision={precision}")
    if workload.noise:
        overrides.append(f"backend.noise={workload.noise}")
    return TrainingConfig(data=DataConfig(name="arrays")).with_overrides(overrides)
