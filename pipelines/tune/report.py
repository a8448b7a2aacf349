"""What a search came to: figures for machines, a report in Markdown, a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.display.formatting import format_count, format_metric, format_usd, qfleet_command
from pipelines.tune.comparison import Comparison, in_words
from pipelines.tune.following import Unit
from pipelines.tune.sampling import importances
from pipelines.tune.search import Search, Trial, as_plain, best_so_far
from pipelines.tune.settings import Settings
from pipelines.tune.space import shown

_ROWS = 15
"""Trials that the report lists, best first."""


def figures(search: Search, settings: Settings, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Plain values: what was tried, what came of it, and how the methods compare."""
    terms, best = search.terms, search.best
    known = search.known(len(search.trials))
    return {
        "method": settings.method,
        "metric": settings.metric,
        "maximise": terms.maximise,
        "unit": settings.unit,
        "budget": terms.budget,
        "spent": search.spent,
        "ended_because": search.ended_because,
        "rungs": [] if terms.rungs is None else _rungs(search),
        "counts": {
            kind: sum(one.outcome is not None and one.outcome.kind == kind for one in search.trials)
            for kind in ("done", "stopped", "cut", "failed")
        },
        "refused": [one.why for trial in search.trials for one in trial.refused],
        "space": {one.key: one.text for one in search.space.dimensions},
        "best": {} if best is None else _row(best),
        "importance": importances(search.space, known, maximise=terms.maximise),
        "history": [list(point) for point in best_so_far(search.trials, maximise=terms.maximise)],
        "trials": [_row(trial) for trial in search.trials],
        "comparisons": [
            comparison.to_json() | {"in_words": in_words(comparison)} for comparison in comparisons
        ],
    }


def _row(trial: Trial) -> dict[str, Any]:
    outcome = trial.outcome
    return {
        "trial": trial.number,
        "values": as_plain(trial.values),
        "state": "under way" if outcome is None else outcome.kind,
        "value": None if outcome is None else outcome.value,
        "rung": None if outcome is None else outcome.rung,
        "spent": None if outcome is None else outcome.spent,
        "why": "" if outcome is None else outcome.why,
    }


def _rungs(search: Search) -> list[dict[str, int]]:
    """Where trials were compared, how many came there, and how many were stopped."""
    rungs = search.terms.rungs
    assert rungs is not None
    reached = [len(trial.rung_values) for trial in search.trials]
    lost = [trial.outcome.rung for trial in search.trials if trial.outcome is not None]
    return [
        {"rung": k, "at": rungs.at(k), "reached": sum(n > k for n in reached), "stopped": lost.count(k)}
        for k in range(max(reached, default=0))
    ]


def trial_line(trial: Trial, search: Search, settings: Settings) -> str:
    """How a trial ended, in a line."""
    outcome = trial.outcome
    assert outcome is not None
    value = (
        ""
        if outcome.value is None
        else f"{settings.metric} {format_metric(settings.metric, outcome.value)}, "
    )
    how = "" if outcome.kind == "done" else f", {outcome.why}"
    of = "" if search.terms.budget is None else f" of {_amount(search.terms.budget, settings.unit)}"
    tried = ", ".join(f"{key} {shown(v)}" for key, v in trial.values.items())
    return f"trial {trial.number}: {value}{_amount(search.spent, settings.unit)}{of} spent{how} ({tried})"


def answer(found: Mapping[str, Any]) -> str:
    """The first sentence of the report."""
    best = found["best"]
    if not best:
        return f"No trial came to a value: {found['ended_because']}."
    tried = ", ".join(f"{key} = {shown(value)}" for key, value in best["values"].items())
    value = format_metric(found["metric"], best["value"])
    text = f"Best of {len(found['trials'])} trials: {tried}; {found['metric']} {value}"
    tests = [name for name in best.get("metrics", {}) if name.startswith("test/")]
    if tests:
        scores = ", ".join(f"{name} {format_metric(name, best['metrics'][name])}" for name in tests)
        text += f", {scores}"
    return f"{text}, for {_amount(found['spent'], found['unit'])} in all."


def report_text(found: Mapping[str, Any], name: str) -> str:
    """Markdown, the answer first."""
    lines = [f"# {name}", "", answer(found), ""]
    for comparison in found["comparisons"]:
        lines += [comparison["in_words"], ""]
    if found["best"]:
        lines += [f"`{qfleet_command('train', found['best_config'])}` trains it again, to the same bits.", ""]
        lines += _of_its_test(found)
    budget = "none" if found["budget"] is None else _amount(found["budget"], found["unit"])
    counts = ", ".join(f"{count} {kind}" for kind, count in found["counts"].items() if count)
    lines += [
        f"Method {found['method']}; budget {budget}, spent {_amount(found['spent'], found['unit'])}; trials: {counts}. "
        f"It ended because {found['ended_because']}.",
        "",
    ]
    lines += _importance(found) + _rung_table(found) + _trial_table(found) + _comparisons(found)
    if found["refused"]:
        lines += ["## Combinations refused before they cost anything", ""]
        lines += [f"- {why}" for why in dict.fromkeys(found["refused"])]
    return "\n".join(lines).rstrip() + "\n"


def _of_its_test(found: Mapping[str, Any]) -> list[str]:
    """Where the best trial was cut before it was scored on the test split: what was done about that."""
    best = found["best"]
    if best.get("test_circuits"):
        more = format_count(best["test_circuits"], "circuits")
        return [f"The budget had cut it before its test, which took {more} beside those of the budget.", ""]
    if best["state"] != "done" and found["unit"] == "usd":
        how = qfleet_command("evaluate", best["run"])
        return [f"The budget had cut it before its test; `{how} --yes-spend USD` pays for that.", ""]
    return []


def sections(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The same for the terminal."""
    best = found["best"]
    shown_sections: dict[str, dict[str, Any]] = {}
    if best:
        shown_sections["Best"] = {key: shown(value) for key, value in best["values"].items()}
        scores = {found["metric"]: best["value"]} | {
            name: value for name, value in best.get("metrics", {}).items() if name.startswith("test/")
        }
        shown_sections["Scores"] = {name: format_metric(name, value) for name, value in scores.items()}
    shown_sections["Search"] = {
        "method": found["method"],
        "trials": ", ".join(f"{count} {kind}" for kind, count in found["counts"].items() if count),
        "spent": _amount(found["spent"], found["unit"]),
        "ended because": found["ended_because"],
    }
    if found["importance"]:
        shown_sections["Importance"] = {
            key: f"{100 * share:.0f} %" for key, share in found["importance"].items()
        }
    for comparison in found["comparisons"]:
        shown_sections[f"Against {comparison['rival']}, 95 % interval"] = {
            gain["metric"]: f"{_gain_text(gain)}: {gain['verdict']}" for gain in comparison["gains"]
        }
    return shown_sections


def _importance(found: Mapping[str, Any]) -> list[str]:
    if not found["importance"]:
        return []
    lines = ["## What mattered", "", "| key | importance | tried |", "| --- | ---: | --- |"]
    for key, share in found["importance"].items():
        lines.append(f"| {key} | {100 * share:.0f} % | {found['space'][key]} |")
    return [
        *lines,
        "",
        "Importance by PED-ANOVA over the trials that came to their end; of few trials it is a hint, no more.",
        "",
    ]


def _rung_table(found: Mapping[str, Any]) -> list[str]:
    if not found["rungs"]:
        return []
    lines = ["## Rungs", "", "| rung | at | came there | stopped |", "| ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {one['rung']} | {_amount(one['at'], found['unit'])} | {one['reached']} | {one['stopped']} |"
        for one in found["rungs"]
    ]
    return [*lines, ""]


def _trial_table(found: Mapping[str, Any]) -> list[str]:
    keys = list(found["space"])
    sign = -1.0 if found["maximise"] else 1.0
    order = {"done": 0, "cut": 0, "stopped": 1, "failed": 2, "under way": 3}
    rows = sorted(
        found["trials"],
        key=lambda row: (order[row["state"]], sign * row["value"] if row["value"] is not None else 0.0),
    )
    lines = ["## Trials", "", f"| trial | {' | '.join(keys)} | {found['metric']} | spent | |"]
    lines.append("| ---: |" + " ---: |" * (len(keys) + 2) + " --- |")
    for row in rows[:_ROWS]:
        values = " | ".join(shown(row["values"][key]) if key in row["values"] else "–" for key in keys)
        value = "–" if row["value"] is None else format_metric(found["metric"], row["value"])
        why = row["why"].replace("|", "/") if row["state"] != "done" else ""
        lines.append(
            f"| {row['trial']} | {values} | {value} | {_amount(row['spent'] or 0, found['unit'])} | {why} |"
        )
    if len(rows) > _ROWS:
        lines.append(f"\n{len(rows) - _ROWS} more are in search.jsonl.")
    return [*lines, ""]


def _comparisons(found: Mapping[str, Any]) -> list[str]:
    if not found["comparisons"]:
        return []
    return ["## Against other methods, at equal budget", "", *comparison_table(found["comparisons"]), ""]


def comparison_table(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines: the paired gains of every comparison, with a ``title`` where there are several data sets."""
    has_titles = any("title" in comparison for comparison in comparisons)
    columns = ["data", "against", "metric", "method", "rival", "gain (95 % interval)", "better, equal", ""][
        not has_titles :
    ]
    rules = ["---"] * (2 + has_titles) + ["---:"] * 4 + ["---"]
    lines = [f"| {' | '.join(columns)} |".replace("  |", " |"), f"| {' | '.join(rules)} |"]
    for comparison in comparisons:
        for gain in comparison["gains"]:
            n = f"{gain['n_better']}, {gain['n_equal']} of {len(comparison['pairs'])}"
            cells = [
                *([comparison["title"]] if has_titles else []), comparison["rival"], gain["metric"],
                *(format_metric(gain["metric"], gain[side]) for side in ("method", "rival")), _gain_text(gain), n, gain["verdict"],
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Gain: positive where the method is better. The interval is a percentile bootstrap of the mean over the seeds, which change "
        "the split (of data sets without one), the initial parameters and what the searches draw; it says nothing of other data or "
        "other spaces.",
    ]
    return lines


def _gain_text(gain: Mapping[str, Any]) -> str:
    return f"{gain['gain']:+.4g} ({gain['low']:+.4g} to {gain['high']:+.4g})"


def _amount(amount: float, unit: Unit) -> str:
    return format_count(amount, "circuits") if unit == "circuits" else format_usd(amount / 1e6)
