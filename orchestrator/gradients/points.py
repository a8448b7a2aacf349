"""The batch's expectation values at several parameter vectors, in one evaluation.

Where the parameters move every sample's angles alike, the points are displacement rows. Where they do not (a trainable weight times a
feature), each point's angles are sent for each sample, as if there were that many more samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.gradients.problem import GradientProblem
from orchestrator.jobs import Displacements
from orchestrator.models.angle_map import Angles, scattered
from orchestrator.planning.plan import Evaluation, EvaluationPlan


class Points(NamedTuple):
    """A plan for R points and how to read its answer."""

    plan: EvaluationPlan
    n_points: int
    are_rows: bool

    def values(self, evaluation: Evaluation) -> np.ndarray:
        """Float64 [R, S, M']."""
        if self.are_rows:
            return np.ascontiguousarray(evaluation.rows.transpose(1, 0, 2))
        return evaluation.values.reshape(self.n_points, -1, evaluation.values.shape[1])


def points(problem: GradientProblem, offsets: np.ndarray) -> Points:
    """The model at ``params + offsets[r]``; offsets: float64 [R, P_circuit], zero for parameters that stay."""
    slopes = problem.slopes
    if len(slopes.weight) == 1:
        moves = scattered(
            offsets[:, slopes.param] * slopes.weight, slopes.angle, problem.model.template.n_angles
        )
        return Points(problem.plan(moved=_rows(moves)), len(offsets), True)
    n_angles = problem.model.template.n_angles
    tables = []
    for offset in offsets:
        params = problem.params.copy()
        params[: len(offset)] += offset
        angles = problem.model.angles(params, problem.features)
        table = np.repeat(angles.shared[None], problem.n_states, axis=0)
        table[:, angles.columns] = angles.data
        tables.append(table)
    together = Angles(np.zeros(n_angles), np.arange(n_angles), np.concatenate(tables))
    return Points(problem.plan(angles=together), len(offsets), False)


def _rows(moves: np.ndarray) -> Displacements:
    """Rows [R, K] of angle changes, sparse."""
    row, angle = np.nonzero(moves)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(moves)))]).astype(np.int64)
    return Displacements(indptr, angle.astype(np.int64), moves[row, angle])
