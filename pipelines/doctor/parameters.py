"""Parameters that no observable feels: proved from the circuit, confirmed at random points, and the circuits saved by leaving them out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from orchestrator.circuits.light_cone import felt_angles
from orchestrator.errors import CapabilityError, InputError
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.models.model import Model
from pipelines.doctor.derivatives import Differentiator
from pipelines.doctor.rules import first_step, n_run
from pipelines.run_setup import PreparedRun

ZERO = 1e-12
"""Derivatives of Pauli strings below this are rounding."""
_POINTS = 3
_SECONDS = 3.0


def examine_parameters(run: PreparedRun, *, measure: bool) -> dict[str, Any]:
    """Which parameters are not felt, and what it saves that no gradient asks for them, as plain values.

    Args:
        measure: confirm by derivatives at random points.
    """
    model = run.task.model
    proved = unfelt_parameters(model)
    largest = largest_derivatives(model, run.data.train.features, run.config.run.seed) if measure else None
    own = np.flatnonzero(model.frozen[: model.n_circuit_params])
    found: dict[str, Any] = {
        "unfelt": [model.circuit_param_names[p] for p in proved],
        "indices": proved.tolist(),
        "trainable": int((~model.frozen[: model.n_circuit_params]).sum()),
        "largest_derivative": None if largest is None or not len(proved) else float(largest[proved].max()),
        "confirmed": None if largest is None else bool((largest[proved] < ZERO).all()),
        "zero_but_not_proved": [],
        "saved_circuits_a_step": _saved(run, proved),
    }
    if largest is not None:
        others = np.setdiff1d(np.flatnonzero(largest < ZERO), [*proved, *own])
        found["zero_but_not_proved"] = [model.circuit_param_names[p] for p in others]
    return found


def unfelt_parameters(model: Model) -> np.ndarray:
    """int64, ascending: trainable circuit parameters by which the derivative of every observable is zero, by the circuit's structure."""
    felt = felt_angles(model.measured)
    param, angle = model.angle_map.pairs
    is_felt = np.zeros(model.n_circuit_params, bool)
    is_felt[param[felt[angle]]] = True
    return np.flatnonzero(~is_felt & ~model.frozen[: model.n_circuit_params])


def largest_derivatives(model: Model, features: np.ndarray, seed: int) -> np.ndarray | None:
    """float64 [P_circuit]: the largest derivative of any observable, in units of its weight, at some random points.

    None where the exact engine cannot do the circuit, or not in a few seconds.
    """
    differentiator = Differentiator(model)
    rng = np.random.Generator(np.random.Philox(key=[seed, 65]))
    points = rng.uniform(0.0, 2 * np.pi, (_POINTS, model.n_circuit_params))
    try:
        if _POINTS * 1e-6 * differentiator.microseconds > _SECONDS:
            return None
        derivatives = differentiator.at(points, features[rng.integers(len(features), size=_POINTS)])
    except CapabilityError:
        return None
    weights = np.abs(model.readout.matrix).sum(axis=1)
    return np.abs(derivatives / weights[:, None]).max(axis=(0, 1), initial=0.0)


def in_words(names: list[str], indices: list[int]) -> str:
    """The names with runs of neighbours shortened: ``"p3, p45 .. p47"``."""
    breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(indices)) if b != a + 1), len(indices)]
    runs = [(names[a], names[b - 1], b - a) for a, b in pairwise(breaks)]
    return ", ".join(
        first if n == 1 else f"{first}, {last}" if n == 2 else f"{first} .. {last}" for first, last, n in runs
    )


def _saved(run: PreparedRun, unfelt: np.ndarray) -> int | None:
    """Circuits that a step of parameter shift would take for them; None where a gate has no shift rule."""
    model, problem = run.task.model, first_step(run)
    own = np.isin(np.arange(model.n_circuit_params), unfelt)
    angles = np.setdiff1d(model.angles_moved_by(own), model.differentiated_angles)
    if not len(angles):
        return 0
    try:
        derivative = ParameterShift(run.config.gradient).derivative(model.template, angles, problem.shots)
    except InputError:
        return None
    plan = problem.plan(wanted=angles, derivative=derivative)
    return n_run(run, [plan]) - n_run(run, [problem.plan()])
