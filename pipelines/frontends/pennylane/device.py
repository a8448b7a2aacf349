"""QfleetDevice: PennyLane's device whose circuits run on a qfleet backend and fleet, whatever that is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.measurements import Shots
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.training.reports import Totals
from pipelines.frontends.executor import BackendSpec, Executor, FleetSpec
from pipelines.frontends.pennylane.batch import Batch, Group, evaluated, results_of
from pipelines.frontends.pennylane.derivatives import jacobians, vector_jacobian_products
from pipelines.frontends.pennylane.errors import QfleetDeviceError
from pipelines.frontends.pennylane.preprocessing import NAME, transforms_for
from pipelines.spending import Spending

_OWN_METHODS = ("adjoint", "device", "best")
_numbering = threading.Lock()
"""Held while steps are numbered; of all devices, because a device pickles."""


@simulator_tracking
@single_tape_support
class QfleetDevice(Device):
    """``qml.device("qfleet", wires=4, backend="ideal", fleet=2)``.

    Args:
        wires: a number, labels, or None: any.
        shots: of tapes that say nothing themselves, as PennyLane has it; None: as `backend` says, and exact if it says nothing.
        backend, fleet, seed, folder, yes_spend_usd: see `Executor`. One seed, one program, one sequence of shots: a second device in a
            program should have a seed of its own.

    Raises:
        ConfigError: a setting is refused, or money would be spent and there is no folder.
    """

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        *,
        backend: BackendSpec = "ideal",
        fleet: FleetSpec = None,
        seed: int = 7,
        folder: str | Path | None = None,
        yes_spend_usd: float | None = None,
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        vector = Shots(shots).shot_vector
        self._executor = Executor(
            backend,
            fleet,
            shots=vector[0].shots if vector else None,
            seed=seed,
            folder=folder,
            yes_spend_usd=yes_spend_usd,
        )
        if not vector:
            self._shots = Shots(self._executor.shots)
        self._step = 0

    @property
    def name(self) -> str:
        """As in `qml.device`."""
        return NAME

    @property
    def used(self) -> Totals:
        """Circuits, shots and dollars so far."""
        return self._executor.used

    def spending(self) -> Spending | None:
        """What the book says; None where nothing costs money, or nothing was run yet."""
        return self._executor.spending()

    def close(self) -> None:
        """Let go of the fleet; used again, the device opens one anew."""
        self._executor.close()

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> ExecutionConfig:
        """What is left open in `config`, decided.

        Raises:
            QfleetDeviceError: an option, or a way with mid-circuit measurements, that there is none of here.
        """
        config = config or ExecutionConfig()
        for option in config.device_options:
            raise QfleetDeviceError(
                f"device option {option!r} is not known: {NAME} takes its options in qml.device"
            )
        how = config.mcm_config.mcm_method
        if how not in (None, "deferred"):
            raise QfleetDeviceError(
                f"mcm_method={str(how)!r} is not supported on {NAME}: measurements are deferred; leave it out or say 'deferred'"
            )
        changes: dict[str, Any] = {"mcm_config": replace(config.mcm_config, mcm_method="deferred")}
        if config.gradient_method in _OWN_METHODS and self.supports_derivatives(config, circuit):
            changes |= {"gradient_method": "adjoint", "use_device_gradient": True}
            if config.grad_on_execution is None:
                changes["grad_on_execution"] = not config.use_device_jacobian_product
        return replace(config, **changes)

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> CompilePipeline:
        """See `transforms_for`."""
        return transforms_for(execution_config or ExecutionConfig(), self.wires)

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """Whether the backend differentiates by itself: exact values, first order."""
        if execution_config is not None and (
            execution_config.gradient_method not in _OWN_METHODS or execution_config.derivative_order != 1
        ):
            return False
        shots = self.shots if circuit is None else circuit.shots
        return self._executor.capabilities.has_jacobian and not shots

    def supports_vjp(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """As `supports_derivatives`."""
        return self.supports_derivatives(execution_config, circuit)

    def execute(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Run the tapes, those of one structure as one plan.

        A call that fails has not been: the next one has its steps, so that the same call again makes the same jobs, and those that were
        paid are served from the book.

        Raises:
            QfleetDeviceError: a tape is refused; nothing has been run.
            SpendingNotAllowedError, BudgetError: it costs money that nobody has allowed.
            ExecutionError, FleetError: it could not be finished.
        """
        batch = self._read(circuits)
        with _numbering:
            first = self._step
            plans = [self._plan(group) for group in batch.groups]
            following = self._step
        try:
            answers = evaluated(plans, self._run)
        except BaseException:
            with _numbering:
                if self._step == following:  # no other thread has gone on from there
                    self._step = first
            raise
        return results_of(
            batch,
            [
                np.zeros((group.n_rows, 0)) if answer is None else answer.values
                for group, answer in zip(batch.groups, answers, strict=True)
            ],
        )

    def compute_derivatives(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Jacobians of the tapes by their trainable parameters.

        Raises:
            QfleetDeviceError: see `jacobians`; or there is no direct derivative.
        """
        return jacobians(self._read_exact(circuits), self._run)[1]

    def execute_and_compute_derivatives(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Both from the same plans.

        Raises:
            QfleetDeviceError: see `jacobians`; or there is no direct derivative.
        """
        batch = self._read_exact(circuits)
        values, found = jacobians(batch, self._run)
        return results_of(batch, values), found

    def compute_vjp(
        self,
        circuits: Sequence[QuantumScript],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, ...]:
        """Vector-Jacobian products: one reverse sweep a row, however much is measured.

        Raises:
            QfleetDeviceError: cotangents of another shape than the results; or there is no direct derivative.
        """
        return vector_jacobian_products(self._read_exact(circuits), cotangents, self._run)

    def execute_and_compute_vjp(
        self,
        circuits: Sequence[QuantumScript],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Both, one after the other."""
        return self.execute(circuits, execution_config), self.compute_vjp(
            circuits, cotangents, execution_config
        )

    def _read(self, circuits: Sequence[QuantumScript]) -> Batch:
        order = None if self.wires is None else {wire: i for i, wire in enumerate(self.wires)}
        batch = Batch(circuits, order)
        for group in batch.groups:
            self._check(group)
        return batch

    def _read_exact(self, circuits: Sequence[QuantumScript]) -> Batch:
        """As `_read`, for derivatives."""
        for tape in circuits:
            if not self.supports_derivatives(circuit=tape):
                name = self._executor.config.backend.name
                reason = "a tape with shots" if tape.shots else f"the backend {name!r}"
                raise QfleetDeviceError(
                    f"{reason} has no direct derivative: use diff_method='parameter-shift'"
                )
        return self._read(circuits)

    def _check(self, group: Group) -> None:
        """Refuse what the backend cannot do, in PennyLane's words."""
        can, name = self._executor.capabilities, self._executor.config.backend.name
        n_qubits = 0 if group.structure is None else group.structure.circuit.template.n_qubits
        if n_qubits > can.max_qubits:
            raise QfleetDeviceError(
                f"a tape uses {n_qubits} wires; the backend {name!r} takes at most {can.max_qubits}"
            )
        if group.shots is None and not can.is_exact:
            raise QfleetDeviceError(
                f"the backend {name!r} only samples: give shots, qml.set_shots(qnode, 1000) or shots=1000 in qml.device"
            )
        if group.shots is not None and not can.has_shots:
            raise QfleetDeviceError(
                f"the backend {name!r} is exact only: leave shots out, or qml.set_shots(qnode, None)"
            )

    def _plan(self, group: Group) -> EvaluationPlan | None:
        """The rows of a group. Where shots are drawn, a step of its own keys their noise."""
        if group.structure is None:
            return None
        circuit = group.structure.circuit
        if group.shots is None:
            return EvaluationPlan(circuit, group.angles())
        keys = noise_keys(self._executor.seed, NAME, circuit)
        step, self._step = self._step, self._step + 1
        return EvaluationPlan(circuit, group.angles(), shots=group.shots, step=step, noise_keys=keys)

    def _run(self, plans: Sequence[EvaluationPlan]) -> list[Evaluation]:
        """Answers of the plans; the tracker is told what they took."""
        found = self._executor.evaluate_all(plans)
        if self.tracker.active and found:
            self.tracker.update(
                circuits=sum(evaluation.n_circuits for evaluation in found),
                cost_usd=sum(evaluation.cost_usd for evaluation in found),
            )
            self.tracker.record()
        return found
