"""Kernel classifier beside scikit-learn's own machine, autoencoder beside cirq's density matrices, and both on new rows."""

from __future__ import annotations

import cirq
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from orchestrator.config import ModelConfig
from orchestrator.gradients.overlap import full_angles
from orchestrator.kernels.matrix import kernel_matrix
from orchestrator.models.subspace import best_subspace, weight_in
from orchestrator.registry import resolve
from pipelines.frontends import Executor, QuantumAutoencoder, QuantumKernelClassifier
from pipelines.frontends.scikit.machine import Machine
from pipelines.frontends.scikit.refusals import ParameterError, SampleError
from pipelines.frontends.scikit.running import executor_for

X_IRIS, Y_IRIS = load_iris(return_X_y=True)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_a_machine_says_what_scikit_learns_says(n_classes: int) -> None:
    """The same sums in another order: differences of some hundred roundings. Classes overlap, so there are votes of every kind."""
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(80, 2))
    targets = rng.integers(n_classes, size=80)
    kernel = np.exp(-((X[:, None] - X[None]) ** 2).sum(axis=2))
    machine, support = Machine.fit(kernel, targets, 0.7)
    theirs = SVC(kernel="precomputed", C=0.7).fit(kernel, targets)
    assert 0 < len(support) <= 80
    np.testing.assert_allclose(
        machine.decide(kernel[:, support]), theirs.decision_function(kernel), atol=1e-12
    )
    np.testing.assert_array_equal(machine.classes(kernel[:, support]), theirs.predict(kernel))


@pytest.mark.parametrize(("kernel", "gamma"), [("projected", 0.7), ("fidelity", 1.0)])
def test_kernel_comes_from_the_fleet_and_new_rows_meet_support_vectors_alone(
    kernel: str, gamma: float
) -> None:
    model = QuantumKernelClassifier(2, kernel=kernel, gamma=gamma, C=2.0).fit(X_IRIS, Y_IRIS)
    n, v = len(X_IRIS), len(model.support_)
    features = model.columns_(X_IRIS)
    width = {"gamma": gamma} if kernel == "projected" else {}
    made = resolve("kernel", kernel)(ModelConfig(n_qubits=2, feature_map="iqp"), **width)
    with Executor() as executor:
        values = kernel_matrix(made, features, coordinator=executor).values
    theirs = SVC(kernel="precomputed", C=2.0).fit(values, Y_IRIS)
    np.testing.assert_array_equal(model.support_, theirs.support_)
    np.testing.assert_allclose(
        model.decision_function(X_IRIS), theirs.decision_function(values), rtol=0, atol=1e-9
    )
    assert model.used_.circuits == (n if kernel == "projected" else n * (n - 1) // 2)
    with executor_for("ideal", None, None, None, None) as running:
        before = running.used.n_circuits
        model.predict(X_IRIS[:7])
    assert running.used.n_circuits - before == (7 + v if kernel == "projected" else 7 * v) < 7 * n


def test_kernel_classifier_is_as_good_as_a_classical_machine_within_the_error_of_the_test() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    names = np.array(["malignant", "benign"])
    found = QuantumKernelClassifier().fit(X, names[y])
    theirs = make_pipeline(StandardScaler(), SVC()).fit(X, y).score(X_test, y_test)
    assert found.score(X_test, names[y_test]) >= theirs - 2 * np.sqrt(theirs * (1 - theirs) / len(y_test))


def test_kernel_with_shots_is_repaired_and_the_same_again() -> None:
    X, y = X_IRIS[40:70], Y_IRIS[40:70]
    noisy = [
        QuantumKernelClassifier(2, kernel="fidelity", shots=20, random_state=1).fit(X, y) for _ in range(2)
    ]
    np.testing.assert_array_equal(noisy[0].machine_.dual, noisy[1].machine_.dual)
    np.testing.assert_array_equal(noisy[0].decision_function(X), noisy[1].decision_function(X))
    assert noisy[0].used_.shots == 20 * 30 * 29 // 2
    exact = QuantumKernelClassifier(2, kernel="fidelity").fit(X, y)
    assert not np.array_equal(noisy[0].decision_function(X), exact.decision_function(X))


def test_predictions_go_by_the_kernel_of_the_fit() -> None:
    model = QuantumKernelClassifier(2).fit(X_IRIS, Y_IRIS)
    before = model.decision_function(X_IRIS)
    model.set_params(gamma=9.0, kernel="fidelity")
    np.testing.assert_array_equal(model.decision_function(X_IRIS), before)


def test_kernel_refuses_what_makes_no_kernel() -> None:
    with pytest.raises(ParameterError, match="gamma = 'scale'"):
        QuantumKernelClassifier(gamma="scale").fit(X_IRIS, Y_IRIS)
    with pytest.raises(ParameterError, match="kernel = None"):
        QuantumKernelClassifier(kernel=None).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ParameterError, match="feature_map = 'reuploading'"):
        QuantumKernelClassifier(feature_map="reuploading").fit(X_IRIS, Y_IRIS)
    with pytest.raises(ParameterError, match="gamma = -1"):
        QuantumKernelClassifier(gamma=-1.0).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="C == 0"):
        QuantumKernelClassifier(C=0.0).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ParameterError, match="projected"):
        QuantumKernelClassifier(kernel="fidelty2").fit(X_IRIS, Y_IRIS)


def fitted(n_latent: int, n_qubits: int = 3, **params: object) -> tuple[QuantumAutoencoder, np.ndarray]:
    """An autoencoder of rows on a curve, and the rows."""
    t = np.random.default_rng(0).uniform(-1, 1, 40)
    X = np.stack([10 + t, 5 * t, 1 - 2 * t], axis=1)[:, :n_qubits]
    return QuantumAutoencoder(n_latent, n_qubits, 2, epochs=8, random_state=0, **params).fit(X), X


def encoded_densities(model: QuantumAutoencoder, X: np.ndarray) -> np.ndarray:
    """Density matrices of the kept qubits, by cirq."""
    template, angles = (
        model.model_.template,
        full_angles(model.model_.angles(model.params_, model.columns_(X))),
    )
    qubits = cirq.LineQubit.range(template.n_qubits)
    found = []
    for row in angles:
        resolver = {f"a{k}": angle for k, angle in enumerate(row)}
        state = cirq.resolve_parameters(template.circuit(), resolver).final_state_vector(
            qubit_order=qubits, dtype=np.complex128
        )
        found.append(
            cirq.partial_trace(
                np.outer(state, state.conj()).reshape([2] * (2 * len(qubits))), range(model.n_latent)
            )
        )
    return np.array(found).reshape(len(X), 2**model.n_latent, -1)


def test_codes_are_the_expectation_values_of_the_kept_qubits() -> None:
    """Against cirq's partial trace, to rounding."""
    model, X = fitted(2)
    X = X[:5]
    densities = encoded_densities(model, X)
    paulis = [cirq.unitary(gate) for gate in (cirq.X, cirq.Y, cirq.Z)]
    operators = [operator for p in paulis for operator in (np.kron(p, np.eye(2)), np.kron(np.eye(2), p))]
    wanted = np.einsum("sij,oji->so", densities, np.array(operators)).real
    np.testing.assert_allclose(model.transform(X), wanted, atol=1e-12)
    assert model.get_feature_names_out().tolist()[:3] == ["latent_x0", "latent_x1", "latent_y0"]


def test_codes_are_decoded_as_products_of_their_qubits() -> None:
    """By cirq: the product of the kept qubits' states beside |0> through the inverse encoder, and the angle of each Bloch vector."""
    model, X = fitted(2)
    codes = model.transform(X[:4])
    template = model.model_.template
    angles = full_angles(model.model_.angles(model.params_, model.columns_(X[:1])))[0]
    encoder = cirq.Circuit(
        op
        for op, first in zip(
            template.circuit().all_operations(), model.autoencoder_.encoding_gates, strict=True
        )
        if not first
    )
    resolver = {f"a{k}": angle for k, angle in enumerate(angles)}
    qubits = cirq.LineQubit.range(3)
    unitary = cirq.resolve_parameters(encoder, resolver).unitary(
        qubit_order=qubits, qubits_that_should_be_present=qubits
    )
    paulis = [cirq.unitary(gate) for gate in (cirq.X, cirq.Y, cirq.Z)]
    zero = np.diag([1.0, 0.0])
    for row, code in zip(model.inverse_transform(codes), codes.reshape(4, 3, 2), strict=True):
        first, second = (
            (np.eye(2) + sum(r * p for r, p in zip(bloch, paulis, strict=True))) / 2 for bloch in code.T
        )
        density = unitary.conj().T @ np.kron(np.kron(first, second), zero) @ unitary
        wanted = []
        for q in range(3):
            single = cirq.partial_trace(density.reshape([2] * 6), [q])
            x, z = (np.trace(single @ p).real for p in (paulis[0], paulis[2]))
            wanted.append(np.arctan2(x, z))
        features = model.columns_(row[None])[0]
        np.testing.assert_allclose(features, wanted, atol=1e-9)


def test_with_one_kept_qubit_a_code_is_all_there_is() -> None:
    model, X = fitted(1)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), model.reconstruct(X), atol=1e-9)
    bounds = model.trash_fidelity(X)
    fidelity = model.score_samples(X)
    assert (bounds**2 - 1e-12 <= fidelity).all()
    assert (fidelity <= bounds + 1e-12).all()
    assert model.score(X) == fidelity.mean()


def test_learns_to_keep_rows_on_a_curve() -> None:
    """Three columns that one number decides, through one qubit: as good as any unitary can be, and nearly all comes back."""
    model, X = fitted(1)
    trained = QuantumAutoencoder(1, random_state=0).fit(X)
    angles = full_angles(trained.model_.angles(trained.params_, trained.columns_(X)))
    states = trained.autoencoder_.states(angles)
    most = weight_in(best_subspace(states, 2), states).mean()
    assert most - 0.005 < trained.trash_fidelity(X).mean() < most + 1e-12
    assert trained.score(X) > model.score(X)
    back = trained.inverse_transform(trained.transform(X))
    assert np.mean(((X - back) / X.std(axis=0)) ** 2) < 0.05


@pytest.mark.parametrize(("width", "n_qubits"), [(2, 4), (5, 3)])
def test_rows_of_other_widths_come_back_in_their_own_columns(width: int, n_qubits: int) -> None:
    """More qubits than columns: columns are encoded again, and read from all their copies. Fewer: by way of principal components."""
    t = np.linspace(-1, 1, 30)
    X = np.outer(t, np.arange(1.0, width + 1)) + 3
    model = QuantumAutoencoder(1, n_qubits, 3, epochs=30, random_state=0).fit(X)
    assert model.inverse_transform(model.transform(X)).shape == X.shape
    features = model.columns_(X)
    np.testing.assert_allclose(model.columns_.inverse(features, np.ones(features.shape)), X, atol=1e-9)


def test_what_cannot_be_had_back_has_no_inverse() -> None:
    bits = np.random.default_rng(0).integers(2, size=(20, 3)).astype(float)
    basis = QuantumAutoencoder(
        2, 3, 1, feature_map="basis", scale=False, angle_limit=None, angle_scale=1.0, epochs=2
    )
    assert basis.fit(bits).inverse_transform(basis.transform(bits)).shape == bits.shape
    assert not hasattr(QuantumAutoencoder(feature_map="amplitude"), "inverse_transform")
    assert not hasattr(QuantumAutoencoder(feature_map="iqp"), "reconstruct")
    model, X = fitted(1)
    with pytest.raises(SampleError, match="4 columns: this autoencoder's have 3"):
        model.inverse_transform(np.zeros((2, 4)))
    for params in ({"n_qubits": "3"}, {"n_components": "all"}):
        with pytest.raises(ParameterError, match=next(iter(params))):
            QuantumAutoencoder(**params).fit(X)
    with pytest.raises(ParameterError, match="n_latent = 3"):
        QuantumAutoencoder(3, 3).fit(X)
    with pytest.raises(ParameterError, match="trainable parameters"):
        QuantumAutoencoder(feature_map="reuploading").fit(X)
