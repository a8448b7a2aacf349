"""The backend "noisy" under noise, against cirq's density-matrix simulator with the same channels; and what it refuses."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace

import cirq
import numpy as np
import pytest

from actors.backends.noisy import (
    MAX_EXACT_QUBITS,
    MAX_SAMPLED_QUBITS,
    SHOTS_FROM_DENSITY_MATRIX,
    NoisyBackend,
    choose_method,
)
from actors.noise.model import NoiseModel
from actors.noise.presets import aria_1
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError, CircuitError, ConfigError, InputError, UnknownNameError
from orchestrator.jobs import Displacements, Job, JobResult, check_result


def run(backend: NoisyBackend, circuit: MeasuredCircuit, job: Job) -> JobResult:
    session = backend.open_session()
    return check_result(job, session.run(session.compile(circuit), job), len(circuit.paulis))


@pytest.mark.parametrize("n_qubits", range(1, 6))
def test_exact_values_are_those_of_cirq(make, n_qubits) -> None:
    rng = np.random.default_rng([50, n_qubits])
    for letters in ("IZ", "IXYZ") * 3:
        circuit = make.measured(rng, n_qubits, letters=letters, max_gate_qubits=2)
        job, noise = make.job(rng, circuit, n_samples=2, n_rows=3), make.noise(rng)
        result = run(NoisyBackend(noise), circuit, job)
        np.testing.assert_allclose(
            result.values, make.noisy_reference(circuit, job, noise), rtol=0, atol=1e-12
        )
        assert result.variances is None
        assert result.backend == "noisy"


def test_the_default_is_aria_1(make) -> None:
    rng = np.random.default_rng(51)
    circuit = make.measured(rng, 3, max_gate_qubits=2)
    job = make.job(rng, circuit)
    default = run(pickle.loads(pickle.dumps(NoisyBackend())), circuit, job).values
    np.testing.assert_allclose(default, make.noisy_reference(circuit, job, aria_1()), rtol=0, atol=1e-12)
    assert np.array_equal(run(NoisyBackend("aria-1"), circuit, job).values, default)
    assert not np.allclose(run(NoisyBackend("aria-2"), circuit, job).values, default)


@pytest.mark.parametrize("method", ["density_matrix", "trajectories"])
def test_shots_scatter_as_predicted(make, method) -> None:
    """z-scores of many estimates under random noise: none beyond 5, their sum of squares a chi-square."""
    rng = np.random.default_rng(52)
    scores, n_shots = [], 400
    for _ in range(8):
        circuit = make.measured(rng, 3, max_gate_qubits=2)
        job = make.job(rng, circuit, n_samples=3, n_rows=3, shots=n_shots)
        noise = make.noise(rng)
        exact = make.noisy_reference(circuit, job, noise)
        variance = (1 - exact**2) / n_shots
        result = run(NoisyBackend(noise, method), circuit, job)
        is_sharp = variance < 1e-6
        np.testing.assert_allclose(result.values[is_sharp], exact[is_sharp], atol=1e-3)
        scores.append(((result.values - exact) / np.sqrt(np.maximum(variance, 1e-6)))[~is_sharp])
        assert result.n_shots == 9 * n_shots * len(circuit.groups)
    z = np.concatenate(scores)
    assert np.abs(z).max() < 5
    # Strings of one group share shots, so scores are correlated: the bound is a wide one.
    assert abs((z**2).mean() - 1) < 8 * np.sqrt(2 / len(z))


@pytest.mark.parametrize("method", ["density_matrix", "trajectories"])
def test_noisy_bits_do_not_depend_on_the_chunking(make, method) -> None:
    rng = np.random.default_rng(53)
    noise = NoiseModel("all", 0.02, 0.05, 0.03, 0.04, 0.01, 0.02)
    circuit = make.measured(rng, 4, max_gate_qubits=2)
    job = make.job(rng, circuit, n_samples=4, n_rows=5, shots=33)
    whole = run(NoisyBackend(noise, method), circuit, job)
    for s, d in itertools.product((slice(0, 1), slice(1, 4)), (slice(0, 2), slice(2, 3), slice(3, 5))):
        part = run(NoisyBackend(noise, method), circuit, job.part(s, d))
        assert np.array_equal(part.values, whole.values[s, d])
        assert np.array_equal(part.variances, whole.variances[s, d])


def test_derivatives_under_noise_agree_with_central_differences(make) -> None:
    """Of cirq's values with steps h and 2h: the error left is about h^4 f^(5) / 30, with rounding 1e-16 / h."""
    rng = np.random.default_rng(54)
    step = 1e-3
    for n_qubits in (1, 2, 3):
        circuit = make.measured(rng, n_qubits, n_gates=12, max_gate_qubits=2)
        noise = make.noise(rng)
        every = np.arange(circuit.template.n_angles)
        job = replace(
            make.job(rng, circuit, n_samples=1), displacements=Displacements.none(), jacobian_angles=every
        )
        found = run(NoisyBackend(noise), circuit, job)
        angles = make.angles_of(job, 0, 0)
        for k in every:
            f = {
                m: make.noisy_values(circuit, angles + m * step * np.eye(len(every))[k], noise)
                for m in (-2, -1, 1, 2)
            }
            difference = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * step)
            np.testing.assert_allclose(found.jacobian[0, :, k], difference, rtol=0, atol=1e-10)
        cotangents = rng.normal(size=(1, len(circuit.paulis)))
        pulled = run(NoisyBackend(noise), circuit, replace(job, cotangents=cotangents))
        np.testing.assert_allclose(pulled.jacobian[:, 0], cotangents @ found.jacobian[0], rtol=0, atol=1e-13)
        assert np.array_equal(pulled.values, found.values)


def entangled(n_qubits: int) -> MeasuredCircuit:
    """Turns and a gate on every pair, twice: no cut is small."""
    qubits = cirq.LineQubit.range(n_qubits)
    layer = [
        cirq.H.on_each(*qubits),
        [cirq.CZ(a, b) ** 0.3 for i, a in enumerate(qubits) for b in qubits[i + 1 :]],
    ]
    drawn = cirq.Circuit(layer, layer, cirq.H.on_each(*qubits))
    return MeasuredCircuit(template_from_circuit(drawn, qubits)[0], ("Z" * n_qubits,))


def idle(n_qubits: int) -> MeasuredCircuit:
    qubits = cirq.LineQubit.range(n_qubits)
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(cirq.X.on_each(*qubits)))[0], ("Z" * n_qubits,))


def test_the_method_follows_from_circuit_and_shots() -> None:
    noise = aria_1()
    assert choose_method(idle(40), noise, None) == "contraction"
    assert choose_method(entangled(10), noise, None) == "density_matrix"
    assert choose_method(entangled(8), noise, 1000) == "density_matrix"
    assert choose_method(entangled(8), noise, 100) == "trajectories"
    assert choose_method(entangled(SHOTS_FROM_DENSITY_MATRIX + 1), noise, 10**6) == "trajectories"


def test_exact_values_of_too_many_qubits_name_the_remedy(make) -> None:
    circuit = entangled(MAX_EXACT_QUBITS + 1)
    job = make.job(np.random.default_rng(0), circuit, n_rows=1)
    with pytest.raises(CapabilityError, match=rf"up to {MAX_EXACT_QUBITS} qubits.*backend\.shots"):
        run(NoisyBackend(), circuit, job)
    circuit = idle(MAX_EXACT_QUBITS + 1)
    job = make.job(np.random.default_rng(0), circuit, n_rows=1, shots=3)
    value = run(NoisyBackend(NoiseModel("noiseless")), circuit, job).values
    assert np.all(value == (-1) ** (MAX_EXACT_QUBITS + 1))
    circuit = idle(MAX_SAMPLED_QUBITS + 1)
    job = make.job(np.random.default_rng(0), circuit, n_rows=1, shots=3)
    with pytest.raises(CapabilityError, match=rf"up to {MAX_SAMPLED_QUBITS} qubits.*backend\.shots"):
        run(NoisyBackend(), circuit, job)


def test_capabilities_follow_the_method() -> None:
    assert NoisyBackend().capabilities.is_exact
    assert NoisyBackend().capabilities.max_qubits == 60
    assert NoisyBackend(method="trajectories").capabilities.max_qubits == MAX_SAMPLED_QUBITS
    assert not NoisyBackend(method="contraction").capabilities.has_shots
    assert not NoisyBackend(method="trajectories").capabilities.has_jacobian
    assert NoisyBackend(method="density_matrix").capabilities.max_qubits == MAX_EXACT_QUBITS


def test_gates_on_three_qubits_are_refused_under_gate_noise() -> None:
    q = cirq.LineQubit.range(3)
    circuit = MeasuredCircuit(template_from_circuit(cirq.Circuit(cirq.CCX(*q)))[0], ("ZZZ",))
    with pytest.raises(CircuitError, match="on 3: decompose"):
        NoisyBackend().open_session().compile(circuit)
    NoisyBackend(NoiseModel("readout", readout_0_to_1=0.1)).open_session().compile(circuit)


def test_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'aria-1'"):
        NoisyBackend("aria1")
    with pytest.raises(ConfigError, match="did you mean 'density_matrix'"):
        NoisyBackend(method="densitymatrix")
    with pytest.raises(InputError, match="not a NoiseModel"):
        NoisyBackend("collections:OrderedDict")
