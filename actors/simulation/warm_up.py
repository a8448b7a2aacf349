"""Compile the kernels once, before many processes need them at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from actors.simulation.state_vector.engine import run_adjoint, run_forward
from actors.simulation.state_vector.program import compile_program
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.jobs import Displacements, Job

PATIENCE_SECONDS = 1.5
"""Reading the compiled kernels from disk is over by then; what takes longer is compiling."""


def warm_up(report: Callable[[str], None] | None = None) -> float:
    """Make sure that the kernels are compiled and cached on disk; returns the seconds it took.

    Some 20 seconds the first time after an installation or an update, a fraction of one afterwards. Several processes may do it at
    the same time, each then compiles for itself: call it once before starting them.

    Args:
        report: called with one line of text if it turns out to take a while.
    """
    started = time.perf_counter()
    message = (
        "compiling the simulation kernels: this happens once, takes about 20 seconds, and is kept on disk"
    )
    timer = threading.Timer(PATIENCE_SECONDS, report, (message,)) if report is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        _run_smallest()
    finally:
        if timer is not None:
            timer.cancel()
    return time.perf_counter() - started


def _run_smallest() -> None:
    """One qubit, one rotation, through every entry point."""
    turn = Gate("rz", (0,), 0, np.array([-0.5, 0.5]), np.array([np.diag([1, 0]), np.diag([0, 1])], complex))
    circuit = MeasuredCircuit(CircuitTemplate(1, 1, (turn,), ""), ("Z",))
    program = compile_program(circuit)
    job = Job(
        circuit_key=circuit.key,
        shared_angles=np.zeros(1),
        data_columns=np.zeros(0, np.int64),
        data_angles=np.zeros((1, 0)),
        displacements=Displacements.none(),
        jacobian_angles=np.zeros(1, np.int64),
    )
    run_forward(program, job)
    run_adjoint(program, job)
