"""QuantumPool and QuantumPool2d: fewer numbers out than in, by measuring fewer qubits.

Every second qubit is measured and its left neighbour turned by what was found, by two trained angles; then the same with the qubits that
are left. Controlled rotations do it without a measurement in the middle of the circuit (`orchestrator.models.layers.Pooling`).
"""

from __future__ import annotations

from typing import Any, Unpack

import torch

from orchestrator.errors import ConfigError
from pipelines.frontends.pytorch.layer import QuantumLayer, check_type
from pipelines.frontends.pytorch.settings import Options
from pipelines.frontends.pytorch.windows import Pair, Windows, check_images


class QuantumPool(QuantumLayer):
    """``[..., n_qubits] -> [..., n]``, each time half as many, rounded up: Z of the qubits that are left.

    Args:
        n_qubits: features, one a qubit (encoding angle; others have other numbers of features).
        depth: how often half of the qubits are measured.
        before: a layer in front of each pooling: convolution (which makes it the network of arXiv 1810.03787), or the name of an ansatz.
        encoding, options: as of `QuantumLayer`.

    Raises:
        InputError: an option is refused; pooling would leave no qubit.
    """

    def __init__(
        self,
        n_qubits: int | None = None,
        depth: int | None = None,
        *,
        before: str | None = None,
        encoding: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        layers = None
        if options.get("model") is None:
            if depth is not None and depth < 1:
                raise ConfigError("depth", depth, "half of the qubits are measured once at least", "1")
            layers = [*([before] if before else []), "pooling"] * (depth or 1)
        elif depth is not None or before is not None:
            raise ConfigError("model", "given", "the model says depth and before itself: leave them out")
        super().__init__(n_qubits, encoding=encoding, layers=layers, **options)


class QuantumPool2d(QuantumPool):
    """``[B, C, H, W] -> [B, C, H', W']``: each window of each channel becomes one number; also one image without the first place.

    A window's features are a qubit each, which are pooled until one is left; its Z is the number.

    Args:
        kernel_size, stride, padding: as of `torch.nn.MaxPool2d`: windows side by side if `stride` is absent; padding is with zeros.
        before, options: as of `QuantumPool`.

    Raises:
        InputError: an option is refused; a window of one place.
    """

    _row_name = "window"

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        before: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        windows = Windows.of(kernel_size, kernel_size if stride is None else stride, padding)
        n_features = windows.shape[0] * windows.shape[1]
        if n_features < 2:
            raise ConfigError("kernel_size", kernel_size, "a window of one place leaves nothing to pool", "2")
        if options.get("model") is None:
            super().__init__(n_features, (n_features - 1).bit_length(), before=before, **options)
        else:
            super().__init__(before=before, **options)
        if (self.n_features, self.n_outputs) != (n_features, 1):
            problem = (
                f"takes {self.n_features} features and gives {self.n_outputs}; wanted are {n_features} and 1"
            )
            raise ConfigError("model", "given", problem)
        self.windows = windows

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, C, H', W'], of the same type and on the same device; each window is a row of `QuantumLayer.forward`.

        Raises:
            DataError: as there; and images that no window fits into.
        """
        check_type(images)
        check_images(images, None)
        down, across = self.windows.places(images.shape[-2], images.shape[-1])
        outputs = self._run(self.windows.rows(images.reshape(-1, 1, *images.shape[-2:])))
        return outputs.reshape(*images.shape[:-2], down, across)

    def n_windows(self, height: int, width: int) -> int:
        """Windows of a channel, each a sample of `quote`.

        Raises:
            DataError: none fits.
        """
        down, across = self.windows.places(height, width)
        return down * across

    def extra_repr(self) -> str:
        """The window, the circuit, and where it runs."""
        shape, stride, padding = self.windows
        return f"kernel_size={shape}, stride={stride}, padding={padding}, {super().extra_repr()}"

    def _shape(self) -> dict[str, Any]:
        shape, stride, padding = self.windows
        return {"kernel_size": shape, "stride": stride, "padding": padding}
