"""Bounded staleness: gradients taken at parameters that are a fixed number of updates old, so that several steps' circuits are out at once.

With ``training.max_staleness = s`` update number t of an epoch (from 0 on) applies the gradient at the parameters before update
``max(t - s, 0)``: the delay is s, less at the beginning of an epoch, and never more. It is counted in updates and not in seconds, so the
numbers do not depend on what is answered when. At the end of an epoch nothing is out: validation, learning rate and early stopping see
every update.

This is delayed gradient descent (J. Langford, A. Smola and M. Zinkevich, "Slow learners are fast", NIPS 2009), with the bound of stale
synchronous parallel training (Q. Ho et al., NIPS 2013) always reached, and therefore reproducible.
"""

from __future__ import annotations

import math

from orchestrator.errors import ConfigError
from orchestrator.gradients.base import GradientEstimate, drive
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.training.gradient import first_problem
from orchestrator.training.task import TrainingTask

KEY = "training.max_staleness"


def stable_rate(max_staleness: int) -> float:
    """Learning rate times curvature below which plain descent on a quadratic converges with a delay of `max_staleness` updates.

    ``x(t+1) = x(t) - a x(t-s)`` goes to zero if and only if ``0 < a < 2 cos(pi s / (2s + 1)) = 2 sin(pi / (2 (2s + 1)))``: S. A. Levin
    and R. M. May, "A note on difference-delay equations", Theor. Popul. Biol. 9 (1976) 178.
    """
    return 2.0 * math.sin(math.pi / (2 * (2 * max_staleness + 1)))


def check_staleness(task: TrainingTask) -> None:
    """Refuse, before anything runs, what stale gradients are not defined for.

    Raises:
        ConfigError: the gradient rule carries something from step to step, or an epoch has too few steps; the text says which.
    """
    if not task.max_staleness:
        return
    most = task.n_batches - 1
    if task.max_staleness > most:
        raise ConfigError(
            KEY,
            task.max_staleness,
            f"an epoch has {task.n_batches} step{'s' * (most != 0)}, and steps of different epochs are not under way together; make "
            "run.batch_size smaller, or this",
            str(most),
        )
    n_samples = min(task.run.batch_size, len(task.train.targets))
    refuse_state(task, drive(task.rule.estimate(first_problem(task, n_samples)), EvaluationPlan.blank))


def refuse_state(task: TrainingTask, estimate: GradientEstimate) -> None:
    """Refuse a rule that needs the step before it, as its `estimate` shows.

    Raises:
        ConfigError: see `check_staleness`.
    """
    if estimate.update is not None:
        problem = "sets parameters where they stand, and these will have moved"
    elif estimate.state:
        problem = f"learns from step to step ({', '.join(sorted(estimate.state))}), and the step before is not back yet"
    else:
        return
    raise ConfigError(KEY, task.max_staleness, f"gradient.rule = {task.rule.name!r} {problem}", "0")
