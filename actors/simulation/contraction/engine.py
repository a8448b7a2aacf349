"""ChainContraction: the execution that contracts a circuit along its qubits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from actors.simulation import sizing
from actors.simulation.contraction.heisenberg import GateNoise, reduce_circuit
from actors.simulation.contraction.network import build_network, largest_cut, site_order
from actors.simulation.contraction.program import MAX_CUT_BITS, ChainCode, ChainProgram, compile_chain
from actors.simulation.contraction.schedule import make_schedule, sort_rows
from actors.simulation.contraction.sweeps import SampleAngles, Schedule, contract
from actors.simulation.contraction.visit import Layout
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Displacements, Job
from orchestrator.planning.derivative import LinearDerivative
from orchestrator.planning.shift_rule import shift_derivative


def compile_contraction(
    circuit: MeasuredCircuit, noise: GateNoise | None = None, max_cut_bits: int = MAX_CUT_BITS
) -> ChainProgram:
    """The program of `circuit`, with `noise` after its gates, if no cut's bond is larger than 2**max_cut_bits.

    Raises:
        CapabilityError: the circuit cannot be contracted cheaply; the text says why.
    """
    n_qubits = circuit.template.n_qubits
    reduced = reduce_circuit(circuit, noise)
    large = [gate for gate in reduced.gates if len(gate.qubits) > 2]
    if large:
        raise CapabilityError(
            f"a gate on {len(large[0].qubits)} qubits; contraction takes gates on two at most"
        )
    order = site_order(reduced, n_qubits)
    bits = largest_cut(reduced, order)
    if bits > max_cut_bits:
        raise CapabilityError(
            f"entangling gates across one cut make bonds of 2^{bits:.0f}; contraction takes 2^{max_cut_bits} at most"
        )
    return compile_chain(reduced, build_network(reduced, order), circuit.template.n_angles)


class ChainContraction:
    """Exact values of a circuit with small cuts: shallow chains, rings and trees of any length, noise included. See ``Execution``.

    Args:
        circuit: the circuit that `program` was compiled from.
        precision: of the arithmetic, "double" or "single"; angles and results are double.
    """

    name = "contraction"

    def __init__(self, circuit: MeasuredCircuit, program: ChainProgram, precision: str = "double") -> None:
        self._circuit = circuit
        self._program = program
        self._real = np.dtype(np.float64 if precision == "double" else np.float32)
        self._code = program.code.in_precision(self._real)
        self._factors = _diagonal(program.mixing)
        self._is_plain = self._factors is not None and bool(np.all(self._factors == 1.0))
        self._known: tuple[int, Displacements, int, Schedule] | None = None  # of the last job
        self._derivative: tuple[np.ndarray, LinearDerivative] | None = None
        self._workspaces: list[_Workspace] = []

    def values(self, job: Job) -> np.ndarray:
        """Exact expectation values, float64 [S, D, M].

        Raises:
            CapabilityError: the job wants shots, or the environments do not fit into memory.
        """
        if job.shots is not None:
            raise CapabilityError("contraction gives exact values, no shots")
        raw = np.empty((job.n_samples, job.n_displacements, self._program.mixing.shape[1]))
        column = np.full(self._circuit.template.n_angles, -1, np.int64)
        column[job.data_columns] = np.arange(len(job.data_columns))
        shared = np.ascontiguousarray(job.shared_angles, np.float64)
        data = np.ascontiguousarray(job.data_angles, np.float64)
        block, schedule = self._schedule(job)
        workspace = self._workspaces.pop() if self._workspaces else _Workspace()
        arrays = workspace.arrays(self._code, self._real, block * schedule.n_copies, schedule.has_swept)
        for first in range(0, job.n_samples, block):
            angles = SampleAngles(shared, column, data[first : first + block])
            contract(self._code, angles, schedule, *arrays, raw[first : first + block])
        self._workspaces.append(workspace)
        return self._mix(raw)

    def jacobian(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Values [S, M] and derivatives, by the parameter-shift rule: here a shifted circuit costs next to nothing.

        Raises:
            CapabilityError: the environments do not fit into memory.
        """
        assert job.jacobian_angles is not None
        linear = self._shifts(job.jacobian_angles)
        values = self.values(
            replace(job, displacements=linear.displacements, jacobian_angles=None, cotangents=None)
        )
        if job.cotangents is not None:
            values, weighted = values[:, 0], np.matmul(values, job.cotangents[:, :, None])
            return values, _combine(linear, weighted)
        return values[:, 0], _combine(linear, values)

    def _shifts(self, angles: np.ndarray) -> LinearDerivative:
        """The shift rule for `angles`; remembered, because every step asks for the same."""
        if self._derivative is None or not np.array_equal(self._derivative[0], angles):
            self._derivative = (angles.copy(), shift_derivative(self._circuit.template, angles))
        return self._derivative[1]

    def _mix(self, raw: np.ndarray) -> np.ndarray:
        """The wanted values, summed entry by entry: a matrix product's bits would depend on the number of samples."""
        if self._is_plain:
            return raw
        if self._factors is not None:
            return raw * self._factors
        values = np.zeros((*raw.shape[:2], len(self._program.mixing)))
        for m, j in zip(*np.nonzero(self._program.mixing), strict=True):
            values[:, :, m] += self._program.mixing[m, j] * raw[:, :, j]
        return values

    def _schedule(self, job: Job) -> tuple[int, Schedule]:
        """Samples of a block, and what is done for it; remembered, because every step brings the same table.

        Raises:
            CapabilityError: not even one sample fits into memory.
        """
        known = self._known
        if known is None or known[0] != job.n_samples or not _is_same(known[1], job.displacements):
            moved = sort_rows(self._program, job.displacements)
            lanes = self._lanes(bool(len(moved.several)))
            block = max(min(job.n_samples, lanes), 1)
            n_copies = max(1, min(lanes // block, moved.longest))
            known = (job.n_samples, job.displacements, block, make_schedule(self._program, moved, n_copies))
            self._known = known
        return known[2], known[3]

    def _lanes(self, has_swept: bool) -> int:
        """How many circuits are worked on together."""
        code = self._code
        row_bytes = (code.n_left * (1 + has_swept) + code.n_right + 2 * code.n_matrix) * self._real.itemsize
        sizing.check_fits(self._circuit.template.n_qubits, "contracting a circuit", row_bytes)
        lanes = max(min(_LANES, _MATRIX_BYTES // (code.n_matrix * self._real.itemsize)), _LEAST_LANES)
        while lanes > 1 and not sizing.is_affordable(lanes * row_bytes):
            lanes //= 2
        return lanes


def _diagonal(matrix: np.ndarray) -> np.ndarray | None:
    """The diagonal of `matrix`, or None if it is not diagonal."""
    diagonal = np.diag(matrix)
    is_diagonal = matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(diagonal))
    return diagonal if is_diagonal else None


def _combine(linear: LinearDerivative, values: np.ndarray) -> np.ndarray:
    """[S, M, K] from [S, D, M]; where every angle has two shifts with opposite coefficients, as nearly all have, by one subtraction."""
    pairs = np.arange(len(linear.row) // 2)
    up, down = linear.coefficient[::2], linear.coefficient[1::2]
    if (
        np.array_equal(linear.position, np.repeat(pairs, 2))
        and np.array_equal(linear.row, np.arange(1, 2 * len(pairs) + 1))
        and np.array_equal(up, -down)
    ):
        differences = values[:, 1::2] - values[:, 2::2]
        differences *= up[:, None]
        return np.ascontiguousarray(differences.transpose(0, 2, 1))
    return linear.combine(values)


def _is_same(one: Displacements, other: Displacements) -> bool:
    """Equal tables; a job from another process brings a copy."""
    return one is other or (
        np.array_equal(one.indptr, other.indptr)
        and np.array_equal(one.angles, other.angles)
        and np.array_equal(one.deltas, other.deltas)
    )


_LANES, _LEAST_LANES, _VECTOR = 192, 64, 16
_MATRIX_BYTES = 2**18
"""Lanes are given up for a site's matrix to stay in a common core's L2 cache."""


class _Workspace:
    """Working memory that outlives a call, because allocating it costs more than a small job."""

    def __init__(self) -> None:
        self._key: tuple[int, bool] | None = None
        self._arrays: tuple[np.ndarray, Layout, np.ndarray, np.ndarray] | None = None

    def arrays(
        self, code: ChainCode, real: np.dtype, lanes: int, has_swept: bool
    ) -> tuple[np.ndarray, Layout, np.ndarray, np.ndarray]:
        """The flat array, where what is in it, and two flags for every trig row."""
        if self._arrays is None or self._key != (lanes, has_swept):
            self._key = (lanes, has_swept)
            n_trig, n_values = len(code.trig_angle), len(code.final)
            sizes = {
                "left": code.n_left,
                "right": code.n_right,
                "swept": code.n_left if has_swept else 0,
                "vectors": 4 * code.n_branch,
                "spare": 4 * code.n_branch,
                "seen": 4,
                "seen_spare": 4,
                "matrix": code.n_matrix,
                "product": int(code.cut.max()),
                "base": n_values,
                "found": n_values,
                "base_cosine": n_trig,
                "base_sine": n_trig,
                "cosine": n_trig,
                "sine": n_trig,
            }
            first = np.cumsum([0, *sizes.values()]).tolist()
            stride = -(-lanes // _VECTOR) * _VECTOR
            at = Layout(**dict(zip(sizes, first[:-1], strict=True)), stride=stride)
            flags = (np.zeros(n_trig, np.bool_), np.zeros(n_trig, np.bool_))
            self._arrays = (np.zeros(first[-1] * stride, real), at, *flags)
        return self._arrays
