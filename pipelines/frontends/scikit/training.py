"""Training for the estimators: prepared samples in, a trained model out, by the training loop of everything else."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.losses.base import Loss
from orchestrator.models.model import Model
from orchestrator.training.loop import evaluate_samples, initial_state, train
from orchestrator.training.reports import EpochReport, Samples
from orchestrator.training.state import TrainState
from orchestrator.training.task import TrainingTask
from pipelines.compose import build_loss
from pipelines.data.splits import split_positions
from pipelines.frontends.executor import Executor
from pipelines.frontends.scikit.columns import CircuitColumns
from pipelines.frontends.scikit.settings import names_own_code
from pipelines.run_setup import training_task

_MODELS_KEPT = 32
_models: OrderedDict[tuple[str, str, int], Model] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Rows:
    """What is trained on, raw.

    Attributes:
        features: [S, F_raw]; targets: [S], as the loss takes them. class_names: None where there are no classes.
        train, validation: positions of the rows of each split.
    """

    features: np.ndarray
    targets: np.ndarray
    class_names: tuple[str, ...] | None
    train: np.ndarray
    validation: np.ndarray

    @classmethod
    def split(
        cls,
        features: np.ndarray,
        targets: np.ndarray,
        class_names: tuple[str, ...] | None,
        config: TrainingConfig,
    ) -> Rows:
        """Set ``data.validation_fraction`` aside, every class its share.

        Raises:
            DataError: too few rows of a class for that.
        """
        positions = np.arange(len(features))
        train, validation, _ = split_positions(
            positions, targets, class_names, config.data, config.run.seed, np.zeros(len(positions), bool)
        )
        return cls(features, targets, class_names, train, validation)


def model_for(config: TrainingConfig, n_classes: int) -> Model:
    """The configured model; of equal configurations the same one, so that a search compiles a circuit once.

    Raises:
        InputError: the circuit is refused.
    """
    if names_own_code(config.model):
        return _built(config, n_classes)
    key = config.model.model_dump_json(), config.loss.name, n_classes
    with _lock:
        found = _models.get(key)
        if found is None:
            found = _built(config, n_classes)
        _models[key] = found
        _models.move_to_end(key)
        if len(_models) > _MODELS_KEPT:
            _models.popitem(last=False)
        return found


def _built(config: TrainingConfig, n_classes: int) -> Model:
    loss = build_loss(config)
    found = Model.from_config(config.model, functools.partial(_n_outputs, loss, n_classes))
    _check_outputs(found, _n_outputs(loss, n_classes, found.scores_per_class))
    if config.model.simplify:
        from pipelines.simplified_model import simplified_model

        found = simplified_model(found).model
    return found


def _n_outputs(loss: Loss, n_classes: int, n_scores: int) -> int:
    return loss.n_outputs(n_classes) if n_scores == 1 else loss.n_outputs(n_classes, n_scores)


def _check_outputs(model: Model, wanted: int) -> None:
    if model.n_outputs != wanted:
        problem = (
            f"the circuit of one's own has {model.n_outputs} outputs, {wanted} are wanted for these targets"
        )
        raise ConfigError("model.circuit", model.n_outputs, problem, str(wanted))


def task_for(config: TrainingConfig, model: Model, rows: Rows, columns: CircuitColumns) -> TrainingTask:
    """What is to be trained, checked.

    Raises:
        InputError: a row that cannot be encoded; model, gradient rule and backend do not go together.
    """
    features = columns(rows.features)
    model.inputs(features)
    train, validation = (Samples(features[at], rows.targets[at]) for at in (rows.train, rows.validation))
    return training_task(config, model, train, validation if len(rows.validation) else None)


def trained(task: TrainingTask, executor: Executor, start: np.ndarray | None, verbose: int) -> TrainState:
    """Train from parameters [P], or from the seed's, to the end.

    Raises:
        ExecutionError, FleetError: circuits failed. BudgetError, SpendingNotAllowedError: they cost more than was allowed.
    """
    state = initial_state(task, start)
    with (
        executor.coordinator(task.model.measured) as coordinator,
        closing(train(task, state, coordinator)) as reports,
    ):
        for report in reports:
            if verbose and isinstance(report, EpochReport):
                print(_line(report))
    return state


def outputs_of(
    model: Model, params: np.ndarray, features: np.ndarray, executor: Executor, seed: int
) -> np.ndarray:
    """Outputs [S, C] for features [S, F]; shot noise by `seed`, the row's number, and nothing else."""
    with executor.coordinator(model.measured) as coordinator:
        outputs, _ = evaluate_samples(
            model, params, features, coordinator, shots=executor.shots, seed=seed, purpose="predict"
        )
    return outputs


def _line(report: EpochReport) -> str:
    loss = f"loss {report.metrics['train/epoch_loss']:.6g}"
    if "val/loss" in report.metrics:
        loss += f", validation loss {report.metrics['val/loss']:.6g}"
    stop = "" if report.stop_reason is None else f"; {report.stop_reason}"
    return f"epoch {report.epoch}/{report.n_epochs}: {loss}{stop}"
