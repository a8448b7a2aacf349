"""EvaluationPlan: any cut into jobs and any order of answers gives the same bits; gaps and repeats are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ExecutionError
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.jobs import Job, JobResult
from orchestrator.models.angle_map import Angles
from orchestrator.planning.batching import jobs_for
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan

A, B, C = sympy.symbols("a b c")
Q = cirq.LineQubit.range(2)
TEMPLATE, _ = template_from_circuit(
    cirq.Circuit(cirq.ry(A)(Q[0]), cirq.rx(B).controlled()(Q[0], Q[1]), cirq.rz(C)(Q[1]), cirq.ISWAP(*Q) ** A)
)
CIRCUIT = MeasuredCircuit(TEMPLATE, ("ZI", "XZ", "IY"))
N_SAMPLES = 5
ANGLES = Angles(
    np.array([0.3, -1.1, 0.0, 0.7]), np.array([0, 2]), np.random.default_rng(1).uniform(-3, 3, (N_SAMPLES, 2))
)
WANTED = np.array([0, 1, 3])
DIRECT = EvaluationPlan(CIRCUIT, ANGLES, WANTED, DirectDerivative())
SHIFTED = EvaluationPlan(CIRCUIT, ANGLES, WANTED, ParameterShift().derivative(TEMPLATE, WANTED))
SAMPLED = replace(SHIFTED, shots=20, step=3, noise_keys=noise_keys(7, "train", CIRCUIT))
VALUES = EvaluationPlan(CIRCUIT, ANGLES)
PLANS = {"direct": DIRECT, "shifted": SHIFTED, "sampled": SAMPLED, "values only": VALUES}
ARRAYS = ("values", "variances", "jacobian", "jacobian_variances")

Answers = list[tuple[Job, JobResult]]


@pytest.fixture(scope="module")
def answer(dense: SimpleNamespace) -> Callable[[list[Job]], Answers]:
    session = dense.Backend()
    return lambda jobs: [(job, session.run(CIRCUIT, job)) for job in jobs]


def assert_same_bits(one: Evaluation, other: Evaluation) -> None:
    for name in ARRAYS:
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.shape == right.shape
            assert left.tobytes() == right.tobytes(), name


@pytest.mark.parametrize("name", PLANS)
def test_any_cut_in_any_order_gives_the_same_bits(name: str, answer: Callable[[list[Job]], Answers]) -> None:
    plan = PLANS[name]
    whole = plan.assemble(answer([plan.job()]))
    rng = np.random.default_rng(2)
    for n_jobs in (1, 2, 3, 4, 5, 7, 12, 40, 100):
        answers = answer(jobs_for(plan, n_jobs))
        shuffled = [answers[i] for i in rng.permutation(len(answers))]
        found = plan.assemble(iter(shuffled))
        assert_same_bits(found, whole)
        assert found.n_jobs == len(answers)
        for total in ("n_circuits", "n_shots", "n_cache_hits"):
            assert getattr(found, total) == (
                len(answers) if total == "n_cache_hits" else getattr(whole, total)
            )
        assert found.cost_usd == pytest.approx(whole.cost_usd)
        assert found.compute_seconds == pytest.approx(whole.compute_seconds)


def test_sums_do_not_depend_on_the_order(answer: Callable[[list[Job]], Answers]) -> None:
    """Floating-point sums of costs and times are taken in the plan's order, not in that of arrival."""
    rng = np.random.default_rng(3)
    answers = [
        (job, replace(result, cost_usd=rng.random(), compute_seconds=rng.random()))
        for job, result in answer(jobs_for(SHIFTED, 30))
    ]
    sums = set()
    for _ in range(20):
        found = SHIFTED.assemble([answers[i] for i in rng.permutation(len(answers))])
        sums.add((found.cost_usd, found.compute_seconds))
    assert len(sums) == 1


@pytest.mark.parametrize("name", PLANS)
def test_plan_survives_pickling(name: str, answer: Callable[[list[Job]], Answers]) -> None:
    plan = PLANS[name]
    again = pickle.loads(pickle.dumps(plan))
    assert [job.job_id for job in jobs_for(again, 7)] == [job.job_id for job in jobs_for(plan, 7)]
    assert_same_bits(again.assemble(answer(jobs_for(again, 3))), plan.assemble(answer(jobs_for(plan, 3))))


def test_shapes_and_counts(answer: Callable[[list[Job]], Answers]) -> None:
    evaluations = {name: plan.assemble(answer([plan.job()])) for name, plan in PLANS.items()}
    for name, evaluation in evaluations.items():
        assert evaluation.values.shape == (N_SAMPLES, 3)
        assert (evaluation.variances is not None) == (name == "sampled")
        assert (evaluation.jacobian is not None) == (name != "values only")
        assert (evaluation.jacobian_variances is not None) == (name == "sampled")
        if evaluation.jacobian is not None:
            assert evaluation.jacobian.shape == (N_SAMPLES, 3, 3)
        assert evaluation.n_circuits == PLANS[name].n_circuits
    n_rows = 1 + 2 * (1 + 2 + 2)  # rotation, controlled rotation, ISWAP
    assert SHIFTED.n_circuits == N_SAMPLES * n_rows
    assert SAMPLED.n_circuits == N_SAMPLES * n_rows * 2  # ZY and XZ settle three strings
    assert DIRECT.n_circuits == VALUES.n_circuits == N_SAMPLES
    np.testing.assert_allclose(evaluations["shifted"].jacobian, evaluations["direct"].jacobian, atol=1e-12)
    assert evaluations["shifted"].values.tobytes() == evaluations["values only"].values.tobytes()


def test_missing_or_repeated_answer_is_refused(answer: Callable[[list[Job]], Answers]) -> None:
    for plan in PLANS.values():
        answers = answer(jobs_for(plan, 12))
        for i in range(len(answers)):
            without = answers[:i] + answers[i + 1 :]
            for wrong in (without, [*answers, answers[i]], [*without, without[0]], []):
                with pytest.raises(ExecutionError, match="the jobs cover"):
                    plan.assemble(wrong)


def test_empty_plan(answer: Callable[[list[Job]], Answers]) -> None:
    plan = EvaluationPlan(CIRCUIT, ANGLES._replace(data=ANGLES.data[:0]))
    evaluation = plan.assemble(answer(jobs_for(plan, 4)))
    assert evaluation.values.shape == (0, 3)
    assert evaluation.n_circuits == 0


def test_noise_keys_tell_everything_apart() -> None:
    other = MeasuredCircuit(TEMPLATE, ("ZI", "XZ"))

    def keys(seed: int = 7, purpose: str = "train", circuit: Any = CIRCUIT) -> list[int]:
        found = noise_keys(seed, purpose, circuit)
        assert found.dtype == np.uint64
        assert len(found) == len(circuit.groups)
        return found.tolist()

    assert keys() == keys()
    everything = [*keys(), *keys(seed=8), *keys(purpose="val"), *keys(seed=71, purpose="rain")]
    assert len(set(everything)) == len(everything)
    assert keys(circuit=other)[1] == keys()[1], "a setting's noise does not depend on what else is measured"


def test_sampled_noise_depends_on_the_step(answer: Callable[[list[Job]], Answers]) -> None:
    later = replace(SAMPLED, step=4)
    assert (
        later.assemble(answer([later.job()])).values != SAMPLED.assemble(answer([SAMPLED.job()])).values
    ).any()
