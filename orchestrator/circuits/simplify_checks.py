"""Whether two circuits do the same, at random angles: their unitaries where they are small, their expectation values at any size.

cirq makes the unitaries, from the circuits as they would be stored and sent. Every key of the angles' terms gets a random number of its
own, also where a model would never give two of them independent values, so that a rewriting holds for more than what is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cirq
import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.simplify_pieces import CONSTANT, AssembledCircuit
from orchestrator.circuits.template import ANGLE_PREFIX, CircuitTemplate
from orchestrator.errors import CapabilityError

Values = Callable[[MeasuredCircuit, np.ndarray], np.ndarray]
"""(circuit, angles [S, K] in radians) -> expectation values [S, M] of its Pauli strings, exact in double precision.

Raises a CapabilityError where the circuit is too large for it.
"""

MAX_UNITARY_QUBITS = 8
"""Above, unitaries are not compared: 2**(2 n) numbers each."""
MAX_CIRQ_QUBITS = 12
_N_POINTS = 2
_SEED = 20


class Difference(NamedTuple):
    """How far two circuits are apart.

    Attributes:
        largest: of unitaries' entries (up to a phase) or expectation values.
        tolerance: what rounding explains.
        compared: what was compared, in words.
    """

    largest: float
    tolerance: float
    compared: str

    @property
    def is_rounding(self) -> bool:
        """Whether the circuits do the same, as far as can be seen."""
        return self.largest <= self.tolerance


def differences(
    before: AssembledCircuit,
    after: AssembledCircuit,
    paulis: tuple[str, ...],
    values: Values,
    *,
    keeps_unitary: bool,
) -> list[Difference]:
    """Of the two circuits at the same random points.

    Args:
        keeps_unitary: whether the unitaries should be the same, too. Up to `MAX_UNITARY_QUBITS` qubits cirq compares them, or else the
            expectation values, beside `values`.

    Raises:
        CapabilityError: the expectation values cannot be had.
    """
    rng = np.random.Generator(np.random.Philox(key=_SEED))
    keys = dict.fromkeys(key for terms in before.terms for key in terms if key != CONSTANT)
    drawn = {key: rng.uniform(-np.pi, np.pi, _N_POINTS) for key in keys}
    tables = before.angles(drawn), after.angles(drawn)
    first, second = before.template, after.template
    found = [_expectations(first, second, paulis, values, tables)]
    if first.n_qubits > MAX_UNITARY_QUBITS:
        return found
    if keeps_unitary:
        return [*found, _unitaries(first, second, tables)]
    if values is cirq_values:
        return found
    return [*found, _expectations(first, second, paulis, cirq_values, tables, ", by cirq")]


def cirq_values(circuit: MeasuredCircuit, angles: np.ndarray) -> np.ndarray:
    """`Values` by cirq's simulator, up to `MAX_CIRQ_QUBITS` qubits."""
    template = circuit.template
    if template.n_qubits > MAX_CIRQ_QUBITS:
        raise CapabilityError(
            f"{template.n_qubits} qubits are more than cirq's simulator is asked for here, {MAX_CIRQ_QUBITS}"
        )
    qubits = cirq.LineQubit.range(template.n_qubits)
    observables: list[Any] = [cirq.DensePauliString(pauli).on(*qubits) for pauli in circuit.paulis]
    simulator = cirq.Simulator(dtype=np.complex128)
    rows = [
        simulator.simulate_expectation_values(
            _resolved(template, row), observables, qubit_order=qubits, permit_terminal_measurements=True
        )
        for row in angles
    ]
    return np.real(np.array(rows)).reshape(len(angles), len(observables))


def tolerance_of(first: CircuitTemplate, second: CircuitTemplate, largest_angle: float) -> float:
    """Sixteen roundings a gate, of the gate and of its angle: every operation is off by a few units in the last place at most."""
    n_gates = len(first.gates) + len(second.gates)
    return float(16 * np.finfo(float).eps * n_gates * max(1.0, largest_angle))


def _expectations(
    first: CircuitTemplate,
    second: CircuitTemplate,
    paulis: tuple[str, ...],
    values: Values,
    tables: tuple[np.ndarray, np.ndarray],
    by: str = "",
) -> Difference:
    mine, other = (
        values(MeasuredCircuit(template, paulis), table)
        for template, table in zip((first, second), tables, strict=True)
    )
    tolerance = tolerance_of(first, second, _largest(*tables))
    return Difference(_largest(mine - other), tolerance, f"expectation values{by}")


def _unitaries(
    first: CircuitTemplate, second: CircuitTemplate, tables: tuple[np.ndarray, np.ndarray]
) -> Difference:
    apart = 0.0
    for row, other in zip(*tables, strict=True):
        mine, its = _unitary(first, row), _unitary(second, other)
        overlap = np.vdot(its, mine)
        phase = overlap / abs(overlap) if abs(overlap) else 1.0
        apart = max(apart, _largest(mine - phase * its))
    return Difference(apart, tolerance_of(first, second, _largest(*tables)), "unitaries, by cirq")


def _unitary(template: CircuitTemplate, angles: np.ndarray) -> np.ndarray:
    qubits = cirq.LineQubit.range(template.n_qubits)
    return _resolved(template, angles).unitary(qubit_order=qubits, dtype=np.complex128)


def _resolved(template: CircuitTemplate, angles: np.ndarray) -> cirq.Circuit:
    given = {f"{ANGLE_PREFIX}{k}": float(angle) for k, angle in enumerate(angles)}
    return cirq.resolve_parameters(template.circuit(), given)


def _largest(*arrays: np.ndarray) -> float:
    return max((float(np.abs(array).max()) for array in arrays if array.size), default=0.0)
