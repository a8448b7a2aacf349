"""What came of the trainings: by setting, by pair, and in a sentence. Plain values, which the report, the tables and the plots show."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.checkpoints import Checkpoints
from pipelines.compare.settings import Setting
from pipelines.display.formatting import format_metric, metric_label
from pipelines.run_folder import RunFolder
from pipelines.studies.predictions import Predictions, read_predictions
from pipelines.studies.statistics import PairedTest, holm, mean_and_error, paired_test, pareto_front
from pipelines.studies.study import Member

ALPHA = 0.05
_MERITS = {"test/accuracy": 1.0, "test/trash_fidelity": 1.0, "test/rmse": -1.0}
"""What settings are ranked by, the first that there is; its sign where the larger is the better."""
_COSTS = ("circuits", "shots", "cost_usd")


@dataclass(frozen=True, eq=False)
class Trained:
    """A training that has come to its end.

    Attributes:
        setting: its number among those compared.
    """

    setting: int
    seed: int
    member: Member
    predictions: Predictions | None

    @classmethod
    def of(cls, setting: int, seed: int, member: Member) -> Trained:
        """With what its folder holds."""
        return cls(setting, seed, member, read_predictions(member.folder))


def figures_of(
    settings: Sequence[Setting], trained: Sequence[Trained], failed: Mapping[str, str], against: str
) -> dict[str, Any]:
    """Everything found, as plain values.

    Args:
        failed: why, by the name of the training.
        against: what the others are tested against: ``best``, ``first``, or the name of a setting.
    """
    merit = next((name for name in _MERITS if any(name in one.member.metrics for one in trained)), None)
    rows = [
        _row(i, setting, [one for one in trained if one.setting == i], merit)
        for i, setting in enumerate(settings)
    ]
    _mark_fronts(rows, merit)
    found: dict[str, Any] = {
        "settings": rows,
        "members": [_member(settings[one.setting], one) for one in trained],
        "failed": dict(failed),
        "merit": merit,
        "fixed": against != "best",
    }
    if merit is None:
        return found | {"best": None, "reference": None, "comparisons": []}
    best = max((row for row in rows if row["trained"]), key=lambda row: _ranked(row, merit))
    reference = {"best": best["name"], "first": rows[0]["name"]}.get(against, against)
    comparisons = comparisons_of(settings, trained, reference, fixed=against != "best", merit=merit)
    return found | {"best": best["name"], "reference": reference, "comparisons": comparisons}


def comparisons_of(
    settings: Sequence[Setting], trained: Sequence[Trained], reference: str, *, fixed: bool, merit: str
) -> list[dict[str, Any]]:
    """The reference against each of the others that answered for the same samples.

    Where the reference was fixed beforehand, Holm's correction is over these comparisons. Where it is the best by the very scores that
    are tested, it is over all pairs of settings, so that having chosen it is paid for.
    """
    names = [setting.title for setting in settings]
    chosen = names.index(reference)
    pairs = [(i, j) for i, j in itertools.combinations(range(len(names)), 2) if not fixed or chosen in (i, j)]
    tests = {pair: test for pair in pairs if (test := _test(pair, trained, merit)) is not None}
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    found = []
    for pair, test in tests.items():
        if chosen not in pair:
            continue
        other = pair[0] if pair[1] == chosen else pair[1]
        turned = test if pair[0] == chosen else _turned(test)
        p = corrected[pair]
        found.append(
            {
                "setting": names[other],
                "against": reference,
                **asdict(turned),
                "p_holm": p,
                "differs": p < ALPHA,
            }
        )
    return found


def _test(pair: tuple[int, int], trained: Sequence[Trained], merit: str) -> PairedTest | None:
    """The first of a pair against the second, over the seeds that both have; None where nothing can be paired."""
    first, second = ({one.seed: one.predictions for one in trained if one.setting == i} for i in pair)
    found = []
    for seed, ours in first.items():
        theirs = second.get(seed)
        if ours is not None and theirs is not None and ours.is_of_the_samples_of(theirs):
            found.append((ours, theirs))
    if not found:
        return None
    rows = [ours.rows for ours, _ in found]
    return paired_test(
        [ours.merit - theirs.merit for ours, theirs in found],
        n_train=min(min(ours.n_train, theirs.n_train) for ours, theirs in found),
        same_samples=all(np.array_equal(rows[0], each) for each in rows[1:]),
        is_classes=found[0][0].kind == "classes",
    )


def _turned(test: PairedTest) -> PairedTest:
    """Seen from the other side."""
    return PairedTest(
        -test.difference, -test.high, -test.low, test.p, test.method, test.n_seeds, test.n_samples
    )


def _row(number: int, setting: Setting, mine: Sequence[Trained], merit: str | None) -> dict[str, Any]:
    names = dict.fromkeys(name for one in mine for name in one.member.metrics)
    results = [one.member.result for one in mine]
    means: dict[str, Any] = {
        name: _spread([one.member.metrics[name] for one in mine if name in one.member.metrics])
        for name in names
    }
    work = {name: _spread([float(result[name]) for result in results]) for name in _COSTS}
    return {
        "name": setting.title,
        "label": setting.label,
        "number": number,
        "values": setting.values,
        "trained": len(mine),
        "merit": None if merit is None or merit not in means else means[merit],
        "scores": means,
        **work,
        "seconds": _spread([float(result["seconds"].get("total", 0.0)) for result in results]),
        "curve": curve_of([one.member.folder for one in mine]),
    }


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    mean, error = mean_and_error(values)
    return {"mean": mean, "error": error, "values": list(values)}


def _ranked(row: Mapping[str, Any], merit: str) -> float:
    return -math.inf if row["merit"] is None else _MERITS[merit] * float(row["merit"]["mean"])


def _mark_fronts(rows: Sequence[dict[str, Any]], merit: str | None) -> None:
    """Which settings are on the front of cost against merit, by circuits and by dollars."""
    scored = [row for row in rows if merit is not None and row["merit"] is not None]
    for cost in ("circuits", "cost_usd"):
        costs = [float(row[cost]["mean"]) for row in scored]
        means_nothing = cost == "cost_usd" and not any(costs)
        marks = pareto_front(costs, [_ranked(row, merit or "") for row in scored])
        for row, mark in zip(scored, marks, strict=True):
            row.setdefault("on_front", {})[cost] = None if means_nothing else mark


def _member(setting: Setting, one: Trained) -> dict[str, Any]:
    result = one.member.result
    return {
        "name": one.member.name,
        "setting": setting.title,
        "seed": one.seed,
        "run_id": result.get("run_id"),
        "metrics": one.member.metrics,
        "circuits": result["circuits"],
        "shots": result["shots"],
        "cost_usd": result["cost_usd"],
        "seconds": result["seconds"].get("total", 0.0),
        "stop_reason": result.get("stop_reason"),
    }


def curve_of(folders: Sequence[RunFolder]) -> dict[str, Any] | None:
    """Training loss by epoch over seeds, as far as all of them got: ``steps``, mean ``circuits``, ``mean`` and ``error`` of the loss."""
    runs = [history for folder in folders if (history := _history(folder))]
    n = min((len(history) for history in runs), default=0)
    if n == 0:
        return None
    losses = np.array([[loss for _, _, loss in history[:n]] for history in runs])
    circuits = np.array([[count for _, count, _ in history[:n]] for history in runs], np.float64)
    error = losses.std(axis=0, ddof=1) / math.sqrt(len(runs)) if len(runs) > 1 else np.zeros(n)
    return {
        "steps": [step for step, _, _ in runs[0][:n]],
        "circuits": circuits.mean(axis=0).tolist(),
        "mean": losses.mean(axis=0).tolist(),
        "error": error.tolist(),
    }


def _history(folder: RunFolder) -> list[tuple[int, int, float]]:
    """(steps, circuits, mean training loss) at the end of each epoch, from the last checkpoint."""
    keep = folder.read_config().checkpoint.keep
    state, _ = Checkpoints(folder.checkpoints, keep, folder.fingerprint()).load_newest()
    epochs = [] if state is None else state.history
    return [(epoch.step, epoch.totals.n_circuits, epoch.metrics["train/epoch_loss"]) for epoch in epochs]


def merit_text(merit: str, spread: Mapping[str, Any] | None) -> str:
    """``"94.2 ± 0.6 %"``, ``"0.213 ± 0.012"``, or a dash."""
    if spread is None:
        return "–"
    mean, error = spread["mean"], spread["error"]
    if error is None:
        return format_metric(merit, mean)
    if merit.endswith("accuracy"):
        return f"{100 * mean:.1f} ± {100 * error:.1f} %"
    digits = 3 if error == 0 else min(max(1 - math.floor(math.log10(error)), 0), 6)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def merit_name(merit: str) -> str:
    """``"test accuracy"``."""
    return f"test {metric_label(merit)}"
