"""QuantumConv2d: a circuit that slides over images like the filter of a convolution.

Henderson et al., arXiv 1904.04767, with trained circuits: the expectation values at every place are the channels of the image that comes
out. All windows of a batch are one plan.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch

from orchestrator.errors import ConfigError
from pipelines.frontends.pytorch.layer import QuantumLayer, check_type
from pipelines.frontends.pytorch.settings import Options
from pipelines.frontends.pytorch.windows import Pair, Windows, check_images


class QuantumConv2d(QuantumLayer):
    """Images in, images out: ``[B, in_channels, H, W] -> [B, out_channels, H', W']``; also one image without the first place.

    A window has C = in_channels x height x width features, its channels one after the other.

    Args:
        in_channels, kernel_size, stride, padding: as of `torch.nn.Conv2d`; padding is with zeros.
        n_qubits: C if absent.
        depth: layers of the ansatz (2 if absent).
        encoding: angle where there is a qubit for each feature, else reuploading (which takes any number), if absent; as of `QuantumLayer`.
        out_channels: Z of the first so many qubits; in place of `observables`, of which each is a channel (Z of every qubit, if absent).
        options: as of `QuantumLayer`.

    Raises:
        InputError: an option is refused.
    """

    _row_name = "window"

    def __init__(
        self,
        in_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        *,
        n_qubits: int | None = None,
        depth: int | None = None,
        encoding: str | None = None,
        out_channels: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        windows = Windows.of(kernel_size, stride, padding)
        if in_channels < 1:
            raise ConfigError("in_channels", in_channels, "an image has one channel at least", "1")
        n_features = in_channels * windows.shape[0] * windows.shape[1]
        n_uploaded = None
        if options.get("model") is None:
            n_qubits = n_qubits or n_features
            encoding = encoding or ("angle" if n_qubits == n_features else "reuploading")
            n_uploaded = n_features
        if out_channels is not None:
            options["observables"] = _first(out_channels, n_qubits, options.get("observables"))
        super().__init__(n_qubits, depth, encoding=encoding, n_features=n_uploaded, **options)
        if self.n_features != n_features:
            problem = f"the window has {n_features} features, the model takes {self.n_features}"
            raise ConfigError("model", self.n_features, problem)
        self.in_channels = in_channels
        self.windows = windows

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, out_channels, H', W'], of the same type and on the same device; each window is a row of `QuantumLayer.forward`.

        Raises:
            DataError: as there; and images that no window fits into, or with other channels.
        """
        check_type(images)
        check_images(images, self.in_channels)
        down, across = self.windows.places(images.shape[-2], images.shape[-1])
        batch = images if images.dim() == 4 else images[None]
        outputs = self._run(self.windows.rows(batch)).transpose(1, 2)
        return outputs.reshape(*images.shape[:-3], self.n_outputs, down, across)

    def n_windows(self, height: int, width: int) -> int:
        """Windows of an image, each a sample of `quote`.

        Raises:
            DataError: none fits.
        """
        down, across = self.windows.places(height, width)
        return down * across

    def extra_repr(self) -> str:
        """The window, the circuit, and where it runs."""
        shape, stride, padding = self.windows
        return f"{self.in_channels}, kernel_size={shape}, stride={stride}, padding={padding}, {super().extra_repr()}"

    def _shape(self) -> dict[str, Any]:
        shape, stride, padding = self.windows
        return {"in_channels": self.in_channels, "kernel_size": shape, "stride": stride, "padding": padding}


def _first(out_channels: int, n_qubits: int | None, observables: object) -> tuple[str, ...]:
    """Z of the first so many qubits."""
    if observables is not None or n_qubits is None:
        what = "the observables" if n_qubits is not None else "the model"
        raise ConfigError("out_channels", out_channels, f"{what} given say this: leave one of the two out")
    if not 1 <= out_channels <= n_qubits:
        problem = f"each channel is Z of a qubit, and there are {n_qubits}; or name observables"
        raise ConfigError("out_channels", out_channels, problem, str(min(max(out_channels, 1), n_qubits)))
    return tuple(f"Z{i}" for i in range(out_channels))
