"""Reservoir: a uniform sample of fixed size of a stream whose length nobody knows.

Algorithm R of J. S. Vitter, "Random sampling with a reservoir", ACM Trans. Math. Softw. 11 (1985) 37: row number t of the stream (from 0)
is kept with probability capacity / (t + 1), in a place drawn at random. A row's draw is keyed by (seed, t), so the sample does not depend
on how the stream is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_PLACES, _REPLAYED = 201, 202
"""Domains of the random numbers."""


class Reservoir:
    """At most `capacity` rows of a stream, each row seen so far with the same probability.

    Args:
        capacity: 0 keeps none. seed: of all draws.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity, self.n_seen = capacity, 0
        self._seed = seed
        self.features, self.targets = np.empty((0, 0)), np.empty(0)

    def __len__(self) -> int:
        """Rows that are held."""
        return len(self.targets)

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Let rows [S, F] with targets [S] pass, in their order."""
        n_new = len(targets)
        room = min(max(self.capacity - len(self), 0), n_new)
        if room:
            empty = not len(self)
            self.features = (
                np.array(features[:room]) if empty else np.concatenate([self.features, features[:room]])
            )
            self.targets = (
                np.array(targets[:room]) if empty else np.concatenate([self.targets, targets[:room]])
            )
        places = self._places(self.n_seen, n_new)
        for row in range(room, n_new):
            if places[row] < self.capacity:
                self.features[places[row]] = features[row]
                self.targets[places[row]] = targets[row]
        self.n_seen += n_new

    def draw(self, n: int, step: int) -> np.ndarray:
        """int64: positions of `n` different rows, or of all if there are fewer; `step` keys the draw."""
        n = min(n, len(self))
        if not n:
            return np.empty(0, np.int64)
        rng = np.random.Generator(np.random.Philox(key=[self._seed, _REPLAYED], counter=[0, 0, 0, step]))
        return np.asarray(rng.choice(len(self), n, replace=False), np.int64)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All that changes."""
        return {"features": self.features, "targets": self.targets, "n_seen": np.array(self.n_seen)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `to_arrays` gave."""
        self.features, self.targets = np.array(arrays["features"]), np.array(arrays["targets"])
        self.n_seen = int(arrays["n_seen"])

    def _places(self, first: int, n: int) -> np.ndarray:
        """int64 [n]: for row number t of the stream from `first` on, a number drawn from 0 to t."""
        skipped = first % 4  # Philox makes four numbers at a time
        bits = (
            np.random.Philox(key=[self._seed, _PLACES]).advance(first // 4).random_raw(n + skipped)[skipped:]
        )
        shares = (bits >> np.uint64(11)) * 2.0**-53
        return np.asarray(shares * (first + 1 + np.arange(n)), np.int64)
