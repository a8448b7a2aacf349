"""The model as a function that torch's automatic differentiation knows: tensors in and out, numpy and the fleet in between.

Two functions: the outputs, and their gradients, which are a function of their own so that ``torch.func.vmap`` can map them too.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from orchestrator.errors import CapabilityError, DataError
from orchestrator.gradients.base import LinearRule
from orchestrator.gradients.function import Call, backward, forward, wanted
from orchestrator.models.model import Model
from pipelines.frontends.executor import Executor

Tensors = tuple[torch.Tensor | None, ...]


def not_compiled(
    method: Callable[[Any, torch.Tensor], torch.Tensor],
) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """`method` as it is under ``torch.compile``, which would trace the coordinator: it is left between two compiled graphs.

    As `torch.compiler.disable`, but without importing the compiler, which takes seconds, into programs that have no use for it.
    """
    disabled: Callable[[Any, torch.Tensor], torch.Tensor] | None = None

    @functools.wraps(method)
    def run(self: Any, features: torch.Tensor) -> torch.Tensor:
        nonlocal disabled
        if disabled is None:
            if "torch._dynamo" not in sys.modules:
                return method(self, features)
            disabled = torch.compiler.disable(method)
        return disabled(self, features)

    return run


@dataclass(frozen=True, eq=False)
class Circuits:
    """One call of the function, but for the tensors.

    Attributes:
        model, rule: what is computed, and how it is differentiated.
        executor: where.
        stream, number: key the shot noise.
        row_name: what a row of the features is called in errors.
    """

    model: Model
    rule: LinearRule
    executor: Executor
    stream: str
    number: int
    row_name: str = "row"

    @property
    def call(self) -> Call:
        """What keys its shot noise."""
        return Call(self.executor.shots, self.executor.seed, self.stream, self.number)

    def member(self, number: int) -> Circuits:
        """The call of one of several that are mapped over, with shot noise of its own."""
        return replace(self, stream=f"{self.stream}/{number}")


class Outputs(torch.autograd.Function):
    """``apply(circuits, features [S, F], *params)`` gives outputs [S, C], and the expectation values [N, M] that they come from.

    Can be differentiated by the features, and by any of the tensors that the parameters are in.
    """

    @staticmethod
    def forward(
        circuits: Circuits, features: torch.Tensor, *params: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One circuit a sample (and patch)."""
        rows = _rows(features, circuits.row_name)
        found = forward(circuits.model, _joined(params), rows, circuits.executor.evaluate, circuits.call)
        return torch.from_numpy(found.outputs).to(features), torch.from_numpy(found.values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Keep what the gradients are functions of."""
        ctx.circuits = inputs[0]
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[1:], output[1])

    @staticmethod
    def backward(ctx: Any, of_outputs: torch.Tensor | None, _: torch.Tensor | None) -> Tensors:
        """Only what is asked for costs circuits."""
        if of_outputs is None:
            return (None,) * len(ctx.needs_input_grad)
        *inputs, values = ctx.saved_tensors
        return (
            None,
            *Gradients.apply(ctx.circuits, tuple(ctx.needs_input_grad[1:]), of_outputs, values, *inputs),
        )

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], circuits: Circuits, *inputs: torch.Tensor) -> Any:
        """Features of several members go out as one plan; where parameters differ too, each member is one."""
        of_features, *of_params = in_dims[1:]
        if any(dim is not None for dim in of_params):
            return _mapped(info, in_dims[1:], inputs, lambda i, own: Outputs.apply(circuits.member(i), *own))
        assert of_features is not None
        features = inputs[0].movedim(of_features, 0)
        found = Outputs.apply(circuits, features.flatten(0, 1), *inputs[1:])
        return tuple(one.unflatten(0, (info.batch_size, -1)) for one in found), (0, 0)


class Gradients(torch.autograd.Function):
    """``apply(circuits, needed, of_outputs [S, C], values, features, *params)`` gives the gradients by features and params; None where
    `needed`, of as many places, says that none is wanted."""

    @staticmethod
    def forward(circuits: Circuits, needed: tuple[bool, ...], *tensors: torch.Tensor) -> Tensors:
        """One plan, or none where nothing of the circuit is asked for."""
        of_outputs, values, features, *params = tensors
        model = circuits.model
        masks = [np.full(param.numel(), need) for param, need in zip(params, needed[1:], strict=True)]
        found = backward(
            model,
            _joined(params),
            _rows(features, circuits.row_name),
            _array(values),
            _array(of_outputs),
            circuits.executor.evaluate,
            wanted(model, np.concatenate([np.empty(0, bool), *masks]), needed[0]),
            circuits.rule,
            circuits.call,
        )
        of_features = None if found.of_features is None else torch.from_numpy(found.of_features).to(features)
        of_params = np.zeros(model.n_params) if found.of_params is None else found.of_params
        ends = np.cumsum([param.numel() for param in params])
        parts = (of_params[end - param.numel() : end] for param, end in zip(params, ends, strict=True))
        return of_features, *(
            torch.from_numpy(part).to(param).reshape(param.shape) if need else None
            for part, param, need in zip(parts, params, needed[1:], strict=True)
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        """Nothing is kept: there is no second derivative."""

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> Tensors:
        """Refused.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(
            "a quantum layer is differentiated once: second derivatives (create_graph=True, hessian) are not had from it; take the "
            "difference of two gradients"
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Sequence[int | None],
        circuits: Circuits,
        needed: tuple[bool, ...],
        *tensors: torch.Tensor,
    ) -> Any:
        """Each member is a plan; with the same shot noise where only what comes from the outputs differs, as in a Jacobian: the displaced
        circuits are then the same, and where they cost money they are paid once."""
        is_same = all(dim is None for dim in in_dims[3:])

        def compute(i: int, own: list[torch.Tensor]) -> Tensors:
            found: Tensors = Gradients.apply(circuits if is_same else circuits.member(i), needed, *own)
            return found

        return _mapped(info, in_dims[2:], tensors, compute)


def _mapped(
    info: Any,
    in_dims: Sequence[int | None],
    inputs: Sequence[torch.Tensor],
    compute: Callable[[int, list[torch.Tensor]], Tensors],
) -> tuple[Tensors, tuple[int | None, ...]]:
    """`compute` of each member's inputs, the answers stacked."""
    found = []
    for i in range(info.batch_size):
        pairs = zip(inputs, in_dims, strict=True)
        found.append(compute(i, [one if dim is None else one.select(dim, i) for one, dim in pairs]))
    stacked = tuple(
        torch.stack([part for part in parts if part is not None]) if parts[0] is not None else None
        for parts in zip(*found, strict=True)
    )
    return stacked, tuple(None if one is None else 0 for one in stacked)


def _array(tensor: torch.Tensor) -> np.ndarray:
    """float64, in this process's memory."""
    found: np.ndarray = tensor.detach().to("cpu", torch.float64).contiguous().numpy()
    return found


def _rows(features: torch.Tensor, name: str) -> np.ndarray:
    """Features as float64 [S, F].

    Raises:
        DataError: one is not finite; the text says which.
    """
    found = _array(features)
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise DataError(
            f"{name} {row + 1}, feature {column + 1}: {found[row, column]} is not a finite number"
        )
    return found


def _joined(params: Sequence[torch.Tensor]) -> np.ndarray:
    """The model's parameter vector, float64 [P].

    Raises:
        DataError: one is not finite.
    """
    found = np.concatenate([np.empty(0), *(_array(param).ravel() for param in params)])
    if not np.isfinite(found).all():
        number = int(np.flatnonzero(~np.isfinite(found))[0])
        raise DataError(
            f"parameter {number} is {found[number]}: the training has diverged; a smaller learning rate may help"
        )
    return found
