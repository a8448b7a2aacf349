"""Models of published benchmarks against dense matrices written from their papers; their head and loss."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cirq
import numpy as np
import pytest

from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError, DataError
from orchestrator.losses.weighted_fidelity import WeightedFidelity
from orchestrator.models import published
from orchestrator.models.heads import WeightedFidelityHead
from orchestrator.models.model import Model

RNG = np.random.default_rng(4)
X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
H = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


def turn(pauli: np.ndarray, angle: float) -> np.ndarray:
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * pauli


def rot(a: float, b: float, c: float) -> np.ndarray:
    return turn(Z, c) @ turn(Y, b) @ turn(Z, a)


def product(factors: Sequence[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.kron, factors)


def bits(n: int) -> np.ndarray:
    """[2^n, n], qubit 0 the most significant."""
    return np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1


def cz(n: int, first: int) -> np.ndarray:
    """CZ on the qubits (first, first + 1), (first + 2, first + 3), ..."""
    b = bits(n)
    return np.diag(
        np.prod([(-1.0) ** (b[:, i] * b[:, i + 1]) for i in range(first, n - 1, 2)], axis=0) * np.ones(2**n)
    )


def cnot(n: int, control: int, target: int) -> np.ndarray:
    flipped = np.arange(2**n) ^ (bits(n)[:, control] << (n - 1 - target))
    return np.eye(2**n)[flipped]


def z_values(state: np.ndarray) -> np.ndarray:
    """<Z_q> of every qubit."""
    signs = 1 - 2 * bits(len(state).bit_length() - 1)
    return np.abs(state) ** 2 @ signs


def values_of(model: Model, params: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Observables [S, M], by cirq."""
    angles, circuit = model.angles(params, features), model.template.circuit()
    found = []
    for row in angles.data:
        point = angles.shared.copy()
        point[angles.columns] = row
        resolved = cirq.resolve_parameters(circuit, {f"a{k}": v for k, v in enumerate(point.tolist())})
        state = cirq.final_state_vector(
            resolved, qubit_order=cirq.LineQubit.range(model.template.n_qubits), dtype=np.complex128
        )
        found.append(z_values(state))
    return np.array(found)


@pytest.mark.parametrize(("n_features", "n_layers"), [(1, 1), (2, 3), (3, 1), (4, 2), (6, 3), (8, 2)])
def test_reuploading_is_the_circuit_of_its_paper(n_features: int, n_layers: int) -> None:
    model = published.reuploading(n_features, n_layers)
    n = -(-n_features // 3)
    assert (model.template.n_qubits, model.n_features, model.n_outputs) == (n, n_features, 2 * n)
    assert model.n_params == (n_layers + 1) * (n_features + 3 * n) + 2 * n
    params, features = RNG.normal(size=model.n_params), RNG.uniform(-2, 2, (3, n_features))
    weights = np.zeros((n_layers + 1, 3 * n))
    weights[:, :n_features] = params[: (n_layers + 1) * n_features].reshape(n_layers + 1, -1)
    biases = params[(n_layers + 1) * n_features : model.n_circuit_params].reshape(n_layers + 1, 3 * n)
    expected = []
    for x in features:
        padded = np.concatenate([x, np.zeros(3 * n - n_features)])
        state = np.eye(2**n)[0]
        for layer in range(n_layers):
            uploads = (weights[layer] * padded).reshape(n, 3)
            state = product([rot(*angles) for angles in uploads]) @ state
            state = product([rot(*angles) for angles in biases[layer].reshape(n, 3)]) @ state
            state = cz(n, layer % 2) @ state
        last = (weights[-1] * padded + biases[-1]).reshape(n, 3)
        expected.append(z_values(product([rot(*angles) for angles in last]) @ state))
    found = values_of(model, params, features)
    # some hundred products of entries up to 1, each rounding by 1e-16
    np.testing.assert_allclose(found, expected, atol=1e-13)
    alpha = params[model.n_circuit_params :].reshape(2, n)
    fidelities = np.stack([1 + np.array(expected), 1 - np.array(expected)], axis=1) / 2
    outputs = model.outputs(params, found)
    np.testing.assert_allclose(outputs, (alpha * fidelities).reshape(3, -1), atol=1e-13)


@pytest.mark.parametrize(("n", "n_layers"), [(1, 1), (2, 2), (5, 2)])
def test_dressed_is_the_circuit_of_its_paper_between_two_linear_layers(n: int, n_layers: int) -> None:
    model = published.dressed(n, n_layers)
    assert (model.template.n_qubits, model.n_features, model.n_outputs) == (n, n, 1)
    params, features = RNG.normal(size=model.n_params), RNG.uniform(-2, 2, (3, n))
    matrix, bias, turns, weights, last = np.split(params, np.cumsum([n * n, n, n * n_layers, n]))
    expected = []
    for x in features:
        state = product([turn(Y, angle) @ H for angle in matrix.reshape(n, n) @ x + bias]) @ np.eye(2**n)[0]
        for layer in range(n_layers):
            for i in [*range(0, n - 1, 2), *range(1, n - 1, 2)]:
                state = cnot(n, i, i + 1) @ state
            state = product([turn(Y, angle) for angle in turns[layer * n : (layer + 1) * n]]) @ state
        expected.append(z_values(state))
    found = values_of(model, params, features)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    np.testing.assert_allclose(
        model.outputs(params, found)[:, 0], np.array(expected) @ weights + last, atol=1e-12
    )


def test_separable_entangles_nothing_and_reads_the_mean() -> None:
    model = published.separable(3, 2)
    assert all(len(gate.qubits) == 1 for gate in model.template.gates)
    params, features = RNG.normal(size=model.n_params), RNG.uniform(-2, 2, (2, 3))
    expected = []
    for x in features:
        states = np.tile(np.eye(2)[0].astype(complex), (3, 1))
        for layer in params.reshape(2, 3, 3):
            states = np.array([rot(*a) @ turn(Y, f) @ s for a, f, s in zip(layer, x, states, strict=True)])
        expected.append(6 * np.mean(np.abs(states[:, 0]) ** 2 - np.abs(states[:, 1]) ** 2))
    found = values_of(model, params, features)
    np.testing.assert_allclose(model.outputs(params, found)[:, 0], expected, atol=1e-13)


def test_iqp_measures_the_first_two_qubits() -> None:
    """At the ansatz' zero the rings of CNOTs are left, which permute the states of the encoding."""
    model = published.iqp(3, 1, repeats=2)
    features = RNG.uniform(-2, 2, (1, 3))
    [x] = features
    signs = 1 - 2 * bits(3)
    exponent = signs @ x + sum(x[i] * x[j] * signs[:, i] * signs[:, j] for i, j in [(0, 1), (0, 2), (1, 2)])
    state = np.eye(8)[0].astype(complex)
    for _ in range(2):
        state = np.exp(-0.5j * exponent) * (product([H] * 3) @ state)
    for control, target in [(0, 1), (1, 2), (2, 0)]:
        state = cnot(3, control, target) @ state
    params = np.zeros(model.n_params)
    angles, circuit = model.angles(params, features), model.template.circuit()
    point = angles.shared.copy()
    point[angles.columns] = angles.data[0]
    found = cirq.final_state_vector(
        cirq.resolve_parameters(circuit, {f"a{k}": v for k, v in enumerate(point.tolist())}),
        dtype=np.complex128,
    )
    assert abs(np.vdot(state, found)) == pytest.approx(1, abs=1e-12)
    assert model.readout.names == ("Z0*Z1",)


@pytest.mark.parametrize(
    ("n_features", "n_copies", "n_qubits"), [(1, 1, 1), (2, 1, 1), (2, 2, 2), (3, 1, 2), (6, 2, 6)]
)
def test_circuit_centric_takes_copies_of_the_padded_amplitudes(
    n_features: int, n_copies: int, n_qubits: int
) -> None:
    features = RNG.normal(size=(4, n_features))
    amplitudes = published.padded_copies(features, n_copies)
    size = round(2 ** (n_qubits / n_copies))
    for x, row in zip(features, amplitudes, strict=True):
        one = np.concatenate([x, np.full(size - n_features, 1 / size)])
        np.testing.assert_allclose(row, product([one / np.linalg.norm(one)] * n_copies), atol=1e-14)
    model = published.circuit_centric(n_qubits, 1)
    params = np.zeros(model.n_params)
    params[-2:] = [2.0, 0.5]
    if n_qubits == 1:  # no ring of CNOTs: what is measured is the encoding itself
        found = model.outputs(params, values_of(model, params, amplitudes))[:, 0]
        np.testing.assert_allclose(
            found, 2 * (amplitudes[:, 0] ** 2 - amplitudes[:, 1] ** 2) + 0.5, atol=1e-13
        )


def test_a_row_that_is_no_state_is_refused() -> None:
    with pytest.raises(DataError, match="row 2"):
        published.padded_copies(np.array([[1.0, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: published.reuploading(0), r"model\.n_features = 0.*'1'"),
        (lambda: published.reuploading(2, 0), r"model\.n_layers = 0.*'1'"),
        (lambda: published.dressed(2, -1), r"model\.n_layers = -1.*'1'"),
        (lambda: published.separable(2, 0), r"model\.n_layers = 0"),
        (lambda: published.iqp(1), r"model\.n_features = 1.*'2'"),
        (lambda: published.circuit_centric(0), r"model\.n_qubits = 0"),
        (lambda: WeightedFidelityHead(3, 2, 1.0), r"model\.observables = 3.*2 wanted.*'1'"),
        (lambda: WeightedFidelity().predict(np.zeros((2, 3))), r"loss\.name.*has 3"),
    ],
)  # fmt: skip
def test_refusals(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()  # type: ignore[operator]


def test_model_can_be_configured_by_its_path() -> None:
    config = ModelConfig(circuit="orchestrator.models.published:reuploading")
    assert Model.from_config(config).measured.key == published.reuploading().measured.key


# --- Head and loss ------------------------------


def test_weighted_fidelities_are_those_of_the_two_states() -> None:
    """Of qubits in any pure state, against the overlaps themselves."""
    states = RNG.normal(size=(5, 3, 2)) + 1j * RNG.normal(size=(5, 3, 2))
    states /= np.linalg.norm(states, axis=2, keepdims=True)
    overlaps = np.abs(states) ** 2  # with |0> and |1>
    alpha = RNG.normal(size=(2, 3))
    outputs = WeightedFidelityHead(3, 6, 1.0).forward(alpha.ravel(), overlaps[:, :, 0] - overlaps[:, :, 1])
    np.testing.assert_allclose(outputs.reshape(5, 2, 3), alpha * overlaps.transpose(0, 2, 1), atol=1e-14)


def test_weights_start_at_the_scale_and_every_one_has_its_gradient() -> None:
    head = WeightedFidelityHead(2, 4, 1.5)
    np.testing.assert_array_equal(head.initial(np.random.default_rng(1)), 1.5)
    params, observables, weights = RNG.normal(size=4), RNG.uniform(-1, 1, (3, 2)), RNG.normal(size=(3, 4))
    of_observables, of_params = head.backward(params, observables, weights)
    # the head is linear in either argument: a difference of any size is the derivative
    for k, step in enumerate(np.eye(4)):
        moved = head.forward(params + step, observables) - head.forward(params, observables)
        np.testing.assert_allclose(of_params[:, k], (weights * moved).sum(axis=1), atol=1e-14)
    for q, step in enumerate(np.eye(2)):
        moved = head.forward(params, observables + step) - head.forward(params, observables)
        np.testing.assert_allclose(of_observables[:, q], (weights * moved).sum(axis=1), atol=1e-14)


def test_loss_is_the_sum_of_its_paper() -> None:
    outputs, targets = RNG.uniform(0, 1.5, (4, 6)), np.array([0, 1, 1, 0])
    loss = WeightedFidelity()
    value, gradient = loss.value_and_gradient(outputs, targets)
    right = {0: [1, 1, 1, 0, 0, 0], 1: [0, 0, 0, 1, 1, 1]}
    expected = [
        sum((o - r) ** 2 for o, r in zip(row, right[t], strict=True))
        for row, t in zip(outputs, targets, strict=True)
    ]
    assert value == pytest.approx(np.mean(expected), rel=1e-14)
    # of a quadratic the central difference is the derivative, whatever the step
    for k in range(6):
        step = 0.5 * np.eye(6)[k]
        for sample in range(4):
            one = slice(sample, sample + 1)
            ends = [loss.value_and_gradient(outputs[one] + s * step, targets[one])[0] for s in (1, -1)]
            assert 4 * gradient[sample, k] == pytest.approx(ends[0] - ends[1], abs=1e-14)


def test_prediction_is_the_class_of_larger_summed_fidelity() -> None:
    outputs = np.array([[0.9, 0.2, 0.6, 0.4], [0.1, 0.5, 0.2, 0.6]])
    answer = WeightedFidelity().predict(outputs)
    np.testing.assert_array_equal(answer["prediction"], [0, 1])
    np.testing.assert_allclose(answer["probability"].sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(answer["probability"][:, 1], 1 / (1 + np.exp([0.1, -0.2])), rtol=1e-14)
    metrics = WeightedFidelity().metrics(outputs, np.array([0, 0]))
    assert metrics["accuracy"] == 0.5
    assert metrics["loss"] == WeightedFidelity().value_and_gradient(outputs, np.array([0, 0]))[0]
