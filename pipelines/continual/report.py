"""What is said of a stream that was learnt: figures for machines, a table for people, a page for MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.continual.measures import average_score, by_row, forgetting
from pipelines.continual.settings import ContinualSettings
from pipelines.continual.study import Arm, Outcome
from pipelines.display.formatting import format_count, format_metric, format_value, qfleet_command
from pipelines.merits import gain, score_name, score_of
from pipelines.report import Sections

_LABELS = {"replay": "with replay", "no_replay": "without replay", "central": "central, everything at once"}


def figures(settings: ContinualSettings, outcome: Outcome, seed: int) -> dict[str, Any]:
    """All of it as plain values. `seed`: of the bootstrap."""
    is_classes = outcome.stream.class_names is not None
    tasks, rows = outcome.stream.tasks, [task.test_rows for task in outcome.stream.tasks]
    arms = {name: _arm(arm, outcome.ends, is_classes) for name, arm in outcome.arms.items()}
    found: dict[str, Any] = {
        "settings": settings.to_json(),
        "score": score_name(is_classes),
        "tasks": [
            {"name": task.name, "rows": len(task.targets), "test_rows": len(task.test_targets)}
            for task in tasks
        ],
        "chunks": len(outcome.arms["replay"].scores),
        "ends": (outcome.ends + 1).tolist(),
        "arms": arms,
    }
    replayed = by_row(outcome.arms["replay"].merits, rows)
    found["gain_of_replay"] = gain(replayed, by_row(outcome.arms["no_replay"].merits, rows), seed)
    if outcome.central is not None:
        scores = [score_of(float(own.mean()), is_classes) for own in outcome.central]
        found["central"] = {
            "scores": scores,
            "average": float(np.mean(scores)),
            "circuits": outcome.central_circuits,
        }
        found["gain_over_central"] = gain(replayed, by_row(outcome.central, rows), seed)
    return found


def _arm(arm: Arm, ends: np.ndarray, is_classes: bool) -> dict[str, Any]:
    shown = arm.scores if is_classes else -arm.scores
    forgot = forgetting(arm.scores, ends)
    return {
        "matrix": [[None if np.isnan(score) else float(score) for score in row] for row in shown],
        "scores": shown[-1].tolist(),
        "average": abs(average_score(arm.scores)),
        "forgetting": float(forgot.mean()),
        "forgetting_of_tasks": forgot.tolist(),
        "steps": arm.steps,
        "circuits": arm.circuits,
        "test_circuits": arm.test_circuits,
    }


def sections(found: Mapping[str, Any]) -> Sections:
    """The table."""
    name = found["score"]
    ways = dict(found["arms"]) | ({"central": found["central"]} if "central" in found else {})
    scores: dict[str, str | Mapping[str, str]] = {}
    for way, figures_of in ways.items():
        cells = {f"average {name}": format_metric(name, figures_of["average"])}
        if "forgetting" in figures_of:
            cells["forgetting"] = _difference(name, figures_of["forgetting"], signed=False)
        cells["circuits"] = format_count(figures_of["circuits"])
        scores[_LABELS[way]] = cells
    tasks: dict[str, str | Mapping[str, str]] = {
        f"{number + 1}: {task['name']}"[:40]: {
            _LABELS[way].partition(",")[0]: format_metric(name, figures_of["scores"][number])
            for way, figures_of in ways.items()
        }
        for number, task in enumerate(found["tasks"])
    }
    table: dict[str, Mapping[str, str | Mapping[str, str]]] = {"In the end": scores, "Of each task": tasks}
    table["Replay, 95 % interval"] = dict(_gains(found))
    settings = found["settings"]
    table["Stream"] = {
        "stream": f"{settings['stream']}: {len(found['tasks'])} tasks, {found['chunks']} chunks of at most {settings['chunk']} rows, "
        f"{settings['passes']} passes over each",
        "buffer": f"{settings['capacity']} rows",
    }
    return table


def _gains(found: Mapping[str, Any]) -> dict[str, str]:
    gains = {"against no replay": _gain(found["score"], found["gain_of_replay"])}
    if "gain_over_central" in found:
        gains["against central"] = _gain(found["score"], found["gain_over_central"])
    return gains


def _gain(name: str, gained: Mapping[str, float]) -> str:
    if name == "accuracy":
        by, low, high = (_difference(name, gained[key]) for key in ("difference", "low", "high"))
    else:
        by, low, high = (f"{gained[key]:+.3g}" for key in ("difference", "low", "high"))
    what = "" if name == "accuracy" else "squared error less by "
    verdict = "no difference seen"
    if gained["low"] > 0:
        verdict = "better with replay"
    elif gained["high"] < 0:
        verdict = "worse with replay"
    return f"{what}{by} ({low} to {high}): {verdict}"


def _difference(name: str, value: float, *, signed: bool = True) -> str:
    if name != "accuracy":
        return f"{value:+.3g}" if signed else format_value(value)
    return f"{100 * value:+.1f} %" if signed else f"{100 * value:.1f} %"


def markdown(title: str, found: Mapping[str, Any], handle: str) -> str:
    """The page."""
    name, table = found["score"], sections(found)
    lines = [f"# {title}: a stream ({found['settings']['stream']}) with replay and without", ""]
    for heading in ("In the end", "Of each task"):
        rows = table[heading]
        columns = list(
            dict.fromkeys(key for cells in rows.values() if not isinstance(cells, str) for key in cells)
        )
        lines += [f"| {heading.lower()} | {' | '.join(columns)} |", "|" + "---|" * (1 + len(columns))]
        for label, cells in rows.items():
            if not isinstance(cells, str):
                values = " | ".join(cells.get(column, "–") for column in columns)
                lines.append(f"| {label} | {values} |")
        lines.append("")
    lines += [f"- Replay {label}: {text}" for label, text in _gains(found).items()]
    lines += [f"- {label}: {text}" for label, text in table["Stream"].items() if isinstance(text, str)]
    lines += [
        "",
        f"Average {name}: mean over all tasks after the last chunk. Forgetting: mean over the tasks but the last of the best score "
        "after an earlier task less the last (Chaudhry et al. 2018). Intervals: 95 %, bootstrap over the test rows; they say nothing "
        "of other seeds or streams.",
        "",
        f"Again: `{qfleet_command('resume', handle)}`",
    ]
    return "\n".join(lines) + "\n"


def final_metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """What the parent run at MLflow is compared by."""
    metrics: dict[str, float] = {}
    for way, figures_of in found["arms"].items():
        for key in ("average", "forgetting", "circuits", "steps"):
            metrics[f"final/{way}_{key}"] = float(figures_of[key])
    if "central" in found:
        metrics["final/central_average"] = float(found["central"]["average"])
    for which in ("gain_of_replay", "gain_over_central"):
        metrics |= {f"{which}/{key}": value for key, value in found.get(which, {}).items()}
    return metrics
