"""Values of all circuits of a job: blocks of samples, and for each of them chunks of displacement rows that leave its states."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch

from actors.simulation.torch_engine.coefficients import Base, Displaced
from actors.simulation.torch_engine.observables import PauliStrings, Walsh, probabilities
from actors.simulation.torch_engine.rows import Chunk, chunks
from actors.simulation.torch_engine.shots import draw
from actors.simulation.torch_engine.states import apply, read_in_z, zero_states
from actors.simulation.torch_engine.tables import Permutation, Tables
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job


class Final(NamedTuple):
    """Final states of some circuits. samples, rows: their numbers in the job; states: [2, 2**n, R or 1, W]."""

    samples: slice
    rows: np.ndarray
    states: torch.Tensor


def final_states(tables: Tables, job: Job, lanes: int, layouts: dict[object, list[Chunk]]) -> Iterator[Final]:
    """Of all circuits of `job`, at most `lanes` at a time. layouts: the chunks of displacements that were met before."""
    width = min(job.n_samples, lanes)
    layout = _layout(tables, job, lanes // width, layouts)
    for first in range(0, job.n_samples, width):
        samples = slice(first, min(first + width, job.n_samples))
        base = Base(tables, job, samples)
        state, done = zero_states(tables, base.width), 0
        for chunk in layout:
            state = advance(tables, base, state, done, chunk.start)
            done = chunk.start
            if done == len(tables.operations):
                yield Final(samples, chunk.rows, state)
                continue
            displaced = Displaced(tables, base, chunk, job.displacements.deltas)
            own = state.expand(-1, -1, chunk.n_rows, -1).clone(memory_format=torch.contiguous_format)
            yield Final(samples, chunk.rows, advance(tables, displaced, own, done, len(tables.operations)))


def advance(
    tables: Tables, circuits: Base | Displaced, state: torch.Tensor, start: int, stop: int
) -> torch.Tensor:
    """Operations start..stop-1 on `state`, which is destroyed."""
    for op in range(start, stop):
        operation = tables.operations[op]
        matrix = [] if isinstance(operation, Permutation) else circuits.matrix(op)
        state = apply(operation, matrix, state)
    return state


def exact_values(
    tables: Tables, strings: PauliStrings, job: Job, lanes: int, layouts: dict[object, list[Chunk]]
) -> np.ndarray:
    """float64 [S, D, M]."""
    values = np.empty((job.n_samples, job.n_displacements, tables.program.n_paulis))
    for final in final_states(tables, job, lanes, layouts):
        found = strings.values(final.states).cpu().numpy()
        values[final.samples, final.rows] = found.transpose(2, 1, 0)
    return values


def _layout(tables: Tables, job: Job, n_together: int, layouts: dict[object, list[Chunk]]) -> list[Chunk]:
    """The chunks of the job's rows: the same rows come back every step, with the same angles moved."""
    rows = job.displacements
    key = (n_together, rows.indptr.tobytes(), rows.angles.tobytes())
    if key not in layouts:
        if len(layouts) >= _LAYOUTS_KEPT:
            layouts.clear()
        layouts[key] = chunks(tables, rows, n_together)
    return layouts[key]


_LAYOUTS_KEPT = 64


class Drawing:
    """Means over shots: final states are measured group by group.

    Args:
        tables: the program. circuit: that it was compiled from, for its groups. pool: threads to draw on.
    """

    def __init__(
        self, tables: Tables, circuit: MeasuredCircuit, n_threads: int, pool: Executor | None
    ) -> None:
        self._tables = tables
        self._groups = circuit.groups
        self._n_threads = n_threads
        self._pool = pool
        seen = tables.program.observables
        read = seen.sign_mask | seen.flip  # the letters X, Y and Z, of strings that were not absorbed
        cpu = torch.device("cpu")
        self._walsh = [Walsh.at(read[[*group.members]], tables.n_qubits, cpu) for group in self._groups]

    def values(self, job: Job, lanes: int, layouts: dict[object, list[Chunk]]) -> np.ndarray:
        """float64 [S, D, M]: means over ``job.shots`` shots of every group."""
        values = np.empty((job.n_samples, job.n_displacements, self._tables.program.n_paulis))
        for final in final_states(self._tables, job, lanes, layouts):
            for number in range(len(self._groups)):
                members = [*self._groups[number].members]
                found = self._means(job, final, number).transpose(2, 1, 0)
                values[final.samples, final.rows[:, None], members] = found
        return values

    def _means(self, job: Job, final: Final, number: int) -> np.ndarray:
        """float64 [members, R, W] of one group."""
        assert job.shots is not None
        read = probabilities(read_in_z(final.states, self._groups[number].basis))
        width, n_rows = read.shape[2], len(final.rows)
        weights = read.expand(-1, n_rows, -1).to("cpu", torch.float64).reshape(len(read), n_rows * width)
        counts = weights.numpy() if weights.is_contiguous() else np.ascontiguousarray(weights.numpy())
        samples = np.tile(job.sample_start + final.samples.start + np.arange(width), n_rows)
        rows = np.repeat(job.displacement_start + final.rows, width)
        self._draw(counts, job.noise_keys[number], job, rows, samples)
        sums = self._walsh[number](torch.from_numpy(counts).view(len(read), n_rows, width)).numpy()
        sign = self._tables.program.observables.sign[[*self._groups[number].members]]
        return sign[:, None, None] * sums / job.shots

    def _draw(
        self, counts: np.ndarray, key: np.uint64, job: Job, rows: np.ndarray, samples: np.ndarray
    ) -> None:
        n_lanes = counts.shape[1]
        n_parts = min(self._n_threads, n_lanes) if self._pool is not None else 1
        bounds = [n_lanes * i // n_parts for i in range(n_parts + 1)]

        def work(part: int) -> None:
            lanes, n_qubits = bounds[part : part + 2], self._tables.n_qubits
            draw(counts, *lanes, np.uint64(key), job.shots, job.step, rows, samples, n_qubits)

        if self._pool is None:
            work(0)
        else:
            list(self._pool.map(work, range(n_parts)))
