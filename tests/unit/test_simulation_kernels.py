"""Single kernels: uniform and per-lane forms agree to the bit, Walsh sums, alias tables, and the compiling itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from actors.simulation import warm_up as warm_up_module
from actors.simulation.jit import entry_point, kernel, source_digest
from actors.simulation.state_vector.measure_kernels import walsh
from actors.simulation.state_vector.observables import compile_observables, parity
from actors.simulation.state_vector.sampling import alias_table, draw_counts
from actors.simulation.state_vector.state_kernels import turn_lanes, turn_uniform
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate


def test_uniform_and_per_lane_turns_have_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    for width in (1, 3, 8, 17):
        size = width << 5
        coefficients = rng.normal(size=4)
        for bit in range(5):
            re, im = rng.normal(size=(2, size))
            lanes_re, lanes_im = re.copy(), im.copy()
            turn_uniform(re, im, size, width << bit, *coefficients)
            turn_lanes(
                lanes_re, lanes_im, size, width << bit, np.repeat(coefficients[:, None], 2 * width, axis=1)
            )
            assert np.array_equal(re, lanes_re)
            assert np.array_equal(im, lanes_im)


def test_walsh_sums_are_sign_sums() -> None:
    rng = np.random.default_rng(1)
    n_qubits, width = 5, 3
    for n_strings in (1, 4, 32):
        masks = rng.permutation(32)[:n_strings]
        paulis = tuple("".join("IZ"[mask >> (4 - q) & 1] for q in range(5)) for mask in masks)
        seen = compile_observables(MeasuredCircuit(CircuitTemplate(n_qubits, 0, (), ""), paulis), None)
        rows = rng.random((32, width))
        values = np.empty((n_strings, width))
        walsh(seen, 0, n_qubits, width, rows.ravel().copy(), np.empty(rows.size), values)
        signs = 1 - 2 * parity(masks[:, None] & np.arange(32))
        np.testing.assert_allclose(values, signs @ rows, atol=1e-13)


@pytest.mark.parametrize("size", [2, 8, 256])
def test_an_alias_table_holds_the_probabilities(size) -> None:
    rng = np.random.default_rng(size)
    for probabilities in (rng.dirichlet(np.full(size, 0.3)), np.eye(size)[1], np.full(size, 1 / size)):
        threshold, alias = np.empty(size, np.uint32), np.empty(size, np.uint32)
        alias_table(
            probabilities.copy(), threshold, alias, np.empty(size, np.int64), np.empty(size, np.int64)
        )
        kept = threshold / (2**32 / size)
        held = kept + np.bincount(alias, weights=1 - kept, minlength=size)
        np.testing.assert_allclose(held / size, probabilities, rtol=0, atol=size * 2**-32)
        impossible = probabilities == 0
        assert np.all(held[impossible] == 0)


def test_counts_come_from_the_words() -> None:
    threshold, alias = np.array([2**30, 0], np.uint32), np.array([1, 1], np.uint32)
    words = np.array([0, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    counts = np.empty(2, np.int64)
    draw_counts(threshold, alias, words, 6, 1, counts)
    assert counts.tolist() == [2, 4]


def test_an_entry_point_must_know_the_sources() -> None:
    with pytest.raises(TypeError, match="source_digest"):
        entry_point(lambda x: x)
    digest = source_digest()
    assert 0 < digest < 2**63
    assert kernel(lambda x: x + 1)(1) == 2


class TestWarmUp:
    def test_it_reports_once_when_it_takes_long(self, monkeypatch) -> None:
        lines: list[str] = []
        reported = threading.Event()

        def slow() -> None:
            assert reported.wait(10)

        monkeypatch.setattr(warm_up_module, "PATIENCE_SECONDS", 0.01)
        monkeypatch.setattr(warm_up_module, "_run_smallest", slow)
        seconds = warm_up_module.warm_up(lambda line: (lines.append(line), reported.set()))
        assert seconds > 0
        assert len(lines) == 1
        assert "compiling" in lines[0]

    def test_it_is_silent_when_all_is_compiled(self) -> None:
        warm_up_module.warm_up()
        lines: list[str] = []
        warm_up_module.warm_up(lines.append)
        assert lines == []
