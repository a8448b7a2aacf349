"""What is said of hybrid networks and their twins: figures for machines, a table for people, a page for MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from pipelines.display.formatting import (
    format_count,
    format_duration,
    format_percent,
    format_usd,
    qfleet_command,
)
from pipelines.evaluate.intervals import wilson
from pipelines.hybrid.settings import HybridSettings
from pipelines.hybrid.study import LABELS, Outcome
from pipelines.report import Sections
from pipelines.studies.markdown import table
from pipelines.studies.statistics import PairedTest, mean_and_error, paired_test

SOURCE = {
    "seconds": 2288.4,
    "best_val_accuracy": 0.5848,
    "images": 1000,
    "size": 180,
    "epochs": 5,
    "batch_size": 32,
}
"""What the report that this workload is taken from (version 4.1.1, 6 January 2026) gives for its own run of it."""
_LEVEL = 0.05
_SKIPPED = ("predicted", "targets")


def figures(
    settings: HybridSettings, config: TrainingConfig, outcome: Outcome, seconds: float
) -> dict[str, Any]:
    """All of it as plain values. `seconds`: that this process has taken for everything."""
    seeds = outcome.seeds
    first = seeds[0]
    found: dict[str, Any] = {
        "settings": settings.to_json(),
        "run": {"epochs": config.run.epochs, "batch_size": config.run.batch_size, "seed": config.run.seed},
        "backend": config.backend.name,
        "shots": config.backend.shots,
        "data": first["source"],
        "classes": first["classes"],
        "samples": first["samples"],
        "left_out": sorted({line for one in seeds for line in one["left_out"]}),
        "arms": {arm: _arm(arm, seeds) for arm in first["arms"]},
        "baselines": {
            name: float(np.mean([one["baselines"][name] for one in seeds])) for name in first["baselines"]
        },
        "differences": {arm: asdict(_difference(arm, seeds)) for arm in first["arms"] if arm != "hybrid"},
        "seeds": [_without_rows(one) for one in seeds],
        "seconds": {"data": sum(one["data_seconds"] for one in seeds), "total": seconds},
    }
    if settings.workload == "images":
        found["source"] = SOURCE
    return found


def _arm(arm: str, seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """One network over all seeds. The interval is Wilson's of one seed; of several the standard error of their mean is given."""
    of_seeds = [one["arms"][arm] for one in seeds]
    mean, error = mean_and_error([one["test_accuracy"] for one in of_seeds])
    n = len(seeds[0]["targets"])
    interval = wilson(round(mean * n), n) if len(seeds) == 1 else None
    return {
        "test_accuracy": mean,
        "interval": None if interval is None else list(interval),
        "error": error,
        "val_accuracy": float(np.mean([one["history"][-1]["val_accuracy"] for one in of_seeds])),
        "best_val_accuracy": float(
            np.mean([max(epoch["val_accuracy"] for epoch in one["history"]) for one in of_seeds])
        ),
        "seconds": float(np.mean([sum(one["seconds"].values()) for one in of_seeds])),
        "params": of_seeds[0]["params"],
        "felt_params": of_seeds[0]["felt_params"],
        "circuits": sum(one["circuits"] for one in of_seeds),
        "cost_usd": sum(one["cost_usd"] for one in of_seeds),
    }


def _difference(arm: str, seeds: list[dict[str, Any]]) -> PairedTest:
    """The hybrid's gain over `arm`, test row by test row."""
    gains = []
    for one in seeds:
        targets = np.array(one["targets"])
        right = {name: np.array(one["arms"][name]["predicted"]) == targets for name in ("hybrid", arm)}
        gains.append(right["hybrid"].astype(np.float64) - right[arm])
    n_train = seeds[0]["samples"]["train"]
    return paired_test(gains, n_train=n_train, same_samples=False, is_classes=True, seed=seeds[0]["seed"])


def _without_rows(one: Mapping[str, Any]) -> dict[str, Any]:
    """A seed without what there is of every test row, which lies in the study's folder."""
    arms = {
        arm: {key: value for key, value in of_arm.items() if key not in _SKIPPED}
        for arm, of_arm in one["arms"].items()
    }
    return {key: value for key, value in one.items() if key not in _SKIPPED} | {"arms": arms}


def sections(found: Mapping[str, Any]) -> Sections:
    """The table."""
    arms, n_seeds = found["arms"], len(found["seeds"])
    rows: dict[str, Mapping[str, str]] = {
        LABELS[arm]: {
            "test accuracy": format_percent(figures_of["test_accuracy"]),
            "95 % interval" if n_seeds == 1 else "standard error": _spread(figures_of),
            "parameters": f"{sum(figures_of['params'].values()):,}",
            "time": format_duration(figures_of["seconds"]),
        }
        for arm, figures_of in arms.items()
    }
    shown: dict[str, Mapping[str, str | Mapping[str, str]]] = {
        "In the end" if n_seeds == 1 else f"Mean of {n_seeds} seeds": rows,
        "The hybrid": {
            f"against {LABELS[arm]}": in_words(test) for arm, test in found["differences"].items()
        },
        "Logistic regression": {
            f"on {name}": format_percent(value) for name, value in found["baselines"].items()
        },
    }
    if "source" in found:
        shown["Beside the source"] = _beside_source(found)
    shown["Setting"] = _setting(found)
    return shown


def _spread(of_arm: Mapping[str, Any]) -> str:
    if of_arm["interval"] is None:
        return format_percent(of_arm["error"])
    low, high = of_arm["interval"]
    return f"{format_percent(low)} to {format_percent(high)}"


def in_words(test: Mapping[str, Any]) -> str:
    """A paired test as a sentence: ``+0.5 % (-1.0 % to +2.0 %), p = 0.69: no more than chance``."""
    difference, low, high = (f"{100 * test[key]:+.1f} %" for key in ("difference", "low", "high"))
    is_more = test["p"] < _LEVEL
    verdict = "more than chance" if is_more else "no more than chance would make"
    p = f"p = {test['p']:.2g}" if test["p"] >= 1e-3 else f"p = {test['p']:.0e}"
    return f"{difference} ({low} to {high}), {p} by {test['method']}: {verdict}"


def _beside_source(found: Mapping[str, Any]) -> dict[str, str | Mapping[str, str]]:
    """Times, and best accuracies on validation samples, which is what the source gives."""
    source, arms = found["source"], found["arms"]
    rows: dict[str, str | Mapping[str, str]] = {
        "source's hybrid": _time_and_best(source["seconds"], source["best_val_accuracy"])
    }
    for arm in ("hybrid", "twin"):
        rows[f"{LABELS[arm]} here"] = _time_and_best(arms[arm]["seconds"], arms[arm]["best_val_accuracy"])
    rows["no like for like"] = unlike(found)
    return rows


def unlike(found: Mapping[str, Any]) -> str:
    """What the two runs do not have in common."""
    kind = "drawn heads" if found["settings"]["folder"] is None else "the images of your folder"
    exact = "exact simulation" if found["shots"] is None else f"{found['shots']} shots a circuit"
    samples, settings, run = found["samples"], found["settings"], found["run"]
    here = {
        "images": samples["train"] + samples["validation"], "pixels a side": settings["size"],
        "epochs": run["epochs"], "images a batch": run["batch_size"],
    }  # fmt: skip
    theirs = (SOURCE["images"], SOURCE["size"], SOURCE["epochs"], SOURCE["batch_size"])
    others = [
        f"{name}: {value:,} for their {of_source:,}"
        for (name, value), of_source in zip(here.items(), theirs, strict=True)
        if value != of_source
    ]
    return (
        f"theirs are photographs of cats and dogs, and a cloud simulator behind a network with 1,024 shots a circuit; here it is {kind}, "
        f"another network around the circuit, and {exact} by the backend {found['backend']!r}{'; ' * bool(others)}{'; '.join(others)}"
    )


def _time_and_best(seconds: float, accuracy: float) -> dict[str, str]:
    return {"time": format_duration(seconds), "best validation accuracy": format_percent(accuracy)}


def _setting(found: Mapping[str, Any]) -> dict[str, str]:
    settings, run, hybrid = found["settings"], found["run"], found["arms"]["hybrid"]
    sizes = "/".join(f"{n:,}" for n in found["samples"].values())
    unfelt = hybrid["params"]["middle"] - hybrid["felt_params"]
    twin = found["arms"]["twin"]["params"]["middle"]
    setting = {
        "data": f"{found['data']}; {sizes} for training, validation and test; {len(found['classes'])} classes",
        "training": f"{run['epochs']} epochs, batches of {run['batch_size']}, seed {run['seed']}"
        + (f" to {run['seed'] + len(found['seeds']) - 1}" if len(found["seeds"]) > 1 else ""),
        "circuit": f"{settings['qubits']} qubits, depth {settings['depth']}, {hybrid['params']['middle']} parameters"
        + (f", {unfelt} of which nothing that is measured depends on" if unfelt else "")
        + f"; the twin's layer has {twin}",
        "circuits": f"{format_count(hybrid['circuits'])} on {found['backend']}, "
        + (f"{found['shots']} shots each" if found["shots"] else "exact")
        + (f", {format_usd(hybrid['cost_usd'])}" if hybrid["cost_usd"] else ""),
        "time": f"{format_duration(found['seconds']['data'])} for the data, {format_duration(found['seconds']['total'])} in all",
    }
    if found["left_out"]:
        setting["left out"] = f"{len(found['left_out'])} files that could not be read"
    return setting


def markdown(title: str, found: Mapping[str, Any], handle: str) -> str:
    """The page."""
    lines = [f"# {title}: a hybrid network and its classical twin", ""]
    for heading, rows in sections(found).items():
        cells = {label: dict(row) for label, row in rows.items() if not isinstance(row, str)}
        if cells:
            lines += [*table(heading.lower(), cells), ""]
        else:
            lines += [f"**{heading}**", ""]
        lines += [f"- {label}: {text}" for label, text in rows.items() if isinstance(text, str)]
        lines.append("")
    lines.append(f"Again: `{qfleet_command('resume', handle)}`")
    return "\n".join(lines) + "\n"


def final_metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """What the run at MLflow is compared by."""
    metrics: dict[str, float] = {}
    for arm, of_arm in found["arms"].items():
        metrics[f"final/{arm}_test_accuracy"] = of_arm["test_accuracy"]
        metrics[f"final/{arm}_best_val_accuracy"] = of_arm["best_val_accuracy"]
        metrics[f"final/{arm}_seconds"] = of_arm["seconds"]
    for arm, test in found["differences"].items():
        metrics |= {f"gain_over_{arm}/{key}": test[key] for key in ("difference", "low", "high", "p")}
    metrics |= {f"baseline/{name.replace(' ', '_')}": value for name, value in found["baselines"].items()}
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def beforehand(about: Mapping[str, Any]) -> Sections:
    """What a dry run shows: `about` as of `pipelines.hybrid.command`."""
    networks: dict[str, str | Mapping[str, str]] = {
        LABELS[arm]: {part: f"{n:,}" for part, n in sizes.items()} for arm, sizes in about["params"].items()
    }
    return {
        "Parameters": networks,
        "Work": {
            "data": about["data"],
            "circuits": f"{format_count(about['circuits'])} for {about['seeds']} seed{'s' * (about['seeds'] > 1)}, "
            f"at most {format_count(about['circuits_per_step'])} a step",
            "cost": format_usd(about["cost_usd"]),
        },
    }
