"""What a process does that a test kills: a paid training, begun or resumed, in a folder that is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.config import TrainingConfig
from pipelines.trainer import Trainer

RUN = "paid"
SPEND_USD = 1e6
OVERRIDES = [
    "data.name=iris", "data.n_components=4", "data.max_samples=24", "loss.name=mse", "model.n_qubits=4", "model.n_layers=1",
    "run.epochs=2", "run.batch_size=5", "run.max_steps=3", "checkpoint.every_steps=1", "backend.name=ionq",
    "backend.target=qpu.aria-1", "backend.shots=600", "backend.circuits_per_job=10", "backend.lookup_seconds=0.3",
    "backend.request_seconds=0.5", "fleet.dispatcher=serial", "tracking.enabled=false", f"run.name={RUN}",
]  # fmt: skip


def config_in(folder: Path, *overrides: str) -> TrainingConfig:
    """Five samples a step on four qubits: 125 circuits at most in 9 jobs, three times, validation and test."""
    return TrainingConfig().with_overrides([*OVERRIDES, f"run.directory={folder / 'runs'}", *overrides])


def drive(folder: Path, environment: Mapping[str, str], *overrides: str) -> None:
    """Train in `folder`, from where the run there stands."""
    os.environ.update(environment)
    continue_or_begin(folder, *overrides).fit()


def continue_or_begin(folder: Path, *overrides: str, yes_spend_usd: float = SPEND_USD) -> Trainer:
    """The run of `folder`, new if there is none yet."""
    if (folder / "runs" / RUN / "config.toml").exists():
        return Trainer.resume(
            RUN, directory=str(folder / "runs"), progress=False, yes_spend_usd=yes_spend_usd
        )
    return Trainer(config_in(folder, *overrides), progress=False, yes_spend_usd=yes_spend_usd)
