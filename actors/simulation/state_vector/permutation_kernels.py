"""Basis states moved, with phases or without; layout as in `state_kernels`."""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import kernel
from actors.simulation.state_vector.complex_arithmetic import times
from actors.simulation.vectors import lanes_of, load, rounded, splat, store


@kernel
def copy_row(source, start, target, to, length):
    """``target[to : to + length] = source[start : start + length]``."""
    step = lanes_of(source)
    whole = length - length % step
    for i in range(0, whole, step):
        store(target, to + i, load(source, start + i))
    for i in range(whole, length):
        target[to + i] = source[start + i]


@kernel
def move_elements(plane, out, source, inverse):
    """`permute` for one lane."""
    if inverse:
        for j in range(source.size):
            out[source[j]] = plane[j]
    else:
        for j in range(source.size):
            out[j] = plane[source[j]]


@kernel
def permute(re, im, out_re, out_im, width, source, inverse):
    """``out[j] = in[source[j]]``, or with `inverse` ``out[source[j]] = in[j]``, row by row."""
    if width == 1:
        move_elements(re, out_re, source, inverse)
        move_elements(im, out_im, source, inverse)
        return
    step = lanes_of(re)
    whole = width - width % step
    for j in range(source.size):
        k = np.int64(source[j])
        a, b = (j * width, k * width) if inverse else (k * width, j * width)
        for i in range(0, whole, step):
            store(out_re, b + i, load(re, a + i))
            store(out_im, b + i, load(im, a + i))
        for i in range(whole, width):
            out_re[b + i] = re[a + i]
            out_im[b + i] = im[a + i]


@kernel
def permute_phase(re, im, out_re, out_im, width, source, phase, inverse):
    """``out[j] = phase[j] in[source[j]]``, or its inverse; `phase` is float64 [2, 2**n] (real, imaginary part)."""
    step = lanes_of(re)
    whole = width - width % step
    for j in range(source.size):
        k = np.int64(source[j])
        a, b = (j * width, k * width) if inverse else (k * width, j * width)
        c = rounded(re, phase[0, j])
        s = rounded(re, -phase[1, j] if inverse else phase[1, j])
        cs, ss = splat(c), splat(s)
        for i in range(0, whole, step):
            x = times(load(re, a + i), load(im, a + i), cs, ss)
            store(out_re, b + i, x[0])
            store(out_im, b + i, x[1])
        for i in range(whole, width):
            out_re[b + i], out_im[b + i] = times(re[a + i], im[a + i], c, s)
