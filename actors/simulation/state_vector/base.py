"""The undisplaced circuits of a block of samples, one lane each: their coefficients, and how their states advance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from actors.simulation.jit import inlined, kernel
from actors.simulation.state_vector.coefficients import (
    Angles,
    coefficient_rows,
    fill_base,
    fill_trig,
    per_sample_operations,
)
from actors.simulation.state_vector.state_kernels import apply_operation, tile_length, tile_rows


class Base(NamedTuple):
    """The undisplaced circuits of up to one block of samples.

    Attributes:
        angles: of these samples. per_sample: bool [O], operations whose coefficients differ between samples.
        cosine, sine: float64 [T, W]. coefficients: float64 [n_coefficients, W], see `fill_base`.
    """

    angles: Angles
    per_sample: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    coefficients: np.ndarray


@inlined
def make_base(code, angles):
    """The Base of the samples whose rows ``angles.data`` are."""
    width = len(angles.data)
    per_sample = per_sample_operations(code, angles.column)
    if width == 1:
        per_sample[:] = False
    cosine, sine = np.empty((code.trigs.size, width)), np.empty((code.trigs.size, width))
    fill_trig(code, angles, cosine, sine)
    coefficients = np.empty((code.n_coefficients, width))
    fill_base(code, per_sample, cosine, sine, coefficients)
    return Base(angles, per_sample, cosine, sine, coefficients)


@kernel
def start_zero(buffer, width):
    """``|0..0>`` in row 0, which is all that the first GROW reads."""
    buffer[0, :width] = 1.0
    buffer[1, :width] = 0.0


@inlined
def advance(code, base, start, stop, buffers, state, scratch):
    """Apply operations start..stop-1 to the undisplaced states; returns the new places of (state, scratch)."""
    width = len(base.angles.data)
    forwards = np.bool_(False)
    tile = np.empty((tile_rows(code), tile_length(width)), buffers.dtype)
    for op in range(start, stop):
        uniform = not base.per_sample[op]
        first, last = coefficient_rows(code, op)
        own = base.coefficients[first:last, : 1 if uniform else width]
        state, scratch = apply_operation(
            code, op, own, uniform, forwards, buffers, state, scratch, width, tile
        )
    return state, scratch
