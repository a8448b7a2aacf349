"""Names to things, as literal dictionaries one can read.

A value is a dotted path ``module:attribute``, resolved on first use, so that listing names (for ``--help`` and for
configuration errors) imports nothing. A user's own part is named the same way in the configuration: ``model.ansatz =
"my_package.blocks:Brickwork"``.
"""

from __future__ import annotations

import importlib
from typing import Any

from orchestrator.errors import InputError, UnknownNameError

FEATURE_MAPS = {
    "angle": "orchestrator.models.feature_maps.angle:AngleFeatureMap",
    "amplitude": "orchestrator.models.feature_maps.amplitude:AmplitudeFeatureMap",
    "basis": "orchestrator.models.feature_maps.basis:BasisFeatureMap",
    "zz": "orchestrator.models.feature_maps.phases:ZZFeatureMap",
    "iqp": "orchestrator.models.feature_maps.phases:IQPFeatureMap",
    "reuploading": "orchestrator.models.feature_maps.reuploading:ReuploadingFeatureMap",
}
ANSATZE = {
    "three_rotation": "orchestrator.models.ansatze:ThreeRotation",
    "hardware_efficient": "orchestrator.models.ansatze:HardwareEfficient",
    "strongly_entangling": "orchestrator.models.ansatze:StronglyEntangling",
    "three_rotation_separable": "orchestrator.models.ansatze:ThreeRotationSeparable",
    "hardware_efficient_separable": "orchestrator.models.ansatze:HardwareEfficientSeparable",
    "strongly_entangling_separable": "orchestrator.models.ansatze:StronglyEntanglingSeparable",
}
LAYERS = {
    "convolution": "orchestrator.models.layers:Convolution",
    "pooling": "orchestrator.models.layers:Pooling",
    "trace_out": "orchestrator.models.layers:TraceOut",
}
ENTANGLEMENTS = {
    "linear": "orchestrator.models.entanglement:linear",
    "circular": "orchestrator.models.entanglement:circular",
    "full": "orchestrator.models.entanglement:full",
}
HEADS = {
    "linear": "orchestrator.models.heads:LinearHead",
    "none": "orchestrator.models.heads:NoHead",
    "weighted_fidelity": "orchestrator.models.heads:WeightedFidelityHead",
}
LOSSES = {
    "mse": "orchestrator.losses.mse:MeanSquaredError",
    "binary_cross_entropy": "orchestrator.losses.cross_entropy:BinaryCrossEntropy",
    "cross_entropy": "orchestrator.losses.cross_entropy:CrossEntropy",
    "weighted_fidelity": "orchestrator.losses.weighted_fidelity:WeightedFidelity",
    "trash_fidelity": "orchestrator.losses.trash_fidelity:TrashFidelity",
}
OPTIMIZERS = {
    "adam": "orchestrator.optimizers.adam:adam",
    "sgd": "orchestrator.optimizers.sgd:sgd",
}
SCHEDULES = {
    "constant": "orchestrator.optimizers.schedules:constant",
    "step": "orchestrator.optimizers.schedules:step",
    "exponential": "orchestrator.optimizers.schedules:exponential",
    "cosine": "orchestrator.optimizers.schedules:cosine",
    "plateau": "orchestrator.optimizers.schedules:plateau",
}
GRADIENT_RULES = {
    "parameter_shift": "orchestrator.gradients.parameter_shift:ParameterShift",
    "adjoint": "orchestrator.gradients.adjoint:Adjoint",
    "finite_difference": "orchestrator.gradients.finite_difference:FiniteDifference",
    "stochastic_parameter_shift": "orchestrator.gradients.stochastic_parameter_shift:StochasticParameterShift",
    "random_coordinate": "orchestrator.gradients.random_coordinate:RandomCoordinate",
    "spsa": "orchestrator.gradients.spsa:SPSA",
    "qn_spsa": "orchestrator.gradients.qn_spsa:QNSPSA",
    "natural_gradient": "orchestrator.gradients.natural_gradient:NaturalGradient",
    "guided_spsa": "orchestrator.gradients.guided_spsa:GuidedSPSA",
    "adaptive": "orchestrator.gradients.adaptive:Adaptive",
    "rotosolve": "orchestrator.gradients.rotosolve:Rotosolve",
}
BACKENDS = {
    "ideal": "actors.backends.ideal:IdealBackend",
    "torch": "actors.backends.torch:TorchBackend",
    "cirq": "actors.backends.cirq_simulator:CirqBackend",
    "noisy": "actors.backends.noisy:NoisyBackend",
    "ionq": "actors.backends.ionq:IonQBackend",
    "recorded": "actors.backends.recorded:RecordedBackend",
}
NOISE_MODELS = {
    "aria-1": "actors.noise.presets:aria_1",
    "aria-2": "actors.noise.presets:aria_2",
    "forte-1": "actors.noise.presets:forte_1",
}
KERNELS = {
    "fidelity": "orchestrator.kernels.fidelity:FidelityKernel",
    "projected": "orchestrator.kernels.projected:ProjectedKernel",
}
REGISTRIES: dict[str, dict[str, str]] = {
    "feature map": FEATURE_MAPS,
    "ansatz": ANSATZE,
    "layer": LAYERS,
    "entanglement": ENTANGLEMENTS,
    "head": HEADS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "gradient rule": GRADIENT_RULES,
    "backend": BACKENDS,
    "noise model": NOISE_MODELS,
    "kernel": KERNELS,
}


def check_name(kind: str, name: str) -> None:
    """Refuse `name` unless it is registered under `kind` or has the form ``module:attribute``. Imports nothing."""
    if name not in REGISTRIES[kind] and ":" not in name:
        raise UnknownNameError(kind, name, tuple(REGISTRIES[kind]))


def resolve(kind: str, name: str) -> Any:
    """The registered (or ``module:attribute``) object called `name`.

    Raises:
        UnknownNameError: `name` is neither registered nor a path.
        InputError: the path does not import.
    """
    check_name(kind, name)
    return import_path(REGISTRIES[kind].get(name, name))


def import_path(path: str) -> Any:
    """The object at ``module:attribute``."""
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # whatever a user's module raises when it is imported
        raise InputError(f"cannot load {path!r}: {type(error).__name__}: {error}") from error
