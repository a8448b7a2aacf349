"""Complex numbers as (real, imaginary) pairs of scalars or vectors; every product is explicitly fused, see ``vectors.fma``."""

from __future__ import annotations

from actors.simulation.jit import kernel
from actors.simulation.vectors import fma, mul, neg


@kernel
def turned(xr, xi, yr, yi, ar, ai, br, bi):
    """``[[a, -conj(b)], [b, conj(a)]] (x, y)`` as (real, imaginary) pairs, of scalars or vectors."""
    return (
        fma(ar, xr, fma(neg(ai), xi, fma(neg(br), yr, neg(mul(bi, yi))))),
        fma(ar, xi, fma(ai, xr, fma(neg(br), yi, mul(bi, yr)))),
        fma(br, xr, fma(neg(bi), xi, fma(ar, yr, mul(ai, yi)))),
        fma(br, xi, fma(bi, xr, fma(ar, yi, neg(mul(ai, yr))))),
    )


@kernel
def times(xr, xi, ar, ai):
    """The complex product a x, of scalars or vectors."""
    return fma(ar, xr, neg(mul(ai, xi))), fma(ar, xi, mul(ai, xr))


@kernel
def times_plus(x_re, x_im, u_re, u_im, y_re, y_im):
    """The complex ``u x + y``, of scalars or vectors."""
    return fma(u_re, x_re, fma(neg(u_im), x_im, y_re)), fma(u_re, x_im, fma(u_im, x_re, y_im))
