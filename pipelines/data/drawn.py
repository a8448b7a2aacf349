"""Drawn images of two kinds: a head with pointed ears, or with hanging ones, among clutter.

A stand-in, of the same shape, for photographs of cats and dogs where none are at hand. Everything but the ears is drawn from the same
distributions for both kinds: place, size, turn, colours, light, background, noise, and clutter behind and before the head, which holds
as many triangles and ovals for the one as for the other. So no colour and no single place tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

KINDS = ("hanging ears", "pointed ears")
"""Class names, in the order of the classes."""
SMALLEST, LARGEST = 16, 1024
"""Pixels a side that can be drawn."""

_N_CORNERS = 28
"""Of the polygon that stands for an oval."""
_ROUND = np.stack([f(np.linspace(0, 2 * np.pi, _N_CORNERS, endpoint=False)) for f in (np.cos, np.sin)], 1)
_N_BEHIND, _N_BEFORE = (4, 9), (1, 4)
"""Pieces of clutter behind the head and before it: from, and less than."""
_FEWEST_CONTRASTS = 60.0
"""Least distance in RGB between the head and the mean of the background."""


def drawn_images(n: int, size: int = 180, *, seed: int = 7, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw images `first` to ``first + n - 1`` of the set that `seed` names; each depends on the seed, its number and the size alone.

    Returns:
        uint8 [n, size, size, 3], RGB; int64 [n], classes by the order of `KINDS`, every other image of each.

    Raises:
        ConfigError: a number of images, or a size, that cannot be drawn.
    """
    if n < 0 or first < 0:
        raise ConfigError("samples", min(n, first), "should not be negative", "1000")
    if not SMALLEST <= size <= LARGEST:
        close = str(min(max(size, SMALLEST), LARGEST))
        raise ConfigError("size", size, f"should be {SMALLEST} to {LARGEST} pixels a side", close)
    targets = np.arange(first, first + n, dtype=np.int64) % len(KINDS)
    images = np.empty((n, size, size, 3), np.uint8)
    for place in range(n):
        rng = np.random.default_rng([seed, first + place])
        images[place] = _drawn(KINDS[targets[place]], size, rng)
    return images, targets


def _drawn(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """One image, uint8 [size, size, 3]."""
    from PIL import Image
    from PIL.ImageDraw import Draw

    ground = _background(rng, size)
    image = Image.fromarray(ground)
    draw = Draw(image)
    _clutter(draw, size, rng, int(rng.integers(*_N_BEHIND)), (0.05, 0.14))
    _head(draw, kind, size, rng, ground.reshape(-1, 3).mean(0))
    _clutter(draw, size, rng, int(rng.integers(*_N_BEFORE)), (0.02, 0.06))
    return _photographed(np.asarray(image, np.float32), rng)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Coarse random colours, smoothed between, uint8 [size, size, 3]."""
    from PIL import Image

    n = int(rng.integers(2, 7))
    coarse = np.clip(_colour(rng) + rng.normal(0, 30, (n, n, 3)), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _head(draw: ImageDraw, kind: str, size: int, rng: np.random.Generator, background: np.ndarray) -> None:
    """A round head with two ears, eyes, a muzzle and a nose."""
    fur = _colour(rng)
    while np.linalg.norm(fur - background) < _FEWEST_CONTRASTS:
        fur = _colour(rng)
    radius = rng.uniform(0.15, 0.24)
    room = 1.75 * radius
    centre = rng.uniform(min(room, 0.5), max(1 - room, 0.5), 2)
    place = _placing(centre * size, radius * size, rng.uniform(-0.5, 0.5), rng.choice([-1.0, 1.0]))
    ear = np.clip(fur * rng.uniform(0.7, 1.1), 0, 255)
    for side in (-1.0, 1.0):
        _fill(draw, place(_ear(kind, side, rng)), ear)
    _fill(draw, place(_oval((0, 0), (1, rng.uniform(0.85, 1.05)))), fur)
    dark = rng.uniform(0, 60, 3)
    for side in (-1.0, 1.0):
        _fill(draw, place(_oval((0.38 * side, -0.2), (0.12, 0.15))), dark)
    _fill(draw, place(_oval((0, 0.42), (0.42, 0.3))), np.clip(fur * 1.2 + 20, 0, 255))
    _fill(draw, place(_oval((0, 0.28), (0.14, 0.1))), dark)


def _ear(kind: str, side: float, rng: np.random.Generator) -> np.ndarray:
    """Corners [C, 2] in radii of the head, y downwards."""
    length, width = rng.uniform(0.75, 1.0), rng.uniform(0.3, 0.4)
    if kind == "pointed ears":
        lean = rng.uniform(0.4, 0.8)  # from upright, in radians
        base, tip = 0.75, 0.75 + length
        corners = np.array([[-width, -base], [width, -base], [0, -tip]])
        return _turned(corners, side * lean)
    lean = rng.uniform(1.15, 1.5)
    hinge = np.array([np.sin(lean) * side, -np.cos(lean)]) * 0.95
    hanging = _turned(_oval((0, 0.45 * length), (0.8 * width, 0.6 * length)), -side * rng.uniform(0.1, 0.45))
    return hanging + hinge


def _clutter(
    draw: ImageDraw, size: int, rng: np.random.Generator, n: int, radii: tuple[float, float]
) -> None:
    """Triangles, ovals and bars anywhere; `radii` in sides of the image."""
    shapes = (
        np.array([[-0.5, 0.6], [0.5, 0.6], [0.0, -0.9]]),
        _oval((0, 0), (0.5, 1.0)),
        np.array([[-0.2, -1.4], [0.2, -1.4], [0.2, 1.4], [-0.2, 1.4]]),
    )
    for _ in range(n):
        place = _placing(rng.uniform(0, size, 2), rng.uniform(*radii) * size, rng.uniform(0, 2 * np.pi), 1.0)
        _fill(draw, place(shapes[rng.integers(len(shapes))]), _colour(rng))


def _photographed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, and noise of a sensor."""
    size = len(pixels)
    across = np.linspace(-1, 1, size, dtype=np.float32)
    slope = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
    light = np.float32(rng.uniform(0.8, 1.1)) + slope[0] * across[:, None] + slope[1] * across[None, :]
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(4, 16))
    return np.clip(pixels * light[..., None] + noise, 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(20, 235, 3)


def _oval(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    return _ROUND * radii + centre


def _turned(corners: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * corners[:, 0] - sin * corners[:, 1], sin * corners[:, 0] + cos * corners[:, 1]], 1)


def _placing(
    centre: np.ndarray, radius: float, angle: float, mirrored: float
) -> Callable[[np.ndarray], np.ndarray]:
    """From corners in radii to pixels."""
    return lambda corners: _turned(corners * (mirrored, 1.0), angle) * radius + centre


def _fill(draw: ImageDraw, corners: np.ndarray, colour: np.ndarray) -> None:
    draw.polygon(
        [(float(x), float(y)) for x, y in corners], fill=(int(colour[0]), int(colour[1]), int(colour[2]))
    )
