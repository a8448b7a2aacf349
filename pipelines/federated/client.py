"""FederatedClient: one client, with the rows that stay where it is. What leaves it are sums, counts, parameters and scores."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.losses.base import Loss
from orchestrator.models.plain import model_from_plain
from orchestrator.training.loop import evaluate_samples, initial_state, train
from orchestrator.training.reports import EpochReport, Samples
from orchestrator.training.state import TrainState
from orchestrator.training.task import TrainingTask
from pipelines.compose import build_backend, build_coordinator, build_loss
from pipelines.data.datasets import PreparedData, SplitRows
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.statistics import Moments
from pipelines.federated.deal import SPLITS, Shard, read_shard
from pipelines.federated.messages import Message
from pipelines.federated.settings import FederatedSettings
from pipelines.merits import merits_of
from pipelines.run_setup import assemble

_NOISE = 103
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class ClientMaker:
    """How a client is made, wherever it is to live: from the configuration and its number."""

    config: TrainingConfig
    settings: FederatedSettings

    def __call__(self, number: int) -> FederatedClient:
        """Client `number`, which reads its shard now."""
        return FederatedClient(self.config, self.settings, number)


class FederatedClient:
    """One client. All methods take and return plain messages, so that it may live in another process.

    Args:
        config: as trained centrally; ``run.epochs`` is replaced. number: from 0.

    Raises:
        ConfigError, DataError: the data cannot be used.
    """

    def __init__(self, config: TrainingConfig, settings: FederatedSettings, number: int) -> None:
        self._settings, self._number = settings, number
        self._shard: Shard = read_shard(
            config.data, build_loss(config).task, config.run.seed, settings, number
        )
        changes = {
            "seed": client_seed(config.run.seed, number),
            "epochs": settings.rounds * settings.local_epochs,
        }
        self._config = config.model_copy(
            update={
                "run": config.run.model_copy(update=changes),
                "fleet": config.fleet.model_copy(update={"dispatcher": "serial"}),
            }
        )
        self._task: TrainingTask | None = None
        self._samples: dict[str, Samples] = {}

    # Before training

    def about(self, message: Message) -> Message:
        """What the server has to know of the data: names, digest, counts of rows."""
        shard = self._shard
        n_classes = len(shard.class_names or ())
        counts = (
            [np.bincount(shard.targets[name], minlength=n_classes) for name in SPLITS] if n_classes else []
        )
        return {
            "rows": {name: len(shard.rows[name]) for name in SPLITS},
            "class_counts": np.array(counts),
            "feature_names": shard.feature_names,
            "class_names": shard.class_names,
            "source": shard.source,
            "digest": shard.digest,
        }

    def moments(self, message: Message) -> Message:
        """Count, means, centred products (of pairs of columns where PCA needs them), least and greatest of the training rows."""
        found = Moments.of(self._shard.raw["train"], with_products=self._config.data.n_components is not None)
        return vars(found)

    def prepare(self, message: Message) -> Message:
        """Take the common model and preprocessing; raw rows become features.

        Raises:
            InputError: they do not go with the data here.
        """
        model = model_from_plain(message["model"], message["model_arrays"])
        preprocessing = Preprocessing.from_arrays(message["preprocessing"])
        shard = self._shard
        self._samples = {
            name: Samples(preprocessing.transform(shard.raw[name]), shard.targets[name]) for name in SPLITS
        }
        data = PreparedData(
            train=self._samples["train"],
            validation=self._samples["validation"],
            test=self._samples["test"],
            rows=SplitRows(*(shard.rows[name] for name in SPLITS)),
            preprocessing=preprocessing,
            feature_names=shard.feature_names,
            class_names=shard.class_names,
            target_name=shard.target_name,
            source=shard.source,
            digest=shard.digest,
            ignored=(),
            task=build_loss(self._config).task,
            raw_example=shard.raw["train"][:0],
        )
        self._task = assemble(self._config, model, data).task
        return {}

    # Training

    def train(self, message: Message) -> Message:
        """``local_epochs`` passes from the common ``params`` of round number ``round`` (from 0), with an optimizer that begins anew.

        Returns:
            ``params`` after them (clipped and noisy, if that is asked for), ``n`` rows, mean ``loss`` of the last pass, ``circuits``
            and ``shots``.
        """
        task = replace(self._ready, validation=None)
        n_epochs, start = self._settings.local_epochs, np.array(message["params"], np.float64)
        first = int(message["round"]) * n_epochs
        state = TrainState(
            params=start,
            optimizer=task.update.init(start),
            best_params=start.copy(),
            epoch=first,
            step=first * task.n_batches,
        )
        reports = self._epochs(task, state, n_epochs)
        return {
            "params": self._guarded(start, state.params, int(message["round"])),
            "n": len(task.train.targets),
            "loss": reports[-1].metrics["train/epoch_loss"],
            "circuits": state.totals.n_circuits,
            "shots": state.totals.n_shots,
        }

    def alone(self, message: Message) -> Message:
        """Train on this shard only, for as many passes as all rounds take, from the common start ``params``; its best parameters."""
        task = self._ready
        state = initial_state(task, message["params"])
        self._epochs(task, state, task.run.epochs)
        return {
            "params": state.best_params,
            "circuits": state.totals.n_circuits,
            "shots": state.totals.n_shots,
        }

    def validate(self, message: Message) -> Message:
        """Mean loss and merit of ``params`` [P] on the validation rows here; nothing of single rows."""
        found = self._scored(message["params"], "validation", int(message["round"]))
        loss, merits, circuits, shots = found
        merit = float(merits.mean()) if len(merits) else 0.0
        return {"n": len(merits), "loss": loss, "merit": merit, "circuits": circuits, "shots": shots}

    def test(self, message: Message) -> Message:
        """Merit of each of the models ``params`` [M, P] for each test row here, [M, S], with the row numbers and mean losses [M]."""
        found = [self._scored(params, "test", 0) for params in message["params"]]
        return {
            "rows": self._shard.rows["test"],
            "merits": np.array([merits for _, merits, _, _ in found]),
            "losses": np.array([loss for loss, _, _, _ in found]),
            "circuits": sum(circuits for _, _, circuits, _ in found),
            "shots": sum(shots for _, _, _, shots in found),
        }

    def close(self) -> None:
        """Close what runs the circuits."""
        if "_coordinator" in self.__dict__:
            self._coordinator.dispatcher.close()

    @cached_property
    def _coordinator(self) -> Coordinator:
        return build_coordinator(self._config.fleet, build_backend(self._config))

    @property
    def _ready(self) -> TrainingTask:
        assert self._task is not None, "prepare comes first"
        return self._task

    def _epochs(self, task: TrainingTask, state: TrainState, n_epochs: int) -> list[EpochReport]:
        """So many epochs of the training loop."""
        done: list[EpochReport] = []
        with closing(train(task, state, self._coordinator)) as reports:
            for report in reports:
                if isinstance(report, EpochReport):
                    done.append(report)
                    if len(done) == n_epochs:
                        break
        return done

    def _guarded(self, start: np.ndarray, end: np.ndarray, number: int) -> np.ndarray:
        """The parameters that leave: as they are, or by an update of limited norm with noise."""
        clip = self._settings.clip
        if clip is None:
            return end
        update = end - start
        norm = float(np.sqrt(np.sum(update**2)))
        update = update * min(1.0, clip / norm) if norm else update
        spread = (self._settings.noise_multiplier or 0.0) * clip
        bits = np.random.Philox(key=[self._config.run.seed, _NOISE], counter=[0, 0, 0, number])
        noise = np.random.Generator(bits).normal(0.0, 1.0, len(update)) * spread
        return np.where(self._ready.model.frozen, start, start + update + noise)

    def _scored(self, params: np.ndarray, split: str, step: int) -> tuple[float, np.ndarray, int, int]:
        """Mean loss, merits [S], circuits and shots; no circuits where there are no rows."""
        samples = self._samples[split]
        if not len(samples.targets):
            return 0.0, np.empty(0), 0, 0
        task = self._ready
        outputs, used = evaluate_samples(
            task.model, params, samples.features, self._coordinator,
            shots=task.shots, seed=task.run.seed, purpose=split, step=step,
        )  # fmt: skip
        loss, _ = task.loss.value_and_gradient(outputs, samples.targets)
        return loss, merits(task.loss, outputs, samples.targets), used.n_circuits, used.n_shots


def merits(loss: Loss, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [S], higher is better: 1 or 0 for right or wrong; minus the squared error for values."""
    return merits_of(loss.predict(outputs)["prediction"], targets, is_classes=loss.task != "regression")


def client_seed(seed: int, number: int) -> int:
    """The seed of a client's batches and shots; the first client has that of the run."""
    return (seed + number * _GOLDEN) % 2**63
