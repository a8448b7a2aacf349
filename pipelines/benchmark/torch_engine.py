"""``qfleet benchmark torch``: the backend torch beside the backend ideal, over the number of qubits, on every device there is.

Both answer the same jobs in the same run, one after the other, so that what is printed is a ratio that the state of the machine enters
twice. Their answers are compared in the same run, against what rounding can account for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from actors.backends.ideal import IdealBackend
from actors.backends.torch import TorchBackend, find_device, torch_here
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ConfigError, ExecutionError
from orchestrator.jobs import Displacements, Job, JobResult
from orchestrator.protocols import Backend
from pipelines.benchmark import machine
from pipelines.benchmark.cases import build
from pipelines.benchmark.engine import chosen_execution
from pipelines.benchmark.timing import repeat, timed
from pipelines.benchmark.workloads import Workload

TASKS = ("values", "gradient")
_EPSILON = {"double": 2.0**-52, "single": 2.0**-23}
_ROUNDINGS = 16
"""Of an amplitude by a gate, at most: products and sums of two complex numbers, going forward and back."""
_LANES = 2**19
"""Amplitudes of a job, about: as many samples, up to `_MOST_SAMPLES`."""
_MOST_SAMPLES = 64
_AT_LEAST = 3
_DRIFT = 1e-3
"""Radians by which the shared angles move from repeat to repeat: no answer can be kept from the last one."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark. Returns what ``--json`` prints.

    Raises:
        ConfigError: an option is refused; nothing has been measured. MissingExtraError: torch is not installed.
        ExecutionError: the two backends disagree by more than rounding.
    """
    _check(options)
    find_device("cpu")
    here = torch_here()
    devices = ["cpu", *(["cuda"] if here["devices"] else [])]
    outcome: dict[str, Any] = {
        "benchmark": "torch",
        "machine": machine.describe(),
        **here,
        "precision": options.precision,
        "threads": options.threads,
        "entanglement": options.entanglement,
        "layers": options.layers,
        "rows": [],
    }
    _say(header(outcome))
    for n_qubits in options.qubits:
        for task in TASKS:
            row = measure(n_qubits, task, devices, options)
            _say(f"{n_qubits} qubits, {task}: " + ", ".join(f"{d} {row[d]['ratio']:.3g} x" for d in devices))
            outcome["rows"].append(row)
    if not options.json:
        print(table(outcome))
    outcome["gpu"] = bool(here["devices"])
    return outcome


def measure(n_qubits: int, task: str, devices: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one job: milliseconds of each backend, their ratio and by how much they differ.

    Raises:
        ExecutionError: by more than rounding.
    """
    circuit, job = job_of(n_qubits, task, options)
    ideal = _Timed(IdealBackend(options.precision, options.threads), circuit, job, options.seconds)
    explain = [vars(candidate) for candidate in ideal.session.explain(ideal.compiled)]
    row: dict[str, Any] = {
        "qubits": n_qubits,
        "task": task,
        "samples": job.n_samples,
        "ideal": {"milliseconds": ideal.milliseconds, "execution": chosen_execution(explain, task)},
    }
    for device in devices:
        found = _Timed(
            TorchBackend(options.precision, options.threads, device), circuit, job, options.seconds
        )
        difference, bound = disagreement(circuit, job, ideal.first, found.first, options.precision)
        if not difference <= bound:
            raise ExecutionError(
                f"torch on {device} and ideal differ by {difference:.2g} in the {task} of {n_qubits} qubits, and rounding accounts for "
                f"{bound:.2g}"
            )
        row[device] = {
            "milliseconds": found.milliseconds,
            "first_milliseconds": found.first_milliseconds,
            "ratio": found.milliseconds / ideal.milliseconds,
            "difference": difference,
            "bound": bound,
        }
    return row


def job_of(n_qubits: int, task: str, options: argparse.Namespace) -> tuple[MeasuredCircuit, Job]:
    """Values of every sample, or the gradient of a weighted sum of them; of fixed random numbers."""
    case = build(
        Workload(
            "torch",
            n_qubits=n_qubits,
            n_layers=options.layers,
            n_samples=options.samples or min(max(_LANES >> n_qubits, 1), _MOST_SAMPLES),
            task="gradient" if task == "gradient" else "values",
            entanglement=options.entanglement,
        )
    )
    job = case.job if task == "gradient" else replace(case.job, displacements=Displacements.none())
    return case.circuit, job


def disagreement(
    circuit: MeasuredCircuit, job: Job, one: JobResult, other: JobResult, precision: str
) -> tuple[float, float]:
    """(largest difference, what rounding accounts for): each of G gates rounds an amplitude some times, and both answers do."""
    bound = 2 * _ROUNDINGS * len(circuit.template.gates) * _EPSILON[precision]
    difference = float(np.abs(one.values - other.values).max())
    if one.jacobian is None or other.jacobian is None:
        return difference, bound
    assert job.cotangents is not None
    weight = float(np.abs(job.cotangents).sum(axis=1).max())
    return max(difference, float(np.abs(one.jacobian - other.jacobian).max())), bound * max(weight, 1.0)


class _Timed:
    """A backend's first answer to a job, and how long the next ones take."""

    def __init__(self, backend: Backend, circuit: MeasuredCircuit, job: Job, seconds: float) -> None:
        self.session: Any = backend.open_session()
        self.compiled = self.session.compile(circuit)
        answers: list[JobResult] = []
        self.first_milliseconds = 1e3 * timed(lambda: answers.append(self.session.run(self.compiled, job)))
        self.first = answers[0]

        def prepare(i: int) -> Callable[[], object]:
            moved = replace(job, shared_angles=job.shared_angles + _DRIFT * (i + 1))
            return lambda: self.session.run(self.compiled, moved)

        self.milliseconds = 1e3 * min(repeat(prepare, seconds, _AT_LEAST).wall)


def header(outcome: dict[str, Any]) -> str:
    """What it was measured with, and whether there is a GPU."""
    devices = ", ".join(outcome["devices"])
    words = f"torch {outcome['torch']}, {outcome['precision']} precision, {outcome['threads']} thread(s), {outcome['machine']['cpu']}"
    return f"{words}; " + (
        f"CUDA: {devices}" if devices else "no GPU here: nothing below says anything about one"
    )


def table(outcome: dict[str, Any]) -> str:
    """Markdown: a ratio above 1 is a job that takes torch longer."""
    devices = ["cpu", *(["cuda"] if outcome["devices"] else [])]
    heads = ["qubits", "samples", "task", "ideal", "ideal by"]
    heads += [head for device in devices for head in (f"torch {device}", "ratio", "differs by")]
    lines = [header(outcome), "", f"| {' | '.join(heads)} |", "| " + " | ".join(["---:"] * len(heads)) + " |"]
    for row in outcome["rows"]:
        cells = [str(row["qubits"]), str(row["samples"]), row["task"]]
        cells += [_in_ms(row["ideal"]["milliseconds"]), row["ideal"]["execution"] or "-"]
        for device in devices:
            found = row[device]
            cells += [_in_ms(found["milliseconds"]), f"{found['ratio']:.3g}", f"{found['difference']:.1g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _in_ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g} ms"


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot work before minutes are spent."""
    most = TorchBackend.capabilities.max_qubits
    for n_qubits in options.qubits:
        if not 2 <= n_qubits <= most:
            raise ConfigError(
                "--qubits", n_qubits, f"should be from 2 to {most}", str(min(max(n_qubits, 2), most))
            )
    for name in ("threads", "layers"):
        if getattr(options, name) < 1:
            raise ConfigError(
                f"--{name}", getattr(options, name), "should be greater than or equal to 1", "1"
            )
    if options.samples is not None and options.samples < 1:
        raise ConfigError("--samples", options.samples, "should be greater than or equal to 1", "1")
    if not 0 < options.seconds < float("inf"):
        raise ConfigError("--seconds", options.seconds, "should be greater than 0", "1")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
