"""Patches: the windows of a sequence or an image that one small circuit sees in turn (quanvolution).

Henderson et al., arXiv 1904.04767: a circuit of a few qubits is slid over the sample like the filter of a convolution, and its expectation
values at every place are the features that the head takes. A sample so becomes P states of the circuit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from orchestrator.config import ModelConfig
from orchestrator.errors import DataError
from orchestrator.models.angle_map import scattered


@dataclass(frozen=True)
class Patches:
    """Windows of `shape`, every `stride` places in each direction.

    Attributes:
        image: [length], or [height, width]: the features of a sample, row by row.
        shape: of a window, as many numbers.
        stride: places from one window to the next.
    """

    image: tuple[int, ...]
    shape: tuple[int, ...]
    stride: int

    @classmethod
    def from_config(cls, config: ModelConfig) -> Patches | None:
        """What ``model.image_shape``, ``patch_shape`` and ``patch_stride`` say; None without."""
        if config.image_shape is None or config.patch_shape is None:
            return None
        return cls(config.image_shape, config.patch_shape, config.patch_stride or max(config.patch_shape))

    @property
    def n_features(self) -> int:
        """Features of a sample."""
        return prod(self.image)

    @property
    def size(self) -> int:
        """Features of a window."""
        return prod(self.shape)

    @property
    def count(self) -> int:
        """P, windows of a sample."""
        return len(self.columns)

    @cached_property
    def columns(self) -> np.ndarray:
        """int64 [P, size]: the features in each window, both row by row."""
        numbers = np.arange(self.n_features).reshape(self.image)
        windows = np.lib.stride_tricks.sliding_window_view(numbers, self.shape)
        every = windows[tuple(slice(None, None, self.stride) for _ in self.image)]
        return every.reshape(-1, self.size)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float64 [S P, size] of features [S, F], the windows of a sample one after the other.

        Raises:
            DataError: another number of features.
        """
        if features.shape[1] != self.n_features:
            shape = " x ".join(map(str, self.image))
            raise DataError(
                f"model.image_shape = {shape} takes {self.n_features} features, {features.shape[1]} given"
            )
        return features[:, self.columns].reshape(-1, self.size)

    def pullback(self, of_windows: np.ndarray) -> np.ndarray:
        """Chain rule: from the derivative of a scalar by every window, [S P, size], to that by the features, [S, F].

        A feature has the sum over all windows that it is in.
        """
        by_sample = of_windows.reshape(-1, self.columns.size)
        return scattered(by_sample, self.columns.ravel(), self.n_features)
