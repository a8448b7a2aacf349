"""What ``training.max_staleness`` asks of the learning rate, and what it can gain at best."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.training.staleness import stable_rate
from orchestrator.training.task import TrainingTask


def examine_staleness(task: TrainingTask) -> dict[str, Any] | None:
    """Plain values; None where training is synchronous.

    Returns:
        ``rate_share``: the largest stable learning rate of plain descent, to that without staleness. ``waits``: how often an epoch waits
        for answers at least, if all jobs of the steps under way fit in flight and take equally long; ``steps``: how often it does without.
    """
    if not task.max_staleness:
        return None
    return {
        "max_staleness": task.max_staleness,
        "rate_share": stable_rate(task.max_staleness) / stable_rate(0),
        "waits": math.ceil(task.n_batches / (task.max_staleness + 1)),
        "steps": task.n_batches,
    }
