"""NoiseModel: its channels against cirq's, its transfer matrices, its presets, and what it refuses."""

from __future__ import annotations

import math
import pickle

import cirq
import numpy as np
import pytest

from actors.noise import channels
from actors.noise.model import NoiseModel
from actors.noise.presets import aria_1, noise_model
from actors.simulation.pauli_transfer import pauli_operators, transfer_matrix
from orchestrator.errors import CircuitError, ConfigError, UnknownNameError
from orchestrator.registry import NOISE_MODELS

RATES = (0.0, 1e-4, 0.3, 1.0)
EVERYTHING = NoiseModel("everything", 0.02, 0.05, 0.03, 0.04, 0.01, 0.06)


def superoperator(kraus: np.ndarray) -> np.ndarray:
    """The channel on vectorised density matrices: free of the choice of Kraus operators."""
    return sum(np.kron(k, k.conj()) for k in kraus)


@pytest.mark.parametrize("rate", RATES)
def test_channels_are_those_of_cirq(rate: float) -> None:
    pairs = [
        (channels.amplitude_damping(rate), cirq.amplitude_damp(rate)),
        (channels.phase_damping(rate), cirq.phase_damp(rate)),
        (channels.depolarizing(rate, 1), cirq.depolarize(3 * rate / 4)),
        (channels.depolarizing(rate, 2), cirq.depolarize(15 * rate / 16, n_qubits=2)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(
            superoperator(ours), superoperator(np.array(cirq.kraus(theirs))), rtol=0, atol=1e-15
        )


@pytest.mark.parametrize("n_qubits", [1, 2])
def test_what_follows_a_gate_is_depolarising_then_amplitude_then_phase_damping(n_qubits: int) -> None:
    """Applied to density matrices with cirq's Kraus operators, one channel after the other."""
    rate = EVERYTHING.one_qubit_depolarizing if n_qubits == 1 else EVERYTHING.two_qubit_depolarizing
    qubits = cirq.LineQubit.range(n_qubits)
    circuit = cirq.Circuit(
        cirq.DepolarizingChannel(rate * (1 - 4.0**-n_qubits), n_qubits=n_qubits)(*qubits),
        cirq.amplitude_damp(EVERYTHING.amplitude_damping).on_each(*qubits),
        cirq.phase_damp(EVERYTHING.phase_damping).on_each(*qubits),
    )
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    paulis = pauli_operators(n_qubits)
    for seed in range(5):
        before = cirq.testing.random_density_matrix(2**n_qubits, random_state=seed)
        after = simulator.simulate(circuit, qubit_order=qubits, initial_state=before).final_density_matrix
        np.testing.assert_allclose(
            EVERYTHING.after_gate(n_qubits) @ np.einsum("pij,ji->p", paulis, before).real,
            np.einsum("pij,ji->p", paulis, after).real,
            rtol=0,
            atol=1e-14,
        )


def test_depolarising_damps_every_string_by_one_minus_its_rate() -> None:
    assert np.allclose(np.diag(aria_1().after_gate(1)), [1, *[1 - 0.0005] * 3], rtol=0, atol=1e-15)
    assert np.allclose(np.diag(aria_1().after_gate(2)), [1, *[1 - 0.0133] * 15], rtol=0, atol=1e-15)


@pytest.mark.parametrize("n_qubits", [1, 2])
def test_pauli_probabilities_make_the_same_channel(n_qubits: int) -> None:
    model = NoiseModel("pauli", 0.02, 0.05, phase_damping=0.3)
    weights = model.pauli_probabilities(n_qubits)
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    kraus = np.sqrt(weights)[:, None, None] * pauli_operators(n_qubits)
    np.testing.assert_allclose(transfer_matrix(kraus), model.after_gate(n_qubits), rtol=0, atol=1e-15)


def test_readout_is_the_confusion_of_outcomes() -> None:
    """E[z'] for a true z of +1 (outcome 0) and -1 (outcome 1), from the four probabilities."""
    zero, one = EVERYTHING.readout_0_to_1, EVERYTHING.readout_1_to_0
    for z, expected in ((1, (1 - zero) - zero), (-1, one - (1 - one))):
        assert EVERYTHING.readout_scale * z + EVERYTHING.readout_offset == pytest.approx(expected, abs=1e-15)
        np.testing.assert_allclose(EVERYTHING.readout() @ [1, z, z, z], [1, *[expected] * 3], atol=1e-15)


def test_kinds_of_models() -> None:
    nothing, readout = NoiseModel("nothing"), NoiseModel("readout", readout_0_to_1=0.1)
    assert nothing.is_noiseless
    assert not readout.is_noiseless
    assert not readout.has_gate_noise
    assert not readout.is_unital
    assert NoiseModel("symmetric", readout_0_to_1=0.1, readout_1_to_0=0.1).is_unital
    assert aria_1().is_pauli
    assert aria_1().is_unital
    assert not NoiseModel("decay", amplitude_damping=0.1).is_pauli
    for k in (1, 2, 3):
        assert np.array_equal(nothing.after_gate(k), np.eye(4**k))
        assert np.array_equal(readout.pauli_probabilities(k), np.eye(4**k)[0])


def test_gates_on_three_qubits_are_unknown_to_a_model_of_gates() -> None:
    for method in (EVERYTHING.after_gate, EVERYTHING.pauli_probabilities):
        with pytest.raises(CircuitError, match=r"'everything'.*one on 3"):
            method(3)


def test_matrices_are_read_only_and_the_model_survives_a_journey() -> None:
    with pytest.raises(ValueError, match="read-only"):
        EVERYTHING.after_gate(1)[0, 0] = 2
    assert pickle.loads(pickle.dumps(EVERYTHING)) == EVERYTHING


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, math.inf, "0.1", True, None])
def test_a_rate_that_is_no_probability_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"noise\.phase_damping") as caught:
        NoiseModel("wrong", phase_damping=value)  # type: ignore[arg-type]
    if value == 1.5:
        assert caught.value.suggestion == "1.0"


def test_presets_by_name() -> None:
    for name in NOISE_MODELS:
        assert noise_model(name).name == name
        assert noise_model(name).is_pauli
    assert noise_model(EVERYTHING) is EVERYTHING
    assert noise_model("actors.noise.presets:aria_1") == aria_1()
    with pytest.raises(UnknownNameError, match="noise model"):
        noise_model("aria-3")
