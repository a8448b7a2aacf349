"""A model with a simplified circuit: the same parameters and features, the same outputs, fewer gates and angles.

The parameter vector keeps its length and its meaning, so checkpoints, transfer and names go on as they are. A parameter that nothing
measured feels moves no angle any more; where two angles have become one, each parameter moves the sum as it moved its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.simplify import Simplified, simplify
from orchestrator.circuits.simplify_checks import Difference, Values, cirq_values, tolerance_of
from orchestrator.circuits.simplify_pieces import CONSTANT, Terms
from orchestrator.models.angle_map import AngleMap
from orchestrator.models.model import Model

_N_POINTS = 2
_SEED = 21


class SimplifiedModel(NamedTuple):
    """A model made smaller, and how.

    Attributes:
        model: the given one, where nothing was done.
        how: the passes, and what was left out.
        check: of the whole, at random parameters and features, through both angle maps; None where nothing was done.
    """

    model: Model
    how: Simplified
    check: Difference | None


def simplified(model: Model, values: Values = cirq_values) -> SimplifiedModel:
    """`model` with fewer gates and angles, as far as that could be checked.

    Args:
        values: as of `circuits.simplify.simplify`: exact expectation values of any circuit of this size.
    """
    how = simplify(model.measured, _terms(model.angle_map), values)
    if not how.steps:
        return SimplifiedModel(model, how, None)
    smaller = replace(model, template=how.circuit.template, angle_map=_angle_map(how.terms, model.angle_map))
    check = _compared(model, smaller, values)
    if check.is_rounding:
        return SimplifiedModel(smaller, how, check)
    refused = f"all: outputs differ by {check.largest:.2g}, more than rounding ({check.tolerance:.2g})"
    unchanged = Simplified(model.measured, _terms(model.angle_map), (), (*how.left_out, refused))
    return SimplifiedModel(model, unchanged, check)


def _terms(mapping: AngleMap) -> tuple[Terms, ...]:
    """Each angle by (parameter, monomial)."""
    found: list[dict[Hashable, float]] = [{} for _ in range(mapping.n_angles)]
    rows = zip(mapping.angle, mapping.coefficient, mapping.param, mapping.monomial, strict=True)
    for angle, coefficient, param, monomial in rows:
        key = CONSTANT if param < 0 and monomial < 0 else (int(param), int(monomial))
        found[angle][key] = found[angle].get(key, 0.0) + float(coefficient)
    return tuple({key: value for key, value in terms.items() if value} for terms in found)


def _angle_map(terms: Sequence[Terms], given: AngleMap) -> AngleMap:
    """The map of these angles, from the same parameters and features."""
    rows = [
        (k, coefficient, *((-1, -1) if key == CONSTANT else key))  # type: ignore[misc]
        for k, angle in enumerate(terms)
        for key, coefficient in angle.items()
    ]
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return replace(
        given,
        n_angles=len(terms),
        angle=table[:, 0].astype(np.int64),
        coefficient=table[:, 1],
        param=table[:, 2].astype(np.int64),
        monomial=table[:, 3].astype(np.int64),
    )


def _compared(before: Model, after: Model, values: Values) -> Difference:
    """Expectation values of both at random parameters and inputs of the angle map."""
    rng = np.random.Generator(np.random.Philox(key=_SEED))
    params = rng.uniform(-np.pi, np.pi, before.n_circuit_params)
    inputs = rng.normal(size=(_N_POINTS, before.angle_map.n_features))
    tables = [_table(model.angle_map, params, inputs) for model in (before, after)]
    mine, other = (
        values(MeasuredCircuit(model.template, before.readout.paulis), table)
        for model, table in zip((before, after), tables, strict=True)
    )
    largest = max((float(np.abs(table).max()) for table in tables if table.size), default=0.0)
    tolerance = tolerance_of(before.template, after.template, largest)
    return Difference(float(np.abs(mine - other).max()), tolerance, "expectation values of the model")


def _table(mapping: AngleMap, params: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """float64 [S, K]: all angles of every sample."""
    angles = mapping.angles(params, inputs)
    table = np.tile(angles.shared, (len(inputs), 1))
    table[:, angles.columns] = angles.data
    return table
