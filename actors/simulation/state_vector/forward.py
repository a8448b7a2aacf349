"""Displacement rows lane by lane, for the methods that run every row as a circuit of its own, and where their shot noise comes from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from actors.simulation.jit import allocating, inlined, kernel


class Displaced(NamedTuple):
    """The displacement rows of a job, and the order they are run in.

    Attributes:
        indptr, angles, deltas: as in ``orchestrator.jobs.Displacements``.
        order: int64 [D], rows by first operation. first_operation: int64 [D], in that order: the first operation a row moves.
    """

    indptr: np.ndarray
    angles: np.ndarray
    deltas: np.ndarray
    order: np.ndarray
    first_operation: np.ndarray


class Noise(NamedTuple):
    """Where shot noise comes from; `shots` 0 asks for exact values. keys: uint64 [G]."""

    shots: int
    step: int
    sample_start: int
    displacement_start: int
    keys: np.ndarray


class Lanes(NamedTuple):
    """What the lanes of a block compute: int64 [width] each."""

    sample: np.ndarray
    row: np.ndarray


@allocating
def make_lanes(order, first_circuit, n_samples, width):
    """The Lanes of `width` consecutive circuits of the list "displacement-major, sample-minor"."""
    sample, row = np.empty(width, np.int64), np.empty(width, np.int64)
    for i in range(width):
        sample[i] = (first_circuit + i) % n_samples
        row[i] = order[(first_circuit + i) // n_samples]
    return Lanes(sample, row)


@kernel
def take_lanes(values, lane_sample, out):
    """``out[:, i] = values[:, lane_sample[i]]``."""
    for row in range(out.shape[0]):
        for i in range(lane_sample.size):
            out[row, i] = values[row, lane_sample[i]]


@kernel
def displace_trig(code, op, base, displaced, lanes, cosine, sine):
    """Overwrite cosine, sine [trig rows of op, width] in the lanes whose displacement row moves an angle of `op`."""
    angles, n_lanes, start = base.angles, lanes.row.size, 0
    while start < n_lanes:
        row, stop = lanes.row[start], start + 1
        while stop < n_lanes and lanes.row[stop] == row:
            stop += 1
        for entry in range(displaced.indptr[row], displaced.indptr[row + 1]):
            angle, delta = displaced.angles[entry], displaced.deltas[entry]
            if code.angles[angle].operation != op:
                continue
            column = angles.column[angle]
            for trig in range(code.angles[angle].first, code.angles[angle].stop):
                rate, place = code.trigs[trig].rate, trig - code.operations[op].trig
                if column < 0:
                    value = rate * (angles.shared[angle] + delta)
                    cosine[place, start:stop] = math.cos(value)
                    sine[place, start:stop] = math.sin(value)
                else:
                    for i in range(start, stop):
                        value = rate * (angles.data[lanes.sample[i], column] + delta)
                        cosine[place, i] = math.cos(value)
                        sine[place, i] = math.sin(value)
        start = stop


@inlined
def moved_operations(code, displaced, lanes):
    """bool [O]: the operations that some lane's displacement row moves."""
    moved = np.zeros(code.n_operations, np.bool_)
    last = np.int64(-1)
    for row in lanes.row:
        if row != last:
            for entry in range(displaced.indptr[row], displaced.indptr[row + 1]):
                op = code.angles[displaced.angles[entry]].operation
                if op < moved.size:
                    moved[op] = True
        last = row
    return moved
