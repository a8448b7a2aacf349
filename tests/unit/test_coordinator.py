"""Coordinator: capability checks before anything is sent, sizing by measured speed, wrong answers refused."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError, ExecutionError, InputError
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.models.angle_map import Angles
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.protocols import Capabilities

TEMPLATE, _ = template_from_circuit(
    cirq.Circuit(cirq.ry(sympy.Symbol("a"))(q) for q in cirq.LineQubit.range(3))
)
CIRCUIT = MeasuredCircuit(TEMPLATE, ("ZZI", "IXX"))
ANGLES = Angles(np.zeros(3), np.array([0]), np.linspace(0, 1, 8)[:, None])
ALL = Capabilities(is_exact=True, has_shots=True, has_jacobian=True, max_qubits=3)
WANTED = np.arange(3)
VALUES = EvaluationPlan(CIRCUIT, ANGLES)
DIRECT = EvaluationPlan(CIRCUIT, ANGLES, WANTED, DirectDerivative())
SHIFTED = EvaluationPlan(CIRCUIT, ANGLES, WANTED, ParameterShift().derivative(TEMPLATE, WANTED))
SAMPLED = replace(SHIFTED, shots=10, noise_keys=noise_keys(1, "t", CIRCUIT))


@pytest.mark.parametrize(
    ("change", "plan", "message"),
    [
        ({"max_qubits": 2}, VALUES, "3 qubits, the backend takes at most 2"),
        ({"is_exact": False}, VALUES, r"set backend\.shots"),
        ({"has_shots": False}, SAMPLED, r"leave backend\.shots out"),
        ({"has_jacobian": False}, DIRECT, "parameter_shift"),
        ({}, replace(DIRECT, shots=10, noise_keys=SAMPLED.noise_keys), "adjoint differentiation is exact"),
    ],
)
def test_what_the_backend_cannot_do_is_refused_before_it_is_sent(
    change: dict[str, Any], plan: EvaluationPlan, message: str, dense: SimpleNamespace
) -> None:
    dispatcher = dense.Dispatcher(dense.Backend())
    coordinator = Coordinator(dispatcher, replace(ALL, **change))
    with pytest.raises(CapabilityError, match=message):
        coordinator.evaluate(plan)
    assert dispatcher.circuits == {}
    assert dispatcher.jobs == []


def test_each_way_of_evaluating_a_circuit_is_checked(dense: SimpleNamespace) -> None:
    coordinator = Coordinator(
        dense.Dispatcher(dense.Backend()), replace(ALL, has_jacobian=False, has_shots=False)
    )
    coordinator.evaluate(SHIFTED)
    for plan in (DIRECT, SAMPLED):
        with pytest.raises(CapabilityError):
            coordinator.evaluate(plan)


def test_what_is_remembered_of_plans_is_bounded(
    monkeypatch: pytest.MonkeyPatch, dense: SimpleNamespace
) -> None:
    monkeypatch.setattr("orchestrator.coordinator._MAX_PACES", 2)
    coordinator = dense.coordinator()
    first = coordinator.evaluate(VALUES).values
    for plan in (DIRECT, VALUES, SHIFTED, SAMPLED):
        coordinator.evaluate(plan)
        assert next(reversed(coordinator._paces)) == plan.kind
        assert len(coordinator._paces) <= 2
    assert coordinator.evaluate(VALUES).values.tobytes() == first.tobytes()


def test_more_workers_and_any_order_give_the_same_bits(dense: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)

    def shuffled(answers: list[Any]) -> list[Any]:
        return [answers[i] for i in rng.permutation(len(answers))]

    for plan in (VALUES, DIRECT, SHIFTED, SAMPLED):
        alone = dense.coordinator().evaluate(plan)
        for n_workers in (2, 3, 40):
            coordinator = dense.coordinator(n_workers=n_workers, shuffle=shuffled)
            first, second = coordinator.evaluate(plan), coordinator.evaluate(plan)
            assert first.n_jobs == 1, "nothing is known of the speed yet"
            assert second.n_jobs >= min(n_workers, 8)
            for found in (first, second):
                for name in ("values", "variances", "jacobian", "jacobian_variances"):
                    left, right = getattr(found, name), getattr(alone, name)
                    assert (left is None and right is None) or left.tobytes() == right.tobytes()


def test_circuit_is_registered_before_every_plan(
    dense: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = dense.Dispatcher(dense.Backend())
    seen: list[str] = []
    register = dispatcher.register
    monkeypatch.setattr(dispatcher, "register", lambda circuit: (seen.append(circuit.key), register(circuit)))
    coordinator = Coordinator(dispatcher, ALL)
    for plan in (VALUES, SHIFTED, DIRECT, VALUES):
        coordinator.evaluate(plan)
    assert seen == [CIRCUIT.key] * 4  # a dispatcher forgets the least recently used of thousands


def test_jobs_are_cut_to_the_time_asked_for(dense: SimpleNamespace) -> None:
    """The dense backend claims 0.1 ms a circuit: 8 samples x 7 displacements are 5.6 ms, so 2.8 jobs of 2 ms."""
    dispatcher = dense.Dispatcher(dense.Backend())
    coordinator = Coordinator(dispatcher, ALL, job_seconds=2e-3)
    coordinator.evaluate(SHIFTED)
    assert coordinator.evaluate(SHIFTED).n_jobs == 2


def test_jobs_hold_no_more_circuits_than_the_backend_takes(dense: SimpleNamespace) -> None:
    """The cut depends on the plan alone: not on the workers, not on what was measured."""
    whole = dense.coordinator().evaluate(SAMPLED)
    seen: list[set[str]] = []
    for n_workers in (1, 7):
        dispatcher = dense.Dispatcher(dense.Backend(), n_workers=n_workers)
        coordinator = Coordinator(dispatcher, replace(ALL, circuits_per_job=10))
        for _ in range(2):
            dispatcher.jobs.clear()
            found = coordinator.evaluate(SAMPLED)
            assert found.jacobian.tobytes() == whole.jacobian.tobytes()
            for job in dispatcher.jobs:
                assert job.n_samples * job.n_displacements * len(CIRCUIT.groups) <= 10
            assert found.n_jobs == len(dispatcher.jobs) > 1
            seen.append({job.job_id for job in dispatcher.jobs})
    assert all(ids == seen[0] for ids in seen)


def test_jobs_in_flight_count_as_workers(dense: SimpleNamespace) -> None:
    dispatcher = dense.Dispatcher(dense.Backend(), n_workers=2)
    coordinator = Coordinator(dispatcher, replace(ALL, jobs_in_flight=4))
    coordinator.evaluate(VALUES)
    assert coordinator.evaluate(VALUES).n_jobs == 8


@pytest.mark.parametrize("change", [{"jobs_in_flight": 0}, {"circuits_per_job": 0}])
def test_a_backend_that_takes_nothing_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(InputError, match="= 0: nearest valid: 1"):
        replace(ALL, **change)


def test_garbage_is_looked_for_less_often_unless_it_was_turned_off(dense: SimpleNamespace) -> None:
    before = gc.get_threshold()
    try:
        for set_to, found in ((700, 10_000), (50_000, 50_000), (0, 0)):
            gc.set_threshold(set_to, 11, 12)
            Coordinator(dense.Dispatcher(dense.Backend()), ALL)
            assert gc.get_threshold() == (found, 11, 12)
    finally:
        gc.set_threshold(*before)


def test_interrupt_is_safe_only_while_jobs_are_out(dense: SimpleNamespace) -> None:
    seen: list[bool] = []
    coordinator = dense.coordinator(
        shuffle=lambda answers: (seen.append(coordinator.is_evaluating), answers)[1]
    )
    coordinator.evaluate(VALUES)
    assert seen == [True]
    assert not coordinator.is_evaluating


def test_interrupt_or_failure_leaves_the_coordinator_usable(dense: SimpleNamespace) -> None:
    failures = iter([KeyboardInterrupt(), ExecutionError("no"), None])

    def fail(answers: list[Any]) -> Sequence[Any]:
        if error := next(failures):
            raise error
        return answers

    coordinator = dense.coordinator(shuffle=fail)
    for kind in (KeyboardInterrupt, ExecutionError):
        with pytest.raises(kind):
            coordinator.evaluate(VALUES)
        assert not coordinator.is_evaluating
    assert coordinator.evaluate(VALUES).n_circuits == 8


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda answers: [replace(answers[0], job_id="x" * 32)], "which was not sent"),
        (lambda answers: [replace(answers[0], values=answers[0].values[:, :, :1])], "values is"),
        (lambda answers: [replace(answers[0], values=answers[0].values * np.nan)], "not finite"),
        (lambda answers: [answers[0], answers[0]], "the jobs cover 16 of the plan's 8"),
        (lambda answers: [], "the jobs cover 0 of the plan's 8"),
    ],
)
def test_wrong_answers_are_refused(spoil: Any, message: str, dense: SimpleNamespace) -> None:
    with pytest.raises(ExecutionError, match=message):
        dense.coordinator(shuffle=spoil).evaluate(VALUES)
