"""``qfleet evaluate``: score the best parameters of a run on one of its splits, on the same backend or another."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import InputError
from orchestrator.training.loop import evaluate_samples
from orchestrator.training.reports import Samples, Totals
from pipelines.compose import build_backend
from pipelines.display.formatting import format_duration, format_metric, format_usd
from pipelines.run_setup import PreparedRun
from pipelines.saved_run import connected, saved_run
from pipelines.spending import check_allowed


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate a run as the command line says. Returns what ``--json`` prints."""
    from pipelines.report import print_sections

    saved = saved_run(options)
    folder, prepared, config, params, epoch = saved
    started = time.perf_counter()
    if options.baselines:
        _check_free(config, options.yes_spend)
    with connected(saved, options.yes_spend) as coordinator:
        scores = score(prepared, config, params, coordinator, options.split)
        figures = _figures(scores)
        if options.baselines:
            from pipelines.baselines import baselines

            print("training the baselines", file=sys.stderr)
            found = baselines(prepared, scores, options.split, coordinator)
            figures["baselines"] = [asdict(one) | {"verdict": one.verdict} for one in found]
    figures["seconds"] = {"total": time.perf_counter() - started}
    about = {
        "run_name": folder.name,
        "run_id": folder.mlflow_run_id,
        "best_epoch": epoch,
        "split": options.split,
    }
    print_sections(
        f"{folder.name}: {options.split} split", _sections(about, figures), to_stdout=not options.json
    )
    return about | figures


def _check_free(config: TrainingConfig, yes_spend_usd: float | None) -> None:
    """Refuse to train baselines for money.

    Raises:
        InputError: the target costs some. SpendingNotAllowedError: and nobody has allowed any.
    """
    backend = build_backend(config)
    check_allowed(config, backend, yes_spend_usd)
    if backend.capabilities.is_paid:
        raise InputError(
            f"--baselines would train the separable twin on {config.backend.target}, for money; nearest valid: --backend ideal"
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """How a model did on a split.

    Attributes:
        metrics: by tracking name: ``test/accuracy`` ...
        actual, predicted: [S], class indices or values; of the samples that were answered.
        class_names: None for regression.
        used: circuits, shots and dollars it took.
    """

    metrics: dict[str, float]
    actual: np.ndarray
    predicted: np.ndarray
    class_names: tuple[str, ...] | None
    used: Totals

    @property
    def confusion(self) -> np.ndarray | None:
        """int64 [K, K], row = actual class, column = predicted class; None for regression."""
        if self.class_names is None:
            return None
        n = len(self.class_names)
        return np.bincount(self.actual * n + self.predicted, minlength=n * n).reshape(n, n)


def score(
    prepared: PreparedRun, config: TrainingConfig, params: np.ndarray, coordinator: Coordinator, split: str
) -> Scores:
    """Run a split through the model.

    Raises:
        InputError: the split is empty.
    """
    samples: Samples = getattr(prepared.data, split)
    if not len(samples.targets):
        raise InputError(f"the {split} split is empty: this run was trained with data.{split}_fraction = 0")
    lost = np.zeros(len(samples.targets), bool)
    outputs, used = evaluate_samples(
        prepared.task.model, params, samples.features, coordinator,
        shots=config.backend.shots, seed=config.run.seed, purpose=split, lost=lost,
    )  # fmt: skip
    outputs, targets = outputs[~lost], samples.targets[~lost]
    loss = prepared.task.loss
    prefix = "val" if split == "validation" else split
    return Scores(
        metrics={f"{prefix}/{name}": value for name, value in loss.metrics(outputs, targets).items()},
        actual=targets,
        predicted=loss.predict(outputs)["prediction"],
        class_names=prepared.data.class_names,
        used=used,
    )


def _figures(scores: Scores) -> dict[str, Any]:
    """The scores as plain values."""
    figures: dict[str, Any] = {
        "metrics": scores.metrics,
        "samples": len(scores.actual),
        "circuits": scores.used.n_circuits,
        "shots": scores.used.n_shots,
        "cost_usd": scores.used.cost_usd,
    }
    if scores.class_names is not None and scores.confusion is not None:
        figures |= {"classes": list(scores.class_names), "confusion": scores.confusion.tolist()}
    return figures


def _sections(about: dict[str, Any], figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {
        "Scores": {name: format_metric(name, value) for name, value in figures["metrics"].items()},
        "Work": {
            "samples": figures["samples"],
            "circuits": figures["circuits"],
            "shots": figures["shots"],
            "cost": format_usd(figures["cost_usd"]),
            "time": format_duration(figures["seconds"]["total"]),
            "parameters of epoch": about["best_epoch"],
        },
    }
    if "baselines" in figures:
        sections["Against, 95 % interval"] = {
            one["name"]: _against(one, is_classes="classes" in figures) for one in figures["baselines"]
        }
    if "confusion" in figures:
        sections["Actual class, predicted as"] = {
            name: {other: str(count) for other, count in zip(figures["classes"], row, strict=True)}
            for name, row in zip(figures["classes"], figures["confusion"], strict=True)
        }
    return sections


def _against(one: dict[str, Any], *, is_classes: bool) -> str:
    """A baseline's score and how much better the model is."""
    if is_classes:
        gain, low, high = (f"{100 * one[name]:+.1f} %" for name in ("difference", "low", "high"))
        return f"{100 * one['score']:.1f} %; model {gain} ({low} to {high}): {one['verdict']}"
    gain = f"{one['difference']:+.3g} ({one['low']:+.3g} to {one['high']:+.3g})"
    return f"rmse {one['score']:.4g}; squared error less by {gain}: {one['verdict']}"


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["evaluate", *sys.argv[1:]]))
