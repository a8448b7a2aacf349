"""The adaptive rule: what it estimates is true, what it chooses is worth most, and it says why."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import GradientConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError
from orchestrator.gradients.adaptive import Adaptive
from orchestrator.gradients.base import GradientEstimate, drive, predict
from orchestrator.gradients.choices import Candidate, Knowledge
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.problem import GradientProblem
from orchestrator.models.model import Model
from orchestrator.optimizers.transform import State
from orchestrator.registry import resolve
from pipelines.artifacts import _write_choices

Q = cirq.LineQubit.range(3)


@pytest.fixture(scope="module")
def coordinator() -> Coordinator:
    from actors.serial import SerialDispatcher

    backend = resolve("backend", "ideal")()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


def problem(shots: int | None = 400, **changes: Any) -> GradientProblem:
    """Nine rotations; one output."""
    angles = list(sympy.symbols("a0:9"))
    x = sympy.Symbol("x")
    layers = []
    for layer in range(3):
        layers += [cirq.ry(angles[3 * layer + i] + (x if layer == 0 else 0))(Q[i]) for i in range(3)]
        layers += [cirq.CNOT(Q[0], Q[1]), cirq.CNOT(Q[1], Q[2])]
    model = Model.from_circuit(cirq.Circuit(layers), features=["x"], observables=["Z0*Z2"])
    rng = np.random.default_rng(5)
    found = GradientProblem(
        model=model,
        loss=resolve("loss", "mse")(),
        params=rng.normal(size=model.n_params),
        features=rng.uniform(-1, 1, (4, 1)),
        targets=rng.normal(size=4),
        shots=shots,
        step=0,
        seed=2,
    )
    return replace(found, **changes)


def steps(
    rule: Adaptive, at: GradientProblem, n: int, coordinator: Coordinator, state: State | None = None
) -> list[GradientEstimate]:
    """Of n steps that stay where they are."""
    found: list[GradientEstimate] = []
    for step in range(n):
        now = replace(at, step=step, state=found[-1].state if found else state or {})
        found.append(drive(rule.estimate(now), coordinator.evaluate))
    return found


def known(squared_norm: float, *shot_variance: float) -> Knowledge:
    return Knowledge(squared_norm, np.array(shot_variance), -1.0, np.zeros(len(shot_variance)), np.zeros(5))


# --- What a candidate is worth ------------------------------


@pytest.mark.parametrize(("norm", "variance"), [(1.0, 0.1), (0.5, 2.0), (0.1, 0.3)])
def test_gain_is_the_descent_of_the_best_step(norm: float, variance: float) -> None:
    """On a quadratic of smoothness L, by drawing: the mean descent of the best length is |g|**4 / (2 L (|g|**2 + V))."""
    rng, smooth, n = np.random.default_rng(1), 3.0, 10
    point = np.zeros(n)
    point[0] = norm / smooth  # of the loss L |x|**2 / 2
    noise = rng.normal(size=(200_000, n)) * (variance / n) ** 0.5
    estimates = smooth * point + np.concatenate([noise, -noise])  # the term linear in the noise cancels
    lengths = norm**2 / (norm**2 + variance) / smooth * np.linspace(0.5, 1.5, 11)
    after = [np.mean(np.sum((point - a * estimates) ** 2, axis=1)) for a in lengths]
    descent = smooth / 2 * (point @ point - np.min(after))
    candidate = Candidate(0, 1, 1, 0.0)
    gain = known(norm**2, variance).gains([candidate], overhead=0.0)[0]
    assert np.argmin(after) == 5
    # what is left is the drawn noise's own length, known to sqrt(2 / 2e6) = 0.1 %
    assert descent == pytest.approx(gain / (2 * smooth), rel=0.005)


@pytest.mark.parametrize("squared_norm", [10.0, 1.0, 0.1, 0.01])
def test_shots_grow_as_the_signal_falls(squared_norm: float) -> None:
    """Among powers of two: the one nearest to sqrt(b h) / |g|, which is best for |g|**2 N + b h / N."""
    b, overhead = 50.0, 100.0
    shots = [2**k for k in range(2, 14)]
    candidates = [Candidate(0, n, 7, 0.0) for n in shots]
    best = shots[known(squared_norm, b).best(candidates, overhead)]
    ideal = (b * overhead / squared_norm) ** 0.5
    assert 2**-0.5 <= best / ideal <= 2**0.5


def test_best_has_the_greatest_gain() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        found = known(rng.exponential(), *rng.exponential(size=3))
        candidates = [Candidate(i, n, 10 + i, float(i)) for i in range(3) for n in (10, 100, 1000)]
        assert found.best(candidates, 30.0) == np.argmax(found.gains(candidates, 30.0))


def test_without_a_signal_the_least_noise_for_the_price_is_taken() -> None:
    found = known(-0.1, 5.0, 1.0)
    candidates = [Candidate(0, 100, 10, 0.0), Candidate(1, 100, 10, 8.0)]
    assert found.best(candidates, 0.0) == 1
    np.testing.assert_array_equal(found.gains(candidates, 0.0), 0.0)


def test_prices_are_learned_from_bills() -> None:
    """Of steps that cost 0.3 dollars a circuit and 0.01 a shot."""
    found = known(1.0, 1.0)
    assert not found.is_paid
    for n_circuits, shots in ((10, 100), (10, 1000), (30, 50)):
        used = Candidate(0, shots, n_circuits, 0.0)
        usd = 0.3 * n_circuits + 0.01 * n_circuits * shots
        found = found.after(used, 1.0, 0.1, n_circuits * shots, usd)
    assert found.is_paid
    assert found.price(Candidate(0, 200, 5, 0.0), 1e6) == pytest.approx(0.3 * 5 + 0.01 * 1000, rel=1e-9)


@pytest.mark.parametrize("shots", [100, None])
def test_bills_of_one_kind_are_repeated(shots: int | None) -> None:
    used = Candidate(0, shots, 10, 0.0)
    found = known(1.0, 1.0).after(used, 1.0, 0.1, 10 * (shots or 0), 7.0)
    assert found.price(used, 100.0) == pytest.approx(7.0)
    assert found.price(replace_circuits(used, 20), 100.0) == pytest.approx(14.0)


def replace_circuits(candidate: Candidate, n: int) -> Candidate:
    return candidate._replace(n_circuits=n)


# --- What is learned ------------------------------


def test_estimates_are_true(coordinator: Coordinator) -> None:
    """The squared norm, and the noise of each rule by shots, in the mean of the running estimates over many steps."""
    steady = GradientConfig(explore_every=3, perturbation_decay=0.0)
    at, rule = problem(), Adaptive(steady)
    found = steps(rule, at, 300, coordinator)
    exact = drive(ParameterShift().estimate(replace(at, shots=None)), coordinator.evaluate).gradient
    truth = float(exact @ exact)
    learned = [Knowledge.of(estimate.state, 3) for estimate in found[30:]]
    assert np.mean([k.squared_norm for k in learned]) == pytest.approx(truth, rel=0.1)
    for number, name in enumerate(("parameter_shift", "spsa", "guided_spsa")):
        alone = resolve("gradient rule", name)(steady)
        candidate = [c for c in rule.candidates(at) if c.rule == number][-1]
        draws = np.array(
            [
                drive(
                    alone.estimate(replace(at, shots=candidate.shots, step=10_000 + i)), coordinator.evaluate
                ).gradient
                for i in range(600)
            ]
        )
        empirical = draws.var(axis=0, ddof=1).sum()
        predicted = np.mean([k.variance(candidate) for k in learned])
        # 600 draws know it to 6 %; of guided_spsa it comes from the ratio of two running means, whose noise biases it
        assert predicted == pytest.approx(empirical, rel=0.3 if name == "guided_spsa" else 0.15)


def test_every_rule_is_measured_and_measured_again(coordinator: Coordinator) -> None:
    rule = Adaptive(GradientConfig(explore_every=6))
    found = steps(rule, problem(), 40, coordinator)
    names = [estimate.notes["rule"] for estimate in found]
    assert names[:3] == ["parameter_shift", "spsa", "guided_spsa"]
    for name in set(names):
        places = np.flatnonzero(np.array(names) == name)
        # two others may be due in the same step, and are taken first
        assert np.max(np.diff([*places, len(names)])) <= 6 + 3
    assert "not measured before" in found[0].notes["reason"]
    assert any("to be measured again" in estimate.notes["reason"] for estimate in found)


def test_choice_does_not_depend_on_the_number_of_the_step(coordinator: Coordinator) -> None:
    at, rule = problem(), Adaptive()
    state = steps(rule, at, 8, coordinator)[-1].state
    one, other = (
        drive(rule.estimate(replace(at, state=state, step=step)), coordinator.evaluate) for step in (8, 800)
    )
    assert one.notes == other.notes
    assert one.gradient.tobytes() != other.gradient.tobytes()


def test_a_weak_signal_gets_more_shots(coordinator: Coordinator) -> None:
    """At the same noise, measured; the norm is told."""
    at, rule = problem(), Adaptive(GradientConfig(shot_levels=(4, 16, 64, 256, 1024)))
    state = steps(rule, at, 6, coordinator)[-1].state
    shots = []
    for squared_norm in (3.0, 0.03, 3e-4):
        told = state | {"adaptive/squared_norm": np.array([squared_norm])}
        shots.append(steps(rule, at, 1, coordinator, told)[0].notes["shots"])
    assert shots == sorted(shots)
    assert shots[0] < shots[-1]


@pytest.mark.parametrize("shots", [None, 400])
def test_it_takes_what_is_predicted(shots: int | None, coordinator: Coordinator) -> None:
    at, rule = problem(shots), Adaptive(GradientConfig(explore_every=4))
    state: State = {}
    for step in range(12):
        now = replace(at, step=step, state=state)
        predicted, found = predict(rule, now), drive(rule.estimate(now), coordinator.evaluate)
        assert predicted.n_circuits == sum(e.n_circuits for e in found.evaluations)
        assert predicted.n_shots == sum(e.n_shots for e in found.evaluations)
        state = found.state
        assert all(v.dtype == np.float64 and v.ndim == 1 for v in state.values())


def test_exact_values_take_no_levels() -> None:
    with pytest.raises(ConfigError, match="exact values"):
        Adaptive(GradientConfig(shot_levels=(10, 20))).check(problem(None))
    Adaptive(GradientConfig(shot_levels=(10, 20))).check(problem(400))


# --- What is said of it ------------------------------


def test_reason_follows_from_the_numbers(coordinator: Coordinator) -> None:
    rule = Adaptive()
    last = steps(rule, problem(), 6, coordinator)[-1]
    numbers = {k: float(v) for k, v in last.notes.items() if isinstance(v, (int, float))}
    assert rule.explain(numbers) == last.notes["reason"]
    gains = {k: v for k, v in numbers.items() if k.startswith("gain/")}
    assert len(gains) == 9
    assert f"gain/{last.notes['rule']}/{last.notes['shots']}" == max(gains, key=gains.__getitem__)
    assert f"{max(gains.values()):.3g}" in last.notes["reason"]


def test_choices_become_a_table(tmp_path: Path, coordinator: Coordinator) -> None:
    rule = Adaptive()
    found = steps(rule, problem(), 5, coordinator)
    history: dict[str, list[tuple[int, float]]] = {"train/loss": [(1, 0.5)]}
    for step, estimate in enumerate(found, start=1):
        for key, value in estimate.notes.items():
            if isinstance(value, (int, float)):
                history.setdefault(f"rule/{key}", []).append((step, float(value)))
    folder: Any = SimpleNamespace(artifacts=tmp_path)
    assert _write_choices(folder, history, rule.explain) == ["gradient_choices.csv"]
    with open(tmp_path / "gradient_choices.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["reason"] for row in rows] == [estimate.notes["reason"] for estimate in found]
    assert [float(row["shots"]) for row in rows] == [estimate.notes["shots"] for estimate in found]
    assert _write_choices(folder, {"train/loss": [(1, 0.5)]}, rule.explain) == []
