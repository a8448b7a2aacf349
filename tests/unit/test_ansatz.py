"""Ansätze and custom entanglement: the rings of the strongly entangling layers, separable twins as states, pairs of one's own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import ModelConfig, TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.models.ansatze import StronglyEntangling
from orchestrator.models.model import Model

TWINS = ["three_rotation", "hardware_efficient", "strongly_entangling"]


def config(n_qubits: int, **values: Any) -> ModelConfig:
    return ModelConfig(
        **{"n_qubits": n_qubits, "n_layers": 3, "observables": "first", "head": "none", **values}
    )


def at(model: Model, params: np.ndarray) -> cirq.Circuit:
    """The model's circuit at these parameters and features 0."""
    angles = model.angles(params, np.zeros((1, model.n_features)))
    table = angles.shared.copy()
    table[angles.columns] = angles.data[0]
    resolved: cirq.Circuit = cirq.resolve_parameters(
        model.template.circuit(), {f"a{k}": value for k, value in enumerate(table.tolist())}
    )
    return resolved


def joined(model: Model) -> list[tuple[int, ...]]:
    return [gate.qubits for gate in model.template.gates if len(gate.qubits) > 1]


# --- Strongly entangling layers ------------------------------


def test_rings() -> None:
    ansatz = StronglyEntangling()
    assert ansatz.pairs(4, 0) == ansatz.pairs(4, 3) == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert ansatz.pairs(4, 1) == [(0, 2), (1, 3), (2, 0), (3, 1)]
    assert ansatz.pairs(4, 2) == [(0, 3), (1, 0), (2, 1), (3, 2)]
    assert ansatz.pairs(2, 0) == ansatz.pairs(2, 5) == [(0, 1), (1, 0)]
    assert ansatz.pairs(1, 0) == []


def cnot(n_qubits: int, control: int, target: int) -> np.ndarray:
    """The permutation matrix, qubit 0 the most significant bit."""
    states = np.arange(2**n_qubits)
    flipped = states ^ ((states >> (n_qubits - 1 - control) & 1) << (n_qubits - 1 - target))
    return np.eye(2**n_qubits)[:, flipped]


def rotation(first: float, second: float, third: float) -> np.ndarray:
    """RZ(third) RY(second) RZ(first)."""
    cos, sin = np.cos(second / 2), np.sin(second / 2)
    rz = [np.diag(np.exp([-0.5j * angle, 0.5j * angle])) for angle in (first, third)]
    return rz[1] @ np.array([[cos, -sin], [sin, cos]]) @ rz[0]


@pytest.mark.parametrize("entanglement", ["linear", "full"])
@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4])
def test_strongly_entangling_unitary(n_qubits: int, entanglement: str) -> None:
    """Three layers in plain numpy; what ``model.entanglement`` says changes nothing."""
    model = Model.from_config(config(n_qubits, ansatz="strongly_entangling", entanglement=entanglement))
    assert model.n_circuit_params == 3 * 3 * n_qubits
    params = np.random.default_rng(n_qubits).uniform(-3, 3, model.n_params)
    expected = np.eye(2**n_qubits)
    for layer, of_layer in enumerate(params.reshape(3, n_qubits, 3)):
        expected = functools.reduce(np.kron, [rotation(*angles) for angles in of_layer]) @ expected
        for i in range(n_qubits if n_qubits > 1 else 0):
            expected = cnot(n_qubits, i, (i + layer % (n_qubits - 1) + 1) % n_qubits) @ expected
    np.testing.assert_allclose(cirq.unitary(at(model, params)), expected, atol=1e-12)


# --- Separable twins ------------------------------


def purities(model: Model, params: np.ndarray) -> np.ndarray:
    """Tr rho² of every qubit, which is 1 for all of them if and only if the state is a product."""
    n = model.template.n_qubits
    state = cirq.final_state_vector(at(model, params), dtype=np.complex128).reshape((2,) * n)
    rhos = [np.tensordot(state, state.conj(), (rest, rest)) for rest in (_others(n, q) for q in range(n))]
    return np.array([np.trace(rho @ rho).real for rho in rhos])


def _others(n: int, qubit: int) -> list[int]:
    return [other for other in range(n) if other != qubit]


@pytest.mark.parametrize("name", TWINS)
def test_twin_prepares_product_states(name: str) -> None:
    rng = np.random.default_rng(1)
    for n_qubits in (2, 3):
        entangling, twin = (
            Model.from_config(config(n_qubits, ansatz=ansatz)) for ansatz in (name, f"{name}_separable")
        )
        params = rng.uniform(-3, 3, twin.n_params)
        np.testing.assert_allclose(purities(twin, params), 1, atol=1e-12)
        assert purities(entangling, params).min() < 0.99


@pytest.mark.parametrize("name", TWINS)
def test_twin_of_one_qubit_is_the_ansatz(name: str) -> None:
    one, other = (Model.from_config(config(1, ansatz=ansatz)) for ansatz in (name, f"{name}_separable"))
    assert one.measured.key == other.measured.key


# --- Custom entanglement ------------------------------


def test_listed_pairs_are_joined_in_order() -> None:
    pairs = [[2, 0], [1, 3]]
    model = Model.from_config(config(4, entanglement=pairs, n_layers=2, ansatz="hardware_efficient"))
    assert joined(model) == [(2, 0), (1, 3), (2, 0), (1, 3)]
    linear = config(3, entanglement="linear"), config(3, entanglement=[[0, 1], [1, 2]])
    assert len({Model.from_config(c).measured.key for c in linear}) == 1
    assert joined(Model.from_config(config(3, entanglement=[]))) == []


def test_pairs_from_the_command_line() -> None:
    changed = TrainingConfig().with_overrides(["model.entanglement=[[0, 1], [2, 3]]"])
    assert changed.model.entanglement == ((0, 1), (2, 3))
    assert TrainingConfig.from_dict(changed.to_dict()) == changed
    assert changed.to_dict()["model"]["entanglement"] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("pairs", "parts"),
    [
        ([[0, 1], [1, 3]], ["[1, 3]", "numbered from 0 to 2", "did you mean '[1, 2]'"]),
        ([[-1, 0]], ["[-1, 0]", "from 0 to 2", "did you mean '[0, 1]'"]),
        ([[5, 2]], ["[5, 2]", "did you mean '[2, 1]'"]),
        ([[1, 1]], ["[1, 1]", "the same qubit", "did you mean '[1, 2]'"]),
        ([[2, 2]], ["[2, 2]", "the same qubit", "did you mean '[2, 1]'"]),
        ([[0, 1], [1, 2], [1, 0]], ["[1, 0]", "joined already"]),
        ([[0, 1.5]], ["1.5", "integer"]),
        ([[0, True]], ["True", "integer"]),
        ([[0, 1, 2]], ["[0, 1, 2]", "at most 2 items"]),
        ([0, 1], ["= 0", "tuple"]),
        ("lineer", ["'lineer'", "did you mean 'linear'"]),
    ],
)
def test_pairs_refused(pairs: Any, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config(3, entanglement=pairs)
    assert caught.value.key == "model.entanglement"
    for part in parts:
        assert part in str(caught.value)


def test_one_qubit_has_no_pair_to_suggest() -> None:
    with pytest.raises(ConfigError, match="numbered from 0 to 0") as caught:
        config(1, entanglement=[[0, 1]])
    assert caught.value.suggestion is None


# --- Ansätze of one's own ------------------------------


class Brickwork:
    """Pairs given by `model.entanglement`; no word on pairs of its own."""

    def params_per_layer(self, n_qubits: int) -> int:
        return n_qubits

    def layer(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[cirq.Operation]:
        yield from (cirq.rx(p)(q) for q, p in zip(qubits, params, strict=True))
        yield from (cirq.CZ(qubits[i], qubits[j]) for i, j in pairs)


class Shifting(Brickwork):
    def pairs(self, n_qubits: int, layer: int) -> list[tuple[int, int]]:
        return [(layer, layer + 1)]


def test_ansatz_of_ones_own_with_and_without_own_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own_ansatze")
    vars(module).update(Brickwork=Brickwork, Shifting=Shifting)
    monkeypatch.setitem(sys.modules, "own_ansatze", module)
    plain = Model.from_config(config(4, ansatz="own_ansatze:Brickwork", entanglement=[[0, 3]]))
    assert joined(plain) == 3 * [(0, 3)]
    own = Model.from_config(config(4, ansatz="own_ansatze:Shifting", entanglement=[[0, 3]]))
    assert sorted(joined(own)) == [(0, 1), (1, 2), (2, 3)]
