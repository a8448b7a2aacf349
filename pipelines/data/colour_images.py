"""Images in colour, for models that see pixels: the centre square of each file, scaled to one size, as 8-bit RGB.

Files are opened as `pipelines.data.images` opens them: turned as their EXIF tag says, damaged ones refused by name. What is transparent
lies on white; grey becomes three equal channels. Larger images are scaled down by area (a box filter), smaller ones up, bilinearly.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.data.images import read_image

if TYPE_CHECKING:
    from PIL import Image


def colour_image(file: Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3] of an image file.

    Raises:
        DataError: no image, or a damaged one; the text names it.
    """
    return read_image(file, lambda image: _square(_rgb(image), size))


def colour_images(files: Iterable[Path], size: int) -> np.ndarray:
    """uint8 [S, size, size, 3] of image files.

    Raises:
        DataError: see `colour_image`.
    """
    images = [colour_image(file, size) for file in files]
    return np.array(images, np.uint8).reshape(len(images), size, size, 3)


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey
        grey = np.asarray(image, np.float64) / 257
        return Image.fromarray(np.rint(np.clip(grey, 0, 255)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGB", "L", "1", "CMYK") and "transparency" not in image.info:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    ground = Image.new("RGBA", clear.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, clear).convert("RGB")


def _square(image: Image.Image, size: int) -> np.ndarray:
    from PIL import Image

    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    how = Image.Resampling.BOX if side >= size else Image.Resampling.BILINEAR
    return np.asarray(image.resize((size, size), how, box=(left, top, left + side, top + side)))
