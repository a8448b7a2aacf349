"""What a session needs for one job, by the figures from which the engine sizes its own blocks. Estimates; nothing is allocated."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from actors.backends.ideal import IdealBackend
from actors.backends.noisy import NoisyBackend, choose_method
from actors.backends.torch import TorchBackend
from actors.mitigation.backend import Mitigated
from actors.mitigation.expansion import expand
from actors.simulation.choice import Candidate, choose
from actors.simulation.contraction.cost import chain_cost
from actors.simulation.contraction.engine import compile_contraction
from actors.simulation.sizing import (
    BLOCK_LANES,
    BYTES_PER_AMPLITUDE,
    BYTES_PER_COMPONENT,
    FORWARD_BLOCKS,
    adjoint_together,
    adjoint_width,
    block_bytes,
    density_matrix_width,
    forward_width,
)
from actors.simulation.torch_engine.sizing import job_bytes
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.protocols import Backend


class Need(NamedTuple):
    """Bytes of one thread of a session, and of what."""

    n_bytes: int
    what: str


def session_need(backend: Backend, plan: EvaluationPlan) -> Need:
    """For the jobs of `plan`.

    Raises:
        CapabilityError: the engine cannot do them, or the machine has too little memory.
    """
    if isinstance(backend, Mitigated):
        parts = expand(plan.circuit, backend.mitigation)  # one after the other
        return max(session_need(backend.inner, replace(plan, circuit=part.circuit)) for part in parts)
    if isinstance(backend, IdealBackend):
        return _ideal(plan)
    if isinstance(backend, NoisyBackend):
        return _noisy(backend, plan)
    if isinstance(backend, TorchBackend):
        return _torch(backend, plan)
    state = BYTES_PER_AMPLITUDE << plan.circuit.template.n_qubits
    return Need(2 * state, "two state vectors at least; the backend does not say")


def _ideal(plan: EvaluationPlan) -> Need:
    n_qubits = plan.circuit.template.n_qubits
    is_direct = isinstance(plan.derivative, DirectDerivative)
    if plan.shots is None:
        choice = choose(plan.circuit)
        execution = choice.for_gradients if is_direct else choice.for_values
        if execution == "contraction":
            return _contraction(next(c for c in choice.candidates if c.execution == execution))
    if is_direct:
        n_reverse = 1 if plan.cotangents is not None else len(plan.circuit.paulis)
        together = adjoint_together(n_qubits, n_reverse)
        n_bytes = (2 + together) * block_bytes(n_qubits, adjoint_width(n_qubits))
        return Need(n_bytes, f"blocks of state vectors, {together} carried back together")
    return Need(_forward_bytes(n_qubits, plan.n_circuits), "blocks of state vectors")


def _torch(backend: TorchBackend, plan: EvaluationPlan) -> Need:
    kind = "cuda" if backend.device.startswith("cuda") else "cpu"
    n_states = 2 if isinstance(plan.derivative, DirectDerivative) else 1
    n_bytes = job_bytes(plan.circuit.template.n_qubits, backend.precision, kind, plan.n_circuits)
    where = "the CUDA device" if kind == "cuda" else "the processor"
    return Need(n_states * n_bytes, f"blocks of state vectors on {where}, beside torch itself")


def _contraction(candidate: Candidate) -> Need:
    return Need(int(candidate.mebibytes * 2**20), "contraction along the qubits")


def _noisy(backend: NoisyBackend, plan: EvaluationPlan) -> Need:
    n_qubits, shots = plan.circuit.template.n_qubits, plan.shots
    method = choose_method(plan.circuit, backend.noise, shots)
    if method == "contraction":
        rows = chain_cost(compile_contraction(plan.circuit, backend.noise)).rows
        return Need(BYTES_PER_COMPONENT * rows, "contraction along the qubits")
    if method == "density_matrix":
        width = density_matrix_width(n_qubits, plan.n_circuits)
        one = BYTES_PER_COMPONENT << 2 * n_qubits
        return Need(FORWARD_BLOCKS * width * one, "blocks of density matrices")
    n_bytes = FORWARD_BLOCKS * block_bytes(n_qubits, forward_width(n_qubits, shots or 1, BLOCK_LANES))
    return Need(n_bytes, "blocks of trajectories")


def _forward_bytes(n_qubits: int, n_circuits: int) -> int:
    # two more blocks than the engine's three: where samples do not fill a block, it keeps two of their states
    return (FORWARD_BLOCKS + 2) * block_bytes(n_qubits, forward_width(n_qubits, n_circuits))
