"""What a whole run takes on one target: training, validation and the final test, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.costs.steps import Demands, step_bounds
from orchestrator.costs.work import Bounds, PlanPricer, Work, together
from orchestrator.planning.plan import EvaluationPlan


@dataclass(frozen=True, eq=False)
class RunShape:
    """What a run consists of.

    Attributes:
        batch_sizes: samples of each step, in order.
        steps_an_epoch: of a whole epoch; the last may be shorter.
        validation: run after every epoch; None: there is none.
        test: run once at the end; None: there is none.
        least_epochs: epochs that are run however soon the training stops; None: all.
    """

    batch_sizes: Sequence[int]
    steps_an_epoch: int
    validation: EvaluationPlan | None
    test: EvaluationPlan | None
    least_epochs: int | None = None

    @property
    def n_epochs(self) -> int:
        """Epochs, the last perhaps a part of one."""
        return -(-len(self.batch_sizes) // self.steps_an_epoch)


@dataclass(frozen=True)
class RunQuote:
    """What a run takes with one rule.

    Attributes:
        step: the first step, with a whole batch.
        training, validation, test, calibration: together `total`; readout errors are measured before the first step.
        after_step: most that is spent by the end of each step, in micro-dollars, with the validation of the epochs that ended.
    """

    step: Bounds
    training: Bounds
    validation: Bounds
    test: Bounds
    calibration: Bounds
    after_step: tuple[int, ...]

    @property
    def total(self) -> Bounds:
        """The whole run."""
        return self.training.plus(self.validation).plus(self.test).plus(self.calibration)

    def steps_within(self, cap: int) -> int:
        """Steps that `cap` micro-dollars pay in any case."""
        return sum(spent <= cap for spent in self.after_step)


def quote_run(shape: RunShape, demands: Sequence[Demands], pricer: PlanPricer) -> RunQuote:
    """Price a run. Nothing is run.

    Args:
        demands: of each step, see `steps.demands_of`.

    Raises:
        CapabilityError: the target does not take what the run asks for.
    """
    distinct = {id(demand): demand for demand in demands}
    bounds = {key: step_bounds(demand, pricer) for key, demand in distinct.items()}
    steps = [bounds[id(demand)] for demand in demands]
    after_epoch, test = (_priced(plan, pricer) for plan in (shape.validation, shape.test))
    n_epochs, n_in_epoch = shape.n_epochs, shape.steps_an_epoch
    least = n_epochs if shape.least_epochs is None else min(shape.least_epochs, n_epochs)
    ended = [*((k + 1) // n_in_epoch for k in range(len(steps) - 1)), n_epochs]
    spent = accumulate(step.high.micro for step in steps)
    calibration = together(map(pricer.calibration, _sizes(shape, distinct.values())))
    return RunQuote(
        step=steps[0],
        training=Bounds(
            together(step.low for step in steps[: least * n_in_epoch]), together(step.high for step in steps)
        ),
        validation=Bounds(after_epoch.times(least), after_epoch.times(n_epochs)),
        test=Bounds.exactly(test),
        calibration=Bounds.exactly(calibration),
        after_step=tuple(
            calibration.micro + training + epochs * after_epoch.micro
            for training, epochs in zip(spent, ended, strict=True)
        ),
    )


def _sizes(shape: RunShape, demands: Iterable[Demands]) -> list[int]:
    """Numbers of qubits of all circuits."""
    plans = [plan for alternatives in demands for demand in alternatives for plan in demand.plans]
    also = [plan for plan in (shape.validation, shape.test) if plan is not None]
    return sorted({plan.circuit.template.n_qubits for plan in [*plans, *also]})


def _priced(plan: EvaluationPlan | None, pricer: PlanPricer) -> Work:
    return Work() if plan is None else pricer.work(plan)
