"""What steps ask for and what plans take: against rules driven with random answers, and against counting by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import GradientConfig
from orchestrator.costs.bill import job_price
from orchestrator.costs.catalogue import Catalogue
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.costs.steps import Demand, demands_of, is_bounded_only, is_known, step_bounds
from orchestrator.costs.work import Bounds, PlanPricer, QuoteSettings, Work, together
from orchestrator.errors import CapabilityError
from orchestrator.gradients.base import Rule, drive
from orchestrator.gradients.problem import GradientProblem
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.models.model import Model
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.registry import GRADIENT_RULES, resolve

P = sympy.symbols("p0:4")
X = sympy.symbols("x0:1")
PRICES = Catalogue.default()


def shared_parameters() -> Model:
    """p0 moves three angles, the others one each: a drawn p0 costs more than another. Two measurement groups."""
    q = cirq.LineQubit.range(2)
    circuit = cirq.Circuit(
        cirq.ry(X[0])(q[0]), cirq.rx(P[0])(q[0]), cirq.rx(P[0])(q[1]), cirq.CNOT(*q), cirq.ry(P[1])(q[0]),
        cirq.rz(P[0])(q[1]), cirq.ry(P[2])(q[1]), cirq.rx(P[3])(q[0]),
    )  # fmt: skip
    return Model.from_circuit(circuit, features=list(X), observables=["Z0 + X0*X1"])


MODEL = shared_parameters()


def problem_of(step: int, n_samples: int, state: Any, shots: int | None = 640) -> GradientProblem:
    rng = np.random.default_rng(n_samples)
    return GradientProblem(
        model=MODEL, loss=MeanSquaredError(), params=MODEL.initial_params(3), features=rng.normal(size=(n_samples, 1)),
        targets=rng.normal(size=n_samples), shots=shots, step=step, seed=11, state=dict(state),
    )  # fmt: skip


def random_answer(plan: EvaluationPlan, rng: np.random.Generator) -> Evaluation:
    blank = plan.blank()
    rows = rng.uniform(-1, 1, blank.rows.shape)
    jacobian = None if blank.jacobian is None else rng.normal(size=blank.jacobian.shape)
    return replace(
        blank,
        values=rows[:, 0],
        variances=None if blank.variances is None else rng.uniform(0, 1e-2, blank.variances.shape),
        rows=rows,
        jacobian=jacobian,
        jacobian_variances=None if jacobian is None else np.abs(jacobian) * 1e-3,
        cost_usd=float(rng.uniform()),
    )


def size(plan: EvaluationPlan) -> tuple[Any, ...]:
    return plan.circuit.key, plan.n_samples, len(plan.displacements), plan.shots


BATCHES = [3, 3, 2] * 4
RULES = [name for name in GRADIENT_RULES if name != "adjoint"]


def answered_at_random(rule: Any, seed: int, shots: int | None = 640) -> list[list[EvaluationPlan]]:
    """The plans of every step of a training whose answers are random, the rule's state carried on."""
    rng = np.random.default_rng(seed)
    state: Any = {}
    steps = []
    for step, n_samples in enumerate(BATCHES):
        plans: list[EvaluationPlan] = []

        def answer(plan: EvaluationPlan, plans: list[EvaluationPlan] = plans) -> Evaluation:
            plans.append(plan)
            return random_answer(plan, rng)

        state = drive(rule.estimate(problem_of(step, n_samples, state, shots)), answer).state
        steps.append(plans)
    return steps


@pytest.mark.parametrize("name", [name for name in RULES if name != "adaptive"])
@pytest.mark.parametrize("shots", [None, 640])
def test_what_is_asked_for_does_not_depend_on_answers(name: str, shots: int | None) -> None:
    gradient = GradientConfig(rule=name, fraction=0.5, coordinates=3)
    rule = resolve("gradient rule", name)(gradient)
    demands = demands_of(rule, gradient, BATCHES, lambda *at: problem_of(*at, shots))
    assert is_known(rule)
    assert not is_bounded_only(rule, gradient)
    for found, plans in zip(demands, answered_at_random(rule, 5, shots), strict=True):
        (demand,) = found
        assert demand.budget is None
        assert list(map(size, demand.plans)) == list(map(size, plans))


def test_draws_of_shared_parameters_cost_what_is_drawn() -> None:
    gradient = GradientConfig(rule="random_coordinate")
    rule = resolve("gradient rule", "random_coordinate")(gradient)
    demands = demands_of(rule, gradient, [3] * 40, problem_of)
    assert {len(found[0].plans[0].displacements) for found in demands} == {3, 7}


def test_adaptive_asks_for_one_of_the_alternatives() -> None:
    gradient = GradientConfig(rule="adaptive", explore_every=3)
    rule = resolve("gradient rule", "adaptive")(gradient)
    assert is_bounded_only(rule, gradient)
    demands = demands_of(rule, gradient, BATCHES, problem_of)
    for seed in range(5):
        for found, plans in zip(demands, answered_at_random(rule, seed), strict=True):
            assert [size(p) for p in plans] in [[size(p) for p in demand.plans] for demand in found]
    assert len(demands[0]) == 9


@pytest.mark.parametrize("allocation", ["uniform", "variance", "gradient"])
@pytest.mark.parametrize("target", ["qpu.aria-1", "braket.aria-1", "simulator"])
def test_a_budget_of_shots_is_bounded(allocation: Any, target: str) -> None:
    gradient = GradientConfig(rule="parameter_shift", shots_per_step=20_000, shot_allocation=allocation)
    rule = resolve("gradient rule", "parameter_shift")(gradient)
    pricer = pricer_on(target, circuits_per_job=7, is_mitigated=False)
    demands = demands_of(rule, gradient, BATCHES, problem_of)
    for seed in range(4):
        for found, plans in zip(demands, answered_at_random(rule, seed), strict=True):
            assert found[0].budget == (None if allocation == "uniform" else 20_000)
            bounds, taken = step_bounds(found, pricer), together(map(pricer.work, plans))
            assert bounds.is_exact == (allocation == "uniform")
            for low, value, high in zip(bounds.low, taken, bounds.high, strict=True):
                assert low <= value <= high


def test_shots_shared_out_may_be_too_few_for_mitigation() -> None:
    rule = resolve("gradient rule", "parameter_shift")
    for allocation, is_refused in (("variance", True), ("uniform", False)):
        gradient = GradientConfig(rule="parameter_shift", shots_per_step=200_000, shot_allocation=allocation)  # type: ignore[arg-type]
        (found,) = demands_of(rule(gradient), gradient, [3], problem_of)
        if is_refused:
            with pytest.raises(CapabilityError, match="shot_allocation = 'uniform'"):
                step_bounds(found, pricer_on("qpu.aria-1"))
        else:
            assert step_bounds(found, pricer_on("qpu.aria-1")).is_exact


class OfMyOwn(Rule):
    """Asks for more in every step."""

    name = "parameter_shift"

    def estimate(self, problem: GradientProblem) -> Any:
        evaluation = None
        for _ in range(problem.step + 1):
            evaluation = yield problem.plan()
        rule = resolve("gradient rule", "spsa")(GradientConfig())
        estimate = yield from rule.estimate(problem)
        assert evaluation is not None
        return estimate


def test_a_rule_of_ones_own_is_followed_step_by_step() -> None:
    assert not is_known(OfMyOwn())
    demands = demands_of(OfMyOwn(), GradientConfig(), [2, 2, 2], problem_of)
    assert [len(found[0].plans) for found in demands] == [2, 3, 4]


# --- Plans ------------------------------


def fake_counts(template: CircuitTemplate, basis: str, gateset: str) -> GateCounts:
    """Another count for every basis and gate set."""
    turned = sum(letter in "XY" for letter in basis)
    return GateCounts(10 + turned, 4 if gateset == "qis" else 3)


def pricer_on(
    target: str,
    circuits_per_job: int = 100,
    is_mitigated: bool = True,
    gateset: Any = "qis",
    shots: int | None = 640,
) -> PlanPricer:
    settings = QuoteSettings(target, gateset, is_mitigated, circuits_per_job, shots)
    return PlanPricer(PRICES.entry(target), settings, fake_counts)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_work_of_a_plan(limit: int, gateset: Any) -> None:
    plan = problem_of(0, 3, {}).plan()
    groups = plan.circuit.groups
    assert len(groups) == 2
    pricer = pricer_on("qpu.aria-1", limit, gateset=gateset)
    work = pricer.work(plan)
    counts = [fake_counts(plan.circuit.template, group.basis, gateset) for group in groups]
    assert pricer.counts(plan.circuit) == tuple(counts)
    assert counts[0] != counts[1]
    assert (work.circuits, work.shots) == (6, 6 * 640)
    assert work.micro == 3 * job_price(
        pricer.entry, counts, 640, True
    )  # the minimum is by circuit: no matter how they are packed
    assert work.jobs == {1: 6, 2: 3, 3: 3, 5: 2, 8: 1, 100: 1}[limit]
    assert pricer.work(plan) is work


def test_what_a_target_does_not_take_is_refused() -> None:
    plan = problem_of(0, 3, {}).plan()
    cases: list[tuple[EvaluationPlan, str, str]] = [
        (replace(plan, shots=None), "qpu.aria-1", "set backend.shots"),
        (replace(plan, shots=10_001), "qpu.aria-1", "at most 10000 shots"),
        (replace(plan, shots=499), "qpu.aria-1", "needs 500 shots"),
        (replace(plan, derivative=DirectDerivative()), "simulator", "does not differentiate"),
    ]
    for refused, target, why in cases:
        with pytest.raises(CapabilityError, match=why):
            pricer_on(target).work(refused)
    assert pricer_on("qpu.aria-1", is_mitigated=False).work(replace(plan, shots=499)).circuits == 6
    small = replace(pricer_on("qpu.aria-1").entry, max_qubits=1)
    with pytest.raises(CapabilityError, match="at most 1 qubits, not 2"):
        replace(pricer_on("qpu.aria-1"), entry=small).work(plan)


def test_bounds_and_work_add_up() -> None:
    one, two = Work(1, 10, 1, 100), Work(2, 5, 1, 300)
    assert one.plus(two) == Work(3, 15, 2, 400) == together([one, two])
    assert two.times(3) == Work(6, 15, 3, 900)
    either = Bounds.exactly(one).or_else(Bounds.exactly(two))
    assert either == Bounds(Work(1, 5, 1, 100), Work(2, 10, 1, 300))
    assert not either.is_exact
    assert either.plus(Bounds.exactly(one)).times(2) == Bounds(Work(4, 30, 4, 400), Work(6, 40, 4, 800))
    assert step_bounds((Demand(()), Demand(())), pricer_on("simulator")) == Bounds()
