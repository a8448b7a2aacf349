"""Gradients of whole losses against finite differences of the same loss computed by cirq's own simulator.

Reference: the five-point stencil along random directions, (8 [f(h) - f(-h)] - [f(2h) - f(-2h)]) / 12h. Its error is h⁴/30 times the fifth
derivative, which is at most about (3 √P)⁵ ~ 10⁵ here, so 3e-9 at h = 1e-3; rounding adds 1e-14 / h = 1e-11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import ModelConfig, OptimizerConfig, RunConfig
from orchestrator.coordinator import Coordinator
from orchestrator.models.model import Model
from orchestrator.models.observables import PRESETS
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.registry import ANSATZE, ENTANGLEMENTS, HEADS, LOSSES, resolve
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.reports import Samples
from orchestrator.training.task import TrainingTask

H = 1e-3
TOLERANCE = 1e-8
A, B, C, X, Y = sympy.symbols("a b c x y")
Expectations = Callable[..., np.ndarray]


def coordinator_on(backend_name: str) -> Coordinator:
    from actors.serial import SerialDispatcher

    backend = resolve("backend", backend_name)()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


@pytest.fixture(scope="module")
def ideal() -> Coordinator:
    return coordinator_on("ideal")


@pytest.fixture(scope="module")
def reference() -> Coordinator:
    return coordinator_on("cirq")


def gradient_of(
    model: Model, loss_name: str, rule: str, params: np.ndarray, batch: Samples, coordinator: Coordinator
) -> tuple[float, np.ndarray]:
    """Loss and gradient as the training loop computes them."""
    task = TrainingTask(
        model,
        resolve("loss", loss_name)(),
        resolve("gradient rule", rule)(),
        batch,
        None,
        RunConfig(),
        OptimizerConfig(),
        None,
    )
    found = batch_gradient(task, params, batch, coordinator, step=0)
    return found.loss, found.gradient


def slope(function: Callable[[float], float]) -> float:
    """Derivative at 0 by the five-point stencil."""
    return (8 * (function(H) - function(-H)) - (function(2 * H) - function(-2 * H))) / (12 * H)


def random_batch(rng: np.random.Generator, n_features: int, task: str) -> Samples:
    features = rng.uniform(-2, 2, (2, n_features))
    targets = rng.normal(size=2) if task == "regression" else rng.integers(0, 2, 2)
    return Samples(features, targets)


def assert_gradient_is_right(
    model: Model, loss_name: str, batch: Samples, observables: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator,
    coordinator: Coordinator, n_directions: int = 1,
) -> None:  # fmt: skip
    """`observables`: circuit parameters -> [S, M], by cirq."""
    params = rng.uniform(-3, 3, model.n_params)
    loss = resolve("loss", loss_name)()

    def loss_at(point: np.ndarray) -> float:
        circuit, head = point[: model.n_circuit_params], point[model.n_circuit_params :]
        return loss.value_and_gradient(model.head.forward(head, observables(circuit)), batch.targets)[0]

    value, adjoint = gradient_of(model, loss_name, "adjoint", params, batch, coordinator)
    shifted_value, shifted = gradient_of(model, loss_name, "parameter_shift", params, batch, coordinator)
    assert value == pytest.approx(loss_at(params), rel=1e-10)
    assert shifted_value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(adjoint, shifted, atol=1e-10)
    np.testing.assert_array_equal(adjoint[model.frozen], 0)
    for _ in range(n_directions):
        direction = np.where(model.frozen, 0.0, rng.normal(size=model.n_params))
        direction /= np.linalg.norm(direction)
        expected = slope(lambda t, d=direction: loss_at(params + t * d))  # type: ignore[misc]
        assert adjoint @ direction == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


# --- Circuits of all sorts ------------------------------


def random_expression(rng: np.random.Generator) -> sympy.Expr:
    """Shared parameters, linear combinations, features alone and multiplied by parameters (trainable re-uploading)."""
    choices = [A, B, -C, 2 * A + B / 3 + 0.4, A * X, X + Y, B * Y + C, 0.7 * C * X * Y - A, X**2, 1.5 * B]
    return choices[rng.integers(len(choices))] / sympy.pi  # in half turns for most gates: small coefficients


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits(
    seed: int,
    random_circuit: Callable[..., cirq.Circuit],
    cirq_expectations: Expectations,
    ideal: Coordinator,
) -> None:
    rng = np.random.default_rng(seed)
    n_qubits = 2 + seed % 2
    q = cirq.LineQubit.range(n_qubits)
    circuit = random_circuit(rng, n_qubits, 7, lambda: random_expression(rng))
    observables = [0.5 * cirq.Z(q[0]) * cirq.X(q[1]) - cirq.Y(q[0]) + 0.25, cirq.PauliSum.wrap(cirq.Z(q[1]))]
    head, loss = [("linear", "mse"), ("none", "cross_entropy"), ("linear", "binary_cross_entropy")][seed % 3]
    frozen = [1] if seed % 4 == 0 else []
    model = Model.from_circuit(
        circuit, features=["x", "y"], params=["a", "b", "c"], observables=observables, head=head,
        n_outputs=2 if head == "none" else 1, output_scale=1.5, frozen=frozen,
    )  # fmt: skip
    batch = random_batch(rng, 2, resolve("loss", loss).task)

    def by_cirq(params: np.ndarray) -> np.ndarray:
        points = np.array([[*params, *row] for row in batch.features])
        return cirq_expectations(circuit, [A, B, C, X, Y], points, observables, n_qubits)

    assert_gradient_is_right(model, loss, batch, by_cirq, rng, ideal, n_directions=2)


# --- Every configured model ------------------------------


def combinations() -> Iterator[tuple[str, str, str, str]]:
    """(loss, head, observables, ansatz), all that fit together: some heads have as many outputs as the observables make."""
    for loss in LOSSES:
        n_outputs = resolve("loss", loss)().n_outputs(2)
        for head in HEADS:
            for observables in PRESETS:
                n_observables = 2 if observables == "each" else 1
                takes = {"none": (n_observables,), "weighted_fidelity": (n_observables, 2 * n_observables)}
                if n_outputs in takes.get(head, (n_outputs,)):
                    yield from ((loss, head, observables, ansatz) for ansatz in ANSATZE)


@pytest.mark.parametrize(("loss", "head", "observables", "ansatz"), list(combinations()))
def test_every_loss_head_observable_and_ansatz(
    loss: str, head: str, observables: str, ansatz: str, cirq_expectations: Expectations, ideal: Coordinator
) -> None:
    rng = np.random.default_rng(list(f"{loss} {head} {observables} {ansatz}".encode()))
    kind = resolve("loss", loss)()
    config = ModelConfig(
        n_qubits=2, n_layers=2, ansatz=ansatz, head=head, observables=observables, reuploading=True, output_scale=2.0,
        entanglement=str(rng.choice(list(ENTANGLEMENTS))), feature_axis=str(rng.choice(["x", "y", "z"])),
    )  # fmt: skip
    model = Model.from_config(config, kind.n_outputs(2))
    batch = random_batch(rng, 2, kind.task)
    circuit = model.template.circuit()
    symbols = [sympy.Symbol(f"a{k}") for k in range(model.template.n_angles)]
    strings = [cirq.DensePauliString(p).on(*cirq.LineQubit.range(2)) for p in model.readout.paulis]

    def by_cirq(params: np.ndarray) -> np.ndarray:
        angles = model.angles(params, batch.features)
        points = np.tile(angles.shared, (2, 1))
        points[:, angles.columns] = angles.data
        values = cirq_expectations(circuit, symbols, points, strings, 2)
        return values @ model.readout.matrix.T + model.readout.offset

    assert_gradient_is_right(model, loss, batch, by_cirq, rng, ideal)


# --- Backends, shots, frozen parameters ------------------------------


def test_both_backends_agree(ideal: Coordinator, reference: Coordinator) -> None:
    rng = np.random.default_rng(1)
    model = Model.from_config(ModelConfig(n_qubits=3, n_layers=1, head="linear", observables=("Z0*Y1", "X2")))
    batch = random_batch(rng, 3, "binary")
    params = rng.uniform(-3, 3, model.n_params)
    answers = [gradient_of(model, "mse", "parameter_shift", params, batch, c) for c in (ideal, reference)]
    assert answers[0][0] == pytest.approx(answers[1][0], rel=1e-10)
    np.testing.assert_allclose(answers[0][1], answers[1][1], atol=1e-10)


def test_shot_noise_is_as_large_as_predicted(
    random_circuit: Callable[..., cirq.Circuit], ideal: Coordinator
) -> None:
    """Deviations from the exact derivative, in units of their predicted standard deviation, have mean square 1."""
    rng = np.random.default_rng(2)
    deviations: list[float] = []
    for trial in range(15):
        count = iter(range(1000))
        circuit = random_circuit(rng, 3, 6, lambda c=count: sympy.Symbol(f"s{next(c)}"))  # type: ignore[misc]
        model = Model.from_circuit(circuit, features=[], observables=["Z0", "X1*Y2", "Z1"], head="linear")
        params = rng.uniform(-3, 3, model.n_params)
        wanted = model.differentiated_angles
        derivative = resolve("gradient rule", "parameter_shift")().derivative(model.template, wanted)
        angles = model.angles(params, np.empty((1, 0)))
        exact = ideal.evaluate(EvaluationPlan(model.measured, angles, wanted, derivative))
        keys = noise_keys(3, "train", model.measured)
        drawn = ideal.evaluate(
            EvaluationPlan(
                model.measured, angles, wanted, derivative, shots=4000, step=trial, noise_keys=keys
            )
        )
        for found, true, variance in (
            (drawn.values, exact.values, drawn.variances),
            (drawn.jacobian, exact.jacobian, drawn.jacobian_variances),
        ):
            noisy = (
                variance > 1e-7
            )  # below, an expectation value is ±1 but for a few counts, and its variance is a guess
            deviations += ((found - true)[noisy] / np.sqrt(variance[noisy])).tolist()
            assert np.abs((found - true)[~noisy]).max(initial=0.0) < 5e-3
    n = len(deviations)
    assert n > 300
    # n squares of near-normal numbers; strings of one setting share their shots, so count on half as many being independent
    assert np.mean(np.square(deviations)) == pytest.approx(1.0, abs=4 * math.sqrt(2 / (n / 2)))
    assert np.mean(deviations) == pytest.approx(0.0, abs=4 / math.sqrt(n / 2))
    assert np.abs(deviations).max() < 6


def test_frozen_parameters_run_no_circuit(ideal: Coordinator) -> None:
    model = Model.from_config(ModelConfig(n_qubits=2, n_layers=2, observables="first", head="none"))
    rule = resolve("gradient rule", "parameter_shift")()
    rng = np.random.default_rng(4)
    params, features = rng.uniform(-3, 3, model.n_params), rng.uniform(-2, 2, (3, 2))
    whole: Any = None
    for n_frozen in (0, 1, 5, 11):
        frozen = model.with_frozen(rng.permutation(12)[:n_frozen])
        wanted = frozen.differentiated_angles
        plan = EvaluationPlan(
            frozen.measured, frozen.angles(params, features), wanted, rule.derivative(frozen.template, wanted)
        )
        evaluation = ideal.evaluate(plan)
        assert evaluation.n_circuits == plan.n_circuits == 3 * (1 + 2 * len(wanted))
        own = model.angle_map.moved_by(~frozen.frozen)
        np.testing.assert_array_equal(wanted, np.intersect1d(model.differentiated_angles, own))
        gradient = frozen.gradient(params, features, evaluation.values, evaluation.jacobian, np.ones((3, 1)))
        whole = gradient if whole is None else whole
        np.testing.assert_allclose(gradient, np.where(frozen.frozen, 0.0, whole), atol=1e-13)
