"""What a run leaves at MLflow beside its metrics: inputs at the start, plots, tables and the model at the end."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from actors.ionq.record import Record
from orchestrator.config import BackendConfig
from orchestrator.losses.base import Task
from orchestrator.protocols import JobSpan
from orchestrator.training.state import TrainState
from pipelines import plots
from pipelines.checkpoints import write_atomically
from pipelines.data.circuit_log import write_circuit_log
from pipelines.data.datasets import dataset_summary
from pipelines.evaluate import Scores
from pipelines.latency import LatencyReport, write_spans
from pipelines.plots import interactive
from pipelines.report import headline, time_shares
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun
from pipelines.spending import has_book
from pipelines.tracking.journal import read_history
from pipelines.tracking.provenance import environment_text, provenance_tags
from pipelines.tracking.run_page import Ending, closing, opening, run_parameters, run_title
from pipelines.tracking.tracker import Tracker
from pipelines.watching.history import FleetHistory
from pipelines.watching.watch import redactor


def start_tracker(folder: RunFolder, run: PreparedRun, on_warning: Callable[[str], None]) -> Tracker:
    """A started tracker that has been told the parameters, tags, data set and inputs of the run."""
    tags = provenance_tags(run.config.backend.name) | {"gradient.rule": run.task.rule.name}
    tags |= replay_tags(run.config.backend)
    tracker = Tracker(
        folder.path,
        run.config.tracking,
        folder.name if folder.study is None else f"{folder.study.name}/{folder.name}",
        run_parameters(run),
        tags,
        description=opening(run, folder),
        on_warning=on_warning,
        parent=folder.study,
        title=run_title(run.config, folder),
    )
    tracker.start()
    tracker.log_artifact(folder.path / "config.toml")
    tracker.log_text(environment_text(), "environment.txt")
    tracker.log_text(json.dumps(dataset_summary(run.data), indent=1), "dataset.json")
    for split, context in (("train", "training"), ("validation", "validation"), ("test", "test")):
        samples = getattr(run.data, split)
        if len(samples.targets):
            tracker.log_dataset(
                samples.features, samples.targets if run.data.target_name else None,
                name=f"{run.data.source} {split}", source=run.data.source,
                context=context, target_name=run.data.target_name,
            )  # fmt: skip
    return tracker


def replay_tags(backend: BackendConfig) -> dict[str, str]:
    """MLflow tags of a run that is served from another one's record; none of any other run."""
    if backend.record is None:
        return {}
    tags = {"replay_of": Path(backend.record).name}
    return tags if backend.then is None else tags | {"replay_then": backend.then}


def log_outcome(
    tracker: Tracker,
    folder: RunFolder,
    run: PreparedRun,
    state: TrainState,
    scores: Scores | None,
    fleet: FleetHistory,
    latency: LatencyReport | None = None,
) -> None:
    """Draw the plots into the run's folder and log them, the last checkpoint and the model."""
    files = _draw(folder, run, state, scores, fleet, latency)
    for name in files:
        tracker.log_artifact(folder.artifacts / name)
    tracker.log_metrics(_best(state), state.step)
    _describe(tracker, folder, run, state, scores, files)
    newest = sorted(folder.checkpoints.glob("[0-9]*"))[-1:]
    for checkpoint in newest:
        tracker.log_artifact(checkpoint, "checkpoint")
    if run.config.tracking.log_model:
        predictor = run.predictor(state.best_params)
        tracker.log_model(
            folder.model,
            feature_names=run.data.feature_names,
            example_features=run.data.raw_example,
            example_predictions=predictor.predict_table(run.data.raw_example),
        )
        registered = run.config.tracking.registered_model
        if registered is not None and folder.study is None:  # of a study, one is chosen by hand
            tracker.register_model(registered)


def _draw(
    folder: RunFolder,
    run: PreparedRun,
    state: TrainState,
    scores: Scores | None,
    fleet: FleetHistory,
    latency: LatencyReport | None,
) -> list[str]:
    """Plots and tables into the run's folder; returns the files' names."""
    model = run.task.model
    history = read_history(folder.path / "metrics.jsonl")
    norms = [value for _, value in history.get("train/gradient_norm", [])]
    path = folder.artifacts
    title = run_title(run.config, folder)
    plots.training_curves(
        state.history, path / "training.png", step_losses=state.step_losses, gradient_norms=norms,
        test_metrics=scores.metrics if scores else {}, title=title, subtitle=headline(run)[1],
    )  # fmt: skip
    shares = time_shares(state.history)
    plots.fleet_timeline(
        fleet.spans, path / "fleet_timeline.png", events=fleet.events, title=title, subtitle=shares
    )
    fleet.write(path / "fleet_timeline.jsonl", redactor(run.config.tracking.uri))
    plots.circuit_diagram(
        plots.drawn_gates(model), path / "circuit.png", n_qubits=model.template.n_qubits, title=title
    )
    plots.circuit_text(plots.labelled_circuit(model), path / "circuit.txt")
    files = ["training.png", "fleet_timeline.png", "fleet_timeline.jsonl", "circuit.png", "circuit.txt"]
    if scores is not None:
        files.append(_draw_scores(folder, scores, run.data.task))
    if latency is not None:
        files += _write_latency(folder, latency, fleet.spans)
    if has_book(folder):
        files.append("circuits.parquet")
        write_circuit_log(path / files[-1], Record(folder.path).submissions(), run.config.run.seed)
    if explain := getattr(run.task.rule, "explain", None):
        files += _write_choices(folder, history, explain)
    tracking = run.config.tracking
    if tracking.enabled and tracking.interactive_plots and folder.study is None:  # a study draws one for all
        files.insert(1, _write_page(folder, title, state, scores, fleet))
    return files


def _best(state: TrainState) -> dict[str, float]:
    """Figures of the best epoch, whose parameters are scored: the last ones that MLflow lists may be of a later epoch."""
    if not state.best_epoch:
        return {}
    metrics = state.history[state.best_epoch - 1].metrics
    found = {f"best/{name.replace('/', '_')}": v for name, v in metrics.items() if name.startswith("val/")}
    return {"best/epoch": state.best_epoch, **found}


def _describe(
    tracker: Tracker,
    folder: RunFolder,
    run: PreparedRun,
    state: TrainState,
    scores: Scores | None,
    files: Sequence[str],
) -> None:
    """The report of the run: the description at MLflow, and report.md in the run's folder."""
    ending = Ending({}, None, files)
    if scores is not None:
        ending = Ending.of(scores.metrics, scores.confusion, files)
    report = closing(run, folder, state, ending)
    write_atomically(folder.path / "report.md", report.encode())
    tracker.log_text(report, "report.md")
    tracker.describe(report)


def _write_page(
    folder: RunFolder, title: str, state: TrainState, scores: Scores | None, fleet: FleetHistory
) -> str:
    """Curves, confusion matrix and timeline as one page to hover and zoom in; returns the file's name."""
    name = "interactive.html"
    interactive.run_page(
        folder.artifacts / name,
        title=title,
        history=state.history,
        step_losses=state.step_losses,
        test_metrics=scores.metrics if scores else {},
        confusion=None if scores is None else scores.confusion,
        class_names=(scores and scores.class_names) or (),
        spans=fleet.spans,
    )
    return name


def _write_choices(
    folder: RunFolder,
    history: Mapping[str, Sequence[tuple[int, float]]],
    explain: Callable[[Mapping[str, float]], str],
) -> list[str]:
    """What the gradient rule chose in each step and why, from the journaled numbers, so that a resumed run has all its steps."""
    by_step: dict[int, dict[str, float]] = {}
    for key, points in history.items():
        if key.startswith("rule/"):
            for step, value in points:
                by_step.setdefault(step, {})[key.removeprefix("rule/")] = value
    if not by_step:
        return []
    columns = list(dict.fromkeys(key for notes in by_step.values() for key in notes))
    name = "gradient_choices.csv"
    with open(folder.artifacts / name, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["step", "reason", *columns])
        table.writeheader()
        for step, notes in sorted(by_step.items()):
            table.writerow({"step": step, "reason": explain(notes), **notes})
    return [name]


def _write_latency(folder: RunFolder, report: LatencyReport, spans: Sequence[JobSpan]) -> list[str]:
    """Latency of the jobs as a plot, as figures, and job by job."""
    name = "latency"
    folder.write_json(f"artifacts/{name}.json", report.to_json())
    write_spans(spans, folder.artifacts / f"{name}.csv")
    scenarios = {"as it was": report.measured_seconds, "replayed": report.replayed_seconds, **report.what_if}
    plots.latency(
        report.phases, scenarios, folder.artifacts / f"{name}.png", title=folder.name, subtitle=report.jobs_text(),
    )  # fmt: skip
    return [f"{name}.png", f"{name}.json", f"{name}.csv"]


def _draw_scores(folder: RunFolder, scores: Scores, task: Task) -> str:
    """The confusion matrix, predicted against actual values, or an autoencoder's fidelities; returns the file's name."""
    if task == "autoencoder":
        plots.fidelities(
            {"trash": scores.predicted}, folder.artifacts / "trash_fidelity.png", title=folder.name
        )
        return "trash_fidelity.png"
    if scores.class_names is None or scores.confusion is None:
        plots.predictions(
            scores.predicted, scores.actual, folder.artifacts / "predictions.png", title=folder.name
        )
        return "predictions.png"
    plots.confusion_matrix(
        scores.confusion, scores.class_names, folder.artifacts / "confusion.png", title=folder.name
    )
    return "confusion.png"
