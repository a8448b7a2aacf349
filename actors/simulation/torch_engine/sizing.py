"""What blocks of states take, and how many circuits a block holds. Knows nothing of torch, for who only asks."""

from __future__ import annotations

AMPLITUDES = {"cpu": 2**16, "cuda": 2**22}
"""Of a block, by the kind of device. A processor's cache should hold the operands of an operation (a megabyte in double precision). A large
device should be kept busy, so that starting kernels is not what takes the time; but no more, since rows in one block share less of the
circuit."""
STATES_AT_ONCE = 4
"""States' worth of memory for every circuit: its state, what an operation makes of it, its products, and the undisplaced state."""


def state_bytes(n_qubits: int, precision: str) -> int:
    """Of one state vector; precision "double" or "single"."""
    return (16 if precision == "double" else 8) << n_qubits


def circuits_together(n_qubits: int, kind: str) -> int:
    """Circuits of a block on a device of this kind ("cpu" or "cuda"), where memory does not say otherwise."""
    return max(AMPLITUDES[kind] >> n_qubits, 1)


def job_bytes(n_qubits: int, precision: str, kind: str, n_circuits: int) -> int:
    """What a job of so many circuits needs at most at a time; for derivatives twice that."""
    together = min(circuits_together(n_qubits, kind), n_circuits)
    return together * STATES_AT_ONCE * state_bytes(n_qubits, precision)
