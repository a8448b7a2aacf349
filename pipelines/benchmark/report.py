"""The engine's figures for people: a table on the terminal, or Markdown for docs/performance.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.benchmark.comparison import PEERS
from pipelines.benchmark.workloads import WORKLOADS
from pipelines.report import print_sections

Figures = Mapping[str, Any]
_WORDS = {"workload", "what", "execution"}
"""Columns that are not numbers."""
_COLUMNS = 5
"""Workloads beside each other on a terminal."""


def machine_line(machine: Figures) -> str:
    """The machine in one line."""
    load = machine["load_average"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; Python {machine['python']}, numpy {machine['numpy']}, "
        f"numba {machine['numba']}, cirq {machine['cirq-core']}; one thread; load average {'unknown' if load is None else load}"
    )


def show(outcome: Figures) -> None:
    """Print everything as tables on stdout."""
    rows, peers = outcome["workloads"], outcome["peers"]
    sections: dict[str, Mapping[str, Any]] = {
        "Engine": {row["workload"]: _cells(row) for row in rows if "error" not in row},
        "Not measured": {row["workload"]: row["error"] for row in rows if "error" in row},
        **_ratio_sections(peers),
        "Without a ratio": _reasons(peers),
    }
    for row in rows:
        if row.get("explain"):
            sections[f"Costs, {row['workload']}"] = {
                way["execution"].replace("_", " "): _explained(way) for way in row["explain"]
            }
    units = "minimum, median: µs a circuit, or a sample of a gradient (W6)"
    footer = [f"{units}; s: in single precision" if peers else units] if rows else []
    footer += [f"written: {name}" for name in outcome.get("files", [])]
    precision = rows[0]["precision"] if rows else outcome["scaling"]["precision"]
    print_sections(f"engine, {precision} precision", {k: v for k, v in sections.items() if v}, footer)


def markdown(outcome: Figures) -> str:
    """The tables of docs/performance.md."""
    rows = [row for row in outcome["workloads"] if "error" not in row]
    heads = [
        "workload",
        "what",
        "µs",
        "per second",
        "first call, s",
        "peak, MiB",
        "largest error",
        "execution",
    ]
    table = [
        [
            row["workload"],
            WORKLOADS[row["workload"]].summary,
            *_cells(row, with_median=False).values(),
            row["execution"] or "–",
        ]
        for row in rows
    ]
    parts = [machine_line(outcome["machine"]) + ".", "", *_table(heads, table)]
    refused = [f"- {row['workload']}: {row['error']}" for row in outcome["workloads"] if "error" in row]
    if refused:
        parts += ["", "Not measured:", "", *refused]
    if outcome["peers"]:
        names = [row["workload"] for row in rows]
        ratios = _ratio_rows(outcome["peers"])
        parts += ["", "Processor time of others over ours (s: in single precision):", ""]
        parts += _table(
            ["workload", *ratios], [[n, *(cells.get(n, "–") for cells in ratios.values())] for n in names]
        )
        parts += ["", *(f"- {name}: {why}" for name, why in _reasons(outcome["peers"]).items())]
    return "\n".join(parts)


def _cells(row: Figures, *, with_median: bool = True) -> dict[str, str]:
    """Column -> text of one workload."""
    median = {"median": _digits(row["us_per_circuit_median"])} if with_median else {}
    return {
        "minimum": _digits(row["us_per_circuit"]),
        **median,
        "per second": f"{row['circuits_per_second']:,.0f}",
        "first, s": f"{row['first_call_seconds']:.2f}",
        "MiB": f"{row['peak_rss_mib']:.0f}",
        "error": _error(row),
    }


def _error(row: Figures) -> str:
    if row.get("max_standard_errors") is not None:
        return f"{row['max_standard_errors']:.1f} σ"
    return "–" if row["max_abs_error"] is None else f"{row['max_abs_error']:.0e}"


def _ratio_rows(peers: Sequence[Figures]) -> dict[str, dict[str, str]]:
    """Peer -> workload -> ratio, for peers that have one."""
    found: dict[str, dict[str, str]] = {name: {} for name in PEERS}
    for row in peers:
        if "ratio" in row:
            mark = " s" if row["precision"] == "single" else ""
            found[row["peer"]][row["workload"]] = f"{_digits(row['ratio'])}{mark}"
    return {name: cells for name, cells in found.items() if cells}


def _ratio_sections(peers: Sequence[Figures]) -> dict[str, dict[str, dict[str, str]]]:
    """`_ratio_rows` in sections of few enough columns for a terminal."""
    names = list(dict.fromkeys(row["workload"] for row in peers))
    sections = {}
    for first in range(0, len(names), _COLUMNS):
        shown = names[first : first + _COLUMNS]
        heading = "Time over ours" if first == 0 else f"from {shown[0]}"
        sections[heading] = _ratio_rows([row for row in peers if row["workload"] in shown])
    return sections


def _reasons(peers: Sequence[Figures]) -> dict[str, str]:
    """Peer -> why figures are missing, the same reason of several workloads once."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for row in peers:
        why = row.get("missing") or row.get("error")
        if why:
            reasons.setdefault(row["peer"], {}).setdefault(why, []).append(row["workload"])
    return {
        peer: "; ".join(f"{why} ({', '.join(names)})" for why, names in by_reason.items())
        for peer, by_reason in reasons.items()
    }


def _explained(way: Figures) -> str:
    if not way["applies"]:
        return f"does not apply: {way['reason']}"
    marks = (("is_chosen", "chosen for values"), ("is_chosen_for_gradients", "chosen for gradients"))
    cost = f"{_digits(way['microseconds_per_circuit'])} µs a circuit, {_digits(way['mebibytes'])} MiB"
    parts = [cost, *(words for mark, words in marks if way.get(mark)), way["reason"]]
    return "; ".join(filter(None, parts))


def _digits(value: float) -> str:
    """Three digits that count: ``0.155``, ``22.9``, ``1,230``."""
    if not math.isfinite(value) or value == 0:
        return str(value)
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---:" if head.strip() and head not in _WORDS else "---" for head in heads]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]
