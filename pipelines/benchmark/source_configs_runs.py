"""The trainings of ``qfleet benchmark source``: each once as a command of its own and once in this process, timed, below one study.

A cold command is ``qfleet train`` in a new process, from its start to its end; its kernels have been compiled before, as they are for
every user but the first time. A warm training comes after a first step of the same configuration in this process. A training that was
interrupted is trained to its end on resumption, and has no time: its steps were not done in one go.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import ExecutionError
from pipelines.benchmark.children import ROOT
from pipelines.run_folder import RunFolder
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Member, Study

_TIMES = "times.json"


@dataclass(frozen=True)
class TimedMember:
    """A training that has come to its end, and how long it took.

    Attributes:
        seconds: all of it: of the command, or of `Trainer.fit`. training_seconds: of that, the training loop. None where the training
            was interrupted.
    """

    member: Member
    seconds: float | None
    training_seconds: float | None


class Timings:
    """Which members were trained in one go, and how long they took; kept in the study's folder."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        exists = (folder.path / _TIMES).is_file()
        self._known: dict[str, dict[str, Any]] = folder.read_json(_TIMES) if exists else {}

    def seconds(self, name: str) -> float | None:
        """What a member took; None where it was not trained in one go."""
        found = self._known.get(name, {}).get("seconds")
        return None if found is None else float(found)

    def begin(self, name: str) -> bool:
        """Note that a member is being trained; whether it is for the first time."""
        is_new = name not in self._known
        self._note(name, {} if is_new else {"interrupted": True})
        return is_new

    def end(self, name: str, seconds: float) -> None:
        """Note what a member took that was begun for the first time."""
        self._note(name, {"seconds": seconds})

    def forget(self, name: str) -> None:
        """As if a member had never been begun."""
        if self._known.pop(name, None) is not None:
            self._folder.write_json(_TIMES, self._known)

    def _note(self, name: str, content: Mapping[str, Any]) -> None:
        self._known[name] = dict(content)
        self._folder.write_json(_TIMES, self._known)


def warm_up(config: TrainingConfig) -> None:
    """A first step, of which nothing is kept: kernels are compiled or read, modules imported."""
    from pipelines.trainer import Trainer

    with tempfile.TemporaryDirectory(prefix="qfleet-source-") as folder:
        first = config.with_overrides(["run.max_steps=1", "tracking.enabled=false", "run.name=none"])
        run = first.run.model_copy(update={"directory": folder})
        Trainer(first.model_copy(update={"run": run}), progress=False).fit()


def warm(
    study: Study, timings: Timings, name: str, config: TrainingConfig, tags: Mapping[str, str]
) -> TimedMember:
    """Train `name` in this process, unless it has ended."""
    folder = RunFolder(study.folder.members / name)
    if folder.recorded_result() is None:
        is_first = timings.begin(name)
        started = time.perf_counter()
        study.train(name, config, tags=tags)
        if is_first:
            timings.end(name, time.perf_counter() - started)
    return _timed(study.train(name, config, tags=tags), timings)


def cold(
    study: Study, timings: Timings, name: str, config: TrainingConfig, tags: Mapping[str, str]
) -> TimedMember:
    """Train `name` by a command of its own, unless it has ended; in this process where that was begun and interrupted."""
    folder = RunFolder(study.folder.members / name)
    if folder.recorded_result() is None:
        is_first = timings.begin(name)
        if is_first:
            timings.end(name, _command(study.member_config(name, config, tags), study.folder.path))
    return _timed(study.train(name, config, tags=tags), timings)


def _command(config: TrainingConfig, folder: Path) -> float:
    """Seconds that ``qfleet train`` takes with `config`.

    Raises:
        ExecutionError: it failed. KeyboardInterrupt: it was interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="command-", dir=folder) as place:
        RunFolder(Path(place)).write_config(config)
        command = [sys.executable, "-m", "pipelines.cli", "train", str(Path(place) / "config.toml"), "--json"]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        started = time.perf_counter()
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ExecutionError(f"qfleet train {config.run.name} ended with code {done.returncode}: {last[0]}")
    return seconds


def _timed(member: Member, timings: Timings) -> TimedMember:
    seconds = timings.seconds(member.name)
    training = None if seconds is None else float(member.result["seconds"]["train"])
    return TimedMember(member, seconds, training)
