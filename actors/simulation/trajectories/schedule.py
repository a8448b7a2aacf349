"""Schedule: a circuit as operations on state vectors, and the places where errors may happen, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from actors.noise.model import NoiseModel
from actors.simulation.state_vector.gate_algebra import Rotation, block_gate, rotation
from actors.simulation.state_vector.lowering import Blocks, Turn
from actors.simulation.state_vector.observables import mask_of
from actors.simulation.state_vector.program import Instructions, assemble
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate

WORD = 2**32
"""Random words are 32 bits: an event of probability p happens when the word is below ``p * WORD``, p so kept to within 2**-32."""


class Errors(NamedTuple):
    """What may happen beside the gates. A shot has one random word for each slot: first those of the sites, in order of time.

    Attributes:
        n_slots: words of a shot.
        site_operation: int64 [E], the operation that site e belongs to, ascending.
        site_row: int64 [E], the trig row (gate) of a TURN after which a Pauli error of one qubit may happen, -1 for another site.
        site_bits: int64 [E, 2], the basis bits it touches, the second -1 for one qubit.
        site_kind: int64 [E]: 1 or 2, a Pauli error on so many qubits; 0, amplitude damping.
        pauli_below: uint64 [2, 15], per number of qubits: a word below entry p - 1, and not below the one before, is Pauli error p.
        damping: its probability. damping_below: uint64.
        flip_below: uint64 [2], readout error of a bit that is 0, or 1; `flip_slot` the slot of bit 0, -1 if there is none.
    """

    n_slots: int
    site_operation: np.ndarray
    site_row: np.ndarray
    site_bits: np.ndarray
    site_kind: np.ndarray
    pauli_below: np.ndarray
    damping: float
    damping_below: np.uint64
    flip_below: np.ndarray
    flip_slot: int


class Strings(NamedTuple):
    """What is measured: group_basis int64 [G, n] as in ``state_vector.observables``; masks int64 [M], the bits a string reads;
    group_start int64 [G + 1] and members int64 [.], the strings of each group."""

    group_basis: np.ndarray
    masks: np.ndarray
    group_start: np.ndarray
    members: np.ndarray


@dataclass(frozen=True, eq=False)
class Schedule:
    """A circuit under a noise model, compiled."""

    n_qubits: int
    n_angles: int
    n_paulis: int
    instructions: Instructions
    errors: Errors
    strings: Strings


def compile_schedule(circuit: MeasuredCircuit, noise: NoiseModel) -> Schedule:
    """The schedule of `circuit` under `noise`.

    Raises:
        CircuitError: a gate that cannot be simulated, or one on more qubits than the noise model knows.
    """
    template = circuit.template
    builder = _Builder(template, noise)
    return Schedule(
        template.n_qubits,
        template.n_angles,
        len(circuit.paulis),
        assemble(template, builder.operations),
        builder.errors(),
        _strings(circuit),
    )


class _Builder:
    """Operations and sites in order of time. A run of one-qubit gates is one operation unless damping comes between them."""

    def __init__(self, template: CircuitTemplate, noise: NoiseModel) -> None:
        self.n_qubits, self.noise = template.n_qubits, noise
        self.operations: list[Turn | Blocks] = []
        self.n_rows = 0
        self.sites: list[tuple[int, int, int, int, int]] = []
        self.runs: list[list[Rotation]] = [[] for _ in range(template.n_qubits)]
        for gate in template.gates:
            bits = tuple(template.n_qubits - 1 - qubit for qubit in gate.qubits)
            if len(bits) == 1:
                self.runs[bits[0]].append(rotation(gate))
                if not noise.is_pauli:
                    self._end_run(bits[0])
            elif bits:
                for bit in bits:
                    self._end_run(bit)
                self._add_blocks(Blocks(block_gate(gate), bits))
        for bit in range(template.n_qubits):
            self._end_run(bit)

    def _end_run(self, bit: int) -> None:
        run, self.runs[bit] = self.runs[bit], []
        if not run:
            return
        self.operations.append(Turn(bit, tuple(run)))
        for _ in run:
            self._add_pauli_site(self.n_rows, (bit,))
            self.n_rows += 1
        self._add_damping_sites((bit,))

    def _add_blocks(self, blocks: Blocks) -> None:
        self.operations.append(blocks)
        self.n_rows += len(blocks.gate.rates)
        self._add_pauli_site(-1, blocks.qubit_bits)
        self._add_damping_sites(blocks.qubit_bits)

    def _add_pauli_site(self, row: int, bits: tuple[int, ...]) -> None:
        if self.noise.pauli_probabilities(len(bits))[1:].any():
            first, second = (*bits, -1)[:2]
            self.sites.append((len(self.operations) - 1, row, first, second, len(bits)))

    def _add_damping_sites(self, bits: tuple[int, ...]) -> None:
        if not self.noise.is_pauli:
            self.sites += [(len(self.operations) - 1, -1, bit, -1, 0) for bit in bits]

    def errors(self) -> Errors:
        noise = self.noise
        sites = np.array(self.sites, np.int64).reshape(-1, 5)
        pauli_below = np.zeros((2, 15), np.uint64)
        for k in (1, 2):
            pauli_below[k - 1, : 4**k - 1] = _below(np.cumsum(noise.pauli_probabilities(k)[1:]))
        is_read_wrong = bool(noise.readout_0_to_1 or noise.readout_1_to_0)
        return Errors(
            n_slots=len(sites) + (self.n_qubits if is_read_wrong else 0),
            site_operation=sites[:, 0].copy(),
            site_row=sites[:, 1].copy(),
            site_bits=sites[:, 2:4].copy(),
            site_kind=sites[:, 4].copy(),
            pauli_below=pauli_below,
            damping=noise.amplitude_damping,
            damping_below=_below(np.array([noise.amplitude_damping]))[0],
            flip_below=_below(np.array([noise.readout_0_to_1, noise.readout_1_to_0])),
            flip_slot=len(sites) if is_read_wrong else -1,
        )


def _below(probabilities: np.ndarray) -> np.ndarray:
    """uint64: the numbers of words that stand for the probabilities."""
    return np.asarray(np.round(np.minimum(probabilities, 1.0) * WORD), np.uint64)


def _strings(circuit: MeasuredCircuit) -> Strings:
    groups = circuit.groups
    basis = [["IXY".find(c) if c in "XY" else 0 for c in reversed(group.basis)] for group in groups]
    return Strings(
        group_basis=np.array(basis, np.int64).reshape(len(groups), -1),
        masks=np.array([mask_of(pauli, "XYZ") for pauli in circuit.paulis], np.int64),
        group_start=np.cumsum([0, *(len(group.members) for group in groups)]).astype(np.int64),
        members=np.array([m for group in groups for m in group.members], np.int64),
    )
