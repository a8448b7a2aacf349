"""What PennyLane does to tapes before the device sees them, so that gates, measurements and wires are ones that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import (
    decompose,
    device_resolve_dynamic_wires,
    no_sampling,
    validate_adjoint_trainable_params,
    validate_device_wires,
)
from pennylane.exceptions import DecompositionUndefinedError
from pennylane.measurements import ExpectationMP, ProbabilityMP, VarianceMP
from pennylane.operation import Operator
from pennylane.tape import QuantumScript, QuantumScriptBatch
from pennylane.transforms import broadcast_expand, defer_measurements, split_to_single_terms, transform
from pennylane.transforms.core import CompilePipeline
from pennylane.typing import PostprocessingFn, Result
from pennylane.wires import Wires

from orchestrator.circuits.zero_outcome import MAX_QUBITS
from pipelines.frontends.pennylane.errors import QfleetDeviceError
from pipelines.frontends.pennylane.gates import PIECES
from pipelines.frontends.pennylane.observables import MAX_DENSE_WIRES

NAME = "qfleet"
_INSTEAD = {
    "CountsMP": "qml.probs of up to 10 wires, times the shots, which gives the counts of those shots",
    "SampleMP": "qml.probs, qml.expval or qml.var",
    "StateMP": "qml.expval or qml.probs",
    "DensityMatrixMP": "qml.expval of Pauli words",
    "ClassicalShadowMP": "qml.expval of the observables themselves, which are grouped into settings",
    "ShadowExpvalMP": "qml.expval",
}


def transforms_for(config: ExecutionConfig, wires: Wires | None) -> CompilePipeline:
    """The transforms between a QNode and the device.

    Args:
        config: set up by the device: with the method "adjoint" derivatives are the device's own.
        wires: of the device; None: any.
    """
    program = CompilePipeline()
    program.add_transform(defer_measurements, allow_postselect=False)
    program.add_transform(rotate_probabilities)
    program.add_transform(
        decompose,
        stopping_condition=is_native,
        decomposer=decomposition,
        device_wires=wires,
        target_gates=set(PIECES),
        skip_initial_state_prep=False,
        name=NAME,
    )
    program.add_transform(device_resolve_dynamic_wires, wires=wires, allow_resets=False)
    program.add_transform(validate_device_wires, wires, name=NAME)
    program.add_transform(check_measurements)
    if config.gradient_method == "adjoint":
        program.add_transform(no_sampling, name=f"adjoint + {NAME}")
        program.add_transform(split_trainable_sums)
        program.add_transform(validate_adjoint_trainable_params)
        program.add_transform(expand_mixed if config.use_device_jacobian_product else broadcast_expand)
    return program


def is_native(op: Operator) -> bool:
    """Whether the device takes the operation as it is."""
    return op.name in PIECES


def decomposition(op: Operator) -> Sequence[Operator]:
    """PennyLane's own, and for a fixed gate that has none and is small, that of its matrix.

    Raises:
        DecompositionUndefinedError: neither is there.
    """
    if op.has_decomposition:
        return op.decomposition()
    is_fixed = not any(qml.math.requires_grad(x) for x in op.data)
    if op.has_matrix and is_fixed and len(op.wires) <= MAX_DENSE_WIRES:
        return [qml.QubitUnitary(op.matrix(), wires=op.wires)]
    raise DecompositionUndefinedError(f"{op} has no decomposition")


def _only(results: Sequence[Result]) -> Result:
    return results[0]


@transform
def check_measurements(tape: QuantumScript) -> tuple[QuantumScriptBatch, PostprocessingFn]:
    """Refuse measurements that are no expectation values, nor put together from them.

    Raises:
        QfleetDeviceError: naming what to use instead.
    """
    for measurement in tape.measurements:
        kind = type(measurement).__name__
        if not isinstance(measurement, ExpectationMP | VarianceMP | ProbabilityMP):
            instead = _INSTEAD.get(kind, "qml.expval, qml.var or qml.probs")
            raise QfleetDeviceError(
                f"{measurement} is not supported on {NAME}: a fleet answers expectation values; use {instead}"
            )
        if isinstance(measurement, ProbabilityMP) and len(measurement.wires) > MAX_QUBITS:
            n = len(measurement.wires)
            raise QfleetDeviceError(
                f"probs of {n} wires is not supported on {NAME}: it takes 2**{n} - 1 expectation values; at most {MAX_QUBITS} wires, or "
                "qml.expval of what is to be known of them"
            )
    return (tape,), _only


@transform
def split_trainable_sums(tape: QuantumScript) -> tuple[QuantumScriptBatch, PostprocessingFn]:
    """Where an observable's weights are trainable, its terms one by one: then PennyLane's sum differentiates the weights."""
    for measurement in tape.measurements:
        if measurement.obs is not None and any(map(qml.math.requires_grad, measurement.obs.data)):
            return split_to_single_terms(tape)
    return (tape,), _only


@transform
def expand_mixed(tape: QuantumScript) -> tuple[QuantumScriptBatch, PostprocessingFn]:
    """A broadcast tape row by row, where its trainable parameters have several shapes: PennyLane's torch interface cannot take these."""
    shapes = {
        qml.math.shape(x) for x in tape.get_parameters(trainable_only=False) if qml.math.requires_grad(x)
    }
    if tape.batch_size is not None and len(shapes) > 1:
        return broadcast_expand(tape)
    return (tape,), _only


@transform
def rotate_probabilities(tape: QuantumScript) -> tuple[QuantumScriptBatch, PostprocessingFn]:
    """``probs(op=...)`` as ``probs`` after the gates that diagonalise the observable, each in a tape of its own."""
    rotated = [
        i
        for i, m in enumerate(tape.measurements)
        if isinstance(m, ProbabilityMP) and m.obs is not None and m.diagonalizing_gates()
    ]
    if not rotated:
        return (tape,), _only
    others = [i for i in range(len(tape.measurements)) if i not in rotated]
    places, tapes = [[i] for i in rotated], []
    for i in rotated:
        measurement = tape.measurements[i]
        gates = [*tape.operations, *measurement.diagonalizing_gates()]
        tapes.append(tape.copy(operations=gates, measurements=[qml.probs(wires=measurement.wires)]))
    if others:
        places.append(others)
        tapes.append(tape.copy(measurements=[tape.measurements[i] for i in others]))
    n_executions = tape.shots.num_copies if tape.shots.has_partitioned_shots else None
    return tapes, _put_back(places, n_executions)


def _put_back(places: Sequence[Sequence[int]], n_executions: int | None) -> Callable[[Sequence[Any]], Any]:
    """Results of several tapes as those of the measurements at `places`; `n_executions`: of a shot vector."""

    def one(results: Sequence[Any]) -> Any:
        found: dict[int, Any] = {}
        for of_tape, result in zip(places, results, strict=True):
            found.update(zip(of_tape, (result,) if len(of_tape) == 1 else result, strict=True))
        ordered = tuple(found[i] for i in sorted(found))
        return ordered[0] if len(ordered) == 1 else ordered

    def of_all(results: Sequence[Any]) -> Any:
        if n_executions is None:
            return one(results)
        return tuple(one([result[k] for result in results]) for k in range(n_executions))

    return of_all
