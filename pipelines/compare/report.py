"""What a comparison says to people: a sentence, a Markdown report, tables on the terminal, and CSV files."""

from __future__ import annotations

import csv
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.compare.figures import ALPHA, merit_name, merit_text
from pipelines.display.formatting import format_count, format_duration, format_usd, qfleet_command
from pipelines.studies.markdown import table

Figures = Mapping[str, Any]
_FEW_SEEDS = 5
_WORK = ("circuits", "shots", "cost_usd", "seconds")
_METHODS = {
    "corrected resampled t-test": "a corrected resampled t-test over the seeds, each with a test split of its own (Nadeau and Bengio "
    "2003); it allows for another training and another draw of the data",
    "seeds and test samples as crossed random factors": "a t-test with seeds and test samples as crossed random factors "
    "(Satterthwaite's degrees of freedom)",
    "McNemar's exact test": "McNemar's exact test over the test samples of one seed; it says nothing of another training: add seeds",
    "paired t-test": "a paired t-test over the test samples of one seed; it says nothing of another training: add seeds",
}


def answer(found: Figures) -> str:
    """What won, by how much, and whether that is more than chance."""
    return " ".join(sentences(found).values())


def sentences(found: Figures) -> dict[str, str]:
    """The answer in parts, by what each is about."""
    if found["best"] is None:
        n = len(found["failed"])
        return {"best": f"Nothing to compare: all {n} trainings failed."}
    rows = {row["name"]: row for row in found["settings"]}
    best = rows[found["best"]]
    scored = f"{merit_name(found['merit'])} {merit_text(found['merit'], best['merit'])} over {_seeds(best)}."
    if len(rows) == 1:
        said = {"result": f"{best['label'].capitalize()}: {scored}"}
    else:
        said = {"best": f"{best['label']} {_how_it_did(found)}: {scored}"} | _verdicts(found, rows)
        said |= _cheaper(found)
    n = len(found["failed"])
    return said | ({"failed": f"{n} training{'s' if n > 1 else ''} failed."} if n else {})


def _how_it_did(found: Figures) -> str:
    """What may be said of the best: that it won only if it differs from all others."""
    pairs, n_others = found["comparisons"], len(found["settings"]) - 1
    has_won = (
        found["reference"] == found["best"]
        and len(pairs) == n_others
        and all(pair["differs"] for pair in pairs)
    )
    return "won, by more than chance" if has_won else "scored best"


def _verdicts(found: Figures, rows: Mapping[str, Any]) -> dict[str, str]:
    """Of all comparisons with the reference: how far the nearest is, and which differ by more than chance."""
    pairs = found["comparisons"]
    if not pairs:
        return {
            "chance": "No two settings answered for the same test samples, so nothing can be said of chance."
        }
    is_best = found["reference"] == found["best"]
    reference = "it" if is_best else rows[found["reference"]]["label"]
    near = min(pairs, key=lambda pair: abs(pair["difference"]))
    name = rows[near["setting"]]["label"]
    said = {"nearest": f"The nearest to {reference}, {name}, is {_by(near, found['merit'])}."}
    if len(pairs) > 1:
        differing, others = ([pair for pair in pairs if pair["differs"] == is_so] for is_so in (True, False))
        words = (
            [f"By more than chance {reference} differs from {_listed(differing, rows)}."] if differing else []
        )
        words += [f"Not told apart from {_listed(others, rows)}."] if others else []
        said["chance"] = " ".join(words)
    n_seeds = min(pair["n_seeds"] for pair in pairs)
    if 1 < n_seeds < _FEW_SEEDS and not all(pair["differs"] for pair in pairs):
        said["seeds"] = (
            f"{n_seeds} seeds tell only large differences from chance; {_FEW_SEEDS} or more see smaller ones."
        )
    return said


def _by(pair: Figures, merit: str) -> str:
    """How much the reference is ahead of a setting, with interval and p."""
    if pair["difference"] == 0 and pair["low"] == pair["high"]:
        return "right and wrong about the very same test samples"
    size, interval_ = difference_text(merit, abs(pair["difference"])), interval_text(merit, pair)
    way = "behind" if pair["difference"] >= 0 else "ahead"
    unit = " points" if merit.endswith("accuracy") else " in squared error" if merit.endswith("rmse") else ""
    verdict = "more than chance" if pair["differs"] else "that may be chance"
    return (
        f"{size.lstrip('+')}{unit} {way} (95 % interval {interval_}, p = {p_text(pair['p_holm'])}): {verdict}"
    )


def difference_text(merit: str, value: float) -> str:
    """A difference of merits: in points of a percentage, or as a value; of squared errors for regression."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{100 * value:+.1f}" if merit.endswith("accuracy") else f"{value:+.3g}"
    return text if float(text) else text[1:]  # no sign where nothing is left of it


def interval_text(merit: str, pair: Figures) -> str:
    """From and to."""
    return f"{difference_text(merit, pair['low'])} to {difference_text(merit, pair['high'])}"


def p_text(p: float) -> str:
    """With two digits that count, and no more zeros than anybody reads."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _listed(pairs: Sequence[Figures], rows: Mapping[str, Any], most: int = 5) -> str:
    names = [rows[pair["setting"]]["label"] for pair in pairs]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _cheaper(found: Figures) -> dict[str, str]:
    """Settings on the front that cost less than the best."""
    rows = {row["name"]: row for row in found["settings"]}
    best = rows[found["best"]]
    said = {}
    for cost, unit in (("circuits", "circuits"), ("cost_usd", "dollars")):
        front = [
            row
            for row in found["settings"]
            if row.get("on_front", {}).get(cost) and row[cost]["mean"] < best[cost]["mean"]
        ]
        if front:
            listed = ", ".join(
                f"{row['label']} ({merit_text(found['merit'], row['merit'])}, {_share(row[cost]['mean'] / best[cost]['mean'])})"
                for row in sorted(front, key=lambda row: row[cost]["mean"])[:4]
            )
            said[f"fewer {unit}"] = f"For fewer {unit}: {listed}."
    return said


def _share(ratio: float) -> str:
    return f"{100 * ratio:.0f} % of its cost" if ratio >= 0.005 else f"{100 * ratio:.2g} % of its cost"


def _seeds(row: Figures) -> str:
    n = row["trained"]
    return f"{n} seeds (mean ± standard error)" if n > 1 else "one seed"


def columns_of(row: Figures, found: Figures, *, is_short: bool = False) -> dict[str, str]:
    """A setting's line, by heading; short: what fits a terminal."""
    if not row["trained"]:
        return {"trained": "0"}
    scores, merit = row["scores"], found["merit"]
    names = [name for name in scores if name == merit or (name.startswith("test/") and not is_short)]
    line = {name.replace("/", " ").replace("_", " "): merit_text(name, scores[name]) for name in names}
    if "val/loss" in scores:
        line["val loss"] = merit_text("val/loss", scores["val/loss"])
    line["circuits"] = format_count(row["circuits"]["mean"]) + _star(row, "circuits")
    if row["shots"]["mean"]:
        line["shots"] = format_count(row["shots"]["mean"])
    if any(other["cost_usd"] and other["cost_usd"]["mean"] for other in found["settings"]):
        line["dollars"] = format_usd(row["cost_usd"]["mean"]) + _star(row, "cost_usd")
    line["time"] = format_duration(row["seconds"]["mean"])
    if len({other["trained"] for other in found["settings"]}) > 1:
        line["trained"] = str(row["trained"])
    return line


def _star(row: Figures, cost: str) -> str:
    return " *" if row.get("on_front", {}).get(cost) else ""


def pair_columns(pair: Figures, merit: str) -> dict[str, str]:
    """A comparison's line, by heading."""
    unit = (
        "points"
        if merit.endswith("accuracy")
        else "squared error"
        if merit.endswith("rmse")
        else "difference"
    )
    return {
        f"ahead by ({unit})": difference_text(merit, pair["difference"]),
        "95 % interval": interval_text(merit, pair),
        "p": p_text(pair["p"]),
        "p (Holm)": p_text(pair["p_holm"]) + (" !" if pair["differs"] else ""),
    }


def sections(found: Figures) -> dict[str, dict[str, Any]]:
    """For the terminal."""
    shown: dict[str, dict[str, Any]] = {"Answer": dict(sentences(found))}
    shown["Settings"] = {row["label"]: columns_of(row, found, is_short=True) for row in found["settings"]}
    labels = {row["name"]: row["label"] for row in found["settings"]}
    if found["comparisons"]:
        merit, reference = found["merit"], labels[found["reference"]]
        shown[f"{reference} over"] = {
            labels[pair["setting"]]: pair_columns(pair, merit) for pair in found["comparisons"]
        }
    if found["failed"]:
        shown["Failed"] = dict(found["failed"])
    return shown


def footer(found: Figures) -> list[str]:
    """Below the tables."""
    lines = ["* no other setting is as cheap and as good" + ("; ! differs" if found["comparisons"] else "")]
    return lines + (textwrap.wrap(_method(found), 100) if found["comparisons"] else [])


def _method(found: Figures) -> str:
    """How it was tested, and how the correction was made."""
    methods = dict.fromkeys(pair["method"] for pair in found["comparisons"])
    over = (
        "all pairs of settings, since the best was chosen by the same scores"
        if not found["fixed"]
        else "these comparisons"
    )
    return f"tested by {'; '.join(_METHODS[each] for each in methods)}. Holm's correction is over {over}; below {ALPHA:g} differs"


def markdown(name: str, found: Figures, handle: str) -> str:
    """The report: the answer first."""
    labels = {row["name"]: row["label"] for row in found["settings"]}
    first, *others = sentences(found).values()
    lines = [f"**{first}** {' '.join(others)}".rstrip(), "", "### By setting", ""]
    lines += table("setting", {row["label"]: columns_of(row, found) for row in found["settings"]})
    lines += ["", "Means over seeds ± standard error; * no other setting is as cheap and as good."]
    if found["comparisons"]:
        merit = found["merit"]
        lines += ["", f"### {labels[found['reference']]} against the others", ""]
        lines += table(
            "setting", {labels[pair["setting"]]: pair_columns(pair, merit) for pair in found["comparisons"]}
        )
        method = _method(found)
        lines += ["", f"{method[0].upper()}{method[1:]}. The intervals are not corrected; ! differs."]
    if found["failed"]:
        lines += ["", "### Failed", "", *(f"- `{member}`: {why}" for member, why in found["failed"].items())]
        lines += ["", f"Tried again by `{qfleet_command('resume', handle)}`."]
    lines += [
        "",
        f"Trainings: `{handle}/members/<name>`; tables: `settings.csv`, `members.csv`; pictures: `score_and_cost.png`, `curves.png`.",
    ]
    return "\n".join(lines) + "\n"


def write_tables(folder: Path, found: Figures) -> list[Path]:
    """``settings.csv`` and ``members.csv``."""
    scores = list(dict.fromkeys(name for row in found["settings"] for name in row["scores"]))
    settings = []
    for row in found["settings"]:
        line = {"setting": row["name"], **row["values"], "trained": row["trained"]}
        for name in (*scores, *_WORK):
            spread = (row[name] if name in _WORK else row["scores"].get(name)) or {}
            line |= {name: spread.get("mean"), f"{name} error": spread.get("error")}
        settings.append(
            line | {f"on front of {cost}": mark for cost, mark in row.get("on_front", {}).items()}
        )
    members = [
        {**{key: value for key, value in one.items() if key != "metrics"}, **one["metrics"]}
        for one in found["members"]
    ]
    members += [{"name": name, "stop_reason": f"failed: {why}"} for name, why in found["failed"].items()]
    return [_csv(folder / "settings.csv", settings), _csv(folder / "members.csv", members)]


def _csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    heads = list(dict.fromkeys(head for row in rows for head in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, heads)
        table.writeheader()
        table.writerows(rows)
    return path
