"""What an evaluation leaves: a folder below the evaluated run's, and a run of its own below it at MLflow.

::

    runs/<run>/evaluations/<name>/
      evaluation.json        the figures, and what decided them
      artifacts/             table of the samples, plots, report, as they are at MLflow
      metrics.jsonl, tracking.json

The name says data, backend and shots: ``evaluate-test-noisy-aria-1-500``. What is evaluated again in the same way finds its folder, and its
run at MLflow, by what decides the figures (parameters, samples, backend section, seed); something else under the same name gets a part of
that as a suffix.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import CheckpointError, ConfigError
from pipelines import plots
from pipelines.checkpoints import write_atomically
from pipelines.compose import report_on_stderr
from pipelines.evaluate.report import markdown
from pipelines.evaluate.result import Evaluation
from pipelines.run_folder import RunFolder
from pipelines.studies.study import KIND_TAG
from pipelines.tracking.journal import PARENT_TAG, read_history
from pipelines.tracking.provenance import provenance_tags
from pipelines.tracking.tracker import Tracker

FOLDER = "evaluations"
_OUTPUTS = (".parquet", ".csv")


def checked_output(output: str | Path | None) -> Path | None:
    """Where the table of samples goes, refused before anything is run if it cannot be written.

    Raises:
        ConfigError: another kind of file than Parquet or CSV, no such folder, or none that can be written.
    """
    if output is None:
        return None
    path = Path(output).expanduser().absolute()
    if path.suffix.lower() not in _OUTPUTS:
        near = str(Path(output).with_suffix(_OUTPUTS[0]))
        raise ConfigError("--output", str(output), f"the table is written as {' or '.join(_OUTPUTS)}", near)
    if not path.parent.is_dir():
        raise ConfigError("--output", str(output), f"no such folder: {path.parent}")
    if path.is_dir():
        raise ConfigError(
            "--output", str(output), "is a folder; a file is wanted", str(path / "predictions.parquet")
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError("--output", str(output), "cannot be written here")
    return path


def record(evaluation: Evaluation, output: Path | None, *, track: bool) -> Evaluation:
    """Write the evaluation into its folder, and log it where its run is logged (unless `track` says not to).

    Returns it with folder, files and run id.
    """
    decided = what_decides(evaluation)
    folder = RunFolder(evaluation_folder(evaluation, decided))
    files = _write_files(evaluation, folder, output)
    run_id, note = None, None
    if track and evaluation.subject.is_tracked:
        run_id, note = _log(evaluation, folder)
    evaluation = evaluation.recorded(folder.path, tuple(files), run_id, note)
    folder.write_json("evaluation.json", {"decided_by": decided} | evaluation.to_json())
    return evaluation


def evaluation_name(evaluation: Evaluation) -> str:
    """``evaluate-<split or data>-<backend>-<shots>``, and ``-against-<other>``."""
    shots = "exact" if evaluation.shots is None else str(evaluation.shots)
    name = f"evaluate-{evaluation.choice.label}-{evaluation.backend}-{shots}"
    return name if evaluation.comparison is None else f"{name}-against-{evaluation.comparison.other}"


def what_decides(evaluation: Evaluation) -> str:
    """SHA-256 of all that decides the figures."""
    subject, config = evaluation.subject, evaluation.subject.config
    backend = config.backend.model_dump(mode="json")
    backend |= {key: None for key in ("threads", "host") if key in backend}  # they change no number
    about = {
        "model": subject.uri,
        "params": hashlib.sha256(np.ascontiguousarray(subject.params, "<f8").tobytes()).hexdigest(),
        "samples": evaluation.choice.digest,
        "is_split": evaluation.choice.is_split,
        "backend": backend,
        "seed": config.run.seed,
        "against": None if evaluation.comparison is None else evaluation.comparison.other,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def evaluation_folder(evaluation: Evaluation, decided: str) -> Path:
    """The folder of an evaluation, where it was written before or is to be."""
    name, parent = evaluation_name(evaluation), evaluation.subject.folder.path / FOLDER
    path = parent / name
    return path if _decided_by(path) in (None, decided) else parent / f"{name}-{decided[:6]}"


def _decided_by(path: Path) -> str | None:
    try:
        return str(RunFolder(path).read_json("evaluation.json").get("decided_by"))
    except CheckpointError:
        return None


def _write_files(evaluation: Evaluation, folder: RunFolder, output: Path | None) -> list[Path]:
    """Table, plots and report; returns their paths."""
    from pipelines.data.files import table_bytes

    folder.path.mkdir(parents=True, exist_ok=True)
    place = folder.artifacts
    table = place / "predictions.parquet"
    columns = evaluation.columns()
    write_atomically(table, table_bytes(columns, ".parquet"))
    files = [table, *_draw(evaluation, place)]
    write_atomically(place / "report.md", markdown(evaluation, [path.name for path in files]).encode())
    files.append(place / "report.md")
    if output is not None:
        write_atomically(output, table_bytes(columns, output.suffix.lower()))
        files.insert(0, output)
    return files


def _draw(evaluation: Evaluation, place: Path) -> list[Path]:
    """The plots that apply."""
    told, split = evaluation.predictions, evaluation.choice.label
    title = evaluation.subject.name
    if told.task == "autoencoder":
        plots.fidelities({"trash": told.predicted}, place / "trash_fidelity.png", title=title, split=split)
        return [place / "trash_fidelity.png"]
    if told.actual is None:
        return []
    matrix, found = evaluation.confusion, evaluation.calibration
    if matrix is None or evaluation.class_names is None or found is None:
        plots.predictions(told.predicted, told.actual, place / "predictions.png", title=title, split=split)
        errors = evaluation.outputs.standard_errors
        plots.residuals(
            told.predicted, told.actual, place / "residuals.png", title=title, split=split,
            standard_errors=None if errors is None else errors[:, 0],
        )  # fmt: skip
        return [place / "predictions.png", place / "residuals.png"]
    plots.confusion_matrix(matrix, evaluation.class_names, place / "confusion.png", title=title, split=split)
    plots.reliability(found, place / "reliability.png", title=title, split=split)
    return [place / "confusion.png", place / "reliability.png"]


def _log(evaluation: Evaluation, folder: RunFolder) -> tuple[str | None, str | None]:
    """Log it below the evaluated run; returns its id at MLflow, and what is to be said where not all arrived."""
    subject = evaluation.subject
    tags = provenance_tags(subject.config.backend.name) | {KIND_TAG: "evaluate"}
    if subject.prepared is None and subject.mlflow_run_id is not None:
        tags[PARENT_TAG] = subject.mlflow_run_id
    text = (folder.artifacts / "report.md").read_text(encoding="utf-8")
    tracker = Tracker(
        folder.path, subject.config.tracking, folder.name, _parameters(evaluation), tags, description=text,
        on_warning=report_on_stderr, parent=None if subject.prepared is None else subject.folder.path,
    )  # fmt: skip
    try:
        tracker.start()
        metrics = mlflow_metrics(evaluation)
        tracker.log_metrics(metrics, next_step(folder, metrics))
        for path in sorted(folder.artifacts.iterdir()):
            tracker.log_artifact(path)
        report = tracker.finish()
    finally:
        tracker.close()
    if report.is_complete:
        return report.run_id, None
    return (
        report.run_id,
        f"MLflow has not got all of this evaluation; it is kept in {folder.path}, and the same command sends it",
    )


def next_step(folder: RunFolder, metrics: Mapping[str, float]) -> int:
    """0, and one more each time that an evaluation gave other figures than before: a step keeps its first ones."""
    history = read_history(folder.path / "metrics.jsonl")
    newest = {key: points[-1] for key, points in history.items()}
    if not newest:
        return 0
    step = max(point[0] for point in newest.values())
    is_same = all(key in newest and newest[key][1] == value for key, value in metrics.items())
    return step if is_same else step + 1


def mlflow_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The figures by name at MLflow."""
    found: dict[str, float] = {}
    for name, figure in evaluation.figures.items():
        found |= {
            f"eval/{name}": figure.value,
            f"eval/{name}_low": figure.low,
            f"eval/{name}_high": figure.high,
        }
        if figure.shot_error is not None:
            found[f"eval/{name}_shot_error"] = figure.shot_error
    if evaluation.calibration is not None:
        found |= {
            "eval/ece": evaluation.calibration.ece,
            "eval/ece_by_chance": evaluation.calibration.by_chance,
            "eval/calibration_rms": evaluation.calibration.rms,
        }
    noise = evaluation.shot_noise
    if noise is not None and noise.flips is not None:
        found["eval/flips_expected"] = noise.flips[0]
    if evaluation.comparison is not None:
        for one in evaluation.comparison.differences:
            key = f"against/{one.name.replace(' ', '_')}"
            found |= {f"{key}_gain": one.value, f"{key}_gain_low": one.low, f"{key}_gain_high": one.high}
        if evaluation.comparison.p_value is not None:
            found["against/mcnemar_p"] = evaluation.comparison.p_value
    used = evaluation.used
    return found | {"cost/circuits": used.n_circuits, "cost/shots": used.n_shots, "cost/usd": used.cost_usd}


def _parameters(evaluation: Evaluation) -> dict[str, Any]:
    subject = evaluation.subject
    return {
        "evaluated": subject.uri or subject.name,
        "data": evaluation.choice.source,
        "samples": len(evaluation.choice.features),
        "backend": evaluation.backend,
        "shots": evaluation.shots,
        "seed": subject.config.run.seed,
        "best_epoch": subject.epoch,
        "against": None if evaluation.comparison is None else evaluation.comparison.other,
    }
