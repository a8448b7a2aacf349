"""TrainingConfig -> objects: the only place that knows every part."""

from __future__ import annotations

from orchestrator.config import FleetConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError
from orchestrator.gradients.base import GradientRule
from orchestrator.losses.base import Loss
from orchestrator.protocols import Backend, Capabilities, Dispatcher
from orchestrator.registry import resolve


def build_loss(config: TrainingConfig) -> Loss:
    """The loss."""
    loss: Loss = resolve("loss", config.loss.name)()
    return loss


def build_backend(config: TrainingConfig) -> Backend:
    """The backend; nothing is opened yet."""
    backend: Backend = resolve("backend", config.backend.name)()
    return backend


def choose_rule(config: TrainingConfig, capabilities: Capabilities) -> GradientRule:
    """The configured rule; ``auto`` is adjoint where the backend answers exact derivatives, else parameter shift.

    Raises:
        CapabilityError: the backend cannot serve the rule.
    """
    exact = config.backend.shots is None
    name = config.gradient.rule
    if name == "auto":
        name = "adjoint" if exact and capabilities.has_jacobian else "parameter_shift"
    rule: GradientRule = resolve("gradient rule", name)()
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


def build_coordinator(fleet: FleetConfig, backend: Backend) -> Coordinator:
    """A coordinator over a started dispatcher."""
    return Coordinator(build_dispatcher(fleet, backend), backend.capabilities, fleet.job_seconds)
