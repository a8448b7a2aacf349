"""``qfleet examples benchmark``: does it help to choose training data for a task, and what does one table for many tasks save on disk?

Tasks are pairs of handwritten digits that look alike. For each task and seed the examples are parted into 60 % to choose from and 40 %
to test on; the same small model learns from k of the former, half of each class, chosen in four ways, in the same number of steps:

* **random**: drawn with equal weights;
* **weighted**: drawn by weight, which falls with the distance from the mean of the example's own class (a Gaussian as wide as the
  median distance): typical examples more often;
* **typical**: the nearest to that mean;
* **border**: the nearest to the mean of the other class.

Means and weights know nothing of the test samples; the principal components in which nearness is measured are those of all images, labels
left out. Compared is the mean accuracy over the tasks, seed by seed, each way less random;
the interval is a 95 % bootstrap over seeds (`pipelines.merits.interval`), so it covers the split, the draw and the initial
parameters, but no other tasks than these.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orchestrator.config import DataConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import InputError
from orchestrator.training.loop import evaluate_samples, initial_state, train
from pipelines.compose import build_backend, build_coordinator
from pipelines.data.table import Table, load, table_from_arrays
from pipelines.example_store.drawing import uniform
from pipelines.example_store.selection import Selection
from pipelines.example_store.store import ExampleStore
from pipelines.example_store.study_report import BETTER, NONE_SEEN, WORSE, report, sections
from pipelines.example_store.table import check_installed
from pipelines.merits import interval
from pipelines.plots.examples import choosing_study
from pipelines.report import print_sections
from pipelines.run_setup import prepare_run
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Study

KIND = "examples"
PAIRS = ((3, 8), (4, 9), (1, 7), (5, 9), (2, 8))
WAYS = ("random", "weighted", "typical", "border")
STEPS, BATCH = 60, 8
_TEST_SHARE = 0.4
_CONFIG = [
    "data.name=digits", "data.n_components=4", "data.validation_fraction=0", "model.n_qubits=4", "model.n_layers=2",
    "model.observables=first", "model.head=none", "model.output_scale=8", "optimizer.learning_rate=0.1",
    f"run.batch_size={BATCH}", "fleet.dispatcher=serial",
]  # fmt: skip
N_SHARED = 10


class Cell(NamedTuple):
    """One training: which task, seed, number of examples and way of choosing them."""

    pair: tuple[int, int]
    seed: int
    k: int
    way: str

    @property
    def key(self) -> str:
        """Of the journal."""
        return f"{self.pair[0]}-{self.pair[1]} seed {self.seed} k {self.k} {self.way}"


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run it. Returns what ``--json`` prints."""
    check_installed()
    if options.seeds < 2:
        raise InputError(f"--seeds {options.seeds}: at least 2, for an interval; nearest valid: 2")
    for k in options.examples:
        if k < 8 or k % 2 or k > 200:
            nearest = min(max(k + k % 2, 8), 200)
            raise InputError(f"--examples {k}: an even number from 8 to 200; nearest valid: {nearest}")
    tracked = "false" if options.no_tracking else "true"
    config = TrainingConfig().with_overrides([*_CONFIG, f"tracking.enabled={tracked}"])
    asks = {"seeds": options.seeds, "examples": sorted(set(options.examples))}
    folder = StudyFolder.create(KIND, config, asks, directory=options.directory, name=options.name)
    return resume(folder, options)


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Run what is left of it, and report."""
    asks = folder.asks
    params = {"seeds": asks["seeds"], "examples": str(asks["examples"]), "tasks": len(PAIRS), "steps": STEPS}
    with Study(
        folder, params=params, description="Training data for a task, chosen by weight or nearness."
    ) as study:
        store = _filled(folder.path / "store", asks["seeds"])
        done = _journaled(folder.path / "results.jsonl")
        _train_all(folder, study, store, done, asks)
        outcome = {
            "gains": _gains(done, asks),
            "accuracies": _accuracies(done, asks),
            "bytes": _bytes(),
            **asks,
            "tasks": [list(pair) for pair in PAIRS],
            "trainings": len(done),
        }
        plot = folder.artifacts / "choosing.png"
        choosing_study(outcome, plot)
        metrics = {f"gain/{row['way']}-{row['k']}": row["mean"] for row in outcome["gains"]}
        outcome = study.finish(report(outcome), outcome, metrics, [plot])
    print_sections(f"{folder.name}: choosing training data", sections(outcome), [f"plot     {plot}"],
                   to_stdout=not options.json)  # fmt: skip
    return outcome


@functools.cache
def _digits() -> Table:
    return load(DataConfig(name="digits"))


def _filled(path: Path, n_seeds: int) -> ExampleStore:
    """All digits once, with two contexts for each task and seed: ``3-8-s0`` by weight and ``3-8-s0-any`` with equal weights."""
    table = _digits()
    names = [f"digit-{row:04d}" for row in range(len(table.target))]
    store = ExampleStore.open(path)
    chances = np.stack([uniform(names, seed) for seed in range(n_seeds)])
    contexts: dict[str, np.ndarray] = {}
    for pair in PAIRS:
        for seed in range(n_seeds):
            is_pool = np.isin(table.target, pair) & (chances[seed] >= _TEST_SHARE)
            contexts[_context(pair, seed)] = _typicality(table.features, table.target, is_pool)
            contexts[f"{_context(pair, seed)}-any"] = is_pool.astype(np.float64)
    store.add(
        table.features,
        table.target,
        names,
        contexts=contexts,
        vectors="pca",
        feature_names=table.feature_names,
    )
    return store


def _typicality(features: np.ndarray, targets: np.ndarray, is_pool: np.ndarray) -> np.ndarray:
    """float64 [S]: exp(-d²/2m²), d the distance to the mean of the example's class in the pool, m the median of these; 0 outside it."""
    distances = np.zeros(len(targets))
    for digit in np.unique(targets[is_pool]):
        rows = is_pool & (targets == digit)
        distances[rows] = np.linalg.norm(features[rows] - features[rows].mean(axis=0), axis=1)
    middle = np.median(distances[is_pool])
    return np.where(is_pool, np.exp(-(distances**2) / (2 * middle**2)), 0.0)


def _train_all(
    folder: StudyFolder, study: Study, store: ExampleStore, done: dict[str, float], asks: Mapping[str, Any]
) -> None:
    cells = list(_cells(asks))
    backend = build_backend(folder.config)
    coordinator = build_coordinator(folder.config.fleet, backend)
    try:
        with open(folder.path / "results.jsonl", "a", encoding="utf-8") as journal:
            for n, cell in enumerate(cells, 1):
                if cell.key in done:
                    continue
                done[cell.key] = _accuracy(store, folder.config, coordinator, cell)
                journal.write(json.dumps({"cell": cell.key, "accuracy": done[cell.key]}) + "\n")
                journal.flush()
                if n % (len(cells) // 10 or 1) == 0:
                    study.say(f"[{n}/{len(cells)}] {cell.key}: accuracy {done[cell.key]:.3f}")
    finally:
        coordinator.dispatcher.close()


def _cells(asks: Mapping[str, Any]) -> Iterator[Cell]:
    for seed in range(asks["seeds"]):
        for pair in PAIRS:
            for k in asks["examples"]:
                for way in WAYS:
                    yield Cell(pair, seed, k, way)


def _accuracy(store: ExampleStore, config: TrainingConfig, coordinator: Coordinator, cell: Cell) -> float:
    """Of the model that learned from the examples of a cell, on the samples that none of them were chosen from."""
    chosen = [_chosen(store, cell, digit) for digit in cell.pair]
    pool = store.select(f"{_context(cell.pair, cell.seed)}-any", weighted=False)
    everything = _digits()
    taken = {int(name.removeprefix("digit-")) for name in pool.ids}
    test = [row for row in np.flatnonzero(np.isin(everything.target, cell.pair)) if row not in taken]
    features = np.concatenate([*(each.features for each in chosen), everything.features[test]])
    targets = np.concatenate([*(each.targets for each in chosen), everything.target[test]])
    table = replace(table_from_arrays(features, targets), n_test=len(test))
    epochs = math.ceil(STEPS / math.ceil(cell.k / BATCH))
    given = config.with_overrides([f"run.seed={cell.seed}", f"run.epochs={epochs}", "data.name=arrays"])
    task = prepare_run(given, table=table)
    state = initial_state(task.task)
    for _ in train(task.task, state, coordinator):
        pass
    samples = task.data.test
    outputs, _ = evaluate_samples(
        task.task.model,
        state.params,
        samples.features,
        coordinator,
        shots=None,
        seed=cell.seed,
        purpose="test",
    )
    return float(np.mean(task.task.loss.predict(outputs)["prediction"] == samples.targets))


def _chosen(store: ExampleStore, cell: Cell, digit: int) -> Selection:
    """Half of the examples of a cell: those of one class."""
    context, where, k = _context(cell.pair, cell.seed), f"target = {digit}", cell.k // 2
    if cell.way == "random":
        return store.select(f"{context}-any", where=where, k=k, seed=cell.seed)
    if cell.way == "weighted":
        return store.select(context, where=where, k=k, seed=cell.seed)
    other = cell.pair[0] if digit == cell.pair[1] else cell.pair[1]
    towards = store.select(
        f"{context}-any", where=f"target = {digit if cell.way == 'typical' else other}", weighted=False
    )
    near = store.embed(towards.features).mean(axis=0)
    return store.select(context, where=where, near=near, k=k, weighted=False, metric="l2")


def _context(pair: tuple[int, int], seed: int) -> str:
    return f"{pair[0]}-{pair[1]}-s{seed}"


def _journaled(path: Path) -> dict[str, float]:
    """Accuracy by cell, of what an earlier process has done; a torn last line is done again."""
    if not path.is_file():
        return {}
    found: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            found[entry["cell"]] = float(entry["accuracy"])
        except (ValueError, KeyError, TypeError):
            continue
    if not path.read_bytes().endswith(b"\n"):
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n")
    return found


def _by_seed(done: Mapping[str, float], asks: Mapping[str, Any], k: int, way: str) -> np.ndarray:
    """float64 [seeds]: mean accuracy over the tasks."""
    return np.array([
        np.mean([done[Cell(pair, seed, k, way).key] for pair in PAIRS]) for seed in range(asks["seeds"])
    ])  # fmt: skip


def _accuracies(done: Mapping[str, float], asks: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for k in asks["examples"]:
        for way in WAYS:
            values = _by_seed(done, asks, k, way)
            error = float(values.std(ddof=1) / math.sqrt(len(values)))
            found.append({"k": k, "way": way, "mean": float(values.mean()), "standard_error": error})
    return found


def _gains(done: Mapping[str, float], asks: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for k in asks["examples"]:
        for way in WAYS[1:]:
            gain = _by_seed(done, asks, k, way) - _by_seed(done, asks, k, "random")
            low, high = interval(gain, seed=0)
            verdict = BETTER if low > 0 else WORSE if high < 0 else NONE_SEEN
            found.append(
                {"k": k, "way": way, "mean": float(gain.mean()), "low": low, "high": high, "verdict": verdict}
            )
    return found


def _bytes() -> list[dict[str, Any]]:
    """One table for T tasks beside T tables with the examples of one task each, each table written by one `add`."""
    table = _digits()
    pairs = [(a, b) for a in range(10) for b in range(a)]
    members = {f"{a}-{b}": np.flatnonzero(np.isin(table.target, (a, b))) for a, b in pairs}
    everything = np.arange(len(table.target))
    alone = {f"digit-{a}": np.flatnonzero(table.target == a) for a in range(10)}
    shared = {f"task-{i}": everything for i in range(N_SHARED)}
    found = []
    for name, tasks in (
        ("45 pairs of digits", members),
        ("10 tasks, all shared", shared),
        ("10 tasks, none shared", alone),
    ):
        one, copies = _one_and_copies(table.features, table.target, tasks)
        found.append(
            {"tasks": name, "n_tasks": len(tasks), "one": one, "copies": copies, "ratio": one / copies}
        )
    return found


def _one_and_copies(
    features: np.ndarray, targets: np.ndarray, tasks: Mapping[str, np.ndarray]
) -> tuple[int, int]:
    rng = np.random.default_rng(0)
    weights = {name: rng.uniform(0.1, 1.0, len(rows)) for name, rows in tasks.items()}
    with tempfile.TemporaryDirectory(prefix="qfleet-examples-") as scratch:
        contexts = {}
        for name, rows in tasks.items():
            contexts[name] = np.zeros(len(targets))
            contexts[name][rows] = weights[name]
        ids = [f"digit-{row:04d}" for row in range(len(targets))]
        one = ExampleStore.open(Path(scratch) / "one")
        one.add(features, targets, ids, contexts=contexts)
        copies = 0
        for name, rows in tasks.items():
            copy = ExampleStore.open(Path(scratch) / name)
            copy.add(
                features[rows], targets[rows], [ids[row] for row in rows], contexts={name: weights[name]}
            )
            copies += copy.n_bytes
        return one.n_bytes, copies


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["examples", "benchmark", *sys.argv[1:]]))
