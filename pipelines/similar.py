"""``qfleet similar``: trained models like a run's, in architecture, data set and behaviour."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, InputError
from pipelines.display.formatting import format_metric, metric_label
from pipelines.report import print_sections
from pipelines.run_folder import RunFolder
from pipelines.similarity.embedding import BLOCKS, block_weights, overall
from pipelines.similarity.kept import embeddings
from pipelines.similarity.known import KnownRun, known_runs, of_folder

_SHOWN_KEYS = 6
_MERITS = ("test/accuracy", "test/r2", "test/trash_fidelity", "test/loss")
_NOT_COMPARED = ("run.name", "run.directory", "model.initial_run")
_SECTIONS_NOT_COMPARED = ("tracking", "fleet", "checkpoint", "budget")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Find them. Returns what ``--json`` prints."""
    weights = block_weights(options.weights)
    for name, value in (("-k", options.k), ("--probe", options.probe)):
        if value < 1:
            raise InputError(f"{name} {value}: at least 1; nearest valid: 1")
    store = Path(options.store) if options.store else Path(options.directory) / ".similar"
    runs = known_runs(options.directory, options.tracking_uri, options.experiment, store / "fetched", _say)
    asked = _asked(options, runs)
    others = [each for each in runs if each.key != asked.key or each.name != asked.name]
    outcome = similar(asked, others, weights, options.k, options.probe, store)
    _print(outcome, to_stdout=not options.json)
    return outcome


def similar(
    asked: KnownRun, others: list[KnownRun], weights: Mapping[str, float], k: int, n_probes: int, store: Path
) -> dict[str, Any]:
    """The k of `others` most like `asked`, the most alike first, ties by name.

    Args:
        weights: by block. n_probes: see `pipelines.similarity.probe`. store: folder that keeps the embeddings.

    Raises:
        InputError: there is no other run. CheckpointError: a file of `asked` is damaged.
    """
    made = embeddings([asked, *others], n_probes, store, _say)
    if asked.key not in made:
        raise CheckpointError(f"{asked.name} cannot be compared: a file of it is damaged")
    mine = made[asked.key]
    others = [other for other in others if other.key in made]
    if not others:
        raise InputError(f"there is no other trained run to compare {asked.name} with")
    rows: list[dict[str, Any]] = []
    for other in others:
        by_block = mine.similarities(made[other.key])
        rows.append(
            {
                "run": other.name,
                "similarity": overall(by_block, weights),
                **by_block,
                "metrics": _test_metrics(other.metrics),
                "differs": differing(asked.config, other.config),
            }
        )
    rows.sort(key=lambda row: (-row["similarity"], row["run"]))
    return {
        "run": asked.name,
        "metrics": _test_metrics(asked.metrics),
        "behaviour": mine.kind,
        "weights": dict(weights),
        "probes": n_probes,
        "compared": len(others),
        "similar": rows[:k],
    }


def differing(one: TrainingConfig, other: TrainingConfig) -> dict[str, list[Any]]:
    """[value of `one`, value of `other`] by key, of the keys that say what is learned from what and how."""
    mine, theirs = one.flattened(), other.flattened()
    return {
        key: [mine.get(key), theirs.get(key)]
        for key in sorted(mine.keys() | theirs.keys())
        if key.partition(".")[0] not in _SECTIONS_NOT_COMPARED
        and key not in _NOT_COMPARED
        and mine.get(key) != theirs.get(key)
    }


def _asked(options: argparse.Namespace, runs: list[KnownRun]) -> KnownRun:
    """The run that is meant: a folder, or one of those at MLflow by its id or name."""
    try:
        return of_folder(RunFolder.find(options.run, options.directory))
    except InputError:
        for each in runs:
            if options.run in (each.name, each.model.parent.parent.name):
                return each
        raise


def _test_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if key.startswith("test/")}


def _print(outcome: dict[str, Any], *, to_stdout: bool) -> None:
    rows = {
        row["run"]: {
            "all": f"{row['similarity']:.3f}",
            **{block: "–" if row[block] is None else f"{row[block]:.3f}" for block in BLOCKS},
            **_score(row["metrics"]),
        }
        for row in outcome["similar"]
    }
    differs = {
        row["run"]: "; ".join(
            f"{key} {mine} → {theirs}" for key, (mine, theirs) in list(row["differs"].items())[:_SHOWN_KEYS]
        )
        + (f" and {len(row['differs']) - _SHOWN_KEYS} more" if len(row["differs"]) > _SHOWN_KEYS else "")
        or "nothing that was configured"
        for row in outcome["similar"]
    }
    weights = ", ".join(f"{block} {weight:g}" for block, weight in outcome["weights"].items())
    about = {
        "test split": ", ".join(f"{name} {value}" for name, value in _score(outcome["metrics"]).items())
        or "none",
        "behaviour": f"compared among models of {outcome['behaviour']}",
        "weights": weights,
        "compared with": f"{outcome['compared']} runs",
    }
    sections: dict[str, Any] = {"This run": about, "Similarity, 1 = alike": rows, "What differs": differs}
    print_sections(f"{outcome['run']}: runs like it", sections, to_stdout=to_stdout)


def _score(metrics: Mapping[str, float]) -> dict[str, str]:
    """The figure of merit on the test split, by its name; empty where there is none."""
    best = next((key for key in _MERITS if key in metrics), None)
    return {} if best is None else {metric_label(best): format_metric(best, metrics[best])}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["similar", *sys.argv[1:]]))
