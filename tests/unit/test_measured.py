"""MeasuredCircuit: grouping of Pauli strings, content keys, refusals."""

from __future__ import annotations

import itertools

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit, group_qubit_wise
from orchestrator.errors import CircuitError

TEMPLATE, _ = template_from_circuit(
    cirq.Circuit(cirq.ry(sympy.Symbol("a")).on_each(*cirq.LineQubit.range(3)))
)


def test_groups_serve_every_string_once() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        n = int(rng.integers(1, 5))
        every = ["".join(letters) for letters in itertools.product("IXYZ", repeat=n)]
        paulis = tuple(rng.choice(every, size=int(rng.integers(1, len(every) + 1)), replace=False))
        groups = group_qubit_wise(paulis)
        assert sorted(m for group in groups for m in group.members) == list(range(len(paulis)))
        for group in groups:
            for wire, letter in enumerate(group.basis):
                read = {paulis[m][wire] for m in group.members} - {"I"}
                assert read == ({letter} if letter != "I" else set()), (
                    "a basis reads what its members need, and no more"
                )


@pytest.mark.parametrize(
    ("paulis", "bases"),
    [
        (("ZII", "IZI", "IIZ"), ["ZZZ"]),
        (("ZZI", "XXI"), ["ZZI", "XXI"]),
        (("XII", "ZII", "IZI", "IXI"), ["XZI", "ZXI"]),
        (("III",), ["III"]),
    ],
)
def test_known_groups(paulis: tuple[str, ...], bases: list[str]) -> None:
    assert [group.basis for group in group_qubit_wise(paulis)] == bases


def test_key_depends_on_template_and_strings_in_order() -> None:
    other, _ = template_from_circuit(
        cirq.Circuit(cirq.rx(sympy.Symbol("a")).on_each(*cirq.LineQubit.range(3)))
    )
    circuits = [
        MeasuredCircuit(TEMPLATE, ("ZII", "IZI")),
        MeasuredCircuit(TEMPLATE, ("IZI", "ZII")),
        MeasuredCircuit(TEMPLATE, ("ZII",)),
        MeasuredCircuit(other, ("ZII", "IZI")),
    ]
    assert len({circuit.key for circuit in circuits}) == 4
    assert MeasuredCircuit(TEMPLATE, ("ZII", "IZI")).key == circuits[0].key


@pytest.mark.parametrize(
    ("paulis", "message"),
    [
        ((), "at least one"),
        (("ZII", "ZII"), "twice"),
        (("ZI",), "3 qubits"),
        (("zII",), "3 qubits"),
        (("Z0I",), "one letter"),
    ],
)
def test_refusals(paulis: tuple[str, ...], message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        MeasuredCircuit(TEMPLATE, paulis)
