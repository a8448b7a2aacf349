"""Models of published benchmarks, made as their papers describe them.

Those of Bowles, Ahmed and Schuld, "Better than classical? The subtle art of benchmarking quantum machine learning models",
arXiv 2403.07059, whose test accuracies ``qfleet benchmark tables`` reproduces. Each function returns a Model; one without arguments
of its own can be configured: ``model.circuit = "orchestrator.models.published:reuploading"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cirq
import numpy as np
import sympy

from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError, DataError
from orchestrator.models.model import Model

_ROTATION = 3
"""Angles of a rotation about z, y, z, and so features that it takes."""

_LOGIT = 6.0
"""Logit of an expectation value of 1: a probability of 99.8 %."""


def reuploading(n_features: int = 2, n_layers: int = 5, initial_scale: float = 1.0) -> Model:
    """The data re-uploading classifier of Pérez-Salinas et al., arXiv 1907.02085, for two classes.

    On ceil(n_features / 3) qubits, three features to each: a layer is Rot(x ω) and then Rot(θ) on every qubit and a CZ on neighbouring
    pairs, in even layers from qubit 0 on and in odd ones from qubit 1 on; a rotation Rot(x ω + θ) of every qubit ends the circuit.
    Rot(a, b, c) is RZ(c) RY(b) RZ(a). Weights ω and biases θ are trainable, and so are the weights of the fidelities that the head
    gives of every qubit; the loss that belongs to them is ``weighted_fidelity``.

    Args:
        n_features: F; features that are missing to fill the last rotation are zero.
        n_layers: L, layers before the last rotation.
        initial_scale: standard deviation of the initial weights and biases.

    Raises:
        ConfigError: fewer than one feature or layer.
    """
    _check_counts(n_features=n_features, n_layers=n_layers)
    n_qubits = -(-n_features // _ROTATION)
    qubits = cirq.LineQubit.range(n_qubits)
    features = sympy.symbols(f"x0:{n_features}")
    weights = sympy.symbols(f"w0:{(n_layers + 1) * n_features}")
    biases = sympy.symbols(f"b0:{(n_layers + 1) * n_qubits * _ROTATION}")

    def layers() -> Iterator[cirq.Operation]:
        for layer in range(n_layers + 1):
            uploads = [w * x for w, x in zip(weights[layer * n_features :], features, strict=False)]
            uploads += [sympy.Integer(0)] * (n_qubits * _ROTATION - n_features)
            turns = biases[layer * n_qubits * _ROTATION : (layer + 1) * n_qubits * _ROTATION]
            if layer == n_layers:
                yield from _rotations(qubits, [u + t for u, t in zip(uploads, turns, strict=True)])
                return
            yield from _rotations(qubits, uploads)
            yield from _rotations(qubits, turns)
            yield from (cirq.CZ(a, b) for a, b in _pairs(qubits, layer % 2))

    return Model.from_circuit(
        cirq.Circuit(layers()),
        features=features,
        params=[*weights, *biases],
        observables=[f"Z{i}" for i in range(n_qubits)],
        head="weighted_fidelity",
        n_outputs=2 * n_qubits,
        initial_scale=initial_scale,
    )


def dressed(n_features: int = 2, n_layers: int = 1, initial_scale: float = 0.5) -> Model:
    """The dressed quantum circuit of Mari et al., arXiv 1912.08278: a classical linear layer before the circuit and one after it.

    As many qubits as features. A qubit gets H and RY of its own trainable linear function of all features, then a layer is a CNOT on
    neighbouring pairs, the even ones before the odd ones, and RY on every qubit; the logit is a trainable linear function of every Z.
    The paper's tanh after the first linear layer is left out: an angle is a polynomial here, and wraps round by itself.

    Args:
        n_features: F, also the number of qubits.
        n_layers: L.
        initial_scale: standard deviation of the initial parameters of the first linear layer and the circuit.

    Raises:
        ConfigError: fewer than one feature or layer.
    """
    _check_counts(n_features=n_features, n_layers=n_layers)
    qubits = cirq.LineQubit.range(n_features)
    features = sympy.symbols(f"x0:{n_features}")
    weights = sympy.symbols(f"w0:{n_features**2}")
    biases = sympy.symbols(f"b0:{n_features}")
    turns = sympy.symbols(f"t0:{n_layers * n_features}")

    def operations() -> Iterator[cirq.Operation]:
        for number, (qubit, bias) in enumerate(zip(qubits, biases, strict=True)):
            row = weights[number * n_features : (number + 1) * n_features]
            yield cirq.H(qubit)
            yield cirq.ry(bias + sum(w * x for w, x in zip(row, features, strict=True)))(qubit)
        for layer in range(n_layers):
            for first in (0, 1):
                yield from (cirq.CNOT(a, b) for a, b in _pairs(qubits, first))
            for qubit, turn in zip(qubits, turns[layer * n_features :], strict=False):
                yield cirq.ry(turn)(qubit)

    return Model.from_circuit(
        cirq.Circuit(operations()),
        features=features,
        params=[*weights, *biases, *turns],
        head="linear",
        initial_scale=initial_scale,
    )


def separable(n_features: int = 2, n_layers: int = 1, initial_scale: float = 1.0) -> Model:
    """A variational classifier without entanglement: the null hypothesis of arXiv 2403.07059.

    As many qubits as features; a layer is RY(x) and then any rotation of every qubit. The logit is six times the mean of every Z.

    Raises:
        ConfigError: fewer than one feature or layer.
    """
    return Model.from_config(
        ModelConfig(
            n_qubits=n_features,
            n_layers=n_layers,
            feature_map="angle",
            reuploading=True,
            ansatz="strongly_entangling_separable",
            observables="mean",
            head="none",
            output_scale=_LOGIT,
            initial_scale=initial_scale,
        )
    )


def iqp(n_features: int = 2, n_layers: int = 1, repeats: int = 1, initial_scale: float = 1.0) -> Model:
    """A variational classifier on the IQP encoding of Havlíček et al., arXiv 1804.11326.

    As many qubits as features; `repeats` encodings with every pair of features, then L strongly entangling layers. The logit is
    six times <Z0 Z1>.

    Raises:
        ConfigError: fewer than two features, or one layer or repetition.
    """
    if n_features < 2:
        raise ConfigError("model.n_features", n_features, "measures the first two qubits", "2")
    return Model.from_config(
        ModelConfig(
            n_qubits=n_features,
            n_layers=n_layers,
            feature_map="iqp",
            feature_repeats=repeats,
            entanglement="full",
            ansatz="strongly_entangling",
            observables=("Z0*Z1",),
            head="none",
            output_scale=_LOGIT,
            initial_scale=initial_scale,
        )
    )


def circuit_centric(n_qubits: int = 1, n_layers: int = 1, initial_scale: float = 1.0) -> Model:
    """The circuit-centric classifier of Schuld et al., arXiv 1804.00633: amplitudes in, strongly entangling layers, Z of one qubit.

    Takes 2^n_qubits features, the amplitudes (`padded_copies` makes them); the logit is a trainable affine function of <Z0>.

    Raises:
        ConfigError: fewer than one qubit or layer.
    """
    return Model.from_config(
        ModelConfig(
            n_qubits=n_qubits,
            n_layers=n_layers,
            feature_map="amplitude",
            ansatz="strongly_entangling",
            observables="first",
            head="linear",
            initial_scale=initial_scale,
        )
    )


def padded_copies(features: np.ndarray, n_copies: int = 1) -> np.ndarray:
    """Features [S, F] as amplitudes [S, 2^(n C)] of C copies of n = ceil(log2 F) qubits; every row has length 1.

    What is missing to 2^n is filled up with 1/2^n each, as in arXiv 2403.07059.

    Raises:
        DataError: a row of zeros that nothing was added to.
    """
    n_samples, n_features = features.shape
    size = 1 << max(n_features - 1, 1).bit_length()
    padded = np.concatenate([features, np.full((n_samples, size - n_features), 1.0 / size)], axis=1)
    lengths = np.sqrt(np.sum(padded**2, axis=1, keepdims=True))
    if not lengths.all():
        raise DataError(
            f"row {int(lengths.argmin()) + 1}: the vector of features is zero and so no state; leave the row out"
        )
    copy = amplitudes = padded / lengths
    for _ in range(n_copies - 1):
        amplitudes = (amplitudes[:, :, None] * copy[:, None, :]).reshape(n_samples, -1)
    return amplitudes


def _pairs(qubits: Sequence[cirq.Qid], first: int) -> Iterator[tuple[cirq.Qid, cirq.Qid]]:
    """Neighbouring qubits, two by two from number `first` on."""
    return zip(qubits[first::2], qubits[first + 1 :: 2], strict=False)


def _rotations(qubits: Sequence[cirq.Qid], angles: Sequence[sympy.Expr]) -> Iterator[cirq.Operation]:
    """Rot of every qubit, three angles to each; an angle that is always zero has no gate."""
    for number, angle in enumerate(angles):
        if angle != 0:
            gate = cirq.ry if number % _ROTATION == 1 else cirq.rz
            yield gate(angle)(qubits[number // _ROTATION])


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"model.{name}", count, "should be greater than or equal to 1", "1")
