"""TrainingConfig -> objects: the only place that knows every part."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, cast

from actors.mitigation.backend import Mitigated
from actors.mitigation.settings import Mitigation
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import BackendConfig, FleetConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError, ConfigError
from orchestrator.gradients.base import GradientRule
from orchestrator.losses.base import Loss
from orchestrator.planning.failures import FailurePolicy, GivenUpJobs
from orchestrator.protocols import Backend, Capabilities, Dispatcher, FleetEvent
from orchestrator.registry import resolve

_OF_ANY = (
    "shots",
    "noise_scales",
    "extrapolation",
    "noise_folding",
    "readout_mitigation",
    "calibration_shots",
)
"""Settings of ``config.backend`` that go with any backend."""
_OF_FAILURES = ("on_failure", "max_skipped", "fallback")
_OF_POOLS = ("targets", "share_by")


def build_loss(config: TrainingConfig) -> Loss:
    """The loss."""
    loss: Loss = resolve("loss", config.loss.name)()
    return loss


def build_backend(config: TrainingConfig) -> Backend:
    """The backend, with error mitigation around it where some is wanted; nothing is opened yet. It is given the settings of
    ``config.backend`` that its constructor takes.

    Raises:
        ConfigError: it takes no such setting, and the configuration sets it; more threads than an actor has CPUs; or mitigation that
            cannot be done.
    """
    mitigation, inner = mitigation_of(config.backend), _plain_backend(config)
    if not mitigation.is_on:
        return inner
    if config.backend.targets:
        problem = "noise that is scaled or calibrated must be that of one machine; nearest valid: backend.target, or no mitigation"
        raise ConfigError("backend.targets", list(config.backend.targets), problem)
    return Mitigated(inner, mitigation, config.run.seed)


def mitigation_of(backend: BackendConfig) -> Mitigation:
    """The error mitigation that is configured.

    Raises:
        ConfigError: it cannot be done, or a setting belongs to some that is off.
    """
    found = Mitigation(
        backend.noise_scales,
        backend.extrapolation,
        backend.noise_folding,
        backend.readout_mitigation,
        backend.calibration_shots,
    )
    defaults = BackendConfig()
    for name, needs, is_on in (
        ("extrapolation", "noise_scales = [1, 3, 5]", found.extrapolates),
        ("noise_folding", "noise_scales = [1, 3, 5]", found.extrapolates),
        ("calibration_shots", "readout_mitigation = true", found.readout),
    ):
        value, default = getattr(backend, name), getattr(defaults, name)
        if value != default and not is_on:
            raise ConfigError(f"backend.{name}", value, f"does nothing without backend.{needs}", str(default))
    return found


def _plain_backend(config: TrainingConfig) -> Backend:
    is_pool = (
        config.backend.targets and config.backend.name != "recorded"
    )  # one record holds all targets of its run
    return _pool(config) if is_pool else _single_backend(config)


def _pool(config: TrainingConfig) -> Backend:
    """Several targets as one backend."""
    from actors.backends.pooled import PooledBackend

    asked = config.backend
    default = BackendConfig().target
    if asked.name != "ionq":
        problem = f"backend {asked.name!r} has no targets; nearest valid: backend.name = 'ionq'"
        raise ConfigError("backend.targets", list(asked.targets), problem, "()")
    if asked.target != default:
        problem = "backend.targets names the targets; leave one of the two out"
        raise ConfigError("backend.target", asked.target, problem, default)
    members: list[Any] = []
    for target in asked.targets:
        alone = asked.model_copy(update={"target": target, "targets": ()})
        members.append(_single_backend(config.model_copy(update={"backend": alone})))
    pool: Any = PooledBackend(tuple(members), asked.share_by)
    return cast(Backend, pool)


def _single_backend(config: TrainingConfig) -> Backend:
    make = resolve("backend", config.backend.name)
    settings: dict[str, Any] = {
        name: getattr(config.backend, name)
        for name in BackendConfig.model_fields
        if name not in ("name", *_OF_ANY, *_OF_FAILURES, *_OF_POOLS)
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
    if "targets" in taken:
        given["targets"] = config.backend.targets
    if "prices" in taken and config.budget.prices is not None:
        given["prices"] = config.budget.prices
    backend: Backend = make(**given)
    _check_device(config, backend)
    return backend


def _check_device(config: TrainingConfig, backend: Backend) -> None:
    """Refuse a device that no session will see. What nodes of a cluster have is for the fleet to find out.

    Raises:
        ConfigError: this process has not got it, and sessions are opened here; or actors reserve no such GPU.
    """
    check_here = getattr(backend, "check_here", None)
    device, fleet = config.backend.device, config.fleet
    if check_here is None or fleet.is_shared:
        return
    if fleet.dispatcher == "serial":
        check_here()
    elif device.startswith("cuda"):
        index, reserved = int(device.partition(":")[2] or 0), fleet.resources_per_actor.get("GPU", 0.0)
        if reserved == 0:
            why = "Ray hides the GPUs from actors that reserve none; set fleet.resources_per_actor = {GPU = 1}; nearest valid: cpu"
            raise ConfigError("backend.device", device, why, "cpu")
        if index >= max(reserved, 1):
            why = f"an actor that reserves {reserved:g} GPU sees no others, and counts its own from 0; nearest valid: cuda"
            raise ConfigError("backend.device", device, why, "cuda")


def on_backend(config: TrainingConfig, name: str | None) -> TrainingConfig:
    """The configuration with another backend, which is given only those of the old one's settings that it has; None: as it is."""
    if name is None or name == config.backend.name:
        return config
    taken = inspect.signature(resolve("backend", name)).parameters
    kept = {
        key: getattr(config.backend, key)
        for key in config.backend.model_fields_set & {*taken, *_OF_ANY, *_OF_FAILURES}
    }
    return config.model_copy(update={"backend": BackendConfig(**{**kept, "name": name})})


def at_address(config: TrainingConfig, address: str | None) -> TrainingConfig:
    """The configuration with its actors in the Ray cluster at `address`, ``none`` for the usual one; None: as it is.

    Raises:
        ConfigError: it has no actors.
    """
    if address is None:
        return config
    if config.fleet.dispatcher == "serial":
        problem = "names a Ray cluster, and this runs in one process; add --actors N, or leave it out"
        raise ConfigError("--address", address, problem)
    return config.with_overrides([f"fleet.address={address}"])


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


def build_dispatcher(
    fleet: FleetConfig,
    backend: Backend,
    report: Callable[[str], None] | None = None,
    title: str | None = None,
) -> Dispatcher:
    """The configured dispatcher, its workers started.

    Args:
        title: how the status of a named fleet calls this client; None: by its process.
        report: told in words what the fleet waits for, where the cluster has no room for all of it; None: nobody.

    Raises:
        FleetError: the cluster cannot hold them; or has no fleet of the configured name.
        ConfigError: the fleet of that name has another backend.
    """
    if fleet.dispatcher == "serial":
        from actors.serial import SerialDispatcher

        return SerialDispatcher(backend)
    if fleet.is_shared:
        from actors.ray_fleet.shared import SharedFleet

        assert fleet.name is not None
        return SharedFleet(fleet.name, backend, address=fleet.address, title=title)
    from actors.ray_fleet import RayFleet

    def on_event(event: FleetEvent) -> None:
        if event.kind == "waiting" and report is not None:
            report(event.text)

    return RayFleet(backend, **ray_fleet_options(fleet), address=fleet.address, on_event=on_event)


def ray_fleet_options(fleet: FleetConfig) -> dict[str, Any]:
    """What a RayFleet is told of the configuration, by name; plain values, so that a named fleet's server can be told the same."""
    return {
        "n_actors": fleet.most_actors,
        "min_actors": fleet.least_actors,
        "max_in_flight": fleet.max_in_flight,
        "cpus_per_actor": fleet.cpus_per_actor,
        "resources_per_actor": fleet.resources_per_actor,
        "placement": fleet.placement,
        "wait_for_nodes_seconds": fleet.wait_for_nodes_seconds,
    }


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


def build_coordinator(
    fleet: FleetConfig,
    backend: Backend,
    failures: FailurePolicy | None = None,
    report: Callable[[str], None] | None = None,
    title: str | None = None,
) -> Coordinator:
    """A coordinator over a started dispatcher.

    Args:
        failures: what follows failed jobs; None: the end. report, title: as of `build_dispatcher`.
    """
    dispatcher = build_dispatcher(fleet, backend, report, title)
    return Coordinator(dispatcher, backend.capabilities, fleet.job_seconds, failures)


def failure_policy(config: TrainingConfig, given_up: GivenUpJobs) -> FailurePolicy:
    """What follows in training when jobs fail for good. `given_up`: those of the run so far.

    Raises:
        ConfigError, CapabilityError: the simulator that would take their place cannot.
    """
    asked = config.backend
    policy = FailurePolicy(asked.on_failure, asked.max_skipped, given_up=given_up)
    if asked.on_failure != "simulate":
        return policy
    from actors.serial import SerialDispatcher

    chosen = fallback_config(config)
    name = chosen.backend.name + (f":{chosen.backend.noise}" if chosen.backend.noise else "")
    return replace(policy, fallback=SerialDispatcher(build_backend(chosen)), fallback_name=name)


def check_fallback(config: TrainingConfig) -> None:
    """Refuse a simulator that could not take the place of failed jobs, before anything runs.

    Raises:
        ConfigError, CapabilityError: the text says why.
    """
    if config.backend.on_failure != "simulate":
        return
    can, shots = build_backend(fallback_config(config)).capabilities, config.backend.shots
    if (shots is None and not can.is_exact) or (shots is not None and not can.has_shots):
        raise CapabilityError("the simulator of backend.fallback does not take backend.shots as they are")


def fallback_config(config: TrainingConfig) -> TrainingConfig:
    """The configuration with the simulator that answers failed jobs.

    Where none is named it has the noise model of the target, of the first of several, as far as there is one.
    """
    from actors.backends.ionq import NOISE_OF_TARGET

    asked = config.backend
    noise = asked.noise or NOISE_OF_TARGET.get(asked.targets[0] if asked.targets else asked.target)
    name = asked.fallback or ("ideal" if noise is None else "noisy")
    chosen = on_backend(config, name)
    changes: dict[str, Any] = {"on_failure": "stop", "fallback": None}
    if name == "noisy" and noise is not None:
        changes["noise"] = noise
    return chosen.model_copy(
        update={
            "backend": chosen.backend.model_copy(update=changes),
            "fleet": config.fleet.model_copy(update={"dispatcher": "serial"}),
        }
    )
