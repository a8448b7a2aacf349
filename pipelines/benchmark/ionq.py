"""``qfleet benchmark ionq``: what training on IonQ adds to the latency of its jobs, against the emulator in a process of its own.

The whole paid path is timed, submission book included: circuits of a gradient by parameter shift (8 qubits, 48 rotations, 97 circuits
a sample), whose jobs all take the same time at the service, as one job, as many jobs at once, and one circuit at a time. The emulator's
machine has no noise here: its simulation would take processors from the one that is timed, which IonQ's machines do not.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from actors.backends.ionq import IonQBackend
from actors.serial import SerialDispatcher
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError, FleetError
from orchestrator.jobs import Displacements
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from pipelines.benchmark.children import ROOT
from pipelines.benchmark.timing import timed
from pipelines.report import print_sections
from pipelines.run_setup import prepare_run

TARGET = "qpu.aria-1"
SHOTS = 1024
N_SAMPLES = 32
N_AT_ONCE = 10
N_CIRCUITS = 97
_N_SINGLE = 10
_REPEATS = 5
_MODEL = [
    "data.name=breast_cancer", "data.n_components=8", "model.n_qubits=8", "model.n_layers=2", "model.ansatz=strongly_entangling",
]  # fmt: skip


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark. Returns what ``--json`` prints.

    Raises:
        ConfigError: the latency is not positive; nothing has been measured. FleetError: the emulator did not start.
    """
    if not 0 < options.latency < math.inf:
        raise ConfigError("--latency", options.latency, "should be greater than 0", "0.2")
    os.environ.setdefault("IONQ_API_KEY", "any")  # the emulator takes any
    outcome: dict[str, Any] = {
        "benchmark": "ionq",
        "target": TARGET,
        "shots": SHOTS,
        "latency": options.latency,
    }
    with emulator(options.latency) as url:
        outcome["gatesets"] = {
            gateset: measure(url, gateset, options.latency) for gateset in ("qis", "native")
        }
    print_sections("training on IonQ, against the emulator", _sections(outcome), to_stdout=not options.json)
    return outcome


def measure(url: str, gateset: str, latency: float) -> dict[str, Any]:
    """The figures of one gate set, in seconds.

    Args:
        url: of an emulator whose jobs take `latency` seconds each.
    """
    plan = gradient_plan(N_SAMPLES)
    backend = IonQBackend(TARGET, gateset=gateset, host=url, circuits_per_job=N_CIRCUITS)
    figures: dict[str, Any] = {"prepare": preparation(backend, gradient_plan(1))}
    together = _walls(replace(backend, jobs_in_flight=N_AT_ONCE), plan, _REPEATS)
    bound = math.ceil(N_SAMPLES / N_AT_ONCE) * latency
    figures["many jobs"] = {"jobs": N_SAMPLES, "at_once": N_AT_ONCE, **_against(together, bound)}
    figures["one job"] = _against(_walls(backend, gradient_plan(1), _REPEATS), latency)
    few = replace(gradient_plan(1), moved=_shifts(plan.circuit, _N_SINGLE))
    alone = replace(backend, circuits_per_job=1, jobs_in_flight=1)
    per_circuit = min(_walls(alone, few, 1)) / _N_SINGLE
    figures["one circuit at a time"] = {
        "per_circuit": per_circuit,
        "sample": N_CIRCUITS * per_circuit,
        "speed_up_of_one_job": N_CIRCUITS * per_circuit / figures["one job"]["median"],
        "speed_up_of_many_jobs": N_SAMPLES * N_CIRCUITS * per_circuit / figures["many jobs"]["median"],
    }
    return figures


def preparation(backend: IonQBackend, plan: EvaluationPlan) -> dict[str, float]:
    """Seconds until the body of a job stands: at the first use of its structure, and with new angles afterwards."""
    from actors.ionq.body import Settings, submission_body
    from actors.ionq.question import all_angles
    from actors.ionq.templates import JsonTemplate

    circuit, settings = plan.circuit, Settings(backend.target, SHOTS, backend.gateset, True)
    job = plan.job()

    def template() -> JsonTemplate:
        return JsonTemplate(circuit.template, circuit.groups[0].basis, backend.gateset)

    def body(compiled: JsonTemplate, number: int) -> str:
        moved = replace(job, shared_angles=job.shared_angles + 0.01 * number)
        texts = compiled.circuits_json(all_angles(moved))
        return submission_body(texts, compiled.n_qubits, settings, "benchmark", {})

    first = timed(lambda: body(template(), 0))
    compiled = template()
    later = [timed(lambda i=number: body(compiled, i)) for number in range(1, 31)]  # type: ignore[misc]
    return {"first": first, "least": min(later), "median": statistics.median(later)}


def gradient_plan(n_samples: int) -> EvaluationPlan:
    """`N_CIRCUITS` circuits of each of `n_samples` samples: the circuit and each rotation moved by both of pi/2 and -pi/2."""
    run = prepare_run(TrainingConfig().with_overrides(_MODEL))
    model = run.task.model
    angles = model.angles(model.initial_params(0), run.data.train.features[:n_samples])
    keys = noise_keys(0, "benchmark", model.measured)
    moved = _shifts(model.measured, N_CIRCUITS)
    return EvaluationPlan(model.measured, angles, moved=moved, shots=SHOTS, noise_keys=keys)


@contextmanager
def emulator(latency: float) -> Iterator[str]:
    """The URL of an emulator in a process of its own, whose jobs take `latency` seconds, and whose machines have no noise.

    Raises:
        FleetError: it did not start.
    """
    command = [sys.executable, "-m", "pipelines.cli", "emulator", "--queue", str(latency), "--noiseless"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url.startswith("http://"):
            raise FleetError("the emulator did not start: see what `qfleet emulator` says")
        yield url
    finally:
        process.terminate()
        process.wait()


def _shifts(circuit: MeasuredCircuit, n_rows: int) -> Displacements:
    """`n_rows` displacements: none, then the last angles of the circuit by pi/2 and -pi/2 in turn."""
    number = np.arange(n_rows - 1)
    angles = circuit.template.n_angles - 1 - number // 2
    return Displacements.single(angles, np.where(number % 2, -np.pi / 2, np.pi / 2))


def _walls(backend: IonQBackend, plan: EvaluationPlan, n_repeats: int) -> list[float]:
    """Seconds of evaluating `plan`, each time as another step; a first time, which opens the session, is left out."""
    from actors.ionq.book import SubmissionBook

    with tempfile.TemporaryDirectory() as folder, SubmissionBook(Path(folder)) as book:
        paid: Any = replace(backend, book=book)
        dispatcher = SerialDispatcher(paid)
        try:
            coordinator = Coordinator(dispatcher, backend.capabilities)
            steps = [replace(plan, step=step) for step in range(1 + n_repeats)]
            return [timed(lambda one=step: coordinator.evaluate(one)) for step in steps][1:]  # type: ignore[misc]
        finally:
            dispatcher.close()


def _against(walls: list[float], bound: float) -> dict[str, float]:
    median = statistics.median(walls)
    return {
        "median": median,
        "least": min(walls),
        "bound": bound,
        "ratio": median / bound,
        "least_ratio": min(walls) / bound,
    }


def _sections(outcome: dict[str, Any]) -> dict[str, dict[str, str]]:
    sections = {}
    for gateset, found in outcome["gatesets"].items():
        prepare, one, many = found["prepare"], found["one job"], found["many jobs"]
        single = found["one circuit at a time"]
        sections[f"{gateset}, jobs of {N_CIRCUITS} circuits that take {outcome['latency']:g} s"] = {
            "preparing a job": f"{1e3 * prepare['median']:.1f} ms (first use of the structure {1e3 * prepare['first']:.1f} ms)",
            "1 sample, 1 job": f"{one['median']:.2f} s, {one['ratio']:.2f} x the job's latency",
            f"{N_SAMPLES} samples, {N_AT_ONCE} jobs at once": (
                f"{many['median']:.2f} s, {many['ratio']:.2f} x the bound of {many['bound']:.2f} s"
            ),
            "one circuit at a time": (
                f"{single['sample']:.0f} s a sample ({_N_SINGLE} circuits timed): {single['speed_up_of_one_job']:.0f} x as long, "
                f"and {single['speed_up_of_many_jobs']:.0f} x for {N_SAMPLES} samples"
            ),
        }
    return sections
