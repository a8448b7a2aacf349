"""Error mitigation part by part: weights, folded circuits, angles, inverted readout; and how the configuration leads to them."""

from __future__ import annotations

import itertools
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.backends.ideal import IdealBackend
from actors.backends.ionq import IonQBackend
from actors.ionq.templates import gate_counts
from actors.mitigation.angles import AngleCopies, keys_for
from actors.mitigation.backend import Mitigated
from actors.mitigation.calibration import calibration_job
from actors.mitigation.expansion import expand
from actors.mitigation.extrapolation import weights
from actors.mitigation.readout import FlipRates, Inversion, with_substrings
from actors.mitigation.settings import Mitigation
from orchestrator.circuits.folding import fold
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.jobs import Displacements, Job
from pipelines.compose import build_backend, on_backend
from pipelines.doctor.command import examine
from pipelines.report import summary
from pipelines.run_setup import prepare_run
from pipelines.trainer import Trainer


def template_of(random_circuit: Any, seed: int, n_qubits: int = 3) -> CircuitTemplate:
    rng = np.random.default_rng([70, seed])
    symbols = (sympy.Symbol(f"x{i}") for i in range(100))
    circuit = random_circuit(rng, n_qubits, 8, lambda: next(symbols))
    return template_from_circuit(circuit, cirq.LineQubit.range(n_qubits))[0]


class TestWeights:
    @pytest.mark.parametrize("scales", [(1, 3), (1, 3, 5), (1, 1.5, 2, 3.5)])
    def test_moments_that_vanish(self, scales) -> None:
        """What is exact: a straight line for least squares, a polynomial of degree n - 1 for Richardson."""
        x = np.array(scales, float)
        for extrapolation, degree in (("linear", 1), ("richardson", len(scales) - 1)):
            found = weights(scales, extrapolation)
            np.testing.assert_allclose(found.sum(), 1, rtol=0, atol=1e-12)
            for power in range(1, degree + 1):
                np.testing.assert_allclose((found * x**power).sum(), 0, atol=1e-11 * x[-1] ** power)

    def test_the_known_ones(self) -> None:
        np.testing.assert_allclose(weights((1, 3), "linear"), [1.5, -0.5])
        np.testing.assert_allclose(weights((1, 3, 5), "richardson"), [15 / 8, -5 / 4, 3 / 8])
        np.testing.assert_allclose(weights((1, 3, 5), "linear"), [13 / 12, 1 / 3, -5 / 12])


class TestFolding:
    @pytest.mark.parametrize("folding", ["two_qubit", "all"])
    def test_folded_circuits_do_the_same(self, random_circuit, folding) -> None:
        """cirq's unitary of the folded template, its angles from the original ones."""
        qubits = cirq.LineQubit.range(3)
        for seed in range(6):
            template = template_of(random_circuit, seed)
            angles = np.random.default_rng(seed).uniform(-3, 3, template.n_angles)
            for scale in (1.0, 1.7, 3.0, 4.2):
                folded = fold(template, scale, folding)
                found = folded.derived
                values = {f"a{k}": angles[s] * g for k, (s, g) in enumerate(zip(*found[1:], strict=True))}
                unitary = cirq.resolve_parameters(found.template.circuit(), values).unitary(
                    qubit_order=qubits
                )
                original = cirq.resolve_parameters(
                    template.circuit(), {f"a{k}": angle for k, angle in enumerate(angles)}
                ).unitary(qubit_order=qubits)
                cirq.testing.assert_allclose_up_to_global_phase(unitary, original, rtol=0, atol=1e-10)
                large = [len(gate.qubits) > 1 or folding == "all" for gate in template.gates]
                n_more = len(found.template.gates) - len(template.gates)
                assert folded.scale == pytest.approx(1 + n_more / sum(large))
                assert abs(folded.scale - scale) <= 1 / sum(large) + 1e-12

    @pytest.mark.parametrize("gateset", ["qis", "native"])
    def test_nothing_is_cancelled_on_the_way_to_ionq(self, random_circuit, gateset) -> None:
        """Billed gates on two qubits: three times as many at scale 3, where every gate on more is folded once."""
        for seed in range(4):
            template = template_of(random_circuit, seed)
            folded = fold(template, 3.0, "two_qubit").derived.template
            counts = [gate_counts(one, "ZZZ", gateset).n_2q for one in (template, folded)]
            assert counts[1] == 3 * counts[0] > 0

    def test_gates_on_one_qubit_are_folded_where_there_are_no_others(self) -> None:
        q = cirq.LineQubit(0)
        template, _ = template_from_circuit(cirq.Circuit(cirq.H(q), cirq.rx(sympy.Symbol("x"))(q), cirq.T(q)))
        folded = fold(template, 3.0, "two_qubit")
        assert len(folded.derived.template.gates) == 9
        assert folded.scale == 3
        np.testing.assert_array_equal(folded.derived.source, [0, 0, 0])
        np.testing.assert_array_equal(folded.derived.sign, [1, -1, 1])


def test_jobs_of_folded_circuits_have_the_angles_of_the_original(random_circuit) -> None:
    """Every circuit of the job, expanded by the words of `Job`, against the original's expanded likewise."""
    rng = np.random.default_rng(71)
    template = template_of(random_circuit, 9)
    n_angles = template.n_angles
    folded = fold(template, 3.0, "all").derived
    columns = rng.permutation(n_angles)[: n_angles // 2]
    rows = [rng.permutation(n_angles)[:n] for n in (0, 2, 3, 1)]
    entries = np.concatenate(rows)
    job = Job(
        "original",
        rng.normal(size=n_angles),
        columns,
        rng.normal(size=(3, len(columns))),
        Displacements(np.cumsum([0, *map(len, rows)]), entries, rng.normal(size=len(entries))),
        sample_start=4,
        displacement_start=2,
    )
    found = AngleCopies.of(folded, n_angles).job(job, "folded", keys_for(np.zeros(2, np.uint64), "x"))
    assert (found.circuit_key, found.sample_start, found.displacement_start) == ("folded", 4, 2)

    def angles(of: Job, sample: int, row: int) -> np.ndarray:
        base = of.shared_angles.copy()
        base[of.data_columns] = of.data_angles[sample]
        one = of.displacements.rows(row, row + 1)
        assert len(set(one.angles.tolist())) == len(one.angles)
        base[one.angles] += one.deltas
        return base

    for s, d in np.ndindex(3, 4):
        np.testing.assert_array_equal(angles(found, s, d), angles(job, s, d)[folded.source] * folded.sign)


def confused(probabilities: np.ndarray, zero: np.ndarray, one: np.ndarray) -> np.ndarray:
    """What is read: float64 [2**n] from the outcomes' probabilities, each qubit flipped by itself."""
    matrix = np.ones((1, 1))
    for e0, e1 in zip(zero, one, strict=True):
        matrix = np.kron(matrix, [[1 - e0, e1], [e0, 1 - e1]])
    return matrix @ probabilities


def signs_of(pauli: str) -> np.ndarray:
    signs = np.ones(1)
    for letter in pauli:
        signs = np.kron(signs, [1, 1] if letter == "I" else [1, -1])
    return signs


class TestReadout:
    STRINGS = ("ZZZ", "IZI", "ZIZ", "III")

    def setup_method(self) -> None:
        rng = np.random.default_rng(72)
        qubits = cirq.LineQubit.range(3)
        template, _ = template_from_circuit(cirq.Circuit(cirq.X.on_each(*qubits)))
        self.circuit = MeasuredCircuit(template, self.STRINGS)
        self.wide = with_substrings(self.circuit)
        self.zero, self.one = rng.uniform(0, 0.2, 3), rng.uniform(0, 0.2, 3)
        self.truth = rng.dirichlet(np.ones(8))
        self.read = confused(self.truth, self.zero, self.one)
        rates = FlipRates.from_values(1 - 2 * self.zero, 2 * self.one - 1)
        self.inversion = Inversion(self.circuit, rates)

    def test_values_against_the_confusion_matrix(self) -> None:
        assert self.wide.paulis[:4] == self.STRINGS
        assert set(self.wide.paulis) == set(map("".join, itertools.product("IZ", repeat=3)))
        wide = np.array([signs_of(pauli) @ self.read for pauli in self.wide.paulis])
        expected = [signs_of(pauli) @ self.truth for pauli in self.STRINGS]
        np.testing.assert_allclose(self.inversion.values(wide), expected, rtol=0, atol=1e-14)

    def test_variances_against_the_confusion_matrix(self) -> None:
        """The variance of one shot of the estimator that the inverse confusion matrix gives, outcome by outcome."""
        inverse = np.linalg.inv(np.stack([confused(row, self.zero, self.one) for row in np.eye(8)], axis=1))
        wide = np.array([signs_of(pauli) @ self.read for pauli in self.wide.paulis])
        found = self.inversion.variances(wide, 11)
        for m, pauli in enumerate(self.STRINGS):
            outcome = signs_of(pauli) @ inverse
            variance = self.read @ outcome**2 - (self.read @ outcome) ** 2
            np.testing.assert_allclose(found[m], variance / 10, rtol=1e-12, atol=1e-15)

    def test_derivatives_and_weights_are_carried_along(self) -> None:
        rng = np.random.default_rng(73)
        change, cotangents = rng.normal(size=(2, len(self.wide.paulis))), rng.normal(size=(2, 4))
        found = self.inversion.derivatives(change)
        difference = self.inversion.values(change) - self.inversion.values(0 * change)
        np.testing.assert_allclose(found, difference, rtol=0, atol=1e-14)
        pulled = self.inversion.pulled_back(cotangents)
        np.testing.assert_allclose(
            (pulled * change).sum(axis=1), (cotangents * found).sum(axis=1), atol=1e-13
        )

    def test_strings_of_several_groups_take_no_further_group(self) -> None:
        strings = ("ZIZ", "XZI", "YYX", "IXX")
        circuit = MeasuredCircuit(self.circuit.template, strings)
        wide = with_substrings(circuit)
        assert len(wide.groups) == len(circuit.groups)
        for before, after in zip(circuit.groups, wide.groups, strict=True):
            assert all(b in ("I", a) for a, b in zip(after.basis, before.basis, strict=True))
            assert set(before.members) <= set(after.members)


def test_calibrations_of_equal_runs_are_the_same_job() -> None:
    assert calibration_job(3, 100, 7).job_id == calibration_job(3, 100, 7).job_id
    others = [calibration_job(4, 100, 7), calibration_job(3, 101, 7), calibration_job(3, 100, 8)]
    assert len({calibration_job(3, 100, 7).job_id, *(job.job_id for job in others)}) == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise_scales": (1.0,)}, r"two points.*'\[1, 3\]'"),
        ({"noise_scales": (3.0, 5.0)}, r"the first scale is 1"),
        ({"noise_scales": (1.0, 3.0, 3.0)}, r"larger than the one before.*\[1\.0, 3\.0\]"),
        ({"noise_scales": (1.0, 5.0, 3.0)}, r"larger than the one before.*\[1\.0, 3\.0, 5\.0\]"),
        ({"noise_scales": (1.0, float("nan"))}, r"backend\.noise_scales"),
        ({"noise_scales": (1.0, 99.0)}, r"at most 25"),
        ({"extrapolation": "linaer"}, r"did you mean 'linear'"),
        ({"noise_folding": "al"}, r"did you mean 'all'"),
        ({"calibration_shots": 1}, r"two shots.*'2'"),
    ],
)
def test_settings_that_are_refused(settings, words) -> None:
    with pytest.raises(ConfigError, match=words):
        Mitigation(**settings)


def config_of(*overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides(
        [
            "data.name=iris", "data.n_components=2", "data.max_samples=20", "model.n_qubits=2", "model.n_layers=1", "loss.name=mse",
            "model.observables=['Z0*Z1 + 0.5*X0']", "run.epochs=1", "run.batch_size=6", "fleet.dispatcher=serial",
            "tracking.enabled=false", "backend.name=noisy", "backend.shots=50", *overrides,
        ]
    )  # fmt: skip


class TestConfiguration:
    def test_the_backend_is_wrapped_where_something_is_asked_for(self) -> None:
        assert not isinstance(build_backend(config_of()), Mitigated)
        config = config_of("backend.noise_scales=[1, 3]", "run.seed=5", "backend.extrapolation=richardson")
        found = build_backend(config)
        assert isinstance(found, Mitigated)
        assert (found.name, found.seed) == ("noisy", 5)
        assert found.mitigation == Mitigation((1.0, 3.0), "richardson")
        assert on_backend(config, "cirq").backend.noise_scales == (1.0, 3.0)
        assert build_backend(config_of("backend.readout_mitigation=true")).capabilities.has_jacobian

    @pytest.mark.parametrize(
        ("overrides", "words"),
        [
            (["backend.extrapolation=richardson"], r"extrapolation.*without backend\.noise_scales"),
            (["backend.noise_folding=all"], r"noise_folding.*without backend\.noise_scales"),
            (["backend.calibration_shots=9"], r"calibration_shots.*without backend\.readout_mitigation"),
            (["backend.noise_scales=[2, 3]"], r"the first scale is 1"),
        ],
    )
    def test_settings_that_do_nothing_are_refused(self, overrides, words) -> None:
        with pytest.raises(ConfigError, match=words):
            build_backend(config_of(*overrides))

    def test_several_targets_have_no_noise_in_common(self) -> None:
        config = config_of(
            "backend.name=ionq", "backend.noise=none", "backend.targets=['qpu.aria-1', 'qpu.forte-1']",
            "backend.noise_scales=[1, 3]",
        )  # fmt: skip
        with pytest.raises(ConfigError, match="one machine"):
            build_backend(config)

    def test_calibration_shots_that_a_target_refuses(self) -> None:
        inner = IonQBackend(target="qpu.aria-1", host="http://127.0.0.1:1")
        backend = Mitigated(inner, Mitigation(readout=True, calibration_shots=100))
        with pytest.raises(ConfigError, match=r"backend\.calibration_shots = 100.*500"):
            backend.preflight(600)
        Mitigated(IdealBackend(), Mitigation(readout=True)).preflight(600)

    def test_a_training_takes_the_circuits_that_were_predicted(self, tmp_path) -> None:
        mitigated = ["backend.noise_scales=[1, 3, 5]", "backend.readout_mitigation=true"]
        config = config_of(f"run.directory='{tmp_path}'", *mitigated)
        run = prepare_run(config)
        about = summary(run)
        assert about["circuits"] == 3 * summary(prepare_run(config_of()))["circuits"] + 2
        (rule,) = [row for row in examine(run, measure=False)["work"] if row["is_configured"]]
        assert rule["step"]["circuits"] == about["circuits_per_step"]
        assert rule["run"]["circuits"] == about["circuits"]
        result = Trainer(config, progress=False).fit()
        assert result.totals.n_circuits == about["circuits"]


def test_the_first_of_several_circuits_is_the_circuit_itself(random_circuit) -> None:
    measured = MeasuredCircuit(template_of(random_circuit, 3), ("ZZI", "IXY"))
    parts = expand(measured, Mitigation((1.0, 3.0)))
    assert [part.circuit.key == measured.key for part in parts] == [True, False]
    assert [len(part.circuit.groups) for part in parts] == [2, 2]
