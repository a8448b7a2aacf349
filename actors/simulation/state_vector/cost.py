"""What a state-vector simulation costs, estimated from the list of gates alone (compiling a large program takes a while)."""

from __future__ import annotations

from dataclasses import dataclass

from actors.simulation.state_vector.gate_algebra import monomial
from orchestrator.circuits.template import CircuitTemplate


@dataclass(frozen=True)
class SweepCount:
    """Passes over all 2**n amplitudes, after fusion, in units of a one-qubit gate.

    Attributes:
        turns: runs of one-qubit gates, but the first on each qubit, which act on ``|0>``.
        permutations: runs of gates that permute basis states. blocks: other gates on several qubits.
    """

    turns: int
    permutations: int
    blocks: float

    @property
    def total(self) -> float:
        """Of one circuit from the beginning; the first runs on all qubits together count as two."""
        return 2 + self.turns + 0.6 * self.permutations + self.blocks


def count_sweeps(template: CircuitTemplate) -> SweepCount:
    """Go through the gates once, as lowering does."""
    has_run, has_begun = [False] * template.n_qubits, [False] * template.n_qubits
    turns = permutations = 0
    blocks = 0.0
    is_permuting: set[int] = set()  # qubits of the permutation that is being composed
    known: dict[tuple[str, bytes], bool] = {}
    for gate in template.gates:
        if len(gate.qubits) < 2:
            for qubit in gate.qubits:
                has_run[qubit] = True
            continue
        for qubit in gate.qubits:
            if has_run[qubit] and has_begun[qubit]:
                turns += 1
                if qubit in is_permuting:
                    is_permuting = set()
            has_run[qubit], has_begun[qubit] = False, True
        key = (gate.name, gate.projectors.tobytes())
        if key not in known:
            known[key] = monomial(gate) is not None
        if known[key]:
            permutations += not is_permuting
            is_permuting |= set(gate.qubits)
        else:
            blocks += 2.0 ** len(gate.qubits)
            is_permuting = set()
    turns += sum(run and begun for run, begun in zip(has_run, has_begun, strict=True))
    return SweepCount(turns, permutations, blocks)


_AMPLITUDE_NANOSECONDS = 0.25
"""Time of one gate on one amplitude."""


def value_microseconds(template: CircuitTemplate) -> float:
    """One displaced circuit on average: it shares what comes before its displacement, and its propagation with its partners."""
    sweeps = max(0.5 * count_sweeps(template).total - 2.0, 1.5)
    return 0.06 + 1e-3 * sweeps * _AMPLITUDE_NANOSECONDS * 2.0**template.n_qubits


def gradient_microseconds(template: CircuitTemplate, n_reverse: int) -> float:
    """One sample's derivatives by the adjoint method, `n_reverse` states carried back (one for a vector-Jacobian product)."""
    n_qubits = template.n_qubits
    from_memory = 1.0 if n_qubits < 12 else 1.4 if n_qubits < 14 else 4.0 if n_qubits < 16 else 7.5
    sweeps = count_sweeps(template).total * (3.5 + 4.6 * n_reverse)
    return 2.0 + 1e-3 * sweeps * _AMPLITUDE_NANOSECONDS * from_memory * 2.0**n_qubits
