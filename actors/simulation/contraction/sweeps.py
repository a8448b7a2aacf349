"""The contraction of a block of samples: environments of the undisplaced circuits, then each displaced circuit from its own site alone.

A displacement that moves angles at one site changes nothing left or right of it: the value of a string is (environment of the left part) x
(the site's matrix, displaced) x (environment of the right part). The environments are computed once per sample. A displacement
that moves several sites is swept from the first of them to the right end. What is done in which order is a *schedule*, made
once per displacement table; having one loop over it, and not one for each kind of work, halves the time to compile.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from actors.simulation.contraction.kernels import copy_row, set_row
from actors.simulation.contraction.visit import visit
from actors.simulation.jit import entry_point, kernel, source_digest
from actors.simulation.vectors import rounded

RIGHTWARDS, BASE, LEFTWARDS, TILE, DISPLACED, SWEPT = range(6)
"""Kinds of task. RIGHTWARDS, LEFTWARDS: environments beyond site `place`. BASE: values of undisplaced circuits. TILE: copies of all
environments for several displacement rows to share the lanes. DISPLACED: rows first..stop-1 of the order, which all move segment
`place`. SWEPT: site `place` for row `first` of the order alone, `stop` the first site it moves."""
TASK = np.dtype([(name, np.int64) for name in ("kind", "place", "first", "stop")], align=True)


class SampleAngles(NamedTuple):
    """Undisplaced angles, radians: shared [K]; column [K]: the column of data [S, Kd] that holds an angle, -1 for a shared one."""

    shared: np.ndarray
    column: np.ndarray
    data: np.ndarray


class Schedule(NamedTuple):
    """A displacement table, and what is done for it.

    Attributes:
        indptr, angles, deltas: as in ``orchestrator.jobs.Displacements``.
        still: int64, rows that no string sees. order: int64, the others, as the tasks name them.
        tasks: TASK. n_copies: copies of the samples that share the lanes. has_swept: whether a task is SWEPT.
    """

    indptr: np.ndarray
    angles: np.ndarray
    deltas: np.ndarray
    still: np.ndarray
    order: np.ndarray
    tasks: np.ndarray
    n_copies: int
    has_swept: bool


@kernel
def fill_trig(code, angles, work, at, is_lane):
    """Trig rows of the undisplaced circuits, one lane per sample."""
    n_samples = len(angles.data)
    for row in range(code.trig_angle.size):
        angle, rate = code.trig_angle[row], code.trig_rate[row]
        column = angles.column[angle]
        is_lane[row] = column >= 0
        cos, sin = (at.base_cosine + row) * at.stride, (at.base_sine + row) * at.stride
        for lane in range(n_samples if column >= 0 else 1):
            value = rate * (angles.data[lane, column] if column >= 0 else angles.shared[angle])
            work[cos + lane] = math.cos(value)
            work[sin + lane] = math.sin(value)


@kernel
def delta_of(schedule, row, angle):
    """How far displacement `row` moves `angle`; 0 if it does not."""
    delta = 0.0
    for entry in range(schedule.indptr[row], schedule.indptr[row + 1]):
        if schedule.angles[entry] == angle:
            delta = schedule.deltas[entry]
    return delta


@kernel
def displace_trig(code, t, angles, schedule, first, stop, work, at):
    """Fill trig row t for rows first..stop-1 of the order, all samples of a row side by side."""
    n_samples = len(angles.data)
    angle, rate = code.trig_angle[t], code.trig_rate[t]
    column = angles.column[angle]
    cos, sin = (at.cosine + t) * at.stride, (at.sine + t) * at.stride
    base_cos, base_sin = (at.base_cosine + t) * at.stride, (at.base_sine + t) * at.stride
    for k in range(stop - first):
        delta = delta_of(schedule, schedule.order[first + k], angle)
        c, s = work[base_cos], work[base_sin]
        if column < 0 and delta != 0.0:
            value = rate * (angles.shared[angle] + delta)
            c, s = rounded(work, math.cos(value)), rounded(work, math.sin(value))
        for lane in range(n_samples):
            if column >= 0:
                c, s = work[base_cos + lane], work[base_sin + lane]
                if delta != 0.0:
                    value = rate * (angles.data[lane, column] + delta)
                    c, s = rounded(work, math.cos(value)), rounded(work, math.sin(value))
            work[cos + k * n_samples + lane] = c
            work[sin + k * n_samples + lane] = s


@kernel
def restore_trig(t, is_lane, n_lanes, work, at):
    """Put the undisplaced trig row t back."""
    width = n_lanes if is_lane else 1
    copy_row(work, at.stride, at.base_cosine + t, at.cosine + t, width)
    copy_row(work, at.stride, at.base_sine + t, at.sine + t, width)


@kernel
def tile(work, stride, first, n_rows, n_samples, n_copies):
    """Copy lanes 0..n_samples-1 of rows behind themselves until there are `n_copies`."""
    for row in range(first, first + n_rows):
        for k in range(1, n_copies):
            for lane in range(row * stride, row * stride + n_samples):
                work[k * n_samples + lane] = work[lane]


@kernel
def store_values(work, stride, found, order, first, stop, n_samples, values):
    """Rows found [M'] of lanes (row, sample) to values [samples, D, M'] for rows first..stop-1 of the order."""
    for lane in range(n_samples):
        for k in range(stop - first):
            row = order[first + k]
            for m in range(values.shape[2]):
                values[lane, row, m] = work[(found + m) * stride + k * n_samples + lane]


def _build(digest: int) -> Any:
    def contract(code, angles, schedule, work, at, base_is_lane, is_lane, values):
        _ = digest
        n_samples, n_trig, n_sites = len(angles.data), code.trig_angle.size, code.sites.size - 1
        n_values, n_lanes, stride = code.final.size, n_samples * schedule.n_copies, at.stride
        fill_trig(code, angles, work, at, base_is_lane)
        tile(work, stride, at.base_cosine, n_trig, n_samples, schedule.n_copies)
        tile(work, stride, at.base_sine, n_trig, n_samples, schedule.n_copies)
        for t in range(n_trig):
            is_lane[t] = base_is_lane[t]
            restore_trig(t, is_lane[t], n_lanes, work, at)
        set_row(work, stride, at.left, 1.0, n_samples)
        set_row(work, stride, at.right, 1.0, n_samples)
        for task in schedule.tasks:
            kind, place, width = task.kind, task.place, n_samples
            if kind == BASE:
                for m in range(n_values):
                    copy_row(work, stride, at.left + code.final[m], at.base + m, n_samples)
                for s in range(schedule.still.size):
                    store_values(work, stride, at.base, schedule.still, s, s + 1, n_samples, values)
                continue
            if kind == TILE:
                tile(work, stride, at.left, code.n_left, n_samples, schedule.n_copies)
                tile(work, stride, at.right, code.n_right, n_samples, schedule.n_copies)
                tile(work, stride, at.base, n_values, n_samples, schedule.n_copies)
                continue
            site, steps, rows, out = place, code.left_steps, at.left, at.left
            first_trig = stop_trig = np.int64(0)
            if kind == LEFTWARDS:
                steps, rows, out = code.right_steps, at.right, at.right
                first, stop = code.sites[site].right_step, code.sites[site + 1].right_step
            elif kind == DISPLACED:
                steps, out = code.products, at.product
                site, width = code.segments[place].site, n_samples * (task.stop - task.first)
                first, stop = code.segments[place].product, code.segments[place + 1].product
                first_trig, stop_trig = code.segments[place].trig, code.segments[place].trig_stop
                for m in range(n_values):
                    copy_row(work, stride, at.base + m, at.found + m, width)
            else:
                first, stop = code.sites[site].left_step, code.sites[site + 1].left_step
                if kind == SWEPT:
                    rows, out = at.left if place == task.stop else at.swept, at.swept
                    first_trig, stop_trig = code.site_trig[site], code.site_trig[site + 1]
            last_row = task.stop if kind == DISPLACED else task.first + 1
            for t in range(first_trig, stop_trig):
                is_lane[t] = True
                displace_trig(code, t, angles, schedule, task.first, last_row, work, at)
            visit(code, site, steps, first, stop, kind == DISPLACED, work, at, is_lane, rows, out, width)
            for t in range(first_trig, stop_trig):
                is_lane[t] = base_is_lane[t]
                restore_trig(t, is_lane[t], n_lanes, work, at)
            is_swept = kind == SWEPT and place == n_sites - 1
            if is_swept:
                for m in range(n_values):
                    copy_row(work, stride, at.swept + code.final[m], at.found + m, n_samples)
            if kind == DISPLACED or is_swept:
                store_values(work, stride, at.found, schedule.order, task.first, last_row, n_samples, values)

    return entry_point(contract, allocates=False)


contract = _build(source_digest())
"""Fill values [S, D, M'] of one block of samples; compiled on first call or read from disk."""
