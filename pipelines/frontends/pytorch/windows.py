"""Sliding windows over a batch of images, and what they give put in their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from orchestrator.errors import ConfigError, DataError

Pair = int | tuple[int, int]


class Windows(NamedTuple):
    """How a window slides: (height, width) each.

    Attributes:
        shape, stride: of the window, and places from one to the next.
        padding: rows and columns of zeros on each side of the image.
    """

    shape: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, kernel_size: Pair, stride: Pair, padding: Pair) -> Windows:
        """From one number for both directions, or two.

        Raises:
            ConfigError: one is no number, or too small.
        """
        return cls(
            _pair("kernel_size", kernel_size, 1), _pair("stride", stride, 1), _pair("padding", padding, 0)
        )

    def places(self, height: int, width: int) -> tuple[int, int]:
        """Windows below each other, and side by side.

        Raises:
            DataError: none fits into such an image.
        """
        padded = [size + 2 * extra for size, extra in zip((height, width), self.padding, strict=True)]
        if any(size < window for size, window in zip(padded, self.shape, strict=True)):
            raise DataError(
                f"no window of {self.shape[0]} x {self.shape[1]} fits into an image of {height} x {width}, padding included "
                f"{padded[0]} x {padded[1]}"
            )
        down, across = (
            (size - window) // step + 1
            for size, window, step in zip(padded, self.shape, self.stride, strict=True)
        )
        return down, across

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        """[B, L, C h w]: the windows of images [B, C, H, W], row by row; in each the channels one after the other."""
        padded = functional.pad(images, (self.padding[1],) * 2 + (self.padding[0],) * 2)
        by_row = padded.unfold(2, self.shape[0], self.stride[0])
        by_place = by_row.unfold(3, self.shape[1], self.stride[1])  # [B, C, H', W', h, w]
        return by_place.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def check_images(images: torch.Tensor, n_channels: int | None) -> None:
    """Refuse what is no batch of images [B, C, H, W], nor one image [C, H, W], with so many channels (None: any).

    Raises:
        DataError: naming both shapes.
    """
    if images.dim() not in (3, 4) or n_channels not in (None, images.shape[-3]):
        wanted = f"[B, {n_channels or 'C'}, height, width]"
        raise DataError(f"images of shape {tuple(images.shape)} given; the layer takes {wanted}")


def _pair(name: str, value: Pair, least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or any(
        not isinstance(one, int) or isinstance(one, bool) or one < least for one in pair
    ):
        problem = f"one whole number from {least} on, or two (height, width)"
        raise ConfigError(name, value, problem, str(max(least, 1)))
    return pair[0], pair[1]
