"""QuantumLayer: a parametrised circuit as a module of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from orchestrator.config import ModelConfig
from orchestrator.errors import CheckpointError, DataError
from orchestrator.gradients.function import wanted
from orchestrator.models.model import Model
from orchestrator.training.reports import Totals
from pipelines.frontends.executor import BackendSpec, Executor, FleetSpec
from pipelines.frontends.pytorch import saved
from pipelines.frontends.pytorch.function import Circuits, Outputs, not_compiled
from pipelines.frontends.pytorch.noise import NoiseStream
from pipelines.frontends.pytorch.quote import LayerQuote, quote
from pipelines.frontends.pytorch.settings import (
    GradientSpec,
    backend_of,
    check_dtype,
    gradient_of,
    model_of,
    rule_of,
)


class QuantumLayer(nn.Module):
    """Numbers in, expectation values out: ``[..., n_features] -> [..., n_outputs]``, a circuit for each row.

    Its parameters are one vector a layer of the circuit (``layer0``, ``layer1`` ...), in radians, and one of the head, if the model has any
    (``head``); they are drawn as `Model.initial_params` draws them, by torch's own generator (``torch.manual_seed``).

    Args:
        n_qubits, depth: qubits, and layers of the ansatz (2 if absent).
        entanglement: linear (if absent) | circular | full, or pairs of qubits.
        encoding: how features enter: angle (if absent: one rotation a qubit) | amplitude | basis | zz | iqp | reuploading.
        ansatz: of each layer: three_rotation (if absent) | hardware_efficient | strongly_entangling | ...
        observables: each (if absent: Z of every qubit) | first | mean | parity, or texts such as ``"Z0*Z1"``; an output each.
        layers: layers one by one, in place of ansatz and depth: convolution | pooling | trace_out | the name of an ansatz.
        n_features: of the encoding reuploading, which takes any number.
        reuploading: whether other encodings are repeated before every layer.
        initial_scale: standard deviation of the initial circuit parameters, radians (0.1 if absent).
        model: in place of all of these: a Model, or the settings of one, whose head is then part of the layer.
        n_outputs: of a ModelConfig with a head: 1 if absent.
        backend: see `BackendSpec`; ``auto``: the torch engine where there is CUDA, else the ideal one.
        fleet: see `FleetSpec`.
        shots: of each circuit; None: exact values, if the backend does not say otherwise.
        seed: of the shot noise, with a number that is drawn where the parameters are, so that layers see independent noise.
        folder, yes_spend_usd: where the book of what is paid is kept, and the most that may be spent: see `Executor`.
        gradient: auto (exact where the backend is, else parameter_shift) | adjoint | parameter_shift | finite_difference, or settings.
        device, dtype: of the parameters. What comes out is as what goes in; in between everything is float64.

    Attributes:
        model, executor, gradient: what is computed, where, and how it is differentiated.

    Raises:
        InputError: an option is refused; the text says which, and what is nearest.
    """

    _row_name = "row"

    def __init__(
        self,
        n_qubits: int | None = None,
        depth: int | None = None,
        *,
        entanglement: str | Sequence[tuple[int, int]] | None = None,
        encoding: str | None = None,
        ansatz: str | None = None,
        observables: str | Sequence[str] | None = None,
        layers: Sequence[str] | None = None,
        n_features: int | None = None,
        reuploading: bool | None = None,
        initial_scale: float | None = None,
        model: Model | ModelConfig | None = None,
        n_outputs: int | None = None,
        backend: BackendSpec = "ideal",
        fleet: FleetSpec = None,
        shots: int | None = None,
        seed: int = 7,
        folder: str | Path | None = None,
        yes_spend_usd: float | None = None,
        gradient: GradientSpec = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtype(dtype)
        options = {
            "n_qubits": n_qubits, "n_layers": depth, "entanglement": entanglement, "feature_map": encoding, "ansatz": ansatz,
            "observables": observables, "layers": layers, "n_features": n_features, "reuploading": reuploading,
            "initial_scale": initial_scale,
        }  # fmt: skip
        self.model = model_of(model, n_outputs, options)
        self.executor = Executor(
            backend_of(backend), fleet, shots=shots, seed=seed, folder=folder, yes_spend_usd=yes_spend_usd
        )
        self.gradient = gradient_of(gradient)
        self._rule = rule_of(self.gradient, self.executor)
        self._places = _places(self.model)
        for name, (begin, end) in self._places.items():
            self.register_parameter(name, nn.Parameter(torch.empty(end - begin, device=device, dtype=dtype)))
        self.reset_parameters()
        if self.model.frozen.any():
            self.freeze(np.flatnonzero(self.model.frozen).tolist())

    def reset_parameters(self) -> None:
        """Draw the parameters anew, and what keys the shot noise, by torch's generator."""
        of_params, stream = torch.randint(2**62, (2,), device="cpu").tolist()
        self._noise = NoiseStream(stream)
        self.set_params(self.model.initial_params(of_params))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs [..., n_outputs] of features [..., n_features], on the same device and of the same type.

        Circuits: one a row, times the measurement groups where shots are drawn. Backward: none where the backend differentiates; else the
        displaced ones of those angles that what requires a gradient moves.

        Raises:
            DataError: another number of features, one that is not finite or that the encoding does not take, or no floating-point numbers.
            CapabilityError: the features require a gradient, and the encoding has none.
            QfleetError: what the backend and the fleet raise.
        """
        self._check(features, self.n_features)
        return self._run(features)

    @property
    def n_features(self) -> int:
        """Numbers that a row has."""
        return self.model.n_features

    @property
    def n_outputs(self) -> int:
        """Numbers that come out of a row."""
        return self.model.n_outputs

    @property
    def used(self) -> Totals:
        """Circuits, shots and dollars so far, of this layer and its deep copies."""
        return self.executor.used

    def params(self) -> np.ndarray:
        """float64 [P]: the model's parameter vector, a copy."""
        found = (getattr(self, name).detach().to("cpu", torch.float64) for name in self._places)
        return np.concatenate([np.empty(0), *(one.numpy() for one in found)])

    def set_params(self, params: np.ndarray) -> None:
        """Take over a parameter vector [P], such as that of a trained run.

        Raises:
            DataError: another number of parameters.
        """
        if np.shape(params) != (self.model.n_params,):
            raise DataError(
                f"parameters of shape {np.shape(params)} given; the layer has {self.model.n_params}"
            )
        with torch.no_grad():
            for name, (begin, end) in self._places.items():
                getattr(self, name).copy_(torch.from_numpy(np.asarray(params[begin:end], np.float64)))

    def freeze(self, entries: Sequence[int | str]) -> Self:
        """Exactly these parameters stay as they are and cost no circuits: numbers, names, ranges, ``layer0``, ``circuit``, ``head``; ``[]``
        for none, see `ParamNames.select`.

        Whole vectors no longer require a gradient. Where a part of one is frozen, those entries have the gradient zero; an optimizer with
        weight decay moves them all the same.

        Raises:
            ConfigError: an entry names nothing.
        """
        self.model = self.model.with_frozen(entries)
        for name, (begin, end) in self._places.items():
            getattr(self, name).requires_grad_(not self.model.frozen[begin:end].all())
        return self

    def quote(self, n_samples: int, *, input_gradients: bool = False) -> LayerQuote:
        """What one call forward and one backward with so many rows take, in circuits, shots and dollars. Nothing is run.

        Args:
            input_gradients: whether the features require a gradient.

        Raises:
            CapabilityError: the target does not take it; a gradient by features that have none.
        """
        if input_gradients:
            self.model.check_feature_gradients()
        needs = [
            np.full(end - begin, getattr(self, name).requires_grad)
            for name, (begin, end) in self._places.items()
        ]
        by = wanted(self.model, np.concatenate([np.empty(0, bool), *needs]), input_gradients)
        return quote(self.model, self._rule, self.executor, n_samples, by)

    def save(self, folder: str | Path) -> None:
        """Write what `load` reads: JSON and arrays, no pickle. The consent to spend is not written."""
        saved.write(self, Path(folder), self._shape())

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Self:
        """The layer that `save` wrote.

        Args:
            options: that take the place of what was written: backend (with its shots), fleet, shots, seed, folder, yes_spend_usd, gradient,
                device, dtype.

        Raises:
            CheckpointError: a file is missing or damaged, or it is another kind of layer.
        """
        return saved.read(cls, Path(folder), options)

    def get_extra_state(self) -> torch.Tensor:
        """What keys the shot noise of the next call: so training goes on after `load_state_dict` as if it had not been interrupted.

        int64 [2]; a tensor, so that ``{name: one.clone() for name, one in net.state_dict().items()}`` works.
        """
        return torch.tensor([self._noise.stream, self._noise.n_calls], dtype=torch.int64, device="cpu")

    def set_extra_state(self, state: torch.Tensor) -> None:
        """See `get_extra_state`.

        Raises:
            CheckpointError: it is something else.
        """
        try:
            stream, n_calls = (int(number) for number in state.tolist())
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise CheckpointError(
                f"_extra_state is {state!r}; a quantum layer's are two whole numbers: leave it out and load with strict=False"
            ) from None
        self._noise = NoiseStream(stream, n_calls)

    def extra_repr(self) -> str:
        """The circuit, and where it runs."""
        executor = self.executor
        how = "exact" if executor.shots is None else f"{executor.shots} shots"
        return (
            f"n_features={self.n_features}, n_outputs={self.n_outputs}, n_qubits={self.model.template.n_qubits}, "
            f"n_params={self.model.n_params}, backend={executor.config.backend.name!r}, {how}, gradient={self._rule.name!r}"
        )

    def _shape(self) -> dict[str, Any]:
        """Arguments of the constructor that the model does not hold."""
        return {}

    def _check(self, features: torch.Tensor, n_features: int) -> None:
        check_type(features)
        if not features.dim() or features.shape[-1] != n_features:
            shape = tuple(features.shape)
            raise DataError(
                f"features of shape {shape} given; the layer takes {n_features} in the last place"
            )

    @not_compiled
    def _run(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs of features whose shape and type were checked."""
        if features.requires_grad and torch.is_grad_enabled():
            self.model.check_feature_gradients()
        noise = self._noise
        stream, number = f"layer/{noise.stream}", noise.next_call()
        circuits = Circuits(self.model, self._rule, self.executor, stream, number, self._row_name)
        rows = features.reshape(features.shape[:-1].numel(), features.shape[-1])
        outputs: torch.Tensor = Outputs.apply(
            circuits, rows, *(getattr(self, name) for name in self._places)
        )[0]
        return outputs.reshape(*features.shape[:-1], self.n_outputs)


def check_type(features: torch.Tensor) -> None:
    """Refuse what is no tensor, and whole, complex and Boolean numbers.

    Raises:
        DataError: naming the type.
    """
    if not isinstance(features, torch.Tensor):
        raise DataError(
            f"features of {type(features).__name__} given; the layer takes a tensor: torch.tensor(x)"
        )
    if not features.is_floating_point():
        raise DataError(
            f"features of {features.dtype} given; the layer takes floating-point numbers: x.float()"
        )


def _places(model: Model) -> dict[str, tuple[int, int]]:
    """Where the vectors of parameters begin and end in the model's one, by name; empty ones left out."""
    bounds = [*model.layers] if len(model.layers) > 1 else [0, model.n_circuit_params]
    names = [f"layer{i}" for i in range(len(bounds) - 1)] if len(model.layers) > 1 else ["circuit"]
    bounds.append(model.n_params)
    places = zip([*names, "head"], pairwise(bounds), strict=True)
    return {name: place for name, place in places if place[1] > place[0]}
