"""The circuit as it would run: its depth, its gates, its angles, and how often it is measured."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.models.model import Model

_SIZES = {1: "1 qubit", 2: "2 qubits"}
MORE = "3 or more"


def examine_circuit(model: Model) -> dict[str, Any]:
    """Counts of one circuit of `model`, as plain values."""
    gates = model.template.gates
    by_name: dict[str, Counter[str]] = {}
    for gate in gates:
        by_name.setdefault(gate.name, Counter())[_SIZES.get(len(gate.qubits), MORE)] += 1
    totals = sum(by_name.values(), Counter())
    return {
        "qubits": model.template.n_qubits,
        "depth": depth(model.template),
        "gates": len(gates),
        "gates_by_size": {size: totals[size] for size in (*_SIZES.values(), MORE)},
        "gates_by_name": {name: dict(counts) for name, counts in sorted(by_name.items())},
        "angles": model.template.n_angles,
        "differentiated_angles": len(model.differentiated_angles),
        "data_angles": len(model.angle_map.data_columns),
        "observables": list(model.readout.names),
        "pauli_strings": len(model.readout.paulis),
        "measurement_groups": [group.basis for group in model.measured.groups],
    }


def depth(template: CircuitTemplate) -> int:
    """Moments, every gate standing as early as its qubits allow."""
    busy_until = [0] * template.n_qubits
    for gate in template.gates:
        moment = 1 + max((busy_until[qubit] for qubit in gate.qubits), default=0)
        for qubit in gate.qubits:
            busy_until[qubit] = moment
    return max(busy_until)
