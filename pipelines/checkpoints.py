"""Checkpoints: a TrainState on disk, written aside and renamed, checksummed, without pickle.

A checkpoint is a folder ``{step}-{epoch}/`` of ``state.npz`` and ``manifest.json``. It exists whole or not at all:
both files are synced to disk in a temporary folder before the rename. The manifest holds the SHA-256 of the arrays
and of itself, so a torn or altered checkpoint is seen, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import CheckpointError
from orchestrator.training.reports import EpochReport, Totals
from orchestrator.training.state import TrainState

FORMAT = 1
_NAME = re.compile(r"\d{9,}-\d{6,}")
_SCALARS = ("epoch", "cursor", "step", "epoch_loss", "best_value", "best_epoch", "stop_reason")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are kept; made if absent.
        keep: how many of the newest are kept.
        fingerprint: what the state belongs to (configuration, model, data); another one is refused.
    """

    def __init__(self, folder: Path, keep: int, fingerprint: str) -> None:
        self.folder = folder
        self._keep = keep
        self._fingerprint = fingerprint

    def save(self, state: TrainState) -> Path:
        """Write `state`; older checkpoints than the newest `keep` are removed afterwards.

        One place of a run has one state, so a whole checkpoint of this place is left as it is, and a damaged one replaced.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
        """
        target = self.folder / f"{state.step:09d}-{state.epoch:06d}"
        if self._is_whole(target):
            return target
        aside = self.folder / f".writing-{target.name}-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            digest = _write_arrays(aside / "state.npz", state)
            _write_synced(aside / "manifest.json", _sealed(self._manifest(state, digest)).encode())
            sync_folder(aside)
            if target.exists():
                target.rename(self.folder / f".old-{target.name}-{os.getpid()}")
            aside.rename(target)
            sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise CheckpointError(
                f"cannot write the checkpoint {target}: {error}; earlier ones are untouched"
            ) from error
        for stale in [
            *self.folders()[: -self._keep],
            *self.folder.glob(".writing-*"),
            *self.folder.glob(".old-*"),
        ]:
            shutil.rmtree(stale, ignore_errors=True)
        return target

    def _is_whole(self, path: Path) -> bool:
        try:
            self.load(path)
        except CheckpointError:
            return False
        return True

    def folders(self) -> list[Path]:
        """Checkpoint folders, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if p.is_dir() and _NAME.fullmatch(p.name))

    def load_newest(self) -> tuple[TrainState | None, list[str]]:
        """The newest state that is whole (None if there is no checkpoint at all), and what was wrong with newer ones.

        Raises:
            CheckpointError: there are checkpoints, but none is whole, or they belong to another configuration.
        """
        problems: list[str] = []
        for path in reversed(self.folders()):
            try:
                return self.load(path), problems
            except CheckpointError as error:
                problems.append(str(error))
        if problems:
            raise CheckpointError("no checkpoint can be used:\n  " + "\n  ".join(problems))
        return None, problems

    def load(self, path: Path) -> TrainState:
        """The state at `path`.

        Raises:
            CheckpointError: missing, torn, altered, of another format or another run.
        """
        manifest = read_sealed(path / "manifest.json")
        if manifest.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: format {manifest.get('format')!r}, this version of qfleet reads {FORMAT}"
            )
        if manifest.get("fingerprint") != self._fingerprint:
            raise CheckpointError(
                f"{path} was made with another configuration, model or data set than the run folder now holds; "
                "put its files back as they were, or start a new run"
            )
        try:
            content = (path / "state.npz").read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: {error}") from None
        if hashlib.sha256(content).hexdigest() != manifest.get("sha256"):
            raise CheckpointError(f"{path}: state.npz is damaged (its checksum differs from the manifest's)")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                rule = {k.removeprefix("rule/"): arrays[k] for k in arrays.files if k.startswith("rule/")}
                optimizer = {
                    k.removeprefix("optimizer/"): arrays[k]
                    for k in arrays.files
                    if k.startswith("optimizer/")
                }
                return TrainState(
                    params=arrays["params"],
                    optimizer=optimizer,
                    rule=rule,
                    best_params=arrays["best_params"],
                    **({"past": arrays["past"]} if "past" in arrays.files else {}),
                    step_losses=arrays["step_losses"].tolist(),
                    totals=Totals(**manifest["totals"]),
                    history=[_report(entry) for entry in manifest["history"]],
                    **{name: manifest[name] for name in _SCALARS},
                )
        except Exception as error:  # intact, but not what `save` writes: a dozen kinds of error
            raise CheckpointError(f"{path} does not hold a state of training: {error}") from None

    def _manifest(self, state: TrainState, digest: str) -> dict[str, Any]:
        scalars = {name: getattr(state, name) for name in _SCALARS}
        own = {
            "format": FORMAT,
            "fingerprint": self._fingerprint,
            "sha256": digest,
            "totals": asdict(state.totals),
        }
        return own | scalars | {"history": [asdict(report) for report in state.history]}


def _report(entry: dict[str, Any]) -> EpochReport:
    return EpochReport(**entry | {"totals": Totals(**entry["totals"])})


def _write_arrays(path: Path, state: TrainState) -> str:
    """Write the state's arrays and return the file's SHA-256."""
    arrays = {f"optimizer/{key}": value for key, value in state.optimizer.items()}
    arrays |= {f"rule/{key}": value for key, value in state.rule.items()}
    with path.open("wb") as file:
        arrays |= {
            "params": state.params,
            "best_params": state.best_params,
            "step_losses": np.array(state.step_losses),
        }
        if len(state.past):
            arrays["past"] = state.past
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sealed(content: dict[str, Any]) -> str:
    """JSON of `content` with its own checksum inside."""
    text = json.dumps(content, sort_keys=True)
    return json.dumps(
        content | {"checksum": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True, indent=1
    )


def read_sealed(path: Path) -> dict[str, Any]:
    """What `_sealed` wrote.

    Raises:
        CheckpointError: missing, not JSON, or altered.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a manifest")
    checksum = content.pop("checksum", None)
    if hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() != checksum:
        raise CheckpointError(f"{path} is damaged (its checksum does not fit)")
    return content


def _write_synced(path: Path, content: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # a full disk is told without the file's name
        raise type(error)(error.errno, error.strerror, str(path)) from None


def write_atomically(path: Path, content: bytes) -> None:
    """`content` at `path`, whole or not at all, also after a power cut."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    _write_synced(aside, content)
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
