"""StepsUnderWay: the steps whose circuits are out, several at once where gradients may be stale.

Each step's gradient rule is a generator that asks for one evaluation after the other. Whichever evaluation was sent first is waited for
first, whatever step it belongs to, and the rule that asked for it goes on at once: so the second evaluations of several steps overlap as
their first ones did. The order depends on the rules alone, never on what is answered when.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from orchestrator.coordinator import Coordinator, PendingEvaluation
from orchestrator.gradients.base import GradientEstimate, Steps
from orchestrator.optimizers.transform import State
from orchestrator.phases import PhaseClock
from orchestrator.planning.plan import Evaluation
from orchestrator.training.gradient import gradient_problem
from orchestrator.training.reports import Samples
from orchestrator.training.task import TrainingTask


@dataclass(eq=False)
class _Step:
    """A step that has begun. lost: bool [S], samples whose circuits failed for good; estimate: None until its rule has ended."""

    batch: Samples
    lost: np.ndarray
    rule: Steps
    evaluations: list[Evaluation] = field(default_factory=list)
    estimate: GradientEstimate | None = None


class StepsUnderWay:
    """Begins steps and ends them in the same order; a context, which calls back what is out when it is left.

    Args:
        clock: told where the time goes, up to the last answer of a step.
    """

    def __init__(self, task: TrainingTask, coordinator: Coordinator, clock: PhaseClock) -> None:
        self._task, self._coordinator, self._clock = task, coordinator, clock
        self._steps: deque[_Step] = deque()
        self._sent: deque[tuple[_Step, PendingEvaluation]] = deque()

    def __enter__(self) -> StepsUnderWay:
        return self

    def __exit__(self, *error: object) -> None:
        for _, pending in self._sent:
            pending.cancel()
        self._sent.clear()
        self._steps.clear()

    def __len__(self) -> int:
        """Steps begun and not ended."""
        return len(self._steps)

    def begin(self, params: np.ndarray, batch: Samples, *, step: int, state: State) -> None:
        """Send out the first circuits of a step.

        Args:
            params: float64 [P], where the gradient is taken.
            step: its number from 0 on, which keys the shot noise.
            state: the rule's, see `GradientEstimate.state`.

        Raises:
            CapabilityError, FleetError: see `Coordinator.submit`.
        """
        lost = np.zeros(len(batch.targets), bool)
        problem = replace(gradient_problem(self._task, params, batch, step, state), lost=lost)
        begun = _Step(batch, lost, self._task.rule.estimate(problem))
        self._steps.append(begun)
        self._advance(begun, None)

    def finish(self) -> tuple[Samples, GradientEstimate]:
        """The batch and the gradient of the oldest step, as soon as they are there.

        Raises:
            CapabilityError, ExecutionError, FleetError: see `PendingEvaluation.result`.
        """
        oldest = self._steps[0]
        while oldest.estimate is None:
            step, pending = self._sent.popleft()
            self._advance(step, pending.result(self._clock))
        self._steps.popleft()
        return oldest.batch, oldest.estimate

    def _advance(self, step: _Step, answer: Evaluation | None) -> None:
        """Give the step's rule what it asked for, and send out what it asks for next."""
        try:
            if answer is None:
                plan = next(step.rule)
            else:
                step.evaluations.append(answer)
                plan = step.rule.send(answer)
        except StopIteration as end:
            estimate: GradientEstimate = end.value
            n_skipped = int(np.count_nonzero(step.lost))
            step.estimate = replace(estimate, evaluations=tuple(step.evaluations), n_skipped=n_skipped)
        else:
            self._sent.append((step, self._coordinator.submit(plan, self._clock, step.lost)))
