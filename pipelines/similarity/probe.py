"""What a model says of fixed inputs: probes in the range of its own features, the same for every model of so many features.

Probes are a Latin hypercube (McKay, Beckman and Conover, Technometrics 21 (1979) 239) in [-1, 1]^F, seeded by the column alone. They
become features by what the model's preprocessing knows of its data: 1 is two standard deviations of a feature (of a principal component
its own), times the angle scale, within the angle limit. Where columns are taken as they are nothing is known of their range, and 1 is
half a turn.
"""

from __future__ import annotations

import numpy as np

from orchestrator.coordinator import Coordinator
from orchestrator.errors import DataError
from orchestrator.training.loop import evaluate_samples
from pipelines.predictor import Predictor
from pipelines.similarity.parts import unit

MAX_QUBITS = 20
"""Larger models are not probed here."""
_SEED = 20_260_101
_DEVIATIONS = 2.0


def behaviour(predictor: Predictor, n_probes: int) -> tuple[np.ndarray, str]:
    """(float64 [N C] of unit length, what it can be compared with); an empty vector, and why, where there is none.

    Of a classifier the probabilities less 1/C, classes in the order of their names; of any other model the outputs less their mean over
    the probes. The circuits run exactly, in this process.
    """
    model = predictor.model
    if model.template.n_qubits > MAX_QUBITS:
        return np.zeros(0), f"more than {MAX_QUBITS} qubits"
    try:
        outputs = _outputs(predictor, features(predictor, n_probes))
    except DataError:  # a feature map of its own domain, such as bits
        return np.zeros(0), "its feature map does not take these probes"
    names = predictor.class_names
    if names is None:
        values = outputs - outputs.mean(axis=0)
        kind = f"{model.n_features} features, {model.n_outputs} values"
    else:
        order = sorted(range(len(names)), key=lambda i: names[i])
        values = predictor.loss.predict(outputs)["probability"][:, order] - 1.0 / len(names)
        kind = f"{model.n_features} features, classes {', '.join(names[i] for i in order)}"
    if not values.any():
        return np.zeros(0), "it says the same of every probe"
    return unit(values.ravel()), f"{kind}, {n_probes} probes"


def features(predictor: Predictor, n_probes: int) -> np.ndarray:
    """The probes as float64 [N, F], prepared features."""
    preprocessing = predictor.preprocessing
    scale, limit = float(preprocessing.angle_scale), float(preprocessing.angle_limit)
    is_standardised = bool((preprocessing.mean != 0).any() or (preprocessing.scale != 1).any())
    if preprocessing.explained_variance_ratio is not None:
        ratio = preprocessing.explained_variance_ratio
        reach = _DEVIATIONS * scale * np.sqrt(ratio / ratio[0])
    elif is_standardised:
        reach = _DEVIATIONS * scale * (preprocessing.scale != 0)
    else:
        reach = np.full(preprocessing.n_features, np.pi)
    values = cube(n_probes, preprocessing.n_features) * reach
    return limit * np.tanh(values / limit) if np.isfinite(limit) else values


def cube(n_probes: int, n_features: int) -> np.ndarray:
    """float64 [N, F] in (-1, 1): in each column one point in each of N equal intervals; the first columns are the same for every F."""
    columns = np.empty((n_probes, n_features))
    for column in range(n_features):
        rng = np.random.default_rng([_SEED, n_probes, column])
        columns[:, column] = 2 * (rng.permutation(n_probes) + rng.random(n_probes)) / n_probes - 1
    return columns


def _outputs(predictor: Predictor, prepared: np.ndarray) -> np.ndarray:
    """float64 [N, C] of prepared features."""
    from actors.backends.ideal import IdealBackend
    from actors.serial import SerialDispatcher

    backend = IdealBackend()
    outputs, _ = evaluate_samples(
        predictor.model, predictor.params, prepared, Coordinator(SerialDispatcher(backend), backend.capabilities),
        shots=None, seed=0, purpose="predict",
    )  # fmt: skip
    return outputs
