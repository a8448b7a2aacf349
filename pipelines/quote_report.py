"""The quote for people: two tables for every target, what the prices rest on, and what another rule would cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.display.formatting import format_count, format_usd

Figures = Mapping[str, Any]
Section = dict[str, str | Mapping[str, str]]

COMPARED = ("parameter_shift", "spsa")
_GROUPS_SHOWN = 8
_MITIGATION = {True: "on", False: "off", None: "on, IonQ's default, but for the simulator"}


def sections(outcome: Figures) -> dict[str, Section]:
    """Everything found, under headings."""
    found: dict[str, Section] = {}
    for target in outcome["targets"]:
        found[f"{target['target']}: a step"] = _steps(target, outcome)
        found[f"{target['target']}: the run"] = _runs(target, outcome)
    found |= {
        "Not taken by": {target["target"]: _refused_by(target) for target in outcome["targets"]},
        "Rules that do not apply": _refused_rules(outcome),
        "The same steps by": _compared(outcome),
        "Budget": _budget(outcome),
        "Assumed": _assumed(outcome),
        "Prices": {target["target"]: _prices(target) for target in outcome["targets"]},
    }
    nothing_empty = {heading: {k: v for k, v in rows.items() if v} for heading, rows in found.items()}
    return {heading: rows for heading, rows in nothing_empty.items() if rows}


def footer(outcome: Figures) -> list[str]:
    """Lines below the table."""
    return [
        "* the rule in use",
        "list prices: taxes, credits and what a contract says are left out",
    ]


def _able(target: Figures, outcome: Figures) -> Iterator[tuple[str, Figures]]:
    """Rules that the target takes."""
    for row in target["rules"]:
        if "refused" not in row:
            yield f"{row['rule']} *" if row["rule"] == outcome["rule"] else row["rule"], row


def _ends(label: str, row: Figures, part: str) -> Iterator[tuple[str, str | None]]:
    """One line, or two where only the least and the most are known."""
    if "least" in row[part]:
        yield f"{label}, least", "least"
        yield f"{label}, most", "most"
    else:
        yield label, None


def _at(figures: Figures, end: str | None) -> Figures:
    """An end of bounds, or what is known exactly."""
    chosen: Figures = figures[end] if end is not None and end in figures else figures
    return chosen


def _steps(target: Figures, outcome: Figures) -> Section:
    found: Section = {}
    for name, row in _able(target, outcome):
        for label, end in _ends(name, row, "step"):
            step = _at(row["step"], end)
            counts = {key: format_count(step[key]) for key in ("circuits", "shots", "jobs")}
            found[label] = counts | {"cost": in_dollars(step["usd"])}
    return found


def _runs(target: Figures, outcome: Figures) -> Section:
    """Validation and test take the same whatever the rule."""
    found: Section = {}
    rows = list(_able(target, outcome))
    for name, row in rows:
        for label, end in _ends(name, row, "run"):
            training, whole = _at(row["training"], end), _at(row["run"], end)
            found[label] = {
                "circuits": format_count(whole["circuits"]),
                "training": in_dollars(training["usd"]),
                "all of it": in_dollars(whole["usd"]),
            }
    for part in ("validation", "test", "calibration") if rows else ():
        if part == "calibration" and not rows[0][1][part]["circuits"]:
            continue
        for label, end in _ends(f"{part} alone", rows[0][1], part):
            alone = _at(rows[0][1][part], end)
            found[label] = {
                "circuits": format_count(alone["circuits"]),
                "all of it": in_dollars(alone["usd"]),
            }
    return found


def _refused_by(target: Figures) -> str:
    """Every reason once, with the rules that it is of."""
    rules_of: dict[str, list[str]] = {}
    for row in target["rules"]:
        if row.get("by_target"):
            rules_of.setdefault(row["refused"], []).append(row["rule"])
    n_taken = sum("refused" not in row for row in target["rules"])
    if not n_taken and len(rules_of) == 1:
        return next(iter(rules_of))
    return "; ".join(f"{', '.join(rules)}: {why}" for why, rules in rules_of.items())


def _refused_rules(outcome: Figures) -> Section:
    rows = [row for target in outcome["targets"][:1] for row in target["rules"]]
    return {row["rule"]: row["refused"] for row in rows if "refused" in row and not row.get("by_target")}


def _compared(outcome: Figures) -> Section:
    """Costs of the same number of steps, at most; how many steps each rule needs is another question."""
    found: Section = {}
    for target in outcome["targets"]:
        costs = {
            row["rule"]: _at(row["run"], "most")["usd"] for row in target["rules"] if "refused" not in row
        }
        if all(rule in costs for rule in COMPARED):
            found[target["target"]] = {rule: in_dollars(costs[rule]) for rule in COMPARED}
    if found:
        found["note"] = f"{outcome['steps']} steps either way, which need not bring both rules equally far"
    return found


def _budget(outcome: Figures) -> Section:
    if outcome["budget_usd"] is None:
        return {"budget.max_usd": "none: nothing stops the run but its end"}
    found: Section = {"budget.max_usd": format_usd(outcome["budget_usd"])}
    for target in outcome["targets"]:
        for row in target["rules"]:
            if row["rule"] == outcome["rule"] and "refused" not in row:
                found[target["target"]] = _reach(row, outcome)
    return found


def _reach(row: Figures, outcome: Figures) -> str:
    if _at(row["run"], "most")["usd"] <= outcome["budget_usd"]:
        return "holds the whole run"
    n_steps, n_sure = outcome["steps"], row["steps_within_budget"]
    if n_sure == n_steps:
        return "holds the training, but not the final test"
    return f"holds {n_sure} of {n_steps} steps for sure"


def _assumed(outcome: Figures) -> Section:
    found: Section = {
        "shots": f"{outcome['shots']} for each circuit" if outcome["shots"] else "none (exact values)",
        "circuits a job": f"at most {outcome['circuits_per_job']}",
        "gate set": outcome["gateset"],
        "error mitigation": _MITIGATION[outcome["error_mitigation"]],
        "circuits at noise scales": ", ".join(f"{scale:g}" for scale in outcome["noise_scales"]),
        "readout mitigation": "two circuits, once a run" if outcome["readout_mitigation"] else "",
        "failures": "jobs that fail are free, and nothing is sent twice",
        "epochs": str(outcome["epochs"]),
    }
    if outcome["least_epochs"] is not None and outcome["least_epochs"] < outcome["epochs"]:
        found["epochs"] = f"{outcome['least_epochs']} at least, {outcome['epochs']} at most (early stopping)"
    for row in (row for target in outcome["targets"][:1] for row in target["rules"]):
        if row.get("note"):
            found[row["rule"]] = row["note"]
    return found | _gates(outcome)


def _gates(outcome: Figures) -> Section:
    """Billing counts by measurement group: they are those of the gate set, the same for every target."""
    for target in outcome["targets"]:
        if "refused" not in target:
            groups = target["gates_by_measurement_group"]
            found: Section = {
                f"gates read in {group['basis']}": f"{group['n_1q']} on one qubit, {group['n_2q']} on two"
                for group in groups[:_GROUPS_SHOWN]
            }
            more = len(groups) - _GROUPS_SHOWN
            return found | ({"gates of others": f"{more} more groups, see --json"} if more > 0 else {})
    return {}


def in_dollars(dollars: float) -> str:
    """With cents up to ten thousand dollars, whole ones beyond."""
    return format_usd(dollars) if dollars < 1e4 else f"${dollars:,.0f}"


def _prices(target: Figures) -> str:
    return f"{target['reading']} ({target['source']}, {target['date']})"
