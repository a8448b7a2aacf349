"""ContinualTrainer: a model that learns from chunks as they come, and replays a sample of those before.

::

    from pipelines.continual import ContinualTrainer

    trainer = ContinualTrainer(config, classes=["0", "1", "2", "3"])
    for features, targets in stream:
        trainer.partial_fit(features, targets)
    trainer.predict(rows)
    trainer.save("my-model")          # ContinualTrainer.load("my-model") goes on to the same bits

Experience replay (A. Chaudhry et al., "On tiny episodic memories in continual learning", arXiv 1902.10486): each step's batch is some new
rows and as many old ones, drawn from a reservoir; rows enter it once their chunk has been learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CheckpointError, ConfigError, DataError, ExecutionError, nearest
from orchestrator.models.model import Model
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.loop import epoch_order, evaluate_samples, used_by
from orchestrator.training.reports import Samples, Totals
from orchestrator.training.task import TrainingTask
from pipelines.compose import build_backend, build_coordinator, build_loss
from pipelines.continual.reservoir import Reservoir
from pipelines.continual.settings import Replay, check_config
from pipelines.continual.state import StreamState, group_of
from pipelines.data.datasets import PreparedData, SplitRows
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.table import Table, table_from_arrays
from pipelines.merits import merits_of
from pipelines.piecewise import model_for
from pipelines.predictor import Predictor, read_structure, write_structure
from pipelines.run_folder import RunFolder, read_arrays, write_arrays
from pipelines.run_setup import assemble

_STATE = "state.npz"


class ContinualTrainer:
    """Learns from chunks; a context manager, which closes what runs its circuits.

    The preprocessing is fitted to the first chunk and then stays. ``run.epochs`` and the shares of ``data`` mean nothing here.

    Args:
        config: as for `Trainer`; ``data`` says how rows are preprocessed.
        classes: names of all classes that may come, in order; None: those of the first chunk. None for regression.
        replay: how much of the past is replayed.
        preprocessing: fitted elsewhere, in place of fitting to the first chunk.

    Attributes:
        state: parameters and what else changes; reservoir: the rows that are kept.
        class_names, feature_names: known from the first chunk on.

    Raises:
        ConfigError: a configuration that a stream has no use for; the text says which key.
    """

    def __init__(
        self,
        config: TrainingConfig | None = None,
        *,
        classes: Sequence[str] | None = None,
        replay: Replay | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.config, self.replay = config or TrainingConfig(), replay or Replay()
        check_config(self.config)
        self._is_classes = build_loss(self.config).task != "regression"
        if classes is not None and not self._is_classes:
            problem = f"{self.config.loss.name} learns values, which have no classes"
            raise ConfigError("classes", list(classes), problem, "None")
        self.class_names = None if classes is None else tuple(str(name) for name in classes)
        self.feature_names: tuple[str, ...] = ()
        self.preprocessing = preprocessing
        self.reservoir = Reservoir(self.replay.capacity, self.config.run.seed)
        self._task: TrainingTask | None = None
        self.state = StreamState()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def partial_fit(self, features: Any, targets: Any) -> Self:
        """Learn from a chunk. An error leaves the trainer as it was before the chunk.

        Args:
            features: raw rows [S, F_raw], an array or a data frame. targets: [S], classes (names or whole numbers) or values.

        Raises:
            DataError: shapes, columns or classes other than before, or values that are not finite.
            ExecutionError: the loss is not finite.
        """
        table = table_from_arrays(features, targets)
        before = self.class_names, self.feature_names, self.preprocessing
        try:
            raw, wanted = table.features, self._indices(table)
            self._check_columns(table)
            if self._task is None:
                self._begin(table, wanted)
            assert self._task is not None
            assert self.preprocessing is not None
            learnt = self._learn(Samples(self.preprocessing.transform(raw), wanted))
        except BaseException:
            if self.state.n_chunks == 0:
                self.class_names, self.feature_names, self.preprocessing = before
                self._task = None
            raise
        self.state = learnt
        self.reservoir.add(raw, wanted)
        return self

    def predict(self, features: Any) -> np.ndarray:
        """Class names or values for raw rows [S, F_raw], computed exactly in this process."""
        return self.predictor.predict(features)

    def merits(
        self, features: np.ndarray, targets: Any, *, purpose: str = "test"
    ) -> tuple[np.ndarray, Totals]:
        """float64 [S], higher is better: 1 or 0 for right or wrong, minus the squared error for values; on the configured backend.

        Args:
            purpose: keys the shot noise, with the steps done.

        Returns:
            the merits, and what they took, which does not count in `state`.
        """
        task, preprocessing = self._ready
        wanted = self._indices(table_from_arrays(features, targets))
        outputs, used = evaluate_samples(
            task.model, self.state.params, preprocessing.transform(features), self._coordinator,
            shots=task.shots, seed=task.run.seed, purpose=purpose, step=self.state.n_steps,
        )  # fmt: skip
        predicted = task.loss.predict(outputs)["prediction"]
        return merits_of(predicted, wanted, is_classes=self._is_classes), used

    @property
    def predictor(self) -> Predictor:
        """The model as it is now, for raw rows.

        Raises:
            DataError: it has learnt nothing yet.
        """
        task, preprocessing = self._ready
        return Predictor(
            task.model,
            self.state.params,
            preprocessing,
            self.config.loss.name,
            self.feature_names,
            self.class_names,
        )

    def save(self, folder: str | Path) -> None:
        """Write all that `load` needs to go on; a save that is cut off leaves the one before. No pickle.

        Raises:
            DataError: it has learnt nothing yet. CheckpointError: another trainer is saved there.
        """
        task, preprocessing = self._ready
        home = RunFolder(Path(folder))
        arrays = self.state.to_arrays()
        arrays |= {f"reservoir/{key}": value for key, value in self.reservoir.to_arrays().items()}
        about = {
            "class_names": None if self.class_names is None else list(self.class_names),
            "feature_names": list(self.feature_names),
            "replay": [self.replay.capacity, self.replay.n_per_batch, self.replay.passes],
        }
        if (home.path / _STATE).is_file():
            _check_same(home, about)
        else:
            home.path.mkdir(parents=True, exist_ok=True)
            write_structure(home.path / "model", task.model)
            write_arrays(home.path / "preprocessing.npz", preprocessing.to_arrays())
            home.write_json("about.json", about)
            home.write_config(self.config)
        write_arrays(home.path / _STATE, arrays)  # all that changes, in one file

    @classmethod
    def load(cls, folder: str | Path) -> ContinualTrainer:
        """What `save` wrote.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        home = RunFolder(Path(folder))
        about, arrays = home.read_json("about.json"), read_arrays(home.path / _STATE)
        preprocessing = Preprocessing.from_arrays(read_arrays(home.path / "preprocessing.npz"))
        trainer = cls(
            home.read_config(),
            classes=about["class_names"],
            replay=Replay(*about["replay"]),
            preprocessing=preprocessing,
        )
        trainer.feature_names = tuple(about["feature_names"])
        trainer.reservoir.restore(group_of(arrays, "reservoir"))
        trainer.state = StreamState.from_arrays(arrays)
        model = read_structure(home.path / "model")
        blank = Samples(np.zeros((1, preprocessing.n_features)), np.zeros(1, trainer._kind))
        trainer._task = trainer._assembled(model, blank)
        return trainer

    def close(self) -> None:
        """Close what runs the circuits; a later call opens it again."""
        if "_coordinator" in self.__dict__:
            self._coordinator.dispatcher.close()
            del self._coordinator

    # Learning

    def _learn(self, chunk: Samples) -> StreamState:
        """The state after all passes over the chunk; nothing of this trainer is changed."""
        task, preprocessing = self._ready
        state = self.state
        for _ in range(self.replay.passes):
            order = epoch_order(task.run.seed, state.n_passes, len(chunk.targets))
            for first in range(0, len(order), task.run.batch_size):
                rows = order[first : first + task.run.batch_size]
                new = Samples(*(part[rows] for part in chunk))
                state = self._step(task, state, self._with_replayed(new, state.n_steps, preprocessing))
            state = replace(state, n_passes=state.n_passes + 1)
        return replace(state, n_chunks=state.n_chunks + 1)

    def _step(self, task: TrainingTask, state: StreamState, batch: Samples) -> StreamState:
        """One gradient and one update.

        Raises:
            ExecutionError: the loss is not finite.
        """
        estimate = batch_gradient(
            task, state.params, batch, self._coordinator, step=state.n_steps, state=state.rule
        )
        if not (np.isfinite(estimate.loss) and np.isfinite(estimate.gradient).all()):
            raise ExecutionError(
                f"step {state.n_steps + 1}: the loss is {estimate.loss}; lower optimizer.learning_rate"
            )
        update, optimizer, totals = estimate.update, state.optimizer, state.totals
        if update is None:
            rate = task.optimizer.learning_rate
            update, optimizer = task.update.update(estimate.gradient, optimizer, state.params, rate)
        for evaluation in estimate.evaluations:
            totals = totals.plus(*used_by(evaluation))
        return replace(
            state,
            params=np.where(task.model.frozen, state.params, state.params + update),
            optimizer=optimizer,
            rule=estimate.state,
            n_steps=state.n_steps + 1,
            totals=totals,
        )

    def _with_replayed(self, new: Samples, step: int, preprocessing: Preprocessing) -> Samples:
        """The batch: new rows first, then old ones."""
        wanted = len(new.targets) if self.replay.n_per_batch is None else self.replay.n_per_batch
        old = self.reservoir.draw(wanted, step)
        if not len(old):
            return new
        features = preprocessing.transform(self.reservoir.features[old])
        return Samples(
            np.concatenate([new.features, features]),
            np.concatenate([new.targets, self.reservoir.targets[old]]),
        )

    def _begin(self, table: Table, targets: np.ndarray) -> None:
        """Fit the preprocessing, unless it is given, and build the model, from the first chunk."""
        if self.preprocessing is None:
            self.preprocessing = Preprocessing.fit(table.features, self.config.data, table.feature_names)
        self.feature_names = table.feature_names
        model = model_for(self.config, len(self.class_names or ()))
        self._task = self._assembled(model, Samples(self.preprocessing.transform(table.features), targets))
        start = model.initial_params(self.config.run.seed)
        self.state = StreamState(params=start, optimizer=self._task.update.init(start))

    def _assembled(self, model: Model, samples: Samples) -> TrainingTask:
        """The task, with what configuration, model and data cannot do together refused."""
        assert self.preprocessing is not None
        none = Samples(samples.features[:0], samples.targets[:0])
        no_rows = np.empty(0, np.int64)
        data = PreparedData(
            train=samples, validation=none, test=none,
            rows=SplitRows(np.arange(len(samples.targets)), no_rows, no_rows),
            preprocessing=self.preprocessing, feature_names=self.feature_names, class_names=self.class_names,
            target_name="target", source="stream", digest="", ignored=(), task=build_loss(self.config).task,
            raw_example=np.empty((0, len(self.feature_names))),
        )  # fmt: skip
        return assemble(self.config, model, data).task

    def _indices(self, table: Table) -> np.ndarray:
        """Targets [S] as class indices, or as values.

        Raises:
            DataError: a class that was not announced, or a value that is no class or no number.
        """
        if not self._is_classes:
            if table.target.dtype.kind not in "bif":
                raise DataError(f"targets: {table.target[0]!r} in row 1 is no number")
            return table.target.astype(np.float64)
        target = table.target
        if target.dtype.kind == "f":
            if (target != np.rint(target)).any():
                raise DataError(f"targets: {target[target != np.rint(target)][0]} is no class")
            target = target.astype(np.int64)
        names = [str(name) for name in target]
        if self.class_names is None:
            self.class_names = tuple(str(name) for name in np.unique(target))
        place = {name: index for index, name in enumerate(self.class_names)}
        for row, name in enumerate(names):
            if name not in place:
                close = nearest(name, place)
                hint = f"; did you mean {close!r}?" if close else ""
                raise DataError(
                    f"targets: class {name!r} in row {row + 1} is none of {', '.join(self.class_names)}{hint}; "
                    "name all classes beforehand: ContinualTrainer(classes=...)"
                )
        return np.array([place[name] for name in names], np.int64)

    def _check_columns(self, table: Table) -> None:
        n_columns = len(self.feature_names)
        if n_columns and table.features.shape[1] != n_columns:
            raise DataError(f"rows of {table.features.shape[1]} columns; the first chunk had {n_columns}")

    @property
    def _kind(self) -> type:
        return np.int64 if self._is_classes else np.float64

    @property
    def _ready(self) -> tuple[TrainingTask, Preprocessing]:
        if self._task is None or self.preprocessing is None:
            raise DataError("nothing has been learnt yet: call partial_fit first")
        return self._task, self.preprocessing

    @cached_property
    def _coordinator(self) -> Coordinator:
        return build_coordinator(self.config.fleet, build_backend(self.config))


def _check_same(home: RunFolder, about: dict[str, Any]) -> None:
    if home.read_json("about.json") != about:
        raise CheckpointError(f"{home.path} holds another trainer; save to a folder of its own")
