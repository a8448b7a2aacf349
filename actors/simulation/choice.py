"""Which execution does what for a circuit: a cost model anyone can print, consulted once per circuit structure.

The choice depends on the circuit alone, never on a job or on a measured time, so every actor makes the same one and the bits of a result
do not depend on where or with what else it was computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.simulation.contraction.cost import chain_cost, displaced_microseconds
from actors.simulation.contraction.engine import compile_contraction
from actors.simulation.contraction.program import MAX_CUT_BITS, ChainProgram
from actors.simulation.sizing import FORWARD_BLOCKS, block_bytes
from actors.simulation.state_vector.cost import gradient_microseconds, value_microseconds
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError

MAX_STATE_QUBITS = 24
"""Beyond, a batch of states is a matter of gigabytes and minutes."""
_SPARE_BITS = 6
"""A bond of 2^b costs 4^b, a state 2^n: with 2 b above n + 6 the state is cheaper, and judging the bond takes seconds."""


@dataclass(frozen=True)
class Candidate:
    """One line of the cost model.

    Attributes:
        execution: "state_vector" or "contraction". applies: whether it can do this circuit.
        reason: why not, or what it does.
        microseconds_per_circuit: estimated for exact values of displaced circuits on one core; infinite if it does not apply.
        microseconds_per_gradient: estimated for one sample's derivatives of every observable by every angle.
        mebibytes: working memory of one circuit.
        is_chosen: it computes exact values. is_chosen_for_gradients: it computes derivatives.
    """

    execution: str
    applies: bool
    reason: str
    microseconds_per_circuit: float
    microseconds_per_gradient: float
    mebibytes: float
    is_chosen: bool = False
    is_chosen_for_gradients: bool = False


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidates, and what was compiled on the way to judge them."""

    candidates: tuple[Candidate, ...]
    chain: ChainProgram | None

    @property
    def for_values(self) -> str:
        """The execution of exact values."""
        return next(c.execution for c in self.candidates if c.is_chosen)

    @property
    def for_gradients(self) -> str:
        """The execution of derivatives."""
        return next(c.execution for c in self.candidates if c.is_chosen_for_gradients)


def choose(circuit: MeasuredCircuit) -> Choice:
    """Judge every execution for `circuit`.

    Raises:
        CapabilityError: none applies; the text says why.
    """
    contraction, chain = _contraction(circuit)
    candidates = [_state_vector(circuit), contraction]
    possible = [c for c in candidates if c.applies]
    if not possible:
        reasons = "; ".join(f"{c.execution}: {c.reason}" for c in candidates)
        raise CapabilityError(
            f"a circuit of {circuit.template.n_qubits} qubits with this entanglement cannot be simulated exactly ({reasons}); use fewer "
            "qubits, fewer layers or linear entanglement"
        )
    values = min(possible, key=lambda c: c.microseconds_per_circuit)
    gradients = min(possible, key=lambda c: c.microseconds_per_gradient)
    return Choice(
        tuple(replace(c, is_chosen=c is values, is_chosen_for_gradients=c is gradients) for c in candidates),
        chain,
    )


def _state_vector(circuit: MeasuredCircuit) -> Candidate:
    template = circuit.template
    if template.n_qubits > MAX_STATE_QUBITS:
        return _refused("state_vector", f"{template.n_qubits} qubits, it takes up to {MAX_STATE_QUBITS}")
    return Candidate(
        "state_vector",
        True,
        f"2^{template.n_qubits} amplitudes, any gates, shots, adjoint derivatives",
        value_microseconds(template),
        gradient_microseconds(template, len(circuit.paulis)),
        FORWARD_BLOCKS * block_bytes(template.n_qubits, 1) / 2**20,
    )


def _contraction(circuit: MeasuredCircuit) -> tuple[Candidate, ChainProgram | None]:
    n_qubits = circuit.template.n_qubits
    limit = min(MAX_CUT_BITS, (n_qubits + _SPARE_BITS) // 2) if n_qubits <= MAX_STATE_QUBITS else MAX_CUT_BITS
    try:
        chain = compile_contraction(circuit, max_cut_bits=limit)
    except CapabilityError as error:
        return _refused("contraction", str(error)), None
    cost = chain_cost(chain)
    displaced = displaced_microseconds(cost)
    candidate = Candidate(
        "contraction",
        True,
        f"{len(chain.code.sites) - 1} sites, largest cut {int(chain.code.cut.max())}, exact values and derivatives",
        displaced,
        2 * max(circuit.template.n_angles, 1) * (displaced + 0.006 * len(circuit.paulis)),
        8 * cost.rows / 2**20,
    )
    return candidate, chain


def _refused(execution: str, reason: str) -> Candidate:
    return Candidate(execution, False, reason, float("inf"), float("inf"), float("inf"))
