"""What a person reads of a run at MLflow: its name in the list, the parameters it is compared by, and its description."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.training.state import TrainState
from pipelines.display.formatting import (
    format_count,
    format_duration,
    format_metric,
    format_usd,
    metric_label,
)
from pipelines.report import headline, time_shares
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun

ALWAYS = (
    "data.n_components", "model.n_qubits", "model.n_layers", "model.ansatz", "model.entanglement", "model.feature_map", "model.head",
    "loss.name", "optimizer.name", "optimizer.learning_rate", "run.epochs", "run.batch_size", "run.seed", "backend.name",
    "backend.shots",
)  # fmt: skip
"""Keys that are parameters of every run: what people compare runs by. Others are only where they are not at their default."""

_NEVER = ("run.name", "run.directory", "tracking.", "checkpoint.", "data.name", "data.path")
_MAX_DIFFERENCES = 3


def run_title(config: TrainingConfig, folder: RunFolder) -> str:
    """The run's name in MLflow's lists: the user's own where there is one; else what is unusual about it, then on what it was trained.

    ``learning rate 0.1 · breast_cancer · 8 qubits × 2 layers · 11-21 23:03:01``: lists show some twenty letters, and what tells the run
    from others comes first; the time it was begun tells it from those that differ in nothing.
    """
    if folder.study is not None:
        return f"{folder.study.name}/{folder.name}"
    if config.run.name is not None:
        return config.run.name
    began = re.search(r"\d{4}(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)(-\d+)?$", folder.name)
    when = folder.name if began is None else "{}-{} {}:{}:{}".format(*began.groups()[:5]) + (began[6] or "")
    return " · ".join([*_differences(config), _data_name(config), _size(config), when])


def _differences(config: TrainingConfig) -> list[str]:
    """The first few settings that people vary most and that are not at their default."""
    default = TrainingConfig()
    found: list[str] = []
    if config.gradient.rule != default.gradient.rule:
        found.append(config.gradient.rule)
    if config.backend.name != default.backend.name:
        found.append(config.backend.target if config.backend.name == "ionq" else config.backend.name)
    for section, key, words in (
        ("backend", "noise", "{}"), ("backend", "shots", "{} shots"), ("model", "ansatz", "{}"), ("model", "feature_map", "{} map"),
        ("optimizer", "learning_rate", "learning rate {}"), ("optimizer", "name", "{}"), ("run", "batch_size", "batches of {}"),
        ("run", "seed", "seed {}"),
    ):  # fmt: skip
        value = getattr(getattr(config, section), key)
        if value != getattr(getattr(default, section), key) and value is not None:
            found.append(words.format(str(value).rpartition(":")[2]))
    return found[:_MAX_DIFFERENCES]


def _data_name(config: TrainingConfig) -> str:
    return config.data.name or Path(config.data.path or "data").stem


def _size(config: TrainingConfig) -> str:
    if config.model.circuit is not None:
        return config.model.circuit.rpartition(":")[2]
    layers = config.model.n_layers
    return f"{config.model.n_qubits} qubits × {layers} layer{'s' if layers > 1 else ''}"


def run_parameters(run: PreparedRun) -> dict[str, Any]:
    """What MLflow has as parameters: those of `ALWAYS`, what else is not at its default, and the sizes that follow from them.

    The whole configuration is the artifact config.toml.
    """
    config, task = run.config, run.task
    default, flat = TrainingConfig().flattened(), config.flattened()
    unusual = {
        key: value for key, value in flat.items() if value != default[key] and not key.startswith(_NEVER)
    }
    derived = {
        "gradient.rule_used": task.rule.name,
        "model.n_params": task.model.n_params,
        "model.n_trainable": int((~task.model.frozen).sum()),
        "model.n_gates": len(task.model.template.gates),
        "data.digest": run.data.digest[:12],
        "data.n_train": len(run.data.train.targets),
        "data.n_validation": len(run.data.validation.targets),
        "data.n_test": len(run.data.test.targets),
    }
    return (
        {"data": config.data.name or config.data.path}
        | {key: flat[key] for key in ALWAYS}
        | unusual
        | derived
    )


def opening(run: PreparedRun, folder: RunFolder) -> str:
    """The description of a run that has begun, Markdown."""
    return "  \n".join([*headline(run), f"under way; if it is stopped: `qfleet resume {folder.handle}`"])


@dataclass(frozen=True)
class Ending:
    """What the description of a run that has come to its end is made of.

    Attributes:
        test: final figures by tracking name. right: samples of the test split that were classified rightly, and all; None for others.
        files: names below the run's artifacts, in the order in which they are linked.
    """

    test: Mapping[str, float]
    right: tuple[int, int] | None
    files: Sequence[str]

    @classmethod
    def of(cls, metrics: Mapping[str, float], confusion: np.ndarray | None, files: Sequence[str]) -> Ending:
        """From what the final test gave; `confusion` int [K, K]."""
        right = None if confusion is None else (int(np.trace(confusion)), int(confusion.sum()))
        return cls(metrics, right, files)


def closing(run: PreparedRun, folder: RunFolder, state: TrainState, ending: Ending) -> str:
    """The description of a run that has come to its end, Markdown.

    The result is in its first line, since MLflow shows some lines until it is unfolded; pictures are linked, since it shows them in
    their full size, cut off at the right.
    """
    shown = [name for name in ending.files if name.endswith((".png", ".html"))]
    links = " · ".join(f"[{_link_text(name)}](artifacts/{name})" for name in [*shown, "config.toml"])
    how = (
        f"qfleet evaluate {folder.handle}   # score it again, on another split or backend\n"
        f"qfleet resume {folder.handle}   # go on, if it was stopped before its end"
    )
    parts = [
        _first_line(state, ending),
        _scores(state, ending.test),
        _details(run, state),
        links,
        f"```\n{how}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _first_line(state: TrainState, ending: Ending) -> str:
    test = dict(ending.test)
    merits = [
        name for name in ("test/accuracy", "test/r2", "test/trash_fidelity", "test/loss") if name in test
    ]
    if merits:
        of = (
            f" ({ending.right[0]} of {ending.right[1]})"
            if ending.right and merits[0] == "test/accuracy"
            else ""
        )
        result = f"**test {metric_label(merits[0])} {format_metric(merits[0], test[merits[0]])}**{of}"
    else:
        result = "**no test score**"
    totals = state.totals
    shots = f"{format_count(totals.n_shots)} shots" if totals.n_shots else "exact"
    seconds = sum(report.seconds for report in state.history)
    return (
        f"{result} · {_best_epoch(state)} · {format_count(totals.n_circuits)} circuits, {shots}, {format_usd(totals.cost_usd)} · "
        f"trained in {format_duration(seconds)}"
    )


def _best_epoch(state: TrainState) -> str:
    return (
        f"best epoch {state.best_epoch} of {len(state.history)}"
        if state.best_epoch
        else "no epoch was finished"
    )


def _scores(state: TrainState, test: Mapping[str, float]) -> str:
    """Figures of the best parameters, a row each, by split."""
    best = state.history[state.best_epoch - 1].metrics if state.best_epoch else {}
    table: dict[str, dict[str, str]] = {}
    for name, value in {**best, **test}.items():
        split, _, measure = name.rpartition("/")
        table.setdefault(metric_label(measure), {})[split] = format_metric(name, value)
    if not table:
        return ""
    splits = {"train": "training", "val": "validation", "test": "test"}
    rows = [
        "| " + " | ".join([measure, *(cells.get(split, "") for split in splits)]) + " |"
        for measure, cells in table.items()
    ]
    return "\n".join(["| | " + " | ".join(splits.values()) + " |", "|---|---:|---:|---:|", *rows])


def _details(run: PreparedRun, state: TrainState) -> str:
    about, how = headline(run)
    stopped = state.stop_reason or "before its end"
    lines = [f"- {about}", f"- {how}"]
    if state.history:
        last = state.history[-1]
        lines.append(
            f"- stopped: {stopped}; best {last.monitored} {last.best_value:.4g} in epoch {last.best_epoch}"
        )
    if shares := time_shares(state.history):
        lines.append(f"- time of training: {shares}")
    return "\n".join(lines)


def _link_text(name: str) -> str:
    return Path(name).stem.replace("_", " ") if name.endswith((".png", ".html")) else name
