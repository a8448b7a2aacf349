"""What needs no network: logistic regressions. Where one of them does well, the task says little about whoever learns it."""

from __future__ import annotations

import numpy as np

from pipelines.hybrid.splits import Splits

_COARSE = 8


def baselines(splits: Splits) -> dict[str, float]:
    """Test accuracy by what is seen of a sample."""
    return {
        name: _logistic(see(splits.train.inputs), splits.train.targets, see(splits.test.inputs), splits.test.targets)
        for name, see in (_OF_IMAGES if splits.train.inputs.ndim == 4 else _OF_DIGITS).items()
    }  # fmt: skip


def mean_colours(images: np.ndarray) -> np.ndarray:
    """float64 [S, 3] of uint8 [S, H, W, 3]."""
    return images.mean(axis=(1, 2), dtype=np.float64)


def coarse_pixels(images: np.ndarray) -> np.ndarray:
    """float64 [S, 8 * 8 * 3]: means over 64 blocks of uint8 [S, H, W, 3]."""
    rows, columns = (np.arange(_COARSE) * side // _COARSE for side in images.shape[1:3])
    sums = np.add.reduceat(np.add.reduceat(images, rows, axis=1, dtype=np.float64), columns, axis=2)
    counts = (np.diff([*edges, side]) for edges, side in zip((rows, columns), images.shape[1:3], strict=True))
    high, wide = counts
    means: np.ndarray = sums / (high[:, None] * wide)[..., None]
    return means.reshape(len(images), -1)


_OF_IMAGES = {"mean colour": mean_colours, "8 x 8 pixels": coarse_pixels}
_OF_DIGITS = {"64 pixels": lambda pixels: pixels.astype(np.float64)}


def _logistic(inputs: np.ndarray, targets: np.ndarray, tested: np.ndarray, right: np.ndarray) -> float:
    """Accuracy of logistic regression on standardised inputs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(model.fit(inputs, targets).score(tested, right))
