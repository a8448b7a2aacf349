"""The doctor's figures for people: sections in the look of ``qfleet train --dry-run``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.display.formatting import format_count, format_duration, format_usd
from pipelines.doctor.parameters import in_words

Figures = Mapping[str, Any]
Section = dict[str, str | Mapping[str, str]]


def sections(outcome: Figures) -> dict[str, Section]:
    """Everything found, under headings."""
    found = {
        "Circuit": _circuit(outcome["circuit"]),
        "Gates": _gates(outcome["circuit"]),
        "Torch on this machine": _torch(outcome["torch"]),
        **_work(outcome["work"], outcome["actors"]),
        **_gradient(outcome["gradient"]),
        "Unfelt parameters": _parameters(outcome["parameters"]),
        "Simplification": _simplification(outcome["simplification"]),
        "Stale gradients": _staleness(outcome["staleness"]),
        "Memory of a step": _memory(outcome["memory"]),
    }
    return {heading: rows for heading, rows in found.items() if rows}


def _circuit(about: Figures) -> Section:
    groups = about["measurement_groups"]
    shown = ", ".join(groups[:4]) + (", ..." if len(groups) > 4 else "")
    return {
        "qubits": str(about["qubits"]),
        "depth": f"{about['depth']} moments",
        "angles": f"{about['angles']} ({about['differentiated_angles']} differentiated, {about['data_angles']} from data)",
        "observables": ", ".join(about["observables"]),
        "measurement groups": f"{len(groups)} ({shown})",
    }


def _gates(about: Figures) -> Section:
    sizes = {size: str(count) for size, count in about["gates_by_size"].items()}
    rows: Section = {
        name: {size: str(counts.get(size, 0)) for size in sizes} | {"together": str(sum(counts.values()))}
        for name, counts in about["gates_by_name"].items()
    }
    return rows | {"all": sizes | {"together": str(about["gates"])}}


def _torch(about: Figures | None) -> Section:
    if about is None:
        return {}
    cuda = ", ".join(about["devices"]) or "no device"
    return {
        "backend.device": about["device"],
        "torch": about["torch"] or "not installed: pip install '.[torch]'",
        "CUDA": f"{cuda} (torch was built {'for ' + about['cuda'] if about['cuda'] else 'without it'})",
    }


def _work(rows: list[Figures], n_actors: int) -> dict[str, Section]:
    able = {_label(row): row for row in rows if "refused" not in row}
    timed = {label: row["run"]["seconds"] for label, row in able.items() if "seconds" in row["run"]}
    actors = sorted({1, n_actors, 4 * n_actors})
    return {
        "Work of a step": {label: _cells(row["step"]) for label, row in able.items()},
        "Work of the run": {label: _cells(row["run"]) for label, row in able.items()},
        "Run time by actors": {
            label: {str(n): in_time(seconds / n) for n in actors} for label, seconds in timed.items()
        },
        "Rules that do not apply": {row["rule"]: row["refused"] for row in rows if "refused" in row},
        "To know of a rule": {label: row["advice"] for label, row in able.items() if row["advice"]},
    }


def _label(row: Figures) -> str:
    return f"{row['rule']} *" if row["is_configured"] else str(row["rule"])


def _cells(work: Figures) -> dict[str, str]:
    cells = {
        "circuits": format_count(work["circuits"]),
        "shots": format_count(work["shots"]) if work["shots"] else "exact",
    }
    if "seconds" in work:
        cells["one actor"] = in_time(work["seconds"])
    return cells | {"cost": "unknown" if work["cost_usd"] is None else format_usd(work["cost_usd"])}


def _gradient(about: Figures | None) -> dict[str, Section]:
    if about is None:
        return {}
    scale = f"initial_scale = {about['initial_scale']:g}" if "initial_scale" in about else ""
    words: Section = {}
    for name, verdict in about.get("verdicts", {}).items():
        words["uniform angles" if name == "uniform" else scale] = verdict["sentence"]
    if about["note"]:
        words["note"] = about["note"]
    return {
        "Gradient variance by qubits": {
            f"n = {row['qubits']}": _spread(row, scale) for row in about.get("qubits", [])
        },
        "Gradient variance by layers": {
            f"{row['layers']} layer{'s' * (row['layers'] != 1)}": _spread(row, scale)
            for row in about.get("layers", [])
        },
        "Gradient in words": words,
    }


def _spread(row: Figures, scale: str) -> dict[str, str]:
    return {
        "uniform angles": f"{row['uniform']['variance']:.2e}",
        scale: f"{row['initial']['variance']:.2e}",
        "draws": str(row["draws"]),
    }


def _parameters(about: Figures) -> Section:
    doubtful = ", ".join(about["zero_but_not_proved"])
    also: Section = {
        "zero at 3 random points": f"{doubtful} (not proved: may be zero by chance or by the data)"
    }
    if not about["unfelt"]:
        return {"none": "every trainable parameter may move some observable"} | (also if doubtful else {})
    checked = {
        True: f"largest derivative at 3 random points {about['largest_derivative'] or 0:.1g}",
        False: f"NOT confirmed: a derivative of {about['largest_derivative'] or 0:.1g} at a random point",
        None: "not checked at random points",
    }[about["confirmed"]]
    count = about["saved_circuits_a_step"]
    saved = (
        "no gradient asks for them"
        if not count
        else f"{format_count(count)} circuits a step of parameter shift"
    )
    return {
        f"{len(about['unfelt'])} of {about['trainable']}": in_words(about["unfelt"], about["indices"]),
        "check": checked,
        "left out, which saves": saved,
    } | (also if doubtful else {})


def _simplification(about: Figures | None) -> Section:
    if about is None:
        return {}
    if about["is_on"]:
        return {"model.simplify": "on: the figures above are of the simplified circuit"}
    left_out: Section = {"left out": "; ".join(about["left_out"])} if about["left_out"] else {}
    if not about["saved_gates"]:
        return {"model.simplify = true": "would save nothing"} | left_out
    circuits = about["saved_circuits_a_step"]
    less = "" if circuits is None else f", {format_count(circuits)} circuits a step of parameter shift"
    return {
        "model.simplify = true": (
            f"would save {about['saved_gates']} of {about['gates']} gates and {about['saved_depth']} of {about['depth']} moments{less}"
        ),
        "the outputs": "are the same, as checked by unitaries or expectation values at random points; see qfleet simplify",
    } | left_out


def _staleness(about: Figures | None) -> Section:
    if about is None:
        return {}
    return {
        "training.max_staleness": f"{about['max_staleness']} updates",
        "waits for answers in an epoch": f"{about['waits']} at best, in place of {about['steps']}",
        "largest stable learning rate": (
            f"{about['rate_share']:.2f} of that without staleness (plain descent, constant curvature); otherwise try as much less"
        ),
    }


def _memory(about: Figures) -> Section:
    threads = "" if about["threads"] == 1 else f", {about['threads']} threads"
    actor = (
        f"not possible: {about['actor_what']}"
        if about["actor_bytes"] is None
        else f"{in_bytes(about['actor_bytes'])} ({about['actor_what']}{threads})"
    )
    return {
        "each actor": actor,
        "driver": f"{in_bytes(about['driver_step_bytes'])} of arrays, and {in_bytes(about['driver_data_bytes'])} of data",
    }


def in_time(seconds: float) -> str:
    """As `format_duration`, with two digits that count below ten milliseconds."""
    return f"{1e3 * seconds:.2g} ms" if 0 < seconds < 0.01 else format_duration(seconds)


def in_bytes(n_bytes: float) -> str:
    """``"1.5 MiB"``."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} GiB"
