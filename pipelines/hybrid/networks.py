"""The networks: a front that turns a sample into a few angles, a middle, and a linear head.

The middle is a circuit (``hybrid``), a classical layer with as many parameters (``twin``), or nothing (``none``); front and head are the
same, initial weights included.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from pipelines.frontends.pytorch.layer import QuantumLayer

ARMS = ("hybrid", "twin", "none")
"""By what stands in the middle."""

_COARSE = 45
"""About so many pixels a side are left of an image before the first convolution."""
_MOMENTUM = 0.3
"""Of running means: there are few steps."""


class Network(nn.Module):
    """Front, middle and head in a row: samples [B, ...] to logits [B, C].

    Attributes:
        circuit: the quantum layer; None without one.
    """

    def __init__(self, front: nn.Module, middle: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.front, self.middle, self.head = front, middle, head

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.head(self.middle(self.front(inputs)))
        return logits

    @property
    def circuit(self) -> QuantumLayer | None:
        """The quantum layer, if there is one."""
        return self.middle if isinstance(self.middle, QuantumLayer) else None

    def sizes(self) -> dict[str, int]:
        """Parameters of front, middle and head."""
        parts = {"front": self.front, "middle": self.middle, "head": self.head}
        return {name: sum(one.numel() for one in part.parameters()) for name, part in parts.items()}


def build(
    arm: str,
    front: Callable[[], nn.Module],
    circuit: Callable[[], QuantumLayer],
    n_classes: int,
    seed: int,
) -> Network:
    """A network with the initial weights of `seed`; torch's own generator is left as it was.

    Args:
        arm: one of `ARMS`.
        front, circuit: make these.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = front()
        quantum = circuit()
        head = nn.Linear(quantum.n_outputs, n_classes)
        middle: nn.Module = quantum
        if arm == "twin":
            middle = twin_layer(quantum.n_features, quantum.n_outputs, len(quantum.params()))
        elif arm == "none":
            middle = nn.Identity()
        return Network(made, middle, head)


def felt_params(circuit: QuantumLayer) -> int:
    """Parameters of a circuit that anything measured depends on: a last rotation about the axis that is measured is none of them."""
    model = circuit.model
    entries = np.eye(model.n_circuit_params, dtype=bool)
    return sum(len(model.felt(model.angles_moved_by(entry))) > 0 for entry in entries)


def twin_layer(n_in: int, n_out: int, n_params: int) -> nn.Sequential:
    """A classical layer [B, n_in] -> [B, n_out] within (-1, 1), as expectation values are, of about `n_params` parameters.

    One linear map and tanh, or two with tanh between, with biases or without: the one whose number of parameters is nearest, of equals
    the simplest.
    """
    found = min(
        _shapes(n_in, n_out, n_params),
        key=lambda shape: (abs(n_twin_params(n_in, n_out, *shape) - n_params), shape[0] is not None, shape),
    )
    hidden, has_bias = found
    sizes = [n_in, n_out] if hidden is None else [n_in, hidden, n_out]
    layers: list[nn.Module] = []
    for begin, end in itertools.pairwise(sizes):
        layers += [nn.Linear(begin, end, bias=has_bias), nn.Tanh()]
    return nn.Sequential(*layers)


def n_twin_params(n_in: int, n_out: int, hidden: int | None, has_bias: bool) -> int:
    """Of one linear map, or of two with `hidden` numbers between."""
    if hidden is None:
        return n_in * n_out + has_bias * n_out
    return hidden * (n_in + n_out) + has_bias * (hidden + n_out)


def _shapes(n_in: int, n_out: int, n_params: int) -> Iterator[tuple[int | None, bool]]:
    for has_bias in (False, True):
        yield None, has_bias
        for hidden in range(1, n_params // (n_in + n_out) + 2):
            yield hidden, has_bias


class Angles(nn.Module):
    """Any numbers to angles within (0, pi/2), where the cosines and sines that a circuit makes of them all have a slope."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Of the same shape."""
        return (torch.tanh(numbers) + 1) * (math.pi / 4)


class EdgeStrengths(nn.Module):
    """How much the colour changes from one side of a pixel to the other, in four directions, beside the colour itself.

    [B, 3, H, W] -> [B, 7, H - 2, W - 2]; nothing to be trained. Whether the one side is the lighter or the other makes no difference.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Strengths to the right, downwards and along the diagonals, then red, green and blue."""
        low, mid, high = slice(None, -2), slice(1, -1), slice(2, None)
        sides = [((mid, high), (mid, low)), ((high, mid), (low, mid)), ((high, high), (low, low)), ((high, low), (low, high))]  # fmt: skip
        edges = [
            (images[:, :, *one] - images[:, :, *other]).square().sum(1, keepdim=True).add(1e-3).sqrt()
            for one, other in sides
        ]
        return torch.cat([*edges, images[:, :, mid, mid]], dim=1)


class ImageFront(nn.Module):
    """Images uint8 [B, size, size, 3] to angles [B, n]: means over blocks, edge strengths, two convolutions, the greatest of each map.

    Args:
        size: pixels a side. n: angles.
    """

    def __init__(self, size: int, n: int) -> None:
        super().__init__()
        self._block = max(size // _COARSE, 1)
        self.layers = nn.Sequential(
            EdgeStrengths(),
            nn.BatchNorm2d(7, momentum=_MOMENTUM),
            *_convolution(7, 32, 7, stride=2),
            *_convolution(32, 48, 3, stride=1),
        )
        self.angles = nn.Sequential(nn.Linear(48, n), nn.BatchNorm1d(n, momentum=_MOMENTUM), Angles())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Angles."""
        maps = self.layers((block_means(images, self._block) - 127.5) / 64.0)
        angles: torch.Tensor = self.angles(maps.amax(dim=(2, 3)))
        return angles


def block_means(images: torch.Tensor, block: int) -> torch.Tensor:
    """Means over blocks of block x block pixels: uint8 [B, H, W, 3] to float32 [B, 3, H // block, W // block], a rest cut off.

    Sums of whole numbers, and so exact. Row by row: ten times as fast as pooling three channels.
    """
    n, height, width = len(images), images.shape[1] // block, images.shape[2] // block
    rows = images[:, : height * block, : width * block].reshape(n, height, block, width * block * 3)
    sums = rows[:, :, 0].float()
    for place in range(1, block):
        sums += rows[:, :, place]
    columns = sums.view(n, height, width, block, 3)
    return (columns.sum(3) / block**2).permute(0, 3, 1, 2)


def _convolution(n_in: int, n_out: int, width: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, width, stride=stride, padding=width // 2, bias=False)
    return [convolution, nn.BatchNorm2d(n_out, momentum=_MOMENTUM), nn.ReLU()]


def digits_front(n: int) -> nn.Module:
    """Pixels float32 [B, 64] to angles [B, n]: one linear map."""
    return nn.Sequential(nn.Linear(64, n), nn.BatchNorm1d(n, momentum=_MOMENTUM), Angles())
