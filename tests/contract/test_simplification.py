"""Simplification of every feature map with every ansatz, and of every layer: the same outputs and gradients, fewer circuits."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.backends.ideal import IdealBackend
from actors.serial import SerialDispatcher
from orchestrator import registry
from orchestrator.config import ModelConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError
from orchestrator.gradients.base import GradientEstimate
from orchestrator.models.model import Model
from orchestrator.models.plain import model_from_plain, model_to_plain
from orchestrator.models.simplified import simplified
from orchestrator.training.gradient import batch_gradient, predicted_step
from orchestrator.training.reports import Samples
from pipelines.doctor.simplification import examine_simplified
from pipelines.run_setup import PreparedRun, prepare_run
from pipelines.simplified_model import exact_values
from pipelines.simplify import both_runs, examine_simplification
from pipelines.trainer import Trainer

BLOCKS = list(itertools.product(registry.FEATURE_MAPS, registry.ANSATZE))
SMALL = [
    "data.name=breast_cancer", "data.max_samples=40", "data.n_components=3", "model.n_qubits=3", "run.batch_size=6", "run.epochs=1",
    "fleet.dispatcher=serial", "tracking.enabled=false",
]  # fmt: skip
OF_THE_STATE = {"natural_gradient", "qn_spsa"}
"""Rules that measure how far the state moves, which gates move that no observable feels."""


def of(feature_map: str, **settings: Any) -> Model:
    """Three qubits, re-uploading where it can."""
    n_features = 3 if feature_map == "reuploading" else None
    return Model.from_config(
        ModelConfig(n_qubits=3, feature_map=feature_map, n_features=n_features, **settings)
    )


def expectations(model: Model, params: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Of the model's own circuit, by the engine."""
    angles = model.angles(params, features)
    table = np.tile(angles.shared, (len(features), 1))
    table[:, angles.columns] = angles.data
    return exact_values(model.measured, table)


def check(model: Model, seed: int) -> Model:
    """The simplified model, after it has been seen to give what the given one does."""
    made = simplified(model)
    small, rng = made.model, np.random.default_rng(seed)
    assert not made.how.left_out
    params = rng.uniform(-np.pi, np.pi, model.n_params)
    features = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])  # which the feature map basis takes, too
    if model.n_features != 3:
        features = rng.uniform(0.1, 1.0, (2, model.n_features))
    np.testing.assert_allclose(
        expectations(small, params, features), expectations(model, params, features), rtol=0, atol=1e-12
    )
    assert small.param_names.all == model.param_names.all
    assert small.layers == model.layers
    assert len(small.template.gates) <= len(model.template.gates)
    assert len(small.differentiated_angles) <= len(model.differentiated_angles)
    assert np.array_equal(small.trainable, model.trainable)  # what is felt is a property of the function
    return small


@pytest.mark.parametrize(("feature_map", "ansatz"), BLOCKS)
def test_every_feature_map_with_every_ansatz(feature_map: str, ansatz: str) -> None:
    saved = []
    for n_layers, entanglement in ((1, "linear"), (2, "full")):
        model = of(feature_map, ansatz=ansatz, n_layers=n_layers, entanglement=entanglement)
        small = check(model, seed=n_layers)
        saved.append(len(model.template.gates) - len(small.template.gates))
    assert all(saved), (
        "each of them ends in rotations about Z in front of a measurement in Z, or commutes with one"
    )


@pytest.mark.parametrize(
    "layers",
    [("convolution", "pooling"), ("convolution", "trace_out"), ("hardware_efficient", "strongly_entangling")],
)
def test_every_layer(layers: tuple[str, ...]) -> None:
    check(of("angle", layers=layers), seed=0)


def test_a_simplified_model_survives_being_stored() -> None:
    small = simplified(of("reuploading", ansatz="hardware_efficient", n_layers=2)).model
    again = model_from_plain(*model_to_plain(small))
    params, features = np.linspace(0, 1, small.n_params), np.array([[0.3, 0.4, 0.5]])
    assert np.array_equal(expectations(again, params, features), expectations(small, params, features))


# --- Training ------------------------------


def prepared(*overrides: str) -> tuple[PreparedRun, PreparedRun]:
    """Without and with simplification."""
    plain = TrainingConfig().with_overrides([*SMALL, *overrides])
    return prepare_run(plain), prepare_run(plain.with_overrides(["model.simplify=true"]))


def gradient(run: PreparedRun) -> GradientEstimate:
    """Of the first six samples, by the configured rule."""
    backend = IdealBackend()
    dispatcher = SerialDispatcher(backend)
    try:
        batch = Samples(run.data.train.features[:6], run.data.train.targets[:6])
        params = run.task.model.initial_params(3)
        return batch_gradient(run.task, params, batch, Coordinator(dispatcher, backend.capabilities), step=0)
    finally:
        dispatcher.close()


@pytest.mark.parametrize("rule", [rule for rule in registry.GRADIENT_RULES if rule not in OF_THE_STATE])
def test_gradients_of_every_rule_are_the_same(rule: str) -> None:
    """Random rules draw the same directions and parameters: these are of the parameter vector, which is the same."""
    ansatz = ["model.ansatz=strongly_entangling_separable", "model.feature_map=zz", f"gradient.rule={rule}"]
    loss = ["loss.name=mse", "model.frozen=['head']"] if rule == "rotosolve" else []
    plain, small = prepared(*ansatz, *loss)
    assert plain.task.model.template.n_angles > small.task.model.template.n_angles
    wanted, found = gradient(plain), gradient(small)
    # where a minimum is sought, rounding of the values moves it by the square root
    rtol, atol = (0, 3e-8) if rule == "rotosolve" else (1e-9, 1e-12)
    np.testing.assert_allclose(found.gradient, wanted.gradient, rtol=rtol, atol=atol)
    assert np.any(wanted.gradient)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-12)


@pytest.mark.parametrize("shots", ["none", "50"])
def test_parameter_shift_takes_the_fewer_circuits_that_were_predicted(shots: str) -> None:
    """Two gates of a qubit that meet become one: of six felt angles a layer, three go; the rest is counted by the run itself."""
    plain, small = prepared(
        "model.ansatz=strongly_entangling_separable", "model.feature_map=zz", "gradient.rule=parameter_shift",
        f"backend.shots={shots}",
    )  # fmt: skip
    counted = {}
    for name, run in (("plain", plain), ("small", small)):
        estimate = gradient(run)
        counted[name] = sum(each.n_circuits for each in estimate.evaluations)
        assert counted[name] == predicted_step(run.task, 6).n_circuits
        assert counted[name] == 6 * (1 + 2 * len(run.task.model.differentiated_angles))
    # RZ RY RZ | RZ RY RZ: the inner pair is one, the last RZ is not felt
    assert [len(run.task.model.differentiated_angles) for run in (plain, small)] == [15, 12]


def test_training_ends_where_it_does_without_and_takes_fewer_circuits(tmp_path: Path) -> None:
    results = {}
    for name, value in (("plain", "false"), ("small", "true")):
        config = TrainingConfig().with_overrides([
            *SMALL, "model.ansatz=hardware_efficient", "model.feature_map=reuploading", "model.n_features=3",
            "gradient.rule=parameter_shift", f"model.simplify={value}", f"run.directory={tmp_path}", f"run.name={name}",
        ])  # fmt: skip
        results[name] = Trainer(config, progress=False).fit()
    plain, small = results["plain"], results["small"]
    np.testing.assert_allclose(small.params, plain.params, rtol=0, atol=1e-9)
    assert small.totals.n_circuits < plain.totals.n_circuits
    assert small.metrics.keys() == plain.metrics.keys()
    more = TrainingConfig().with_overrides([
        *SMALL, "model.ansatz=hardware_efficient", "model.feature_map=reuploading", "model.n_features=3", "model.simplify=true",
        f"run.directory={tmp_path}", "run.name=after", f"model.initial_run={tmp_path / 'plain'}", "run.max_steps=1",
        "optimizer.learning_rate=1e-9",
    ])  # fmt: skip
    taken_over = Trainer(more, progress=False).fit()
    np.testing.assert_allclose(taken_over.params, plain.best_params, rtol=0, atol=1e-7)


def test_examination_counts_what_is_saved_and_autoencoders_are_refused() -> None:
    config = TrainingConfig().with_overrides([
        *SMALL, "model.ansatz=hardware_efficient", "model.feature_map=reuploading", "model.n_features=3",
    ])  # fmt: skip
    found = examine_simplification(both_runs(config))
    before, after = found["before"], found["after"]
    assert before["gates"] - after["gates"] == sum(one["gates"] for one in found["steps"]) > 0
    assert before["felt_parameters"] == after["felt_parameters"]
    assert 0 < after["usd_a_step"] < before["usd_a_step"]
    assert after["circuits_a_step_of_parameter_shift"] < before["circuits_a_step_of_parameter_shift"]
    assert all(each["largest"] <= each["tolerance"] for each in found["checks"])
    with pytest.raises(ConfigError, match="simplify"):
        ModelConfig(n_qubits=3, latent_qubits=1, simplify=True)


def test_the_doctor_says_what_would_be_saved() -> None:
    ansatz = ["model.ansatz=hardware_efficient", "model.feature_map=reuploading", "model.n_features=3"]
    plain, small = prepared(*ansatz)
    found = examine_simplified(plain)
    assert found is not None
    assert found["saved_gates"] == len(plain.task.model.template.gates) - len(small.task.model.template.gates)
    fewer = len(plain.task.model.differentiated_angles) - len(small.task.model.differentiated_angles)
    assert found["saved_circuits_a_step"] == 2 * fewer * 6 > 0
    assert examine_simplified(small) == {"is_on": True}
