"""Which samples are used, and which of them are for training, validation and test.

Random choices depend on the seed and on the row number only: each row gets a random key, and a split takes the rows of lowest
key within each class. So the split is the same whatever the order of ``data.classes``, and on any version of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import DataError

# Domains of the random keys: what one choice draws must not tell what the next one draws.
_KEEP, _TEST, _VALIDATION = 1, 2, 3


def draw(
    rows: np.ndarray, targets: np.ndarray, class_names: Sequence[str] | None, config: DataConfig, seed: int
) -> np.ndarray:
    """Positions of at most ``data.max_samples`` samples, ascending; classes in proportion."""
    if config.max_samples is None or len(rows) <= config.max_samples:
        return np.arange(len(rows))
    groups = _groups(targets, class_names)
    counts = np.array([len(group) for group in groups])
    quota = counts * (config.max_samples / len(rows))
    taken = apportion(quota, config.max_samples, np.floor(quota).astype(int), np.ceil(quota).astype(int))
    return _lowest(groups, taken, _keys(seed, _KEEP, rows))


def split_positions(
    rows: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str] | None,
    config: DataConfig,
    seed: int,
    own_test: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training, validation and test samples, ascending.

    Each class's share of a split is within one sample of its exact share, and each class is in each split whose fraction is
    not 0.

    Args:
        own_test: bool [S], the test split that comes with the data, taken as it is in place of ``data.test_fraction``.
    """
    everything = np.arange(len(rows))
    if own_test is None:
        test = _part(everything, targets, class_names, config, "test_fraction", _keys(seed, _TEST, rows))
    else:
        test = np.flatnonzero(own_test)
    rest = np.setdiff1d(everything, test)
    validation = _part(
        rest, targets, class_names, config, "validation_fraction", _keys(seed, _VALIDATION, rows)
    )
    return np.setdiff1d(rest, validation), validation, test


def _part(
    positions: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str] | None,
    config: DataConfig,
    key: str,
    keys: np.ndarray,
) -> np.ndarray:
    """The positions that ``data.<key>`` takes out of `positions`, leaving each class enough for the splits after it."""
    fraction = getattr(config, key)
    groups = [positions[group] for group in _groups(targets[positions], class_names)]
    counts = np.array([len(group) for group in groups])
    after = 1 + (key == "test_fraction" and config.validation_fraction > 0)
    quota = counts * fraction
    most = np.minimum(np.ceil(quota), counts - after).astype(int)
    least = np.maximum(np.floor(quota), fraction > 0).astype(int)
    short = np.flatnonzero(most < least)
    if len(short):
        raise _too_few(int(short[np.argmin(counts[short])]), counts, class_names, config, key)
    return _lowest(groups, apportion(quota, round(len(positions) * fraction), least, most), keys)


def _too_few(
    group: int, counts: np.ndarray, class_names: Sequence[str] | None, config: DataConfig, key: str
) -> DataError:
    what = "the data" if class_names is None else f"class {class_names[group]!r}"
    advice = "" if class_names is None else " or leave the class out of data.classes"
    left = " left after the test split" if key == "validation_fraction" else ""
    settings = [
        f"data.test_fraction = {config.test_fraction}",
        f"data.validation_fraction = {config.validation_fraction}",
    ]
    if config.max_samples is not None:
        settings.append(f"data.max_samples = {config.max_samples}")
        advice += ", or raise data.max_samples"
    return DataError(
        f"{what}: {counts[group]} sample(s){left}, too few to split: with {', '.join(settings)} a split would be empty "
        f"or lack it; lower the fractions{advice}"
    )


def apportion(quota: np.ndarray, total: int, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Whole numbers within [least, most] that follow `quota` and add up to `total` as far as the bounds allow.

    By largest remainder; ties go to the first.
    """
    taken = np.array(least)
    for index in np.argsort(least - quota, kind="stable"):
        if taken.sum() >= total:
            break
        taken[index] = min(most[index], taken[index] + 1)
    return taken


def _groups(targets: np.ndarray, class_names: Sequence[str] | None) -> list[np.ndarray]:
    """Positions of each class; one group of all for regression."""
    if class_names is None:
        return [np.arange(len(targets))]
    return [np.flatnonzero(targets == index) for index in range(len(class_names))]


def _lowest(groups: Sequence[np.ndarray], taken: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The `taken` positions of lowest key out of each group, ascending."""
    chosen = [
        group[np.argsort(keys[group], kind="stable")[:count]]
        for group, count in zip(groups, taken, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _keys(seed: int, domain: int, rows: np.ndarray) -> np.ndarray:
    """A random uint64 for each row, of its number alone: raw output of Philox, which numpy keeps stable between versions."""
    generator = np.random.Philox(key=np.array([seed, domain], dtype=np.uint64))
    return generator.random_raw(int(rows.max()) + 1)[rows]
