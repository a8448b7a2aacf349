"""From a layer's options to a model, an executor and a gradient rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch

from orchestrator.config import GradientConfig, ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.gradients.linear import AngleRule
from orchestrator.models.model import Model
from pipelines.compose import choose_rule
from pipelines.frontends.executor import BackendSpec, Executor, FleetSpec
from pipelines.simplified_model import simplified_model

GradientSpec = str | Mapping[str, Any] | GradientConfig
"""Name of a rule, or settings, as in the section ``[gradient]`` of a configuration."""


class RunOptions(TypedDict, total=False):
    """Where circuits run, and what the tensors are; as of `QuantumLayer`."""

    backend: BackendSpec
    fleet: FleetSpec
    shots: int | None
    seed: int
    folder: str | Path | None
    yes_spend_usd: float | None
    gradient: GradientSpec
    device: torch.device | str | None
    dtype: torch.dtype | None


class Options(RunOptions, total=False):
    """Options of every layer; as of `QuantumLayer`."""

    entanglement: str | Sequence[tuple[int, int]] | None
    ansatz: str | None
    observables: str | Sequence[str] | None
    reuploading: bool | None
    initial_scale: float | None
    model: Model | ModelConfig | None
    n_outputs: int | None


def model_of(model: Model | ModelConfig | None, n_outputs: int | None, options: Mapping[str, Any]) -> Model:
    """The layer's model: the one given, or that of `options`, keys of the section ``[model]`` of which those that are None are left out.

    Raises:
        ConfigError: both are given, or neither; what the configuration refuses.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if model is not None and given:
        key, value = next(iter(given.items()))
        raise ConfigError(
            f"model.{key}", value, "the model that is given says this itself: leave one of the two out"
        )
    if isinstance(model, Model):
        if n_outputs not in (None, model.n_outputs):
            problem = f"the model that is given has {model.n_outputs}"
            raise ConfigError("n_outputs", n_outputs, problem, str(model.n_outputs))
        return model
    if model is not None and not isinstance(model, ModelConfig):
        raise ConfigError("model", model, "a Model, or the settings of one: ModelConfig(...)")
    if model is None:
        if "n_qubits" not in given:
            raise ConfigError("n_qubits", None, "say how many qubits the circuit has, or give a model", "4")
        if "layers" in given and "n_layers" in given:
            problem = "layers says how many there are: leave one of the two out"
            raise ConfigError("depth", given["n_layers"], problem, str(len(given["layers"])))
        model = ModelConfig(**{"head": "none", **given})
    if n_outputs is None and model.head == "linear":
        n_outputs = 1
    made = Model.from_config(model, n_outputs)
    return simplified_model(made).model if model.simplify else made


def check_dtype(dtype: torch.dtype | None) -> None:
    """Refuse parameters that are no floating-point numbers.

    Raises:
        ConfigError: naming the type.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ConfigError("dtype", str(dtype), "angles are floating-point numbers", "torch.float32")


def backend_of(backend: BackendSpec) -> BackendSpec:
    """The backend; ``auto`` is the torch engine where there is CUDA, else the ideal one."""
    if backend != "auto":
        return backend
    return "torch" if torch.cuda.is_available() else "ideal"


def gradient_of(gradient: GradientSpec) -> GradientConfig:
    """The settings.

    Raises:
        ConfigError: one is refused.
    """
    if isinstance(gradient, GradientConfig):
        return gradient
    if not isinstance(gradient, str | Mapping):
        raise ConfigError("gradient", gradient, "the name of a rule, or its settings", "auto")
    return GradientConfig(**({"rule": gradient} if isinstance(gradient, str) else dict(gradient)))


def rule_of(gradient: GradientConfig, executor: Executor) -> AngleRule:
    """How expectation values are differentiated; ``auto`` is exact where the backend is, else parameter shift.

    Raises:
        ConfigError: the rule does not differentiate by single angles, which a layer needs. CapabilityError: the backend cannot serve it.
    """
    if gradient.shots_per_step is not None:
        problem = "a layer gives every circuit the same shots: leave it out, and say how many (shots)"
        raise ConfigError("gradient.shots_per_step", gradient.shots_per_step, problem, "none")
    config = executor.config.model_copy(update={"gradient": gradient})
    rule = choose_rule(config, executor.capabilities)
    if not isinstance(rule, AngleRule) or type(rule).choose is not AngleRule.choose:
        problem = "estimates the gradient of a whole training step; a layer takes auto, adjoint, parameter_shift or finite_difference"
        raise ConfigError("gradient.rule", gradient.rule, problem, "parameter_shift")
    return rule
