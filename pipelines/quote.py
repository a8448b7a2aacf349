"""``qfleet quote``: what a run would cost, target by target and rule by rule, before anything is sent. Nothing is run or written."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.config import BackendConfig, TrainingConfig
from orchestrator.costs.catalogue import Catalogue
from orchestrator.costs.money import in_usd, micro_down
from orchestrator.costs.work import Bounds, GateCounter, Gateset, PlanPricer, QuoteSettings, Work
from orchestrator.errors import QfleetError
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.circuits.measured import MeasuredCircuit
    from orchestrator.circuits.template import CircuitTemplate
    from orchestrator.costs.gate_counts import GateCounts
    from orchestrator.costs.quote import RunQuote, RunShape
    from orchestrator.costs.steps import Demands
    from orchestrator.gradients.problem import GradientProblem
    from orchestrator.optimizers.transform import State
    from orchestrator.planning.plan import EvaluationPlan
    from pipelines.run_setup import PreparedRun

_PAID = Capabilities(is_exact=True, has_shots=True, has_jacobian=False, max_qubits=2**31, is_paid=True)
"""What every target of the catalogue can do; what one cannot beyond that, its entry says."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Price the configuration that the command line names. Returns what ``--json`` prints.

    Raises:
        InputError: as ``qfleet train`` refuses it; a target without a price, a rule that is none.
    """
    config = TrainingConfig.from_toml(options.config, options.set)
    catalogue = catalogue_of(config)
    configured = config.backend.targets or (config.backend.target,)
    targets = options.target or sorted(catalogue.entries, key=lambda target: target not in configured)
    for target in targets:
        catalogue.entry(target)
    from pipelines.quote_report import footer, sections
    from pipelines.report import print_sections
    from pipelines.run_setup import prepare_run

    outcome = quote(prepare_run(config), targets, options.rule)
    print_sections("quote: nothing was sent", sections(outcome), footer(outcome), to_stdout=not options.json)
    return outcome


def catalogue_of(config: TrainingConfig) -> Catalogue:
    """The prices that hold for a run.

    Raises:
        ConfigError: ``budget.prices`` cannot be read.
    """
    return Catalogue.default() if config.budget.prices is None else Catalogue.load(config.budget.prices)


def settings_of(backend: BackendConfig, target: str | None = None) -> QuoteSettings:
    """How the configured backend sends circuits, to `target` if it is given.

    Where it does not say whether errors are mitigated, they are, but for the simulator: that is IonQ's default.
    """
    target = target or backend.target
    is_mitigated = backend.error_mitigation
    return QuoteSettings(
        target=target,
        gateset=backend.gateset,
        is_mitigated=target != "simulator" if is_mitigated is None else is_mitigated,
        circuits_per_job=backend.circuits_per_job,
        shots=backend.shots,
        calibration_shots=backend.calibration_shots if backend.readout_mitigation else None,
        by_sample=backend.on_failure == "skip_samples",
    )


def ionq_gate_counts(target: str) -> GateCounter:
    """Billing counts of circuits as they are sent to a target of IonQ's; refused where it does not take the gate set."""
    from actors.ionq.templates import check_gateset, gate_counts

    def count(template: CircuitTemplate, basis: str, gateset: Gateset) -> GateCounts:
        if target.startswith("qpu."):
            check_gateset(gateset, target)
        return gate_counts(template, basis, gateset)

    return count


def circuits_run_for(backend: BackendConfig) -> Callable[[MeasuredCircuit], list[MeasuredCircuit]]:
    """What error mitigation runs in place of a circuit."""
    from actors.mitigation.expansion import expand
    from pipelines.compose import mitigation_of

    mitigation = mitigation_of(backend)
    return lambda circuit: [part.circuit for part in expand(circuit, mitigation)]


def quote(run: PreparedRun, targets: Sequence[str], rules: Sequence[str] | None = None) -> dict[str, Any]:
    """Prices of `run` on every target with every rule, as plain values.

    Args:
        targets: of the catalogue.
        rules: None: all registered ones, and the configured one.

    Raises:
        InputError: an unknown target or rule.
    """
    catalogue, shape = catalogue_of(run.config), run_shape(run)
    asked = _demands_by_rule(run, shape.batch_sizes, rules)
    cap = None if run.config.budget.max_usd is None else micro_down(run.config.budget.max_usd)
    priced: list[dict[str, Any]] = []
    for target in targets:
        settings = settings_of(run.config.backend, target)
        counter = ionq_gate_counts(target)
        pricer = PlanPricer(catalogue.entry(target), settings, counter, circuits_run_for(run.config.backend))
        rows = [_row(demand, shape, pricer, cap) for demand in asked]
        priced.append(_about(run, pricer) | {"rules": rows})
    backend = run.config.backend
    return {
        "quote": True,
        "rule": _configured(run),
        "target": ", ".join(backend.targets) or backend.target,
        "steps": len(shape.batch_sizes),
        "epochs": shape.n_epochs,
        "least_epochs": shape.least_epochs,
        "shots": backend.shots,
        "gateset": backend.gateset,
        "error_mitigation": backend.error_mitigation,
        "noise_scales": list(backend.noise_scales),
        "readout_mitigation": backend.readout_mitigation,
        "circuits_per_job": backend.circuits_per_job,
        "budget_usd": run.config.budget.max_usd,
        "targets": priced,
    }


def run_shape(run: PreparedRun) -> RunShape:
    """The steps and evaluations that `run` consists of."""
    from orchestrator.costs.quote import RunShape

    task, config = run.task, run.config.run
    n_train, n_in_epoch = len(task.train.targets), task.n_batches
    of_epoch = [min(config.batch_size, n_train - k * config.batch_size) for k in range(n_in_epoch)]
    n_epochs = math.ceil(task.n_steps / n_in_epoch)
    patience = config.early_stopping_patience
    return RunShape(
        batch_sizes=(of_epoch * n_epochs)[: task.n_steps],
        steps_an_epoch=n_in_epoch,
        validation=None if task.validation is None else _plain(run, task.validation.features),
        test=_plain(run, run.data.test.features) if len(run.data.test.targets) else None,
        least_epochs=None if patience is None else 1 + patience,
    )


def _plain(run: PreparedRun, features: np.ndarray) -> EvaluationPlan:
    """Values of samples, as `training.loop.evaluate_samples` asks for them."""
    from orchestrator.planning.noise_keys import noise_keys
    from orchestrator.planning.plan import EvaluationPlan

    model, seed = run.task.model, run.config.run.seed
    keys = noise_keys(seed, "quote", model.measured)
    angles = model.angles(model.initial_params(seed), features)
    return EvaluationPlan(model.measured, angles, shots=run.task.shots, noise_keys=keys)


@dataclass(frozen=True)
class _Asked:
    """What a run asks for with a rule.

    Attributes:
        demands: of each step, or why there are none.
        note: what is assumed of it, if anything.
    """

    name: str
    demands: list[Demands] | str
    note: str | None = None


def _demands_by_rule(
    run: PreparedRun, batch_sizes: Sequence[int], rules: Sequence[str] | None
) -> list[_Asked]:
    from orchestrator.registry import GRADIENT_RULES, check_name

    for name in rules or ():
        check_name("gradient rule", name)
    names = rules or [*GRADIENT_RULES, _configured(run)]
    return [_asked(run, batch_sizes, name) for name in dict.fromkeys(names)]


def _asked(run: PreparedRun, batch_sizes: Sequence[int], name: str) -> _Asked:
    from orchestrator.costs.steps import demands_of, is_bounded_only, is_known
    from orchestrator.training.gradient import gradient_problem
    from orchestrator.training.reports import Samples
    from pipelines.doctor.rules import with_rule

    exact = replace(run, task=replace(run.task, has_jacobian=False))
    try:
        changed = with_rule(exact, name, _PAID)
        task, gradient = changed.task, changed.config.gradient
        params = task.model.initial_params(task.run.seed)

        def problem_of(step: int, n_samples: int, state: State) -> GradientProblem:
            batch = Samples(task.train.features[:n_samples], task.train.targets[:n_samples])
            return gradient_problem(task, params, batch, step, state)

        demands = demands_of(task.rule, gradient, batch_sizes, problem_of)
    except QfleetError as error:  # the rule does not apply
        return _Asked(name, str(error))
    note = None
    if is_bounded_only(task.rule, gradient):
        note = "the measured values decide what it asks for: least and most are bounds"
    elif not is_known(task.rule):
        note = "asked for as if all measured values were zero: a rule of your own may ask for more"
    return _Asked(name, demands, note)


def _configured(run: PreparedRun) -> str:
    """The rule that trains: ``auto`` is parameter shift where a backend does not differentiate."""
    name = run.config.gradient.rule
    return "parameter_shift" if name == "auto" else name


def _row(asked: _Asked, shape: RunShape, pricer: PlanPricer, cap: int | None) -> dict[str, Any]:
    from orchestrator.costs.quote import quote_run

    row: dict[str, Any] = {"rule": asked.name}
    if isinstance(asked.demands, str):
        return row | {"refused": asked.demands}
    try:
        found = quote_run(shape, asked.demands, pricer)
    except QfleetError as error:  # the target does not take what is asked for
        return row | {"refused": str(error), "by_target": True}
    return row | _figures(found, cap) | {"note": asked.note}


def _figures(found: RunQuote, cap: int | None) -> dict[str, Any]:
    parts = {
        "step": found.step, "training": found.training, "validation": found.validation, "test": found.test,
        "calibration": found.calibration, "run": found.total,
    }  # fmt: skip
    figures: dict[str, Any] = {name: _plain_bounds(bounds) for name, bounds in parts.items()}
    return figures | {"steps_within_budget": None if cap is None else found.steps_within(cap)}


def _plain_bounds(bounds: Bounds) -> dict[str, Any]:
    low, high = _plain_work(bounds.low), _plain_work(bounds.high)
    return low if bounds.is_exact else {"least": low, "most": high}


def _plain_work(work: Work) -> dict[str, Any]:
    return {**work._asdict(), "usd": in_usd(work.micro)}


def _about(run: PreparedRun, pricer: PlanPricer) -> dict[str, Any]:
    """The target, and what its prices rest on."""
    entry, measured = pricer.entry, run.task.model.measured
    about: dict[str, Any] = {
        "target": entry.target,
        "model": entry.model,
        "date": entry.date.isoformat(),
        "source": entry.source,
        "reading": entry.reading,
        "is_mitigated": pricer.settings.is_mitigated,
    }
    try:
        counts = pricer.counts(measured)
    except QfleetError as error:
        return about | {"refused": str(error)}
    groups = [
        {"basis": group.basis, **count._asdict()}
        for group, count in zip(measured.groups, counts, strict=True)
    ]
    return about | {"gates_by_measurement_group": groups}


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["quote", *sys.argv[1:]]))
