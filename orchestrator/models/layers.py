"""Layers of a quantum convolutional network: convolution, and pooling that hands on fewer qubits.

After Cong, Choi and Lukin, arXiv 1810.03787. With ``model.layers`` a circuit is a list of such layers, and of ansätze, each on the qubits
that the one before has kept. A convolution is one two-qubit block, the same parameters for every pair, so it treats all places alike.
A layer is a class with `n_params`, `operations` and `kept`, one entry in `orchestrator.registry.LAYERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import cirq
import sympy

from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.models.ansatze import Ansatz, PairingAnsatz, Pairs
from orchestrator.models.entanglement import pairs_of
from orchestrator.registry import LAYERS, resolve

_ONE_QUBIT: tuple[Callable[[Any], cirq.Gate], ...] = (cirq.rz, cirq.ry, cirq.rz)
_TWO_QUBITS = (cirq.XX, cirq.YY, cirq.ZZ)


class Layer(Protocol):
    """What a layer offers; n is the number of qubits it acts on.

    `n_params` and `kept` raise a ValueError, saying why, for a number of qubits that is too small.
    """

    def n_params(self, n_qubits: int) -> int:
        """How many parameters it has."""
        ...

    def operations(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """Its gates on `qubits`, their angles linear in `params`, of which there are `n_params`."""
        ...

    def kept(self, n_qubits: int) -> Sequence[int]:
        """Which of the qubits, by place, the next layer acts on."""
        ...


class Convolution:
    """One two-qubit block on all neighbours of a ring, with the same 15 parameters everywhere: first pairs 01, 23 ..., then 12, 34 ...

    The block is any two-qubit gate up to its phase: three rotations of each qubit, exp(-i p/2 XX), YY and ZZ, three rotations of each again
    (Vatan and Williams, quant-ph/0308006).
    """

    def n_params(self, n_qubits: int) -> int:
        """15.

        Raises:
            ValueError: one qubit has no neighbour.
        """
        if n_qubits < 2:
            raise ValueError("a convolution joins neighbours and needs 2 qubits")
        return 4 * len(_ONE_QUBIT) + len(_TWO_QUBITS)

    def operations(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """Block by block. Two qubits have one pair, an odd ring closes last."""
        n = len(qubits)
        starts = [*range(0, n - 1, 2), *range(1, n - 1, 2)] + ([n - 1] if n > 2 else [])
        for i in starts:
            yield from _block(qubits[i], qubits[(i + 1) % n], params)

    def kept(self, n_qubits: int) -> Sequence[int]:
        """All."""
        return range(n_qubits)


def _block(first: cirq.Qid, second: cirq.Qid, params: Sequence[sympy.Symbol]) -> Iterator[cirq.Operation]:
    values = iter(params)
    for step in range(2):
        for qubit in (first, second):
            for rotation in _ONE_QUBIT:
                yield rotation(next(values))(qubit)
        for gate in _TWO_QUBITS if step == 0 else ():
            yield (gate ** (next(values) / sympy.pi))(first, second)


class Pooling:
    """Measure every second qubit and turn its left neighbour by what was found: two parameters for all pairs.

    The neighbour is turned about z by the first parameter if the outcome was 1 and about x by the second if it was 0 (Hur, Kim and Park,
    arXiv 2108.00661). The qubit takes no further part, so a controlled rotation does the same without a measurement in the middle of the
    circuit, which few machines have (Nielsen and Chuang, section 4.4: deferred measurement).
    """

    def n_params(self, n_qubits: int) -> int:
        """Two."""
        self.kept(n_qubits)
        return 2

    def operations(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """Pair by pair."""
        for sink, source in zip(
            qubits[0::2], qubits[1::2], strict=False
        ):  # of an odd number the last is left as it is
            yield cirq.rz(params[0])(sink).controlled_by(source)
            yield cirq.rx(params[1])(sink).controlled_by(source, control_values=[0])

    def kept(self, n_qubits: int) -> Sequence[int]:
        """Qubits 0, 2, 4 ...: half of them, rounded up.

        Raises:
            ValueError: only one is left.
        """
        if n_qubits < 2:
            raise ValueError("pooling would leave no qubit")
        return range(0, n_qubits, 2)


class TraceOut(Pooling):
    """Every second qubit takes no further part, and nothing is done to the others. No parameters."""

    def n_params(self, n_qubits: int) -> int:
        """None."""
        self.kept(n_qubits)
        return 0

    def operations(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """Nothing."""
        return iter(())


class AnsatzLayer:
    """A layer of an ansatz, as a `Layer`.

    Args:
        number: of the layer, from 0 on.
        config: says which pairs are entangled; custom pairs name the circuit's qubits, and those that are not all there are left out.
        places: which qubits of the circuit it is on.
    """

    def __init__(self, ansatz: Ansatz, number: int, config: ModelConfig, places: Sequence[int]) -> None:
        self._ansatz = ansatz
        self._pairs = _pairs(ansatz, number, config, places)

    def n_params(self, n_qubits: int) -> int:
        """As the ansatz says."""
        return self._ansatz.params_per_layer(n_qubits)

    def operations(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """As the ansatz says."""
        return self._ansatz.layer(qubits, params, self._pairs)

    def kept(self, n_qubits: int) -> Sequence[int]:
        """All."""
        return range(n_qubits)


def _pairs(ansatz: Ansatz, number: int, config: ModelConfig, places: Sequence[int]) -> Pairs:
    if isinstance(ansatz, PairingAnsatz):
        return ansatz.pairs(len(places), number)
    if isinstance(config.entanglement, str):
        return pairs_of(config.model_copy(update={"n_qubits": len(places)}))
    place = {qubit: i for i, qubit in enumerate(places)}
    return [(place[a], place[b]) for a, b in config.entanglement if a in place and b in place]


def layer_of(config: ModelConfig, number: int, places: Sequence[int]) -> Layer:
    """Layer `number` of a configuration, on the circuit's qubits `places`.

    Raises:
        ConfigError: it needs more qubits than are left.
    """
    name = config.ansatz if config.layers is None else config.layers[number]
    if name not in LAYERS:
        found = resolve("ansatz", name)()
        if hasattr(found, "params_per_layer"):  # else a layer of the user's own
            return AnsatzLayer(found, number, config, places)
    layer: Layer = resolve("layer", name)()
    try:
        layer.n_params(len(places))
        layer.kept(len(places))
    except ValueError as error:
        left = "qubit is" if len(places) == 1 else "qubits are"
        where = f"layer {number} ({name}): {error}; {len(places)} {left} left there: leave it out, or begin with more qubits"
        raise ConfigError("model.layers", list(config.layers or (name,)), where) from None
    return layer
