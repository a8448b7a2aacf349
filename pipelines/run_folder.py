"""RunFolder: the folder of one run, which holds all that is needed to resume it, evaluate it and predict with it.

::

    runs/<run name>/
      config.toml            the resolved configuration
      model/                 the model as JSON and arrays; after training, the best parameters
      data/                  the prepared splits; those larger than memory in files of their own (see pipelines.data.stored)
      checkpoints/           see pipelines.checkpoints
      status.json, run.log   how the run is, once a second, and its log (see docs/watching.md)
      metrics.jsonl          every logged point; tracking.json: what MLflow has of it
      artifacts/             plots, diagrams, environment
      submissions.jsonl      what was submitted and paid, with answers/ (see actors.ionq.book_file), where circuits cost money;
                             reconciliation.json: what the provider charged
      predictions.npz        of the test split (see pipelines.studies.predictions)
      result.json            the final figures; its presence means the run is finished

Nothing here is a pickle. A lock keeps two processes from driving one run.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig, read_toml
from orchestrator.errors import CheckpointError, InputError, nearest
from orchestrator.redaction import redact_uri
from pipelines.checkpoints import write_atomically
from pipelines.data.stored import copy_stored
from pipelines.display.formatting import from_here

FLEET_CONFIG = "fleet.toml"
"""In the folder of a named fleet's book, which is no run: the configuration that the fleet was started with."""
_FILES_THAT_DECIDE = (
    "model/structure.json",
    "model/structure.npz",
    "data/splits.npz",
    "data/preprocessing.npz",
    "data/about.json",
)
_SECTIONS_THAT_DECIDE = ("run", "model", "data", "gradient", "loss", "optimizer", "backend")


class RunFolder:
    """One run's folder; see the module for its layout."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.name = self.path.name
        self._lock: Any = None

    @classmethod
    def create(cls, config: TrainingConfig) -> RunFolder:
        """A new folder under ``run.directory``, named ``run.name`` or after the data set and the time.

        A folder ``run.name`` that an earlier process left before it became a run (a kill, a full disk) is used again.

        Raises:
            InputError: a run of that name is there already, or the folder cannot be made.
        """
        parent = Path(config.run.directory)
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"run.directory = {config.run.directory!r}: {error}") from None
        if config.run.name is not None:
            names = iter([config.run.name])
        else:
            source = config.data.name or Path(config.data.path or "data").stem
            stem = f"{re.sub(r'[^A-Za-z0-9]+', '-', source).strip('-') or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
            names = iter([stem, *(f"{stem}-{i}" for i in range(2, 1000))])
        for name in names:
            try:
                (parent / name).mkdir()
            except FileExistsError:
                if config.run.name is None or not _is_abandoned(parent / name):
                    continue
            except OSError as error:
                raise InputError(f"{parent / name}: {error}") from None
            return cls(parent / name)
        raise InputError(
            f"run.name = {config.run.name!r}: {parent / str(config.run.name)} exists; "
            f"continue it with 'qfleet resume {config.run.name}' or choose another name"
        )

    @classmethod
    def find(cls, run: str, directory: str = "runs") -> RunFolder:
        """The folder of `run`: a path, a run name under `directory`, an MLflow run id, or ``latest``.

        Raises:
            InputError: there is none; the text names the nearest.
        """
        parent = Path(directory)
        known = (
            sorted((p for p in parent.iterdir() if (p / "config.toml").is_file()), key=_modified)
            if parent.is_dir()
            else []
        )
        if run == "latest" and known:
            return cls(known[-1])
        for candidate in (Path(run), parent / run):
            if (candidate / "config.toml").is_file():
                return cls(candidate)
        for path in known:
            if run and run == cls(path).mlflow_run_id:
                return cls(path)
        close = nearest(run, [p.name for p in known])
        hint = (
            f"did you mean {close!r}?"
            if close
            else f"runs there: {', '.join(p.name for p in known[-5:]) or 'none'}"
        )
        raise InputError(f"no run {run!r} in {parent.absolute()}; {hint}")

    @property
    def handle(self) -> str:
        """What `find` knows this run by from the working directory: its name, or its path if it is not in ``runs``."""
        return self.name if self.path.parent == Path("runs").absolute() else from_here(self.path)

    @property
    def study(self) -> Path | None:
        """Folder of the study that the run belongs to; None where it stands alone."""
        above = self.path.parent.parent
        return above if self.path.parent.name == "members" and (above / "study.json").is_file() else None

    @property
    def mlflow_run_id(self) -> str | None:
        """The run's id at MLflow, if it has been logged there."""
        try:
            return json.loads((self.path / "tracking.json").read_text(encoding="utf-8")).get("run_id")
        except (OSError, ValueError, AttributeError):
            return None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """Folder of plots and texts, made if absent."""
        folder = self.path / "artifacts"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return self.path / "model"

    @property
    def data(self) -> Path:
        """Folder of the prepared splits."""
        return self.path / "data"

    @property
    def is_finished(self) -> bool:
        """The run has come to its end."""
        return self.recorded_result() is not None

    def recorded_result(self) -> dict[str, Any] | None:
        """What result.json says; None where it is absent or not whole, and what it says has to be found again."""
        try:
            recorded = self.read_json("result.json")
        except CheckpointError:
            return None
        return recorded if {"metrics", "circuits", "shots", "cost_usd"} <= recorded.keys() else None

    def lock(self) -> None:
        """Claim the run for this process until it ends.

        Raises:
            InputError: another process drives it.
        """
        self._lock = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise InputError(
                f"run {self.name} is being driven by another process (pid {owner}); wait for it or stop it"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def unlock(self) -> None:
        """Give the run back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_config(self, config: TrainingConfig, name: str = "config.toml") -> None:
        """Write the configuration, without the credentials that a tracking URI may hold."""
        import tomli_w

        values = config.to_dict()
        if config.tracking.uri is not None:
            values["tracking"]["uri"] = redact_uri(config.tracking.uri)
        write_atomically(self.path / name, tomli_w.dumps(values).encode())

    def read_config(self) -> TrainingConfig:
        """The run's configuration."""
        return TrainingConfig.from_toml(self.path / "config.toml")

    def copy_inputs(self, source: RunFolder) -> None:
        """Take over the model, untrained, and the prepared data of another run.

        Raises:
            CheckpointError: a file is missing or cannot be copied.
        """
        for name in _FILES_THAT_DECIDE:
            try:
                content = (source.path / name).read_bytes()
            except OSError as error:
                raise CheckpointError(f"{source.path / name} cannot be read: {error}") from None
            (self.path / name).parent.mkdir(exist_ok=True)
            write_atomically(self.path / name, content)
        copy_stored(source.data, self.data)

    def write_json(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a JSON file, whole or not at all."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(content, indent=1, default=_plain) + "\n").encode())
        return path

    def read_json(self, name: str) -> dict[str, Any]:
        """Read what `write_json` wrote.

        Raises:
            CheckpointError: missing or damaged.
        """
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path / name} cannot be read: {error}") from None
        if not isinstance(content, dict):
            raise CheckpointError(f"{self.path / name} is not what qfleet wrote there")
        return content

    def fingerprint(self) -> str:
        """Digest of what decides the numbers: those sections of config.toml as they are written, the model and the data.

        As written, and not as read: a key that a later version adds does not make older runs strangers.
        """
        digest = hashlib.sha256()
        written = read_toml(self.path / "config.toml")
        decisive = {name: written.get(name, {}) for name in _SECTIONS_THAT_DECIDE}
        decisive["run"] = {k: v for k, v in decisive["run"].items() if k not in ("name", "directory")}
        if "training" in written:  # older runs have no such section
            decisive["training"] = written["training"]
        digest.update(json.dumps(decisive, sort_keys=True).encode())
        for name in _FILES_THAT_DECIDE:
            digest.update((self.path / name).read_bytes())
        return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz without pickle, whole or not at all. Equal arrays give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile and numpy raise a dozen kinds for a torn file
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _is_abandoned(path: Path) -> bool:
    """Whether the folder holds nothing but a part of what is written before config.toml makes it a run."""
    ours = re.compile(
        r"model|data|(model|data)/(structure|splits|preprocessing|about)\.(json|npz)|data/(train|validation|test)\.npy|(.*/)?\.[^/]*"
    )
    return path.is_dir() and all(
        ours.fullmatch(each.relative_to(path).as_posix()) for each in path.rglob("*")
    )


def _modified(path: Path) -> float:
    return (path / "config.toml").stat().st_mtime


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON-able")
