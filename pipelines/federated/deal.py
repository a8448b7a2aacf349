"""Which client has which rows: the same for whoever asks, of the seed, the row numbers and the classes alone.

A client reads the data source itself and keeps its own rows; nobody sends any. Three ways to deal:

- ``iid``: in random order, to shards whose sizes differ by one row at most.
- ``by-class``: as ``iid``, but ordered by class first, so that a client sees one class or few: the uneven deal of H. B. McMahan et al.,
  "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017 (arXiv 1602.05629), with one shard a client.
- ``dirichlet:ALPHA``: the rows of each class in proportions drawn from a symmetric Dirichlet distribution over the clients
  (M. Yurochkin et al., ICML 2019, arXiv 1905.12022): the smaller ALPHA, the more uneven in classes and in sizes.

Training, validation and test rows are dealt alike, each by itself, after the split that central training makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.losses.base import Task
from pipelines.data.splits import draw, split_positions
from pipelines.data.table import Table, load
from pipelines.data.targets import select_targets
from pipelines.federated.settings import FederatedSettings

SPLITS = ("train", "validation", "test")
_KEYS, _PROPORTIONS = 101, 102
"""Domains of the random numbers."""
_MAX_DRAWS = 1000
LEAST_ROWS = 5
"""Training rows of a client: statistics of fewer are all but the rows themselves."""


@dataclass(frozen=True, eq=False)
class Shard:
    """What one client holds.

    Attributes:
        raw: float64 [S, F_raw] of each split. targets: [S]. rows: int64 [S], numbers in the source, ascending.
        feature_names, class_names, target_name, source, digest: of the whole data set.
    """

    raw: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...] | None
    target_name: str
    source: str
    digest: str


def read_shard(config: DataConfig, task: Task, seed: int, settings: FederatedSettings, client: int) -> Shard:
    """Read the data source and keep the rows of `client`.

    Raises:
        ConfigError, DataError: as `prepare` refuses data; or clients would have too few rows.
    """
    table: Table = load(config)
    rows, targets, class_names = select_targets(table, config, task)
    kept = draw(rows, targets, class_names, config, seed)
    rows, targets = rows[kept], targets[kept]
    own_test = rows >= len(table.target) - table.n_test if table.n_test else None
    parts = split_positions(rows, targets, class_names, config, seed, own_test)
    owners = dealt([(rows[part], targets[part]) for part in parts], len(class_names or ()), settings, seed)
    mine = {name: part[owner == client] for name, part, owner in zip(SPLITS, parts, owners, strict=True)}
    return Shard(
        {name: table.features[rows[positions]] for name, positions in mine.items()},
        {name: targets[positions] for name, positions in mine.items()},
        {name: rows[positions] for name, positions in mine.items()},
        table.feature_names, class_names, table.target_name, table.source, table.digest,
    )  # fmt: skip


def dealt(
    parts: list[tuple[np.ndarray, np.ndarray]], n_classes: int, settings: FederatedSettings, seed: int
) -> list[np.ndarray]:
    """The client, int64 [S], of each sample of each part.

    Args:
        parts: (row numbers, targets) of the training split first, then the others.

    Raises:
        ConfigError: a client would have fewer than `LEAST_ROWS` training rows.
    """
    n, n_train = settings.clients, len(parts[0][0])
    if n * LEAST_ROWS > n_train:
        problem = f"each needs {LEAST_ROWS} training rows, and there are {n_train}"
        raise ConfigError("--clients", n, problem, str(max(n_train // LEAST_ROWS, 1)))
    if settings.alpha is None:
        by_class = settings.kind == "by-class"
        return [_in_turn(rows, targets if by_class else None, n, seed) for rows, targets in parts]
    for attempt in range(_MAX_DRAWS):
        shares = _proportions(n, n_classes, settings.alpha, seed, attempt)
        owners = [_by_share(rows, targets, shares, seed) for rows, targets in parts]
        if (np.bincount(owners[0], minlength=n) >= LEAST_ROWS).all():
            return owners
    problem = f"leaves one of {n} clients fewer than {LEAST_ROWS} training rows in each of {_MAX_DRAWS} draws; ask for fewer clients"
    raise ConfigError("--split", settings.split, problem, f"dirichlet:{settings.alpha * 10:g}")


def _in_turn(rows: np.ndarray, classes: np.ndarray | None, n_clients: int, seed: int) -> np.ndarray:
    keys = _keys(rows, seed)
    order = np.argsort(keys, kind="stable") if classes is None else np.lexsort((keys, classes))
    owner = np.empty(len(rows), np.int64)
    owner[order] = np.arange(len(rows)) * n_clients // max(len(rows), 1)
    return owner


def _proportions(n_clients: int, n_classes: int, alpha: float, seed: int, attempt: int) -> np.ndarray:
    """float64 [K, N], rows that add up to 1."""
    bits = np.random.Philox(key=[seed, _PROPORTIONS], counter=[0, 0, 0, attempt])
    return np.random.Generator(bits).dirichlet(np.full(n_clients, alpha), n_classes)


def _by_share(rows: np.ndarray, classes: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    keys = _keys(rows, seed)
    owner = np.empty(len(rows), np.int64)
    for index, share in enumerate(shares):
        mine = np.flatnonzero(classes == index)
        mine = mine[np.argsort(keys[mine], kind="stable")]
        ends = np.floor(np.cumsum(share)[:-1] * len(mine) + 0.5)
        owner[mine] = np.searchsorted(ends, np.arange(len(mine)), side="right")
    return owner


def _keys(rows: np.ndarray, seed: int) -> np.ndarray:
    """A random uint64 for each row, of its number alone."""
    if not len(rows):
        return np.empty(0, np.uint64)
    return np.random.Philox(key=[seed, _KEYS]).random_raw(int(rows.max()) + 1)[rows]
