"""A disk that takes no more in the middle of a training: a typed stop that says how to go on, and a run that does."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, StorageError
from pipelines import Callback, Trainer
from pipelines.storage import disk_told
from pipelines.tracking.journal import read_points

N_STEPS = 12


def config_in(folder: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=iris", "data.max_samples=40", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1", "loss.name=mse",
        "run.batch_size=7", "run.epochs=3", "checkpoint.every_steps=2", "fleet.dispatcher=serial", "tracking.enabled=false",
        "run.name=full", f"run.directory={folder / 'runs'}", *overrides,
    ])  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _no_plots() -> Iterator[None]:
    """They take longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
        yield


class At(Callback):
    """Does something once after a step."""

    def __init__(self, step: int, what: Callable[[], Any]) -> None:
        self._step, self._what = step, what

    def on_step(self, report: Any, state: Any) -> None:
        if report.step == self._step:
            self._what()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    result = Trainer(config_in(tmp_path_factory.mktemp("calm")), progress=False).fit()
    assert result.n_steps == N_STEPS
    return result


class Disk:
    """Files whose path holds `name`: once `is_full`, nothing can be written to them."""

    def __init__(self, name: str) -> None:
        self.name, self.is_full, self.n_refused = name, False, 0
        self._open, self._write = io.open, os.write

    def refuse(self, path: str) -> None:
        if self.is_full and self.name in path:
            self.n_refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def open(self, file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if isinstance(file, (str, os.PathLike)) and set(mode) & set("wax+"):
            self.refuse(os.fspath(file))
        return self._open(file, mode, *arguments, **named)

    def write(self, descriptor: int, data: bytes) -> int:
        self.refuse(os.readlink(f"/proc/self/fd/{descriptor}"))
        return self._write(descriptor, data)


@contextmanager
def disk(name: str) -> Iterator[Disk]:
    one = Disk(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", one.open)
        patch.setattr(io, "open", one.open)
        patch.setattr(os, "write", one.write)
        yield one


@pytest.mark.parametrize("name", ["/checkpoints/", "metrics.jsonl", "/full/"])
def test_a_full_disk_is_a_clean_stop_that_resume_continues(tmp_path: Path, calm: Any, name: str) -> None:
    with disk(name) as full:
        trainer = Trainer(
            config_in(tmp_path), callbacks=[At(5, lambda: setattr(full, "is_full", True))], progress=False
        )
        with pytest.raises((StorageError, CheckpointError), match="No space left") as caught:
            trainer.fit()
        assert full.n_refused
    notes = caught.value.__notes__
    assert any("What was saved last stands" in note and "qfleet resume" in note for note in notes), notes
    resumed = Trainer.resume("full", directory=str(tmp_path / "runs"), progress=False).fit()
    np.testing.assert_array_equal(resumed.params, calm.params)
    assert (resumed.metrics, resumed.totals) == (calm.metrics, calm.totals)
    points, _ = read_points(tmp_path / "runs" / "full" / "metrics.jsonl")
    for key in ("train/loss", "cost/circuits"):  # the step whose record failed was done again, and recorded
        assert [point.step for point in points if point.key == key] == [*range(1, N_STEPS + 1)], key


def test_a_disk_that_is_full_when_all_is_done_leaves_a_run_that_is_finished_by_resume(
    tmp_path: Path, calm: Any
) -> None:
    with disk("result.json") as full:
        full.is_full = True
        with pytest.raises(StorageError, match="make room, then resume") as caught:
            Trainer(config_in(tmp_path), progress=False).fit()
        assert "qfleet resume" in "".join(caught.value.__notes__)
    resumed = Trainer.resume("full", directory=str(tmp_path / "runs"), progress=False).fit()
    assert (resumed.metrics, resumed.totals) == (calm.metrics, calm.totals)


def test_a_disk_that_is_full_before_anything_begins_says_how_to_go_on_too() -> None:
    with pytest.raises(StorageError) as caught, disk_told(lambda: "qfleet resume r"):
        raise OSError(errno.EFBIG, "File too large")
    assert caught.value.__notes__ == ["Continue with: qfleet resume r"]


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(FileNotFoundError), disk_told(lambda: None):
        raise FileNotFoundError(errno.ENOENT, "no such file", "data.csv")
    error = OSError(errno.EDQUOT, "quota", "x")
    error.add_note("what to do")
    with pytest.raises(StorageError) as caught, disk_told(lambda: None):
        raise error
    assert caught.value.__notes__ == ["what to do"]
