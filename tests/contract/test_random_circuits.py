"""The engine against cirq over many random circuits: every kind of gate, 1 to 10 qubits, any Pauli strings, every execution it chooses."""

from __future__ import annotations

import cirq
import numpy as np
import pytest

from actors.backends.ideal import IdealBackend

N_CIRCUITS = 500


@pytest.mark.parametrize("n_qubits", range(1, 11))
def test_exact_values_are_cirqs(make, n_qubits) -> None:
    session = IdealBackend().open_session()
    simulator = cirq.Simulator(dtype=np.complex128)
    qubits = cirq.LineQubit.range(n_qubits)
    chosen: set[str] = set()
    for trial in range(N_CIRCUITS // 10):
        rng = np.random.default_rng([7, n_qubits, trial])
        n_gates = int(rng.integers(1, 30))
        circuit = make.measured(rng, n_qubits, n_gates=n_gates, max_gate_qubits=2 + trial % 2)
        compiled = session.compile(circuit)
        chosen |= {c.execution for c in session.explain(compiled) if c.is_chosen}
        job = make.job(rng, circuit, n_samples=2, n_rows=2)
        values = session.run(compiled, job).values
        strings = [cirq.DensePauliString(pauli).on(*qubits) * 1.0 for pauli in circuit.paulis]
        symbolic = circuit.template.circuit()
        for sample, row in ((0, 0), (1, 1)):
            angles = make.angles_of(job, sample, row)
            resolver = {f"a{k}": float(angle) for k, angle in enumerate(angles)}
            expected = simulator.simulate_expectation_values(symbolic, strings, resolver, qubit_order=qubits)
            np.testing.assert_allclose(values[sample, row], np.real(expected), rtol=0, atol=1e-12)
    assert chosen == ({"contraction", "state_vector"} if n_qubits > 1 else chosen)
