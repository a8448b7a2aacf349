"""A Model as plain JSON and arrays, and back: no pickle, and nothing of the code that built it is needed to load it.

A classical step in front of the angle map is stored by the name of its feature map.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from orchestrator.circuits.from_cirq import template_from_json
from orchestrator.models.angle_map import AngleMap
from orchestrator.models.feature_maps.transform import FeatureTransform
from orchestrator.models.model import Model
from orchestrator.models.observables import Readout
from orchestrator.models.patches import Patches
from orchestrator.registry import resolve

_MAP_ARRAYS = ("angle", "coefficient", "param", "monomial", "exponents")


def model_to_plain(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(JSON-able description, arrays)."""
    description = {
        "circuit": model.template.circuit_json,
        "n_params": model.angle_map.n_params,
        "n_features": model.angle_map.n_features,
        "paulis": list(model.readout.paulis),
        "observable_names": list(model.readout.names),
        "head": model.head_name,
        "n_outputs": model.n_outputs,
        "output_scale": model.output_scale,
        "circuit_param_names": list(model.circuit_param_names),
        "initial_scale": model.initial_scale,
        "layers": list(model.layers),
        "transform": None if model.transform is None else asdict(model.transform),
        "patches": None if model.patches is None else asdict(model.patches),
    }
    arrays = {f"angle_map/{name}": getattr(model.angle_map, name) for name in _MAP_ARRAYS}
    arrays |= {
        "readout/matrix": model.readout.matrix,
        "readout/offset": model.readout.offset,
        "frozen": model.frozen,
    }
    return description, arrays


def model_from_plain(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> Model:
    """The model that `model_to_plain` described."""
    template = template_from_json(description["circuit"])
    mapping = AngleMap(
        template.n_angles,
        description["n_params"],
        description["n_features"],
        *(arrays[f"angle_map/{name}"] for name in _MAP_ARRAYS),
    )
    read = Readout(
        tuple(description["paulis"]),
        arrays["readout/matrix"],
        arrays["readout/offset"],
        tuple(description["observable_names"]),
    )
    scale = description["output_scale"]
    # models of version 0.1.0 have no transform, patches or layers
    transform, patches = description.get("transform"), _patches(description.get("patches"))
    n_observables = len(read.names) * (1 if patches is None else patches.count)
    return Model(
        template=template,
        angle_map=mapping,
        readout=read,
        head=resolve("head", description["head"])(n_observables, description["n_outputs"], scale),
        head_name=description["head"],
        output_scale=scale,
        circuit_param_names=tuple(description["circuit_param_names"]),
        frozen=arrays["frozen"].astype(bool),
        initial_scale=description["initial_scale"],
        layers=tuple(description.get("layers", ())),
        transform=None if transform is None else FeatureTransform(**transform),
        patches=patches,
    )


def _patches(stored: dict[str, Any] | None) -> Patches | None:
    return (
        None if stored is None else Patches(tuple(stored["image"]), tuple(stored["shape"]), stored["stride"])
    )
