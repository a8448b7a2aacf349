"""A trained run taken up again to be looked at: its best parameters, and somewhere to run its circuits, as is asked for now."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import TrainingConfig, actor_overrides
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError, ConfigError
from orchestrator.protocols import Backend
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
        config: its configuration, with the backend, shots and actors that are asked for.
        params: float64 [P], the best so far. epoch: of which they are.
    """

    folder: RunFolder
    prepared: PreparedRun
    config: TrainingConfig
    params: np.ndarray
    epoch: int


class Request(NamedTuple):
    """Where circuits are to be run, in place of where they were trained.

    Attributes:
        backend: its name; None: as in training.
        settings: overrides of the backend section, ``backend.noise=aria-1``.
        shots: repetitions of each circuit; None: as in training.
        actors: Ray actors; None: in this process, since a few circuits do not pay for a fleet. address: of their cluster.
    """

    backend: str | None = None
    settings: tuple[str, ...] = ()
    shots: int | None = None
    actors: int | None = None
    address: str | None = None

    def of(self, config: TrainingConfig) -> TrainingConfig:
        """`config` with what is asked for.

        Raises:
            ConfigError: a setting of another section; a value that the configuration refuses; an address, and no actors.
        """
        for setting in self.settings:
            key, _, value = setting.partition("=")
            if not key.strip().startswith("backend."):
                problem = "what was trained stays as it is: only keys of the backend section can be set here"
                raise ConfigError(key, value, problem, "backend.shots=1000")
        overrides = [*self.settings, *([] if self.shots is None else [f"backend.shots={self.shots}"])]
        overrides += ["fleet.dispatcher=serial"] if self.actors is None else actor_overrides(self.actors)
        return at_address(on_backend(config, self.backend).with_overrides(overrides), self.address)


def saved_run(options: argparse.Namespace) -> SavedRun:
    """The run that `options` name.

    Raises:
        InputError: there is no such run; or an address is given, and no actors.
        CheckpointError: it has no parameters yet, or a file of it is damaged.
    """
    request = Request(
        options.backend, tuple(getattr(options, "set", ())), options.shots, options.actors, options.address
    )
    return open_run(options.run, options.directory, request)


def open_run(run: str, directory: str = "runs", request: Request | None = None) -> SavedRun:
    """The run that `RunFolder.find` finds, to be run as `request` says; None: as it was trained, but in this process.

    Raises:
        InputError: there is no such run, or the request cannot be met.
        CheckpointError: it has no parameters yet, or a file of it is damaged.
    """
    folder = RunFolder.find(run, directory)
    prepared, fingerprint = load_run(folder)
    config = (request or Request()).of(prepared.config)
    params, epoch = best_params(folder, prepared, fingerprint)
    return SavedRun(folder, prepared, config, params, epoch)


@contextmanager
def connected(saved: SavedRun, yes_spend_usd: float | None) -> Iterator[Coordinator]:
    """A coordinator on the run's backend, its fleet started, and stopped in the end.

    Raises:
        SpendingNotAllowedError: the target costs money. FleetError: the fleet does not start.
    """
    circuit = saved.prepared.task.model.measured
    with connected_to(saved.config, saved.folder, [circuit], yes_spend_usd) as coordinator:
        yield coordinator


@contextmanager
def connected_to(
    config: TrainingConfig,
    folder: RunFolder,
    circuits: Sequence[MeasuredCircuit],
    yes_spend_usd: float | None,
) -> Iterator[Coordinator]:
    """A coordinator on the configured backend, its fleet started, and stopped in the end.

    Args:
        folder: that keeps the book of what is paid. circuits: that will be run; kernels for the first are compiled meanwhile.

    Raises:
        CapabilityError: the backend takes no such circuits. SpendingNotAllowedError: the target costs money.
        FleetError: the fleet does not start.
    """
    backend = build_backend(config)
    for circuit in circuits:
        _check_takes(backend, circuit, config.backend.shots)
    with ExitStack() as stack:
        backend = with_book(config, backend, folder, yes_spend_usd, stack)
        with warming_up(backend, circuits[0], config.backend.shots, report_on_stderr):
            coordinator = build_coordinator(config.fleet, backend)
        stack.callback(coordinator.dispatcher.close)
        yield coordinator


def _check_takes(backend: Backend, circuit: MeasuredCircuit, shots: int | None) -> None:
    """Refuse what the coordinator would, before a fleet is started for it."""
    can, n_qubits = backend.capabilities, circuit.template.n_qubits
    if n_qubits > can.max_qubits:
        raise CapabilityError(
            f"the circuit has {n_qubits} qubits, backend {backend.name!r} takes at most {can.max_qubits}"
        )
    if shots is None and not can.is_exact:
        raise CapabilityError(f"backend {backend.name!r} only samples: say how often, e.g. --shots 1000")
    if shots is not None and not can.has_shots:
        raise CapabilityError(
            f"backend {backend.name!r} is exact only and takes no shots; nearest valid: --set backend.shots=none"
        )
