"""qfleet from other people's tools: layers for PyTorch, estimators for scikit-learn, a device for PennyLane.

Each is optional and imported on first use; all hand plans to an `Executor`, which holds the backend and the fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.frontends.extras import import_home

if TYPE_CHECKING:
    from pipelines.frontends.executor import Executor
    from pipelines.frontends.pennylane.device import QfleetDevice
    from pipelines.frontends.pytorch.convolution import QuantumConv2d
    from pipelines.frontends.pytorch.layer import QuantumLayer
    from pipelines.frontends.pytorch.pooling import QuantumPool, QuantumPool2d
    from pipelines.frontends.scikit.autoencoder import QuantumAutoencoder
    from pipelines.frontends.scikit.classifier import QuantumClassifier
    from pipelines.frontends.scikit.kernel import QuantumKernelClassifier
    from pipelines.frontends.scikit.regressor import QuantumRegressor

__all__ = [
    "Executor",
    "QfleetDevice",
    "QuantumAutoencoder",
    "QuantumClassifier",
    "QuantumConv2d",
    "QuantumKernelClassifier",
    "QuantumLayer",
    "QuantumPool",
    "QuantumPool2d",
    "QuantumRegressor",
]

_HOMES = {
    "Executor": "pipelines.frontends.executor",
    "QfleetDevice": "pipelines.frontends.pennylane.device",
    "QuantumAutoencoder": "pipelines.frontends.scikit.autoencoder",
    "QuantumClassifier": "pipelines.frontends.scikit.classifier",
    "QuantumConv2d": "pipelines.frontends.pytorch.convolution",
    "QuantumKernelClassifier": "pipelines.frontends.scikit.kernel",
    "QuantumLayer": "pipelines.frontends.pytorch.layer",
    "QuantumPool": "pipelines.frontends.pytorch.pooling",
    "QuantumPool2d": "pipelines.frontends.pytorch.pooling",
    "QuantumRegressor": "pipelines.frontends.scikit.regressor",
}


def __getattr__(name: str) -> Any:
    """Public names on first use: neither torch nor PennyLane need be there for the others.

    Raises:
        MissingExtraError: the package that the frontend is for is not installed; the text says how to.
    """
    if name in _HOMES:
        return getattr(import_home(_HOMES[name]), name)
    raise AttributeError(f"module 'pipelines.frontends' has no attribute {name!r}")
