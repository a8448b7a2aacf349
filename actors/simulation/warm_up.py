"""Compile the kernels that a circuit needs once, before many processes need them at the same time."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from actors.simulation.jit import cache_folder, is_cached
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.jobs import Displacements, Job

if sys.platform != "win32":
    import fcntl

PATIENCE_SECONDS = 1.5
"""Reading the compiled kernels from disk is over by then; what takes longer is compiling."""


def warm_up(parts: Iterable[str], report: Callable[[str], None] | None = None) -> float:
    """Make sure that `parts` (keys of `PARTS`) are compiled and cached on disk; returns the seconds it took.

    Ten to twenty seconds the first time after an installation or an update, some milliseconds afterwards. Several parts compile
    side by side in processes of their own; a second warm-up on the same machine waits for the first.

    Args:
        report: called with one line of text if it turns out to take a while.
    """
    started = time.perf_counter()
    missing = _missing(parts)
    if missing:
        message = "compiling the simulation kernels: this happens once, takes some 10 to 20 seconds, and is kept on disk"
        timer = threading.Timer(PATIENCE_SECONDS, report, (message,)) if report is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            with _only_one(missing):
                _compile_side_by_side(_missing(missing))
        finally:
            if timer is not None:
                timer.cancel()
    return time.perf_counter() - started


def _missing(parts: Iterable[str]) -> list[str]:
    """Those of `parts` that are not on disk, and could be."""
    found = []
    for name in dict.fromkeys(parts):
        function = _entry_point(name)
        if cache_folder(function) is not None and not is_cached(function):
            found.append(name)
    return found


def _entry_point(name: str) -> Any:
    module, _, attribute = PARTS[name][0].partition(":")
    return getattr(importlib.import_module(module), attribute)


def smallest() -> tuple[MeasuredCircuit, Job]:
    """One qubit, one rotation, its value and derivative."""
    turn = Gate("rz", (0,), 0, np.array([-0.5, 0.5]), np.array([np.diag([1, 0]), np.diag([0, 1])], complex))
    circuit = MeasuredCircuit(CircuitTemplate(1, 1, (turn,), ""), ("Z",))
    job = Job(
        circuit_key=circuit.key,
        shared_angles=np.zeros(1),
        data_columns=np.zeros(0, np.int64),
        data_angles=np.zeros((1, 0)),
        displacements=Displacements.none(),
        jacobian_angles=np.zeros(1, np.int64),
        noise_keys=np.zeros(1, np.uint64),
    )
    return circuit, job


def _contraction() -> None:
    from actors.simulation.contraction.engine import ChainContraction, compile_contraction

    circuit, job = smallest()
    ChainContraction(circuit, compile_contraction(circuit)).values(job)


def _state_vectors() -> None:
    from actors.simulation.state_vector.execution import StateVector

    circuit, job = smallest()
    StateVector(circuit).values(job)


def _adjoint() -> None:
    from actors.simulation.state_vector.execution import StateVector

    circuit, job = smallest()
    StateVector(circuit).jacobian(job)


def _shots() -> None:
    from actors.simulation.state_vector.execution import StateVector

    circuit, job = smallest()
    StateVector(circuit).values(replace(job, jacobian_angles=None, shots=1))


def _torch_shots() -> None:
    from actors.simulation.torch_engine.shots import warm_up

    warm_up()


def _density_matrix() -> None:
    from actors.noise.model import NoiseModel
    from actors.simulation.density_matrix.engine import DensityMatrix

    circuit, job = smallest()
    DensityMatrix(circuit, NoiseModel("noiseless")).values(job)


def _trajectories() -> None:
    from actors.noise.model import NoiseModel
    from actors.simulation.trajectories.engine import Trajectories

    circuit, job = smallest()
    Trajectories(circuit, NoiseModel("noiseless")).values(replace(job, jacobian_angles=None, shots=1))


_ROOM = "actors.simulation"
PARTS: dict[str, tuple[str, Callable[[], None]]] = {
    "state_vector": (f"{_ROOM}.state_vector.forward_exact:forward_exact", _state_vectors),
    "adjoint": (f"{_ROOM}.state_vector.adjoint:adjoint", _adjoint),
    "trajectories": (f"{_ROOM}.trajectories.loop:run_trajectories", _trajectories),
    "density_matrix": (f"{_ROOM}.density_matrix.forward:forward", _density_matrix),
    "contraction": (f"{_ROOM}.contraction.sweeps:contract", _contraction),
    "shots": (f"{_ROOM}.state_vector.forward_sampled:forward_sampled", _shots),
    "torch_shots": (f"{_ROOM}.torch_engine.shots:draw", _torch_shots),
}
"""What can be compiled by itself: where its entry point is, and what calls it."""


def _compile_side_by_side(names: list[str]) -> None:
    """Each part in a child, which leaves it in the cache. What a child could not do is compiled where it is first called."""
    search_path = os.pathsep.join(path or os.getcwd() for path in sys.path)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", f"from actors.simulation.warm_up import PARTS; PARTS[{name!r}][1]()"],
            env={**os.environ, "PYTHONPATH": search_path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in names
    ]
    for child in children:
        child.wait()


@contextlib.contextmanager
def _only_one(names: list[str]) -> Iterator[None]:
    """Hold the lock of the cache folder of these parts; whoever comes second waits here until the first has compiled."""
    folder = cache_folder(_entry_point(names[0]))
    if (
        folder is None or sys.platform == "win32"
    ):  # no such locks: simultaneous warm-ups compile each for itself
        yield
        return
    with _locked(folder):
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "warm_up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed, also by a process that dies
        yield
