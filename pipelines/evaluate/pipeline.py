"""`evaluate`: run samples through a trained model, and say what the scores are worth."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError, InputError
from orchestrator.protocols import Backend
from orchestrator.training.reports import Totals
from pipelines.compose import build_backend, mitigation_of
from pipelines.evaluate.calibration import Calibration, calibration
from pipelines.evaluate.comparison import Comparison, compared
from pipelines.evaluate.cost import Forecast, forecast
from pipelines.evaluate.intervals import bootstrap, wilson
from pipelines.evaluate.measures import Predictions, measures
from pipelines.evaluate.outputs import Outputs, Products, measure_outputs, with_products
from pipelines.evaluate.records import checked_output, record
from pipelines.evaluate.result import Evaluation, Figure
from pipelines.evaluate.samples import Choice, Data, choose, same_samples
from pipelines.evaluate.scores import Scores, metric_prefix
from pipelines.evaluate.shot_noise import ShotNoise, shot_noise
from pipelines.evaluate.subjects import Subject, open_subject
from pipelines.saved_run import Request, connected_to
from pipelines.spending import check_allowed

_SAMPLERS = ("ideal", "torch", "noisy", "cirq")
"""Backends whose values are plain means over shots; others may answer with less, or more."""


@dataclass(frozen=True, eq=False)
class Asked:
    """An evaluation that nothing speaks against; nothing of it has been run.

    Attributes:
        subject: what is evaluated. choice: on what.
        rival, rival_choice: what it is compared with, and the same samples as that takes them; None: with nothing.
        output: file of the table of samples; None: among the artifacts.
        with_baselines: train the baselines too.
        expected: circuits, shots and dollars, without the baselines.
    """

    subject: Subject
    choice: Choice
    rival: Subject | None
    rival_choice: Choice | None
    output: Path | None
    with_baselines: bool
    expected: Forecast


def evaluate(
    subject: str | Path,
    *,
    data: Data | None = None,
    split: str | None = None,
    target_column: str | None = None,
    backend: str | None = None,
    settings: Sequence[str] = (),
    shots: int | None = None,
    against: str | Path | None = None,
    output: str | Path | None = None,
    baselines: bool = False,
    actors: int | None = None,
    address: str | None = None,
    directory: str = "runs",
    tracking_uri: str | None = None,
    track: bool = True,
    yes_spend_usd: float | None = None,
) -> Evaluation:
    """Evaluate a run or a registered model.

    Args:
        subject: run name, path or id; ``latest``; ``models:/NAME``, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``,
            ``runs:/RUN_ID/model``.
        data: a built-in data set, a file or a folder with the model's feature columns; or (features, targets). None: a split of the run.
        split: ``train``, ``validation`` or ``test``; None: ``test``.
        target_column: of `data`; None: as in training.
        backend, settings, shots, actors, address: where circuits are run, see `pipelines.saved_run.Request`.
        against: another run or model, compared on the same samples and backend.
        output: .parquet or .csv of the samples; None: a Parquet file among the evaluation's artifacts.
        baselines: train the separable twin, a support vector machine and a neural network, and compare.
        directory: where runs are. tracking_uri: of MLflow, for models.
        track: log to MLflow, where the run is logged.
        yes_spend_usd: the most that the run and its evaluations may cost in all, where circuits cost money.

    Raises:
        InputError: anything that cannot work; nothing was run. ExecutionError, FleetError, BudgetError: circuits were not answered.
    """
    request = Request(backend, tuple(settings), shots, actors, address)
    asked = prepare(
        str(subject), request, data=data, split=split, target_column=target_column,
        against=None if against is None else str(against), output=output, with_baselines=baselines,
        directory=directory, tracking_uri=tracking_uri,
    )  # fmt: skip
    return run_evaluation(asked, yes_spend_usd, track=track)


def prepare(
    name: str,
    request: Request,
    *,
    data: Data | None = None,
    split: str | None = None,
    target_column: str | None = None,
    against: str | None = None,
    output: str | Path | None = None,
    with_baselines: bool = False,
    directory: str = "runs",
    tracking_uri: str | None = None,
) -> Asked:
    """All that can be refused before anything is run; arguments as of `evaluate`."""
    path = checked_output(output)
    subject = open_subject(name, directory, request, tracking_uri)
    choice = choose(subject, data, split, target_column, may_lack_targets=path is not None)
    rival, rival_choice = None, None
    if against is not None:
        if choice.targets is None:
            raise InputError(f"--against {against}: the samples have no targets to compare predictions with")
        _check_predicts(subject, "--against")
        rival = open_subject(against, directory, request, tracking_uri)
        rival_choice = same_samples(subject, choice, rival, data, target_column)
    if with_baselines:
        _check_baselines(subject, choice)
    parts = [(subject.model, subject.params, choice.features)]
    if rival is not None and rival_choice is not None:
        parts.append((rival.model, rival.params, rival_choice.features))
    return Asked(subject, choice, rival, rival_choice, path, with_baselines, forecast(subject.config, parts))


def _check_predicts(subject: Subject, option: str) -> None:
    if subject.predictor.loss.task == "autoencoder":
        raise ConfigError(option, subject.name, "an autoencoder predicts nothing to compare")


def _check_baselines(subject: Subject, choice: Choice) -> None:
    """Refuse what the baselines cannot learn from."""
    from pipelines.baselines import check_predicts

    if subject.prepared is None or not choice.is_split:
        raise InputError(
            "--baselines learn from the run's training split and are compared on a split of it: leave out --data"
        )
    check_predicts(subject.prepared.config.loss.name, subject.prepared.data.task)


def run_evaluation(asked: Asked, yes_spend_usd: float | None = None, *, track: bool = True) -> Evaluation:
    """Run what `prepare` found nothing against, and keep what comes out.

    Raises:
        SpendingNotAllowedError: the target costs money. ExecutionError, FleetError, BudgetError: circuits were not answered.
    """
    started = time.perf_counter()
    subject, config = asked.subject, asked.subject.config
    backend = build_backend(config)
    if asked.with_baselines:
        _check_free(config, backend, yes_spend_usd)
    with ExitStack() as stack:
        both = [one for one in (subject, asked.rival) if one is not None]
        read = [products_for(one, backend) for one in both]
        circuits = [
            one.model.measured if wide is None else wide.circuit for one, wide in zip(both, read, strict=True)
        ]
        coordinator = stack.enter_context(connected_to(config, subject.folder, circuits, yes_spend_usd))
        outputs = _outputs(subject, asked.choice, coordinator, read[0])
        used = outputs.used
        other = None
        if asked.rival is not None and asked.rival_choice is not None:
            other = _outputs(asked.rival, asked.rival_choice, coordinator, read[1])
            used = _together(used, other.used)
        predictions = _predictions(subject, outputs, asked.choice)
        metrics = _metrics(subject, outputs, asked.choice)
        found = _baselines(asked, predictions, metrics, coordinator) if asked.with_baselines else None
    seed = config.run.seed
    noise = shot_noise(subject.predictor.loss, outputs, asked.choice.targets, seed)
    evaluation = Evaluation(
        subject=subject,
        choice=asked.choice,
        backend=backend_label(config),
        outputs=outputs,
        predictions=predictions,
        metrics=metrics,
        figures=figures_of(predictions, noise, seed),
        calibration=_calibration(predictions, seed),
        shot_noise=noise,
        comparison=_comparison(asked, predictions, other),
        baselines=found,
        used=used,
        seconds=time.perf_counter() - started,
    )
    return record(evaluation, asked.output, track=track)


def backend_label(config: TrainingConfig) -> str:
    """Where circuits run, in few words without spaces: ``ideal``, ``noisy-aria-1``, ``ionq-qpu.aria-1``."""
    asked = config.backend
    targets = asked.targets or ((asked.target,) if asked.name == "ionq" else ())
    noise = asked.noise or ("aria-1" if asked.name == "noisy" else None)
    return "-".join(str(part) for part in (asked.name, "+".join(targets), noise) if part)


def products_for(subject: Subject, backend: Backend) -> Products | None:
    """What is read along to know correlations, where that changes neither what is paid for nor what is recorded."""
    can = backend.capabilities
    if subject.config.backend.shots is None or can.is_paid or can.circuits_per_job is not None:
        return None
    if backend.name not in _SAMPLERS or mitigation_of(subject.config.backend).is_on:
        return None
    return with_products(subject.model.measured)


def figures_of(predictions: Predictions, noise: ShotNoise | None, seed: int) -> dict[str, Figure]:
    """Every figure of merit with its intervals; those that these samples do not define are left out."""
    intervals = bootstrap(predictions, seed)
    found: dict[str, Figure] = {}
    for name, values in measures(predictions).items():
        value, error = float(values[0]), None if noise is None else noise.errors.get(name)
        if not np.isfinite(value):
            continue
        if name == "accuracy":
            low, high = wilson(int(predictions.is_right.sum()), len(predictions.predicted))
            found[name] = Figure(value, low, high, "wilson", error)
        else:
            found[name] = Figure(value, *intervals[name], "bootstrap", error)
    return found


def _outputs(
    subject: Subject, choice: Choice, coordinator: Coordinator, products: Products | None
) -> Outputs:
    config = subject.config
    return measure_outputs(
        subject.model, subject.params, choice.features, coordinator, shots=config.backend.shots,
        seed=config.run.seed, purpose=choice.label if choice.is_split else "evaluate", products=products,
    )  # fmt: skip


def _predictions(subject: Subject, outputs: Outputs, choice: Choice) -> Predictions:
    return Predictions.of(subject.predictor.loss, outputs.values, choice.targets)


def _metrics(subject: Subject, outputs: Outputs, choice: Choice) -> dict[str, float]:
    """What training calls the scores, so that they can be set beside each other."""
    if choice.targets is None:
        return {}
    prefix = metric_prefix(choice.label) if choice.is_split else "data"
    found = subject.predictor.loss.metrics(outputs.values, choice.targets)
    return {f"{prefix}/{name}": value for name, value in found.items()}


def _calibration(predictions: Predictions, seed: int) -> Calibration | None:
    if predictions.probability is None or predictions.actual is None:
        return None
    return calibration(predictions.probability.max(axis=1), predictions.is_right, seed)


def _comparison(asked: Asked, own: Predictions, other: Outputs | None) -> Comparison | None:
    rival, choice = asked.rival, asked.rival_choice
    if rival is None or choice is None or other is None:
        return None
    theirs = _predictions(rival, other, choice)
    scores = {name: float(values[0]) for name, values in measures(theirs).items() if np.isfinite(values[0])}
    mine, other_names = asked.subject.predictor.class_names, rival.predictor.class_names
    if mine is not None and other_names is not None and mine != other_names:
        theirs = _reordered(theirs, mine, other_names)
    n_seen = choice.n_seen or 0
    return compared(rival.name, own, theirs, scores, asked.subject.config.run.seed, n_seen)


def _reordered(theirs: Predictions, mine: tuple[str, ...], names: tuple[str, ...]) -> Predictions:
    """Predictions of classes `names` as those of the same classes in the order `mine`."""
    assert theirs.probability is not None
    assert theirs.actual is not None
    place = np.array([mine.index(name) for name in names])
    order = [names.index(name) for name in mine]
    return Predictions(
        theirs.task, place[theirs.predicted], theirs.probability[:, order], place[theirs.actual]
    )


def _together(one: Totals, other: Totals) -> Totals:
    return one.plus(other.n_circuits, other.n_shots, other.cost_usd)


def _check_free(config: TrainingConfig, backend: Backend, yes_spend_usd: float | None) -> None:
    """Refuse to train baselines for money."""
    check_allowed(config, backend, yes_spend_usd)
    if backend.capabilities.is_paid:
        raise InputError(
            f"--baselines would train the separable twin on {config.backend.target}, for money; nearest valid: --backend ideal"
        )


def _baselines(
    asked: Asked, predictions: Predictions, metrics: dict[str, float], coordinator: Coordinator
) -> list[dict[str, Any]]:
    from pipelines.baselines import baselines

    prepared = asked.subject.prepared
    assert prepared is not None
    assert predictions.actual is not None
    print("training the baselines", file=sys.stderr)
    names = asked.subject.predictor.class_names
    scores = Scores(metrics, predictions.actual, predictions.predicted, names, Totals())
    found = baselines(prepared, scores, asked.choice.label, coordinator)
    return [asdict(one) | {"verdict": one.verdict} for one in found]
