"""From an estimator's parameters to a configuration of the rest of qfleet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.config import ModelConfig, TrainingConfig
from orchestrator.errors import nearest
from pipelines.frontends.scikit.refusals import ParameterError

KEY_OF = {
    "n_qubits": "model.n_qubits",
    "n_layers": "model.n_layers",
    "feature_map": "model.feature_map",
    "feature_repeats": "model.feature_repeats",
    "reuploading": "model.reuploading",
    "ansatz": "model.ansatz",
    "entanglement": "model.entanglement",
    "n_latent": "model.latent_qubits",
    "initial_scale": "model.initial_scale",
    "scale": "data.standardize",
    "n_components": "data.n_components",
    "angle_scale": "data.angle_scale",
    "angle_limit": "data.angle_limit",
    "validation_fraction": "data.validation_fraction",
    "epochs": "run.epochs",
    "batch_size": "run.batch_size",
    "patience": "run.early_stopping_patience",
    "learning_rate": "optimizer.learning_rate",
    "optimizer": "optimizer.name",
    "schedule": "optimizer.schedule",
    "gradient": "gradient.rule",
}
"""Parameters of estimators that are keys of the configuration."""
PARAMETER_OF = {key: name for name, key in KEY_OF.items()}
NAMES = PARAMETER_OF | {
    "run.seed": "random_state",
    "backend.name": "backend",
    "backend.shots": "shots",
    "kernel": "kernel",
}
"""Keys of the configuration as an estimator's user calls them."""

_FREE = ("model", "gradient", "optimizer", "training", "run")
"""Sections whose other keys ``options`` may set."""
_OWN = {
    "run.seed": "random_state",
    "run.name": "folder",
    "run.directory": "folder",
    "model.initial_run": "warm_start",
    "model.n_features": None,
}
"""Keys of these that an estimator sets itself -> the parameter that says the same."""


_OWN_CODE = re.compile(r"\w:\w")
"""In JSON a quotation mark, a bracket or a number is on one side at least of any other colon."""


def config_of(params: Mapping[str, Any], executor: TrainingConfig, seed: int, loss: str) -> TrainingConfig:
    """The configuration that an estimator's parameters describe.

    Args:
        params: as `get_params` gives them; those not in `KEY_OF` are of no account, but ``options``. None: the configuration's default.
        executor: whose backend and fleet are used.

    Raises:
        ConfigError: a key or value is refused.
    """
    sections: dict[str, dict[str, Any]] = {
        "run": {"seed": seed},
        "data": {"name": "arrays", "test_fraction": 0.0},
        "loss": {"name": loss},
    }
    for name, value in params.items():
        if name in KEY_OF and value is not None:
            _set(sections, KEY_OF[name], plain(value))
    for key, value in _checked_options(params.get("options"), params).items():
        _set(sections, key, plain(value))
    config = TrainingConfig.from_dict(sections)
    return config.model_copy(update={"backend": executor.backend, "fleet": executor.fleet})


def names_own_code(*settings: Any) -> bool:
    """Whether a ``"module:attribute"`` is among these, models' configurations included; what it names may be another one tomorrow."""
    texts = (one.model_dump_json() if isinstance(one, ModelConfig) else str(one) for one in settings)
    return any(_OWN_CODE.search(text) for text in texts)


def plain(value: Any) -> Any:
    """`value` without numpy, as a grid of parameters may hold it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(each) for each in value)
    return value


def _set(sections: dict[str, dict[str, Any]], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    sections.setdefault(section, {})[name] = value


def _checked_options(options: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        problem = "a mapping from keys of the configuration to values, such as {'model.feature_axis': 'x'}"
        raise ParameterError("options", options, problem)
    for key in options:
        section = str(key).partition(".")[0]
        if section not in _FREE:
            problem = f"no key of {', '.join(_FREE)}, such as 'model.feature_axis'"
            raise ParameterError("options", key, problem, nearest(section, _FREE))
        name = PARAMETER_OF.get(key, _OWN.get(key))
        if key in _OWN or name in params:
            problem = "the estimator sets this itself" + (
                "" if name is None else f": use its parameter {name}"
            )
            raise ParameterError("options", key, problem)
    return dict(options)
