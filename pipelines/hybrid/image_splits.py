"""Images to learn from: a folder of them, one folder a class, or drawn ones of the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError
from pipelines.data.colour_images import colour_image
from pipelines.data.drawn import KINDS, drawn_images
from pipelines.data.images import class_folders, samples_of
from pipelines.data.splits import draw, split_positions
from pipelines.display.formatting import from_here
from pipelines.hybrid.settings import HybridSettings
from pipelines.hybrid.splits import Part, Splits

_VALIDATION = 0.2
"""Of the images that are not for the test."""
_DRAWN = "drawn heads with pointed or hanging ears"


def check_images(settings: HybridSettings, memory_gb: float) -> None:
    """Refuse what cannot be held, or read, before anything is written.

    Raises:
        ConfigError: too many images, or no such folder. DataError: it does not hold one folder of images a class, for two classes or
            more, or a class has too few.
    """
    most = int(memory_gb * 2**30)
    if settings.image_bytes > most:
        problem = f"with {settings.test_samples} to test on would take more than {memory_gb:g} GB, see data.memory_limit_gb"
        n = max(most // (3 * settings.size**2) - settings.test_samples, 10)
        raise ConfigError("--samples", settings.samples, problem, str(n))
    if settings.folder is not None:
        counts = [len(files) for _, files in _folders(settings.folder)]
        names = [name for name, _ in _folders(settings.folder)]
        targets = np.repeat(np.arange(len(counts)), counts)
        positions = draw(np.arange(len(targets)), targets, names, _as_data_config(settings), seed=0)
        _parted(settings, positions, targets[positions], names, seed=0)


def image_splits(settings: HybridSettings, seed: int) -> Splits:
    """The images of one seed.

    Raises:
        ConfigError, DataError: see `check_images`; a damaged file, unless those are to be left out.
    """
    return _drawn(settings, seed) if settings.folder is None else _read(settings, seed)


def expected_images(settings: HybridSettings) -> tuple[int, dict[str, int], str]:
    """(Classes, images by part, the source in words), by the names of files alone."""
    n, n_test, n_classes, source = (
        settings.samples + settings.test_samples,
        settings.test_samples,
        len(KINDS),
        _DRAWN,
    )
    if settings.folder is not None:
        folders = _folders(settings.folder)
        there = sum(len(files) for _, files in folders)
        n_classes, source = len(folders), from_here(Path(settings.folder))
        n, n_test = min(n, there), round(min(n, there) * n_test / n)
    n_validation = round((n - n_test) * _VALIDATION)
    return n_classes, {"train": n - n_test - n_validation, "validation": n_validation, "test": n_test}, source


def _drawn(settings: HybridSettings, seed: int) -> Splits:
    n = settings.samples + settings.test_samples
    images, targets = drawn_images(n, settings.size, seed=seed)
    n_train = settings.samples - round(settings.samples * _VALIDATION)
    cuts = (slice(0, n_train), slice(n_train, settings.samples), slice(settings.samples, n))
    source = f"{_DRAWN}, {settings.size} x {settings.size} pixels"
    train, validation, test = (Part(images[cut], targets[cut]) for cut in cuts)
    return Splits(source, KINDS, train, validation, test)


def _read(settings: HybridSettings, seed: int) -> Splits:
    assert settings.folder is not None
    folders = _folders(settings.folder)
    files, labels = samples_of(folders)
    names = tuple(name for name, _ in folders)
    number = {name: index for index, name in enumerate(names)}
    targets = np.array([number[label] for label in labels.tolist()], np.int64)
    positions = draw(np.arange(len(files)), targets, names, _as_data_config(settings), seed)
    images = np.empty((len(positions), settings.size, settings.size, 3), np.uint8)
    is_read, left_out = np.ones(len(positions), bool), []
    for row, position in enumerate(positions):
        try:
            images[row] = colour_image(files[position], settings.size)
        except DataError as error:
            if not settings.skip_damaged:
                error.add_note("Mend or remove it, or leave out all such files with --skip-damaged")
                raise
            is_read[row] = False
            left_out.append(str(error))
    rows = np.flatnonzero(is_read)
    targets = targets[positions[rows]]
    parts = _parted(settings, positions[rows], targets, names, seed)
    train, validation, test = (Part(images[rows[part]], targets[part]) for part in parts)
    source = f"{from_here(Path(settings.folder))}, scaled to {settings.size} x {settings.size} pixels"
    return Splits(source, names, train, validation, test, tuple(left_out))


def _folders(folder: str) -> list[tuple[str, list[Path]]]:
    try:
        found = class_folders(folder)
    except ConfigError as error:
        raise ConfigError("FOLDER", error.value, error.problem, error.suggestion) from None
    if len(found) < 2:
        raise DataError(
            f"{folder}: holds one class, {found[0][0]!r}; telling classes apart takes two folders"
        )
    return found


def _parted(
    settings: HybridSettings, positions: np.ndarray, targets: np.ndarray, names: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for training, validation and test. Raises DataError: a class has too few images to be in each."""
    try:
        return split_positions(positions, targets, names, _as_data_config(settings), seed)
    except DataError:
        counts = np.bincount(targets, minlength=len(names))
        least = int(counts.argmin())
        raise DataError(
            f"{settings.folder}: {counts[least]} of the {len(targets):,} images to be taken are of class {names[least]!r}, too few to "
            "have it in training, validation and test: add images, remove the class, or change --samples and --test-samples"
        ) from None


def _as_data_config(settings: HybridSettings) -> DataConfig:
    """Settings of the draw and the split; a folder with fewer images is parted in the same proportions."""
    n = settings.samples + settings.test_samples
    return DataConfig(
        path=settings.folder,
        image_size=settings.size,
        max_samples=n,
        test_fraction=settings.test_samples / n,
        validation_fraction=_VALIDATION,
    )
