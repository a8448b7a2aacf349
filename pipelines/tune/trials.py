"""What a trial of a study is: a training in a folder below ``members/``, in whichever process it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from orchestrator.config import FleetConfig
from orchestrator.errors import InputError
from orchestrator.training.state import TrainState
from pipelines.callbacks import TrainingStopped
from pipelines.checkpoints import Checkpoints
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun, load_run
from pipelines.studies.study import spent_usd
from pipelines.tune.following import FAILURES, Following, Order, totals_of
from pipelines.tune.search import Outcome

_FREE_SECONDS = 60.0
"""How long a trial waits for a process that a killed study has left over, and that still trains it."""

Result = dict[str, Any]
"""What `TrainingResult.to_json` said."""


def carried_out(
    order: Order, following: Following, train: Callable[[], Result]
) -> tuple[Outcome, Result | None]:
    """Have a trial trained by `train`, which calls `following` back; how it ended, and the result of its run unless it failed."""
    folder = RunFolder(Path(order.config.run.directory) / order.name)
    try:
        result = train()
        if not following.reports:  # it had come to its end, and the search was killed before it heard of that
            _read_history(folder, following)
    except FAILURES as error:
        return following.failed(error, _paid(folder, order)), None
    if folder.recorded_result() is None:
        folder.write_json("result.json", result)  # a trial that was stopped is done with
    outcome = following.outcome(totals_of(result), result.get("stop_reason"))
    return replace(outcome, spent=max(outcome.spent, _paid(folder, order))), result


def _paid(folder: RunFolder, order: Order) -> int:
    """What the run's book says was paid and reserved, micro-dollars, with what no epoch has reported; 0 where circuits are counted."""
    return round(spent_usd(folder) * 1e6) if order.unit == "usd" and folder.path.is_dir() else 0


def train_in_own_process(order: Order, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train a trial in this process, which is its own, from its last checkpoint where it has one.

    Returns:
        ``outcome``, as of `search.Outcome`, and ``result``; plain values.
    """
    following = Following(order.rule, order.metric, order.unit, lambda report: tell(report._asdict()))
    outcome, result = carried_out(order, following, lambda: _trained(order, following))
    return {"outcome": asdict(outcome), "result": result}


def _trained(order: Order, following: Following) -> Result:
    from pipelines.trainer import Trainer

    folder = RunFolder(Path(order.config.run.directory) / order.name)
    begun = (folder.path / "config.toml").is_file()
    if begun:
        _wait_until_free(folder)
    recorded = folder.recorded_result() if begun else None
    if recorded is not None:
        return recorded
    options: dict[str, Any] = {"callbacks": [following], "progress": False}
    trainer = Trainer.resume(str(folder.path), **options) if begun else Trainer(order.config, **options)
    return trainer.fit().to_json()


def _wait_until_free(folder: RunFolder) -> None:
    """Wait for the end of another process that drives the run; one that stays is told of by whoever locks it next."""
    deadline = time.monotonic() + _FREE_SECONDS
    while time.monotonic() < deadline:
        with suppress(InputError):
            folder.lock()
            folder.unlock()
            return
        time.sleep(0.2)


def _read_history(folder: RunFolder, following: Following) -> None:
    """Tell `following` the epochs of a finished run."""
    _, state = last_state(folder)
    if state is not None:
        with suppress(TrainingStopped):
            following.on_begin(state)


def last_state(folder: RunFolder) -> tuple[PreparedRun, TrainState | None]:
    """A trial, its circuits in this process, and where its training stands; None: it has no checkpoint."""
    run, fingerprint = load_run(folder, FleetConfig(dispatcher="serial"))
    state, _ = Checkpoints(folder.checkpoints, run.config.checkpoint.keep, fingerprint).load_newest()
    return run, state
