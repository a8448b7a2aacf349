"""Arithmetic of the contraction.

Layout: all working memory is one flat array `work` of rows of `stride` lanes, one lane per circuit, `stride` a multiple of a vector.
Kernels take rows by number and work on the first `width` lanes, rounded up to whole vectors. A trig row that is equal for all lanes
("uniform") is kept in lane 0 alone, with the same bits.
"""

from __future__ import annotations

from actors.simulation.jit import short_loop
from actors.simulation.vectors import fma, lanes_of, load, mul, neg, rounded, splat, store


@short_loop
def add_scaled(work, stride, target, source, factor, begins, width):
    """``work[target] = factor * work[source]``, or ``+=`` unless it `begins`."""
    t, s, f = target * stride, source * stride, splat(factor)
    for i in range(0, width, lanes_of(work)):
        value = load(work, s + i)
        store(work, t + i, mul(f, value) if begins else fma(f, value, load(work, t + i)))


@short_loop
def turned_factor(work, cos, sin, constant, a, b):
    """The vectors ``constant + a cos + b sin``; cos, sin: where they are loaded from."""
    return fma(splat(a), load(work, cos), fma(splat(b), load(work, sin), splat(constant)))


@short_loop
def add_turned(work, stride, target, source, cos, sin, constant, a, b, begins, width):
    """As `add_scaled`, by the factor ``constant + a cos + b sin`` of each lane; cos, sin: rows."""
    t, s, cos, sin = target * stride, source * stride, cos * stride, sin * stride
    for i in range(0, width, lanes_of(work)):
        factor, value = turned_factor(work, cos + i, sin + i, constant, a, b), load(work, s + i)
        store(work, t + i, mul(factor, value) if begins else fma(factor, value, load(work, t + i)))


@short_loop
def add_joined(work, stride, target, source, letter, factor, begins, width):
    """``work[target] = factor * work[letter] * work[source]`` lane by lane, or ``+=`` unless it `begins`."""
    t, s, u, f = target * stride, source * stride, letter * stride, splat(factor)
    for i in range(0, width, lanes_of(work)):
        weight, value = mul(f, load(work, u + i)), load(work, s + i)
        store(work, t + i, mul(weight, value) if begins else fma(weight, value, load(work, t + i)))


@short_loop
def add_joined_turned(
    work, stride, target, source, letter, letter_is_uniform, cos, sin, constant, a, b, begins, width
):
    """As `add_joined`, by the factor ``constant + a cos + b sin`` of each lane; a uniform letter is read from lane 0."""
    t, s, u, cos, sin = target * stride, source * stride, letter * stride, cos * stride, sin * stride
    first = splat(work[u])
    for i in range(0, width, lanes_of(work)):
        seen = first if letter_is_uniform else load(work, u + i)
        weight = mul(turned_factor(work, cos + i, sin + i, constant, a, b), seen)
        value = load(work, s + i)
        store(work, t + i, mul(weight, value) if begins else fma(weight, value, load(work, t + i)))


@short_loop
def set_row(work, stride, target, value, width):
    """``work[target] = value``."""
    t, v = target * stride, splat(rounded(work, value))
    for i in range(0, width, lanes_of(work)):
        store(work, t + i, v)


@short_loop
def copy_row(work, stride, source, target, width):
    """``work[target] = work[source]``."""
    s, t = source * stride, target * stride
    for i in range(0, width, lanes_of(work)):
        store(work, t + i, load(work, s + i))


@short_loop
def turn_plane(work, stride, x, y, z, cos, sin, is_lane, a, b, scale, width):
    """``x' = a cos x - b sin y, y' = a cos y + b sin x, z' = scale z`` for rows x, y, z, in place; cos, sin: rows."""
    x, y, z, cos, sin = x * stride, y * stride, z * stride, cos * stride, sin * stride
    va, vb = splat(a), splat(b)
    c, s = mul(va, splat(work[cos])), mul(vb, splat(work[sin]))
    for i in range(0, width, lanes_of(work)):
        if is_lane:
            c, s = mul(va, load(work, cos + i)), mul(vb, load(work, sin + i))
        u, v = load(work, x + i), load(work, y + i)
        store(work, x + i, fma(c, u, neg(mul(s, v))))
        store(work, y + i, fma(c, v, mul(s, u)))
    if scale != 1.0:
        factor = splat(scale)
        for i in range(0, width, lanes_of(work)):
            store(work, z + i, mul(factor, load(work, z + i)))


@short_loop
def uniform_factor(item, work, stride, cosine, sine):
    """The factor of a TERM or JOIN, where it is the same for all lanes; cosine, sine: rows of trig row 0."""
    factor = item.constant
    if item.trig >= 0:
        cos, sin = work[(cosine + item.trig) * stride], work[(sine + item.trig) * stride]
        factor = fma(item.cosine, cos, fma(item.sine, sin, item.constant))
    return factor


@short_loop
def add_products(work, stride, target, rows, matrix, items, start, stop, own, passing, n_passing, width):
    """``work[target] = sum of work[rows + ...] * work[matrix + ...]`` over items start..stop-1, four at a time.

    items: (index on the other side, nonzero) each; own: array and first entry of the joint index of that side's rows.
    """
    t, count = target * stride, lanes_of(work)
    index, first_own = own
    j = start
    if start == stop:
        for i in range(0, width, count):
            store(work, t + i, splat(rounded(work, 0.0)))
    while j + 4 <= stop:
        r0 = (rows + index[first_own + items[j, 0] * n_passing + passing]) * stride
        r1 = (rows + index[first_own + items[j + 1, 0] * n_passing + passing]) * stride
        r2 = (rows + index[first_own + items[j + 2, 0] * n_passing + passing]) * stride
        r3 = (rows + index[first_own + items[j + 3, 0] * n_passing + passing]) * stride
        m0, m1 = (matrix + items[j, 1]) * stride, (matrix + items[j + 1, 1]) * stride
        m2, m3 = (matrix + items[j + 2, 1]) * stride, (matrix + items[j + 3, 1]) * stride
        for i in range(0, width, count):
            total = mul(load(work, r0 + i), load(work, m0 + i))
            if j > start:
                total = fma(load(work, r0 + i), load(work, m0 + i), load(work, t + i))
            total = fma(load(work, r1 + i), load(work, m1 + i), total)
            total = fma(load(work, r2 + i), load(work, m2 + i), total)
            store(work, t + i, fma(load(work, r3 + i), load(work, m3 + i), total))
        j += 4
    while j < stop:
        r0 = (rows + index[first_own + items[j, 0] * n_passing + passing]) * stride
        m0 = (matrix + items[j, 1]) * stride
        for i in range(0, width, count):
            one, other = load(work, r0 + i), load(work, m0 + i)
            store(work, t + i, fma(one, other, load(work, t + i)) if j > start else mul(one, other))
        j += 1


@short_loop
def inner_product(work, stride, left, right, size, target, width):
    """``work[target] = sum of work[left + k] * work[right + k]``, k < size, four at a time."""
    t, count = target * stride, lanes_of(work)
    k = 0
    while k + 4 <= size:
        x, y = (left + k) * stride, (right + k) * stride
        for i in range(0, width, count):
            total = mul(load(work, x + i), load(work, y + i))
            if k > 0:
                total = fma(load(work, x + i), load(work, y + i), load(work, t + i))
            total = fma(load(work, x + stride + i), load(work, y + stride + i), total)
            total = fma(load(work, x + 2 * stride + i), load(work, y + 2 * stride + i), total)
            store(work, t + i, fma(load(work, x + 3 * stride + i), load(work, y + 3 * stride + i), total))
        k += 4
    while k < size:
        x, y = (left + k) * stride, (right + k) * stride
        for i in range(0, width, count):
            one, other = load(work, x + i), load(work, y + i)
            store(work, t + i, fma(one, other, load(work, t + i)) if k > 0 else mul(one, other))
        k += 1
