"""What is said about a run: the summary before it, the table and the line that opens it after it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import InputError
from orchestrator.phases import added
from orchestrator.training.gradient import predicted_step
from orchestrator.training.reports import EpochReport, Totals
from pipelines.compose import mitigation_of
from pipelines.display.formatting import (
    format_count,
    format_duration,
    format_metric,
    format_percent,
    format_rate,
    format_usd,
    from_here,
    metric_label,
    qfleet_command,
)
from pipelines.display.tables import result_table
from pipelines.result import TrainingResult
from pipelines.run_setup import PreparedRun

Sections = Mapping[str, Mapping[str, str | Mapping[str, str]]]

_HEADLINES = ("accuracy", "r2", "trash_fidelity")


def summary(run: PreparedRun) -> dict[str, Any]:
    """What would run, as plain values: sizes, circuits by step, epoch and run."""
    task, data = run.task, run.data
    n_train = len(data.train.targets)
    n_batch = min(run.config.run.batch_size, n_train)
    n_validation = 0 if task.validation is None else len(task.validation.targets) * _circuits_per_forward(run)
    n_short = task.n_steps // task.n_batches if n_train % n_batch else 0  # steps with the rest of an epoch
    mitigation = mitigation_of(run.config.backend)
    in_place_of_one = mitigation.circuits_per_point
    per_step = predicted_step(task, n_batch).n_circuits * in_place_of_one
    per_short_step = predicted_step(task, n_train % n_batch).n_circuits * in_place_of_one if n_short else 0
    n_epochs = math.ceil(task.n_steps / task.n_batches)
    n_test = len(data.test.targets) * _circuits_per_forward(run)
    return {
        "dry_run": True,
        "data": data.source,
        "samples": {
            "train": n_train,
            "validation": len(data.validation.targets),
            "test": len(data.test.targets),
        },
        "features": data.n_features,
        "classes": None if data.class_names is None else list(data.class_names),
        "qubits": task.model.template.n_qubits,
        "gates": len(task.model.template.gates),
        "parameters": task.model.n_params,
        "circuit_parameters": task.model.n_circuit_params,
        "trainable_parameters": int((~task.model.frozen).sum()),
        "observables": list(task.model.readout.names),
        "gradient_rule": task.rule.name,
        "backend": run.config.backend.name,
        "shots": run.config.backend.shots,
        "steps": task.n_steps,
        "circuits_saved_per_step": _saved_by_freezing(run, per_step),
        "circuits_per_sample": per_step / n_batch,
        "circuits_per_step": per_step,
        "circuits": (task.n_steps - n_short) * per_step
        + n_short * per_short_step
        + n_epochs * n_validation
        + n_test
        + mitigation.n_calibration_circuits,
    }


def _saved_by_freezing(run: PreparedRun, per_step: int) -> int:
    """Circuits that a step takes less because parameters are frozen."""
    task = run.task
    if not task.model.frozen.any():
        return 0
    whole = replace(task, model=task.model.with_frozen([]))
    n_batch = min(task.run.batch_size, len(task.train.targets))
    try:
        in_place_of_one = mitigation_of(run.config.backend).circuits_per_point
        return predicted_step(whole, n_batch).n_circuits * in_place_of_one - per_step
    except InputError:  # a rule that takes no more than what is left
        return 0


def _circuits_per_forward(run: PreparedRun) -> int:
    n_groups = len(run.task.model.measured.groups) if run.config.backend.shots else 1
    return n_groups * mitigation_of(run.config.backend).circuits_per_point


def headline(run: PreparedRun) -> list[str]:
    """Two lines that say what is about to run."""
    about = summary(run)
    exact = f"{about['shots']} shots" if about["shots"] else "exact"
    fleet = run.config.fleet
    where = f"{fleet.size} Ray actors" if fleet.dispatcher == "ray" else "in this process"
    where = f"fleet {fleet.name}" if fleet.is_shared else where
    sizes = "/".join(str(n) for n in about["samples"].values())
    return [
        f"{about['data']}: {sizes} samples (train/validation/test), {about['features']} features",
        f"{about['qubits']} qubits, {about['gates']} gates, {about['parameters']} parameters · {about['gradient_rule']} · "
        f"{about['backend']} ({exact}) · {where}",
    ]


def summary_sections(run: PreparedRun) -> Sections:
    """`summary` for people."""
    about = summary(run)
    counts, saved = about["samples"], about["circuits_saved_per_step"]
    data = {
        "source": str(about["data"]),
        "samples": ", ".join(f"{name} {count}" for name, count in counts.items()),
        "features": str(about["features"]),
    }
    if about["classes"] is not None:
        data["classes"] = ", ".join(about["classes"])
    n_latent = run.config.model.latent_qubits
    compressed = "" if n_latent is None else f", compressed to {n_latent}"
    return {
        "Model": {
            "circuit": f"{about['qubits']} qubits{compressed}, {about['gates']} gates",
            "parameters": f"{about['parameters']} ({about['trainable_parameters']} trainable)",
            "observables": ", ".join(about["observables"]),
        },
        "Data": data,
        "Work": {
            "gradient rule": about["gradient_rule"],
            "backend": f"{about['backend']}, {about['shots'] or 'no'} shots"
            + ("" if about["shots"] else " (exact)"),
            "steps": format_count(about["steps"]),
            "circuits a step": format_count(about["circuits_per_step"])
            + (f" ({format_count(saved)} fewer by frozen parameters)" if saved else ""),
            "circuits in all": format_count(about["circuits"]),
        },
    }


def print_sections(
    title: str,
    sections: Mapping[str, Mapping[str, Any]],
    footer: Sequence[str] = (),
    *,
    to_stdout: bool = True,
) -> None:
    """A table of sections, on stdout (or stderr where stdout is for machines)."""
    texts: Sections = {
        heading: {label: value if isinstance(value, Mapping) else str(value) for label, value in rows.items()}
        for heading, rows in sections.items()
    }
    result_table(title, texts, footer, file=sys.stdout if to_stdout else sys.stderr)


def print_result(result: TrainingResult, *, to_stdout: bool = True) -> None:
    """The result table, where the files are, and how to open the run in MLflow."""
    metrics, seconds, best = result.metrics, result.seconds, result.best
    run = result.run
    about = summary(run)
    scores: dict[str, dict[str, str]] = {}
    for name, value in metrics.items():
        split, _, measure = name.rpartition("/")
        scores.setdefault(metric_label(measure), {})[split] = format_metric(name, value)
    totals = result.totals
    rate = (
        f" ({format_rate(result.circuits_per_second, 1.0, 'circuits')})" if result.circuits_per_second else ""
    )
    stages = ", ".join(
        f"{k} {format_duration(v)}" for k, v in seconds.items() if k != "total" and "." not in k
    )
    sections: Sections = {
        "Scores (best parameters)": scores,
        "Training": {
            "best epoch": f"{best['epoch']} of {len(result.history)} ({best['metric']} {best['value']:.4f})"
            if best
            else "none was finished",
            "stopped": result.stop_reason or "interrupted",
            "steps": format_count(result.n_steps),
            "gradient rule": about["gradient_rule"],
        },
        "Model": summary_sections(run)["Model"],
        "Work": {
            "circuits": f"{format_count(totals.n_circuits)}{rate}",
            "shots": format_count(totals.n_shots) if totals.n_shots else "none (exact)",
            "cost": format_usd(totals.cost_usd),
            "time": f"{format_duration(seconds['total'])} ({stages})",
            "training time": time_shares(result.history) or "no epoch was finished",
            **_of_failures_and_targets(totals),
            **_of_the_service(result),
            "parameters": f"sha256 {result.to_json()['params_sha256'][:16]}…",
        },
    }
    folder = Path(from_here(result.folder.path))
    footer = [f"files    {folder}", f"plot     {folder / 'artifacts' / 'training.png'}"]
    if result.tracking_uri is not None:
        footer.append(f"MLflow   {qfleet_command('ui', result.folder.handle)}")
    headline_metric = next(
        (f"{split}/{m}" for split in ("test", "val") for m in _HEADLINES if f"{split}/{m}" in metrics), None
    )
    title = result.folder.name
    if headline_metric:
        title += (
            f": {metric_label(headline_metric)} {format_metric(headline_metric, metrics[headline_metric])}"
        )
    print_sections(title, sections, footer, to_stdout=to_stdout)


def _of_failures_and_targets(totals: Totals) -> dict[str, str]:
    """What was not answered as it was asked, and who answered."""
    lines: dict[str, str] = {}
    if totals.samples_skipped:
        lines["left out"] = (
            f"{format_count(totals.samples_skipped, 'samples')} whose jobs failed (on_failure = skip_samples)"
        )
    if totals.jobs_simulated:
        lines["fallback"] = (
            f"{format_count(totals.jobs_simulated, 'jobs')} failed and were simulated (on_failure = simulate)"
        )
    if len(totals.jobs_by_target) > 1:
        lines["jobs"] = ", ".join(
            f"{target} {format_count(n)}" for target, n in sorted(totals.jobs_by_target.items())
        )
    return lines


def _of_the_service(result: TrainingResult) -> dict[str, str]:
    """Where the time of its jobs went, and what it charged."""
    lines: dict[str, str] = {}
    how = qfleet_command("resume", result.folder.handle)
    held = None if result.spending is None else result.spending.held_text(how)
    if held is not None:
        lines["under way"] = held
    if result.reconciliation is not None:
        lines["bill"] = result.reconciliation.text
    if result.latency is not None:
        lines["latency"] = f"{result.latency.shares_text()}; {result.latency.jobs_text()}"
        lines["what if"] = result.latency.what_if_text()
    return lines


def time_shares(history: Sequence[EpochReport]) -> str:
    """The share of each phase in the time of the finished epochs; empty where nothing is known of it."""
    phases: dict[str, float] = {}
    for epoch in history:
        phases = added(phases, epoch.phases)
    total = sum(phases.values())
    if not total:
        return ""
    return ", ".join(f"{phase} {format_percent(seconds / total)}" for phase, seconds in phases.items())
