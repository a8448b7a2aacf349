"""Drawn images: the same bits from the same seed, two kinds that nothing trivial tells apart; and images read in colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.errors import ConfigError, DataError
from pipelines.data.colour_images import colour_image, colour_images
from pipelines.data.drawn import KINDS, drawn_images
from pipelines.hybrid.baselines import baselines, coarse_pixels, mean_colours
from pipelines.hybrid.splits import Part, Splits

SIZE, N_TRAIN, N_TEST = 48, 700, 500


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    return drawn_images(N_TRAIN + N_TEST, SIZE, seed=3)


def splits(images: np.ndarray, targets: np.ndarray) -> Splits:
    train, validation, test = (
        Part(images[cut], targets[cut]) for cut in (slice(N_TRAIN), slice(0, 1), slice(N_TRAIN, None))
    )
    return Splits("drawn", KINDS, train, validation, test)


def test_an_image_depends_on_seed_and_number_alone(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = drawn
    again, classes = drawn_images(5, SIZE, seed=3, first=40)
    assert np.array_equal(again, images[40:45])
    assert np.array_equal(classes, targets[40:45])
    assert not np.array_equal(drawn_images(1, SIZE, seed=4)[0], images[:1])
    assert np.bincount(targets).tolist() == [600, 600]
    assert images.dtype == np.uint8
    assert images.shape == (1200, SIZE, SIZE, 3)
    assert drawn_images(0, SIZE)[0].shape == (0, SIZE, SIZE, 3)


def test_the_size_scales_the_picture_and_the_noise_stays() -> None:
    """Means over blocks of the larger image are the smaller one, up to edges and to noise, of which the larger has other draws."""
    small, large = (drawn_images(6, size, seed=1)[0].astype(float) for size in (32, 128))
    means = large.reshape(6, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    assert np.median(np.abs(means - small)) < 20


def test_nothing_trivial_tells_the_kinds_apart(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """At chance, a share of 500 has a standard deviation of 2.2 %; 4 of these."""
    images, targets = drawn
    found = baselines(splits(images, targets))
    assert set(found) == {"mean colour", "8 x 8 pixels"}
    deviation = np.sqrt(0.25 / N_TEST)
    for accuracy in found.values():
        assert abs(accuracy - 0.5) < 4 * deviation
    colours = mean_colours(images)
    first, second = colours[targets == 0], colours[targets == 1]
    error = np.sqrt(first.var(0) / len(first) + second.var(0) / len(second))
    assert (np.abs(first.mean(0) - second.mean(0)) < 4.5 * error).all()


def test_a_trivial_difference_would_be_seen(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """The baselines are no straw men: an image of the one kind that is a little lighter gives itself away."""
    images, targets = drawn
    lighter = np.clip(images.astype(int) + 90 * targets[:, None, None, None], 0, 255).astype(np.uint8)
    assert min(baselines(splits(lighter, targets)).values()) > 0.7


def test_coarse_pixels_are_means_over_blocks() -> None:
    images = drawn_images(2, 32, seed=0)[0]
    expected = images.reshape(2, 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(2, -1)
    np.testing.assert_allclose(coarse_pixels(images), expected, rtol=1e-15)
    assert coarse_pixels(drawn_images(1, 45, seed=0)[0]).shape == (1, 192)


@pytest.mark.parametrize(("n", "size", "near"), [(-1, 48, "1000"), (3, 4, "16"), (3, 5000, "1024")])
def test_what_cannot_be_drawn_is_refused(n: int, size: int, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        drawn_images(n, size)
    assert caught.value.suggestion == near


def test_images_in_colour(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)

    def saved(name: str, image: Image.Image, **options: Any) -> Path:
        image.save(tmp_path / name, **options)
        return tmp_path / name

    plain = saved("a.png", Image.fromarray(pixels))
    assert np.array_equal(colour_image(plain, 12), pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    turned = saved("b.png", Image.fromarray(np.rot90(pixels).copy()), exif=exif)
    assert np.array_equal(colour_image(turned, 12), pixels)
    # a box filter, rounded to whole numbers once in each direction
    means = pixels.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    assert np.abs(colour_image(plain, 4) - means).max() <= 1.0
    wide = np.concatenate([np.zeros((12, 3, 3), np.uint8), pixels, np.zeros((12, 3, 3), np.uint8)], 1)
    assert np.array_equal(colour_image(saved("c.png", Image.fromarray(wide)), 12), pixels)
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2, :, 3] = 255
    assert colour_image(saved("d.png", Image.fromarray(clear)), 4)[:, 0, 0].tolist() == [0, 0, 255, 255]
    deep = saved("e.png", Image.fromarray(np.full((4, 4), 257 * 99, np.uint16)))
    assert (colour_image(deep, 2) == 99).all()
    assert colour_image(plain, 30).shape == (30, 30, 3)
    assert colour_images([], 8).shape == (0, 8, 8, 3)
    torn = tmp_path / "f.png"
    torn.write_bytes(plain.read_bytes()[:100])
    with pytest.raises(DataError, match=r"f\.png: damaged"):
        colour_images([plain, torn], 8)
