"""Streams: a data set cut into tasks that come one after the other, each in chunks.

- ``classes:K``: the classes come K at a time (class-incremental): a task is K classes the model has not seen.
- ``rotated:DEGREES``: the same question, but each task's standardised columns are turned by so many degrees more, pair by pair
  (domain-incremental).
- ``shifted:SD``: likewise, each task's columns lie so many standard deviations further off.
- ``time``: rows in the order of the file, in sections of equal length.

Rotation and shift are in units of the whole training split: they are what happens to the stream, and nothing the trainer is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, nearest
from pipelines.compose import build_loss
from pipelines.data.splits import draw, split_positions
from pipelines.data.table import load
from pipelines.data.targets import select_targets
from pipelines.piecewise import check_read_whole

KINDS = ("classes", "rotated", "shifted", "time")
_DEFAULTS = {"classes": 2.0, "rotated": 45.0, "shifted": 1.0}
_ORDER = 203


@dataclass(frozen=True, eq=False)
class StreamTask:
    """One task.

    Attributes:
        name: for people.
        features, targets: raw training rows [S, F_raw] in the order in which they come, and what is to be learnt [S].
        test_features, test_targets: those it is tested on, and test_rows: their numbers in the source.
    """

    name: str
    features: np.ndarray
    targets: np.ndarray
    test_features: np.ndarray
    test_targets: np.ndarray
    test_rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Stream:
    """Tasks, in the order in which they come.

    Attributes:
        class_names: None for regression; targets are indices of them. feature_names: of the raw columns.
        source, digest: of the data set.
    """

    tasks: tuple[StreamTask, ...]
    class_names: tuple[str, ...] | None
    feature_names: tuple[str, ...]
    source: str
    digest: str

    def chunks(self, n_rows: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(task, features, targets) of each chunk of at most `n_rows`; no chunk spans two tasks."""
        for number, task in enumerate(self.tasks):
            for first in range(0, len(task.targets), n_rows):
                yield number, task.features[first : first + n_rows], task.targets[first : first + n_rows]

    def labels(self, targets: np.ndarray) -> np.ndarray:
        """Class names, as `ContinualTrainer` takes them; values as they are."""
        return targets if self.class_names is None else np.array(self.class_names)[targets]


def stream_kind(stream: str) -> tuple[str, float]:
    """(one of `KINDS`, its number or its default).

    Raises:
        ConfigError: no such stream, or a number that cannot be.
    """
    kind, colon, text = stream.partition(":")
    if kind not in KINDS or (kind == "time" and colon):
        problem = "must be classes:K, rotated:DEGREES, shifted:SD or time"
        raise ConfigError("--stream", stream, problem, nearest(kind, KINDS))
    if not colon:
        return kind, _DEFAULTS.get(kind, 0.0)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (kind == "classes" and (number < 1 or number != int(number))):
        raise ConfigError("--stream", stream, "needs a number after the colon", f"{kind}:{_DEFAULTS[kind]:g}")
    return kind, number


def read_stream(config: TrainingConfig, stream: str, n_tasks: int) -> Stream:
    """The data set that ``config.data`` names, as a stream; validation rows are training rows here.

    Args:
        n_tasks: for streams other than ``classes``.

    Raises:
        ConfigError, DataError: data and stream do not go together.
    """
    kind, number = stream_kind(stream)
    loss, seed = build_loss(config), config.run.seed
    if kind == "classes" and loss.task != "multiclass":
        problem = f"needs a loss of several classes, and {config.loss.name} tells at most two apart or learns values"
        raise ConfigError("--stream", stream, problem, "rotated:45")
    check_read_whole(
        config.data, "the command (not ContinualTrainer.partial_fit, which takes a stream of any length)"
    )
    data = config.data.model_copy(update={"validation_fraction": 0.0})
    table = load(data)
    rows, targets, class_names = select_targets(table, data, loss.task)
    kept = draw(rows, targets, class_names, data, seed)
    rows, targets = rows[kept], targets[kept]
    own_test = rows >= len(table.target) - table.n_test if table.n_test else None
    train, _, test = split_positions(rows, targets, class_names, data, seed, own_test)
    if not len(test):
        raise ConfigError("data.test_fraction", data.test_fraction, "nothing is left to test on", "0.2")
    cut = _Cut(table.features[rows], targets, rows, train, test, seed)
    if kind == "classes":
        tasks = _by_class(cut, class_names or (), int(number))
    elif n_tasks < 2 or n_tasks > min(len(train), len(test)):
        most = min(len(train), len(test))
        raise ConfigError("--tasks", n_tasks, f"should be 2 to {most}", str(min(max(n_tasks, 2), most)))
    else:
        tasks = _by_time(cut, n_tasks) if kind == "time" else _drifting(cut, kind, number, n_tasks)
    for task in tasks:
        if not len(task.targets) or not len(task.test_targets):
            split = "test on" if len(task.targets) else "train on"
            raise ConfigError("--stream", stream, f"leaves no row of task {task.name!r} to {split}", "time")
    return Stream(tuple(tasks), class_names, table.feature_names, table.source, table.digest)


@dataclass(frozen=True, eq=False)
class _Cut:
    """All samples, and the positions of those that are trained and tested on."""

    features: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    train: np.ndarray
    test: np.ndarray
    seed: int

    def shuffled(self) -> np.ndarray:
        """Training positions in the order in which they come."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, _ORDER]))
        return np.asarray(rng.permutation(self.train))

    def task(self, name: str, train: np.ndarray, test: np.ndarray) -> StreamTask:
        """A task of these positions."""
        return StreamTask(
            name, self.features[train], self.targets[train],
            self.features[test], self.targets[test], self.rows[test],
        )  # fmt: skip


def _by_class(cut: _Cut, names: tuple[str, ...], n_each: int) -> list[StreamTask]:
    if n_each >= len(names):
        problem = f"is one task of all {len(names)} classes"
        raise ConfigError("--stream", f"classes:{n_each}", problem, f"classes:{max(len(names) // 2, 1)}")
    order = cut.shuffled()
    tasks = []
    for first in range(0, len(names), n_each):
        mine = np.arange(first, min(first + n_each, len(names)))
        train, test = (part[np.isin(cut.targets[part], mine)] for part in (order, cut.test))
        tasks.append(cut.task(", ".join(names[index] for index in mine), train, test))
    return tasks


def _by_time(cut: _Cut, n_tasks: int) -> list[StreamTask]:
    trains, tests = np.array_split(cut.train, n_tasks), np.array_split(cut.test, n_tasks)
    parts = zip(trains, tests, strict=True)
    return [
        cut.task(f"rows {cut.rows[train[0]] + 1}–{cut.rows[train[-1]] + 1}", train, test)
        for train, test in parts
    ]


def _drifting(cut: _Cut, kind: str, number: float, n_tasks: int) -> list[StreamTask]:
    mean, deviation = cut.features[cut.train].mean(axis=0), cut.features[cut.train].std(axis=0)
    tasks = []
    for place, train in enumerate(np.array_split(cut.shuffled(), n_tasks)):
        amount = place * number
        unit = "°" if kind == "rotated" else " sd"
        as_is = cut.task(f"{kind} {amount:g}{unit}", train, cut.test)
        seen, tested = (
            _moved(values, mean, deviation, kind, amount) for values in (as_is.features, as_is.test_features)
        )
        tasks.append(StreamTask(as_is.name, seen, as_is.targets, tested, as_is.test_targets, as_is.test_rows))
    return tasks


def _moved(
    features: np.ndarray, mean: np.ndarray, deviation: np.ndarray, kind: str, amount: float
) -> np.ndarray:
    """Rows shifted by `amount` standard deviations, or turned by so many degrees in each pair of neighbouring columns."""
    if kind == "shifted":
        return np.asarray(features + amount * deviation)
    if not amount:
        return features
    standard = (features - mean) / np.where(deviation == 0, 1.0, deviation)
    cosine, sine = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    n_pairs = features.shape[1] // 2
    first, second = standard[:, 0 : 2 * n_pairs : 2], standard[:, 1 : 2 * n_pairs : 2]
    turned = standard.copy()
    turned[:, 0 : 2 * n_pairs : 2] = cosine * first - sine * second
    turned[:, 1 : 2 * n_pairs : 2] = sine * first + cosine * second
    return np.asarray(turned * deviation + mean)
