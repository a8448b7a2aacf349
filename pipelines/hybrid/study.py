"""All networks over all seeds: trained, tested on the same rows, and kept."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import CheckpointError, InputError
from pipelines.display.formatting import format_percent, format_usd, qfleet_command
from pipelines.display.progress import make_progress
from pipelines.hybrid.baselines import baselines
from pipelines.hybrid.networks import ARMS, Network, felt_params
from pipelines.hybrid.settings import KIND, HybridSettings
from pipelines.hybrid.splits import Splits
from pipelines.hybrid.training import Epoch, Fit, load_weights, reproducible
from pipelines.hybrid.workloads import network_of, plan_of, workload_of
from pipelines.run_folder import RunFolder, read_arrays, write_arrays
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Study, spent_usd

LABELS = {"hybrid": "hybrid", "twin": "classical twin", "none": "no layer"}
N_EXAMPLES = 10


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        seeds: one entry a seed, plain values: ``seed``, ``samples``, ``classes``, ``baselines``, ``targets`` of the test rows and, by arm,
            ``history``, ``predicted``, ``test_accuracy``, ``seconds``, ``weights_sha256``, ``params``, ``circuits`` ...
        examples: some images of the first seed, uint8 or float [N, ...]; example_classes: int64 [N].
    """

    seeds: list[dict[str, Any]]
    examples: np.ndarray
    example_classes: np.ndarray


class HybridStudy:
    """One study in progress.

    Args:
        study: entered.
        yes_spend_usd: dollars that the circuits may cost, those of finished seeds included.
    """

    def __init__(self, study: Study, settings: HybridSettings, yes_spend_usd: float | None = None) -> None:
        self._study, self._settings, self._config = study, settings, study.config
        self._path, self._yes_spend_usd = study.folder.path, yes_spend_usd
        self._workload = workload_of(settings)

    def run(self) -> Outcome:
        """From wherever it stands to the end.

        Raises:
            CheckpointError: the data have changed since it began. QfleetError: a failure; the last epoch is saved, as it is after Ctrl-C.
        """
        first = self._config.run.seed
        with reproducible(self._settings.threads):
            found = [self._seed(seed) for seed in range(first, first + self._settings.seeds)]
        examples = read_arrays(self._path / "examples.npz")
        return Outcome(found, examples["inputs"], examples["targets"])

    def _seed(self, seed: int) -> dict[str, Any]:
        name = f"seed-{seed}.json"
        if (self._path / name).is_file():
            return self._study.folder.read_json(name)
        splits, seconds = self._splits(seed)
        found: dict[str, Any] = {
            "seed": seed,
            "source": splits.source,
            "classes": list(splits.class_names),
            "samples": splits.sizes,
            "left_out": list(splits.left_out),
            "data_seconds": seconds,
            "arms": {arm: self._arm(arm, seed, splits) for arm in ARMS},
            "baselines": baselines(splits),
            "targets": splits.test.targets.tolist(),
        }
        self._study.folder.write_json(name, found)
        return found

    def _splits(self, seed: int) -> tuple[Splits, float]:
        """The data of a seed, the same as before, and the seconds that took."""
        began = time.perf_counter()
        splits = self._workload.splits(seed)
        seconds = time.perf_counter() - began
        for line in splits.left_out:
            self._study.say(f"left out: {line}")
        known, digest = self._path / f"data-{seed}.json", splits.digest()
        if not known.is_file():
            self._study.folder.write_json(known.name, {"digest": digest})
        elif self._study.folder.read_json(known.name)["digest"] != digest:
            raise CheckpointError(
                f"{splits.source}: changed since the study began; put it back as it was, or start a new study"
            )
        if not (self._path / "examples.npz").is_file():
            rows = _some_of_each(splits.test.targets, len(splits.class_names))
            arrays = {"inputs": splits.test.inputs[rows], "targets": splits.test.targets[rows]}
            write_arrays(self._path / "examples.npz", arrays)
        return splits, seconds

    def _arm(self, arm: str, seed: int, splits: Splits) -> dict[str, Any]:
        """Train a network, or what is left of it, and test it. Its fleet ends with it."""
        began = time.perf_counter()
        network = network_of(
            arm, self._settings, self._config, len(splits.class_names), seed,
            folder=_book(self._path, seed), yes_spend_usd=self._allowed_usd(seed) if arm == "hybrid" else None,
        )  # fmt: skip
        plan = plan_of(self._settings, self._config, seed)
        try:
            fit = Fit(network, splits, plan, self._path / "arms" / f"{arm}-{seed}.npz")
            building = time.perf_counter() - began
            self._train(fit, arm, seed, splits)
            tested_at = time.perf_counter()
            predicted, loss, accuracy = fit.predict(splits.test)
            seconds = {"build": building, "test": time.perf_counter() - tested_at}
        finally:
            if network.circuit is not None:
                network.circuit.executor.close()
        write_arrays(self._study.folder.artifacts / f"{arm}-{seed}.npz", fit.weights())
        about = {"test_accuracy": accuracy, "test_loss": loss, "predicted": predicted.tolist()}
        return about | self._used(fit, arm, seed, seconds)

    def _train(self, fit: Fit, arm: str, seed: int, splits: Splits) -> None:
        """All epochs that are left."""
        for epoch in fit.history:  # one may have been saved and not logged; what is logged twice counts once
            self._log(arm, seed, epoch)
        with make_progress() as progress:
            title = f"{self._study.folder.name}: {LABELS[arm]}" + self._of_seeds(seed)
            progress.start(title, [f"{splits.source}: {'/'.join(map(str, splits.sizes.values()))} samples"])
            try:
                fit.run(progress, lambda epoch: self._log(arm, seed, epoch))
            except KeyboardInterrupt:
                progress.stop()
                self._study.say(_kept(LABELS[arm], fit))
                raise

    def _used(self, fit: Fit, arm: str, seed: int, seconds: dict[str, float]) -> dict[str, Any]:
        """What a network is, and what its training took. Dollars are the book's, which knows of interrupted epochs too."""
        totals, circuit = fit.totals, fit.network.circuit
        paid = spent_usd(RunFolder(_book(self._path, seed))) if arm == "hybrid" else 0.0
        return {
            "history": [asdict(epoch) for epoch in fit.history],
            "seconds": seconds | {"train": sum(one.seconds for one in fit.history)},
            "params": fit.network.sizes(),
            "felt_params": None if circuit is None else felt_params(circuit),
            "circuits": totals.n_circuits,
            "shots": totals.n_shots,
            "cost_usd": max(paid, totals.cost_usd),
            "weights_sha256": fit.digest(),
        }

    def _allowed_usd(self, seed: int) -> float | None:
        """What the seed may cost: what the books of the others have left over.

        Raises:
            InputError: nothing.
        """
        if self._yes_spend_usd is None:
            return None
        first = self._config.run.seed
        others = (one for one in range(first, first + self._settings.seeds) if one != seed)
        left = self._yes_spend_usd - sum(spent_usd(RunFolder(_book(self._path, one))) for one in others)
        if left <= 0:
            command = qfleet_command("resume", self._study.folder.handle, "--yes-spend", "USD")
            raise InputError(
                f"the study has spent the {format_usd(self._yes_spend_usd)} that --yes-spend allows; allow more for seed {seed}: {command}"
            )
        return left

    def _log(self, arm: str, seed: int, epoch: Epoch) -> None:
        place = f"seed_{seed}/{arm}" if self._settings.seeds > 1 else arm
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")
        self._study.tracker.log_metrics(
            {f"{place}/{name}": getattr(epoch, name) for name in names}, epoch.epoch
        )
        self._study.tracker.sync()

    def _of_seeds(self, seed: int) -> str:
        n = self._settings.seeds
        return f", seed {seed} ({seed - self._config.run.seed + 1} of {n})" if n > 1 else ""


def trained_network(
    folder: str | Path, arm: str = "hybrid", seed: int | None = None, yes_spend_usd: float | None = None
) -> Network:
    """A network of a study that has ended, ready to predict.

    Args:
        folder: of the study. arm: hybrid | twin | none. seed: None: the first.
        yes_spend_usd: dollars that the training and all predictions together may cost, where the backend costs money.

    Raises:
        CheckpointError: there is no such study, or it holds no such network.
    """
    study = StudyFolder(Path(folder))
    if study.kind != KIND:
        raise CheckpointError(
            f"{study.path}: a study of kind {study.kind!r}, with no networks of qfleet hybrid"
        )
    settings, config = HybridSettings(**study.asks), study.config
    number = config.run.seed if seed is None else seed
    weights = read_arrays(study.artifacts / f"{arm}-{number}.npz")
    about = study.read_json(f"seed-{number}.json")
    network = network_of(
        arm, settings, config, len(about["classes"]), number,
        folder=_book(study.path, number), yes_spend_usd=yes_spend_usd,
    )  # fmt: skip
    try:
        load_weights(network, weights)
    except RuntimeError as error:
        raise CheckpointError(f"{study.path}: weights of another network: {error}") from None
    return network.eval()


def _book(study: Path, seed: int) -> Path:
    """Folder of what was paid for the circuits of a seed."""
    return study / "books" / str(seed)


def _kept(label: str, fit: Fit) -> str:
    if not fit.history:
        return f"{label}: interrupted in the first epoch, of which nothing is kept"
    last = fit.history[-1]
    best = max(fit.history, key=lambda one: one.val_accuracy)
    return (
        f"{label}: interrupted; kept is what {last.epoch} epoch{'s' * (last.epoch > 1)} came to: validation accuracy "
        f"{format_percent(last.val_accuracy)}, at best {format_percent(best.val_accuracy)} (epoch {best.epoch})"
    )


def _some_of_each(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Rows of the first samples of each class, class by class in turn, `N_EXAMPLES` in all where there are so many."""
    each = [np.flatnonzero(targets == index)[: -(-N_EXAMPLES // n_classes)] for index in range(n_classes)]
    depth = max(len(rows) for rows in each)
    turns = [rows[place] for place in range(depth) for rows in each if place < len(rows)]
    return np.array(turns[:N_EXAMPLES], np.int64)
