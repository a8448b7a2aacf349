"""Every file of a run, cut off at any byte: an older checkpoint is used, the file is made again, or a typed error names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import QfleetError
from pipelines import Callback, Trainer, TrainingInterrupted
from pipelines.run_folder import RunFolder
from tests.unit.test_storage import N_STEPS, config_in

CUT_AT = 8


@pytest.fixture(autouse=True, scope="module")
def _no_plots() -> Iterator[None]:
    """They take longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
        yield


class Stop(Callback):
    """Ctrl-C after a step."""

    def on_step(self, report: Any, state: Any) -> None:
        if report.step == CUT_AT:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Trainer(config_in(tmp_path_factory.mktemp("calm")), progress=False).fit()


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted after step 8."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(TrainingInterrupted):
        Trainer(config_in(folder), callbacks=[Stop()], progress=False).fit()
    return folder / "runs" / "full"


@pytest.fixture
def copy(cut: Path, tmp_path: Path) -> Callable[[], Path]:
    """A fresh copy of it."""

    def made() -> Path:
        folder = tmp_path / "runs" / "full"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(cut, folder)
        return folder

    return made


def resumed(folder: Path) -> Any:
    return Trainer.resume(str(folder), progress=False).fit()


def offsets(path: Path, n: int) -> list[int]:
    """`n` places to cut a file at, its ends among them."""
    size = path.stat().st_size
    return sorted({int(size * i / n) for i in range(n)} | {size - 1})


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "tracking.json", "checkpoints/state.npz", "checkpoints/manifest.json"]
)
def test_what_can_be_made_again_costs_no_bit(copy: Callable[[], Path], calm: Any, name: str) -> None:
    for place in range(2):
        folder = copy()
        path = folder / name
        if name.startswith("checkpoints"):
            newest = max((folder / "checkpoints").glob("[0-9]*"))
            path = newest / path.name
        at = offsets(path, 2)[place + 1]
        path.write_bytes(path.read_bytes()[:at])
        result = resumed(folder)
        assert result.n_steps == N_STEPS
        np.testing.assert_array_equal(result.params, calm.params, err_msg=f"{name} cut at {at}")
        assert (result.metrics, result.totals) == (calm.metrics, calm.totals)


def files(folder: Path) -> list[str]:
    """What cannot be made again: what was asked for, the model, and the data."""
    wanted = [folder / "config.toml", *(folder / "model").iterdir(), *(folder / "data").iterdir()]
    return [path.relative_to(folder).as_posix() for path in wanted if not path.name.startswith(".")]


def test_what_decides_the_numbers_is_refused_when_torn(copy: Callable[[], Path], cut: Path) -> None:
    """Not one cut of any of them trains on to other numbers: with less of a file there is a typed error, or the same run."""
    for name in files(cut):
        if name.startswith("model/") and "structure" not in name:
            continue  # the parameters so far, which are written anew
        n_refused = 0
        places = offsets(cut / name, 12)
        for at in places:
            folder = copy()
            (folder / name).write_bytes((cut / name).read_bytes()[:at])
            try:
                state = loaded(folder)
            except QfleetError:
                n_refused += 1
            else:
                assert state is not None, f"{name} cut at {at}"
                assert name == "config.toml" or at == places[-1], f"{name} cut at {at}"
                assert sections_cut(folder, cut) <= DECIDE_NO_NUMBER, f"{name} cut at {at}"
        assert n_refused >= len(places) // 2, f"{name}: {n_refused} of {len(places)} cuts were refused"


DECIDE_NO_NUMBER = {"checkpoint", "fleet", "tracking"}
"""Sections of a configuration that may be lost: the last of the file, in its order."""


def sections_cut(folder: Path, whole: Path) -> set[str]:
    """Sections of the configuration in which a torn folder differs from the whole one."""
    torn, sound = (
        each.model_dump() for each in (RunFolder(folder).read_config(), RunFolder(whole).read_config())
    )
    return {name for name in sound if torn[name] != sound[name]}


def loaded(folder: Path) -> Any:
    """The newest checkpoint that fits what the folder says."""
    from pipelines.checkpoints import Checkpoints
    from pipelines.run_setup import load_run

    _, fingerprint = load_run(RunFolder(folder))
    return Checkpoints(folder / "checkpoints", 3, fingerprint).load_newest()[0]
