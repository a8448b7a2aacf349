"""What a job's circuits give: exact outcome probabilities from the project's engine, all circuits of a structure in one call.

The engine answers with expectation values. Those of all 2**n strings of I and Z are the Walsh-Hadamard transform of the outcome
probabilities, ``<Z_s> = sum_b (-1)**(s . b) p_b``, and transforming once more gives these back, exact to rounding.

Endianness: qubit 0 is the most significant bit of the engine's basis index and the least significant one of IonQ's keys; `key_order`
converts.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from actors.ionq.emulator.circuits import Circuits, Structure
from actors.ionq.emulator.gates import Piece, fixed, pieces
from actors.ionq.emulator.native import ONE_QUBIT_PIECES, noisy_pieces
from actors.noise.model import NoiseModel
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Displacements, Job

if TYPE_CHECKING:
    from actors.simulation.execution import Execution

MAX_IDEAL_QUBITS = 14
MAX_NOISY_QUBITS = 10
"""Beyond, a job is accepted and fails with SimulationError, as one too large for IonQ's simulator does."""
ROUNDING = 1e-15
"""Probabilities below are zero but for the rounding of the transform, and are left out of an answer as IonQ leaves out zeros."""
_PROGRAMS_KEPT = 256
_AMPLITUDES_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class _Program:
    """A compiled structure.

    Attributes:
        columns: int64 [T, K], coefficients: float64 [T, K]: angle k is the sum over t of ``coefficients[t, k]`` times parameter
            ``columns[t, k]``.
    """

    circuit: MeasuredCircuit
    execution: Execution
    columns: np.ndarray
    coefficients: np.ndarray

    def probabilities(self, parameters: np.ndarray) -> np.ndarray:
        """float64 [N, 2**n] of N circuits with `parameters` [N, P], qubit 0 the most significant bit."""
        n_angles = self.columns.shape[1]
        angles = np.zeros((len(parameters), n_angles))
        for column, coefficient in zip(self.columns, self.coefficients, strict=True):
            angles += parameters[:, column] * coefficient
        job = Job(
            circuit_key=self.circuit.key,
            shared_angles=np.zeros(n_angles),
            data_columns=np.arange(n_angles),
            data_angles=angles,
            displacements=Displacements.none(),
            noise_keys=np.zeros(1, np.uint64),
        )
        return walsh_hadamard(self.execution.values(job)[:, 0, :]) / len(self.circuit.paulis)


class Simulation:
    """Runs circuits; keeps what it has compiled. One thread at a time."""

    def __init__(self) -> None:
        self._programs: OrderedDict[tuple[str, NoiseModel | None], _Program] = OrderedDict()

    def probabilities(self, circuits: Circuits, noise: NoiseModel | None) -> list[np.ndarray]:
        """For each circuit of a job float64 [2**n], n the qubits it names, qubit 0 the most significant bit.

        Args:
            noise: what follows every gate; None for ideal.

        Raises:
            CapabilityError: too many qubits for the emulator.
        """
        found: list[np.ndarray] = [np.empty(0)] * len(circuits)
        for structure, parameters, places in circuits.groups:
            _check_size(structure.n_qubits, noise)
            program = self._program(structure, noise)
            step = max(_AMPLITUDES_AT_ONCE >> structure.n_qubits, 1)
            for first in range(0, len(places), step):
                rows = program.probabilities(parameters[first : first + step])
                for place, row in zip(
                    places[first : first + step], np.where(rows > ROUNDING, rows, 0.0), strict=True
                ):
                    found[place] = row
        return found

    def _program(self, structure: Structure, noise: NoiseModel | None) -> _Program:
        key = (structure.text, noise)
        if key not in self._programs:
            self._programs[key] = _compile(structure, noise)
            if len(self._programs) > _PROGRAMS_KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]


def _check_size(n_qubits: int, noise: NoiseModel | None) -> None:
    limit = MAX_IDEAL_QUBITS if noise is None else MAX_NOISY_QUBITS
    if n_qubits > limit:
        kind = "ideal" if noise is None else "noisy"
        raise CapabilityError(
            f"the emulator simulates {kind} circuits of up to {limit} qubits, and this one has {n_qubits}; nearest valid: {limit}"
        )


def _compile(structure: Structure, noise: NoiseModel | None) -> _Program:
    if noise is not None and structure.gateset == "native":
        found, pieces_of_pair = noisy_pieces(structure.calls)
        noise = _rates_of_pieces(noise, pieces_of_pair)
    else:
        found = [piece for call in structure.calls for piece in pieces(call, structure.gateset)]
    found = [_with_constants(piece, structure) for piece in found]
    terms = [piece.terms for piece in found if piece.terms]
    columns = np.zeros((max(map(len, terms), default=0), len(terms)), np.int64)
    coefficients = np.zeros(columns.shape)
    for k, angle in enumerate(terms):
        for t, (parameter, coefficient) in enumerate(angle):
            columns[t, k], coefficients[t, k] = parameter, coefficient
    template = CircuitTemplate(structure.n_qubits, len(terms), tuple(_numbered(found)), structure.text)
    circuit = MeasuredCircuit(template, _diagonal_strings(structure.n_qubits))
    return _Program(circuit, _execution(circuit, noise), columns, coefficients)


def _with_constants(piece: Piece, structure: Structure) -> Piece:
    """`piece`, as a fixed gate if nothing but constants of the structure moves it."""
    if not piece.terms or any(structure.slots[parameter] >= 0 for parameter, _ in piece.terms):
        return piece
    angle = sum(coefficient * structure.constant(parameter) for parameter, coefficient in piece.terms)
    return fixed(piece.gate.name, piece.gate.qubits, piece.gate.unitary(angle))


def _numbered(found: list[Piece]) -> list[Gate]:
    """The gates of `found`, their angles numbered."""
    numbers = itertools.count()
    return [replace(piece.gate, angle=next(numbers)) if piece.terms else piece.gate for piece in found]


def _execution(circuit: MeasuredCircuit, noise: NoiseModel | None) -> Execution:
    """The execution of `circuit`; kernels that are not on disk yet are compiled in processes of their own, so that the server goes on."""
    from actors.simulation.warm_up import warm_up

    warm_up(["state_vector" if noise is None else "density_matrix"])
    if noise is None:
        from actors.simulation.state_vector.execution import StateVector

        return StateVector(circuit)
    from actors.simulation.density_matrix.engine import DensityMatrix

    return DensityMatrix(circuit, noise)


def _rates_of_pieces(noise: NoiseModel, pieces_of_pair: int) -> NoiseModel:
    """`noise` with the depolarising rates that each piece of a native gate has, see `native`."""
    return replace(
        noise,
        one_qubit_depolarizing=1.0 - (1.0 - noise.one_qubit_depolarizing) ** (1.0 / ONE_QUBIT_PIECES),
        two_qubit_depolarizing=1.0 - (1.0 - noise.two_qubit_depolarizing) ** (1.0 / pieces_of_pair),
    )


@functools.cache
def _diagonal_strings(n_qubits: int) -> tuple[str, ...]:
    """All strings of I and Z, Z where the number of the string has a set bit."""
    return tuple("".join("IZ"[int(bit)] for bit in f"{s:0{n_qubits}b}") for s in range(2**n_qubits))


def walsh_hadamard(rows: np.ndarray) -> np.ndarray:
    """float64 [N, 2**n]: ``out[b] = sum_s (-1)**(b . s) rows[s]``, each row by itself."""
    size = rows.shape[1]
    half = 1
    while half < size:
        pairs = rows.reshape(len(rows), -1, 2, half)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(
            len(rows), size
        )
        half *= 2
    return rows


@functools.cache
def key_order(n_qubits: int) -> np.ndarray:
    """int64 [2**n]: ``probabilities[key_order(n)]`` stands in the order of IonQ's keys 0, 1, ... (bit i of a key is qubit i)."""
    index = np.arange(2**n_qubits)
    return np.asarray(sum(((index >> bit) & 1) << (n_qubits - 1 - bit) for bit in range(n_qubits)), np.int64)


def draw_counts(probabilities: np.ndarray, shots: int, key: bytes) -> np.ndarray:
    """int64 [2**n]: how often each outcome comes up in `shots` shots; the same for the same `key`."""
    digest = hashlib.blake2b(key, digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest)))
    return np.asarray(generator.multinomial(shots, probabilities / probabilities.sum()), np.int64)
