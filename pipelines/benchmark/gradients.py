"""Gradient rules side by side: one problem, plain descent with every rule, each at the best of the same learning rates.

Steps are compared and circuits are: a rule that takes fewer steps may pay for them with more circuits. What is compared is the exact
loss over the whole training split, whatever the gradient was made of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError, ConfigError, ExecutionError, nearest
from orchestrator.gradients.base import predict
from orchestrator.losses.base import Task
from orchestrator.models.model import Model
from orchestrator.registry import GRADIENT_RULES
from orchestrator.training.gradient import first_problem
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import Samples, StepReport
from orchestrator.training.task import TrainingTask
from pipelines.compose import build_backend, build_dispatcher, choose_rule
from pipelines.display.formatting import format_count
from pipelines.run_setup import prepare_run

N_SPINS = 4
ISING = " ".join([*(f"- Z{i}*Z{i + 1}" for i in range(N_SPINS - 1)), *(f"- X{i}" for i in range(N_SPINS))])
GROUND_ENERGY = -4.758770483143628
"""Of the open chain ``-sum Z_i Z_i+1 - sum X_i`` of four spins, from the 16 x 16 matrix (a test diagonalises it)."""
_COMMON = [
    "run.batch_size=1000",
    "optimizer.name=sgd",
    "optimizer.momentum=0",
    "fleet.dispatcher=serial",
    "tracking.enabled=false",
]
PROBLEMS: dict[str, list[str]] = {
    "energy": [
        *_COMMON, f"model.n_qubits={N_SPINS}", "model.n_layers=3", "model.initial_scale=0.3",
        "model.head='none'", f"model.observables={ISING}",
    ],
    "classification": [
        *_COMMON, "data.name=iris", "data.classes=[1, 2]", "data.n_components=none", "data.test_fraction=0",
        "data.validation_fraction=0", "model.n_qubits=4", "model.n_layers=3", "model.initial_scale=0.5",
    ],
}  # fmt: skip
"""energy: the ground state of a transverse-field Ising chain, 36 angles; the loss is the energy above it, in units of the coupling.
classification: two overlapping kinds of iris, 100 samples, 36 angles and a linear head; every step sees all samples."""
RATES = (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
VARIANTS = {"natural_gradient_full": ["gradient.rule=natural_gradient", "gradient.metric=full"]}
"""Rules with other than their default settings, by a name of their own."""
SPSA_OPTIONS = ["gradient.perturbation_decay=0"]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print a table, draw if asked. Returns what ``--json`` prints.

    Raises:
        ConfigError: a rule or a number of steps is refused.
    """
    known = [*GRADIENT_RULES, *VARIANTS]
    rules = options.rule or known
    for rule in rules:
        if rule not in known:
            raise ConfigError("--rule", rule, f"known: {', '.join(known)}", nearest(rule, known))
    if options.steps < 1:
        raise ConfigError("--steps", options.steps, "should be greater than or equal to 1", "1")
    base = TrainingConfig().with_overrides([*PROBLEMS[options.problem], *SPSA_OPTIONS, *options.set])
    outcome: dict[str, Any] = {
        "benchmark": "gradients",
        "problem": options.problem,
        "shots": base.backend.shots,
        "steps": options.steps,
        "rules": [],
    }
    for rule in rules:
        found = best(base, options.problem, rule, options.steps)
        line = found.get("error") or f"rate {found['learning_rate']:g}, loss {found['losses'][-1]:.4f}"
        print(f"{rule}: {line}", file=sys.stderr, flush=True)
        outcome["rules"].append(found)
    outcome["target"] = add_steps_to_target(outcome["rules"])
    if options.plot:
        from pipelines.plots.gradient_rules import gradient_rules

        path = Path(options.plot)
        path = path / "gradient-rules.png" if path.suffix == "" else path
        gradient_rules(outcome, path)
        outcome["files"] = [str(path)]
    if not options.json:
        print(table(outcome))
    return outcome


def best(base: TrainingConfig, problem: str, rule: str, n_steps: int) -> dict[str, Any]:
    """The rule at the learning rate whose last losses are lowest; ``error`` where it does not apply."""
    tried = []
    for rate in RATES:
        config = base.with_overrides(
            [
                *VARIANTS.get(rule, [f"gradient.rule={rule}"]),
                f"optimizer.learning_rate={rate}",
                f"run.max_steps={n_steps}",
                f"run.epochs={n_steps}",
            ]
        )
        try:
            tried.append({"rule": rule, "learning_rate": rate, **descend(config, problem)})
        except (CapabilityError, ConfigError) as error:
            return {"rule": rule, "error": str(error)}
        except ExecutionError:
            continue  # the loss has run away
    if not tried:
        return {"rule": rule, "error": "the loss runs away at every learning rate"}
    return min(tried, key=lambda one: float(np.mean(one["losses"][-5:])))


def task_of(config: TrainingConfig, problem: str) -> TrainingTask:
    """What is trained."""
    if problem == "classification":
        return prepare_run(config).task
    backend = build_backend(config)
    one = Samples(np.zeros((1, config.model.n_qubits)), np.full(1, GROUND_ENERGY))
    task = TrainingTask(
        model=Model.from_config(config.model),
        loss=EnergyAbove(),
        rule=choose_rule(config, backend.capabilities),
        train=one,
        validation=None,
        run=config.run,
        optimizer=config.optimizer,
        shots=config.backend.shots,
        has_jacobian=config.backend.shots is None and backend.capabilities.has_jacobian,
    )
    task.rule.check(first_problem(task, 1))
    return task


class EnergyAbove:
    """mean (output - target): how far an energy is above the lowest one."""

    task: Task = "regression"
    degree = 1

    def n_outputs(self, n_classes: int, n_scores: int = 1) -> int:
        """One."""
        return 1

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean, and its derivative by the outputs [S, 1]."""
        return float(np.mean(outputs[:, 0] - targets)), np.full((len(targets), 1), 1.0 / len(targets))

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The energy."""
        return {"prediction": outputs[:, 0].copy()}

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """The loss."""
        return {"loss": self.value_and_gradient(outputs, targets)[0]}


def descend(config: TrainingConfig, problem: str) -> dict[str, Any]:
    """Train; the exact loss before every step, and circuits and shots up to it."""
    task = task_of(config, problem)
    backend = build_backend(config)
    coordinator = Coordinator(build_dispatcher(config.fleet, backend), backend.capabilities)
    per_step = predict(task.rule, first_problem(task, len(task.train.targets)))
    state = initial_state(task)
    losses, circuits, shots = [exact_loss(task, state.params, coordinator)], [0], [0]
    for report in train(task, state, coordinator):
        if isinstance(report, StepReport):
            losses.append(exact_loss(task, state.params, coordinator))
            circuits.append(report.totals.n_circuits)
            shots.append(report.totals.n_shots)
    return {"losses": losses, "circuits": circuits, "shots": shots, "circuits_per_step": per_step.n_circuits}


def exact_loss(task: TrainingTask, params: np.ndarray, coordinator: Coordinator) -> float:
    """Mean loss of the training split with exact values: what shots and random choices hide of the progress."""
    problem = replace(
        first_problem(task, len(task.train.targets)), params=params, shots=None, purpose="exact"
    )
    evaluation = coordinator.evaluate(problem.plan())
    return problem.backward(evaluation.values).loss


def add_steps_to_target(rules: Sequence[dict[str, Any]]) -> float | None:
    """The loss that plain descent ends with, and in `rules` the steps and circuits to get there."""
    plain = next((r for r in rules if r["rule"] in ("adjoint", "parameter_shift") and "losses" in r), None)
    if plain is None:
        return None
    target = float(plain["losses"][-1])
    for rule in rules:
        reached = [i for i, loss in enumerate(rule.get("losses", ())) if loss <= target * (1 + 1e-9)]
        rule["steps_to_target"] = reached[0] if reached else None
        rule["circuits_to_target"] = rule["circuits"][reached[0]] if reached else None
    return target


def table(outcome: dict[str, Any]) -> str:
    """Markdown."""
    target = outcome["target"]
    lines = [
        f"loss after {outcome['steps']} steps"
        + ("" if target is None else f"; target: loss {target:.4f}, where plain descent ends")
        + (f"; {outcome['shots']} shots" if outcome["shots"] else "; exact values"),
        "",
        "| rule | learning rate | circuits a step | loss | steps to target | circuits to target |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rule in outcome["rules"]:
        if "error" in rule:
            lines.append(f"| {rule['rule']} | – | – | {rule['error'].split(';')[0]} | – | – |")
            continue
        steps, circuits = rule.get("steps_to_target"), rule.get("circuits_to_target")
        lines.append(
            f"| {rule['rule']} | {rule['learning_rate']:g} | {format_count(rule['circuits_per_step'])} | {rule['losses'][-1]:.4f} | "
            f"{'not reached' if steps is None else steps} | {'–' if circuits is None else format_count(circuits)} |"
        )
    return "\n".join(lines)
