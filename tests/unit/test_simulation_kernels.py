"""Single kernels: uniform and per-lane forms agree to the bit, Walsh sums, alias tables, and the compiling itself."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from actors.simulation import warm_up as warm_up_module
from actors.simulation.jit import allocating, cache_folder, entry_point, is_cached, kernel, source_digest
from actors.simulation.state_vector import (
    block_kernels,
    measure_kernels,
    permutation_kernels,
    sampling,
    state_kernels,
)
from actors.simulation.state_vector.observables import compile_observables, parity
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate


def callable_from_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel has no entry from Python; this gives it one."""
    return numba.njit(lambda *arguments: function(*arguments))


walsh = callable_from_python(measure_kernels.walsh)
alias_table = callable_from_python(sampling.alias_table)
draw_counts = callable_from_python(sampling.draw_counts)
turn_lanes = callable_from_python(state_kernels.turn_lanes)
apply_block = callable_from_python(block_kernels.apply_block)
permute = callable_from_python(permutation_kernels.permute)
turn_uniform = callable_from_python(state_kernels.turn_uniform)


@pytest.mark.parametrize("real", [np.float64, np.float32])
def test_uniform_and_per_lane_turns_have_the_same_bits(real) -> None:
    rng = np.random.default_rng(0)
    for width in (1, 2, 3, 8, 17):
        size = width << 5
        coefficients = rng.normal(size=4).astype(real)
        for bit in range(5):
            re, im = rng.normal(size=(2, size)).astype(real)
            lanes_re, lanes_im = re.copy(), im.copy()
            turn_uniform(re, im, size, width << bit, *coefficients)
            turn_lanes(
                lanes_re, lanes_im, size, width << bit, np.repeat(coefficients[:, None], 2 * width, axis=1)
            )
            assert np.array_equal(re, lanes_re)
            assert np.array_equal(im, lanes_im)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_blocks_multiply_their_rows_and_leave_the_others(m) -> None:
    rng = np.random.default_rng(m)
    n_qubits, bits = 5, np.array([1, 3])
    rows = np.array([0b01010, 0b00000, 0b01000, 0b00010])[:m]
    for width in (1, 3, 4, 9):
        matrix = rng.normal(size=(m, m, width)) + 1j * rng.normal(size=(m, m, width))
        tile = np.zeros((2 * m * (m + 1), 2 * width))
        tile[: 2 * m * m] = np.tile(np.stack([matrix.real, matrix.imag], 2).reshape(-1, width), 2)
        states = rng.normal(size=(2, 32, width))
        expected = states[0] + 1j * states[1]
        for base in (0, 1, 4, 5, 16, 17, 20, 21):
            expected[base | rows] = np.einsum("rcw,cw->rw", matrix, expected[base | rows])
        planes = states.reshape(2, -1)
        apply_block(planes[0], planes[1], n_qubits, width, bits, rows, tile)
        np.testing.assert_allclose(states[0] + 1j * states[1], expected, rtol=0, atol=1e-13)


def test_permutations_move_rows_and_go_back() -> None:
    rng = np.random.default_rng(2)
    source = rng.permutation(16).astype(np.int32)
    for width in (1, 3, 4, 9):
        re, im = rng.normal(size=(2, 16 * width))
        out_re, out_im = np.empty((2, 16 * width))
        permute(re, im, out_re, out_im, width, source, False)
        assert np.array_equal(out_re.reshape(16, width), re.reshape(16, width)[source])
        assert np.array_equal(out_im.reshape(16, width), im.reshape(16, width)[source])
        back_re, back_im = np.empty((2, 16 * width))
        permute(out_re, out_im, back_re, back_im, width, source, True)
        assert np.array_equal(back_re, re)
        assert np.array_equal(back_im, im)


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
    assert allocating(lambda x: x + 1)(1) == 2


def test_a_kernel_is_for_compiled_code_alone() -> None:
    twice = kernel(lambda x: 2 * x)
    with pytest.raises(TypeError, match="for compiled code alone"):
        twice(1.0)
    assert callable_from_python(twice)(1.5) == 3.0


class TestWarmUp:
    def test_it_reports_once_when_it_takes_long(self, monkeypatch) -> None:
        lines: list[str] = []
        reported = threading.Event()
        compiled: list[list[str]] = []

        def slow(names: list[str]) -> None:
            compiled.append(names)
            assert reported.wait(10)

        monkeypatch.setattr(warm_up_module, "PATIENCE_SECONDS", 0.01)
        monkeypatch.setattr(warm_up_module, "is_cached", lambda function: False)
        monkeypatch.setattr(warm_up_module, "_compile_side_by_side", slow)
        seconds = warm_up_module.warm_up(
            ["shots", "adjoint"], lambda line: (lines.append(line), reported.set())
        )
        assert seconds > 0
        assert compiled == [["shots", "adjoint"]]
        assert len(lines) == 1
        assert "compiling" in lines[0]

    def test_only_what_is_missing_is_compiled_and_then_nothing_more(self, tmp_path, monkeypatch) -> None:
        """In a cache folder of its own; the child that compiles inherits it by environment."""
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        code = (
            "from actors.simulation.warm_up import warm_up, _missing; parts = ['contraction'];"
            "assert _missing(parts) == parts; lines = []; warm_up(parts, lines.append); assert _missing(parts) == [];"
            "n = len(lines); warm_up(parts, lines.append); print(n, len(lines) - n)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
        )
        assert run.stdout.split() == ["1", "0"]

    def test_a_second_one_waits_for_the_first(self, tmp_path) -> None:
        order: list[str] = []
        held = threading.Event()

        def first() -> None:
            with warm_up_module._locked(tmp_path):
                held.set()
                order.append("first in")
                time.sleep(0.2)
                order.append("first out")

        thread = threading.Thread(target=first)
        thread.start()
        assert held.wait(10)
        with warm_up_module._locked(tmp_path):
            order.append("second in")
        thread.join()
        assert order == ["first in", "first out", "second in"]

    def test_parts_are_known_to_be_cached_only_once_compiled(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
        digest = source_digest()

        def square(x: float) -> float:
            _ = digest
            return x * x

        function = entry_point(square)
        assert not is_cached(function)
        assert function(3.0) == 9.0
        assert is_cached(function)
        assert Path(str(cache_folder(function))).is_relative_to(tmp_path)
