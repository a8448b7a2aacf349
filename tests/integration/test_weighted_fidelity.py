"""Data re-uploading with weighted fidelities of several qubits (arXiv 1907.02085) through the ordinary commands: train, resume, evaluate,
predict, baselines; and the outputs that the loss wants of other heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.models.model import Model
from orchestrator.models.published import reuploading
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.reports import Samples
from pipelines import Callback, Trainer, TrainingInterrupted, cli
from pipelines.compose import build_backend, build_coordinator
from pipelines.predictor import Predictor
from pipelines.run_folder import RunFolder
from pipelines.run_setup import load_run, prepare_run

CONFIG = """
[run]
name = "calm"
epochs = 12
batch_size = 16
seed = 3

[data]
name = "linearly_separable"
dimension = 2

[model]
n_qubits = 2
n_layers = 3
n_features = 2
feature_map = "reuploading"
observables = "each"
head = "weighted_fidelity"
initial_scale = 0.5

[loss]
name = "weighted_fidelity"

[optimizer]
learning_rate = 0.1

[fleet]
dispatcher = "serial"

[tracking]
enabled = false
"""


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return TrainingConfig.from_toml(file).with_overrides([f"run.directory={tmp_path / 'runs'}", *overrides])


def answer(capsys: pytest.CaptureFixture, *arguments: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> dict[str, Any]:
    """What ``qfleet train`` printed of the run ``calm`` in the folder that we are in now."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    return answer(capsys, "train", "config.toml")


def weighted_fidelities(model: Model, params: np.ndarray, features: np.ndarray) -> np.ndarray:
    """[S, 2, Q], by cirq: alpha_cq times the probability of finding qubit q of the circuit in |c>."""
    circuit, angles = model.template.circuit(), model.angles(params, features)
    n_qubits = model.template.n_qubits
    values = np.tile(angles.shared, (len(features), 1))
    values[:, angles.columns] = angles.data
    found = []
    for row in values:
        resolved = cirq.resolve_parameters(circuit, {f"a{k}": angle for k, angle in enumerate(row)})
        state = resolved.final_state_vector(qubit_order=cirq.LineQubit.range(n_qubits), dtype=np.complex128)
        cube = np.abs(state.reshape((2,) * n_qubits)) ** 2
        found.append([cube.sum(axis=tuple(set(range(n_qubits)) - {q})) for q in range(n_qubits)])
    alpha = params[model.n_circuit_params :].reshape(2, n_qubits)
    return alpha * np.transpose(found, (0, 2, 1))


def loss_of(scores: np.ndarray, targets: np.ndarray) -> float:
    """The paper's, of [S, 2, Q]: every fidelity of the right class is wanted to be 1, of the wrong one 0."""
    right, wrong = scores[np.arange(len(targets)), targets], scores[np.arange(len(targets)), 1 - targets]
    return float(np.mean(((right - 1) ** 2 + wrong**2).sum(axis=1)))


# --- The commands ------------------------------


def test_it_learns_and_every_command_agrees_with_cirq(
    trained: dict[str, Any], capsys: pytest.CaptureFixture
) -> None:
    # a plane parts the classes, and chance has 0.5: of 60 test samples five deviations below 0.95
    assert trained["metrics"]["test/accuracy"] > 0.95 - 5 * np.sqrt(0.95 * 0.05 / 60)
    folder = RunFolder.find("calm", "runs")
    run, _ = load_run(folder)
    predictor = Predictor.load(folder.model)
    model, test = run.task.model, run.data.test
    assert (model.n_outputs, len(model.readout.names)) == (4, 2)
    scores = weighted_fidelities(model, predictor.params, test.features)
    chosen = scores.sum(axis=2).argmax(axis=1)

    evaluated = answer(capsys, "evaluate", "calm", "--baselines")
    for metrics in (trained["metrics"], evaluated["metrics"]):
        assert metrics["test/loss"] == pytest.approx(loss_of(scores, test.targets), rel=1e-10)
        assert metrics["test/accuracy"] == np.mean(chosen == test.targets)
    assert "separable twin" in [one["name"] for one in evaluated["baselines"]]

    # the predictor takes raw features: those of the split are standardised and scaled already
    raw = run.data.raw_example
    inside = run.data.preprocessing.transform(raw)
    of_raw = weighted_fidelities(model, predictor.params, inside).sum(axis=2)
    table = predictor.predict_table(raw)
    names = np.array(run.data.class_names, object)
    assert list(table["prediction"]) == list(names[of_raw.argmax(axis=1)])
    powers = np.exp(of_raw)
    np.testing.assert_allclose(
        np.stack([table[f"probability_{name}"] for name in names], axis=1),
        powers / powers.sum(axis=1, keepdims=True),
        atol=1e-12,
    )


def test_an_interrupted_run_resumes_to_the_same_bits(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    class Stop(Callback):
        def on_step(self, report: object, state: Any) -> None:
            if state.step == 40:
                raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        Trainer(config(tmp_path, "run.name=cut"), callbacks=[Stop()], progress=False).fit()
    resumed = answer(capsys, "resume", "cut")
    assert resumed["steps"] == trained["steps"] > 40
    for key in ("params_sha256", "best_params_sha256", "metrics", "circuits"):
        assert resumed[key] == trained[key], key


def test_parameter_shift_trains_it_too(tmp_path: Path) -> None:
    """With exact values as `adjoint` does, up to what rounding grows to in 40 steps; with shots it gets better too."""

    def final_params(name: str, *overrides: str) -> np.ndarray:
        settings = config(tmp_path, f"run.name={name}", "run.max_steps=40", *overrides)
        return Trainer(settings, progress=False).fit().params

    exact = final_params("adjoint", "gradient.rule=adjoint")
    np.testing.assert_allclose(final_params("shifted", "gradient.rule=parameter_shift"), exact, atol=1e-8)
    noisy = final_params("noisy", "gradient.rule=parameter_shift", "backend.shots=200")
    run = prepare_run(config(tmp_path))
    model, train = run.task.model, run.data.train
    losses = [
        loss_of(weighted_fidelities(model, params, train.features), train.targets)
        for params in (exact, noisy, model.initial_params(run.config.run.seed))
    ]
    assert losses[0] < 0.5 * losses[2]
    assert losses[1] < 0.5 * losses[2]


# --- Outputs ------------------------------


def test_the_gradient_is_that_of_cirqs_loss(tmp_path: Path) -> None:
    settings = config(tmp_path, "model.n_qubits=3", "model.n_layers=1", "model.n_features=2")
    run = prepare_run(settings)
    model = run.task.model
    params = np.random.default_rng(4).uniform(-1, 1, model.n_params)
    batch = Samples(run.data.train.features[:3], run.data.train.targets[:3])
    coordinator = build_coordinator(settings.fleet, build_backend(settings))
    try:
        found = batch_gradient(run.task, params, batch, coordinator, step=0)
    finally:
        coordinator.dispatcher.close()

    def loss(at: np.ndarray) -> float:
        return loss_of(weighted_fidelities(model, at, batch.features), batch.targets)

    assert found.loss == pytest.approx(loss(params), rel=1e-12)
    h = 1e-5  # central differences: an error of h² / 6 of a third derivative of order 10, and rounding 1e-16 / h
    slopes = [(loss(params + h * e) - loss(params - h * e)) / (2 * h) for e in np.eye(model.n_params)]
    np.testing.assert_allclose(found.gradient, slopes, atol=1e-8)


@pytest.mark.parametrize(
    ("overrides", "n_outputs"),
    [
        (["model.head=weighted_fidelity"], 6),
        (["model.head=weighted_fidelity", "model.observables=first"], 2),
        (["model.head=weighted_fidelity", "model.observables=['Z0', 'Z2']"], 4),
        (["model.head=linear"], 2),
        (["model.head=none", "model.observables=['Z0', 'Z2']"], 2),
        (["model.head=linear", "loss.name=binary_cross_entropy"], 1),
        (["model.head=weighted_fidelity", "model.observables=first", "loss.name=binary_cross_entropy"], 1),
    ],
)
def test_outputs_are_those_that_loss_and_head_agree_on(
    overrides: list[str], n_outputs: int, tmp_path: Path
) -> None:
    run = prepare_run(config(tmp_path, "model.n_qubits=3", *overrides))
    assert run.task.model.n_outputs == n_outputs
    params = run.task.model.initial_params(1)
    values = np.zeros((4, len(run.task.model.readout.paulis)))
    value, gradient = run.task.loss.value_and_gradient(
        run.task.model.outputs(params, values), np.array([0, 1, 1, 0])
    )
    assert np.isfinite(value)
    assert gradient.shape == (4, n_outputs)


def published_on_two_qubits() -> Model:
    return reuploading(n_features=4, n_layers=1)


def only_the_first_class() -> Model:
    x, y, turn = sympy.symbols("x y turn")
    a, b = cirq.LineQubit.range(2)
    return Model.from_circuit(
        cirq.Circuit(cirq.ry(x)(a), cirq.ry(y)(b), cirq.ry(turn)(a)),
        features=[x, y],
        head="weighted_fidelity",
        n_outputs=2,
    )


def test_a_model_of_ones_own_has_outputs_of_every_class_and_qubit(tmp_path: Path) -> None:
    run = prepare_run(config(tmp_path, "data.dimension=4"), model=published_on_two_qubits())
    assert run.task.model.n_outputs == 4
    with pytest.raises(ConfigError, match="needs 4 outputs, the model has 2"):
        prepare_run(config(tmp_path), model=only_the_first_class())
