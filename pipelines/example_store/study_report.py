"""What ``qfleet examples benchmark`` says: in Markdown for MLflow, and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.display.formatting import format_count

BETTER, WORSE, NONE_SEEN = "better than random", "worse than random", "no difference seen"
_SHORT = {BETTER: "better", WORSE: "worse", NONE_SEEN: "–"}


def report(outcome: Mapping[str, Any]) -> str:
    """Markdown, the answer first."""
    lines = [
        f"**{_answer(outcome)}**",
        "",
        "| examples | chosen | accuracy | gain over random, 95 % interval | |",
        "|---|---|---|---|---|",
    ]
    gains = {(row["k"], row["way"]): row for row in outcome["gains"]}
    for row in outcome["accuracies"]:
        gain = gains.get((row["k"], row["way"]))
        said = "| | |" if gain is None else f"| {_interval(gain)} | {gain['verdict']} |"
        lines.append(
            f"| {row['k']} | {row['way']} | {100 * row['mean']:.1f} ± {100 * row['standard_error']:.1f} % {said}"
        )
    lines += [
        "",
        f"{len(outcome['tasks'])} pairs of digits, {outcome['seeds']} seeds; the interval covers the split, the draw and the initial "
        f"parameters, and {len(gains)} intervals of 95 % are shown.",
        "",
        "| tasks | one table | a table for each | ratio |",
        "|---|---|---|---|",
    ]
    for row in outcome["bytes"]:
        one, copies = (format_count(row[name], "B") for name in ("one", "copies"))
        lines.append(f"| {row['tasks']} | {one} | {copies} | {row['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def _answer(outcome: Mapping[str, Any]) -> str:
    def named(verdict: str) -> str:
        rows = [row for row in outcome["gains"] if row["verdict"] == verdict]
        return ", ".join(f"{row['way']} at {row['k']} ({100 * row['mean']:+.1f} %)" for row in rows)

    better, worse = named(BETTER), named(WORSE)
    if not better and not worse:
        return "No way of choosing was seen to differ from random"
    return "; ".join(
        part for part in (better and f"Better than random: {better}", worse and f"worse: {worse}") if part
    )


def _interval(row: Mapping[str, Any]) -> str:
    return f"{100 * row['mean']:+.1f} % ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def sections(outcome: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The same for the terminal."""
    gains = {(row["k"], row["way"]): row for row in outcome["gains"]}
    rows = {}
    for row in outcome["accuracies"]:
        gain = gains.get((row["k"], row["way"]))
        rows[f"{row['k']} {row['way']}"] = {
            "accuracy": f"{100 * row['mean']:.1f} ± {100 * row['standard_error']:.1f} %",
            "less random": "" if gain is None else _interval(gain),
            "so": "" if gain is None else _SHORT[gain["verdict"]],
        }
    sizes = {
        row["tasks"]: {
            "one table": format_count(row["one"], "B"),
            "a table each": format_count(row["copies"], "B"),
            "ratio": f"{row['ratio']:.2f}",
        }
        for row in outcome["bytes"]
    }
    answer = {
        "answer": _answer(outcome),
        "interval": f"95 %, over {outcome['seeds']} seeds, these {len(outcome['tasks'])} tasks only",
    }
    return {"Choosing": answer, "Examples, chosen": rows, "Bytes on disk": sizes}
