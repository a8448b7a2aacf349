"""How the engine's time a circuit grows with the number of qubits and falls with the size of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.benchmark.cases import build
from pipelines.benchmark.engine import run_worker
from pipelines.benchmark.workloads import Workload

QUBITS = range(2, 21)
QUBITS_SAMPLES = 8
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
BATCH_QUBITS = 8
_KEPT = ("us_per_circuit", "us_per_circuit_median", "spread", "repeats", "execution")


def measure(precision: str, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Figures of both sweeps, each point in a process of its own; `say` gets a line for each."""
    sweeps: dict[str, list[dict[str, Any]]] = {"qubits": [], "batch": []}
    by_qubits = [Workload(f"n={n}", n, 2, QUBITS_SAMPLES) for n in QUBITS]
    by_batch = [Workload(f"S={s}", BATCH_QUBITS, 2, s) for s in BATCHES]
    for sweep, workloads in (("qubits", by_qubits), ("batch", by_batch)):
        for workload in workloads:
            say(f"scaling, {workload.name}: {workload.summary}")
            raw, _ = run_worker(build(workload, precision), seconds)
            about = {
                "n_qubits": workload.n_qubits,
                "n_samples": workload.n_samples,
                "circuits": workload.n_circuits,
            }
            figures = (
                raw
                if "error" in raw
                else {k: raw[k] for k in _KEPT} | {"estimates": estimates(raw["explain"])}
            )
            sweeps[sweep].append(about | figures)
    return {"precision": precision, **sweeps}


def estimates(explain: list[dict[str, Any]] | None) -> dict[str, float]:
    """Microseconds a circuit of every execution that applies, as the cost model has them."""
    return {
        row["execution"].replace("_", " "): row["microseconds_per_circuit"]
        for row in explain or []
        if row["applies"]
    }


def write(figures: dict[str, Any], target: Path) -> list[str]:
    """The picture and its figures beside it: PNG, SVG and JSON in a folder, or the one file and its JSON. Returns their names."""
    from pipelines.plots.scaling import engine_scaling

    pictures = [target] if target.suffix else [target / f"engine-scaling.{kind}" for kind in ("png", "svg")]
    for picture in pictures:
        engine_scaling(figures, picture)
    table = pictures[0].with_suffix(".json")
    table.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return [str(path) for path in (*pictures, table)]
