"""Contraction along the qubits: against cirq at few qubits, against cut-out circuits at many, with noise against cirq's density matrix."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from itertools import pairwise

import cirq
import numpy as np
import pytest
import sympy

from actors.noise.model import NoiseModel
from actors.noise.presets import aria_1
from actors.simulation.contraction.engine import ChainContraction, compile_contraction
from actors.simulation.contraction.heisenberg import reduce_circuit
from actors.simulation.contraction.merging import as_turn, merge
from actors.simulation.contraction.network import build_network, site_order
from actors.simulation.state_vector.execution import StateVector
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.jobs import Displacements, Job

Entangle = Callable[[list[cirq.LineQubit]], list[cirq.Operation]]


def chain(qubits: list[cirq.LineQubit]) -> list[cirq.Operation]:
    return [cirq.CNOT(a, b) for a, b in pairwise(qubits)]


def ring(qubits: list[cirq.LineQubit]) -> list[cirq.Operation]:
    return [*chain(qubits), cirq.CNOT(qubits[-1], qubits[0])]


def brickwork(qubits: list[cirq.LineQubit]) -> list[cirq.Operation]:
    pairs = [*zip(qubits[::2], qubits[1::2], strict=False), *zip(qubits[1::2], qubits[2::2], strict=False)]
    return [cirq.CZ(a, b) for a, b in pairs]


def layered(n_qubits: int, n_layers: int, entangle: Entangle = chain) -> cirq.Circuit:
    """Angle encoding, then layers of RX, RY, RZ on every qubit and the entangler."""
    qubits = cirq.LineQubit.range(n_qubits)
    operations = [cirq.ry(sympy.Symbol(f"x{i}"))(q) for i, q in enumerate(qubits)]
    symbols = (sympy.Symbol(f"t{k}") for k in range(10**6))
    for _ in range(n_layers):
        operations += [gate(next(symbols))(q) for q in qubits for gate in (cirq.rx, cirq.ry, cirq.rz)]
        operations += entangle(qubits)
    return cirq.Circuit(operations)


def each(n_qubits: int, letter: str = "Z") -> tuple[str, ...]:
    return tuple("I" * q + letter + "I" * (n_qubits - 1 - q) for q in range(n_qubits))


def measured(circuit: cirq.Circuit, n_qubits: int, paulis: tuple[str, ...]) -> MeasuredCircuit:
    return MeasuredCircuit(template_from_circuit(circuit, cirq.LineQubit.range(n_qubits))[0], paulis)


def job_for(
    circuit: MeasuredCircuit, rows: Displacements, n_samples: int = 3, n_data: int = 2, seed: int = 0
) -> Job:
    rng = np.random.default_rng(seed)
    return Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, circuit.template.n_angles),
        data_columns=np.arange(n_data),
        data_angles=rng.uniform(-3, 3, (n_samples, n_data)),
        displacements=rows,
    )


def shifts(circuit: MeasuredCircuit) -> Displacements:
    return ParameterShift().derivative(circuit.template, np.arange(circuit.template.n_angles)).displacements


def contraction(circuit: MeasuredCircuit, **options) -> ChainContraction:
    return ChainContraction(circuit, compile_contraction(circuit), **options)


# --- Values --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entangle", [chain, ring, brickwork])
@pytest.mark.parametrize("letter", "XYZ")
def test_layers_have_the_values_of_the_state_vector(entangle, letter) -> None:
    circuit = measured(layered(5, 2, entangle), 5, (*each(5, letter), "ZZIII", "XYZZY", "IIIII"))
    job = job_for(circuit, shifts(circuit))
    np.testing.assert_allclose(
        contraction(circuit).values(job), StateVector(circuit).values(job), rtol=0, atol=1e-13
    )


def fresh(symbols: list[sympy.Symbol]) -> sympy.Symbol:
    symbols.append(sympy.Symbol(f"s{len(symbols)}"))
    return symbols[-1]


def test_random_circuits_have_cirqs_values(random_circuit, cirq_expectations) -> None:
    """Gates of every kind on one and two qubits; every angle moved alone, and three together."""
    n_done = 0
    for seed in range(40):
        rng = np.random.default_rng([3, seed])
        n_qubits = int(rng.integers(1, 6))
        symbols: list[sympy.Symbol] = []
        drawn = random_circuit(rng, n_qubits, 8, functools.partial(fresh, symbols))
        qubits = cirq.LineQubit.range(n_qubits)
        template, expressions = template_from_circuit(drawn, qubits)
        paulis = tuple({"".join(rng.choice(list("IXYZ"), n_qubits)) for _ in range(4)})
        circuit = MeasuredCircuit(template, paulis)
        try:
            engine = contraction(circuit)
        except CapabilityError:
            continue  # gates on three qubits, or cuts too large
        n_done += 1
        values = rng.uniform(-3, 3, len(symbols))
        numbers = dict(zip(symbols, values, strict=True))
        angles = np.array([float(e.subs(numbers)) for e in expressions])
        job = dataclasses.replace(job_for(circuit, Displacements.none(), 1, 0), shared_angles=angles)
        observables = [cirq.DensePauliString(pauli).on(*qubits) * 1.0 for pauli in paulis]
        expected = cirq_expectations(drawn, symbols, values[None], observables, n_qubits)
        np.testing.assert_allclose(engine.values(job)[:, 0], expected, rtol=0, atol=1e-12)
        moved = rng.permutation(template.n_angles)[:3]
        rows = Displacements(np.array([0, len(moved)]), np.sort(moved), rng.normal(size=len(moved)))
        shifted = angles.copy()
        shifted[rows.angles] += rows.deltas
        by_rows = engine.values(dataclasses.replace(job, displacements=rows))
        by_angles = engine.values(dataclasses.replace(job, shared_angles=shifted))
        np.testing.assert_allclose(by_rows, by_angles, rtol=0, atol=1e-12)
    assert n_done > 15


@pytest.mark.parametrize("n_qubits", [30, 60])
def test_many_qubits_have_the_values_of_their_light_cones(n_qubits) -> None:
    """Two brickwork layers: <Z_q> depends on at most eight neighbours, which are cut out and simulated by themselves."""
    whole = layered(n_qubits, 2, brickwork)
    circuit = measured(whole, n_qubits, each(n_qubits))
    job = job_for(circuit, Displacements.none(), n_samples=2)
    values = contraction(circuit).values(job)
    template = circuit.template
    for qubit in (0, 1, n_qubits // 2, n_qubits - 1):
        low = max(min(qubit - 6, n_qubits - 12), 0) // 2 * 2  # bricks begin at even qubits
        window = range(low, min(low + 14, n_qubits))
        gates = [g for g in template.gates if set(g.qubits) <= set(window)]
        kept = [g.angle for g in gates if g.angle is not None]
        place = {angle: i for i, angle in enumerate(kept)}
        inner = tuple(
            dataclasses.replace(
                g,
                qubits=tuple(q - low for q in g.qubits),
                angle=None if g.angle is None else place[g.angle],
            )
            for g in gates
        )
        part = dataclasses.replace(template, n_qubits=len(window), n_angles=len(kept), gates=inner)
        pauli = each(len(window))[qubit - low]
        for sample in range(2):
            angles = job.shared_angles.copy()
            angles[job.data_columns] = job.data_angles[sample]
            alone = MeasuredCircuit(part, (pauli,))
            small = dataclasses.replace(
                job,
                shared_angles=angles[kept],
                data_columns=np.zeros(0, np.int64),
                data_angles=np.zeros((1, 0)),
            )
            expected = StateVector(alone).values(small)[0, 0, 0]
            assert abs(values[sample, 0, qubit] - expected) < 1e-12


def test_bits_depend_on_neither_chunks_nor_neighbours() -> None:
    circuit = measured(layered(6, 2), 6, (*each(6), "XXIIII"))
    table = shifts(circuit)
    several = Displacements(np.array([0, 3]), np.array([1, 20, 33]), np.array([0.3, -0.2, 1.0]))
    rows = Displacements(
        np.concatenate([table.indptr, [table.indptr[-1] + 3]]),
        np.concatenate([table.angles, several.angles]),
        np.concatenate([table.deltas, several.deltas]),
    )
    job = job_for(circuit, rows, n_samples=7)
    engine, rng = contraction(circuit), np.random.default_rng(1)
    whole = engine.values(job)
    for _ in range(25):
        s, d = (sorted(rng.choice(n + 1, 2, replace=False)) for n in (7, len(rows)))
        assert np.array_equal(engine.values(job.part(slice(*s), slice(*d))), whole[slice(*s), slice(*d)])


def test_single_precision_errs_by_its_rounding() -> None:
    """Some hundred operations on numbers of size one, each off by 6e-8 at most; double precision is the reference."""
    circuit = measured(layered(8, 2), 8, each(8))
    job = job_for(circuit, shifts(circuit))
    exact = contraction(circuit).values(job)
    single = contraction(circuit, precision="single").values(job)
    assert single.dtype == np.float64
    error = np.abs(single - exact).max()
    assert 1e-9 < error < 200 * np.finfo(np.float32).eps


# --- Derivatives -----------------------------------------------------------------------------------------------------------------


def test_derivatives_are_those_of_the_adjoint_method() -> None:
    circuit = measured(layered(5, 2, ring), 5, each(5))
    job = dataclasses.replace(
        job_for(circuit, Displacements.none()), jacobian_angles=np.array([0, 3, 7, 11, 20, 30])
    )
    values, jacobian = contraction(circuit).jacobian(job)
    expected_values, expected = StateVector(circuit).jacobian(job)
    np.testing.assert_allclose(values, expected_values, rtol=0, atol=1e-13)
    np.testing.assert_allclose(jacobian, expected, rtol=0, atol=1e-13)
    weights = np.random.default_rng(0).normal(size=values.shape)
    _, weighted = contraction(circuit).jacobian(dataclasses.replace(job, cotangents=weights))
    np.testing.assert_allclose(weighted[:, 0], np.einsum("sm,smk->sk", weights, expected), rtol=0, atol=1e-12)


def test_controlled_rotations_have_derivatives_too() -> None:
    q = cirq.LineQubit.range(3)
    a, b = sympy.symbols("a b")
    drawn = cirq.Circuit(
        cirq.H.on_each(*q), cirq.ControlledGate(cirq.ry(a))(q[0], q[1]), cirq.ISWAP(q[1], q[2]) ** b
    )
    circuit = measured(drawn, 3, ("ZIZ", "IXI", "IIY"))
    job = dataclasses.replace(job_for(circuit, Displacements.none(), 2, 0), jacobian_angles=np.arange(2))
    np.testing.assert_allclose(
        contraction(circuit).jacobian(job)[1], StateVector(circuit).jacobian(job)[1], rtol=0, atol=1e-13
    )


# --- Noise -----------------------------------------------------------------------------------------------------------------------


def noisy_circuit(circuit: cirq.Circuit, noise: NoiseModel) -> cirq.Circuit:
    """Every gate followed by cirq's own channels."""
    operations: list[cirq.Operation] = []
    for operation in circuit.all_operations():
        n = len(operation.qubits)
        rate = noise.one_qubit_depolarizing if n == 1 else noise.two_qubit_depolarizing
        operations.append(operation)
        operations.append(cirq.depolarize(rate * (1 - 4**-n), n_qubits=n)(*operation.qubits))
        for qubit in operation.qubits:
            operations.append(cirq.amplitude_damp(noise.amplitude_damping)(qubit))
            operations.append(cirq.phase_damp(noise.phase_damping)(qubit))
    return cirq.Circuit(operations)


@pytest.mark.parametrize(
    "noise",
    [
        aria_1(),
        NoiseModel("all", 0.02, 0.05, 0.03, 0.04, 0.02, 0.02),
        NoiseModel("uneven readout", 0.01, 0.02, 0.0, 0.0, 0.01, 0.06),
    ],
    ids=lambda noise: noise.name,
)
def test_noise_is_that_of_cirqs_density_matrix(noise) -> None:
    n_qubits, paulis = 3, ("ZII", "IZI", "IIZ", "ZZI", "XIY", "YXZ")
    circuit = measured(layered(n_qubits, 2), n_qubits, paulis)
    program = compile_contraction(circuit, noise)
    job = job_for(circuit, Displacements.none(), n_samples=1, n_data=0)
    resolver = {f"a{k}": float(angle) for k, angle in enumerate(job.shared_angles)}
    qubits = cirq.LineQubit.range(n_qubits)
    state = (
        cirq.DensityMatrixSimulator(dtype=np.complex128)
        .simulate(
            cirq.resolve_parameters(noisy_circuit(circuit.template.circuit(), noise), resolver),
            qubit_order=qubits,
        )
        .final_density_matrix
    )
    letters = {"I": np.eye(2)} | {
        letter: noise.readout_scale * cirq.unitary(gate) + noise.readout_offset * np.eye(2)
        for letter, gate in (("X", cirq.X), ("Y", cirq.Y), ("Z", cirq.Z))
    }
    expected = [np.trace(cirq.kron(*(letters[c] for c in pauli)) @ state).real for pauli in paulis]
    values = ChainContraction(circuit, program).values(job)[0, 0]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


# --- What is made of a circuit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_layers", "largest"), [(1, 1), (2, 4), (3, 16), (4, 64)])
def test_the_cut_of_a_chain_grows_fourfold_a_layer(n_layers, largest) -> None:
    """The last chain of CNOTs becomes part of the strings, each of the others is a bond of four Pauli components."""
    reduced = reduce_circuit(measured(layered(6, n_layers), 6, each(6)))
    assert build_network(reduced, site_order(reduced, 6)).cut.max() == largest


def test_only_the_light_cone_of_the_strings_is_kept() -> None:
    """<Z_0> of two layers sees three qubits of forty, and no last RZ."""
    reduced = reduce_circuit(measured(layered(40, 2), 40, each(40)[:1]))
    assert {q for gate in reduced.gates for q in gate.qubits} == {0, 1}
    assert len(reduced.gates) == 2 + 6 + 1 + 2


def test_a_trailing_clifford_gate_becomes_part_of_the_strings() -> None:
    q = cirq.LineQubit.range(2)
    drawn = cirq.Circuit(
        cirq.ry(sympy.Symbol("a"))(q[0]), cirq.ry(sympy.Symbol("b"))(q[1]), cirq.CNOT(*q), cirq.S(q[0])
    )
    reduced = reduce_circuit(measured(drawn, 2, ("YI", "IZ", "XX")))
    assert len(reduced.gates) == 2
    assert reduced.letters.tolist() == [[1, 1], [3, 3], [2, 0]]
    np.testing.assert_array_equal(reduced.mixing, np.diag([1.0, 1.0, -1.0]))


def test_far_partners_are_put_beside_each_other() -> None:
    """A ladder numbered rail by rail: the natural order has n/2 rungs across a cut, a better one four gates."""
    q = cirq.LineQubit.range(12)
    rungs = [cirq.CZ(q[i], q[i + 6]) for i in range(6)]
    rails = [cirq.CZ(q[i], q[i + 1]) for i in range(11) if i != 5]
    turns = [cirq.ry(sympy.Symbol(f"a{i}"))(q[i % 12]) for i in range(24)]
    drawn = cirq.Circuit(turns[:12], rungs, rails, turns[12:])
    circuit = measured(drawn, 12, each(12))
    reduced = reduce_circuit(circuit)
    assert build_network(reduced, site_order(reduced, 12)).cut.max() <= 4**3
    job = job_for(circuit, shifts(circuit))
    np.testing.assert_allclose(
        contraction(circuit).values(job), StateVector(circuit).values(job), rtol=0, atol=1e-13
    )


def test_pauli_rotations_work_in_place() -> None:
    """With and without damping; a turn about a tilted axis does not."""
    noise = NoiseModel("d", one_qubit_depolarizing=0.1)
    q = cirq.LineQubit(0)
    for gate in (cirq.rx, cirq.ry, cirq.rz):
        for model, scale in ((None, 1.0), (noise, 0.9)):
            reduced = reduce_circuit(
                measured(cirq.Circuit(cirq.H(q), gate(sympy.Symbol("a"))(q)), 1, ("X", "Y", "Z")), model
            )
            turns = [as_turn(step) for step in merge(build_network(reduced, [0]).sites[0].maps[-1:])]
            assert [turn is not None and turn.scale == pytest.approx(scale) for turn in turns] == [True]
    tilted = cirq.PhasedXPowGate(phase_exponent=0.3, exponent=sympy.Symbol("a"))(q)
    reduced = reduce_circuit(measured(cirq.Circuit(cirq.H(q), tilted), 1, ("X", "Y", "Z")))
    assert any(
        as_turn(step) is None for step in merge(build_network(reduced, [0]).sites[0].maps) if step.angle >= 0
    )


def test_what_cannot_be_contracted_is_refused() -> None:
    q = cirq.LineQubit.range(14)
    full = [cirq.CNOT(a, b) for i, a in enumerate(q) for b in q[i + 1 :]]
    with pytest.raises(CapabilityError, match=r"bonds of 2\^\d+"):
        compile_contraction(measured(layered(14, 2, lambda _: full), 14, each(14)))
    three = cirq.Circuit(cirq.H.on_each(*q[:3]), cirq.CCX(*q[:3]) ** 0.5, cirq.H.on_each(*q[:3]))
    with pytest.raises(CapabilityError, match="a gate on 3 qubits"):
        compile_contraction(measured(three, 3, ("ZZZ",)))
    circuit = measured(layered(3, 1), 3, each(3))
    job = dataclasses.replace(job_for(circuit, Displacements.none()), shots=10)
    with pytest.raises(CapabilityError, match="no shots"):
        contraction(circuit).values(job)
    uneven = NoiseModel("uneven", readout_1_to_0=0.1)
    with pytest.raises(CapabilityError, match="unequal readout errors"):
        compile_contraction(measured(layered(8, 1), 8, ("Z" * 8,)), uneven)
