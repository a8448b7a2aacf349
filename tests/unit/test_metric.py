"""The Fubini-Study metric against state derivatives by cirq, and the natural gradient's solution."""

from __future__ import annotations

from dataclasses import replace

import cirq
import numpy as np
import pytest
import sympy

from actors.serial import SerialDispatcher
from orchestrator.config import GradientConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError
from orchestrator.gradients.base import drive, predict
from orchestrator.gradients.metric import block_metric, full_metric
from orchestrator.gradients.natural_gradient import NaturalGradient, regularized_inverse
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.paulis import product, sum_of
from orchestrator.gradients.problem import GradientProblem
from orchestrator.gradients.qn_spsa import QNSPSA, metric_sample
from orchestrator.gradients.spsa import SPSA
from orchestrator.models.model import Model
from orchestrator.registry import resolve

Q = cirq.LineQubit.range(3)


@pytest.fixture(scope="module")
def coordinator() -> Coordinator:
    backend = resolve("backend", "ideal")()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


def model(frozen: tuple[int, ...] = ()) -> Model:
    a, b, c, d, x, y = sympy.symbols("a b c d x y")
    circuit = cirq.Circuit(
        cirq.ry(x * a + 0.3)(Q[0]), cirq.rx(b)(Q[1]), cirq.ry(b / 2 + c).controlled()(Q[0], Q[1]), cirq.CNOT(Q[1], Q[2]),
        cirq.rz(d * y)(Q[1]), cirq.rx(c)(Q[0]), cirq.ry(2 * d + y)(Q[1]), cirq.ZZPowGate(exponent=a / np.pi)(Q[1], Q[2]),
    )  # fmt: skip
    return Model.from_circuit(
        circuit, features=["x", "y"], observables=["Z0", "Z1"], head="linear", frozen=frozen
    )


def problem(**changes: object) -> GradientProblem:
    rng = np.random.default_rng(3)
    made = model()
    at = GradientProblem(
        made, resolve("loss", "mse")(), rng.normal(size=made.n_params), rng.uniform(-1, 1, (3, 2)), rng.normal(size=3), None, 0, 11
    )  # fmt: skip
    return replace(at, **changes)  # type: ignore[arg-type]


def state(at: GradientProblem, sample: int, params: np.ndarray) -> np.ndarray:
    angles = at.model.angles(params, at.features[sample : sample + 1])
    point = angles.shared.copy()
    point[angles.columns] = angles.data[0]
    circuit = cirq.resolve_parameters(at.model.template.circuit(), {f"a{k}": v for k, v in enumerate(point)})
    return cirq.final_state_vector(circuit, qubit_order=Q, dtype=np.complex128)


def metric_by_states(at: GradientProblem, h: float = 1e-4) -> np.ndarray:
    """Mean over samples; central differences of states: wrong by h**2 / 6 of third derivatives, 1e-8."""
    n = at.model.n_circuit_params
    total = np.zeros((n, n))
    for sample in range(at.n_samples):
        psi = state(at, sample, at.params)
        slopes = []
        for p in range(n):
            step = np.zeros(at.model.n_params)
            step[p] = h
            slopes.append(
                (state(at, sample, at.params + step) - state(at, sample, at.params - step)) / (2 * h)
            )
        d = np.array(slopes)
        total += np.real(d.conj() @ d.T - np.outer(d.conj() @ psi, psi.conj() @ d.T))
    felt = at.trainable
    return total / at.n_samples * np.outer(felt, felt)  # no rule asks for the others


def run(find: object, at: GradientProblem, coordinator: Coordinator) -> np.ndarray:
    """The metric that the generator returns."""
    steps = find(at)  # type: ignore[operator]
    try:
        plan = next(steps)
        while True:
            plan = steps.send(coordinator.evaluate(plan))
    except StopIteration as end:
        return np.asarray(end.value)


@pytest.mark.parametrize("has_jacobian", [False, True], ids=["shifts", "derivatives"])
def test_full_metric_is_that_of_the_states(has_jacobian: bool, coordinator: Coordinator) -> None:
    at = problem(has_jacobian=has_jacobian)
    np.testing.assert_allclose(run(full_metric, at, coordinator), metric_by_states(at), rtol=0, atol=1e-7)


def test_block_metric_is_the_full_one_between_gates_of_a_level(coordinator: Coordinator) -> None:
    """One layer of rotations on an entangled state, each with a parameter of its own: a single level, so nothing is left out."""
    s = sympy.symbols("s0:3")
    circuit = cirq.Circuit(
        cirq.ry(0.4)(Q[0]), cirq.ry(0.9)(Q[1]), cirq.ry(0.7)(Q[2]), cirq.CNOT(Q[0], Q[1]), cirq.CNOT(Q[1], Q[2]),
        cirq.rx(s[0])(Q[0]), cirq.rx(s[1])(Q[1]), cirq.rx(s[2])(Q[2]), cirq.rx(sympy.Symbol("x"))(Q[0]), cirq.CNOT(Q[0], Q[2]),
    )  # fmt: skip
    made = Model.from_circuit(circuit, features=["x"], observables=["Z0", "Z1", "Z2"], head="linear")
    at = problem(
        model=made, features=np.array([[0.1], [0.5], [-2.0]]), params=np.linspace(-1, 1, made.n_params)
    )
    assert at.trainable.all()
    found = run(block_metric, at, coordinator)
    np.testing.assert_allclose(found, metric_by_states(at), rtol=0, atol=1e-7)
    assert abs(found[0, 1]) > 1e-2, "the state is entangled, so generators of one level are correlated"


def test_block_metric_keeps_the_diagonal(coordinator: Coordinator) -> None:
    """Every parameter in gates of one level: the diagonal of the full metric, and zero between levels."""
    s = sympy.symbols("s0:4")
    circuit = cirq.Circuit(
        cirq.ry(sympy.Symbol("x"))(Q[0]), cirq.rx(s[0])(Q[0]), cirq.rx(s[1])(Q[1]), cirq.CNOT(Q[0], Q[1]),
        cirq.ry(s[2]).controlled()(Q[0], Q[1]), cirq.ISWAP(Q[0], Q[1]) ** s[3],
    )  # fmt: skip
    made = Model.from_circuit(circuit, features=["x"], observables=["Z0"], head="linear")
    at = problem(
        model=made, features=np.array([[0.1], [0.5], [-2.0]]), params=np.linspace(-1, 1, made.n_params)
    )
    found = run(block_metric, at, coordinator)
    qubits = Q[:2]

    def diagonal_by_states() -> np.ndarray:
        h, n = 1e-4, made.n_circuit_params
        total = np.zeros(n)
        for sample in range(3):

            def at_point(params: np.ndarray, sample: int = sample) -> np.ndarray:
                angles = made.angles(params, at.features[sample : sample + 1])
                point = angles.shared.copy()
                point[angles.columns] = angles.data[0]
                resolved = cirq.resolve_parameters(
                    made.template.circuit(), {f"a{k}": v for k, v in enumerate(point)}
                )
                return cirq.final_state_vector(resolved, qubit_order=qubits, dtype=np.complex128)

            psi = at_point(at.params)
            for p in range(n):
                step = np.zeros(made.n_params)
                step[p] = h
                slope = (at_point(at.params + step) - at_point(at.params - step)) / (2 * h)
                total[p] += np.real(np.vdot(slope, slope)) - abs(np.vdot(slope, psi)) ** 2
        return total / 3

    np.testing.assert_allclose(np.diag(found), diagonal_by_states(), rtol=0, atol=1e-7)
    assert not found[0, 2]
    assert not found[2, 3]


def test_direction_solves_the_regularized_system(coordinator: Coordinator) -> None:
    at = problem()
    plain = drive(ParameterShift().estimate(at), coordinator.evaluate)
    for name, find in (("block", block_metric), ("full", full_metric)):
        rule = NaturalGradient(GradientConfig(metric=name, regularization=0.05))  # type: ignore[arg-type]
        found = drive(rule.estimate(at), coordinator.evaluate)
        n = at.model.n_circuit_params
        system = run(find, at, coordinator) + 0.05 * np.eye(n)
        np.testing.assert_allclose(system @ found.gradient[:n], plain.gradient[:n], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(found.gradient[n:], plain.gradient[n:])
        predicted = predict(rule, at)
        assert predicted.n_circuits == sum(e.n_circuits for e in found.evaluations)


def test_frozen_parameters_are_not_solved_for() -> None:
    metric = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 1.0]])
    found = regularized_inverse(metric, np.array([True, False, True]), 0.0)
    np.testing.assert_allclose(
        found[np.ix_([0, 2], [0, 2])] @ metric[np.ix_([0, 2], [0, 2])], np.eye(2), atol=1e-15
    )
    assert not found[1].any()
    assert not found[:, 1].any()


def test_variance_is_carried_through_the_solution(coordinator: Coordinator) -> None:
    """That of a fixed linear map of the gradient's draws; 15 % is five standard errors of a variance from 2,000."""
    at = problem(shots=500)
    shift = ParameterShift(with_covariance=True)
    draws = [drive(shift.estimate(replace(at, step=i)), coordinator.evaluate) for i in range(2000)]
    n = at.model.n_circuit_params
    inverse = regularized_inverse(run(full_metric, problem(), coordinator), at.trainable, 0.05)
    empirical = np.var([inverse @ d.gradient[:n] for d in draws], axis=0, ddof=1)
    covariances = [d.covariance for d in draws if d.covariance is not None]
    predicted = np.mean([np.einsum("pq,qr,pr->p", inverse, c[:n, :n], inverse) for c in covariances], axis=0)
    np.testing.assert_allclose(predicted, empirical, rtol=0.15)
    np.testing.assert_allclose(np.diag(covariances[0]), draws[0].variance)


def test_sampled_metric_has_the_metric_as_its_mean(coordinator: Coordinator) -> None:
    """Over draws of signs, within five standard errors and a bias of c**2 times fourth derivatives."""
    at, size = problem(), 0.05
    draws = [run(lambda p: metric_sample(p, 2, size), replace(at, step=i), coordinator) for i in range(1500)]
    error = np.std(draws, axis=0) / 1500**0.5
    assert np.all(np.abs(np.mean(draws, axis=0) - metric_by_states(at)) <= 5 * error + 4 * size**2)


def test_qn_spsa_averages_its_metric_over_the_steps(coordinator: Coordinator) -> None:
    """The state of n steps is the mean of n samples and the identity; the solution uses its positive part, regularised."""
    rule, state = QNSPSA(GradientConfig(rule="qn_spsa", regularization=0.1)), {}
    samples = []
    for i in range(3):
        at = problem(step=i, state=state)
        found = drive(rule.estimate(at), coordinator.evaluate)
        samples.append(run(lambda p, i=i: metric_sample(p, 1, 0.1 / (i + 1) ** 0.101), at, coordinator))
        state = found.state
    n = at.model.n_circuit_params
    mean = np.mean([np.eye(n), *samples], axis=0)
    np.testing.assert_allclose(state["metric"].reshape(n, n), mean, rtol=0, atol=1e-12)
    assert state["count"] == 4
    plain = drive(SPSA(GradientConfig()).estimate(at), coordinator.evaluate).gradient[:n]
    values, vectors = np.linalg.eigh(mean)
    positive = vectors @ np.diag(np.abs(values)) @ vectors.T
    np.testing.assert_allclose((positive + 0.1 * np.eye(n)) @ found.gradient[:n], plain, rtol=0, atol=1e-10)


def test_full_metric_refuses_many_qubits() -> None:
    q = cirq.LineQubit.range(11)
    made = Model.from_circuit(
        cirq.Circuit(cirq.ry(sympy.Symbol(f"p{i}"))(q[i]) for i in range(11)), features=[], head="linear"
    )
    at = problem(model=made)
    with pytest.raises(
        CapabilityError, match=r"up to 10 qubits; the circuit has 11.*gradient.metric = 'block'"
    ):
        NaturalGradient(GradientConfig(metric="full")).check(at)
    with pytest.raises(CapabilityError, match=r"up to 10 qubits; the circuit has 11.*natural_gradient"):
        QNSPSA().check(at)
    NaturalGradient(GradientConfig(metric="block")).check(at)


def test_pauli_sums() -> None:
    """Of random Hermitian matrices, and of commuting products, against dense matrices."""
    letters = {
        "I": np.eye(2),
        "X": cirq.unitary(cirq.X),
        "Y": cirq.unitary(cirq.Y),
        "Z": cirq.unitary(cirq.Z),
    }

    def dense(terms: dict[str, float]) -> np.ndarray:
        return np.asarray(sum(c * cirq.kron(*(letters[x] for x in pauli)) for pauli, c in terms.items()))

    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    matrix = matrix + matrix.conj().T
    one = sum_of(matrix, (0, 1), 3)
    np.testing.assert_allclose(dense(one), np.kron(matrix, np.eye(2)), atol=1e-12)
    other = sum_of(np.array([[1.0, 2 - 1j], [2 + 1j, -3.0]]), (2,), 3)
    np.testing.assert_allclose(dense(product(one, other)), dense(one) @ dense(other), atol=1e-12)
    np.testing.assert_allclose(dense(product(one, one)), dense(one) @ dense(one), atol=1e-12)
