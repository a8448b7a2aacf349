"""The machine behind the service: it answers the circuits of a job, one job at a time, in a thread of its own."""

from __future__ import annotations

import functools
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from actors.ionq.emulator.simulation import Simulation, draw_counts, key_order
from actors.ionq.emulator.submission import Submission
from actors.noise.model import NoiseModel
from actors.noise.presets import noise_model

_DECIMALS = 18
_TABLED_SHOTS = 2**14
"""Numbers of shots below it have a table of the texts of all shares."""


class Machine:
    """Simulates jobs.

    Args:
        seed: of the shots of machines. noise: model of simulator jobs that name none; None: ideal.
        is_noiseless: machines have no noise; they draw shots all the same.
    """

    def __init__(self, seed: int, noise: str | None, is_noiseless: bool = False) -> None:
        self._seed, self._noise, self._is_noiseless = seed, noise, is_noiseless
        self._simulation = Simulation()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="emulator-machine")

    def run(self, submission: Submission) -> Future[list[str]]:
        """The JSON text of each circuit's probabilities, ``{"<decimal>": p}``, in the order of the job."""
        if submission.dry_run:
            nothing: Future[list[str]] = Future()
            nothing.set_result([])
            return nothing
        return self._worker.submit(self._run, submission)

    def close(self) -> None:
        """Stop when the job in work is done."""
        self._worker.shutdown(cancel_futures=True)

    def _run(self, submission: Submission) -> list[str]:
        noise = self._noise_of(submission)
        found = self._simulation.probabilities(submission.circuits, noise)
        if noise is None and not submission.target.is_qpu:
            return [exact_text(row) for row in found]
        keys, shots = self._keys(submission), submission.shots
        return [
            shares_text(draw_counts(row, shots, key), shots) for row, key in zip(found, keys, strict=True)
        ]

    def _noise_of(self, submission: Submission) -> NoiseModel | None:
        if submission.target.is_qpu and self._is_noiseless:
            return None
        name = submission.target.noise or submission.noise or self._noise
        return None if name in (None, "ideal") else noise_model(name)

    def _keys(self, submission: Submission) -> list[bytes]:
        """What the shots of each circuit are keyed by: the submission alone, so that the same one gives the same counts.

        The circuit itself is part of it, so that circuits of nameless jobs do not share their random numbers.
        """
        seed, shots = submission.noise_seed, submission.shots
        given = (
            ("seed", seed) if seed is not None else (self._seed, submission.target.name, submission.origin)
        )
        keys = [b""] * len(submission.circuits)
        for structure, parameters, places in submission.circuits.groups:
            for place, row in zip(places.tolist(), parameters, strict=True):
                keys[place] = f"{given} {shots} {place} ".encode() + structure.digest + row.tobytes()
        return keys


def exact_text(probabilities: np.ndarray) -> str:
    """JSON of the outcomes that are possible, to 18 decimals: three times as fast as the shortest text of a float, which would dominate.

    Args:
        probabilities: float64 [2**n], qubit 0 the most significant bit.
    """
    n_qubits = len(probabilities).bit_length() - 1
    ordered = probabilities[key_order(n_qubits)]
    keys = np.flatnonzero(ordered)
    if len(keys) == len(ordered) and len(keys) > 1:  # so that all are below 1
        return _full_text(n_qubits) % tuple(np.rint(ordered * 10**_DECIMALS).astype(np.int64).tolist())
    pairs = zip(keys.tolist(), ordered[keys].tolist(), strict=True)
    return "{" + ", ".join(f'"{key}": {min(value, 1.0)!r}' for key, value in pairs) + "}"


def shares_text(counts: np.ndarray, shots: int) -> str:
    """JSON of k/shots for the outcomes that came up. counts: int64 [2**n], qubit 0 the most significant bit."""
    n_qubits = len(counts).bit_length() - 1
    ordered = counts[key_order(n_qubits)]
    keys = np.flatnonzero(ordered)
    found = ordered[keys]
    return "{" + ", ".join((_key_texts(n_qubits)[keys] + _share_texts(found, shots)).tolist()) + "}"


def _share_texts(counts: np.ndarray, shots: int) -> np.ndarray:
    if shots < _TABLED_SHOTS:
        return _shares(shots)[counts]
    return np.array([repr(count / shots) for count in counts.tolist()], object)


@functools.lru_cache(maxsize=16)
def _shares(shots: int) -> np.ndarray:
    """object [shots + 1]: the text of k/shots."""
    return np.array([repr(count / shots) for count in range(shots + 1)], object)


@functools.cache
def _key_texts(n_qubits: int) -> np.ndarray:
    """object [2**n]: ``"k": ``."""
    return np.array([f'"{key}": ' for key in range(2**n_qubits)], object)


@functools.cache
def _full_text(n_qubits: int) -> str:
    """The answer with a place for the decimals of each outcome."""
    return "{" + ", ".join(f'"{key}": 0.%0{_DECIMALS}d' for key in range(2**n_qubits)) + "}"
