"""TrainingConfig -> objects: the only place that knows every part."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import BackendConfig, FleetConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError, ConfigError
from orchestrator.gradients.base import GradientRule
from orchestrator.losses.base import Loss
from orchestrator.protocols import Backend, Capabilities, Dispatcher
from orchestrator.registry import resolve


def build_loss(config: TrainingConfig) -> Loss:
    """The loss."""
    loss: Loss = resolve("loss", config.loss.name)()
    return loss


def build_backend(config: TrainingConfig) -> Backend:
    """The backend; nothing is opened yet. It is given the settings of ``config.backend`` that its constructor takes.

    Raises:
        ConfigError: it takes no such setting, and the configuration sets it; or more threads than an actor has CPUs.
    """
    make = resolve("backend", config.backend.name)
    settings: dict[str, Any] = {
        name: getattr(config.backend, name)
        for name in BackendConfig.model_fields
        if name not in ("name", "shots")
    }
    settings["threads"] = n_threads(config)
    taken = inspect.signature(make).parameters
    defaults = BackendConfig()
    for name in settings:
        value, default = getattr(config.backend, name), getattr(defaults, name)
        if name not in taken and value != default:
            raise ConfigError(
                f"backend.{name}",
                value,
                f"backend {config.backend.name!r} has no such setting",
                "none" if default is None else str(default),
            )
    given = {name: value for name, value in settings.items() if name in taken and value is not None}
    if "prices" in taken and config.budget.prices is not None:
        given["prices"] = config.budget.prices
    backend: Backend = make(**given)
    return backend


def on_backend(config: TrainingConfig, name: str | None) -> TrainingConfig:
    """The configuration with another backend, which is given only those of the old one's settings that it has; None: as it is."""
    if name is None or name == config.backend.name:
        return config
    taken = inspect.signature(resolve("backend", name)).parameters
    kept = {key: getattr(config.backend, key) for key in config.backend.model_fields_set & {*taken, "shots"}}
    return config.model_copy(update={"backend": BackendConfig(**{**kept, "name": name})})


def n_threads(config: TrainingConfig) -> int:
    """Threads of each session, so that the actors of a node never run more than the CPUs reserved for them (at least one each).

    Raises:
        ConfigError: more are asked for than an actor has CPUs.
    """
    wanted, fleet = config.backend.threads, config.fleet
    share = max(1, int(fleet.cpus_per_actor)) if fleet.dispatcher == "ray" else None
    if isinstance(wanted, str):  # auto
        return share or 1
    if share is not None and wanted > share:
        raise ConfigError(
            "backend.threads",
            wanted,
            f"an actor has fleet.cpus_per_actor = {fleet.cpus_per_actor:g} CPUs; nearest valid: {share}, or reserve more",
            str(share),
        )
    return wanted


def choose_rule(config: TrainingConfig, capabilities: Capabilities) -> GradientRule:
    """The configured rule; ``auto`` is adjoint where the backend answers exact derivatives, else parameter shift.

    Raises:
        CapabilityError: the backend cannot serve the rule.
    """
    exact = config.backend.shots is None
    name = config.gradient.rule
    if name == "auto":
        name = "adjoint" if exact and capabilities.has_jacobian else "parameter_shift"
    if config.gradient.shots_per_step is not None and exact:
        raise ConfigError(
            "gradient.shots_per_step",
            config.gradient.shots_per_step,
            "divides shots, and exact values take none: set backend.shots, or leave it out",
            "none",
        )
    rule: GradientRule = resolve("gradient rule", name)(config.gradient)
    if rule.needs_jacobian and not (exact and capabilities.has_jacobian):
        why = "estimates from shots" if not exact else f"backend {config.backend.name!r}"
        raise CapabilityError(
            f"gradient.rule = {config.gradient.rule!r} needs a backend that differentiates exactly, which {why} does not; "
            "nearest valid: gradient.rule = 'parameter_shift'"
        )
    return rule


def build_dispatcher(fleet: FleetConfig, backend: Backend) -> Dispatcher:
    """The configured dispatcher, its workers started.

    Raises:
        FleetError: the cluster cannot hold them.
    """
    if fleet.dispatcher == "serial":
        from actors.serial import SerialDispatcher

        return SerialDispatcher(backend)
    from actors.ray_fleet import RayFleet

    return RayFleet(
        backend,
        fleet.n_actors,
        max_in_flight=fleet.max_in_flight,
        cpus_per_actor=fleet.cpus_per_actor,
        address=fleet.address,
        wait_for_nodes_seconds=fleet.wait_for_nodes_seconds,
    )


@contextmanager
def warming_up(
    backend: Backend, circuit: MeasuredCircuit, shots: int | None, report: Callable[[str], None]
) -> Iterator[None]:
    """Let the backend prepare this machine for `circuit` (compile kernels, once) while something else starts.

    Only saves time, so its errors are not raised: the actors meet them too, and theirs reach the user.
    """
    warm_up = getattr(backend, "warm_up", None)

    def work() -> None:
        assert warm_up is not None
        with suppress(Exception):
            warm_up(circuit, shots, report)

    thread = threading.Thread(target=work, name="qfleet-warm-up", daemon=True)
    if warm_up is not None:
        thread.start()
    try:
        yield
    finally:
        if warm_up is not None:
            thread.join()


def report_on_stderr(line: str) -> None:
    """Say `line` where no display is."""
    print(line, file=sys.stderr)


def build_coordinator(fleet: FleetConfig, backend: Backend) -> Coordinator:
    """A coordinator over a started dispatcher."""
    return Coordinator(build_dispatcher(fleet, backend), backend.capabilities, fleet.job_seconds)
