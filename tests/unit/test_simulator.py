"""The choice between executions, and jobs split over threads."""

from __future__ import annotations

import dataclasses

import cirq
import numpy as np
import pytest
import sympy

from actors.simulation.choice import MAX_STATE_QUBITS, choose
from actors.simulation.simulator import Simulator
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.jobs import Displacements, Job


def layered(n_qubits: int, n_layers: int, is_full: bool = False) -> MeasuredCircuit:
    """Layers of RY and RZ on every qubit and CNOTs along the chain, or between all pairs; Z of every qubit."""
    qubits = cirq.LineQubit.range(n_qubits)
    symbols = (sympy.Symbol(f"t{k}") for k in range(10**6))
    pairs = [(a, b) for i, a in enumerate(qubits) for b in qubits[i + 1 :]]
    operations: list[cirq.Operation] = []
    for _ in range(n_layers):
        operations += [gate(next(symbols))(q) for q in qubits for gate in (cirq.ry, cirq.rz)]
        operations += [cirq.CNOT(a, b) for a, b in pairs if is_full or b.x - a.x == 1]
    paulis = tuple("I" * q + "Z" + "I" * (n_qubits - 1 - q) for q in range(n_qubits))
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(operations), qubits)[0], paulis)


def job_for(circuit: MeasuredCircuit, n_samples: int, **changes) -> Job:
    rng = np.random.default_rng(0)
    n_angles = circuit.template.n_angles
    return Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, n_angles),
        data_columns=np.arange(2),
        data_angles=rng.uniform(-3, 3, (n_samples, 2)),
        displacements=ParameterShift().derivative(circuit.template, np.arange(n_angles)).displacements,
        noise_keys=np.arange(1, 1 + len(circuit.groups), dtype=np.uint64),
        **changes,
    )


@pytest.mark.parametrize(
    ("circuit", "values", "gradients"),
    [
        (layered(8, 2), "contraction", "contraction"),
        (layered(16, 2), "contraction", "contraction"),
        (layered(40, 2), "contraction", "contraction"),
        (layered(8, 6), "state_vector", "state_vector"),
        (layered(8, 2, is_full=True), "state_vector", "state_vector"),
    ],
    ids=["8x2", "16x2", "40x2", "8x6", "full"],
)
def test_the_cheaper_execution_is_chosen(circuit, values, gradients) -> None:
    choice = choose(circuit)
    assert (choice.for_values, choice.for_gradients) == (values, gradients)
    for candidate in choice.candidates:
        assert candidate.applies == np.isfinite(candidate.microseconds_per_circuit)
        assert candidate.reason


def test_a_circuit_that_nothing_can_simulate_is_refused() -> None:
    with pytest.raises(CapabilityError, match=r"state_vector: 30 qubits.*contraction: .*bonds of 2\^"):
        choose(layered(30, 2, is_full=True))


def test_shots_of_many_qubits_are_refused() -> None:
    simulator = Simulator(layered(MAX_STATE_QUBITS + 6, 1))
    assert simulator.values(job_for(layered(MAX_STATE_QUBITS + 6, 1), 1)).shape[2] == MAX_STATE_QUBITS + 6
    with pytest.raises(CapabilityError, match=r"leave backend\.shots out"):
        simulator.values(job_for(layered(MAX_STATE_QUBITS + 6, 1), 1, shots=10))


@pytest.mark.parametrize("circuit", [layered(9, 2), layered(6, 2, is_full=True)], ids=["chain", "full"])
@pytest.mark.parametrize("shots", [None, 20])
def test_threads_change_no_bit(circuit, shots, monkeypatch) -> None:
    monkeypatch.setattr("actors.simulation.simulator._WORTH_SPLITTING_MICROSECONDS", 0.01)
    job = job_for(circuit, 7, shots=shots)
    alone, together = Simulator(circuit), Simulator(circuit, threads=3)
    assert np.array_equal(alone.values(job), together.values(job))
    wanted = dataclasses.replace(
        job, displacements=Displacements.none(), jacobian_angles=np.arange(4), shots=None
    )
    for one, other in zip(alone.jacobian(wanted), together.jacobian(wanted), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("circuit", [layered(5, 2), layered(4, 2, is_full=True)], ids=["chain", "full"])
def test_single_precision_reaches_every_execution(circuit) -> None:
    """Off by the rounding of single precision: neither exact nor far away."""
    job = job_for(circuit, 3)
    double, single = Simulator(circuit), Simulator(circuit, precision="single")
    error = np.abs(single.values(job) - double.values(job)).max()
    assert 1e-9 < error < 1e-5
    wanted = dataclasses.replace(job, displacements=Displacements.none(), jacobian_angles=np.arange(4))
    error = np.abs(single.jacobian(wanted)[1] - double.jacobian(wanted)[1]).max()
    assert 1e-9 < error < 1e-5
