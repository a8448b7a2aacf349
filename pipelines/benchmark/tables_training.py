"""One training run of ``qfleet benchmark tables``, by the protocol of arXiv 2403.07059.

Adam on batches drawn with replacement, until the mean loss of the last 200 steps differs from that of the 200 before by at most
half its standard error. This stopping rule looks at steps where `orchestrator.training.loop` looks at epochs, hence a loop of its own;
gradients, updates and evaluations are those of any other run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.backends.ideal import IdealBackend
from actors.serial import SerialDispatcher
from orchestrator.config import OptimizerConfig, RunConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ExecutionError
from orchestrator.gradients.adjoint import Adjoint
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.loop import evaluate_samples
from orchestrator.training.reports import Samples
from orchestrator.training.task import TrainingTask
from pipelines.benchmark.tables_models import Problem
from pipelines.benchmark.tables_settings import BATCH_SIZE, MAX_STEPS

WINDOW = 200
"""Steps of each of the two mean losses that are compared."""

_STREAM = 2
"""Of the batches; the training loop's own orders have another."""


@dataclass(frozen=True)
class Fit:
    """What came of one training run.

    Attributes:
        seed: it was trained with.
        train_accuracy, test_accuracy: with the last parameters.
        losses: mean training loss of each whole `WINDOW` of steps.
        n_steps: optimizer steps done.
        is_settled: the stopping rule ended it, not the limit of steps.
        n_circuits: circuits run, those of the two scores included.
        seconds: wall time.
        n_qubits, n_params: size of the model.
    """

    seed: int
    train_accuracy: float
    test_accuracy: float
    losses: tuple[float, ...]
    n_steps: int
    is_settled: bool
    n_circuits: int
    seconds: float
    n_qubits: int
    n_params: int


def fit(problem: Problem, learning_rate: float, seed: int, max_steps: int = MAX_STEPS) -> Fit:
    """Train and score; the same numbers for the same arguments.

    Raises:
        ExecutionError: the loss is no finite number.
    """
    started = time.perf_counter()
    backend = IdealBackend()
    dispatcher = SerialDispatcher(backend)
    coordinator = Coordinator(dispatcher, backend.capabilities)
    try:
        params, losses, n_circuits = _trained(problem, coordinator, learning_rate, seed, max_steps)
        accuracies = []
        for samples in (problem.train, problem.test):
            outputs, used = evaluate_samples(
                problem.model, params, samples.features, coordinator, shots=None, seed=seed, purpose="test"
            )
            n_circuits += used.n_circuits
            accuracies.append(problem.loss.metrics(outputs, samples.targets)["accuracy"])
    finally:
        dispatcher.close()
    whole = len(losses) // WINDOW * WINDOW
    means = np.array(losses[:whole]).reshape(-1, WINDOW).mean(axis=1)
    return Fit(
        seed=seed,
        train_accuracy=accuracies[0],
        test_accuracy=accuracies[1],
        losses=tuple(means.tolist()),
        n_steps=len(losses),
        is_settled=has_settled(losses),
        n_circuits=n_circuits,
        seconds=time.perf_counter() - started,
        n_qubits=problem.model.template.n_qubits,
        n_params=problem.model.n_params,
    )


def has_settled(losses: Sequence[float]) -> bool:
    """The last two windows' mean losses differ by at most σ / (2 √200), σ being the deviation within the last."""
    if len(losses) < 2 * WINDOW:
        return False
    before, last = np.array(losses[-2 * WINDOW :]).reshape(2, WINDOW)
    return bool(abs(before.mean() - last.mean()) <= last.std() / (2 * math.sqrt(WINDOW)))


def batch_rows(seed: int, step: int, n_samples: int) -> np.ndarray:
    """Rows of the batch of step number `step` (from 0), int64 [BATCH_SIZE], drawn with replacement."""
    rng = np.random.Generator(np.random.Philox(key=[seed, _STREAM], counter=[0, 0, 0, step]))
    return rng.integers(n_samples, size=BATCH_SIZE)


def _trained(
    problem: Problem, coordinator: Coordinator, learning_rate: float, seed: int, max_steps: int
) -> tuple[np.ndarray, list[float], int]:
    """(parameters [P], loss of every step, circuits run)."""
    task = TrainingTask(
        model=problem.model,
        loss=problem.loss,
        rule=Adjoint(),
        train=problem.train,
        validation=None,
        run=RunConfig(seed=seed, batch_size=BATCH_SIZE),
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        shots=None,
        has_jacobian=True,
    )
    params = problem.model.initial_params(seed)
    state = task.update.init(params)
    losses: list[float] = []
    n_circuits = 0
    while len(losses) < max_steps and not has_settled(losses):
        rows = batch_rows(seed, len(losses), len(problem.train.targets))
        batch = Samples(problem.train.features[rows], problem.train.targets[rows])
        estimate = batch_gradient(task, params, batch, coordinator, step=len(losses))
        if not math.isfinite(estimate.loss):
            raise ExecutionError(
                f"step {len(losses) + 1}: the loss is {estimate.loss}; lower the learning rate"
            )
        update, state = task.update.update(estimate.gradient, state, params, learning_rate)
        params = params + update
        losses.append(estimate.loss)
        n_circuits += sum(evaluation.n_circuits for evaluation in estimate.evaluations)
    return params, losses, n_circuits
