"""The child that times one peer: ``python -m pipelines.benchmark.peers.run NAME PROBLEM SECONDS`` prints one JSON object.

Runs under any Python that has numpy and the peer. What a peer answers is compared with what qfleet found before anything is timed, so
none is timed on a wrong circuit. Peers that take circuits one by one are timed on as many as the budget allows.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pipelines.benchmark.children import answer, one_line, use_one_core
from pipelines.benchmark.peers.problem import Problem
from pipelines.benchmark.timing import AT_LEAST, repeat, timed

TOLERANCE = {"double": 1e-9, "single": 2e-4}
"""Some hundred gates round by 1e-16 or 6e-8 each: far below these, and a wrong circuit is far above."""
STANDARD_ERRORS = 6.0
"""Means over shots may be this far off: a chance of 2e-9 each."""
MEMORY_BYTES = 4 * 2**30
"""State vectors that a batched peer may be given at a time."""
LARGEST_STATE = 24
"""Qubits above which nobody holds the state."""


class Peer(Protocol):
    """What a peer's file has under the name ``Peer``; arrays as in `Problem`.

    Attributes:
        distribution: its name among installed packages.
        precision: ``single`` | ``double``, the one it is best in.
        is_batched: it takes all circuits in one call.
        tasks: of ``values``, ``samples``, ``gradient``, ``noise``; each but the last has a method of that name.
        max_qubits: more are not tried.
    """

    distribution: str
    precision: str
    is_batched: bool
    tasks: frozenset[str]
    max_qubits: int


class Part(NamedTuple):
    """The first circuits of a problem: what is called, how many it computes, what is expected of it."""

    call: Callable[[], np.ndarray]
    n_circuits: int
    expected: np.ndarray


def measure(kind: type[Peer], problem: Problem, seconds: float) -> dict[str, Any]:
    """Figures of one peer on one problem, or ``{"unsupported": why}``, or ``{"error": ...}`` where its numbers are wrong."""
    task = "noise" if len(problem.noise) else problem.task
    if task not in kind.tasks:
        return {"unsupported": f"no {task}"}
    if problem.n_qubits > kind.max_qubits:
        return {"unsupported": f"{problem.n_qubits} qubits"}
    peer = kind(problem)  # type: ignore[call-arg]
    chosen = part(peer, problem, *(_whole(problem) if kind.is_batched else (1, 1)))
    found: list[np.ndarray] = []
    first = timed(lambda: found.append(chosen.call()))
    if not kind.is_batched:
        chosen = _grown(peer, problem, chosen, seconds / (AT_LEAST + 1))
        found = [chosen.call()]
    error = float(np.abs(found[0] - chosen.expected).max())
    allowed = STANDARD_ERRORS / problem.shots**0.5 if problem.shots else TOLERANCE[kind.precision]
    if not error <= allowed:
        return {"error": f"its values differ from qfleet's by {error:.1e}, more than {allowed:.1e}"}
    timing = repeat(lambda _: chosen.call, seconds, at_least=AT_LEAST if first < seconds else 2)
    return {
        "precision": kind.precision,
        **timing.figures(chosen.n_circuits),
        "circuits": chosen.n_circuits,
        "first_call_seconds": first,
        "max_difference": error,
    }


def part(peer: Any, problem: Problem, n_samples: int, n_rows: int) -> Part:
    """The first `n_rows` rows of the first `n_samples` samples."""
    features, params = problem.features[:n_samples], problem.params[:n_rows]
    if problem.task == "gradient":
        weights = problem.weights[:n_samples]
        expected = problem.expected[:n_samples].mean(axis=0)
        return Part(lambda: peer.gradient(features, params[0], weights), n_samples, expected)
    expected = problem.expected[:n_samples, :n_rows]
    if problem.task == "samples":
        return Part(lambda: peer.samples(features, params, problem.shots), n_samples * n_rows, expected)
    return Part(lambda: peer.values(features, params), n_samples * n_rows, expected)


def _whole(problem: Problem) -> tuple[int, int]:
    """(samples, rows): all, unless their state vectors would take too much memory at once; a network has none."""
    if problem.n_qubits > LARGEST_STATE:
        return problem.n_samples, problem.n_rows
    per_sample = problem.n_rows * 16 * 2**problem.n_qubits
    return max(1, min(problem.n_samples, MEMORY_BYTES // per_sample)), problem.n_rows


def _grown(peer: Any, problem: Problem, chosen: Part, seconds: float) -> Part:
    """As many circuits as take about `seconds`, found in steps because a call has a cost of its own."""
    for _ in range(3):
        faster = seconds / max(timed(chosen.call), 1e-9)
        if faster < 2:
            break
        chosen = part(peer, problem, *_shape(problem, faster * chosen.n_circuits))
    return chosen


def _shape(problem: Problem, n_circuits: float) -> tuple[int, int]:
    """(samples, rows) of about `n_circuits` circuits, whole samples where there is time for one."""
    if n_circuits < problem.n_rows:
        return 1, max(1, int(n_circuits))
    return min(problem.n_samples, int(n_circuits / problem.n_rows)), problem.n_rows


def main(name: str, problem_file: str, seconds: str) -> None:
    """Load, measure, print; whatever a peer raises is an answer too."""
    use_one_core()
    try:
        kind = importlib.import_module(f"pipelines.benchmark.peers.{name}").Peer
    except ImportError as error:
        answer({"missing": one_line(error)})
        return
    try:
        outcome = measure(kind, Problem.load(Path(problem_file)), float(seconds))
    except Exception as error:  # anything at all, and it must not end the other measurements
        outcome = {"error": one_line(error)}
    answer(outcome | {"version": _version(kind.distribution)})


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])
