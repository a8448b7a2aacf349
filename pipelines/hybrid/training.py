"""One network, trained epoch by epoch, saved after each, and continued from wherever it stands to the same bits."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from orchestrator.errors import CheckpointError
from orchestrator.training.reports import EpochReport, StepReport, Totals
from pipelines.display.protocol import Progress
from pipelines.hybrid.networks import Network
from pipelines.hybrid.splits import Part, Splits
from pipelines.run_folder import read_arrays, write_arrays

_WARM_UP = 0.2
"""Share of the steps in which the learning rate rises; then it falls to 0 as half a cosine does."""
_ROWS_AT_ONCE = 128
"""When nothing is learnt."""


@dataclass(frozen=True)
class Plan:
    """How a network is trained: Adam, by cross-entropy.

    Attributes:
        learning_rate: of the front. rate_of_rest: of middle and head.
        seed: of the order of the samples.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    rate_of_rest: float
    seed: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training samples and the look at the validation samples after it.

    Attributes:
        train_loss, train_accuracy: as it went on, each batch before its step.
        val_loss, val_accuracy: after it.
        seconds: of both.
        n_circuits, n_shots, cost_usd: since the training began.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    n_circuits: int
    n_shots: int
    cost_usd: float


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Torch computes the same bits from the same numbers: deterministic algorithms, and so many threads, whatever the machine has."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


class Fit:
    """The training of one network.

    Args:
        network: as it was built; what `file` holds takes the place of its weights.
        splits: what it learns from. file: checkpoint, written after each epoch; None: none is.

    Attributes:
        history: of the epochs that are done.

    Raises:
        CheckpointError: the file is damaged, or of another network.
    """

    def __init__(self, network: Network, splits: Splits, plan: Plan, file: Path | None = None) -> None:
        self.network, self._splits, self._plan, self._file = network, splits, plan, file
        rest = [*network.middle.parameters(), *network.head.parameters()]
        self._optimizer = torch.optim.Adam(
            [{"params": list(network.front.parameters())}, {"params": rest}], lr=plan.learning_rate
        )
        self._rates = (plan.learning_rate, plan.rate_of_rest)
        self.history: list[Epoch] = []
        self._used = Totals()
        if file is not None and file.is_file():
            self._restore(file)

    def run(self, progress: Progress, on_epoch: Callable[[Epoch], None]) -> None:
        """Train what is left. `on_epoch` is told of each epoch once it is saved."""
        for number in range(len(self.history) + 1, self._plan.epochs + 1):
            self.history.append(self._epoch(number, progress))
            if self._file is not None:
                self._save(self._file)
            progress.on_epoch(self._report(self.history[-1]))
            on_epoch(self.history[-1])

    def predict(self, part: Part) -> tuple[np.ndarray, float, float]:
        """(Predicted classes int64 [S], mean loss, accuracy) of samples. Costs forward circuits."""
        self.network.eval()
        losses, predicted = [], []
        with torch.no_grad():
            for begin in range(0, len(part.targets), _ROWS_AT_ONCE):
                rows = slice(begin, begin + _ROWS_AT_ONCE)
                logits = self.network(torch.from_numpy(part.inputs[rows]))
                targets = torch.from_numpy(part.targets[rows])
                losses.append(functional.cross_entropy(logits, targets, reduction="none").numpy())
                predicted.append(logits.argmax(1).numpy())
        classes = np.concatenate(predicted)
        return classes, float(np.concatenate(losses).mean()), float((classes == part.targets).mean())

    @property
    def totals(self) -> Totals:
        """Circuits, shots and dollars, of earlier processes too."""
        circuit = self.network.circuit
        if circuit is None:
            return self._used
        used = circuit.used
        return self._used.plus(used.n_circuits, used.n_shots, used.cost_usd)

    def weights(self) -> dict[str, np.ndarray]:
        """The network's arrays by name, and what keys the shot noise of its next call."""
        return {name: value.numpy() for name, value in self.network.state_dict().items()}

    def digest(self) -> str:
        """SHA-256 of `weights`: equal exactly when every bit is."""
        found = hashlib.sha256()
        for name, array in sorted(self.weights().items()):
            found.update(name.encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def _epoch(self, number: int, progress: Progress) -> Epoch:
        began = time.perf_counter()
        train = self._splits.train
        n = len(train.targets)
        order = np.random.default_rng([self._plan.seed, number]).permutation(n)
        self.network.train()
        loss_sum, n_right, n_seen = 0.0, 0, 0
        for place, begin in enumerate(range(0, n, self._plan.batch_size)):
            rows = np.sort(order[begin : begin + self._plan.batch_size])
            if len(rows) < 2:  # one sample has no variance to normalise by
                continue
            report, right = self._step(number, place, rows)
            loss_sum += report.loss * len(rows)
            n_right, n_seen = n_right + right, n_seen + len(rows)
            progress.on_step(report)
        _, val_loss, val_accuracy = self.predict(self._splits.validation)
        totals = self.totals
        return Epoch(
            number, loss_sum / n_seen, n_right / n_seen, val_loss, val_accuracy, time.perf_counter() - began,
            totals.n_circuits, totals.n_shots, totals.cost_usd,
        )  # fmt: skip

    def _step(self, epoch: int, place: int, rows: np.ndarray) -> tuple[StepReport, int]:
        """One step on the training samples `rows`, and how many of them were right before it."""
        step, n_steps = (epoch - 1) * self._n_batches + place + 1, self._plan.epochs * self._n_batches
        share = schedule(step, n_steps)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = share * rate
        inputs, targets = (torch.from_numpy(values[rows]) for values in self._splits.train)
        logits = self.network(inputs)
        loss = functional.cross_entropy(logits, targets)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        squares = [one.grad.square().sum() for one in self.network.parameters() if one.grad is not None]
        report = StepReport(
            step=step, n_steps=n_steps, epoch=epoch, n_epochs=self._plan.epochs, loss=float(loss.detach()),
            gradient_norm=math.sqrt(float(torch.stack(squares).sum())), learning_rate=share * self._rates[0],
            totals=self.totals,
        )  # fmt: skip
        return report, int((logits.argmax(1) == targets).sum())

    @property
    def _n_batches(self) -> int:
        return math.ceil(len(self._splits.train.targets) / self._plan.batch_size)

    def _report(self, epoch: Epoch) -> EpochReport:
        accuracies = [one.val_accuracy for one in self.history]
        best = int(np.argmax(accuracies))
        metrics = {
            "train/epoch_loss": epoch.train_loss, "train/accuracy": epoch.train_accuracy,
            "val/loss": epoch.val_loss, "val/accuracy": epoch.val_accuracy,
        }  # fmt: skip
        return EpochReport(
            epoch=epoch.epoch, n_epochs=self._plan.epochs, step=epoch.epoch * self._n_batches, metrics=metrics,
            monitored="val/accuracy", is_best=best == len(accuracies) - 1, best_epoch=best + 1, best_value=accuracies[best],
            learning_rate=schedule(epoch.epoch * self._n_batches, self._plan.epochs * self._n_batches) * self._rates[0],
            totals=self.totals, seconds=epoch.seconds,
        )  # fmt: skip

    def _save(self, file: Path) -> None:
        """Weights, moments and history, in one file without pickle."""
        arrays = {f"network/{name}": array for name, array in self.weights().items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            arrays |= {f"adam/{index}/{name}": np.asarray(value) for name, value in moments.items()}
        about = {"history": [asdict(one) for one in self.history]}
        write_arrays(file, arrays | {"about": np.array(json.dumps(about))})

    def _restore(self, file: Path) -> None:
        arrays = read_arrays(file)
        try:
            about = json.loads(str(arrays["about"]))
            load_weights(
                self.network,
                {key[8:]: value for key, value in arrays.items() if key.startswith("network/")},
            )
            state: dict[int, dict[str, Any]] = {}
            for key, value in arrays.items():
                if key.startswith("adam/"):
                    _, index, name = key.split("/")
                    state.setdefault(int(index), {})[name] = torch.from_numpy(np.array(value))
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})
            self.history = [Epoch(**one) for one in about["history"]]
            last = self.history[-1]
        except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{file} is damaged, or of another network: {error}") from None
        self._used = Totals(last.n_circuits, last.n_shots, last.cost_usd)


def schedule(step: int, n_steps: int) -> float:
    """Share of the learning rate at step 1 to `n_steps`."""
    n_rising = max(round(_WARM_UP * n_steps), 1)
    if step <= n_rising:
        return step / n_rising
    return 0.5 * (1 + math.cos(math.pi * (step - n_rising) / (n_steps - n_rising + 1)))


def load_weights(network: Network, arrays: dict[str, np.ndarray]) -> None:
    """Give a network the arrays that `Fit.weights` had of one like it.

    Raises:
        RuntimeError: of one that is not like it.
    """
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
