"""What is said about an evaluation: sections for the terminal, and Markdown for MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.display.formatting import (
    format_duration,
    format_percent,
    format_usd,
    format_value,
    metric_label,
)
from pipelines.evaluate.comparison import Comparison, Difference
from pipelines.evaluate.intervals import Interval
from pipelines.evaluate.result import Evaluation, Figure

SHARES = ("accuracy", "balanced_accuracy")


def sections(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Headings -> label -> text, or columns."""
    found: dict[str, dict[str, Any]] = {}
    if evaluation.figures:
        found["Scores"] = {
            metric_label(name): score_columns(name, one) for name, one in evaluation.figures.items()
        }
    found |= {
        "Of the shots": shot_lines(evaluation),
        "Calibration": calibration_lines(evaluation),
        "By class": _by_class(evaluation),
        "Actual class, predicted as": _confusion(evaluation),
    }
    if evaluation.comparison is not None:
        found[f"Against {evaluation.comparison.other}, same samples"] = comparison_lines(
            evaluation.comparison
        )
    if evaluation.baselines is not None:
        is_classes = evaluation.class_names is not None
        found["Against, 95 % interval"] = {
            one["name"]: _against(one, is_classes=is_classes) for one in evaluation.baselines
        }
    found["Work"] = _work(evaluation)
    return {heading: rows for heading, rows in found.items() if rows}


def score_columns(name: str, one: Figure) -> dict[str, str]:
    """A figure, its interval and the part of the shots, in the columns of a table."""
    columns = {
        "value": _shown(name, one.value),
        "95 % interval": f"{_shown(name, one.low)} to {_shown(name, one.high)}",
    }
    return columns if one.shot_error is None else columns | {"± by shots": _shown(name, one.shot_error)}


def shot_lines(evaluation: Evaluation) -> dict[str, str]:
    """What the shots leave uncertain."""
    noise, errors = evaluation.shot_noise, evaluation.outputs.standard_errors
    if noise is None or errors is None:
        return {}
    lines = {
        "standard error of an output": f"{format_value(float((errors**2).mean() ** 0.5))} (root mean square)"
    }
    if noise.flips is not None and noise.repeat_flips is not None:
        n = len(evaluation.choice.features)
        lines["predictions in doubt"] = (
            f"{noise.flips[0]:.1f} ± {noise.flips[1]:.1f} of {n} would be others with infinitely many shots, "
            f"{noise.repeat_flips[0]:.1f} ± {noise.repeat_flips[1]:.1f} in another evaluation like this one"
        )
    if evaluation.outputs.correlations == "left out":
        lines["note"] = "correlations between values read from the same shots are left out"
    return lines


def calibration_lines(evaluation: Evaluation) -> dict[str, str]:
    """Whether confidences can be believed."""
    found = evaluation.calibration
    if found is None:
        return {}
    return {
        "expected error (ECE)": f"{found.ece:.4f}, {len(found.bins)} bins of equal mass; by chance alone {found.by_chance:.4f} "
        f"(95 %: at most {found.most_by_chance:.4f}): {found.verdict}",
        "root mean square": f"{found.rms:.4f} (debiased)",
    }


def comparison_lines(found: Comparison) -> dict[str, str]:
    """What the comparison came to."""
    lines = {one.name: _difference(one) for one in found.differences}
    if found.p_value is not None:
        lines["right alone"] = (
            f"{found.only_own_right} here, {found.only_other_right} there; McNemar's exact test p = {found.p_value:.2g}"
        )
    lines["verdict"] = found.verdict
    if found.n_seen:
        lines["beware"] = f"{found.n_seen} of these samples are among those that {found.other} was trained on"
    return lines


def _difference(one: Difference) -> str:
    if one.name == "accuracy":
        value, low, high = (f"{100 * part:+.1f} %" for part in (one.value, one.low, one.high))
    else:
        value, low, high = (f"{part:+.4g}" for part in (one.value, one.low, one.high))
    better = "higher" if one.name == "accuracy" else "lower"
    return f"{better} by {value} ({low} to {high})"


def _by_class(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    return {
        one.name: {
            "samples": str(one.n),
            "recall": _share(one.recall, one.recall_interval),
            "precision": _share(one.precision, one.precision_interval),
        }
        for one in evaluation.classes
    }


def _share(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return "–"
    return f"{format_percent(value)} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _confusion(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    matrix, names = evaluation.confusion, evaluation.class_names
    if matrix is None or names is None:
        return {}
    return {
        name: {other: str(count) for other, count in zip(names, row, strict=True)}
        for name, row in zip(names, matrix.tolist(), strict=True)
    }


def _work(evaluation: Evaluation) -> dict[str, str]:
    used, subject, choice = evaluation.used, evaluation.subject, evaluation.choice
    lines = {
        "samples": f"{len(choice.features)} ({choice.source})",
        "backend": f"{evaluation.backend}, {evaluation.shots or 'no'} shots{'' if evaluation.shots else ' (exact)'}",
        "circuits": str(used.n_circuits),
        "shots": str(used.n_shots),
        "cost": format_usd(used.cost_usd),
        "time": format_duration(evaluation.seconds),
    }
    if subject.epoch is not None:
        lines["parameters of epoch"] = str(subject.epoch)
    if choice.n_seen:
        lines["beware"] = (
            f"{choice.n_seen} of these samples are among those that {subject.name} was trained on"
        )
    elif choice.is_split and choice.label == "validation":
        lines["beware"] = "the parameters are those of the epoch that did best on these samples"
    return lines


def _against(one: Mapping[str, Any], *, is_classes: bool) -> str:
    """A baseline's score and how much better the model is."""
    if is_classes:
        gain, low, high = (f"{100 * one[name]:+.1f} %" for name in ("difference", "low", "high"))
        return f"{100 * one['score']:.1f} %; model {gain} ({low} to {high}): {one['verdict']}"
    gain = f"{one['difference']:+.3g} ({one['low']:+.3g} to {one['high']:+.3g})"
    return f"rmse {one['score']:.4g}; squared error less by {gain}: {one['verdict']}"


def _shown(name: str, value: float) -> str:
    return format_percent(value) if name in SHARES else format_value(value)


def headline(evaluation: Evaluation) -> str:
    """The answer in a line."""
    name = next((name for name in ("accuracy", "r2", "trash_fidelity") if name in evaluation.figures), None)
    what = f"{evaluation.subject.name} on {evaluation.choice.label}"
    if name is None:
        return f"{what}: {len(evaluation.choice.features)} predictions"
    one = evaluation.figures[name]
    return f"{what}: {metric_label(name)} {_shown(name, one.value)} ({_shown(name, one.low)} to {_shown(name, one.high)})"


def markdown(evaluation: Evaluation, files: Sequence[str]) -> str:
    """The report as MLflow shows it."""
    lines = [f"**{headline(evaluation)}**", ""]
    lines += [
        f"{evaluation.choice.source}; backend {evaluation.backend}, {evaluation.shots or 'no'} shots.",
        "",
    ]
    for heading, rows in sections(evaluation).items():
        lines += [f"### {heading}", "", *_table(rows), ""]
    lines += ["Files: " + ", ".join(f"[{name}](artifacts/{name})" for name in files)]
    return "\n".join(lines) + "\n"


def _table(rows: Mapping[str, Any]) -> list[str]:
    heads = list(dict.fromkeys(head for row in rows.values() if isinstance(row, Mapping) for head in row))
    if not heads:
        return [f"- {label}: {text}" for label, text in rows.items()]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    return lines + [
        f"| {label} | {' | '.join(row.get(head, '–') for head in heads)} |" for label, row in rows.items()
    ]
