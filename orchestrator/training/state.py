"""TrainState: everything that changes during training, so that a copy of it is a checkpoint.

Randomness has no state of its own: batches, shots and initial parameters are drawn from generators keyed by (seed, purpose,
epoch or step), so epoch, cursor and step are the whole of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from orchestrator.optimizers.transform import State
from orchestrator.training.reports import EpochReport, Totals


@dataclass
class TrainState:
    """Where a run stands, always between two steps.

    Attributes:
        params: float64 [P].
        optimizer: the optimizer's state.
        rule: the gradient rule's, empty for most.
        epoch: epochs finished, validation included.
        cursor: batches done of the current epoch.
        step: optimizer steps done.
        epoch_loss: sum over the batches done in this epoch of batch loss x batch size.
        step_losses: batch loss of every step.
        history: report of every finished epoch.
        best_params, best_value, best_epoch: best so far by the monitored value (epoch 0: none yet).
        totals: circuits, shots and dollars so far.
        stop_reason: why training has ended; None while it goes on.
        past: float64 [K, P], the parameters before each of the last K updates of this epoch, oldest first: where the gradients of the
            steps under way are taken. Empty unless gradients may be stale.
    """

    params: np.ndarray
    optimizer: State
    best_params: np.ndarray
    epoch: int = 0
    cursor: int = 0
    step: int = 0
    epoch_loss: float = 0.0
    step_losses: list[float] = field(default_factory=list)
    history: list[EpochReport] = field(default_factory=list)
    rule: State = field(default_factory=dict)
    best_value: float = float("inf")
    best_epoch: int = 0
    totals: Totals = field(default_factory=Totals)
    stop_reason: str | None = None
    past: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def params_before(self, n_updates: int) -> np.ndarray:
        """float64 [P]: the parameters `n_updates` ago, at most as many as `past` has."""
        return self.params if n_updates == 0 else self.past[-n_updates]

    def move_to(self, params: np.ndarray, n_remembered: int) -> None:
        """Update to `params`, float64 [P]; the parameters before each of the last `n_remembered` updates are remembered."""
        if n_remembered:
            self.past = np.vstack([*self.past, self.params])[-n_remembered:]
        self.params = params

    @property
    def monitored(self) -> list[float]:
        """Monitored value of each finished epoch."""
        return [report.metrics[report.monitored] for report in self.history]

    @property
    def is_finished(self) -> bool:
        """Training has come to its end."""
        return self.stop_reason is not None
