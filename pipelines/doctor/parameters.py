"""Trainable parameters that no observable feels: proved from the circuit, confirmed at random points, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from orchestrator.errors import CapabilityError, InputError
from orchestrator.models.model import Model
from orchestrator.protocols import Capabilities
from pipelines.doctor.derivatives import Differentiator
from pipelines.doctor.light_cone import felt_angles
from pipelines.doctor.rules import first_step, plans_of, with_rule
from pipelines.run_setup import PreparedRun

ZERO = 1e-12
"""Derivatives of Pauli strings below this are rounding."""
_POINTS = 3
_SECONDS = 3.0


def examine_parameters(run: PreparedRun, capabilities: Capabilities, *, measure: bool) -> dict[str, Any]:
    """Which parameters are not felt, and what freezing them saves, as plain values.

    Args:
        capabilities: of the configured backend.
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
        "saved_circuits_a_step": {},
    }
    if largest is not None:
        others = np.setdiff1d(np.flatnonzero(largest < ZERO), [*proved, *own])
        found["zero_but_not_proved"] = [model.circuit_param_names[p] for p in others]
    if len(proved):
        found["saved_circuits_a_step"] = _saved(run, capabilities, proved)
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


def _saved(run: PreparedRun, capabilities: Capabilities, unfelt: np.ndarray) -> dict[str, int]:
    """Circuits a step fewer if they were frozen: with the rule in use, and with parameter shift."""
    model = run.task.model
    leaner = model.with_frozen([*np.flatnonzero(model.frozen).tolist(), *unfelt.tolist()])
    saved = {run.task.rule.name: _circuits(run) - _circuits(_with_model(run, leaner))}
    try:
        shifted = with_rule(run, "parameter_shift", capabilities)
        saved["parameter_shift"] = _circuits(shifted) - _circuits(_with_model(shifted, leaner))
    except InputError:  # a gate that it does not serve
        pass
    return saved


def _with_model(run: PreparedRun, model: Model) -> PreparedRun:
    return replace(run, task=replace(run.task, model=model))


def _circuits(run: PreparedRun) -> int:
    return sum(plan.n_circuits for plan in plans_of(run.task.rule, first_step(run)))
