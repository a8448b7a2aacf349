"""The table of ``qfleet benchmark tables``: its rows, and how they are written (Markdown, CSV) or shown on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import mean, pstdev
from typing import Any

from pipelines.benchmark.tables_runs import samples_of
from pipelines.benchmark.tables_settings import PUBLISHED, TITLES, TOLERANCE, DataSet, Setting
from pipelines.benchmark.tables_training import Fit
from pipelines.display.formatting import format_count, format_duration
from pipelines.report import print_sections

Row = Mapping[str, Any]


def row(model: str, data: DataSet, setting: Setting, fits: Sequence[Fit]) -> dict[str, Any]:
    """One line of the table, as plain values; `fits`: one for each seed."""
    fits = sorted(fits, key=lambda fit: fit.seed)
    accuracies = [fit.test_accuracy for fit in fits]
    ours, published = mean(accuracies), PUBLISHED[model][data]
    n_test = len(samples_of(data)[1].targets)
    difference = n_test * (ours - published)
    return {
        "model": model,
        "data": data.family,
        "features": data.n_features,
        "ours": ours,
        "deviation": pstdev(accuracies),
        "published": published,
        "difference": difference,
        "reached": difference >= -TOLERANCE - 1e-9,  # of 60 x 0.01 a rounding error is left
        "train": mean(fit.train_accuracy for fit in fits),
        "seeds": len(fits),
        "seconds": sum(fit.seconds for fit in fits),
        "circuits": sum(fit.n_circuits for fit in fits),
        "steps": mean(fit.n_steps for fit in fits),
        "unsettled": sum(not fit.is_settled for fit in fits),
        "qubits": fits[0].n_qubits,
        "parameters": fits[0].n_params,
        "layers": setting.n_layers,
        "learning_rate": setting.learning_rate,
        "initial_scale": setting.initial_scale,
        "repeats": setting.repeats,
        "accuracies": accuracies,
    }


def summary(rows: Sequence[Row]) -> dict[str, str]:
    """Model -> how many of its data sets reach the published accuracy."""
    return {
        model: f"{sum(r['reached'] for r in own)} of {len(own)}"
        for model in dict.fromkeys(r["model"] for r in rows)
        if (own := [r for r in rows if r["model"] == model])
    }


def markdown(rows: Sequence[Row]) -> str:
    """One table with every model, and a line for each on how many data sets reach the published accuracy."""
    heads = [
        "model", "data set", "d", "ours", "published", "difference, test samples", "time", "circuits", "steps",
        "qubits", "parameters", "layers", "learning rate", "initial scale", "repeats",
    ]  # fmt: skip
    rule = ["---" if head in ("model", "data set") else "---:" for head in heads]
    lines = [heads, rule, *(_cells(r) for r in rows)]
    table = [f"| {' | '.join(cells)} |" for cells in lines]
    reached = [
        f"- {TITLES[model]}: at most {TOLERANCE} test samples below the published accuracy on {counts} data sets"
        for model, counts in summary(rows).items()
    ]
    return "\n".join([*table, "", *reached, ""])


def as_csv(rows: Sequence[Row]) -> str:
    """All values of all rows; the accuracies of the seeds in one cell, with spaces between them."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for each in rows:
        writer.writerow(dict(each) | {"accuracies": " ".join(f"{a:.6f}" for a in each["accuracies"])})
    return out.getvalue()


def show(outcome: Mapping[str, Any]) -> None:
    """Print the table on stdout."""
    sections: dict[str, dict[str, dict[str, str]]] = {}
    for each in outcome["rows"]:
        sections.setdefault(TITLES[each["model"]], {})[f"{each['data']} {each['features']}"] = {
            "ours": _accuracy(each),
            "published": f"{each['published']:.2f}",
            "samples": f"{each['difference']:+.1f}" + ("" if each["reached"] else " !"),
            "time": format_duration(each["seconds"]),
            "circuits": format_count(each["circuits"]),
        }
    footer = [
        f"samples: ours less published, in test samples; !: more than {TOLERANCE} below the published accuracy"
    ]
    footer += [f"written: {name}" for name in outcome["files"]]
    footer += [outcome["tracking"]] if outcome["tracking"] else []
    print_sections("published accuracies", sections, footer)


def _cells(each: Row) -> list[str]:
    return [
        TITLES[each["model"]],
        each["data"],
        str(each["features"]),
        _accuracy(each),
        f"{each['published']:.2f}",
        f"{each['difference']:+.1f}" + ("" if each["reached"] else " **missed**"),
        format_duration(each["seconds"]),
        format_count(each["circuits"]),
        f"{each['steps']:.0f}",
        str(each["qubits"]),
        str(each["parameters"]),
        str(each["layers"]),
        f"{each['learning_rate']:g}",
        f"{each['initial_scale']:g}",
        str(each["repeats"]),
    ]


def _accuracy(each: Row) -> str:
    return f"{each['ours']:.3f} ± {each['deviation']:.3f}" if each["seeds"] > 1 else f"{each['ours']:.3f}"
