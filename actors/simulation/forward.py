"""The forward loop: all circuits of a job, block by block, each state prefix computed once.

Displaced circuits share everything before their first displaced operation with the undisplaced circuit of their sample. So displacement
rows are taken in the order of their first operation, the undisplaced states ("base", one lane per sample) advance
operation by operation, and each block starts from a copy of them. A block's lanes are consecutive circuits of the list
displacement-major, sample-minor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from actors.simulation.coefficients import fill_base, fill_trig, operation_coefficients, per_sample_operations
from actors.simulation.jit import entry_point, kernel, source_digest
from actors.simulation.measure_kernels import exact_values
from actors.simulation.sampling import sampled_values
from actors.simulation.state_kernels import apply_operation, tile_length


@kernel
def start_zero(buffer, width):
    """``|0..0>`` in row 0, all that the first GROW reads."""
    buffer[0, :width] = 1.0
    buffer[1, :width] = 0.0


@kernel
def scratch_rows(code):
    """Rows that a tile needs: those of the largest block, at least the 4 of a turn."""
    rows = 4
    for block in range(code.block_size.size):
        rows = max(rows, 2 * code.block_size[block] ** 2)
    return rows


@kernel
def copy_lanes(source, source_width, target, width, lane_sample, rows):
    """target lane i = source lane ``lane_sample[i]``, for the first `rows` basis rows."""
    for plane in range(2):
        for j in range(rows):
            read = source[plane, j * source_width : (j + 1) * source_width]
            write = target[plane, j * width : (j + 1) * width]
            for i in range(width):
                write[i] = read[lane_sample[i]]


@kernel
def displaced_trig(code, op, angles, rows, lane_row, lane_sample, shared_angles, angle_column, data_angles, cosine, sine):
    """Overwrite cosine, sine [trig rows of op, width] in the lanes whose displacement row moves an angle of `op`.

    rows: (indptr, angles, deltas) of the displacements. lane_row: the displacement row of each lane.
    """
    indptr, moved, deltas = rows
    first = code.trig[op]
    lane = 0
    while lane < lane_row.size:
        row, stop = lane_row[lane], lane + 1
        while stop < lane_row.size and lane_row[stop] == row:
            stop += 1
        for entry in range(indptr[row], indptr[row + 1]):
            angle = moved[entry]
            if code.angle_operation[angle] != op:
                continue
            column = angle_column[angle]
            for trig in range(code.angle_trig[angle, 0], code.angle_trig[angle, 1]):
                rate = code.trig_rate[trig]
                if column < 0:
                    value = rate * (shared_angles[angle] + deltas[entry])
                    cosine[trig - first, lane:stop] = math.cos(value)
                    sine[trig - first, lane:stop] = math.sin(value)
                else:
                    for i in range(lane, stop):
                        value = rate * (data_angles[lane_sample[i], column] + deltas[entry])
                        cosine[trig - first, i] = math.cos(value)
                        sine[trig - first, i] = math.sin(value)
        lane = stop


def _build(digest: int) -> Any:
    def forward(
        code, seen, shared_angles, angle_column, all_data_angles, rows, order, first_operation, max_width,
        shots, step, sample_start, displacement_start, keys, values,
    ):  # fmt: skip
        """Fill values [S, D, M]; see `engine.run_forward` for the arguments. shots 0: exact."""
        _ = digest
        n_ops, n_qubits = code.kind.size, code.n_qubits
        n_samples, n_rows, n_paulis = values.shape
        per_sample = per_sample_operations(code, angle_column)
        moved_in_block = np.zeros(n_ops, np.bool_)
        buffers = np.empty((3, 2, max_width << n_qubits))
        n_scratch = scratch_rows(code)
        for sample0 in range(0, n_samples, max_width):
            base_width = min(max_width, n_samples - sample0)
            data_angles = all_data_angles[sample0 : sample0 + base_width]
            cosine, sine = np.empty((code.trig_angle.size, base_width)), np.empty((code.trig_angle.size, base_width))
            fill_trig(code, shared_angles, angle_column, data_angles, cosine, sine)
            coefficients = np.empty((code.n_coefficients, base_width))
            fill_base(code, per_sample, cosine, sine, coefficients)
            base_tile = np.empty((n_scratch, tile_length(base_width)))
            base_work = np.empty((32, base_tile.shape[1]))
            base, block, scratch = 0, 1, 2
            start_zero(buffers[base], base_width)
            done = 0  # operations that the base states have seen
            n_circuits = n_rows * base_width
            for circuit0 in range(0, n_circuits, max_width):
                width = min(max_width, n_circuits - circuit0)
                circuit = np.arange(circuit0, circuit0 + width)
                lane_sample = circuit % base_width
                lane_row = order[circuit // base_width]
                until = first_operation[circuit0 // base_width]
                for op in range(done, until):
                    uniform = base_width == 1 or not per_sample[op]
                    own = coefficients[code.coefficient[op] : code.coefficient[op + 1], : 1 if uniform else base_width]
                    base, scratch = apply_operation(
                        code, op, own, uniform, False, buffers, base, scratch, base_width, base_tile, base_work
                    )
                done = max(done, until)
                copy_lanes(buffers[base], base_width, buffers[block], width, lane_sample, 1 << min(done, n_qubits))
                moved_in_block[:] = False
                for place in range(circuit0 // base_width, (circuit0 + width - 1) // base_width + 1):
                    for entry in range(rows[0][order[place]], rows[0][order[place] + 1]):
                        if code.angle_operation[rows[1][entry]] < n_ops:
                            moved_in_block[code.angle_operation[rows[1][entry]]] = True
                tile = np.empty((n_scratch, tile_length(width)))
                work = np.empty((32, tile.shape[1]))
                for op in range(done, n_ops):
                    t0, t1, c0, c1 = code.trig[op], code.trig[op + 1], code.coefficient[op], code.coefficient[op + 1]
                    uniform = False
                    if moved_in_block[op]:
                        block_cosine, block_sine = np.empty((t1 - t0, width)), np.empty((t1 - t0, width))
                        for t in range(t0, t1):
                            for i in range(width):
                                block_cosine[t - t0, i] = cosine[t, lane_sample[i]]
                                block_sine[t - t0, i] = sine[t, lane_sample[i]]
                        displaced_trig(
                            code, op, shared_angles, rows, lane_row, lane_sample, shared_angles, angle_column, data_angles,
                            block_cosine, block_sine,
                        )  # fmt: skip
                        own = np.empty((c1 - c0, width))
                        operation_coefficients(code, op, block_cosine, block_sine, own)
                    elif per_sample[op] and base_width > 1:
                        own = np.empty((c1 - c0, width))
                        for c in range(c0, c1):
                            for i in range(width):
                                own[c - c0, i] = coefficients[c, lane_sample[i]]
                    else:
                        own = coefficients[c0:c1, :1]
                        uniform = True
                    block, scratch = apply_operation(
                        code, op, own, uniform, False, buffers, block, scratch, width, tile, work
                    )
                block_values = np.empty((n_paulis, width))
                if shots == 0:
                    exact_values(seen, buffers, block, scratch, n_qubits, width, block_values)
                else:
                    sampled_values(
                        seen, buffers, block, scratch, n_qubits, width, shots, keys, displacement_start + lane_row,
                        sample_start + sample0 + lane_sample, step, block_values,
                    )  # fmt: skip
                for i in range(width):
                    for m in range(n_paulis):
                        values[sample0 + lane_sample[i], lane_row[i], m] = block_values[m, i]

    return entry_point(forward)


forward = _build(source_digest())
