"""Observables: the same Hermitian operator as cirq builds, from texts, presets and cirq's own objects."""

from __future__ import annotations

from functools import reduce
from typing import Any

import cirq
import numpy as np
import pytest

from orchestrator.errors import CircuitError
from orchestrator.models.observables import PRESETS, Readout, readout

Q = cirq.LineQubit.range(3)
X, Y, Z = cirq.X, cirq.Y, cirq.Z
MATRICES = {letter: cirq.unitary(gate) for letter, gate in zip("IXYZ", (cirq.I, X, Y, Z), strict=True)}


def operators(read: Readout) -> np.ndarray:
    """[M, d, d], written out from strings, matrix and offset."""
    strings = np.array([reduce(np.kron, [MATRICES[letter] for letter in pauli]) for pauli in read.paulis])
    return np.tensordot(read.matrix, strings, axes=1) + read.offset[:, None, None] * np.eye(strings.shape[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Z0", Z(Q[0])),
        ("z0 * Z1", Z(Q[0]) * Z(Q[1])),
        ("Z0Z1", Z(Q[0]) * Z(Q[1])),
        ("-X2", -1 * X(Q[2])),
        ("0.5*Z0*Z1 - X2", 0.5 * Z(Q[0]) * Z(Q[1]) - X(Q[2])),
        ("2 Z0 + .25 - 1e-1*Y1", 2 * Z(Q[0]) + 0.25 - 0.1 * Y(Q[1])),
        ("Z0 + Z0", 2.0 * Z(Q[0])),
        ("X0*I1 + 3*I2", cirq.PauliSum.wrap(X(Q[0])) + 3),
        ("1.5e2*Z2", 150.0 * Z(Q[2])),
    ],
)
def test_text_means_what_cirq_means(text: str, expected: Any) -> None:
    matrix = cirq.PauliSum.wrap(expected).matrix(Q)
    np.testing.assert_allclose(operators(readout([text], 3))[0], matrix, atol=1e-12)
    np.testing.assert_allclose(operators(readout([expected], 3))[0], matrix, atol=1e-12)


def test_presets() -> None:
    z = [cirq.PauliSum.wrap(Z(q)).matrix(Q) for q in Q]
    expected = {"each": z, "first": z[:1], "mean": [sum(z) / 3], "parity": [z[0] @ z[1] @ z[2]]}
    assert set(expected) == set(PRESETS)
    for name, matrices in expected.items():
        np.testing.assert_allclose(operators(readout(name, 3)), matrices, atol=1e-12)
    np.testing.assert_allclose(operators(readout("Z0 - Z1", 3)), [z[0] - z[1]], atol=1e-12)


def test_random_sums_round_trip_through_cirq() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        terms = []
        for _ in range(rng.integers(1, 5)):
            letters = dict(zip(Q, rng.choice(list("IXYZ"), 3), strict=True))
            letters[Q[0]] = "Y"  # never constant
            terms.append(
                cirq.PauliString(
                    {q: str(a) for q, a in letters.items()}, coefficient=float(rng.uniform(0.1, 2))
                )
            )
        total = sum(terms[1:], cirq.PauliSum.wrap(terms[0]))
        text = " + ".join(
            "*".join([repr(term.coefficient.real), *(f"{pauli}{q.x}" for q, pauli in term.items())])
            for term in terms
        )
        for observable in (total, text):
            np.testing.assert_allclose(operators(readout([observable], 3))[0], total.matrix(Q), atol=1e-12)


def test_each_string_is_measured_once() -> None:
    read = readout(["Z0 + X1", "X1 - Z0", "Z0*X1"], 2)
    assert sorted(read.paulis) == ["IX", "ZI", "ZX"]
    assert read.names == ("Z0 + X1", "X1 - Z0", "Z0*X1")


def test_qubits_of_any_kind_by_their_place() -> None:
    left, right = cirq.NamedQubit("left"), cirq.NamedQubit("right")
    assert readout([Z(left), X(right)], 2, [right, left]).paulis == ("IZ", "XI")


@pytest.mark.parametrize(
    ("observables", "message"),
    [
        ([], "empty"),
        ("ech", "did you mean 'each'"),
        ("zzz", "presets: each, first, mean, parity"),
        (["Z3"], "names qubit 3; the last one is 2"),
        (["Z0*X0"], "names qubit 0 twice"),
        (["0.5"], "constant"),
        (["Z0 - Z0"], "constant"),
        ([""], "constant"),
        (["Z0 Q1"], "cannot read"),
        (["Z0 + "], "cannot read"),
        (["Z0*"], "cannot read"),
        (["0.5*"], "cannot read"),
        (["*Z0"], "cannot read"),
        (["2**Z0"], "cannot read"),
        (["0.5*0.5*Z0"], "cannot read"),
        ([1j * Z(Q[0])], "not Hermitian"),
        ([Z(cirq.NamedQubit("elsewhere"))], "which the circuit does not have"),
        ([3.5], "constant|not an observable"),
        ([cirq.H(Q[0])], "not an observable"),
        ([None], "not an observable"),
    ],
)
def test_refusals(observables: Any, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        readout(observables, 3)
