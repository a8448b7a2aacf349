"""Billing counts: which gates count as what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.costs.gate_counts import GateCounts, count_gates
from orchestrator.errors import CircuitError


@pytest.mark.parametrize(
    ("gate", "counts"),
    [
        ({"gate": "x", "targets": [0]}, (1, 0)),
        ({"gate": "rx", "target": 3, "rotation": 0.3}, (1, 0)),
        ({"gate": "gpi2", "target": 0, "phase": 0.25}, (1, 0)),
        ({"gate": "cnot", "control": 1, "target": 2}, (0, 1)),
        ({"gate": "x", "targets": [1], "controls": [0]}, (0, 1)),
        ({"gate": "rz", "target": 1, "control": 0, "rotation": 1.0}, (0, 1)),
        ({"gate": "swap", "targets": [0, 1]}, (0, 1)),
        ({"gate": "xx", "targets": [0, 1], "rotation": 0.1}, (0, 1)),
        ({"gate": "ms", "targets": [0, 1], "phases": [0, 0], "angle": 0.25}, (0, 1)),
        ({"gate": "zz", "targets": [0, 1], "angle": 0.25}, (0, 1)),
        ({"gate": "x", "target": 2, "controls": [0, 1]}, (0, 6)),
        ({"gate": "x", "target": 3, "controls": [0, 1, 2]}, (0, 12)),
        ({"gate": "swap", "targets": [1, 2], "control": 0}, (0, 6)),
        ({"gate": "pauliexp", "targets": [0, 1, 2, 3], "terms": ["XXXX"]}, (0, 12)),
        ({"gate": "nop", "targets": [0, 1, 2], "time": 3}, (0, 0)),
    ],
)
def test_one_gate(gate: dict[str, Any], counts: tuple[int, int]) -> None:
    assert count_gates([gate]) == GateCounts(*counts)


def test_counts_add_up_whatever_the_order() -> None:
    rng = np.random.default_rng(5)
    kinds: list[tuple[dict[str, Any], tuple[int, int]]] = [
        ({"gate": "h", "target": 0}, (1, 0)),
        ({"gate": "cnot", "control": 0, "target": 1}, (0, 1)),
        ({"gate": "y", "target": 0, "controls": [4, 2, 1]}, (0, 12)),
        ({"gate": "nop", "targets": [0]}, (0, 0)),
    ]
    for _ in range(50):
        drawn = [kinds[i] for i in rng.integers(len(kinds), size=rng.integers(0, 40))]
        expected = np.sum([counts for _, counts in drawn], axis=0) if drawn else (0, 0)
        assert tuple(count_gates([gate for gate, _ in drawn])) == tuple(expected)
    assert GateCounts(1, 2).plus(GateCounts(10, 20)) == (11, 22)


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ({"target": 0}, "has no name"),
        ({"gate": "", "target": 0}, "has no name"),
        ({"gate": "x"}, "has no target"),
        ({"gate": "x", "targets": []}, "has no target"),
        ({"gate": "x", "control": 0}, "has no target"),
        ({"gate": "cnot", "control": 1, "target": 1}, "names a qubit twice"),
        ({"gate": "swap", "targets": [2, 2]}, "names a qubit twice"),
    ],
)
def test_what_is_no_gate_is_refused(gate: dict[str, Any], problem: str) -> None:
    with pytest.raises(CircuitError, match=problem) as caught:
        count_gates([{"gate": "x", "target": 0}, gate])
    assert "gate 1" in str(caught.value)
