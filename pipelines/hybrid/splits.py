"""What a network learns from, is watched on and is tested on; and the 8 x 8 digits as that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.config import DataConfig

_TEST, _VALIDATION = 0.2, 0.25
"""Of the digits: the share for the test, and the share of the rest for validation."""


class Part(NamedTuple):
    """Some samples.

    Attributes:
        inputs: [S, ...]; images are uint8 [S, size, size, 3], digits float32 [S, 64] in [0, 1].
        targets: int64 [S], class indices.
    """

    inputs: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, eq=False)
class Splits:
    """The data of one seed.

    Attributes:
        source: in words. class_names: by class index.
        train, validation, test: validation decides nothing; it is watched.
        left_out: files that could not be read, with the reason.
    """

    source: str
    class_names: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    left_out: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Samples by part."""
        return {name: len(getattr(self, name).targets) for name in ("train", "validation", "test")}

    def digest(self) -> str:
        """Of all samples."""
        found = hashlib.blake2b(digest_size=16)
        for part in (self.train, self.validation, self.test):
            found.update(np.ascontiguousarray(part.inputs).data)
            found.update(np.ascontiguousarray(part.targets).data)
        return found.hexdigest()


def digits_splits(seed: int) -> Splits:
    """scikit-learn's handwritten digits, 60/20/20, drawn by `seed`, each class in proportion."""
    from pipelines.data.splits import split_positions
    from pipelines.data.table import load

    config = DataConfig(name="digits", test_fraction=_TEST, validation_fraction=_VALIDATION)
    table = load(config)
    names = tuple(str(digit) for digit in range(10))
    targets = np.asarray(table.target).astype(np.int64)
    inputs = (table.features / 16.0).astype(np.float32)
    rows = np.arange(len(targets))
    train, validation, test = (
        Part(inputs[positions], targets[positions])
        for positions in split_positions(rows, targets, names, config, seed)
    )
    return Splits("scikit-learn's digits, 8 x 8 pixels", names, train, validation, test)
