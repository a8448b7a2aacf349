"""The training loop on a problem of two qubits: what a step does, when it ends, and that a copied state continues to the same bits."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import OptimizerConfig, RunConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ExecutionError
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.models.model import Model
from orchestrator.phases import PHASES
from orchestrator.registry import resolve
from orchestrator.training.loop import epoch_order, evaluate_samples, initial_state, train
from orchestrator.training.reports import EpochReport, Samples, StepReport, Totals
from orchestrator.training.state import TrainState
from orchestrator.training.task import TrainingTask

A, B, C, X = sympy.symbols("a b c x")
Q = cirq.LineQubit.range(2)
CIRCUIT = cirq.Circuit(
    cirq.ry(X)(Q[0]),
    cirq.rx(A * X + B)(Q[1]),
    cirq.ry(C).controlled()(*Q),
    cirq.rz(B)(Q[0]),
    cirq.rx(A)(Q[0]),
)
RNG = np.random.default_rng(5)
FEATURES = RNG.uniform(-2, 2, (13, 1))
TRAIN = Samples(FEATURES[:8], np.sin(FEATURES[:8, 0]))
VALIDATION = Samples(FEATURES[8:], np.sin(FEATURES[8:, 0]))


def make_task(
    *, rule: str = "adjoint", shots: int | None = None, validation: Samples | None = VALIDATION, frozen: tuple[int, ...] = (),
    optimizer: dict[str, Any] | None = None, **run: Any,
) -> TrainingTask:  # fmt: skip
    """8 samples in batches of 3, so 3 steps an epoch; parameters a, b, c and two of the head."""
    model = Model.from_circuit(
        CIRCUIT, features=["x"], observables=["Z0 + 0.5*X1"], head="linear", initial_scale=1.0, frozen=frozen
    )
    return TrainingTask(
        model=model,
        loss=MeanSquaredError(),
        rule=resolve("gradient rule", rule)(),
        train=TRAIN,
        validation=validation,
        run=RunConfig(**{"epochs": 3, "batch_size": 3, "seed": 11, **run}),
        optimizer=OptimizerConfig(**(optimizer or {})),
        shots=shots,
    )


def run(
    task: TrainingTask, coordinator: Coordinator, state: TrainState | None = None
) -> tuple[TrainState, list[StepReport], list[EpochReport]]:
    state = state or initial_state(task)
    reports = list(train(task, state, coordinator))
    steps = [report for report in reports if isinstance(report, StepReport)]
    return state, steps, [report for report in reports if isinstance(report, EpochReport)]


def bits(state: TrainState) -> str:
    """Digest of everything that counts; times are not part of it."""
    arrays = [state.params, state.best_params, *(state.optimizer[key] for key in sorted(state.optimizer))]
    arrays += [state.rule[key] for key in sorted(state.rule)]
    history = [
        (r.epoch, r.step, r.metrics, r.is_best, r.best_epoch, r.best_value, r.totals, r.stop_reason)
        for r in state.history
    ]
    scalars = (
        state.epoch,
        state.cursor,
        state.step,
        state.epoch_loss,
        state.step_losses,
        state.best_value,
        state.best_epoch,
    )
    text = repr((scalars, history, state.totals, state.stop_reason))
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays) + text.encode()).hexdigest()


@pytest.fixture
def coordinator(dense: SimpleNamespace) -> Coordinator:
    return dense.coordinator()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rule": "parameter_shift", "shots": 30, "optimizer": {"name": "sgd", "learning_rate": 0.1}},
        {"validation": None, "max_steps": 7},
        {"optimizer": {"schedule": "plateau", "schedule_epochs": 1, "learning_rate": 1.0, "clip_norm": 0.5, "weight_decay": 0.01}},
        {"frozen": (1, 4), "early_stopping_patience": 1},
        {"rule": "qn_spsa", "shots": 30},
    ],
    ids=["exact", "shots", "no validation", "plateau", "frozen", "a rule with a state"],
)  # fmt: skip
def test_copy_of_the_state_at_every_report_continues_to_the_same_bits(
    options: dict[str, Any], dense: SimpleNamespace
) -> None:
    task = make_task(**options)
    state = initial_state(task)
    copies = [copy.deepcopy(state)]
    copies += [copy.deepcopy(state) for _ in train(task, state, dense.coordinator())]
    assert len(copies) > 4
    undisturbed = bits(state)
    for n_workers, saved in enumerate(copies, start=1):
        resumed, _, _ = run(
            make_task(**options), dense.coordinator(n_workers=n_workers), copy.deepcopy(saved)
        )
        assert bits(resumed) == undisturbed


def test_seed_decides(dense: SimpleNamespace) -> None:
    options = {"rule": "parameter_shift", "shots": 30}
    one, other, different = (
        bits(run(make_task(seed=s, **options), dense.coordinator())[0]) for s in (11, 11, 12)
    )
    assert one == other != different


def test_steps_are_gradient_descent_on_the_batches(coordinator: Coordinator) -> None:
    """Plain SGD done again by hand, with gradients by finite differences of the batch loss."""
    rate = 0.2
    task = make_task(
        optimizer={"name": "sgd", "learning_rate": rate, "momentum": 0.0}, validation=None, epochs=1
    )

    def batch_loss(params: np.ndarray, rows: np.ndarray) -> float:
        outputs, _ = evaluate_samples(
            task.model, params, TRAIN.features[rows], coordinator, shots=None, seed=0, purpose="test"
        )
        return task.loss.value_and_gradient(outputs, TRAIN.targets[rows])[0]

    state, steps, _ = run(task, coordinator)
    params = task.model.initial_params(11)
    order = epoch_order(11, 0, 8)
    h = 1e-3  # five-point stencil: error h⁴/30 of the fifth derivative (at most some tens) + 1e-15/h
    for n, rows in enumerate((order[:3], order[3:6], order[6:])):
        gradient = np.array(
            [
                (8 * (batch_loss(params + h * e, rows) - batch_loss(params - h * e, rows))
                 - batch_loss(params + 2 * h * e, rows) + batch_loss(params - 2 * h * e, rows)) / (12 * h)
                for e in np.eye(task.model.n_params)
            ]
        )  # fmt: skip
        assert steps[n].loss == pytest.approx(batch_loss(params, rows), rel=1e-12)
        assert steps[n].gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-9)
        params = params - rate * gradient
    np.testing.assert_allclose(state.params, params, atol=1e-9)


def test_each_epoch_sees_every_sample_once_in_a_new_order() -> None:
    orders = [epoch_order(3, epoch, 50) for epoch in range(20)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert len({order.tobytes() for order in orders}) == 20
    np.testing.assert_array_equal(epoch_order(3, 7, 50), orders[7])
    assert (epoch_order(4, 7, 50) != orders[7]).any()


def test_reports_count(coordinator: Coordinator) -> None:
    task = make_task(rule="parameter_shift")
    state, steps, epochs = run(task, coordinator)
    assert task.n_batches == 3
    assert task.n_steps == 9
    assert [(r.step, r.epoch, r.n_steps, r.n_epochs) for r in steps] == [
        (n + 1, n // 3 + 1, 9, 3) for n in range(9)
    ]
    assert [(r.epoch, r.step, r.n_epochs) for r in epochs] == [(1, 3, 3), (2, 6, 3), (3, 9, 3)]
    assert [r.stop_reason for r in epochs] == [None, None, "all epochs done"]
    assert state.is_finished
    assert state.stop_reason == "all epochs done"
    assert state.step_losses == [r.loss for r in steps]
    assert state.history == epochs
    for epoch in epochs:
        mine = [r for r in steps if r.epoch == epoch.epoch]
        mean = sum(r.loss * size for r, size in zip(mine, (3, 3, 2), strict=True)) / 8
        assert epoch.metrics["train/epoch_loss"] == pytest.approx(mean, rel=1e-14)
        assert {"val/loss", "val/rmse", "val/r2"} < set(epoch.metrics)
    for step in steps:
        assert step.n_jobs == 1
        assert set(step.seconds) == set(PHASES)
        assert min(step.seconds.values()) >= 0


def test_phases_are_all_of_the_time(coordinator: Coordinator) -> None:
    """What the loop's driver does between two reports is part of it: here 5 ms each."""
    steps: list[StepReport] = []
    epochs: list[EpochReport] = []
    task = make_task(epochs=2)
    started = time.perf_counter()
    for report in train(task, initial_state(task), coordinator):
        wall = time.perf_counter() - started
        if isinstance(report, StepReport):
            steps.append(report)
        else:
            epochs.append(report)
        time.sleep(5e-3)
    assert steps[0].seconds["log"] == 0, "nothing came before"
    assert min(step.seconds["log"] for step in steps[1:]) >= 5e-3
    for epoch in epochs:
        mine = [step.seconds for step in steps if step.epoch == epoch.epoch]
        assert epoch.seconds == sum(epoch.phases.values())
        assert epoch.phases["update"] == pytest.approx(sum(seconds["update"] for seconds in mine), rel=1e-12)
        # validation takes the rest, and its callback after the last step is the epoch's
        assert epoch.phases["log"] >= sum(seconds["log"] for seconds in mine) + 5e-3
        for phase in ("plan", "ship", "assemble"):
            assert epoch.phases[phase] > sum(seconds[phase] for seconds in mine)
    total = sum(epoch.seconds for epoch in epochs)
    assert total <= wall
    assert total >= 7 * 5e-3


def test_finished_run_does_nothing_more(coordinator: Coordinator) -> None:
    task = make_task(epochs=1)
    state, _, _ = run(task, coordinator)
    before = bits(state)
    assert run(task, coordinator, state)[1:] == ([], [])
    assert bits(state) == before


@pytest.mark.parametrize("shots", [None, 10])
def test_totals(shots: int | None, dense: SimpleNamespace) -> None:
    """Angles moved: rx(a x + b), controlled ry(c), rz(b), rx(a): 1 + 2·(1 + 2 + 1 + 1) circuits a sample, two bases with shots."""
    dispatcher = dense.Dispatcher(dense.Backend())
    task = make_task(rule="parameter_shift", shots=shots)
    state, steps, epochs = run(task, Coordinator(dispatcher, dense.Backend.capabilities))
    groups = len(task.model.measured.groups) if shots else 1
    per_epoch = (8 * 11 + 5) * groups
    assert [r.totals.n_circuits for r in epochs] == [per_epoch, 2 * per_epoch, 3 * per_epoch]
    assert steps[0].totals.n_circuits == 3 * 11 * groups
    expected = Totals(3 * per_epoch, 3 * per_epoch * (shots or 0), 0.25 * 3 * per_epoch)
    assert state.totals == expected
    assert (
        sum(job.n_samples * job.n_displacements for job in dispatcher.jobs) * groups
        == state.totals.n_circuits
    )


def test_every_evaluation_has_noise_of_its_own(dense: SimpleNamespace) -> None:
    """Training and validation are keyed apart, and by the step: the same circuit twice gets two different draws."""
    dispatcher = dense.Dispatcher(dense.Backend())
    run(make_task(rule="parameter_shift", shots=5), Coordinator(dispatcher, dense.Backend.capabilities))
    places = [(job.noise_keys.tobytes(), job.step) for job in dispatcher.jobs]
    assert [step for _, step in places] == [0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9]
    assert len(set(places)) == len(places)


def test_frozen_parameters_never_move_and_cost_nothing(dense: SimpleNamespace) -> None:
    optimizer = {"weight_decay": 0.5, "learning_rate": 0.3}
    circuits = {}
    for frozen in [(), (0,), (1,), (2,), (0, 1, 2), (3, 4)]:
        task = make_task(
            rule="parameter_shift", frozen=frozen, optimizer=optimizer, epochs=1, validation=None
        )
        start = task.model.initial_params(11)
        state, steps, _ = run(task, dense.coordinator())
        moved = state.params != start
        np.testing.assert_array_equal(moved, [i not in frozen for i in range(5)])
        circuits[frozen] = steps[0].totals.n_circuits // 3
    assert circuits == {(): 11, (0,): 9, (1,): 9, (2,): 7, (0, 1, 2): 1, (3, 4): 11}


def test_adjoint_with_everything_frozen(coordinator: Coordinator) -> None:
    state, _, _ = run(make_task(frozen=(0, 1, 2)), coordinator)
    assert state.is_finished


def monitored_values(monkeypatch: pytest.MonkeyPatch, task: TrainingTask, values: list[float]) -> None:
    """Make the validation loss of the epochs these values."""
    given = iter(values)
    monkeypatch.setattr(task.loss, "metrics", lambda outputs, targets: {"loss": next(given)}, raising=False)


@pytest.mark.parametrize(
    ("values", "min_delta", "patience", "stop_epoch", "best_epoch"),
    [
        ([5, 4, 3, 2, 1, 0], 0.0, 2, 6, 6),
        ([5, 4, 4, 4, 1, 0], 0.0, 2, 4, 2),
        ([5, 4, 4.5, 3, 9, 9], 0.0, 2, 6, 4),
        ([5, 4.95, 4.9, 4.8, 0, 0], 0.2, 3, 4, 1),
        ([5, 4.95, 4.9, 4.7, 0, 0], 0.2, 3, 6, 5),
        ([5, 6, 7, 8, 9, 10], 0.0, None, 6, 1),
        ([5, 6, 7, 8, 9, 10], 0.0, 1, 2, 1),
    ],
)
def test_early_stopping_and_best(
    values: list[float], min_delta: float, patience: int | None, stop_epoch: int, best_epoch: int,
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    task = make_task(epochs=6, early_stopping_patience=patience, early_stopping_min_delta=min_delta)
    monitored_values(monkeypatch, task, values)
    state = initial_state(task)
    params_of_epoch = {}
    for report in train(task, state, coordinator):
        if isinstance(report, EpochReport):
            params_of_epoch[report.epoch] = state.params.copy()
            assert report.is_best == (report.epoch == state.best_epoch)
    assert state.epoch == stop_epoch
    assert (state.best_epoch, state.best_value) == (best_epoch, values[best_epoch - 1])
    np.testing.assert_array_equal(state.best_params, params_of_epoch[best_epoch])
    assert state.stop_reason == (
        f"no better val/loss for {patience} epochs"
        if stop_epoch < 6 or best_epoch + (patience or 9) <= 6
        else "all epochs done"
    )


@pytest.mark.parametrize("max_steps", [1, 2, 3, 4, 6, 8, 9, 100])
def test_max_steps(max_steps: int, coordinator: Coordinator) -> None:
    state, steps, epochs = run(make_task(max_steps=max_steps), coordinator)
    assert len(steps) == state.step == min(max_steps, 9)
    assert len(epochs) == -(-state.step // 3), "a cut epoch is validated and reported too"
    assert state.stop_reason == ("max_steps reached" if max_steps <= 9 else "all epochs done")
    assert np.isfinite(epochs[-1].metrics["train/epoch_loss"])


def test_cut_epoch_averages_over_the_samples_seen(coordinator: Coordinator) -> None:
    _, steps, epochs = run(make_task(max_steps=2), coordinator)
    assert epochs[0].metrics["train/epoch_loss"] == pytest.approx(
        (steps[0].loss + steps[1].loss) / 2, rel=1e-14
    )


def test_without_validation_the_training_loss_decides(coordinator: Coordinator) -> None:
    task = make_task(validation=None)
    state, _, epochs = run(task, coordinator)
    assert {report.monitored for report in epochs} == {"train/epoch_loss"}
    assert state.best_value == min(report.metrics["train/epoch_loss"] for report in epochs)


def test_plateau_lowers_the_rate_within_its_bounds(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = {
        "schedule": "plateau", "learning_rate": 0.4, "schedule_epochs": 2, "schedule_factor": 0.25, "minimum_learning_rate": 0.05,
    }  # fmt: skip
    task = make_task(epochs=8, optimizer=optimizer)
    monitored_values(monkeypatch, task, [3, 2, 2, 2, 1, 1, 1, 1])
    _, steps, epochs = run(task, coordinator)
    rates = [0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 0.05]
    assert [report.learning_rate for report in epochs] == pytest.approx(rates)
    assert [report.learning_rate for report in steps] == pytest.approx(np.repeat(rates, 3))


def test_training_learns(coordinator: Coordinator) -> None:
    task = make_task(epochs=25, optimizer={"learning_rate": 0.1})
    _, _, epochs = run(task, coordinator)
    losses = [report.metrics["val/loss"] for report in epochs]
    assert min(losses) < 0.1 * losses[0]


def test_starting_from_given_parameters() -> None:
    task = make_task()
    given = np.arange(5)
    state = initial_state(task, given)
    assert state.params.dtype == np.float64
    state.params[0] = 9
    assert state.best_params[0] == given[0] == 0, "nothing is shared"


def test_loss_that_is_not_finite_stops_the_run(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    monkeypatch.setattr(
        task.loss,
        "value_and_gradient",
        lambda outputs, targets: (float("nan"), np.zeros_like(outputs)),
        raising=False,
    )
    state = initial_state(task)
    before = bits(state)
    with pytest.raises(ExecutionError, match=r"step 1: the loss is nan; lower optimizer\.learning_rate"):
        next(train(task, state, coordinator))
    assert bits(state) == before, "the state stays between two steps"


def test_interrupted_evaluation_leaves_the_state_between_two_steps(dense: SimpleNamespace) -> None:
    """Whatever is raised while jobs are out, the state continues to the undisturbed bits."""

    def interrupted_at(call: int) -> Callable[[list[Any]], list[Any]]:
        calls: Iterator[int] = iter(range(10**6))

        def shuffle(answers: list[Any]) -> list[Any]:
            if next(calls) == call:
                raise KeyboardInterrupt
            return answers

        return shuffle

    task = make_task(epochs=2)
    undisturbed = bits(run(task, dense.coordinator())[0])
    for call in range(8):  # two epochs of three steps and one validation
        state = initial_state(task)
        with pytest.raises(KeyboardInterrupt):
            list(train(task, state, dense.coordinator(shuffle=interrupted_at(call))))
        assert bits(run(task, dense.coordinator(), state)[0]) == undisturbed
