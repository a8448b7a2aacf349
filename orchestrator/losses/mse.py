"""Mean squared error, for regression."""

from __future__ import annotations

import numpy as np

from orchestrator.losses.base import Task


class MeanSquaredError:
    """mean (output - target)²; one output."""

    task: Task = "regression"

    def n_outputs(self, n_classes: int, n_scores: int = 1) -> int:
        """One."""
        return 1

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean squared error and its derivative by the outputs [S, 1]."""
        error = outputs[:, 0] - targets
        return float(np.mean(error**2)), (2.0 / len(error)) * error[:, None]

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The output itself."""
        return {"prediction": outputs[:, 0].copy()}

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Loss, root mean squared error (in units of the target), and R² (0 where the targets do not vary)."""
        value, _ = self.value_and_gradient(outputs, targets)
        spread = float(np.mean((targets - targets.mean()) ** 2))
        return {"loss": value, "rmse": value**0.5, "r2": 1.0 - value / spread if spread > 0 else 0.0}
