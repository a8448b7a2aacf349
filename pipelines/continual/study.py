"""A stream learnt with replay and without, tested after every chunk on all tasks so far, beside central training on everything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError
from orchestrator.training.loop import evaluate_samples
from pipelines.compose import build_backend, build_coordinator
from pipelines.continual.measures import average_score
from pipelines.continual.settings import ContinualSettings, Replay, check_config
from pipelines.continual.streams import Stream, read_stream
from pipelines.continual.trainer import ContinualTrainer
from pipelines.merits import merits_of
from pipelines.run_folder import read_arrays, write_arrays
from pipelines.run_setup import best_params, load_run
from pipelines.studies.study import Member, Study

KIND = "continual"
CENTRAL = "central"
ARMS = ("replay", "no_replay")


@dataclass(frozen=True, eq=False)
class Arm:
    """How one way of learning did.

    Attributes:
        scores: float64 [C, T] after each chunk; NaN for tasks that had not begun. Higher is better.
        merits: [S_t] of each task's test rows, in the end.
        steps, circuits: done, tests left out; test_circuits: those of the tests.
    """

    scores: np.ndarray
    merits: list[np.ndarray]
    steps: int
    circuits: int
    test_circuits: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out.

    Attributes:
        ends: int64 [T], the last chunk of each task (from 0).
        arms: by name. central: merits of the model trained on everything, None where not compared; central_member: its training.
    """

    stream: Stream
    ends: np.ndarray
    arms: dict[str, Arm]
    central: list[np.ndarray] | None
    central_member: Member | None
    central_circuits: int = 0


def open_stream(config: TrainingConfig, settings: ContinualSettings) -> Stream:
    """The stream, once configuration and settings are found to go together.

    Raises:
        InputError: they do not.
    """
    check_config(config)
    return read_stream(config, settings.stream, settings.tasks)


class ContinualStudy:
    """One study in progress.

    Args:
        study: entered. stream: what is learnt, None: it is read.
    """

    def __init__(self, study: Study, settings: ContinualSettings, stream: Stream | None = None) -> None:
        self._study, self._settings = study, settings
        self._config, self._path = study.config, study.folder.path
        self._stream = stream or open_stream(self._config, settings)
        self._n_tasks = len(self._stream.tasks)
        self._task_of_chunk = np.array([task for task, _, _ in self._stream.chunks(settings.chunk)])

    def run(self) -> Outcome:
        """From wherever it stands to the end.

        Raises:
            CheckpointError: the data have changed since it began. QfleetError: a failure; the last chunk is saved, as it is after Ctrl-C.
        """
        self._check_same_data()
        replays = {"replay": self._settings.replay, "no_replay": Replay(0, None, self._settings.passes)}
        arms = {name: self._arm(name, replays[name]) for name in ARMS}
        member, central = self._central()
        ends = np.array([np.flatnonzero(self._task_of_chunk == task)[-1] for task in range(self._n_tasks)])
        n_circuits = 0 if member is None else member.n_circuits
        return Outcome(self._stream, ends, arms, central, member, n_circuits)

    def _check_same_data(self) -> None:
        folder, digest = self._study.folder, self._stream.digest
        if not (self._path / "about.json").is_file():
            folder.write_json("about.json", {"digest": digest})
        elif folder.read_json("about.json")["digest"] != digest:
            raise CheckpointError(
                f"{self._stream.source} has changed since the study began; put it back as it was, or start a new study"
            )

    def _arm(self, name: str, replay: Replay) -> Arm:
        """Learn the stream in one way; chunks that have been learnt are left out."""
        home, log = self._path / name, _ArmLog(self._path / f"{name}.npz", self._n_tasks)
        fresh = not (home / "state.npz").is_file()
        trainer = (
            ContinualTrainer(self._config, classes=self._stream.class_names, replay=replay)
            if fresh
            else ContinualTrainer.load(home)
        )
        trainer.config = trainer.config.model_copy(update={"fleet": self._config.fleet})
        if not fresh:
            self._study.say(f"{_spoken(name)}: continuing after chunk {trainer.state.n_chunks}")
        with trainer:
            for number, (task, features, targets) in enumerate(self._stream.chunks(self._settings.chunk)):
                if number >= trainer.state.n_chunks:
                    trainer.partial_fit(features, self._stream.labels(targets))
                    trainer.save(home)
                if number >= log.n_chunks:
                    log.add(*self._tested(trainer, task), task)
                    self._log(name, number, task, log)
                    log.save()  # last: what is cut off before that is tested, and logged, again
            return log.arm(trainer)

    def _tested(self, trainer: ContinualTrainer, last: int) -> tuple[list[np.ndarray], int]:
        """Merits on the test rows of tasks 0 to `last`, and the circuits they took."""
        answers = [
            trainer.merits(
                task.test_features, self._stream.labels(task.test_targets), purpose=f"test{number}"
            )
            for number, task in enumerate(self._stream.tasks[: last + 1])
        ]
        return [merits for merits, _ in answers], sum(used.n_circuits for _, used in answers)

    def _log(self, name: str, number: int, task: int, log: _ArmLog) -> None:
        mean = average_score(log.scores(is_classes=self._is_classes))
        of_tasks = log.scores(is_classes=self._is_classes)[-1][: task + 1]
        figures = {f"{name}/average_score": mean}
        figures |= {f"{name}/task_{one + 1}": float(score) for one, score in enumerate(of_tasks)}
        self._study.tracker.log_metrics(figures, number + 1)
        self._study.tracker.sync()
        if number + 1 == len(self._task_of_chunk) or self._task_of_chunk[number + 1] != task:
            told = ", ".join(f"{abs(score):.3g}" for score in of_tasks)
            self._study.say(
                f"{_spoken(name)}: task {task + 1}/{self._n_tasks} learnt; scores of tasks: {told}"
            )

    @property
    def _is_classes(self) -> bool:
        return self._stream.class_names is not None

    def _central(self) -> tuple[Member | None, list[np.ndarray] | None]:
        """Train on all tasks at once, with as many passes, and answer for the same test rows."""
        if not self._settings.compare:
            return None, None
        self._study.say("training centrally on everything, to compare")
        names = json.dumps(list(self._stream.class_names)) if self._stream.class_names else "none"
        config = self._config.with_overrides([
            f"run.epochs={self._settings.passes}", "data.name=arrays", "data.path=none", "data.target=none", "data.features=none",
            "data.dimension=none", "data.max_samples=none", "data.test_fraction=0.0", "data.validation_fraction=0.0",
            f"data.classes={names}",
        ])  # fmt: skip
        features = np.concatenate([task.features for task in self._stream.tasks])
        targets = self._stream.labels(np.concatenate([task.targets for task in self._stream.tasks]))
        member = self._study.train(
            CENTRAL,
            config,
            data=(features, targets),
            tags={"continual.role": CENTRAL},
            fleet=self._config.fleet,
        )
        return member, self._central_merits(member)

    def _central_merits(self, member: Member) -> list[np.ndarray]:
        """For each task's test rows, on the configured backend with its shots, as the arms are tested."""
        run, fingerprint = load_run(member.folder)
        params, _ = best_params(member.folder, run, fingerprint)
        serial = self._config.fleet.model_copy(update={"dispatcher": "serial", "name": None})
        coordinator = build_coordinator(serial, build_backend(self._config))
        found = []
        try:
            for number, task in enumerate(self._stream.tasks):
                outputs, _ = evaluate_samples(
                    run.task.model, params, run.data.preprocessing.transform(task.test_features), coordinator,
                    shots=run.task.shots, seed=run.config.run.seed, purpose=f"test{number}",
                )  # fmt: skip
                predicted = run.task.loss.predict(outputs)["prediction"]
                found.append(merits_of(predicted, task.test_targets, is_classes=self._is_classes))
        finally:
            coordinator.dispatcher.close()
        return found


class _ArmLog:
    """The tests of an arm on disk: mean merits by chunk and task, and the merits after the last chunk.

    Args:
        file: written whole by `save`.
    """

    def __init__(self, file: Path, n_tasks: int) -> None:
        self._file, self._n_tasks = file, n_tasks
        self._means, self._n_circuits = np.empty((0, n_tasks)), 0
        self._merits: list[np.ndarray] = []
        if file.is_file():
            arrays = read_arrays(file)
            self._means, self._n_circuits = arrays["means"], int(arrays["circuits"])
            self._merits = [arrays[f"merits/{task}"] for task in range(int(arrays["tested"]))]

    @property
    def n_chunks(self) -> int:
        """Chunks that have been tested after."""
        return len(self._means)

    def add(self, merits: list[np.ndarray], n_circuits: int, task: int) -> None:
        """Note the tests after a chunk of `task`."""
        row = np.full(self._n_tasks, np.nan)
        row[: task + 1] = [own.mean() for own in merits]
        self._means, self._merits = np.vstack([self._means, row]), merits
        self._n_circuits += n_circuits

    def save(self) -> None:
        """Write all of it."""
        arrays = {
            "means": self._means,
            "circuits": np.array(self._n_circuits),
            "tested": np.array(len(self._merits)),
        }
        write_arrays(
            self._file, arrays | {f"merits/{number}": own for number, own in enumerate(self._merits)}
        )

    def scores(self, *, is_classes: bool) -> np.ndarray:
        """float64 [C, T], higher is better."""
        return self._means if is_classes else np.asarray(-np.sqrt(-self._means))

    def arm(self, trainer: ContinualTrainer) -> Arm:
        """The arm, once all chunks are learnt and tested."""
        scores = self.scores(is_classes=trainer.class_names is not None)
        return Arm(
            scores, self._merits, trainer.state.n_steps, trainer.state.totals.n_circuits, self._n_circuits
        )


def _spoken(name: str) -> str:
    return {"replay": "with replay", "no_replay": "without replay"}[name]
