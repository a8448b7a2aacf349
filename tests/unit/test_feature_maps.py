"""Feature maps: amplitude encoding at its edges and its price, re-uploading of any number of features, refusals, and stored models.

That each map prepares the state of its formula is in tests/contract/test_registries.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import ModelConfig, TrainingConfig
from orchestrator.errors import ConfigError, DataError, InputError
from orchestrator.models.feature_maps.amplitude import AmplitudeFeatureMap
from orchestrator.models.feature_maps.basis import BasisFeatureMap
from orchestrator.models.model import Model
from orchestrator.models.plain import model_from_plain, model_to_plain
from pipelines.plots.gates import drawn_gates
from pipelines.run_setup import prepare_run

FIDELITY = 1 - 1e-10


def config(feature_map: str, n_qubits: int = 2, **values: Any) -> ModelConfig:
    return ModelConfig(
        **{"n_qubits": n_qubits, "n_layers": 1, "feature_map": feature_map, "observables": "first", "head": "none", **values}
    )  # fmt: skip


def amplitude_states(features: np.ndarray) -> np.ndarray:
    """[S, 2^n]: what cirq makes of the circuit at the angles of each row."""
    n_qubits = features.shape[1].bit_length() - 1
    encoding = AmplitudeFeatureMap(config("amplitude", n_qubits))
    symbols = sympy.symbols(f"x0:{encoding.n_inputs}")
    circuit = cirq.Circuit(encoding.operations(cirq.LineQubit.range(n_qubits), symbols))
    rows = [
        dict(zip(symbols, row, strict=True))
        for row in encoding.transform(np.asarray(features, float)).tolist()
    ]
    resolved = [cirq.resolve_parameters(circuit, row) for row in rows]
    return np.array([cirq.final_state_vector(c, dtype=np.complex128) for c in resolved])


# --- Amplitude encoding ------------------------------


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 5])
def test_amplitudes_at_the_edges(n_qubits: int) -> None:
    """Every basis vector of either sign, vectors with few entries, and the sign of the state itself, not only up to a phase."""
    rng = np.random.default_rng(n_qubits)
    size = 2**n_qubits
    sparse = rng.normal(size=(20, size)) * (rng.random((20, size)) < 0.3)
    sparse = sparse[sparse.any(axis=1)]
    features = np.concatenate([np.eye(size), -np.eye(size), -np.ones((1, size)), sparse])
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(amplitude_states(features), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 7.0, 1e300, -1.0])
def test_length_of_a_row_does_not_matter(scale: float) -> None:
    features = np.random.default_rng(1).normal(size=(4, 8))
    overlaps = np.einsum("sk,sk->s", amplitude_states(features).conj(), amplitude_states(scale * features))
    np.testing.assert_allclose(overlaps, np.sign(scale), atol=1e-12)


def test_rows_are_encoded_each_by_itself() -> None:
    encoding = AmplitudeFeatureMap(config("amplitude", 4))
    features = np.random.default_rng(1).normal(size=(9, 16))
    together = encoding.transform(features)
    assert together.shape == (9, encoding.n_inputs)
    for i in range(9):
        np.testing.assert_array_equal(encoding.transform(features[i : i + 1])[0], together[i])
    assert encoding.transform(features[:0]).shape == (0, encoding.n_inputs)


@pytest.mark.parametrize("n_qubits", range(1, 8))
def test_gate_count_is_that_of_the_circuit(n_qubits: int) -> None:
    """Möttönen et al. need 2^n - 1 rotations and 2^n - 2 CNOTs for real amplitudes; nothing else is in the circuit."""
    encoding = AmplitudeFeatureMap(config("amplitude", n_qubits))
    symbols = sympy.symbols(f"x0:{encoding.n_inputs}")
    operations = list(encoding.operations(cirq.LineQubit.range(n_qubits), symbols))
    rotations = sum(isinstance(op.gate, cirq.Ry) for op in operations)
    cnots = sum(op.gate == cirq.CNOT for op in operations)
    assert (rotations, cnots) == encoding.gate_count == (2**n_qubits - 1, 2**n_qubits - 2)
    assert rotations + cnots == len(operations)


def test_amplitude_refusals() -> None:
    encoding = AmplitudeFeatureMap(config("amplitude", 2))
    features = np.ones((3, 4))
    features[1] = 0
    with pytest.raises(DataError, match=r"row 2: the vector of 4 features is zero and so no state"):
        encoding.transform(features)
    features[1, 2] = np.nan
    with pytest.raises(DataError, match=r"row 2: .* is not finite"):
        encoding.transform(features)
    with pytest.raises(DataError, match="takes 4 features, 3 given"):
        encoding.transform(np.ones((2, 3)))
    with pytest.raises(ConfigError, match=r"model\.n_qubits = 11: .*at most 10.*did you mean '10'"):
        Model.from_config(config("amplitude", 11))


# --- Basis encoding ------------------------------


@pytest.mark.parametrize(("value", "closest"), [(0.7, 1), (0.2, 0), (-1.0, 0), (2.0, 1)])
def test_basis_takes_bits(value: float, closest: int) -> None:
    encoding = BasisFeatureMap(config("basis", 3))
    features = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(encoding.transform(features), features)
    features[1, 2] = value
    with pytest.raises(
        DataError, match=rf"row 2, feature 3: {value:g} is neither 0 nor 1, .* nearest is {closest}"
    ):
        encoding.transform(features)
    with pytest.raises(DataError, match="takes 3 features, 2 given"):
        encoding.transform(features[:, :2])


# --- Encodings by phases ------------------------------


@pytest.mark.parametrize("name", ["zz", "iqp"])
def test_phases_join_the_configured_pairs(name: str) -> None:
    """Once each and repetition, by one gate."""
    model = Model.from_config(
        config(name, 4, entanglement=[[0, 2], [3, 1]], feature_repeats=3, ansatz="three_rotation_separable")
    )
    pairs = [gate.qubits for gate in model.template.gates if len(gate.qubits) == 2]
    assert sorted(pairs) == sorted(3 * [(0, 2), (3, 1)])
    assert all(g.angle is not None for g in model.template.gates if len(g.qubits) == 2)


# --- Trainable re-uploading ------------------------------


@pytest.mark.parametrize(("n_qubits", "n_features"), [(1, 1), (1, 3), (1, 7), (2, 4), (2, 6), (2, 8), (3, 2)])
def test_reuploading_of_any_number_of_features(n_qubits: int, n_features: int) -> None:
    """Feature k is in the k-th rotation, three to a qubit and round again; two layers, built once more from cirq's gates."""
    model = Model.from_config(
        config("reuploading", n_qubits, n_features=n_features, n_layers=2, ansatz="hardware_efficient")
    )
    rounds = -(-n_features // (3 * n_qubits))
    assert model.n_features == n_features
    assert model.n_circuit_params == 2 * (n_features + 3 * n_qubits * rounds + 2 * n_qubits)
    rng = np.random.default_rng(n_features)
    params, x = rng.uniform(-3, 3, model.n_params), rng.uniform(-2, 2, n_features)
    values, q = iter(params.tolist()), cirq.LineQubit.range(n_qubits)
    operations: list[cirq.Operation] = []
    for _ in range(2):
        for r in range(3 * n_qubits * rounds):
            angle = next(values) * x[r] if r < n_features else 0.0
            angle += next(values)
            operations.append((cirq.ry, cirq.rz, cirq.ry)[r % 3](angle)(q[r // 3 % n_qubits]))
        operations += [rotation(next(values))(qubit) for qubit in q for rotation in (cirq.ry, cirq.rz)]
        operations += [cirq.CNOT(q[i], q[i + 1]) for i in range(n_qubits - 1)]
    assert not list(values), "every parameter is used"
    np.testing.assert_allclose(unitary(model, params, x), cirq.unitary(cirq.Circuit(operations)), atol=1e-12)


def unitary(model: Model, params: np.ndarray, features: np.ndarray) -> np.ndarray:
    circuit = cirq.resolve_parameters(model.template.circuit(), resolver(model, params, features))
    found: np.ndarray = cirq.unitary(circuit)
    return found


def resolver(model: Model, params: np.ndarray, features: np.ndarray) -> dict[str, float]:
    return {f"a{k}": angle for k, angle in enumerate(table(model, params, features).tolist())}


def table(model: Model, params: np.ndarray, features: np.ndarray) -> np.ndarray:
    """All angles [K] of one sample."""
    angles = model.angles(params, features[None])
    whole = angles.shared.copy()
    whole[angles.columns] = angles.data[0]
    return whole


@pytest.mark.parametrize("name", ["amplitude", "basis", "zz", "iqp", "reuploading"])
def test_gradient_by_the_parameters(name: str) -> None:
    """The chain rule through the feature map: exact shifts of RY, RZ against the five-point stencil, both of values by cirq.

    The stencil's error is h⁴/30 times a fifth derivative: of at most 2⁵ here, weights being multiplied by features below 2.
    """
    model = Model.from_config(config(name, n_layers=2, ansatz="hardware_efficient"))
    rng = np.random.default_rng(3)
    features = rng.uniform(-2, 2, (1, model.n_features)) if name != "basis" else np.array([[1.0, 0.0]])
    params, circuit = rng.uniform(-3, 3, model.n_params), model.template.circuit()
    observable = cirq.Z(cirq.LineQubit(0))

    def value(angles: np.ndarray) -> float:
        resolved = {f"a{k}": float(a) for k, a in enumerate(angles)}
        simulator = cirq.Simulator(dtype=np.complex128)
        return float(simulator.simulate_expectation_values(circuit, [observable], resolved)[0].real)

    angles, wanted = table(model, params, features[0]), model.differentiated_angles
    quarter = np.pi / 2 * np.eye(len(angles))
    jacobian = np.array([(value(angles + quarter[k]) - value(angles - quarter[k])) / 2 for k in wanted])
    found = model.gradient(
        params, features, np.array([[value(angles)]]), jacobian[None, None], np.ones((1, 1))
    )
    h = 1e-3
    for p in range(model.n_params):
        step = h * np.eye(model.n_params)[p]
        near, far = (
            value(table(model, params + m * step, features[0]))
            - value(table(model, params - m * step, features[0]))
            for m in (1, 2)
        )
        assert found[p] == pytest.approx((8 * near - far) / (12 * h), abs=1e-10)


# --- Numbers of features ------------------------------


@pytest.mark.parametrize(
    ("name", "n_features"),
    [("angle", 3), ("amplitude", 8), ("basis", 3), ("zz", 3), ("iqp", 3), ("reuploading", 9)],
)
def test_number_of_features(name: str, n_features: int) -> None:
    assert Model.from_config(config(name, 3)).n_features == n_features
    assert Model.from_config(config(name, 3, n_features=n_features)).n_features == n_features
    if name != "reuploading":
        with pytest.raises(
            ConfigError, match=rf"model\.n_features = 5: .*{name} takes {n_features} features on 3 qubits"
        ) as caught:
            Model.from_config(config(name, 3, n_features=5))
        assert caught.value.suggestion == str(n_features)


@pytest.mark.parametrize(
    ("overrides", "n_features"), [(["model.feature_map=amplitude"], 8), (["model.feature_map=reuploading", "model.n_features=5"], 5)]
)  # fmt: skip
def test_data_of_another_number_are_refused(overrides: list[str], n_features: int) -> None:
    """Iris has four columns; both numbers are named."""
    base = ["data.name=iris", "data.n_components=none", "loss.name=cross_entropy", "model.n_qubits=3"]
    with pytest.raises(InputError, match=rf"4 feature columns.* {n_features}\b"):
        prepare_run(TrainingConfig().with_overrides([*base, *overrides]))
    fitting = [*base, "model.feature_map=reuploading", "model.n_features=4"]
    assert prepare_run(TrainingConfig().with_overrides(fitting)).task.model.n_features == 4


# --- Stored models, and maps of one's own ------------------------------


def through_json(model: Model) -> Model:
    description, arrays = model_to_plain(model)
    return model_from_plain(json.loads(json.dumps(description)), arrays)


@pytest.mark.parametrize("name", ["angle", "amplitude", "basis", "zz", "iqp", "reuploading"])
def test_stored_model_takes_the_same_features(name: str) -> None:
    model = Model.from_config(config(name, 3))
    back = through_json(model)
    assert back.n_features == model.n_features
    features = np.random.default_rng(1).normal(size=(4, model.n_features))
    if name == "basis":
        features = (features > 0).astype(float)
    params = model.initial_params(1)
    for one, other in zip(back.angles(params, features), model.angles(params, features), strict=True):
        np.testing.assert_array_equal(one, other)


def test_model_stored_before_transforms_loads() -> None:
    model = Model.from_config(config("angle"))
    description, arrays = model_to_plain(model)
    del description["transform"]
    assert model_from_plain(description, arrays).n_features == 2


class Plain:
    """The least that a feature map can be."""

    def __init__(self, config: ModelConfig) -> None:
        self.n_features = 1

    def operations(
        self, qubits: Sequence[cirq.Qid], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        yield from cirq.rx(features[0] ** 2).on_each(*qubits)


class Means(Plain):
    """The mean of a row, for all qubits."""

    def __init__(self, config: ModelConfig) -> None:
        self.n_features, self.n_inputs = 4, 1

    def transform(self, features: np.ndarray) -> np.ndarray:
        return features.mean(axis=1, keepdims=True)


@pytest.fixture
def own_maps(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("own_maps")
    vars(module).update(Plain=Plain, Means=Means)
    monkeypatch.setitem(sys.modules, "own_maps", module)
    return module


def test_map_of_ones_own(own_maps: ModuleType) -> None:
    model = Model.from_config(config("own_maps:Plain"))
    assert model.transform is None
    np.testing.assert_array_equal(model.angles(model.initial_params(1), np.array([[3.0]])).data, [[9, 9]])


def test_own_transform_must_say_how_many_columns_it_gives(own_maps: ModuleType) -> None:
    vars(own_maps)["Unsaid"] = type("Unsaid", (Plain,), {"transform": Means.transform})
    with pytest.raises(ConfigError, match=r"model\.feature_map = 'own_maps:Unsaid': .* needs n_inputs"):
        Model.from_config(config("own_maps:Unsaid"))


def test_own_transform_is_stored_by_its_path(own_maps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading needs none of it; encoding does."""
    description, arrays = model_to_plain(Model.from_config(config("own_maps:Means")))
    assert description["transform"] == {"feature_map": "own_maps:Means", "n_qubits": 2, "n_features": 4}
    features = np.array([[0.0, 1.0, 2.0, 5.0]])
    back = model_from_plain(description, arrays)
    assert back.n_features == 4
    np.testing.assert_array_equal(back.angles(back.initial_params(1), features).data, [[4, 4]])
    monkeypatch.delitem(sys.modules, "own_maps")
    stranger = model_from_plain(description, arrays)
    assert stranger.n_features == 4
    with pytest.raises(InputError, match="cannot load 'own_maps:Means'"):
        stranger.angles(stranger.initial_params(1), features)


def test_drawn_labels_do_not_take_computed_angles_for_features() -> None:
    labels = {gate.label for gate in drawn_gates(Model.from_config(config("amplitude", 2)))}
    assert {"t0", "t1", "t2"} <= labels
    assert "x0" not in labels
