"""Error mitigation around simulated backends, against hand-folded cirq circuits, noiseless values, and the scatter of many draws."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import dataclass, replace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.backends.ideal import IdealBackend
from actors.backends.noisy import NoisyBackend
from actors.mitigation.backend import Mitigated
from actors.mitigation.calibration import calibration_job
from actors.mitigation.readout import FlipRates, Inversion, with_substrings
from actors.mitigation.settings import Mitigation
from actors.noise.model import NoiseModel
from actors.serial import SerialDispatcher
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.preparation import preparation_circuit
from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError, CircuitError, ExecutionError
from orchestrator.jobs import Displacements, Job, JobResult, check_result
from orchestrator.protocols import Backend, Capabilities, Session
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.reports import Samples
from pipelines.compose import build_backend
from pipelines.run_setup import prepare_run

NOISE = NoiseModel("all", 0.004, 0.03, 0.01, 0.02, 0.03, 0.06)
READOUT_ONLY = NoiseModel("readout", readout_0_to_1=0.03, readout_1_to_0=0.08)
BOTH = Mitigation((1, 3, 5), "linear", readout=True, calibration_shots=1000)


def run(backend: Backend, circuit: MeasuredCircuit, *jobs: Job) -> list[JobResult]:
    session = pickle.loads(pickle.dumps(backend)).open_session()
    compiled = session.compile(circuit)
    return [check_result(job, session.run(compiled, job), len(circuit.paulis)) for job in jobs]


def folded_by_hand(circuit: MeasuredCircuit, angles: np.ndarray, k: int) -> MeasuredCircuit:
    """Every gate on more than one qubit followed k times by its inverse and itself, at these angles."""
    names = {f"a{i}": angle for i, angle in enumerate(angles)}
    resolved = cirq.resolve_parameters(circuit.template.circuit(), names)
    operations = [[op, *([op**-1, op] * k if len(op.qubits) > 1 else [])] for op in resolved.all_operations()]
    template, _ = template_from_circuit(
        cirq.Circuit(operations), cirq.LineQubit.range(circuit.template.n_qubits)
    )
    return MeasuredCircuit(template, circuit.paulis)


@pytest.mark.parametrize(("extrapolation", "degree"), [("linear", 1), ("richardson", 2)])
def test_extrapolated_values_are_those_of_cirqs_folded_circuits(make, extrapolation, degree) -> None:
    rng = np.random.default_rng(80)
    backend = Mitigated(NoisyBackend(NOISE), Mitigation((1, 3, 5), extrapolation))
    for n_qubits in (2, 3):
        circuit = make.measured(rng, n_qubits, n_gates=8, max_gate_qubits=2)
        job = make.job(rng, circuit, n_samples=2, n_rows=2)
        (found,) = run(backend, circuit, job)
        for s, d in np.ndindex(2, 2):
            angles = make.angles_of(job, s, d)
            scaled = [
                make.noisy_values(folded_by_hand(circuit, angles, k), np.empty(0), NOISE) for k in range(3)
            ]
            expected = np.polyfit([1, 3, 5], scaled, degree)[-1]
            np.testing.assert_allclose(found.values[s, d], expected, rtol=0, atol=1e-10)
        assert found.variances is None
        assert (found.n_circuits, found.n_shots) == (12, 0)


@pytest.mark.parametrize("scales", [(1.0, 3.0), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("folding", ["two_qubit", "all"])
def test_without_noise_nothing_changes(make, scales, folding) -> None:
    rng = np.random.default_rng(81)
    backend = Mitigated(IdealBackend(), Mitigation(scales, "richardson", folding, readout=True))
    for n_qubits in (1, 2, 4):
        circuit = make.measured(rng, n_qubits)
        job = make.job(rng, circuit)
        (found,) = run(backend, circuit, job)
        np.testing.assert_allclose(found.values, make.reference(circuit, job), rtol=0, atol=1e-11)


def test_the_error_left_is_of_the_order_of_the_number_of_scales(make) -> None:
    """Depolarising of a gate's own qubits commutes with the gate, so values depend on rate x scale alone, smoothly: n scales leave an error
    of order rate**n, which falls by 2**n where the rate is halved, up to the next order."""
    rng = np.random.default_rng(82)
    circuit = MeasuredCircuit(
        make.measured(rng, 3, n_gates=14, max_gate_qubits=2).template, ("ZII", "IXY", "ZZZ")
    )
    job = make.job(rng, circuit, n_samples=1, n_rows=1)
    truth = make.reference(circuit, job)
    worst = np.full(truth.shape, np.inf)
    for scales in ((), (1, 3), (1, 3, 5)):
        errors = []
        for rate in (0.001, 0.0005):
            backend: Backend = NoisyBackend(NoiseModel("gates", two_qubit_depolarizing=rate))
            if scales:
                backend = Mitigated(backend, Mitigation(scales, "richardson"))
            errors.append(run(backend, circuit, job)[0].values - truth)
        order = max(len(scales), 1)
        np.testing.assert_allclose(errors[0] / errors[1], 2.0**order, rtol=0.06)
        assert (np.abs(errors[0]) < 0.1 * worst).all()
        worst = np.abs(errors[0])


def test_readout_errors_are_undone_exactly(make) -> None:
    rng = np.random.default_rng(83)
    backend = Mitigated(NoisyBackend(READOUT_ONLY), Mitigation(readout=True))
    for n_qubits, letters in itertools.product((1, 2, 4), ("IZ", "IXYZ")):
        circuit = make.measured(rng, n_qubits, letters=letters, max_gate_qubits=2)
        job = make.job(rng, circuit)
        (found,) = run(backend, circuit, job)
        np.testing.assert_allclose(found.values, make.reference(circuit, job), rtol=0, atol=1e-10)
        assert found.n_circuits == 12 + 2  # the two that calibrate


def test_derivatives_are_freed_of_readout_errors_too(make) -> None:
    rng = np.random.default_rng(84)
    circuit = make.measured(rng, 3, max_gate_qubits=2)
    job = replace(
        make.job(rng, circuit),
        displacements=Displacements.none(),
        jacobian_angles=np.arange(circuit.template.n_angles),
    )
    pulled = replace(job, cotangents=rng.normal(size=(3, len(circuit.paulis))))
    backend = Mitigated(NoisyBackend(READOUT_ONLY), Mitigation(readout=True))
    for found, expected in zip(
        run(backend, circuit, job, pulled), run(IdealBackend(), circuit, job, pulled), strict=True
    ):
        np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.jacobian, expected.jacobian, rtol=0, atol=1e-10)
    assert not Mitigated(IdealBackend(), BOTH).capabilities.has_jacobian


N_DRAWS, SHOTS = 2000, 60


def drawn(make: Any, mitigation: Mitigation) -> tuple[MeasuredCircuit, Job, JobResult]:
    """One circuit, `N_DRAWS` times."""
    rng = np.random.default_rng(85)
    template = make.measured(rng, 3, n_gates=10, max_gate_qubits=2).template
    circuit = MeasuredCircuit(template, ("ZII", "ZZI", "ZZZ", "IXY", "XIZ", "III"))
    one = make.job(rng, circuit, n_samples=1, n_rows=1, shots=SHOTS)
    job = replace(one, data_angles=np.repeat(one.data_angles, N_DRAWS, axis=0))
    return circuit, job, run(Mitigated(NoisyBackend(NOISE), mitigation, seed=3), circuit, job)[0]


@pytest.mark.parametrize(
    "mitigation",
    [Mitigation((1, 3, 5), "richardson"), Mitigation(readout=True), BOTH],
    ids=["extrapolated", "readout", "both"],
)
def test_the_variances_are_those_of_many_draws(make, mitigation) -> None:
    """2,000 draws show a variance to sqrt(2 / 2000) = 3 %. The string of I has none."""
    circuit, job, found = drawn(make, mitigation)
    values, variances = found.values[:, 0], found.variances[:, 0]
    np.testing.assert_allclose(values[:, -1], 1, rtol=0, atol=1e-14)
    assert (variances[:, -1] == 0).all()
    empirical, predicted = values[:, :-1].var(axis=0, ddof=1), variances[:, :-1].mean(axis=0)
    np.testing.assert_allclose(predicted, empirical, rtol=0.15)
    # The mean is that of exact values, freed of the readout errors that this seed's calibration has found.
    exact_job = replace(job, shots=None, data_angles=job.data_angles[:1], noise_keys=np.zeros(0, np.uint64))
    if mitigation.readout:
        prepared = preparation_circuit(3)
        (read,) = run(NoisyBackend(NOISE), prepared, calibration_job(3, mitigation.calibration_shots, seed=3))
        inversion = Inversion(circuit, FlipRates.from_values(*read.values[0]))
        wide = with_substrings(circuit)
        plain = Mitigation(mitigation.noise_scales, mitigation.extrapolation)
        inner = Mitigated(NoisyBackend(NOISE), plain) if plain.is_on else NoisyBackend(NOISE)
        (exact,) = run(inner, wide, replace(exact_job, circuit_key=wide.key))
        expected = inversion.values(exact.values)[0, 0]
    else:
        (exact,) = run(Mitigated(NoisyBackend(NOISE), mitigation), circuit, exact_job)
        expected = exact.values[0, 0]
    z = (values[:, :-1].mean(axis=0) - expected[:-1]) / np.sqrt(empirical / N_DRAWS)
    assert np.abs(z).max() < 4
    n_parts, n_groups = mitigation.circuits_per_point, len(circuit.groups)
    n_calibration = 2 if mitigation.readout else 0
    assert found.n_circuits == N_DRAWS * n_parts * n_groups + n_calibration
    assert (
        found.n_shots == N_DRAWS * n_parts * n_groups * SHOTS + n_calibration * mitigation.calibration_shots
    )


def test_extrapolation_costs_the_sum_of_squared_weights_in_variance(make) -> None:
    """At a state whose values are 0 with and without noise, every circuit has the variance 1 / shots."""
    angle = sympy.Symbol("t")
    qubits = cirq.LineQubit.range(2)
    template, _ = template_from_circuit(cirq.Circuit(cirq.rx(angle)(qubits[0]), cirq.CZ(*qubits)), qubits)
    circuit = MeasuredCircuit(template, ("XI",))
    job = Job(
        circuit.key, np.zeros(1), np.zeros(0, np.int64), np.zeros((4, 0)), Displacements.none(), shots=10**5,
        noise_keys=np.array([7], np.uint64),
    )  # fmt: skip
    for extrapolation, factor in (("linear", 210 / 144), ("richardson", 334 / 64)):
        inner = NoisyBackend(NoiseModel("gates", two_qubit_depolarizing=0.1))
        found = run(Mitigated(inner, Mitigation((1, 3, 5), extrapolation)), circuit, job)[0]
        np.testing.assert_allclose(found.variances * 10**5, factor, rtol=1e-3)


def test_one_shot_is_given_a_variance_that_is_no_less(make) -> None:
    rng = np.random.default_rng(86)
    circuit = make.measured(rng, 2, max_gate_qubits=2)
    (found,) = run(Mitigated(NoisyBackend(NOISE), BOTH), circuit, make.job(rng, circuit, shots=1))
    letters = np.array([set(pauli) != {"I"} for pauli in circuit.paulis])
    assert (found.variances[..., letters] >= 1).all()


@dataclass(frozen=True)
class Concurrent:
    """A backend said to have several jobs in flight, whose session the simulators' stateless ones can be."""

    inner: Backend
    name: str = "concurrent"

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, jobs_in_flight=3)

    def open_session(self) -> Session:
        return self.inner.open_session()


def test_bits_depend_neither_on_the_cut_nor_on_the_session(make) -> None:
    rng = np.random.default_rng(87)
    circuit = make.measured(rng, 3, max_gate_qubits=2)
    job = make.job(rng, circuit, n_samples=4, n_rows=5, shots=33)
    backend = Mitigated(NoisyBackend(NOISE), BOTH, seed=5)
    (whole,) = run(backend, circuit, job)
    cuts = itertools.product((slice(0, 1), slice(1, 4)), (slice(0, 2), slice(2, 3), slice(3, 5)))
    dispatcher = SerialDispatcher(Mitigated(Concurrent(NoisyBackend(NOISE)), BOTH, seed=5))
    dispatcher.register(circuit)
    parts = {(s.start, d.start): job.part(s, d) for s, d in cuts}
    at = {part.job_id: place for place, part in parts.items()}
    results = list(dispatcher.run(list(parts.values())))
    dispatcher.close()
    for result in results:
        s, d = at[result.job_id]
        rows = slice(s, s + result.values.shape[0]), slice(d, d + result.values.shape[1])
        assert np.array_equal(result.values, whole.values[rows])
        assert np.array_equal(result.variances, whole.variances[rows])
    assert sum(result.n_circuits for result in results) == whole.n_circuits  # calibrated once
    other = run(Mitigated(NoisyBackend(NOISE), BOTH, seed=6), circuit, job)[0]
    assert not np.array_equal(other.values, whole.values)


class FailsOnce:
    """A session of the simulators whose third job fails: the first after the calibration and the circuit as it is."""

    def __init__(self, inner: Session) -> None:
        self.inner, self.n_jobs = inner, 0

    def compile(self, circuit: MeasuredCircuit) -> Any:
        return self.inner.compile(circuit)

    def run(self, compiled: Any, job: Job) -> JobResult:
        self.n_jobs += 1
        if self.n_jobs == 3:
            raise ExecutionError("a passing failure")
        return self.inner.run(compiled, job)

    def close(self) -> None:
        self.inner.close()


@dataclass(frozen=True)
class Failing(Concurrent):
    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def open_session(self) -> Session:
        return FailsOnce(self.inner.open_session())


def test_a_calibration_before_a_failure_is_counted_after_it(make) -> None:
    rng = np.random.default_rng(90)
    circuit = make.measured(rng, 2, max_gate_qubits=2)
    job = make.job(rng, circuit, shots=20)
    dispatcher = SerialDispatcher(Mitigated(Failing(NoisyBackend(NOISE)), BOTH))
    dispatcher.register(circuit)
    (found,) = dispatcher.run([job])
    (calm,) = run(Mitigated(NoisyBackend(NOISE), BOTH), circuit, job)
    assert dispatcher.stats().jobs_retried == 1
    assert (found.n_circuits, found.n_shots) == (calm.n_circuits, calm.n_shots)
    assert np.array_equal(found.values, calm.values)


def test_scaled_circuits_draw_shots_of_their_own(make) -> None:
    """The scatter of one scale says nothing of another's: without noise all three have the same distribution, and must differ."""
    rng = np.random.default_rng(88)
    circuit = make.measured(rng, 3, max_gate_qubits=2)
    job = make.job(rng, circuit, shots=200)
    raw = run(IdealBackend(), circuit, job)[0].values
    found = run(Mitigated(IdealBackend(), Mitigation((1, 3, 5))), circuit, job)[0].values
    uncertain = np.abs(raw) < 0.9
    assert (found[uncertain] != raw[uncertain]).mean() > 0.9


def test_refusals_say_what_to_change(make) -> None:
    qubits = cirq.LineQubit.range(9)
    template, _ = template_from_circuit(cirq.Circuit(cirq.H(qubits[0]), cirq.CZ(*qubits[:2])), qubits)
    session = Mitigated(IdealBackend(), Mitigation(readout=True)).open_session()
    with pytest.raises(CapabilityError, match=r"9 qubits.*at most 8 qubits"):
        session.compile(MeasuredCircuit(template, ("Z" * 9,)))
    with pytest.raises(CircuitError, match=r"1\.0, 1\.0, 3\.0.*nearest valid: \[1\.0, 3\.0, 5\.0\]"):
        Mitigated(IdealBackend(), Mitigation((1, 1.5, 3))).open_session().compile(
            MeasuredCircuit(template, ("Z" + "I" * 8,))
        )
    blind = Mitigated(NoisyBackend(NoiseModel("blind", readout_0_to_1=0.5, readout_1_to_0=0.48)), BOTH)
    circuit = make.measured(np.random.default_rng(89), 2, max_gate_qubits=2)
    job = make.job(np.random.default_rng(89), circuit)
    with pytest.raises(ExecutionError, match=r"qubit 0 .*contrast 0\.0"):
        run(blind, circuit, job)


def test_the_noise_of_gradients_is_predicted() -> None:
    """Steps of the same parameters differ by their shots alone. Predicted is the variance of plain means times the sum of squared weights,
    which takes the damping under scaled noise for small, and at these rates is some 10 % less; 300 steps show it to 5 %."""
    config = TrainingConfig().with_overrides(
        [
            "data.name=iris", "data.n_components=2", "data.max_samples=12", "model.n_qubits=2", "model.n_layers=1", "loss.name=mse",
            "model.observables=['Z0*Z1 + 0.5*X0']", "model.head=none", "model.initial_scale=1.0", "backend.name=noisy",
            "backend.noise=forte-1", "backend.shots=300", "backend.noise_scales=[1, 3, 5]", "backend.extrapolation=richardson",
            "gradient.rule=parameter_shift",
        ]
    )  # fmt: skip
    task = prepare_run(config).task
    backend = build_backend(config)
    coordinator = Coordinator(SerialDispatcher(backend), backend.capabilities)
    params = task.model.initial_params(4)
    batch = Samples(task.train.features[:2], task.train.targets[:2])
    found = [batch_gradient(task, params, batch, coordinator, step=step) for step in range(300)]
    empirical = np.var([one.gradient for one in found], axis=0, ddof=1).sum()
    predicted = np.mean([one.variance for one in found], axis=0).sum()
    assert predicted == pytest.approx(empirical, rel=0.25)
