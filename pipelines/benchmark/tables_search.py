"""The hyperparameters of ``qfleet benchmark tables``: the best of a grid, by 5-fold cross-validation on the training split alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from pipelines.benchmark.tables_runs import Fits, Run
from pipelines.benchmark.tables_settings import GRIDS, DataSet

N_FOLDS = 5
_SEED = 0


def search(
    models: Sequence[str], data_sets: Sequence[DataSet], fits: Fits, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Every setting's mean accuracy on the held-out folds, best first within a model and data set; of equals the earlier in the grid."""
    runs = [
        Run(model, data, setting, _SEED, (fold, N_FOLDS))
        for model in models
        for data in data_sets
        for setting in GRIDS[model]
        for fold in range(N_FOLDS)
    ]
    scores: defaultdict[Run, list[float]] = defaultdict(list)
    for n_done, (run, fit) in enumerate(fits(runs), start=1):
        of_setting = scores[run._replace(fold=None)]
        of_setting.append(fit.test_accuracy)
        if len(of_setting) == N_FOLDS:
            say(
                f"[{n_done}/{len(runs)}] {run.model}, {run.data.family} {run.data.n_features}, {run.setting}: {mean(of_setting):.3f}"
            )
    ordered = [run._replace(fold=None) for run in runs[::N_FOLDS]]
    rows = [
        {
            "model": r.model,
            "data": r.data.family,
            "features": r.data.n_features,
            **r.setting._asdict(),
            "accuracy": mean(scores[r]),
        }
        for r in ordered
    ]
    place = {model: index for index, model in enumerate(models)}
    return sorted(
        rows,
        key=lambda row: (
            place[row["model"]],
            data_sets.index(DataSet(row["data"], row["features"])),
            -round(row["accuracy"], 9),  # equal counts of samples are equal
        ),
    )
