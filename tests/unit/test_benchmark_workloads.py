"""The engine's workloads: sizes as published, jobs as the planner makes them, circuits as cirq builds them, and a check that can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cirq
import numpy as np
import pytest

from orchestrator.errors import ConfigError
from pipelines.benchmark import reference
from pipelines.benchmark.cases import Case, build
from pipelines.benchmark.peers.cirq import Peer, operations
from pipelines.benchmark.peers.problem import Problem, z_signs
from pipelines.benchmark.workloads import WORKLOADS, Workload, select

TINY = Workload("tiny", n_qubits=3, n_layers=2, n_samples=2)


def exact(problem: Problem) -> np.ndarray:
    """Values [S, D, M] by cirq in double precision, circuit by circuit."""
    return np.array(
        [[reference.expectations(problem, x, theta) for theta in problem.params] for x in problem.features]
    )


# --- What is published ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n_qubits", "n_layers", "per_sample", "n_samples"),
    [
        ("W1", 8, 2, 97, 32),
        ("W2", 4, 2, 49, 32),
        ("W3", 8, 4, 193, 32),
        ("W4", 12, 2, 145, 8),
        ("W4-first", 12, 2, 145, 8),
        ("W4-full", 12, 2, 145, 8),
        ("W5", 16, 2, 193, 2),
        ("W5-first", 16, 2, 193, 2),
        ("W5-full", 16, 2, 193, 2),
        ("W6", 8, 2, 1, 32),
        ("W6-256", 8, 2, 1, 256),
        ("W7", 8, 2, 97, 32),
        ("W40", 40, 2, 481, 4),
        ("noisy", 8, 2, 97, 32),
    ],
)
def test_sizes(name: str, n_qubits: int, n_layers: int, per_sample: int, n_samples: int) -> None:
    w = WORKLOADS[name]
    assert (w.n_qubits, w.n_layers, w.n_samples) == (n_qubits, n_layers, n_samples)
    assert w.circuits_per_sample == per_sample
    assert w.n_circuits == per_sample * n_samples


def test_variants_differ_as_their_names_say() -> None:
    assert {n for n, w in WORKLOADS.items() if w.observables == "first"} == {"W4-first", "W5-first"}
    assert {n for n, w in WORKLOADS.items() if w.entanglement == "full"} == {"W4-full", "W5-full"}
    assert {n: w.shots for n, w in WORKLOADS.items() if w.shots} == {"W7": 1024}
    assert {n for n, w in WORKLOADS.items() if w.unit == "sample"} == {"W6", "W6-256"}
    assert {n: w.noise for n, w in WORKLOADS.items() if w.noise} == {"noisy": "aria-1"}


def test_every_workload_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [name for name in WORKLOADS if f"`{name}`" not in page] == []


def test_selection() -> None:
    assert [w.name for w in select(["W7", "W2", "W7"])] == ["W2", "W7"]
    assert [w.name for w in select(["all"])] == list(WORKLOADS)
    assert select([]) == []
    with pytest.raises(
        ConfigError, match=r"--workload = 'W4-fist': known: all, W1.*did you mean 'W4-first'\?"
    ):
        select(["W1", "W4-fist"])


# --- What actors and peers get -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["values", "samples", "gradient"])
def case(request: pytest.FixtureRequest) -> Case:
    return build(replace(TINY, task=request.param, shots=64 if request.param == "samples" else None))


def test_jobs_are_the_planners(case: Case) -> None:
    job, workload = case.job, case.workload
    assert job.circuit_key == case.circuit.key
    assert job.n_samples * job.n_displacements == workload.n_circuits
    assert job.shots == workload.shots
    if workload.task == "gradient":
        assert job.jacobian_angles is not None
        assert len(job.jacobian_angles) == workload.n_params
        assert job.cotangents is not None
        assert np.array_equal(job.cotangents, case.weights)
        return
    rows = job.displacements
    assert len(rows) == 1 + 2 * workload.n_params
    assert np.diff(rows.indptr).tolist() == [0] + [1] * (2 * workload.n_params)
    np.testing.assert_allclose(np.abs(rows.deltas), np.pi / 2)
    assert np.unique(rows.angles, return_counts=True)[1].tolist() == [2] * workload.n_params
    assert len(job.noise_keys) == (1 if workload.shots else 0)


def test_the_template_is_the_published_circuit(case: Case) -> None:
    """Angles of the job in our template, against the circuit built gate by gate from features and parameters."""
    problem = case.problem(np.zeros((2, 18)))
    qubits = cirq.LineQubit.range(3)
    rng = np.random.default_rng(0)
    for s, d in zip(rng.integers(2, size=5), rng.integers(case.job.n_displacements, size=5), strict=True):
        angles = case.job.shared_angles.copy()
        angles[case.job.data_columns] = case.job.data_angles[s]
        row = slice(*case.job.displacements.indptr[d : d + 2])
        angles[case.job.displacements.angles[row]] += case.job.displacements.deltas[row]
        ours = cirq.resolve_parameters(
            case.model.template.circuit(), {f"a{k}": a for k, a in enumerate(angles)}
        )
        published = cirq.Circuit(operations(problem, problem.features[s], problem.params[d]))
        np.testing.assert_allclose(
            ours.unitary(qubit_order=qubits), published.unitary(qubit_order=qubits), atol=1e-14
        )


def test_problems_survive_the_disk(case: Case, tmp_path: Path) -> None:
    problem = case.problem(np.arange(36.0).reshape(2, 18))
    problem.save(tmp_path / "p.npz")
    loaded = Problem.load(tmp_path / "p.npz")
    assert (loaded.workload, loaded.task, loaded.n_qubits, loaded.shots) == (
        "tiny", case.workload.task, 3, case.workload.shots or 0,
    )  # fmt: skip
    assert np.array_equal(loaded.params, problem.params)
    assert loaded.observed.tolist() == [0, 1, 2]
    assert loaded.pairs.tolist() == [[0, 1], [1, 2]]


def test_precision_or_noise_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"backend\.precision"):
        build(TINY, "half")
    with pytest.raises(ConfigError, match="backend"):
        build(replace(TINY, noise="aria-9"))


# --- The check -----------------------------------------------------------------------------------------------------------------


def test_the_check_accepts_what_is_right_and_finds_what_is_wrong() -> None:
    case = build(TINY)
    right = exact(case.problem(np.zeros(0)))
    assert reference.check(case.problem(right))["max_abs_error"] == 0.0
    found = reference.check(case.problem(right + 1e-7))
    assert found["max_abs_error"] == pytest.approx(1e-7, rel=1e-6)
    assert found["values_checked"] == 24 * 3


def test_the_check_of_shots_counts_standard_errors() -> None:
    case = build(replace(TINY, task="samples", shots=100))
    right = exact(case.problem(np.zeros(0)))
    off = right + 4 * np.sqrt((1 - right**2) / 100)
    assert reference.check(case.problem(off))["max_standard_errors"] == pytest.approx(4)


def test_the_check_of_gradients_knows_their_sign() -> None:
    case = build(replace(TINY, task="gradient"))
    problem = case.problem(np.zeros((2, 18)))
    h = 1e-5
    numeric = np.empty((2, 2, 3, 3))
    for s, *place in np.ndindex(2, 2, 3, 3):
        ends = []
        for step in (h, -h):
            theta = problem.params[0].copy()
            theta[tuple(place)] += step
            ends.append(problem.weights[s] @ reference.expectations(problem, problem.features[s], theta))
        numeric[(s, *place)] = (ends[0] - ends[1]) / (2 * h)
    assert (
        reference.check(case.problem(numeric))["max_abs_error"] < 1e-8
    )  # of order h**2, and rounding over h
    assert reference.check(case.problem(-numeric))["max_abs_error"] > 0.1


def test_light_cones_keep_the_value_and_drop_gates() -> None:
    problem = build(Workload("chain", n_qubits=7, n_layers=2, n_samples=1)).problem(np.zeros(0))
    gates = operations(problem, problem.features[0], problem.params[3])
    qubits = cirq.LineQubit.range(7)
    whole = reference.expectations(problem, problem.features[0], problem.params[3])
    for i in range(7):
        kept, cone = reference.light_cone(gates, qubits[i])
        values = Peer(problem, np.complex128)
        state = cirq.Simulator(dtype=np.complex128).simulate(cirq.Circuit(kept), qubit_order=cone)
        value = np.abs(state.final_state_vector) ** 2 @ z_signs(len(cone), np.array([cone.index(qubits[i])]))
        assert value[0] == pytest.approx(whole[i], abs=1e-14)
        assert len(cone) == min(
            i + 3, 7
        )  # two layers of a chain spread by one qubit each, and down to the first
        assert (len(kept) < len(gates)) == (i < 5)
        assert values.values(problem.features, problem.params[3:4])[0, 0, i] == pytest.approx(
            whole[i], abs=1e-14
        )


def test_large_circuits_are_checked_where_cirq_can() -> None:
    case = build(replace(WORKLOADS["W40"], n_samples=1))
    problem = case.problem(np.zeros(0))
    values = reference.expectations(problem, problem.features[0], problem.params[0])
    known = np.isfinite(values)
    assert known.tolist() == [i + 3 <= reference.MAX_CONE for i in range(40)]
    assert 0 < np.abs(values[known]).max() <= 1


def test_noise_of_the_reference_is_the_published_channel() -> None:
    r1, r2 = 0.02, 0.08
    problem = replace(build(TINY).problem(np.zeros(0)), noise=np.array([r1, r2]))
    gates = operations(problem, problem.features[0], problem.params[0])
    kinds: dict[int, list[cirq.Operation]] = {1: [], 2: []}
    for gate in gates:
        if not cirq.has_unitary(gate):
            kinds[len(gate.qubits)].append(gate)
    assert {k: len(found) for k, found in kinds.items()} == {1: 3 + 2 * 9, 2: 2 * 2}
    for k, rate in ((1, r1), (2, r2)):
        weights = [np.trace(m.conj().T @ m).real / 2**k for m in cirq.kraus(kinds[k][0])]
        expected = [1 - (4**k - 1) * rate / 4**k] + [rate / 4**k] * (4**k - 1)
        np.testing.assert_allclose(weights, expected, atol=1e-12)
    noisy = Peer(problem, np.complex128).values(problem.features[:1], problem.params[:1])
    clean = Peer(replace(problem, noise=np.zeros(0)), np.complex128).values(
        problem.features[:1], problem.params[:1]
    )
    assert np.abs(noisy - clean).max() > 1e-3
