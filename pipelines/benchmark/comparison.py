"""Other simulators beside the engine, in the same run: who they are, and what each made of a workload."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.benchmark.children import run_child
from pipelines.benchmark.peers.problem import Problem

PEERS = {
    "cirq": "cirq",
    "qulacs": "qulacs",
    "lightning.qubit": "pennylane_lightning",
    "default.qubit": "pennylane_default",
    "qiskit-aer": "qiskit_aer",
    "qsimcirq": "qsimcirq",
    "tc-ng, state": "tensorcircuit_state",
    "tc-ng, network": "tensorcircuit_network",
}
"""Name -> module in `pipelines.benchmark.peers`; tc-ng is tensorcircuit-ng on JAX."""
OURS = {"cirq"}
"""Installed with qfleet, so run by this interpreter whatever the others are run by."""
LIMIT_SECONDS = 240.0
"""Compilation included."""


def compare(
    problem: Problem, ours: dict[str, Any], seconds: float, python: str | None
) -> Iterator[dict[str, Any]]:
    """What each peer makes of `problem`: its figures and ``ratio``, its processor time over ours, or why there are none.

    A peer that is not installed has the key ``missing``, one that cannot do the task ``unsupported``, one that fails ``error``.

    Args:
        ours: the engine's figures for it.
        seconds: budget of each peer.
        python: interpreter that has the peers; this one if absent.
    """
    with tempfile.TemporaryDirectory(prefix="qfleet-benchmark-") as folder:
        path = Path(folder) / "problem.npz"
        problem.save(path)
        for name, module in PEERS.items():
            interpreter = sys.executable if python is None or name in OURS else python
            outcome = run_child(
                interpreter, "pipelines.benchmark.peers.run", [module, str(path), str(seconds)], LIMIT_SECONDS
            )
            if "us_per_circuit" in outcome:
                outcome["ratio"] = outcome["us_per_circuit_cpu"] / ours["us_per_circuit_cpu"]
            yield {"workload": problem.workload, "peer": name, **outcome}
