"""What the recipe lost, won back and saved, as plain values: paired over the test samples, which all parts have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.merits import interval
from pipelines.run_folder import RunFolder
from pipelines.studies.predictions import Predictions, read_predictions
from pipelines.studies.statistics import holm, paired_test

ALPHA = 0.05
PAIRS = {
    "transfer": ("pretrained", "pretrained-moved"),
    "finetuning": ("finetuned", "pretrained-moved"),
    "recipe": ("finetuned", "from-scratch"),
}
"""What is compared -> what is ahead where the difference is positive, and of what."""
_MERITS = ("test/accuracy", "test/trash_fidelity", "test/rmse")


def figures_of(
    done: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path], places: Mapping[str, str]
) -> dict[str, Any]:
    """Everything found.

    Args:
        done: result of each part: ``metrics``, ``circuits``, ``shots``, ``cost_usd``; or why it ``failed``.
        folders: of the parts, with their predictions. places: of the ``first`` and the ``second`` stage, in words.
    """
    scored = {name: result for name, result in done.items() if "failed" not in result}
    predictions = {name: read_predictions(RunFolder(folders[name])) for name in scored}
    merit = next(name for name in _MERITS if name in scored["pretrained"]["metrics"])
    return {
        "merit": merit,
        "places": dict(places),
        "scores": {name: _part(result, predictions[name]) for name, result in scored.items()},
        "comparisons": _comparisons(predictions),
        "saved": _saved(scored),
        "failed": {name: result["failed"] for name, result in done.items() if "failed" in result},
    }


def _part(result: Mapping[str, Any], found: Predictions | None) -> dict[str, Any]:
    part = {name: result[name] for name in ("metrics", "circuits", "shots", "cost_usd")}
    part["seconds"] = result.get("seconds", {}).get("total")
    part["interval"] = None if found is None else interval(found.merit, 0)
    return part


def _comparisons(predictions: Mapping[str, Predictions | None]) -> dict[str, dict[str, Any]]:
    """Pairs of parts that answered for the same samples, with Holm's correction over them."""
    tests = {}
    for name, (ahead, behind) in PAIRS.items():
        ours, theirs = predictions.get(ahead), predictions.get(behind)
        if ours is not None and theirs is not None and ours.is_of_the_samples_of(theirs):
            gain = ours.merit - theirs.merit
            is_classes = ours.kind == "classes"
            tests[name] = paired_test([gain], n_train=ours.n_train, same_samples=True, is_classes=is_classes)
    corrected = holm([test.p for test in tests.values()])
    return {
        name: asdict(test) | {"p_holm": p, "differs": p < ALPHA}
        for (name, test), p in zip(tests.items(), corrected, strict=True)
    }


def _saved(scored: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Shares of what training from scratch took on the second backend that the recipe did without; None where that was nothing."""
    if "from-scratch" not in scored:
        return {}
    found: dict[str, float | None] = {}
    for cost in ("circuits", "shots", "cost_usd"):
        whole = scored["from-scratch"][cost]
        found[cost] = 1 - scored["finetuned"][cost] / whole if whole else None
    return found
