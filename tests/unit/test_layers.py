"""Layers: convolution is any two-qubit gate, pooling is a measurement in the middle, and what is handed on; what cannot be is refused."""

from __future__ import annotations

import itertools
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator import registry
from orchestrator.config import ModelConfig
from orchestrator.errors import CircuitError, ConfigError
from orchestrator.models.model import Model
from orchestrator.registry import resolve


def config(*layers: str, **values: Any) -> ModelConfig:
    return ModelConfig(**{"n_qubits": 4, "layers": layers, **values})


def symbols(n: int) -> list[sympy.Symbol]:
    return list(sympy.symbols(f"p0:{n}"))


@pytest.mark.parametrize("name", registry.LAYERS)
@pytest.mark.parametrize("n_qubits", [2, 3, 4, 5])
def test_layer_uses_its_parameters_and_keeps_qubits(name: str, n_qubits: int) -> None:
    """Every symbol moves the unitary, no qubit but the layer's own is touched, and the kept ones are among them."""
    layer, qubits = resolve("layer", name)(), cirq.LineQubit.range(n_qubits)
    own = symbols(layer.n_params(n_qubits))
    circuit = cirq.Circuit(cirq.I.on_each(*qubits), layer.operations(qubits, own))
    assert {sympy.Symbol(text) for text in cirq.parameter_names(circuit)} == set(own)
    assert circuit.all_qubits() == set(qubits)
    kept = list(layer.kept(n_qubits))
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(n_qubits))
    assert kept
    base = dict.fromkeys(own, 0.3)
    unitary = cirq.unitary(cirq.resolve_parameters(circuit, base))
    for symbol in own:
        moved = cirq.unitary(cirq.resolve_parameters(circuit, base | {symbol: 0.9}))
        assert abs(np.vdot(unitary, moved)) < len(unitary) * (1 - 1e-3)


@pytest.mark.parametrize("name", registry.LAYERS)
def test_layer_of_one_qubit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="qubit"):
        resolve("layer", name)().n_params(1)


def test_a_convolution_of_two_qubits_reaches_every_gate() -> None:
    """Its 15 parameters move the unitary in 15 independent directions: all of SU(4)."""
    layer, qubits = resolve("layer", "convolution")(), cirq.LineQubit.range(2)
    own = symbols(15)
    circuit = cirq.Circuit(layer.operations(qubits, own))
    point = np.random.default_rng(1).uniform(-2, 2, 15)

    def unitary(values: np.ndarray) -> np.ndarray:
        return cirq.unitary(cirq.resolve_parameters(circuit, dict(zip(own, values.tolist(), strict=True))))

    here, step = unitary(point), 1e-5
    directions = []
    for move in step * np.eye(15):
        generator = here.conj().T @ (unitary(point + move) - unitary(point - move)) / (2 * step)
        generator -= np.trace(generator) / 4 * np.eye(4)  # the global phase
        directions.append(np.concatenate([generator.real.ravel(), generator.imag.ravel()]))
    singular = np.linalg.svd(np.array(directions), compute_uv=False)
    assert singular[-1] > 1e-3  # differences are wrong by step**2


@pytest.mark.parametrize("n_qubits", [2, 3, 4, 5])
def test_convolution_treats_all_places_alike(n_qubits: int) -> None:
    """The same block on every pair of neighbours of the ring, each once."""
    layer, qubits = resolve("layer", "convolution")(), cirq.LineQubit.range(n_qubits)
    pairs = [
        tuple(q.x for q in op.qubits)
        for op in layer.operations(qubits, symbols(15))
        if op.gate is not None and len(op.qubits) == 2
    ]
    ring = {frozenset((i, (i + 1) % n_qubits)) for i in range(n_qubits)}
    assert {frozenset(pair) for pair in pairs} == ring
    assert len(pairs) == 3 * len(ring)


@pytest.mark.parametrize("n_qubits", [2, 3, 4])
def test_pooling_is_measurement_and_control(n_qubits: int) -> None:
    """The kept qubits end in the state that measuring the others, and turning by what was found, leaves them in."""
    layer, qubits, turns = resolve("layer", "pooling")(), cirq.LineQubit.range(n_qubits), (0.7, -1.1)
    own, kept = symbols(2), list(layer.kept(n_qubits))
    start = cirq.testing.random_superposition(2**n_qubits, random_state=n_qubits)
    circuit = cirq.Circuit(cirq.I.on_each(*qubits), layer.operations(qubits, own))
    unitary = cirq.unitary(cirq.resolve_parameters(circuit, dict(zip(own, turns, strict=True))))
    expected = np.zeros((2 ** len(kept),) * 2, complex)
    pairs = list(zip(qubits[0::2], qubits[1::2], strict=False))
    for bits in itertools.product((0, 1), repeat=len(pairs)):
        branch = start.reshape((2,) * n_qubits).astype(complex)
        moves = cirq.Circuit(cirq.I.on_each(*qubits))
        for (sink, source), bit in zip(pairs, bits, strict=True):
            branch = branch * (np.arange(2) == bit).reshape([2 if q == source else 1 for q in qubits])
            moves.append(cirq.rz(turns[0])(sink) if bit else cirq.rx(turns[1])(sink))
        expected += reduced(cirq.unitary(moves) @ branch.ravel(), n_qubits, kept)
    np.testing.assert_allclose(reduced(unitary @ start, n_qubits, kept), expected, atol=1e-12)


def reduced(state: np.ndarray, n_qubits: int, kept: list[int]) -> np.ndarray:
    """Density matrix of the qubits `kept`."""
    rest = [i for i in range(n_qubits) if i not in kept]
    matrix = state.reshape((2,) * n_qubits).transpose(kept + rest).reshape(2 ** len(kept), -1)
    return np.asarray(matrix @ matrix.conj().T)


def test_observables_are_of_the_qubits_that_are_left() -> None:
    model = Model.from_config(config("convolution", "pooling", "convolution"))
    assert model.readout.names == ("Z0", "Z2")
    assert model.layers == (0, 15, 17, 32)
    assert model.param_names.select("model.frozen", ["layer1"]).tolist() == [15, 16]
    for preset, names in (("first", ("Z0",)), ("parity", ("Z0*Z2",)), ("mean", ("0.5*Z0 + 0.5*Z2",))):
        assert Model.from_config(config("pooling", observables=preset)).readout.names == names
    with pytest.raises(CircuitError, match="qubit 1, which a layer has pooled away; left: 0, 2"):
        Model.from_config(config("pooling", observables=["Z1"]))


def test_ansatz_layers_join_the_qubits_that_are_left() -> None:
    model = Model.from_config(
        config("trace_out", "three_rotation", n_qubits=6, entanglement="circular", observables="each")
    )
    joined = [gate.qubits for gate in model.template.gates if len(gate.qubits) == 2]
    assert joined == [(0, 2), (2, 4), (4, 0)]
    assert model.n_circuit_params == 9
    custom = Model.from_config(
        config("hardware_efficient", "pooling", "hardware_efficient", entanglement=[[0, 1], [2, 0]])
    )
    cnots = [
        gate.qubits for gate in custom.template.gates if gate.name.startswith("CX") or gate.name == "CNOT"
    ]
    assert cnots == [(0, 1), (2, 0), (2, 0)]


def test_layers_of_an_ansatz_are_those_of_n_layers() -> None:
    plain = Model.from_config(ModelConfig(n_qubits=3, n_layers=2, ansatz="strongly_entangling"))
    listed = Model.from_config(ModelConfig(n_qubits=3, layers=("strongly_entangling",) * 2))
    assert plain.measured.key == listed.measured.key


@pytest.mark.parametrize(
    ("layers", "n_qubits", "words"),
    [
        (
            ("pooling", "pooling", "pooling"),
            4,
            r"layer 2 \(pooling\): pooling would leave no qubit; 1 qubit is left there",
        ),
        (("trace_out",), 1, "pooling would leave no qubit"),
        (
            ("pooling", "convolution"),
            2,
            r"layer 1 \(convolution\): a convolution joins neighbours and needs 2 qubits",
        ),
    ],
)
def test_too_few_qubits_are_refused(layers: tuple[str, ...], n_qubits: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Model.from_config(config(*layers, n_qubits=n_qubits))


def test_uploading_again_onto_pooled_qubits_is_refused() -> None:
    with pytest.raises(ConfigError, match="before layer 1, where 2 of 4 qubits are left"):
        Model.from_config(config("pooling", "convolution", reuploading=True))
    with pytest.raises(ConfigError, match="feature_map = 'reuploading'"):
        Model.from_config(config("pooling", "convolution", feature_map="reuploading"))
    assert Model.from_config(config("convolution", "convolution", reuploading=True)).n_circuit_params == 30


def test_unknown_layer_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'convolution'"):
        config("convolutoin")
    with pytest.raises(ConfigError, match="layers"):
        config()
