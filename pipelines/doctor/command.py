"""What ``qfleet doctor`` does: read the configuration, examine, print. Nothing is trained, and nothing is written."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrainingConfig, actor_overrides

if TYPE_CHECKING:
    from orchestrator.protocols import Backend
    from pipelines.run_setup import PreparedRun


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Examine the configuration the command line names. Returns what ``--json`` prints.

    Raises:
        InputError: as ``qfleet train`` refuses it.
    """
    actors = [] if options.actors is None else actor_overrides(options.actors)
    config = TrainingConfig.from_toml(options.config, [*options.set, *actors])
    from pipelines.doctor.report import sections
    from pipelines.report import print_sections
    from pipelines.run_setup import prepare_run

    outcome = examine(prepare_run(config), measure=options.measure)
    footer = ["* the rule in use"]
    if options.measure:
        footer.append(
            "times: one worker in this process, measured on a few circuits; N actors take at least 1/N of it"
        )
    print_sections("doctor: nothing was trained", sections(outcome), footer, to_stdout=not options.json)
    return outcome


def examine(run: PreparedRun, *, measure: bool = True) -> dict[str, Any]:
    """All examinations, as plain values.

    Args:
        measure: run circuits where a figure needs it: times, gradients at random points.
    """
    from pipelines.compose import build_backend
    from pipelines.doctor.circuit import examine_circuit
    from pipelines.doctor.gradient import examine_gradient
    from pipelines.doctor.memory import examine_memory
    from pipelines.doctor.parameters import examine_parameters
    from pipelines.doctor.rules import first_step, plans_of
    from pipelines.doctor.simplification import examine_simplified
    from pipelines.doctor.staleness import examine_staleness

    backend = build_backend(run.config)
    fleet = run.config.fleet
    return {
        "doctor": True,
        "data": run.data.source,
        "backend": run.config.backend.name,
        "torch": _torch_of(backend),
        "actors": fleet.most_actors if fleet.dispatcher == "ray" else 1,
        "circuit": examine_circuit(run.task.model),
        "work": _work(run, backend, measure=measure),
        "gradient": examine_gradient(run) if measure else None,
        "parameters": examine_parameters(run, measure=measure),
        "simplification": examine_simplified(run) if measure else None,
        "staleness": examine_staleness(run.task),
        "memory": examine_memory(run, backend, plans_of(run.task.rule, first_step(run))),
    }


def _torch_of(backend: Backend) -> dict[str, Any] | None:
    """What the backend torch has here; None for others."""
    from actors.backends.torch import TorchBackend, torch_here

    return torch_here() | {"device": backend.device} if isinstance(backend, TorchBackend) else None


def _work(run: PreparedRun, backend: Backend, *, measure: bool) -> list[dict[str, Any]]:
    from pipelines.compose import report_on_stderr, warming_up
    from pipelines.doctor.pace import CircuitPace
    from pipelines.doctor.rules import examine_rules

    # A paid backend is asked for nothing: what is measured here would be charged.
    if not measure or backend.capabilities.is_paid:
        return examine_rules(run, backend.capabilities, None)
    with warming_up(backend, run.task.model.measured, run.config.backend.shots, report_on_stderr):
        pace = CircuitPace(backend)
    try:
        return examine_rules(run, backend.capabilities, pace)
    finally:
        pace.close()
