"""StreamState: everything but the reservoir that changes as a stream is learnt, so that a copy of it can be gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.optimizers.transform import State
from orchestrator.training.reports import Totals


@dataclass(frozen=True, eq=False)
class StreamState:
    """Where a training on a stream stands; changed by making another.

    Attributes:
        params: float64 [P]. optimizer, rule: states of the optimizer and of the gradient rule.
        n_chunks, n_passes, n_steps: done.
        totals: circuits and shots of all steps.
    """

    params: np.ndarray = field(default_factory=lambda: np.empty(0))
    optimizer: State = field(default_factory=dict)
    rule: State = field(default_factory=dict)
    n_chunks: int = 0
    n_passes: int = 0
    n_steps: int = 0
    totals: Totals = field(default_factory=Totals)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name, for an .npz without pickle."""
        arrays = {
            "params": self.params,
            "counts": np.array([self.n_chunks, self.n_passes, self.n_steps]),
            "totals": np.array([self.totals.n_circuits, self.totals.n_shots]),
        }
        arrays |= {f"optimizer/{key}": value for key, value in self.optimizer.items()}
        return arrays | {f"rule/{key}": value for key, value in self.rule.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> StreamState:
        """What `to_arrays` gave; other arrays beside them are left alone."""
        n_chunks, n_passes, n_steps = arrays["counts"].tolist()
        totals = Totals(*arrays["totals"].tolist())
        optimizer, rule = group_of(arrays, "optimizer"), group_of(arrays, "rule")
        return cls(arrays["params"], optimizer, rule, n_chunks, n_passes, n_steps, totals)


def group_of(arrays: Mapping[str, np.ndarray], group: str) -> State:
    """The arrays named ``group/...``, by the rest of their names."""
    start = f"{group}/"
    return {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
