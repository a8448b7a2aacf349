"""What a session refuses, and that looking at the same tables again costs nothing and hides nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.backends import checks
from actors.backends.checks import check_job
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CircuitError
from orchestrator.jobs import Displacements, Job
from orchestrator.protocols import Capabilities

ALL = Capabilities(is_exact=True, has_shots=True, has_jacobian=True, max_qubits=3)
TEMPLATE, _ = template_from_circuit(
    cirq.Circuit(cirq.ry(sympy.Symbol(f"a{i}"))(q) for i, q in enumerate(cirq.LineQubit.range(3)))
)
CIRCUIT = MeasuredCircuit(TEMPLATE, ("ZZI", "IXX"))
PLAIN = Job(CIRCUIT.key, np.zeros(3), np.array([1]), np.zeros((4, 1)), Displacements.none())
DIRECT = replace(PLAIN, jacobian_angles=np.array([0, 2]))


def check(job: Job) -> None:
    check_job("some", ALL, CIRCUIT, job)


@pytest.mark.parametrize("cotangents", [np.ones((4, 2)), np.ones((2, 4)).T])
def test_cotangents_that_fit(cotangents: np.ndarray) -> None:
    check(replace(DIRECT, cotangents=cotangents))


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (replace(PLAIN, cotangents=np.ones((4, 2))), "need jacobian_angles"),
        (replace(DIRECT, cotangents=np.ones((4, 3))), r"shape \(4, 3\); expected \(4, 2\)"),
        (replace(DIRECT, cotangents=np.ones(2)), r"shape \(2,\)"),
        (replace(DIRECT, cotangents=np.ones((4, 2), np.float32)), "float64"),
        (replace(DIRECT, cotangents=np.full((4, 2), np.inf)), "not a finite"),
        (replace(PLAIN, shared_angles=np.array([0, 0, np.nan])), "shared_angles holds"),
        (replace(PLAIN, data_angles=np.full((4, 1), np.inf)), "data_angles holds"),
        (replace(DIRECT, jacobian_angles=np.array([3])), r"jacobian_angles names an angle outside of 0\.\.2"),
        (replace(DIRECT, jacobian_angles=np.array([1, 1])), "jacobian_angles names an angle twice"),
    ],
)
def test_refusals(job: Job, message: str) -> None:
    for _ in range(2):  # the second time from memory
        with pytest.raises(CircuitError, match=message):
            check(job)


def test_shared_angles_under_data_may_be_anything() -> None:
    check(replace(PLAIN, shared_angles=np.array([0.0, np.nan, 0.0])))


TABLES: list[tuple[dict[str, Any], str]] = [
    ({"indptr": np.array([1, 2])}, "begin with 0"),
    ({"indptr": np.array([0, 2, 1])}, "never fall"),
    ({"angles": np.array([0])}, "hold 1 angles"),
    ({"angles": np.array([0, 3])}, r"outside of 0\.\.2"),
    ({"angles": np.array([1, 1])}, "twice in one displacement row"),
    ({"deltas": np.array([0.1, np.nan])}, "not finite"),
]


@pytest.mark.parametrize(("change", "message"), TABLES)
def test_a_table_that_was_good_is_looked_at_when_it_changes(change: dict[str, Any], message: str) -> None:
    good = Displacements(np.array([0, 2]), np.array([0, 1]), np.array([0.1, 0.2]))
    check(replace(PLAIN, displacements=good))
    for _ in range(2):
        with pytest.raises(CircuitError, match=message):
            check(replace(PLAIN, displacements=replace(good, **change)))
    check(replace(PLAIN, displacements=good))
    good.deltas[1] = np.inf  # in place: content counts, not the object
    with pytest.raises(CircuitError, match="not finite"):
        check(replace(PLAIN, displacements=good))


def test_equal_tables_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    find = checks._displacement_problem
    monkeypatch.setattr(
        checks, "_displacement_problem", lambda *arrays: (looked_at.append(1), find(*arrays))[1]
    )
    for _ in range(5):
        rows = Displacements.single(np.array([0, 1, 2]), np.array([0.5, -0.5, 0.25]))
        check(replace(PLAIN, displacements=rows))
    assert len(looked_at) == 1


def test_large_tables_are_not_kept() -> None:
    n_rows = 5000
    before = checks._remembered.cache_info().currsize
    check(replace(PLAIN, displacements=Displacements.single(np.zeros(n_rows, int), np.ones(n_rows))))
    assert checks._remembered.cache_info().currsize <= before + 1  # that of the data columns
