"""Images as features: a folder with one folder of JPEG or PNG files a class, and the transform from a file to numbers.

The transform, in this order; docs/data.md says why:

1. **Orientation**: the image is turned as its EXIF tag says.
2. **Grey**: luma of ITU-R BT.601, ``0.299 R + 0.587 G + 0.114 B`` of the stored (gamma-encoded) values, in float64; what is transparent
   lies on white. 16-bit grey keeps its 16 bits.
3. **Square**: ``crop`` keeps the centre (of an odd rest the larger part goes to the right and below); ``letterbox`` keeps all of it, in the
   middle of black.
4. **Size**: each pixel is the mean of the area it covers, edge pixels by the part that is covered (a box filter), never by samples.
5. **Scale**: [0, 1], black is 0. Rows from the top, each from the left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, nearest
from pipelines.data.sources import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from PIL import Image

_LUMA = np.array([0.299, 0.587, 0.114])
_MOST_PIXELS = 100_000_000
"""Of an image: more is a mistake, or a small file made to fill the memory."""


@dataclass(frozen=True)
class ImageTransform:
    """From image files to features.

    Attributes:
        size: pixels a side, of the features of an image.
        fit: what becomes of an image that is not square.
    """

    size: int
    fit: Literal["crop", "letterbox"] = "crop"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``pixel_0_0``, ``pixel_0_1`` ...: row and column."""
        return tuple(f"pixel_{row}_{column}" for row in range(self.size) for column in range(self.size))

    def __call__(self, files: Iterable[str | Path]) -> np.ndarray:
        """Features of image files, float64 [S, size * size] in [0, 1].

        Raises:
            DataError: a file is no image, is damaged, or is smaller than the features; the text names it.
        """
        rows = [self.features(Path(file)).ravel() for file in files]
        return np.array(rows, np.float64).reshape(len(rows), self.size * self.size)

    def features(self, file: Path) -> np.ndarray:
        """Of one file, float64 [size, size]."""
        return self.resized(_grey(file), file)

    def resized(self, grey: np.ndarray, file: Path) -> np.ndarray:
        """float64 [size, size] of the grey values [height, width] of a file."""
        height, width = grey.shape
        side = min(height, width) if self.fit == "crop" else max(height, width)
        if side < self.size:
            raise DataError(
                f"{file}: has {width} x {height} pixels, fewer than data.image_size = {self.size}; "
                f"leave it out, or set data.image_size = {max(side, 1)} or less"
            )
        if self.fit == "crop":
            top, left = (height - side) // 2, (width - side) // 2
            grey = grey[top : top + side, left : left + side]
            top = left = 0
        else:
            top, left = (side - height) // 2, (side - width) // 2
        # of the square's pixels only those of the image: the black beside a long thin one would fill the memory
        weights = _area_weights(side, self.size)
        down, across = weights[:, top : top + len(grey)], weights[:, left : left + grey.shape[1]]
        # einsum: no BLAS, so the same bits whatever the number of threads
        means = np.einsum("is,st->it", down, grey, optimize=False)
        return np.clip(np.einsum("it,jt->ij", means, across, optimize=False), 0.0, 1.0)


def image_transform(config: DataConfig) -> ImageTransform | None:
    """How images become features; None for data that are no images."""
    return None if config.image_size is None else ImageTransform(config.image_size, config.image_fit)


_OF_FILE_MANAGERS = ("thumbs.db", "desktop.ini")
"""What Windows leaves in folders that people looked at, among them those of well-known data sets."""


def class_folders(folder: str | Path) -> list[tuple[str, list[Path]]]:
    """(class, its files by name) of each folder, by name.

    Raises:
        ConfigError: there is no such folder; DataError: it holds no folders of images, or a file of another kind lies among them.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        siblings = (each.name for each in folder.parent.iterdir()) if folder.parent.is_dir() else ()
        close = nearest(folder.name, siblings)
        problem = "no such folder; images are read from a folder with one folder of images a class"
        raise ConfigError("data.path", str(folder), problem, str(folder.with_name(close)) if close else None)
    found = [
        (each.name, _images_in(each)) for each in sorted(folder.iterdir()) if each.is_dir() and _visible(each)
    ]
    if len(found) < 1:
        raise DataError(f"{folder}: has no folders; images are read from one folder a class")
    for name, files in found:
        if not files:
            raise DataError(f"{folder / name}: holds no {', '.join(IMAGE_EXTENSIONS)} file")
    return found


def _images_in(folder: Path) -> list[Path]:
    files = [each for each in sorted(folder.iterdir()) if _visible(each)]
    for file in files:
        if file.is_dir() or file.suffix.lower() not in IMAGE_EXTENSIONS:
            what = "a folder" if file.is_dir() else f"no {', '.join(IMAGE_EXTENSIONS)} file"
            raise DataError(f"{file}: is {what}; a class is one folder of images, and nothing else")
    return files


def _visible(path: Path) -> bool:
    return not path.name.startswith((".", "_")) and path.name.lower() not in _OF_FILE_MANAGERS


def samples_of(folders: Sequence[tuple[str, list[Path]]]) -> tuple[list[Path], np.ndarray]:
    """(files of all classes, their classes as text [S])."""
    files = [file for _, members in folders for file in members]
    labels = np.array([name for name, members in folders for _ in members], dtype=np.str_)
    return files, labels


def _grey(file: Path) -> np.ndarray:
    """Luma in [0, 1], float64 [height, width], the right way up."""
    return read_image(file, _luma)


def read_image(file: Path, use: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """What `use` makes of an image file, which it is given the right way up.

    Raises:
        DataError: no image, damaged, or larger than any photograph; the text names it.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise DataError(
                    f"{file}: has {image.width} x {image.height} pixels, more than {_MOST_PIXELS:,}"
                )
            image.load()
            turned: Any = ImageOps.exif_transpose(image)
            return use(turned)
    except DataError:
        raise
    # Pillow raises a dozen kinds for damaged files
    except Exception as error:
        raise DataError(
            f"{file}: damaged, or no JPEG or PNG image: {type(error).__name__}: {error}"
        ) from None


def _luma(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey
        return np.asarray(image, np.float64) / 65535
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image, np.float64) / 255
    pixels = np.asarray(image.convert("RGBA"), np.float64) / 255
    luma = np.einsum("hwc,c->hw", pixels[..., :3], _LUMA, optimize=False)
    return luma * pixels[..., 3] + (1 - pixels[..., 3])


def _area_weights(n_from: int, n_to: int) -> np.ndarray:
    """float64 [n_to, n_from]: which share of a new pixel each old one covers; rows sum to 1."""
    edges = np.arange(n_to + 1) * n_from / n_to
    low = np.maximum(edges[:-1, None], np.arange(n_from))
    high = np.minimum(edges[1:, None], np.arange(1, n_from + 1))
    return np.maximum(high - low, 0.0) * (n_to / n_from)
