"""A trained run taken up again to be looked at: its best parameters, and somewhere to run its circuits, as the command line says."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np

from orchestrator.config import TrainingConfig, actor_overrides
from orchestrator.coordinator import Coordinator
from pipelines.compose import (
    at_address,
    build_backend,
    build_coordinator,
    on_backend,
    report_on_stderr,
    warming_up,
)
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun, best_params, load_run
from pipelines.spending import with_book


class SavedRun(NamedTuple):
    """A run and how its circuits are to be run now.

    Attributes:
        folder: the run's. prepared: as it was trained.
        config: its configuration, with the backend, shots and actors that the command line asks for.
        params: float64 [P], the best so far. epoch: of which they are.
    """

    folder: RunFolder
    prepared: PreparedRun
    config: TrainingConfig
    params: np.ndarray
    epoch: int


def saved_run(options: argparse.Namespace) -> SavedRun:
    """The run that `options` name.

    Raises:
        InputError: there is no such run; or an address is given, and no actors.
        CheckpointError: it has no parameters yet, or a file of it is damaged.
    """
    folder = RunFolder.find(options.run, options.directory)
    overrides = [] if options.shots is None else [f"backend.shots={options.shots}"]
    # A few circuits do not pay for a fleet: they run in this process unless actors are asked for.
    overrides += ["fleet.dispatcher=serial"] if options.actors is None else actor_overrides(options.actors)
    prepared, fingerprint = load_run(folder)
    config = on_backend(prepared.config, options.backend).with_overrides(overrides)
    config = at_address(config, options.address)
    params, epoch = best_params(folder, prepared, fingerprint)
    return SavedRun(folder, prepared, config, params, epoch)


@contextmanager
def connected(saved: SavedRun, yes_spend_usd: float | None) -> Iterator[Coordinator]:
    """A coordinator on the run's backend, its fleet started, and stopped in the end.

    Raises:
        SpendingNotAllowedError: the target costs money. FleetError: the fleet does not start.
    """
    config = saved.config
    with ExitStack() as stack:
        backend = with_book(config, build_backend(config), saved.folder, yes_spend_usd, stack)
        measured = saved.prepared.task.model.measured
        with warming_up(backend, measured, config.backend.shots, report_on_stderr):
            coordinator = build_coordinator(config.fleet, backend)
        stack.callback(coordinator.dispatcher.close)
        yield coordinator
