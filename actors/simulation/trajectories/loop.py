"""All shots of all circuits of a job.

For each circuit and measurement group: find the first event of every shot; carry the state without errors ("base", one lane) through the
circuit; where shots leave it, copy it into the lanes of a block and run those shots to the end; draw all others from the base.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from actors.simulation.jit import allocating, entry_point, inlined, kernel, source_digest
from actors.simulation.philox import fill_words
from actors.simulation.state_vector.block_kernels import apply_block
from actors.simulation.state_vector.coefficients import block_coefficients
from actors.simulation.state_vector.measure_kernels import odd_parity
from actors.simulation.state_vector.program import TURN
from actors.simulation.state_vector.sampling import rotate_basis
from actors.simulation.state_vector.state_kernels import (
    spread_tile,
    tile_length,
    tile_rows,
    turn_lanes,
    turn_uniform,
)
from actors.simulation.trajectories.errors import fill_shot_words, first_event, pauli_error, read_out
from actors.simulation.trajectories.kernels import accumulate, damp, draw_outcome, flip_lane, turn_quaternion


class Circuit(NamedTuple):
    """One circuit of a job: cosine, sine float64 [T]; coefficients float64 [n_coefficients, 1], those of BLOCKS filled."""

    cosine: np.ndarray
    sine: np.ndarray
    coefficients: np.ndarray


class Rows(NamedTuple):
    """The displacement rows of a job, as in ``orchestrator.jobs.Displacements``."""

    indptr: np.ndarray
    angles: np.ndarray
    deltas: np.ndarray


class Place(NamedTuple):
    """Where the random words of one circuit and group come from."""

    key: np.uint64
    displacement: int
    sample: int
    step: int


@allocating
def bind(code, angles, sample, displacements, row):
    """The Circuit of `sample` and displacement row `row`."""
    size = code.trigs.size
    value = np.empty(angles.shared.size)
    for angle in range(value.size):
        column = angles.column[angle]
        value[angle] = angles.shared[angle] if column < 0 else angles.data[sample, column]
    for entry in range(displacements.indptr[row], displacements.indptr[row + 1]):
        value[displacements.angles[entry]] += displacements.deltas[entry]
    cosine, sine = np.empty(size), np.empty(size)
    for trig in range(size):
        angle = code.trigs[trig].angle
        phase = code.trigs[trig].rate * value[angle] if angle >= 0 else 0.0
        cosine[trig], sine[trig] = math.cos(phase), math.sin(phase)
    coefficients = np.empty((code.n_coefficients, 1))
    for op in range(code.n_operations):
        here, after = code.operations[op], code.operations[op + 1]
        if here.kind != TURN:
            block_coefficients(
                code, op, cosine[here.trig : after.trig].reshape(-1, 1),
                sine[here.trig : after.trig].reshape(-1, 1), coefficients[here.coefficient : after.coefficient],
            )  # fmt: skip
    return Circuit(cosine, sine, coefficients)


@allocating
def apply_turn(code, op, circuit, errors, site, words, re, im, width, tile):
    """Apply TURN `op` with the Pauli errors of its gates; returns the site after them. words: uint64 [width, .], no rows: no errors."""
    first, stop = code.operations[op].trig, code.operations[op + 1].trig
    paulis = np.zeros(stop - first, np.int64)
    ar, ai, br, bi = turn_quaternion(code, op, circuit.cosine, circuit.sine, paulis)
    end = site
    while end < errors.site_kind.size and errors.site_operation[end] == op and errors.site_kind[end] == 1:
        end += 1
    n_odd = 0
    for lane in range(words.shape[0]):
        is_odd = False
        for s in range(site, end):
            pauli = pauli_error(errors, np.int64(1), words[lane, s])
            paulis[errors.site_row[s] - first] = pauli
            is_odd = is_odd or pauli > 0
        if is_odd:
            if n_odd == 0:
                tile[0, :], tile[1, :], tile[2, :], tile[3, :] = ar, ai, br, bi
            n_odd += 1
            own = turn_quaternion(code, op, circuit.cosine, circuit.sine, paulis)
            for column in range(lane, tile.shape[1], width):
                tile[0, column], tile[1, column], tile[2, column], tile[3, column] = own
    stride = width << code.operations[op].bit
    if n_odd == 0:
        turn_uniform(re, im, width << code.n_qubits, stride, ar, ai, br, bi)
    else:
        turn_lanes(re, im, width << code.n_qubits, stride, tile)
    return end


@kernel
def apply_blocks(code, op, circuit, re, im, width, tile):
    """Apply BLOCKS `op`, the same in all lanes."""
    here, after = code.operations[op], code.operations[op + 1]
    bits = code.block_bits[here.block_bit : after.block_bit]
    for block in range(here.block, after.block):
        m, first = code.blocks[block].n_rows, code.blocks[block].coefficient
        spread_tile(circuit.coefficients[first : first + 2 * m * m], np.int64(1), tile[: 2 * m * m])
        rows = code.block_rows[code.blocks[block].row : code.blocks[block].row + m]
        apply_block(re, im, code.n_qubits, width, bits, rows, tile)


@allocating
def evolve(code, circuit, errors, words, start, stop, re, im, width):
    """Apply operations start..stop-1 with their errors to a block. words: uint64 [width, slots]; with no rows nothing happens at random."""
    tile = np.empty((tile_rows(code), tile_length(width)))
    n_rows, n_sites = np.int64(1) << code.n_qubits, errors.site_kind.size
    site = np.searchsorted(errors.site_operation, start)
    drawn = np.empty(width, np.uint64)
    for op in range(start, stop):
        if code.operations[op].kind == TURN:
            site = apply_turn(code, op, circuit, errors, site, words, re, im, width, tile)
        else:
            apply_blocks(code, op, circuit, re, im, width, tile)
        while site < n_sites and errors.site_operation[site] == op:
            kind, bits = errors.site_kind[site], errors.site_bits[site]
            if kind == 0:
                drawn[:] = errors.damping_below
                for lane in range(words.shape[0]):
                    drawn[lane] = words[lane, site]
                damp(re, im, n_rows, width, bits[0], errors.damping, errors.damping_below, drawn)
            else:
                for lane in range(words.shape[0]):
                    pauli = pauli_error(errors, kind, words[lane, site])
                    for place in range(kind):
                        letter = (pauli >> 2 * (kind - 1 - place)) & 3
                        if letter > 0:
                            flip_lane(re, im, n_rows, width, lane, bits[place], letter)
            site += 1


@kernel
def count_outcome(strings, group, outcome, totals):
    """Add the +-1 that each string of `group` reads in `outcome` to totals [M]."""
    for place in range(strings.group_start[group], strings.group_start[group + 1]):
        m = strings.members[place]
        totals[m] += -1 if odd_parity(outcome & strings.masks[m]) else 1


@allocating
def events_of_shots(errors, place, n_operations, first):
    """first int64 [shots]: the operation of each shot's first event."""
    words = np.empty((errors.n_slots + 3) // 4 * 4, np.uint64)
    for shot in range(first.size):
        fill_shot_words(place.key, shot, place.displacement, place.sample, place.step, words)
        first[shot] = first_event(errors, words, n_operations)


@kernel
def measure_shots(errors, strings, group, shots, words, draws, re, im, width, n_qubits, totals):
    """Draw and count an outcome for each of `shots`, in the lanes of a block, or all in lane 0 if it has one lane."""
    rotate_basis(re, im, n_qubits, width, strings.group_basis[group])
    n_rows = np.int64(1) << n_qubits
    accumulate(re, im, n_rows, width)
    for i in range(shots.size):
        outcome = draw_outcome(re, n_rows, width, i if width > 1 else 0, draws[shots[i]])
        count_outcome(strings, group, read_out(errors, outcome, n_qubits, words[i]), totals)


@allocating
def words_of(errors, place, shots):
    """uint64 [len(shots), slots]: the words of some shots."""
    words = np.empty((shots.size, (errors.n_slots + 3) // 4 * 4), np.uint64)
    for i in range(shots.size):
        fill_shot_words(place.key, shots[i], place.displacement, place.sample, place.step, words[i])
    return words


@inlined
def run_group(code, errors, strings, group, circuit, place, n_shots, max_width, base, block, totals):
    """Add up the outcomes of all shots of one circuit in one measurement group. base: float64 [2, 2**n]; block: [2, max_width 2**n]."""
    draws = np.empty((n_shots + 3) // 4 * 4, np.uint32)
    fill_words(place.key, place.displacement, place.sample, place.step, draws)
    first = np.empty(n_shots, np.int64)
    events_of_shots(errors, place, code.n_operations, first)
    order = np.argsort(first, kind="mergesort")
    n_off = np.searchsorted(first[order], code.n_operations)  # these shots leave the base
    base[:] = 0.0
    base[0, 0] = 1.0
    one, done = np.int64(1), np.int64(0)
    nothing = np.empty((0, 0), np.uint64)
    for low in range(0, n_off, max_width):
        shots = order[low : min(low + max_width, n_off)]
        width, start = shots.size, first[shots[0]]
        evolve(code, circuit, errors, nothing, done, start, base[0], base[1], one)
        done = start
        re, im = block[0, : width << code.n_qubits], block[1, : width << code.n_qubits]
        for row in range(np.int64(1) << code.n_qubits):
            re[row * width : (row + 1) * width] = base[0, row]
            im[row * width : (row + 1) * width] = base[1, row]
        words = words_of(errors, place, shots)
        evolve(code, circuit, errors, words, start, code.n_operations, re, im, width)
        measure_shots(errors, strings, group, shots, words, draws, re, im, width, code.n_qubits, totals)
    if n_off < n_shots:
        shots = order[n_off:]
        evolve(code, circuit, errors, nothing, done, code.n_operations, base[0], base[1], one)
        words = words_of(errors, place, shots)
        measure_shots(
            errors, strings, group, shots, words, draws, base[0], base[1], one, code.n_qubits, totals
        )


def _build(digest: int) -> Any:
    def run_trajectories(code, errors, strings, angles, displacements, noise, max_width, values):
        _ = digest
        n_samples, n_rows, n_paulis = values.shape
        base, block = np.empty((2, 1 << code.n_qubits)), np.empty((2, max_width << code.n_qubits))
        for sample in range(n_samples):
            for row in range(n_rows):
                circuit = bind(code, angles, sample, displacements, row)
                totals = np.zeros(n_paulis, np.int64)
                for group in range(noise.keys.size):
                    place = Place(
                        noise.keys[group],
                        noise.displacement_start + row,
                        noise.sample_start + sample,
                        noise.step,
                    )
                    run_group(
                        code,
                        errors,
                        strings,
                        group,
                        circuit,
                        place,
                        noise.shots,
                        max_width,
                        base,
                        block,
                        totals,
                    )
                for m in range(n_paulis):
                    values[sample, row, m] = totals[m] / noise.shots

    return entry_point(run_trajectories)


run_trajectories = _build(source_digest())
"""Fill values [S, D, M] of a job with shots, in blocks of at most `max_width` lanes; compiled on first call or read from disk."""
