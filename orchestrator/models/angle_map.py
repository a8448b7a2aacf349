"""AngleMap: from trainable parameters and features to gate angles, and back for gradients.

Every gate angle is a sum of terms ``coefficient * [parameter] * [monomial of the features]``, so
``angles = W·params + E·encode(features) + offset`` and, where a term has both factors, trainable data re-uploading. The map is held
as flat arrays of terms; the chain rule to shared parameters is one weighted sum over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import sympy

from orchestrator.errors import CircuitError


class Angles(NamedTuple):
    """Angles of S circuits, the part they share held once.

    Attributes:
        shared: float64 [K], radians.
        columns: int64 [Kd]: the angles that differ between samples.
        data: float64 [S, Kd], radians: their values.
    """

    shared: np.ndarray
    columns: np.ndarray
    data: np.ndarray


class Slopes(NamedTuple):
    """d angle / d parameter, for the Q pairs of them that have one.

    Attributes:
        param, angle: int64 [Q], ordered by parameter, each pair once.
        weight: float64 [S, Q], or [1, Q] where it is the same for all samples.
    """

    param: np.ndarray
    angle: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class AngleMap:
    """T terms over K angles, P parameters and F features.

    Attributes:
        n_angles, n_params, n_features: K, P, F.
        angle: int64 [T], the angle a term belongs to.
        coefficient: float64 [T].
        param: int64 [T], the parameter it multiplies, -1 for none.
        monomial: int64 [T], the row of `exponents` it multiplies, -1 for none.
        exponents: int64 [J, F]: monomial j of the features is ``prod_f x_f ** exponents[j, f]``.
    """

    n_angles: int
    n_params: int
    n_features: int
    angle: np.ndarray
    coefficient: np.ndarray
    param: np.ndarray
    monomial: np.ndarray
    exponents: np.ndarray

    @staticmethod
    def from_expressions(
        expressions: Sequence[sympy.Expr], params: Sequence[sympy.Symbol], features: Sequence[sympy.Symbol]
    ) -> AngleMap:
        """The map that the expressions (one per angle, radians) describe.

        Raises:
            CircuitError: a symbol is neither parameter nor feature, or an expression is not linear in the parameters and
                polynomial in the features.
        """
        positions = {symbol: i for i, symbol in enumerate([*params, *features])}
        monomials: dict[tuple[int, ...], int] = {}
        rows: list[tuple[int, float, int, int]] = []
        for k, expression in enumerate(expressions):
            for powers, coefficient in _polynomial(expression, positions).items():
                of_params, of_features = powers[: len(params)], powers[len(params) :]
                if sum(of_params) > 1:
                    raise CircuitError(f"the angle {expression} is not linear in the parameters")
                which = of_params.index(1) if sum(of_params) else -1
                row = monomials.setdefault(of_features, len(monomials)) if any(of_features) else -1
                rows.append((k, coefficient, which, row))
        table = np.array(rows, dtype=float).reshape(-1, 4)
        return AngleMap(
            len(expressions),
            len(params),
            len(features),
            table[:, 0].astype(np.int64),
            table[:, 1],
            table[:, 2].astype(np.int64),
            table[:, 3].astype(np.int64),
            np.array(list(monomials), np.int64).reshape(len(monomials), len(features)),
        )

    @cached_property
    def data_columns(self) -> np.ndarray:
        """int64 [Kd]: angles with a term in the features."""
        return np.unique(self.angle[self.monomial >= 0])

    def moved_by(self, trainable: np.ndarray) -> np.ndarray:
        """int64: the angles that some parameter of the bool [P] mask `trainable` moves; only these need a derivative."""
        owned = self.param >= 0
        return np.unique(self.angle[owned][trainable[self.param[owned]]])

    def encode(self, features: np.ndarray) -> np.ndarray:
        """Monomials float64 [S, J] of features [S, F]."""
        if not self.exponents.size:
            return np.empty((len(features), len(self.exponents)))
        if self._is_plain:
            return features[:, self.exponents.argmax(axis=1)]
        return np.prod(features[:, None, :] ** self.exponents[None], axis=2)

    def angles(self, params: np.ndarray, features: np.ndarray) -> Angles:
        """Angles for params [P] and features [S, F]."""
        weight = self._weights(params)
        constant = self.monomial < 0
        shared = _summed(self.angle[constant], weight[constant], self.n_angles)
        columns = self.data_columns
        # einsum without BLAS: a fixed order of summation, whatever the number of threads
        data = shared[columns] + np.einsum("sj,jk->sk", self.encode(features), self._mixing(weight))
        return Angles(shared, columns, data)

    def pullback(self, angle_gradients: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Chain rule: [P] from the derivative of a scalar by every sample's angles, [S, K]."""
        owned = self.param >= 0
        plain = owned & (self.monomial < 0)
        mixed = owned & (self.monomial >= 0)
        summed = angle_gradients.sum(axis=0)
        gradient = _summed(
            self.param[plain], self.coefficient[plain] * summed[self.angle[plain]], self.n_params
        )
        if mixed.any():
            correlated = np.einsum("sj,sk->jk", self.encode(features), angle_gradients)
            weight = self.coefficient[mixed] * correlated[self.monomial[mixed], self.angle[mixed]]
            gradient = gradient + _summed(self.param[mixed], weight, self.n_params)
        return gradient

    def pullback_features(
        self, angle_gradients: np.ndarray, params: np.ndarray, features: np.ndarray
    ) -> np.ndarray:
        """Chain rule: [S, F], the derivative by every sample's features [S, F] of a scalar whose derivative by its angles is [S, K]."""
        if not self.exponents.size:
            return np.zeros((len(features), self.n_features))
        mixing = self._mixing(self._weights(params))
        of_monomials = np.einsum("sk,jk->sj", angle_gradients[:, self.data_columns], mixing)
        if self._is_plain:
            return scattered(of_monomials, self.exponents.argmax(axis=1), self.n_features)
        found = np.zeros((len(features), self.n_features))
        for j, f in np.argwhere(self.exponents):
            powers = self.exponents[j].copy()
            powers[f] -= 1
            others = np.flatnonzero(powers)
            slope = self.exponents[j, f] * np.prod(features[:, others] ** powers[others], axis=1)
            found[:, f] += of_monomials[:, j] * slope
        return found

    def _weights(self, params: np.ndarray) -> np.ndarray:
        """float64 [T]: what each term's monomial, or 1, is multiplied by."""
        return self.coefficient * np.append(params, 1.0)[self.param]  # param -1 is the 1 at the end

    def _mixing(self, weight: np.ndarray) -> np.ndarray:
        """float64 [J, Kd]: how the monomials add to the angles `data_columns`, from the weights [T]."""
        mixed = self.monomial >= 0
        slot = np.searchsorted(self.data_columns, self.angle[mixed])
        shape = (len(self.exponents), len(self.data_columns))
        return _summed(self.monomial[mixed] * shape[1] + slot, weight[mixed], shape[0] * shape[1]).reshape(
            shape
        )

    def slopes(self, features: np.ndarray) -> Slopes:
        """How the parameters move the angles at features [S, F]."""
        owned = self.param >= 0
        (param, angle), pair = self.pairs, self._pair_of_term
        plain = self.monomial[owned] < 0
        coefficient = self.coefficient[owned]
        constant = _summed(pair[plain], coefficient[plain], len(param))
        if plain.all():
            return Slopes(param, angle, constant[None])
        shape = (len(self.exponents), len(param))
        place = self.monomial[owned][~plain] * shape[1] + pair[~plain]
        mixing = _summed(place, coefficient[~plain], shape[0] * shape[1]).reshape(shape)
        return Slopes(param, angle, constant + np.einsum("sj,jq->sq", self.encode(features), mixing))

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(parameter, angle), int64 [Q] each: every distinct pair of which the first moves the second, by parameter."""
        code = np.unique(self._code)
        return code // self.n_angles, code % self.n_angles

    @cached_property
    def _pair_of_term(self) -> np.ndarray:
        return np.unique(self._code, return_inverse=True)[1]

    @property
    def _code(self) -> np.ndarray:
        owned = self.param >= 0
        return self.param[owned] * self.n_angles + self.angle[owned]

    @cached_property
    def _is_plain(self) -> bool:
        return bool((self.exponents.sum(axis=1) == 1).all())


def _summed(index: np.ndarray, weights: np.ndarray, length: int) -> np.ndarray:
    """float64 [length]: weights summed by index, in order."""
    return np.bincount(index, weights, length).astype(
        np.float64, copy=False
    )  # of nothing, numpy counts in integers


def scattered(values: np.ndarray, index: np.ndarray, length: int) -> np.ndarray:
    """float64 [..., length]: values [..., Q] summed by index [Q], in order."""
    found = np.zeros((*values.shape[:-1], length))
    if len(index):
        order = np.argsort(index, kind="stable")
        distinct, begin = np.unique(index[order], return_index=True)
        found[..., distinct] = np.add.reduceat(values[..., order], begin, axis=-1)
    return found


def _polynomial(expression: sympy.Expr, positions: dict[sympy.Symbol, int]) -> dict[tuple[int, ...], float]:
    """{powers of all symbols: coefficient}. Only the symbols present are handed to sympy, which is slow in many variables."""
    present = sorted(expression.free_symbols, key=lambda s: positions.get(s, -1))
    strangers = [s for s in present if s not in positions]
    if strangers:
        raise CircuitError(
            f"the symbol {strangers[0]} in the angle {expression} is neither a parameter nor a feature"
        )
    if not present:
        return {(0,) * len(positions): float(expression)}
    try:
        terms = sympy.Poly(expression, *present).terms()
    except sympy.PolynomialError:
        raise CircuitError(
            f"the angle {expression} is not a polynomial: write it linear in the parameters and polynomial in the features"
        ) from None
    result = {}
    for powers, coefficient in terms:
        full = [0] * len(positions)
        for symbol, power in zip(present, powers, strict=True):
            full[positions[symbol]] = power
        try:
            result[tuple(full)] = float(coefficient)
        except TypeError:
            raise CircuitError(
                f"the angle {expression} has the coefficient {coefficient}, which is not a real number"
            ) from None
    return result
