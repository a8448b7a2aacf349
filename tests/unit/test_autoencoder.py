"""The autoencoder: its circuits against dense partial traces by cirq, what is read from them, its bounds, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.backends.ideal import IdealBackend
from actors.serial import SerialDispatcher
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.zero_outcome import MAX_QUBITS, outcome_probabilities, zero_strings
from orchestrator.config import DataConfig, GradientConfig, LossConfig, ModelConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CircuitError, ConfigError, DataError
from orchestrator.gradients.base import drive
from orchestrator.gradients.overlap import full_angles
from orchestrator.gradients.problem import GradientProblem
from orchestrator.losses.trash_fidelity import TrashFidelity
from orchestrator.models.autoencoder import Autoencoder, StepCircuit, check_autoencoder
from orchestrator.models.blocks import blocks_of
from orchestrator.models.model import Model
from orchestrator.models.observables import readout
from orchestrator.models.subspace import best_subspace, weight_in
from orchestrator.planning.joint import JointStrings
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.registry import GRADIENT_RULES, resolve
from pipelines import plots
from pipelines.data.datasets import prepare
from pipelines.data.files import read_columns, table_bytes
from pipelines.data.table import table_from_arrays
from pipelines.run_setup import prepare_run

N_SAMPLES = 4
PAULIS = {letter: cirq.unitary(getattr(cirq, letter)) for letter in "IXYZ"}
# (feature map, axis, qubits, latent qubits)
CASES = [
    ("amplitude", "y", 3, 1),
    ("amplitude", "y", 4, 2),
    ("angle", "x", 3, 2),
    ("angle", "y", 4, 1),
    ("angle", "z", 3, 1),
    ("basis", "y", 3, 1),
    ("zz", "y", 3, 2),
    ("iqp", "y", 2, 1),
]
IDS = ["-".join(map(str, case)) for case in CASES]


@pytest.fixture(scope="module")
def ideal() -> Coordinator:
    backend = IdealBackend()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


def configured(feature_map: str, axis: str, n: int, k: int, **more: Any) -> ModelConfig:
    return ModelConfig(
        n_qubits=n, latent_qubits=k, feature_map=feature_map, feature_axis=axis,
        **{"ansatz": "strongly_entangling", "n_layers": 2} | more,
    )  # fmt: skip


def samples(config: ModelConfig, seed: int = 5) -> tuple[Model, np.ndarray, np.ndarray]:
    """A model of `config`, random parameters, and features that its map takes."""
    rng = np.random.default_rng(seed)
    model = Model.from_config(config)
    features = rng.uniform(-3, 3, (N_SAMPLES, model.n_features))
    if config.feature_map == "basis":
        features = (features > 0).astype(float)
    return model, rng.normal(size=model.n_params), features


def values_of(
    circuit: StepCircuit, model: Model, params: np.ndarray, features: np.ndarray, on: Coordinator
) -> np.ndarray:
    angles = circuit.angles(model.angles(params, features))
    return on.evaluate(EvaluationPlan(circuit.measured, angles)).values


class Dense:
    """One sample by cirq's unitaries of the symbolic blocks alone: nothing of the template, the engine or `Autoencoder`.

    Attributes:
        state: the encoded state [2**n]. encoded: density matrix [2**n, 2**n] behind the encoder. decoded: behind the decoder.
    """

    def __init__(self, config: ModelConfig, params: np.ndarray, features: np.ndarray) -> None:
        n, k = config.n_qubits, config.latent_qubits or 0
        qubits, blocks = cirq.LineQubit.range(n), blocks_of(config)
        inputs = features if blocks.transform is None else blocks.transform(features[None])[0]
        point = dict(zip(blocks.params, params, strict=True)) | dict(zip(blocks.inputs, inputs, strict=True))
        encoding = cirq.Circuit(
            cirq.I.on_each(*qubits),
            resolve("feature map", config.feature_map)(config).operations(qubits, blocks.inputs),
        )
        prepared, whole = (
            cirq.unitary(cirq.resolve_parameters(c, point)) for c in (encoding, blocks.circuit)
        )
        encoder = whole @ prepared.conj().T
        self.state = prepared[:, 0]
        self.encoded = np.outer(whole[:, 0], whole[:, 0].conj())
        latent = cirq.partial_trace(self.encoded.reshape((2,) * (2 * n)), range(k)).reshape(2**k, 2**k)
        fresh = np.diag(np.eye(2 ** (n - k))[0])
        self.decoded = encoder.conj().T @ np.kron(latent, fresh) @ encoder

    @property
    def fidelity(self) -> float:
        return float(np.real(self.state.conj() @ self.decoded @ self.state))


def mean(matrix: np.ndarray, letters: Sequence[str]) -> float:
    return float(np.real(np.trace(matrix @ cirq.kron(*(PAULIS[letter] for letter in letters)))))


def letter_on(qubit: int, letter: str, n: int) -> list[str]:
    return ["I"] * qubit + [letter] + ["I"] * (n - qubit - 1)


# --- Against dense partial traces ------------------------------


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_fidelities_against_partial_traces(case: tuple[str, str, int, int], ideal: Coordinator) -> None:
    config = configured(*case)
    model, params, features = samples(config)
    made, dense = Autoencoder(model, config), [Dense(config, params, row) for row in features]
    found = made.fidelities(values_of(made.fidelity_circuit, model, params, features, ideal))
    np.testing.assert_allclose(found, [one.fidelity for one in dense], rtol=0, atol=1e-10)
    values = ideal.evaluate(EvaluationPlan(model.measured, model.angles(params, features))).values
    trash = model.outputs(params, values)[:, 0]
    zero = np.kron(np.eye(2**made.n_latent), np.diag(np.eye(2**made.n_trash)[0]))
    expected = [float(np.real(np.trace(zero @ one.encoded))) for one in dense]
    np.testing.assert_allclose(trash, expected, rtol=0, atol=1e-10)
    assert np.all(trash**2 <= found + 1e-12)
    assert np.all(found <= trash + 1e-12)
    assert found.min() < 0.9, "the parameters are random, so something must be lost"


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_states_and_codes(case: tuple[str, str, int, int], ideal: Coordinator) -> None:
    config = configured(*case)
    model, params, features = samples(config)
    made, dense = Autoencoder(model, config), [Dense(config, params, row) for row in features]
    states = made.states(full_angles(model.angles(params, features)))
    overlaps = [abs(np.vdot(one.state, state)) for one, state in zip(dense, states, strict=True)]
    np.testing.assert_allclose(overlaps, 1.0, rtol=0, atol=1e-12)
    codes = made.codes(values_of(made.code_circuit, model, params, features, ideal))
    expected = [
        [[mean(one.encoded, letter_on(q, letter, config.n_qubits)) for q in range(made.n_latent)] for letter in "XYZ"]
        for one in dense
    ]  # fmt: skip
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_angles_are_those_of_the_decoded_bloch_vectors(axis: str, ideal: Coordinator) -> None:
    config = configured("angle", axis, 3, 1)
    model, params, features = samples(config)
    made = Autoencoder(model, config)
    found = made.features(values_of(made.feature_circuit, model, params, features, ideal), features)
    assert found.certainty is not None
    # the Bloch vector of the encoding at x = 0, and a quarter turn on
    start, quarter = {"x": ("Z", "-Y"), "y": ("Z", "X"), "z": ("X", "Y")}[axis]
    for sample, row in enumerate(features):
        decoded = Dense(config, params, row).decoded
        for q in range(3):
            cosine = mean(decoded, letter_on(q, start, 3))
            sine = mean(decoded, letter_on(q, quarter[-1], 3)) * (-1 if quarter[0] == "-" else 1)
            point = cosine + 1j * sine
            angle = found.reconstructed[sample, q]
            assert found.certainty[sample, q] == pytest.approx(abs(point), abs=1e-10)
            assert found.certainty[sample, q] * np.exp(1j * angle) == pytest.approx(point, abs=1e-10)


def test_sizes_of_amplitudes_and_bits(ideal: Coordinator) -> None:
    config = configured("amplitude", "y", 3, 2)
    model, params, features = samples(config)
    made = Autoencoder(model, config)
    found = made.features(values_of(made.feature_circuit, model, params, features, ideal), features)
    expected = [np.sqrt(np.diag(Dense(config, params, row).decoded).real) for row in features]
    np.testing.assert_allclose(
        found.reconstructed, expected, rtol=0, atol=1e-7
    )  # a root near 0 halves the digits
    np.testing.assert_allclose(np.sum(found.original**2, axis=1), 1.0, rtol=1e-14)
    config = configured("basis", "y", 3, 2)
    model, params, features = samples(config)
    made = Autoencoder(model, config)
    bits = made.features(values_of(made.feature_circuit, model, params, features, ideal), features)
    for sample, row in enumerate(features):
        decoded = Dense(config, params, row).decoded
        z = np.array([mean(decoded, letter_on(q, "Z", 3)) for q in range(3)])
        np.testing.assert_array_equal(bits.reconstructed[sample], z < 0)
        np.testing.assert_allclose(bits.certainty[sample], np.abs(z), rtol=0, atol=1e-10)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_what_is_not_lost_comes_back(axis: str, ideal: Coordinator) -> None:
    """An encoder of no gates but one that turns the trash qubit to |0>: fidelity 1, and the features themselves."""
    config = configured("angle", axis, 3, 2, ansatz="three_rotation_separable", n_layers=1)
    model = Model.from_config(config)
    features = np.random.default_rng(2).uniform(-3, 3, (5, 3))
    features[:, 2] = 0.0
    params = np.zeros(model.n_params)
    if axis == "z":  # its encoding starts in |+>
        (turn,) = [
            k for k, gate in enumerate(model.template.gates) if gate.qubits == (2,) and gate.name == "Ry"
        ]
        owner = model.template.gates[turn].angle
        params[int(model.angle_map.param[model.angle_map.angle == owner][0])] = -np.pi / 2
    made = Autoencoder(model, config)
    fidelity = made.fidelities(values_of(made.fidelity_circuit, model, params, features, ideal))
    np.testing.assert_allclose(fidelity, 1.0, rtol=0, atol=1e-12)
    found = made.features(values_of(made.feature_circuit, model, params, features, ideal), features)
    np.testing.assert_allclose(found.reconstructed, features, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.certainty, 1.0, rtol=0, atol=1e-12)


def test_shots(ideal: Coordinator) -> None:
    """The share of shots that find |0...0>: within 4.5 standard errors of the probability, and the same again."""
    config, shots = configured("amplitude", "y", 3, 1), 4000
    model, params, features = samples(config)
    made = Autoencoder(model, config)
    circuit = made.fidelity_circuit
    angles = circuit.angles(model.angles(params, features))
    plan = EvaluationPlan(
        circuit.measured, angles, shots=shots, noise_keys=noise_keys(1, "x", circuit.measured)
    )
    found, again = (made.fidelities(ideal.evaluate(plan).values) for _ in range(2))
    assert found.tobytes() == again.tobytes()
    np.testing.assert_allclose(found * shots, np.rint(found * shots), rtol=0, atol=1e-8)
    exact = np.array([Dense(config, params, row).fidelity for row in features])
    assert np.all(np.abs(found - exact) <= 4.5 * np.sqrt(exact * (1 - exact) / shots))


def test_outcome_probabilities_are_those_of_the_strings() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(8), 5)
    signs = np.array([[(-1.0) ** bin(i & j).count("1") for i in range(8)] for j in range(8)])
    np.testing.assert_allclose(
        outcome_probabilities((probabilities @ signs)[:, 1:], 3), probabilities, atol=1e-15
    )


def test_no_encoder_exceeds_the_best_subspace(ideal: Coordinator) -> None:
    """Mean weight: that of the leading eigenvalues of the mean state (Ky Fan); random encoders stay below."""
    config = configured("amplitude", "y", 3, 1)
    model, params, features = samples(config)
    states = Autoencoder(model, config).states(full_angles(model.angles(params, features)))
    found = weight_in(best_subspace(states, 2), states)
    eigenvalues = np.linalg.eigvalsh(states.T @ states.conj() / len(states))
    assert found.mean() == pytest.approx(eigenvalues[-2:].sum(), rel=1e-12)
    for seed in range(20):
        guess = np.random.default_rng(seed).normal(size=model.n_params)
        values = ideal.evaluate(EvaluationPlan(model.measured, model.angles(guess, features))).values
        assert model.outputs(guess, values).mean() <= found.mean() + 1e-12


@pytest.mark.parametrize(
    "strings",
    [zero_strings(4), ("ZII", "IZI", "XXI", "ZZI", "IIX", "YIY", "YII", "IIY")],
    ids=["zero", "mixed"],
)
def test_variances_of_very_many_strings(strings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Summed by products where there are many pairs: the same as pair by pair, to rounding of the sum of squared weights."""
    n = len(strings[0])
    template, _ = template_from_circuit(cirq.Circuit(cirq.H.on_each(*cirq.LineQubit.range(n))))
    rng, pairwise = np.random.default_rng(4), JointStrings(MeasuredCircuit(template, strings))
    rows = rng.uniform(-1, 1, (3, 5, len(pairwise.circuit.paulis)))
    weights = rng.normal(size=(3, len(strings)))
    expected = pairwise.quadratic(rows, weights, 2)
    monkeypatch.setattr("orchestrator.planning.joint._MANY_PAIRS", 0)
    found = pairwise.quadratic(rows, weights, 2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * np.sum(weights**2))
    assert np.unique(found).size > 10


# --- Loss and observable ------------------------------


def test_loss_is_linear_in_the_fidelities() -> None:
    loss, outputs = TrashFidelity(), np.array([[0.25], [1.0], [0.5]])
    value, gradient = loss.value_and_gradient(outputs, np.zeros(3))
    assert value == pytest.approx(1 - 1.75 / 3, rel=1e-15)
    np.testing.assert_array_equal(gradient, np.full((3, 1), -1 / 3))
    assert loss.metrics(outputs, np.zeros(3)) == {"loss": value, "trash_fidelity": 1.75 / 3}
    np.testing.assert_array_equal(loss.predict(outputs)["prediction"], outputs[:, 0])


@pytest.mark.parametrize("shots", [None, 300])
@pytest.mark.parametrize("rule", GRADIENT_RULES)
def test_every_gradient_rule_takes_it(rule: str, shots: int | None, ideal: Coordinator) -> None:
    """A finite step, whose loss is that of the batch; its curvature in the values is exactly zero."""
    config = configured("amplitude", "y", 3, 1)
    model, params, features = samples(config)
    made = resolve("gradient rule", rule)(GradientConfig(rule=rule))
    if made.needs_jacobian and shots:
        pytest.skip("exact only")
    at = GradientProblem(
        model, TrashFidelity(), params, features, np.zeros(N_SAMPLES), shots, 0, 3, shots is None
    )
    made.check(at)
    found = drive(made.estimate(at), ideal.evaluate)
    values = ideal.evaluate(EvaluationPlan(model.measured, model.angles(params, features))).values
    assert not at.curvature(values).any()
    assert np.isfinite(found.gradient).all()
    assert found.gradient.any()
    assert np.all(found.variance >= 0)
    exact = 1 - float(model.outputs(params, values).mean())
    tolerance = 0.02 if "spsa" in rule else 1e-12  # the mean of two points at a distance of 0.1
    if shots is not None:  # five standard errors of the mean over the samples, at most
        tolerance += 5 * 0.5 / np.sqrt(shots * N_SAMPLES)
    assert found.loss == pytest.approx(exact, abs=tolerance)


def test_zero_observable_is_the_projector() -> None:
    for text, first, last in (("zero(1..2)", 1, 2), (" zero( 0..3 )", 0, 3), ("zero(3..3)", 3, 3)):
        read = readout(text, 4)
        dense = read.offset[0] * np.eye(16) + sum(
            c * cirq.kron(*(PAULIS[letter] for letter in pauli))
            for c, pauli in zip(read.matrix[0], read.paulis, strict=True)
        )
        zero, one = np.diag([1.0, 0.0]), np.eye(2)
        expected = cirq.kron(*(zero if first <= q <= last else one for q in range(4)))
        np.testing.assert_allclose(dense, expected, rtol=0, atol=1e-15)
    for text in ("zero(2..1)", "zero(2..4)", f"zero(0..{MAX_QUBITS})"):
        with pytest.raises(CircuitError, match=r"zero"):
            readout(text, 14 if "10" in text else 4)


# --- Configuration and data ------------------------------


def test_readout_follows_from_the_size() -> None:
    config = ModelConfig(n_qubits=5, latent_qubits=2)
    assert (config.observables, config.head) == ("zero(2..4)", "none")
    whole = TrainingConfig(
        model=config, loss=LossConfig(name="trash_fidelity"), data=DataConfig(name="iris")
    ).with_overrides(["model.latent_qubits=4"])
    assert whole.model.observables == "zero(4..4)"


@pytest.mark.parametrize(
    ("keys", "key", "near"),
    [
        ({"latent_qubits": 4}, "model.latent_qubits", "3"),
        ({"latent_qubits": 0}, "model.latent_qubits", "1"),
        ({"head": "linear"}, "model.head", "none"),
        ({"observables": "mean"}, "model.observables", "zero(2..3)"),
        ({"output_scale": 2.0}, "model.output_scale", "1.0"),
        ({"reuploading": True}, "model.reuploading", "false"),
        ({"circuit": "my.module:make"}, "model.circuit", None),
        ({"image_shape": [4, 4], "patch_shape": [2, 2]}, "model.image_shape", None),
    ],
)
def test_impossible_models_are_refused(keys: dict[str, Any], key: str, near: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(**{"n_qubits": 4, "latent_qubits": 2} | keys)
    assert (caught.value.key, caught.value.suggestion) == (key, near)


def test_impossible_encodings_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        check_autoencoder(ModelConfig(n_qubits=14, latent_qubits=2))
    assert (caught.value.key, caught.value.value, caught.value.suggestion) == ("model.latent_qubits", 2, "4")
    with pytest.raises(ConfigError, match="trainable parameters") as caught:
        check_autoencoder(ModelConfig(n_qubits=2, latent_qubits=1, feature_map="reuploading"))
    assert caught.value.suggestion == "angle"
    config = configured("angle", "y", 3, 1)
    with pytest.raises(ConfigError, match="not this feature map"):
        Autoencoder(Model.from_config(config), configured("zz", "y", 3, 1))
    with pytest.raises(ConfigError, match="not this feature map"):
        Autoencoder(Model.from_config(ModelConfig(n_qubits=3, reuploading=True)), config)
    with pytest.raises(ConfigError, match="no autoencoder"):
        Autoencoder(Model.from_config(config), ModelConfig(n_qubits=3))
    large = configured("angle", "y", MAX_QUBITS + 1, 9, n_layers=1)
    with pytest.raises(ConfigError) as caught:
        _ = Autoencoder(Model.from_config(large), large).fidelity_circuit
    assert (caught.value.key, caught.value.suggestion) == ("model.n_qubits", str(MAX_QUBITS))


def test_encoding_is_told_apart_whatever_the_packing() -> None:
    """Gates are stored moment by moment; the first of each qubit are the feature map's."""
    for case in CASES:
        config = configured(*case)
        model = Model.from_config(config)
        kept = Autoencoder(model, config)._is_encoding
        owners = {gate.angle for gate, first in zip(model.template.gates, kept, strict=True) if first} - {
            None
        }
        assert owners == set(model.angle_map.data_columns.tolist())
        blocks = resolve("feature map", config.feature_map)(config)
        symbols = sympy.symbols(f"x0:{getattr(blocks, 'n_inputs', blocks.n_features)}")
        n_gates = len(list(blocks.operations(cirq.LineQubit.range(config.n_qubits), symbols)))
        assert sum(kept) == n_gates


def autoencoder_config(**sections: Any) -> TrainingConfig:
    base: dict[str, Any] = {
        "model": {"n_qubits": 2, "latent_qubits": 1},
        "loss": {"name": "trash_fidelity"},
        "data": {"name": "arrays", "standardize": False},
    }
    return TrainingConfig.from_dict(base | sections)


def test_data_need_no_target(tmp_path: Any) -> None:
    path = tmp_path / "points.csv"
    rows = np.random.default_rng(0).normal(size=(30, 2))
    path.write_text("a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in rows.tolist()) + "\n")
    data = prepare_run(autoencoder_config(data={"path": str(path), "standardize": False})).data
    assert (data.class_names, data.target_name, data.task) == (None, "", "autoencoder")
    found = np.concatenate([data.train.features, data.validation.features, data.test.features])
    order = np.argsort(np.concatenate(data.rows))
    np.testing.assert_array_equal(found[order], rows)
    assert not data.train.targets.any()
    labelled = tmp_path / "labelled.csv"
    labelled.write_text(
        "a,y,b\n" + "\n".join(f"{a!r},{i % 2},{b!r}" for i, (a, b) in enumerate(rows.tolist())) + "\n"
    )
    keys = {"path": str(labelled), "standardize": False, "target": "y"}
    same = prepare_run(autoencoder_config(data=keys)).data
    np.testing.assert_array_equal(same.train.features, data.train.features, "the label is no feature")
    with pytest.raises(ConfigError, match=r"data\.target = None") as caught:
        TrainingConfig(data=DataConfig(path=str(path)))
    assert caught.value.key == "data.target"


def test_labels_are_ignored_but_may_choose_samples() -> None:
    config = DataConfig(name="iris", standardize=False)
    everything = prepare(config, task="autoencoder", seed=1)
    assert (
        len(everything.train.targets) + len(everything.validation.targets) + len(everything.test.targets)
        == 150
    )
    two = prepare(
        DataConfig(name="iris", standardize=False, classes=["setosa", "virginica"]),
        task="autoencoder",
        seed=1,
    )
    rows = np.sort(np.concatenate(two.rows))
    np.testing.assert_array_equal(rows, [*range(50), *range(100, 150)])
    assert two.class_names is None
    table = table_from_arrays(np.eye(10), None)
    with pytest.raises(DataError, match="has no targets"):
        prepare(DataConfig(name="arrays"), task="regression", seed=1, table=table)


def test_a_model_of_ones_own_is_refused() -> None:
    config = autoencoder_config()
    with pytest.raises(ConfigError, match="leave out the model of your own"):
        prepare_run(
            config, model=Model.from_config(config.model), table=table_from_arrays(np.ones((9, 2)), None)
        )


# --- What is written ------------------------------


def test_pictures(tmp_path: Any) -> None:
    rng = np.random.default_rng(6)
    found = {"reconstruction": rng.uniform(0.8, 0.9, 40), "trash": rng.uniform(0.9, 1.0 + 1e-15, 40)}
    figure = plots.fidelities(found, tmp_path / "fidelities.png", title="a run", split="train")
    assert f"train reconstruction fidelity {found['reconstruction'].mean():.4f}" in figure.texts[0].get_text()
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == [
        f"{name}, mean {values.mean():.4f}"
        for name, values in zip(("reconstruction", "trash qubits"), found.values(), strict=True)
    ]
    heights = [patch.get_xy()[:, 1].max() for patch in figure.axes[0].patches]
    counts = [np.histogram(np.minimum(v, 1), np.linspace(0.8, 1, 31))[0].max() for v in found.values()]
    assert heights == [counts[0], counts[0], counts[1], counts[1]], (
        "every sample is in a bin, 1 and a rounding too"
    )
    same = plots.fidelities({"trash": np.ones(5)}, tmp_path / "same.png")
    assert same.axes[0].patches[0].get_xy()[:, 1].max() == 5
    images, fidelity = rng.uniform(size=(20, 4, 4)), rng.permutation(np.linspace(0.5, 1.0, 20))
    figure = plots.reconstructed_images(images, images / 2, fidelity, tmp_path / "images.png")
    assert len(figure.axes) == 16
    shown = [float(axes.get_title()) for axes in figure.axes if axes.get_title()]
    assert shown == sorted(shown, reverse=True)
    assert (shown[0], shown[-1]) == (1.0, 0.5)
    best = int(np.argmax(fidelity))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), images[best])
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), images[best] / 2)
    assert (
        len(plots.reconstructed_images(images[:2], images[:2], fidelity[:2], tmp_path / "two.png").axes) == 4
    )
    assert all(
        (tmp_path / name).stat().st_size for name in ("fidelities.png", "same.png", "images.png", "two.png")
    )


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_tables_come_back(kind: str, tmp_path: Any) -> None:
    columns = {"row": np.arange(5), "a/b": np.random.default_rng(7).normal(size=5)}
    path = tmp_path / f"table{kind}"
    path.write_bytes(table_bytes(columns, kind))
    found = read_columns(path, None)
    assert (found.feature_names, found.target_name) == (("row", "a/b"), "")
    np.testing.assert_array_equal(found.features, np.stack(list(columns.values()), axis=1))
