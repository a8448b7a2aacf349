"""A forward pass and a gradient of one sample, for which the documents give times of their own (2:210 and 2:211)."""

from __future__ import annotations

import statistics
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.loop import evaluate_samples
from orchestrator.training.reports import Samples
from pipelines.benchmark.timing import timed

CLAIMED = {"forward pass": ("<1ms", "2:210"), "gradient": ("~2ms", "2:211")}
_REPEATS = 101


def operations(config: TrainingConfig) -> dict[str, dict[str, Any]]:
    """Median seconds of each for one sample, in this process, the first ones left out.

    Args:
        config: of 4 qubits and 2 layers, by parameter shift.
    """
    from pipelines.compose import build_backend, build_coordinator
    from pipelines.run_setup import prepare_run

    run = prepare_run(config)
    coordinator = build_coordinator(run.config.fleet, build_backend(run.config))
    params = run.task.model.initial_params(run.config.run.seed)
    one = Samples(run.data.train.features[:1], run.data.train.targets[:1])

    def forward(step: int) -> None:
        moved = params + 1e-3 * step  # no answer can be kept from the last time
        evaluate_samples(run.task.model, moved, one.features, coordinator, shots=None, seed=0, purpose="test")

    def gradient(step: int) -> None:
        batch_gradient(run.task, params + 1e-3 * step, one, coordinator, step=step)

    found = {}
    try:
        for name, work in (("forward pass", forward), ("gradient", gradient)):
            seconds = [timed(lambda i=i, work=work: work(i)) for i in range(_REPEATS + 5)][5:]  # type: ignore[misc]
            claimed, place = CLAIMED[name]
            found[name] = {"claimed": claimed, "place": place, "seconds": statistics.median(seconds)}
    finally:
        coordinator.dispatcher.close()
    return found
