"""What a trial takes before it is begun, and the refusal of one that cannot be trained."""

from __future__ import annotations

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from pipelines.run_setup import PreparedRun, prepare_run
from pipelines.tune.following import Unit
from pipelines.tune.search import Cost
from pipelines.tune.space import Space, Values


class Prices:
    """Prices of the trials of one search; the last one that was priced is kept, prepared.

    Args:
        base: what is not searched.
    """

    def __init__(self, space: Space, base: TrainingConfig, unit: Unit) -> None:
        self._space, self._base, self._unit = space, base, unit
        self._last: tuple[Values, PreparedRun] | None = None

    def __call__(self, values: Values) -> Cost:
        """What a trial with these values takes.

        Raises:
            InputError: it cannot be trained.
        """
        run = self.prepared(values)
        full = _circuits(run) if self._unit == "circuits" else _micro_dollars(run)
        n_epochs = -(-run.task.n_steps // run.task.n_batches)
        return Cost(full, -(-full // n_epochs))

    def prepared(self, values: Values) -> PreparedRun:
        """Data and model of a trial.

        Raises:
            InputError: they cannot be had.
        """
        if self._last is None or self._last[0] != values:
            self._last = values, prepare_run(self._space.config(self._base, values))
        return self._last[1]


def _circuits(run: PreparedRun) -> int:
    from pipelines.report import summary

    return int(summary(run)["circuits"])


def _micro_dollars(run: PreparedRun) -> int:
    """By the price catalogue; of bounds the upper one, of several targets the dearest.

    Raises:
        ConfigError: it has no price.
    """
    from pipelines.quote import quote

    backend, rule = run.config.backend, run.config.gradient.rule
    rule = "parameter_shift" if rule == "auto" else rule
    most = 0
    for target in quote(run, backend.targets or (backend.target,), [rule])["targets"]:
        found = target["rules"][0]
        if "refused" in found:
            raise ConfigError("gradient.rule", rule, found["refused"])
        whole = found["run"]
        most = max(most, int(whole["most"]["micro"] if "most" in whole else whole["micro"]))
    return most
