"""What a submission asked, as it is kept beside its answer: a job's few arrays and what ran it, not its many circuits.

With it a recorded answer can be served again for any circuit that it holds, whatever job asks for it then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Displacements, Job

FORMAT = 1


class Source(NamedTuple):
    """Who answered: answers of different sources are never taken for one another.

    Attributes:
        target: "qpu.aria-1", ...; noise: the simulator's noise model; gateset: "qis" or "native".
        is_mitigated: whether the target mitigated errors.
    """

    target: str
    noise: str | None
    gateset: str
    is_mitigated: bool


@dataclass(frozen=True, eq=False)
class Question:
    """The circuits of one submission: number `first` and following of its job's, the measurement groups of a point together.

    Attributes:
        source: who answered.
        is_exact: the answer is exact probabilities, whatever the shots.
        circuit, structure: keys of the measured circuit and of its template. n_qubits: of both.
        bases: of the measurement groups, a letter of ``IXYZ`` per qubit.
        job: what was asked; its `noise_keys` say for what purpose.
        first, n_circuits: which of the job's circuits.
    """

    source: Source
    is_exact: bool
    circuit: str
    structure: str
    n_qubits: int
    bases: tuple[str, ...]
    job: Job
    first: int
    n_circuits: int


class Places(NamedTuple):
    """Where the circuits of a question stand in the run, [N] each.

    Attributes:
        groups: int64, number of the measurement group.
        samples, displacements: int64, counted from the plan's first.
        angles: float64 [N, K], radians.
    """

    groups: np.ndarray
    samples: np.ndarray
    displacements: np.ndarray
    angles: np.ndarray


def question_text(
    source: Source, is_exact: bool, circuit: MeasuredCircuit, job: Job, first: int, n_circuits: int
) -> str:
    """A question as JSON; floats keep every bit."""
    rows = job.displacements
    content = {
        "format": FORMAT,
        **source._asdict(),
        "is_exact": is_exact,
        "circuit": circuit.key,
        "structure": circuit.template.key,
        "n_qubits": circuit.template.n_qubits,
        "bases": [group.basis for group in circuit.groups],
        "shots": job.shots,
        "step": job.step,
        "sample_start": job.sample_start,
        "displacement_start": job.displacement_start,
        "noise_keys": job.noise_keys.tolist(),
        "shared_angles": np.nan_to_num(job.shared_angles).tolist(),  # those of data columns may be anything
        "data_columns": job.data_columns.tolist(),
        "data_angles": job.data_angles.tolist(),
        "displacements": [rows.indptr.tolist(), rows.angles.tolist(), rows.deltas.tolist()],
        "first": first,
        "n_circuits": n_circuits,
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def read_question(content: dict[str, Any]) -> Question:
    """What `question_text` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}; this version of qfleet reads {FORMAT}")
    indptr, angles, deltas = content["displacements"]
    n_samples, columns = len(content["data_angles"]), np.array(content["data_columns"], np.int64)
    job = Job(
        circuit_key=content["circuit"],
        shared_angles=np.array(content["shared_angles"], np.float64),
        data_columns=columns,
        data_angles=np.array(content["data_angles"], np.float64).reshape(n_samples, len(columns)),
        displacements=Displacements(
            np.array(indptr, np.int64), np.array(angles, np.int64), np.array(deltas, np.float64)
        ),
        shots=content["shots"],
        step=content["step"],
        sample_start=content["sample_start"],
        displacement_start=content["displacement_start"],
        noise_keys=np.array(content["noise_keys"], np.uint64),
    )
    return Question(
        source=Source(*(content[name] for name in Source._fields)),
        is_exact=content["is_exact"],
        circuit=content["circuit"],
        structure=content["structure"],
        n_qubits=content["n_qubits"],
        bases=tuple(content["bases"]),
        job=job,
        first=content["first"],
        n_circuits=content["n_circuits"],
    )


def places_of(question: Question) -> Places:
    """Where each circuit of a question stands, and its angles."""
    job, n_groups = question.job, len(question.bases)
    number = np.arange(question.first, question.first + question.n_circuits)
    point = number // n_groups
    return Places(
        groups=number % n_groups,
        samples=job.sample_start + point // job.n_displacements,
        displacements=job.displacement_start + point % job.n_displacements,
        angles=all_angles(job)[point],
    )


def all_angles(job: Job) -> np.ndarray:
    """Angles of every circuit of a job, float64 [S D, K], radians: the displacements of the first sample first."""
    rows = job.displacements
    n_samples, n_rows = job.n_samples, len(rows)
    table = np.repeat(job.shared_angles[None], n_samples, axis=0)
    table[:, job.data_columns] = job.data_angles
    table = np.repeat(table[:, None], n_rows, axis=1)
    row = np.repeat(np.arange(n_rows), np.diff(rows.indptr))
    table[:, row, rows.angles] += rows.deltas  # an angle occurs at most once in a row
    return table.reshape(n_samples * n_rows, -1)
