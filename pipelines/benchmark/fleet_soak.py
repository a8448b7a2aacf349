"""Memory of a fleet that works for long: a thousand batches over ten thousand circuits, and five hundred jobs in flight."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from actors.backends.ideal import IdealBackend
from actors.ray_fleet import RayFleet
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import ModelConfig
from orchestrator.jobs import Displacements, Job
from orchestrator.models.model import Model
from pipelines.benchmark import fleet_backend

N_BATCHES, N_CIRCUITS = 1000, 10_000
N_IN_FLIGHT = 500
GROWTH_BOUND_MIB = 16.0
"""How much each process may grow after the first half, by which time every bounded store is full."""
_N_QUBITS = 6
_WAIT_SECONDS = 0.5


def run(n_batches: int, n_circuits: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The figures of both."""
    return {"memory": _memory(n_batches, n_circuits, say), "in_flight": _in_flight(say)}


def _memory(n_batches: int, n_circuits: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Memory of driver and actors at every tenth of the way."""
    say(f"{n_batches} batches, {n_circuits} different circuits, on 2 actors")
    circuits = _circuits()
    per_batch = max(1, n_circuits // n_batches)
    history: list[dict[str, float]] = []
    with RayFleet(IdealBackend(), 2, cpus_per_actor=0.5) as fleet:
        for batch in range(n_batches):
            if batch % max(1, n_batches // 10) == 0:
                history.append(_memory_mib(fleet))
            jobs = []
            for circuit in itertools.islice(circuits, per_batch):
                fleet.register(circuit)
                jobs.append(_job(circuit, batch))
            for _ in fleet.run(jobs):
                pass
        history.append(_memory_mib(fleet))
        stats = fleet.stats()
    middle = history[len(history) // 2]
    growth = {name: history[-1][name] - middle[name] for name in middle}
    return {
        "batches": n_batches,
        "circuits": n_batches * per_batch,
        "jobs_done": stats.jobs_done,
        "cache_hits": stats.cache_hits,
        "mib": history,
        "growth_mib": growth,
        "bound_mib": GROWTH_BOUND_MIB,
        "is_bounded": max(growth.values()) <= GROWTH_BOUND_MIB,
    }


def _in_flight(say: Callable[[str], None]) -> dict[str, Any]:
    """Wall time of jobs that all wait at once; one after the other they would take `N_IN_FLIGHT` times as long as one."""
    say(f"{N_IN_FLIGHT} jobs in flight")
    backend = fleet_backend.LatencyBackend(_WAIT_SECONDS, jobs_in_flight=N_IN_FLIGHT // 2)
    most = 0
    with RayFleet(backend, 2, cpus_per_actor=0.5) as fleet:
        fleet.register(fleet_backend.circuit())
        list(fleet.run(fleet_backend.jobs(N_IN_FLIGHT)))
        started = time.perf_counter()
        answers = fleet.run(fleet_backend.jobs(N_IN_FLIGHT, seed=1))
        most = sum(worker.jobs_in_flight for worker in fleet.workers())
        n_answers = sum(1 for _ in answers)
        wall = time.perf_counter() - started
    return {
        "jobs": n_answers,
        "in_flight": most,
        "job_seconds": _WAIT_SECONDS,
        "seconds": wall,
        "at_once": n_answers * _WAIT_SECONDS / wall,
    }


def _circuits() -> Iterator[MeasuredCircuit]:
    """As many different circuits as anybody wants: one ansatz, ever other pairs of Pauli strings."""
    template = Model.from_config(ModelConfig(n_qubits=_N_QUBITS, n_layers=1)).template
    letters = ("".join(word) for word in itertools.product("XYZI", repeat=_N_QUBITS))
    words = [word for word in letters if word.strip("I")]
    for pair in itertools.combinations(words, 2):
        yield MeasuredCircuit(template, pair)


def _job(circuit: MeasuredCircuit, batch: int) -> Job:
    rng = np.random.Generator(np.random.Philox(key=batch))
    columns = np.arange(2)
    return Job(
        circuit.key,
        rng.normal(size=circuit.template.n_angles),
        columns,
        rng.normal(size=(2, 2)),
        Displacements.none(),
        step=batch,
    )


def _memory_mib(fleet: RayFleet) -> dict[str, float]:
    """Resident memory of the driver and of each actor, in MiB; as Linux tells it."""
    pids = {"driver": "self", **{name: str(pid) for name, pid in fleet.worker_pids().items()}}
    return {name: _resident_mib(pid) for name, pid in pids.items()}


def _resident_mib(pid: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
