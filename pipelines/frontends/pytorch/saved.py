"""A layer in a folder: structure.json and structure.npz (the circuit), params.npz and layer.json (where it runs). No pickle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from orchestrator.errors import CheckpointError
from pipelines.predictor import read_structure, write_structure
from pipelines.run_folder import RunFolder, read_arrays, write_arrays

if TYPE_CHECKING:
    from pipelines.frontends.pytorch.layer import QuantumLayer

AnyLayer = TypeVar("AnyLayer", bound="QuantumLayer")


def write(layer: QuantumLayer, folder: Path, shape: dict[str, Any]) -> None:
    """Write `layer`.

    Args:
        shape: arguments of its constructor that its model does not hold.
    """
    config = layer.executor.config
    about = {
        "kind": type(layer).__name__,
        "shape": shape,
        "backend": config.backend.model_dump(exclude_unset=True),
        "fleet": config.fleet.model_dump(exclude_unset=True),
        "seed": config.run.seed,
        "gradient": layer.gradient.model_dump(exclude_unset=True),
        "noise": layer.get_extra_state().tolist(),
        "dtype": str(next((p.dtype for p in layer.parameters()), torch.get_default_dtype())),
    }
    write_structure(folder, layer.model)
    write_arrays(folder / "params.npz", {"params": layer.params()})
    RunFolder(folder).write_json("layer.json", about)


def read(kind: type[AnyLayer], folder: Path, options: dict[str, Any]) -> AnyLayer:
    """The layer in `folder`, but for `options`.

    Raises:
        CheckpointError: see `QuantumLayer.load`.
    """
    about = RunFolder(folder).read_json("layer.json")
    try:
        if about["kind"] != kind.__name__:
            raise CheckpointError(
                f"{folder} holds a {about['kind']}: load it with {about['kind']}.load, not {kind.__name__}.load"
            )
        stored = {key: about[key] for key in ("backend", "fleet", "seed", "gradient")}
        stored |= {"dtype": getattr(torch, about["dtype"].removeprefix("torch."))}
        noise = torch.tensor(about["noise"], dtype=torch.int64)
        shape = dict(about["shape"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'layer.json'} is damaged: {error!r}") from None
    params = read_arrays(folder / "params.npz")["params"]
    layer = kind(**shape, model=read_structure(folder), **(stored | options))
    layer.set_params(params)
    layer.set_extra_state(noise)
    return layer
