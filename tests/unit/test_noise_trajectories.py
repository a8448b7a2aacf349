"""Quantum trajectories: means and variances as the density matrix predicts, the same bits however the shots are put together."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cirq
import numba
import numpy as np
import pytest
import sympy

from actors.noise.model import NoiseModel
from actors.noise.presets import aria_2
from actors.simulation.density_matrix.engine import DensityMatrix
from actors.simulation.trajectories import errors
from actors.simulation.trajectories.engine import MAX_SHOTS, Trajectories
from actors.simulation.trajectories.schedule import compile_schedule
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Displacements, Job

MODELS = [
    aria_2(),
    NoiseModel("depolarising", 0.1, 0.2),
    NoiseModel("phase", phase_damping=0.3),
    NoiseModel("decay", amplitude_damping=0.2),
    NoiseModel("full decay", amplitude_damping=1.0),
    NoiseModel("readout", readout_0_to_1=0.2, readout_1_to_0=0.05),
    NoiseModel("everything", 0.02, 0.05, 0.1, 0.1, 0.01, 0.06),
]


def brickwork(n_qubits: int, n_layers: int, paulis: tuple[str, ...]) -> MeasuredCircuit:
    """Turns, CNOTs and controlled RY: every way in which the schedule holds a gate."""
    qubits = cirq.LineQubit.range(n_qubits)
    symbols = (sympy.Symbol(f"t{k:04d}") for k in range(10**4))
    operations: list[cirq.Operation] = []
    for _ in range(n_layers):
        operations += [gate(next(symbols))(q) for q in qubits for gate in (cirq.ry, cirq.rz)]
        operations += [cirq.CNOT(a, b) for a, b in itertools.pairwise(qubits)]
        operations += [cirq.ControlledGate(cirq.ry(next(symbols)))(qubits[-1], qubits[0]), cirq.H(qubits[1])]
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(operations), qubits)[0], paulis)


def job_of(circuit: MeasuredCircuit, n_samples: int, shots: int, **changes) -> Job:
    rng = np.random.default_rng(4)
    n_angles = circuit.template.n_angles
    return Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, n_angles),
        data_columns=np.arange(2),
        data_angles=rng.uniform(-3, 3, (n_samples, 2)),
        displacements=Displacements.single(np.arange(3), np.full(3, 0.7)),
        shots=shots,
        noise_keys=np.arange(1, 1 + len(circuit.groups), dtype=np.uint64),
        **changes,
    )


@pytest.mark.parametrize("noise", MODELS, ids=lambda noise: noise.name)
def test_means_and_variances_are_those_of_the_density_matrix(noise: NoiseModel) -> None:
    """z-scores within 5, and over repeated draws a mean square of 1 within 5 of its standard errors."""
    circuit = brickwork(3, 2, ("ZII", "IZZ", "XYI"))
    draws, shots = 400, 50
    job = replace(
        job_of(circuit, draws, shots), data_columns=np.zeros(0, np.int64), data_angles=np.zeros((draws, 0))
    )
    exact = DensityMatrix(circuit, noise).values(replace(job.part(slice(0, 1), slice(0, 4)), shots=None))
    found = Trajectories(circuit, noise).values(job)
    error = np.sqrt(np.maximum(1 - exact**2, 0.0) / shots)
    is_sharp = error[0] < 1e-6
    np.testing.assert_allclose(
        found[:, is_sharp], np.broadcast_to(exact, found.shape)[:, is_sharp], atol=1e-6
    )
    z = ((found - exact) / np.maximum(error, 1e-6))[:, ~is_sharp]
    assert np.abs(z.mean(axis=0)).max() * np.sqrt(draws) < 5
    # Var(z**2) = 2 + kurtosis / shots, and the excess kurtosis of a +-1 outcome of mean v is 4 / (1 - v**2) - 6
    spread = np.sqrt((2 + 4 / (shots * error[0, ~is_sharp]) ** 2) / draws)
    assert np.all(np.abs((z**2).mean(axis=0) - 1) < 5 * spread)


@pytest.mark.parametrize("noise", MODELS, ids=lambda noise: noise.name)
def test_bits_do_not_depend_on_width_or_chunking(noise: NoiseModel) -> None:
    circuit = brickwork(4, 2, ("ZIII", "IZZI", "XYIZ", "IIII"))
    job = job_of(circuit, 3, 37, step=2, sample_start=11, displacement_start=5)
    whole = Trajectories(circuit, noise).values(job)
    for width in (1, 2, 3, 8, 16, 37, 100):
        assert np.array_equal(Trajectories(circuit, noise, width).values(job), whole)
    method = Trajectories(circuit, noise)
    for s in range(3):
        for d in range(4):
            part = job.part(slice(s, s + 1), slice(d, d + 1))
            assert np.array_equal(method.values(part), whole[s : s + 1, d : d + 1])


def test_strings_of_a_group_keep_their_joint_distribution() -> None:
    """Var(ZZ - Z1 Z2) of single shots: with one shot the product string is the product of its factors, readout error included."""
    circuit = brickwork(3, 1, ("ZII", "IZI", "ZZI"))
    values = Trajectories(circuit, MODELS[-1]).values(job_of(circuit, 50, 1))
    assert np.array_equal(values[..., 2], values[..., 0] * values[..., 1])
    assert len(np.unique(values)) == 2


def test_twelve_qubits_agree_with_the_exact_values() -> None:
    circuit = brickwork(12, 1, ("Z" + "I" * 11, "I" * 6 + "ZZ" + "I" * 4, "I" * 11 + "X"))
    shots = 2000
    job = job_of(circuit, 1, shots)
    exact = cirq_like(circuit, job)
    found = Trajectories(circuit, NoiseModel("readout", readout_0_to_1=0.1, readout_1_to_0=0.1)).values(job)
    scale = 0.8 ** np.array([1, 2, 1])
    error = np.sqrt((1 - (scale * exact) ** 2) / shots)
    assert np.abs((found - scale * exact) / error).max() < 5


def cirq_like(circuit: MeasuredCircuit, job: Job) -> np.ndarray:
    """Noiseless values [1, D, M] by cirq's simulator."""
    qubits = cirq.LineQubit.range(circuit.template.n_qubits)
    strings = [cirq.DensePauliString(pauli).on(*qubits) for pauli in circuit.paulis]
    rows = []
    for d in range(job.n_displacements):
        angles = np.concatenate([job.data_angles[0], job.shared_angles[2:]])
        moved = slice(*job.displacements.indptr[d : d + 2])
        angles[job.displacements.angles[moved]] += job.displacements.deltas[moved]
        state = (
            cirq.Simulator(dtype=np.complex128)
            .simulate(
                circuit.template.circuit(), {f"a{k}": a for k, a in enumerate(angles)}, qubit_order=qubits
            )
            .final_state_vector
        )
        rows.append(
            [
                s.expectation_from_state_vector(state, {q: i for i, q in enumerate(qubits)}).real
                for s in strings
            ]
        )
    return np.array([rows])


def test_words_of_shots_differ_and_are_uniform() -> None:
    """The mean of 4000 uniform words has the standard error 2**32 / sqrt(12 * 4000)."""
    fill_shot_words = numba.njit(lambda *arguments: errors.fill_shot_words(*arguments))
    words = np.empty((1000, 4), np.uint64)
    for shot in range(1000):
        fill_shot_words(np.uint64(5), shot, 0, 0, 0, words[shot])
    assert len(np.unique(words)) > 3990
    assert abs(words.mean() / 2**32 - 0.5) < 5 / np.sqrt(12 * 4000)


def test_no_noise_leaves_no_site() -> None:
    circuit = brickwork(3, 1, ("ZII",))
    assert compile_schedule(circuit, NoiseModel("nothing")).errors.n_slots == 0
    assert compile_schedule(circuit, aria_2()).errors.n_slots == len(circuit.template.gates)


def test_what_trajectories_cannot_do_is_refused() -> None:
    circuit = brickwork(3, 1, ("ZII",))
    method, job = Trajectories(circuit, aria_2()), job_of(circuit, 1, 5)
    with pytest.raises(CapabilityError, match="give a number of shots"):
        method.values(replace(job, shots=None))
    with pytest.raises(CapabilityError, match="parameter_shift"):
        method.jacobian(job)
    with pytest.raises(CapabilityError, match=f"shots = {MAX_SHOTS}"):
        method.values(replace(job, shots=MAX_SHOTS))
