"""What every registered backend must do, in exact values, shots, derivatives and refusals, as far as its capabilities claim it."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.noise.model import NoiseModel
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError, CircuitError
from orchestrator.jobs import Displacements, Job, JobResult, check_result
from orchestrator.protocols import Backend
from orchestrator.registry import BACKENDS, resolve

Run = Callable[[MeasuredCircuit, Job], JobResult]


NOISELESS = NoiseModel("noiseless")
# A backend with options: what it must be to agree with the noiseless references here. (With noise: test_noisy_backend.py.)
WITH_OPTIONS: dict[str, dict[str, Any]] = {
    "noisy": {"noise": NOISELESS},
    "noisy by density_matrix": {"noise": NOISELESS, "method": "density_matrix"},
    "noisy by trajectories": {"noise": NOISELESS, "method": "trajectories"},
    "recorded": {"then": "ideal"},  # of an empty record: that of a run is in tests/unit/test_recorded.py
}


OF_ONES_OWN = os.environ.get("QFLEET_BACKENDS", "").split()
"""``module:Backend`` names to be tested as well, see docs/how-to/own-backend.md."""


@pytest.fixture(scope="module", params=sorted({*BACKENDS, *WITH_OPTIONS, *OF_ONES_OWN}))
def backend(request: pytest.FixtureRequest, empty_record: str) -> Backend:
    name, options = request.param.partition(" ")[0], WITH_OPTIONS.get(request.param, {})
    if name == "torch":
        pytest.importorskip("torch")
    return resolve("backend", name)(**options | ({"record": empty_record} if name == "recorded" else {}))


@pytest.fixture(scope="module")
def run(backend: Backend) -> Run:
    session = pickle.loads(pickle.dumps(backend)).open_session()
    compiled: dict[str, Any] = {}

    def run(circuit: MeasuredCircuit, job: Job) -> JobResult:
        if circuit.key not in compiled:
            compiled[circuit.key] = session.compile(circuit)
        return check_result(job, session.run(compiled[circuit.key], job), len(circuit.paulis))

    return run


@pytest.fixture
def exact(backend: Backend) -> None:
    if not backend.capabilities.is_exact:
        pytest.skip("no exact values")


@pytest.fixture
def shots(backend: Backend) -> None:
    if not backend.capabilities.has_shots:
        pytest.skip("no shots")


@pytest.fixture
def jacobian(backend: Backend) -> None:
    if not backend.capabilities.has_jacobian:
        pytest.skip("no direct derivatives")


def parts(rng: np.random.Generator, job: Job) -> list[tuple[slice, slice]]:
    """A random partition of the job into rectangles."""

    def cuts(n: int) -> list[slice]:
        at = [0, *sorted(rng.permutation(np.arange(1, n))[: rng.integers(n)].tolist()), n]
        return [slice(a, b) for a, b in itertools.pairwise(at)]

    return [(s, d) for s in cuts(job.n_samples) for d in cuts(job.n_displacements)]


@pytest.mark.usefixtures("exact")
class TestExact:
    @pytest.mark.parametrize("n_qubits", range(1, 7))
    @pytest.mark.parametrize("letters", ["IZ", "IXYZ"])
    def test_values_are_those_of_dense_linear_algebra(self, run, make, n_qubits, letters) -> None:
        rng = np.random.default_rng([n_qubits, len(letters)])
        for _ in range(4):
            circuit = make.measured(rng, n_qubits, letters=letters)
            job = make.job(rng, circuit)
            result = run(circuit, job)
            np.testing.assert_allclose(result.values, make.reference(circuit, job), rtol=0, atol=1e-12)
            assert result.variances is None
            assert (result.n_circuits, result.n_shots, result.cost_usd) == (12, 0, 0.0)

    def test_the_string_of_identities_is_one(self, run, make) -> None:
        rng = np.random.default_rng(1)
        circuit = MeasuredCircuit(make.measured(rng, 3).template, ("III", "ZII", "XYZ"))
        job = make.job(rng, circuit)
        np.testing.assert_allclose(run(circuit, job).values, make.reference(circuit, job), rtol=0, atol=1e-12)

    def test_a_circuit_without_angles_and_with_an_idle_qubit(self, run, make) -> None:
        q = cirq.LineQubit.range(3)
        template, _ = template_from_circuit(cirq.Circuit(cirq.H(q[0]), cirq.CNOT(q[0], q[2])), q)
        circuit = MeasuredCircuit(template, ("XIX", "YIY", "ZIZ", "IZI"))
        job = make.job(np.random.default_rng(0), circuit, n_rows=1)
        np.testing.assert_allclose(run(circuit, job).values, np.array([[[1, -1, 1, 1]]] * 3), atol=1e-12)

    def test_bits_do_not_depend_on_the_chunking(self, run, make) -> None:
        rng = np.random.default_rng(5)
        for n_qubits in (2, 5):
            circuit = make.measured(rng, n_qubits)
            job = make.job(rng, circuit, n_samples=5, n_rows=6)
            whole = run(circuit, job).values
            for _ in range(4):
                for s, d in parts(rng, job):
                    assert np.array_equal(run(circuit, job.part(s, d)).values, whole[s, d])


@pytest.mark.usefixtures("shots")
class TestShots:
    def test_estimates_scatter_as_predicted(self, run, make) -> None:
        """z-scores of many estimates: none beyond 5, their sum of squares a chi-square, the reported variances right on average."""
        rng = np.random.default_rng(11)
        z, ratios = [], []
        for _ in range(6):
            circuit = make.measured(rng, 3)
            job = make.job(rng, circuit, n_samples=4, n_rows=4, shots=400)
            result, exact = run(circuit, job), make.reference(circuit, job)
            variance = (1 - exact**2) / 400
            assert result.variances is not None
            sharp = variance < 1e-6
            np.testing.assert_allclose(result.values[sharp], exact[sharp], atol=1e-3)
            z.append(((result.values - exact) / np.sqrt(np.maximum(variance, 1e-6)))[~sharp])
            ratios.append((result.variances / np.maximum(variance, 1e-6))[exact**2 < 0.9])
        scores = np.concatenate(z)
        assert np.abs(scores).max() < 5
        # Strings of one group share shots, so scores are correlated: the bound is a wide one.
        assert abs((scores**2).mean() - 1) < 8 * np.sqrt(2 / len(scores))
        assert abs(np.concatenate(ratios).mean() - 1) < 0.02

    def test_means_variances_and_covariances_over_repeated_draws(self, run, make) -> None:
        """Of a GHZ-like state, drawn 4000 times: commuting strings must keep their joint distribution."""
        q = cirq.LineQubit.range(2)
        template, _ = template_from_circuit(
            cirq.Circuit(cirq.ry(1.1)(q[0]), cirq.CNOT(q[0], q[1]), cirq.ry(0.4)(q[1]))
        )
        circuit = MeasuredCircuit(template, ("ZI", "IZ", "ZZ"))
        assert len(circuit.groups) == 1
        draws, n_shots = 4000, 20
        job = replace(make.job(np.random.default_rng(3), circuit, n_samples=draws, n_rows=1), shots=n_shots)
        result = run(circuit, job)
        exact = make.dense_values(circuit, np.zeros(0))
        products = np.array([[1, exact[2], exact[1]], [exact[2], 1, exact[0]], [exact[1], exact[0], 1]])
        covariance = (products - np.outer(exact, exact)) / n_shots
        values = result.values[:, 0]
        error = np.sqrt(np.diag(covariance) / draws)
        assert np.all(np.abs(values.mean(axis=0) - exact) < 5 * error)
        spread = 5 * np.sqrt(2 / draws) * np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        assert np.all(np.abs(np.cov(values.T) - covariance) < spread)
        assert result.variances is not None
        np.testing.assert_allclose(result.variances.mean(axis=(0, 1)), np.diag(covariance), rtol=0.05)

    def test_bits_do_not_depend_on_the_chunking(self, run, make) -> None:
        rng = np.random.default_rng(6)
        for n_qubits in (1, 4):
            circuit = make.measured(rng, n_qubits)
            job = make.job(rng, circuit, n_samples=5, n_rows=6, shots=33)
            whole = run(circuit, job)
            assert np.array_equal(run(circuit, job).values, whole.values)
            for s, d in parts(rng, job):
                part = run(circuit, job.part(s, d))
                assert np.array_equal(part.values, whole.values[s, d])
                assert np.array_equal(part.variances, whole.variances[s, d])

    @pytest.mark.parametrize("change", ["step", "sample_start", "displacement_start", "noise_keys"])
    def test_noise_depends_on_the_place_in_the_run(self, run, make, change) -> None:
        rng = np.random.default_rng(7)
        q = cirq.LineQubit(0)
        template, _ = template_from_circuit(cirq.Circuit(cirq.H(q)))
        circuit = MeasuredCircuit(template, ("Z",))
        job = make.job(rng, circuit, n_samples=1, n_rows=1, shots=1000)
        other = replace(
            job, **{change: getattr(job, change) + (np.uint64(1) if change == "noise_keys" else 1)}
        )
        assert run(circuit, job).values != run(circuit, other).values

    def test_one_shot_is_finite_and_groups_are_circuits(self, run, make) -> None:
        rng = np.random.default_rng(8)
        circuit = MeasuredCircuit(make.measured(rng, 2).template, ("ZZ", "XI", "II"))
        job = make.job(rng, circuit, n_samples=2, n_rows=3, shots=1)
        result = run(circuit, job)
        assert set(np.unique(result.values)) <= {-1.0, 1.0}
        assert np.array_equal(result.variances, np.broadcast_to([1.0, 1.0, 0.0], (2, 3, 3)))
        assert np.all(result.values[..., 2] == 1)
        assert (result.n_circuits, result.n_shots) == (
            2 * 3 * len(circuit.groups),
            2 * 3 * len(circuit.groups),
        )


@pytest.mark.usefixtures("jacobian")
class TestJacobian:
    def job(self, make, rng: np.random.Generator, circuit: MeasuredCircuit) -> Job:
        n_angles = circuit.template.n_angles
        wanted = rng.permutation(n_angles)[: int(rng.integers(1, n_angles + 1))]
        return replace(make.job(rng, circuit), displacements=Displacements.none(), jacobian_angles=wanted)

    @pytest.mark.parametrize("n_qubits", range(1, 6))
    def test_agrees_with_central_differences(self, run, make, n_qubits) -> None:
        """Of dense values with steps h and 2h: the error left is about h^4 f^(5) / 30, with rounding 1e-16 / h."""
        rng = np.random.default_rng(20 + n_qubits)
        step = 1e-3
        for letters in ("IZ", "IXYZ"):
            circuit = make.measured(rng, n_qubits, letters=letters)
            job = self.job(make, rng, circuit)
            result = run(circuit, job)
            for sample in range(job.n_samples):
                angles = make.angles_of(job, sample, 0)
                for place, k in enumerate(job.jacobian_angles):
                    unit = np.eye(len(angles))[k]
                    f = {m: make.dense_values(circuit, angles + m * step * unit) for m in (-2, -1, 1, 2)}
                    difference = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * step)
                    np.testing.assert_allclose(
                        result.jacobian[sample, :, place], difference, rtol=0, atol=1e-10
                    )

    def test_agrees_with_parameter_shift(self, run, make) -> None:
        """For rotations (one frequency): (f(a + pi/2) - f(a - pi/2)) / 2, from the same backend."""
        rng = np.random.default_rng(30)
        q = cirq.LineQubit.range(4)
        names = [cirq.rx, cirq.ry, cirq.rz]

        symbols = iter(sympy.symbols("t0:36"))
        layers = [
            [
                *(gate(next(symbols))(qubit) for qubit in q for gate in names),
                *(cirq.CNOT(a, b) for a, b in itertools.pairwise(q)),
            ]
            for _ in range(3)
        ]
        template, _ = template_from_circuit(cirq.Circuit(layers))
        circuit = MeasuredCircuit(template, ("ZIII", "IZZI", "XYIZ"))
        every = np.arange(template.n_angles)
        base = replace(make.job(rng, circuit, n_samples=5), displacements=Displacements.none(), shots=None)
        shifts = Displacements.single(np.repeat(every, 2), np.tile([np.pi / 2, -np.pi / 2], len(every)))
        values = run(circuit, replace(base, displacements=shifts)).values[:, 1:]
        expected = (values[:, 0::2] - values[:, 1::2]).transpose(0, 2, 1) / 2
        result = run(circuit, replace(base, jacobian_angles=every))
        np.testing.assert_allclose(result.jacobian, expected, rtol=0, atol=1e-10)
        assert result.n_circuits == 5

    def test_bits_do_not_depend_on_the_chunking(self, run, make) -> None:
        rng = np.random.default_rng(9)
        circuit = make.measured(rng, 4)
        job = self.job(make, rng, circuit)
        whole = run(circuit, job)
        assert np.array_equal(whole.values, run(circuit, replace(job, jacobian_angles=None)).values)
        for sample in range(job.n_samples):
            part = run(circuit, job.part(slice(sample, sample + 1), slice(0, 1)))
            assert np.array_equal(part.values, whole.values[[sample]])
            assert np.array_equal(part.jacobian, whole.jacobian[[sample]])

    @pytest.mark.parametrize("n_qubits", range(1, 6))
    def test_cotangents_contract_the_jacobian(self, run, make, n_qubits) -> None:
        """The same numbers up to rounding, some 100 operations with weights of order 1; each sample's bits on its own."""
        rng = np.random.default_rng(50 + n_qubits)
        circuit = make.measured(rng, n_qubits)
        job = self.job(make, rng, circuit)
        weights = rng.normal(size=(job.n_samples, len(circuit.paulis)))
        every = run(circuit, job)
        whole = run(circuit, replace(job, cotangents=weights))
        expected = np.einsum("sm,smk->sk", weights, every.jacobian)[:, None, :]
        assert np.array_equal(whole.values, every.values)
        assert whole.n_circuits == job.n_samples
        np.testing.assert_allclose(whole.jacobian, expected, rtol=0, atol=1e-12)
        for sample in range(job.n_samples):
            part = run(circuit, replace(job, cotangents=weights).part(slice(sample, sample + 1), slice(0, 1)))
            assert np.array_equal(part.jacobian, whole.jacobian[[sample]])


class TestRefusals:
    @pytest.fixture
    def circuit(self, make) -> MeasuredCircuit:
        return make.measured(np.random.default_rng(40), 2)

    def test_what_the_backend_lacks(self, backend, run, make, circuit) -> None:
        job = replace(make.job(np.random.default_rng(0), circuit, n_rows=1), shots=None)
        wanted = replace(job, jacobian_angles=np.array([0]))
        if not backend.capabilities.has_jacobian:
            with pytest.raises(CapabilityError, match="derivative"):
                run(circuit, wanted if backend.capabilities.is_exact else replace(wanted, shots=10))
        else:
            with pytest.raises(CapabilityError, match="exact"):
                run(circuit, replace(wanted, shots=10))
            moved = Displacements.single(np.array([0]), np.array([0.1]))
            with pytest.raises(CapabilityError, match="undisplaced"):
                run(circuit, replace(wanted, displacements=moved))
        if not backend.capabilities.is_exact:
            with pytest.raises(CapabilityError, match="shots"):
                run(circuit, job)
        if not backend.capabilities.has_shots:
            with pytest.raises(CapabilityError, match="shots"):
                run(circuit, replace(job, shots=10))

    def test_too_many_qubits(self, backend) -> None:
        n_qubits = backend.capabilities.max_qubits + 1
        template, _ = template_from_circuit(cirq.Circuit(cirq.X.on_each(*cirq.LineQubit.range(n_qubits))))
        with pytest.raises(CapabilityError, match=str(n_qubits)):
            backend.open_session().compile(MeasuredCircuit(template, ("Z" * n_qubits,)))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"shared_angles": np.zeros(1)}, "shared_angles"),
            ({"data_columns": np.array([0, 0]), "data_angles": np.zeros((3, 2))}, "twice"),
            ({"data_columns": np.array([99]), "data_angles": np.zeros((3, 1))}, "data_columns"),
            ({"data_columns": np.array([0]), "data_angles": np.zeros((3, 2))}, "data_angles"),
            ({"data_columns": np.array([0]), "data_angles": np.full((3, 1), np.nan)}, "finite"),
            ({"displacements": Displacements.single(np.array([99]), np.ones(1))}, "displacements"),
            ({"displacements": Displacements(np.array([0, 2]), np.array([1, 1]), np.ones(2))}, "twice"),
            ({"displacements": Displacements(np.array([0, 2]), np.array([1]), np.ones(1))}, "entries"),
            ({"displacements": Displacements.single(np.array([0]), np.array([np.inf]))}, "finite"),
        ],
    )
    def test_arrays_that_do_not_fit(self, backend, run, make, circuit, change, words) -> None:
        job = make.job(np.random.default_rng(0), circuit)
        if not backend.capabilities.is_exact:
            job = replace(job, shots=5)
        with pytest.raises(CircuitError, match=words):
            run(circuit, replace(job, **change))

    @pytest.mark.usefixtures("shots")
    def test_shots_without_keys_or_count(self, run, make, circuit) -> None:
        job = make.job(np.random.default_rng(0), circuit, shots=5)
        with pytest.raises(CircuitError, match="noise_keys"):
            run(circuit, replace(job, noise_keys=np.zeros(0, np.uint64)))
        with pytest.raises(CapabilityError, match="shots = 0"):
            run(circuit, replace(job, shots=0))
