"""Gate folding: circuits that do the same and pass through more noise, for zero-noise extrapolation.

A gate G becomes ``G (G^dagger G)^k``, which is G itself where gates are perfect and takes 2k + 1 gates' noise where they are not. With
m folds on d gates the noise of these gates is scaled by ``1 + 2 m / d`` (T. Giurgica-Tiron et al., arXiv 2005.10921, "fold gates from
left").
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cirq
import numpy as np

from orchestrator.circuits.derived import Derived, derived
from orchestrator.circuits.template import CircuitTemplate

Folding = Literal["two_qubit", "all"]


class Folded(NamedTuple):
    """A folded template.

    Attributes:
        derived: the template, whose angles are those of the original one, some with the sign reversed.
        scale: by which the noise of the folded gates is multiplied, the nearest to what was asked that whole folds reach.
    """

    derived: Derived
    scale: float


def is_foldable(template: CircuitTemplate, folding: Folding) -> np.ndarray:
    """Bool, one for each gate: those on two or more qubits with "two_qubit"; all where there are none, and with "all"."""
    large = np.array([len(gate.qubits) > 1 for gate in template.gates])
    return large if folding == "two_qubit" and large.any() else np.ones_like(large)


def fold(template: CircuitTemplate, scale: float, folding: Folding) -> Folded:
    """`template` with the noise of its foldable gates scaled by `scale` >= 1.

    Every foldable gate is folded equally often, and the first ones once more where the scale is no odd number.
    """
    foldable = is_foldable(template, folding)
    n_foldable = int(foldable.sum())
    n_folds = round(n_foldable * (scale - 1) / 2)
    every, more = divmod(n_folds, n_foldable)
    rank = np.cumsum(foldable) - 1
    folds = np.where(foldable, every + (rank < more), 0)
    operations = list(template.circuit().all_operations())
    repeated = [[op, *[cirq.inverse(op), op] * int(n)] for op, n in zip(operations, folds, strict=True)]
    return Folded(derived(cirq.Circuit(repeated), template), 1 + 2 * n_folds / n_foldable)
