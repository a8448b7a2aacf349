"""Cutting plans into jobs: how many, and that the pieces are the plan."""

from __future__ import annotations

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.models.angle_map import Angles
from orchestrator.planning.batching import cuts_of_at_most, jobs_for, jobs_of_at_most, n_jobs_for
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import EvaluationPlan


def make_plan(n_samples: int, n_angles: int, *, direct: bool = False) -> EvaluationPlan:
    q = cirq.LineQubit(0)
    template, _ = template_from_circuit(
        cirq.Circuit(cirq.rx(sympy.Symbol(f"s{k}"))(q) for k in range(n_angles))
    )
    wanted = np.arange(n_angles)
    angles = Angles(np.zeros(n_angles), np.array([0]), np.arange(float(n_samples))[:, None])
    derivative = DirectDerivative() if direct else ParameterShift().derivative(template, wanted)
    return EvaluationPlan(MeasuredCircuit(template, ("Z",)), angles, wanted, derivative)


def test_number_of_jobs_grows_with_the_work() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        n_workers = int(rng.integers(1, 50))
        overhead, job_seconds = 10 ** rng.uniform(-6, -1), 10 ** rng.uniform(-3, 1)
        work = np.concatenate([[0.0], np.sort(10 ** rng.uniform(-6, 3, 50))])
        counts = [n_jobs_for(c, n_workers, overhead, job_seconds) for c in work]
        assert counts[0] == 1
        assert counts == sorted(counts), "more work, never fewer jobs"
        for seconds, count in zip(work, counts, strict=True):
            assert 1 <= count <= max(n_workers, seconds / job_seconds)
            assert count <= n_workers or count % n_workers == 0, (
                "beyond one each, a whole number for every worker"
            )


def test_number_of_jobs_is_the_best_one() -> None:
    """With j jobs in parallel a step takes c / j + o · j; no other j <= n_workers does it more than 6 % faster."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        n_workers, overhead = int(rng.integers(1, 40)), 10 ** rng.uniform(-5, -2)
        seconds = overhead * 10 ** rng.uniform(-1, 4)
        chosen = n_jobs_for(seconds, n_workers, overhead, job_seconds=1e9)
        cost = [seconds / j + overhead * j for j in range(1, n_workers + 1)]
        assert cost[chosen - 1] <= 1.061 * min(
            cost
        )  # rounding sqrt(c/o) = 1.5 to 2 or 1 costs (2 + 9/8) / (1 + 9/4) at worst


def test_no_overhead_known() -> None:
    assert n_jobs_for(1.0, 4, 0.0, 10.0) == 4


@pytest.mark.parametrize("direct", [False, True])
def test_jobs_cover_the_plan_exactly_once(direct: bool) -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        plan = make_plan(int(rng.integers(1, 9)), int(rng.integers(1, 5)), direct=direct)
        n_jobs = int(rng.integers(1, 70))
        jobs = jobs_for(plan, n_jobs)
        n_rows = len(plan.displacements)
        covered = np.zeros((plan.n_samples, n_rows), int)
        for job in jobs:
            rows = slice(job.sample_start, job.sample_start + job.n_samples)
            columns = slice(job.displacement_start, job.displacement_start + job.n_displacements)
            covered[rows, columns] += 1
            np.testing.assert_array_equal(job.data_angles, plan.angles.data[rows])
            whole = plan.displacements.rows(columns.start, columns.stop)
            np.testing.assert_array_equal(job.displacements.indptr, whole.indptr)
            np.testing.assert_array_equal(job.displacements.deltas, whole.deltas)
            assert (job.jacobian_angles is not None) == direct
        assert (covered == 1).all()
        assert len({job.job_id for job in jobs}) == len(jobs)
        assert len(jobs) < 2 * n_jobs
        assert len(jobs) >= min(n_jobs, plan.n_samples if direct else plan.n_samples * n_rows)
        sizes = [job.n_samples * job.n_displacements for job in jobs]
        n_most = -(-plan.n_samples // min(n_jobs, plan.n_samples))
        assert max(job.n_samples for job in jobs) == n_most, "samples are cut evenly"
        assert max(sizes) <= 4 * min(sizes), "no piece is much larger than another"


def test_samples_are_cut_first() -> None:
    assert all(job.n_displacements == 9 for job in jobs_for(make_plan(8, 4), 8))
    assert {job.n_samples for job in jobs_for(make_plan(8, 4), 16)} == {1}


def test_the_last_jobs_are_cut_into_halves_and_quarters_where_there_are_samples_enough() -> None:
    plan = make_plan(96, 2)
    jobs = jobs_for(plan, 12, n_tapered=4)
    assert [job.n_samples for job in jobs] == 8 * [8] + 4 * [4] + 8 * [2]
    assert [job.sample_start for job in jobs] == list(np.cumsum([0] + [job.n_samples for job in jobs])[:-1])
    assert all(job.n_displacements == len(plan.displacements) for job in jobs)
    for n_samples in (49, 97):
        made = jobs_for(make_plan(n_samples, 2), 12, n_tapered=12)
        assert len(made) == 36
        assert sum(job.n_samples for job in made) == n_samples
    assert len(jobs_for(make_plan(47, 2), 12, n_tapered=12)) == 12


def test_one_job_is_the_plan_itself() -> None:
    plan = make_plan(3, 2)
    (job,) = jobs_for(plan, 1)
    assert job.job_id == plan.job().job_id


def test_no_samples_no_jobs() -> None:
    assert jobs_for(make_plan(0, 2), 4) == []


# --- At most so many circuits a job ------------------------------


@pytest.mark.parametrize("n_groups", [1, 2, 3])
def test_jobs_of_at_most_so_many_circuits_cover_the_plan_exactly_once(n_groups: int) -> None:
    rng = np.random.default_rng(4)
    for _ in range(150):
        made = make_plan(int(rng.integers(1, 12)), int(rng.integers(1, 9)))
        circuit = MeasuredCircuit(made.circuit.template, ("Z", "X", "Y")[:n_groups])
        plan = EvaluationPlan(circuit, made.angles, made.wanted, made.derivative, shots=7)
        most = int(rng.integers(1, 120))
        jobs = jobs_of_at_most(plan, most)
        n_rows, n_points = len(plan.displacements), max(most // n_groups, 1)
        covered = np.zeros((plan.n_samples, n_rows), int)
        for job in jobs:
            rows = slice(job.sample_start, job.sample_start + job.n_samples)
            covered[rows, job.displacement_start : job.displacement_start + job.n_displacements] += 1
            np.testing.assert_array_equal(job.data_angles, plan.angles.data[rows])
            assert job.n_samples * job.n_displacements <= n_points
        assert (covered == 1).all()
        assert len({job.job_id for job in jobs}) == len(jobs)
        assert [job.job_id for job in jobs] == [job.job_id for job in jobs_of_at_most(plan, most)]
        shapes = [(s, min(n_points // s, n_rows)) for s in range(1, min(plan.n_samples, n_points) + 1)]
        fewest = min(-(-plan.n_samples // s) * -(-n_rows // rows) for s, rows in shapes)
        assert len(jobs) == fewest, "no grid of pieces of that size has fewer"


def test_whole_samples_stay_together_where_that_takes_no_more_jobs() -> None:
    assert {(j.n_samples, j.n_displacements) for j in jobs_of_at_most(make_plan(32, 48), 97)} == {(1, 97)}
    assert {(j.n_samples, j.n_displacements) for j in jobs_of_at_most(make_plan(8, 4), 18)} == {(2, 9)}


def test_a_plan_that_fits_is_one_job() -> None:
    plan = make_plan(3, 2)
    (job,) = jobs_of_at_most(plan, 15)
    assert job.job_id == plan.job().job_id
    assert jobs_of_at_most(make_plan(0, 2), 4) == []
    with pytest.raises(ValueError, match="nearest valid 1"):
        jobs_of_at_most(plan, 0)


def test_cuts_are_few_and_even() -> None:
    for length in range(60):
        for most in range(1, 30):
            cuts = cuts_of_at_most(length, most)
            sizes = [cut.stop - cut.start for cut in cuts]
            assert [i for cut in cuts for i in range(cut.start, cut.stop)] == list(range(length))
            assert len(cuts) == -(-length // most)
            assert all(0 < size <= most for size in sizes)
            assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("n_samples", "n_angles", "most", "n_jobs"),
    [(5, 8, 5, 5 * 4), (5, 8, 40, 3), (6, 1, 13, 2), (3, 1, 100, 1), (4, 3, 7, 4), (4, 3, 6, 8)],
)
def test_by_sample_few_samples_share_a_job(n_samples: int, n_angles: int, most: int, n_jobs: int) -> None:
    """Rows are 2 K + 1. Several samples are together only where they are whole."""
    plan = make_plan(n_samples, n_angles)
    jobs = jobs_of_at_most(plan, most, by_sample=True)
    covered = np.zeros((n_samples, 2 * n_angles + 1), int)
    for job in jobs:
        rows = slice(job.displacement_start, job.displacement_start + job.n_displacements)
        covered[job.sample_start : job.sample_start + job.n_samples, rows] += 1
        assert job.n_samples * job.n_displacements <= most
        assert job.n_samples == 1 or job.n_displacements == covered.shape[1]
    assert (covered == 1).all()
    assert len(jobs) == n_jobs
