"""What trainings in pieces, over rounds or streams, have in common: what they refuse, and a model before its data are at hand."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.config import DataConfig, TrainingConfig
from orchestrator.errors import ConfigError, InputError
from orchestrator.models.model import Model
from pipelines.baselines import check_predicts
from pipelines.compose import build_backend, build_loss
from pipelines.data.pieces import pieces_of, raw_bytes


def check_piecewise(config: TrainingConfig, problems: Mapping[str, str], paid: str) -> None:
    """Refuse what only a whole training can do.

    Args:
        problems: what is wrong with an optional key that is set, by ``section.key``. paid: with a backend that costs money.

    Raises:
        ConfigError: one of these, or an autoencoder, which predicts nothing.
    """
    check_predicts(config.loss.name, build_loss(config).task)
    values = config.flattened()
    for key, problem in problems.items():
        if values[key] is not None:
            raise ConfigError(key, values[key], problem, "none")
    if build_backend(config).capabilities.is_paid:
        raise ConfigError("backend.name", config.backend.name, paid, "ideal")


def check_read_whole(config: DataConfig, who: str) -> None:
    """Refuse a data set that central training would stream: who reads it whole would need the memory, and split it otherwise.

    Args:
        who: reads it.

    Raises:
        ConfigError: it is to be streamed, or it is above the limit and nobody has said that there is memory.
    """
    if config.streaming is True or config.readers is not None:
        key = "data.streaming" if config.streaming is True else "data.readers"
        value = True if config.streaming is True else config.readers
        raise ConfigError(key, value, f"{who} reads the source whole", "false" if value is True else "none")
    if config.path is None or config.streaming is False:
        return
    try:
        size = raw_bytes(pieces_of(config)) / 2**30
    except InputError:  # said better by whoever reads all of it
        return
    if size > config.memory_limit_gb:
        problem = f"would stream a table of {size:.3g} GiB (data.memory_limit_gb = {config.memory_limit_gb:g}), and {who} reads it whole"
        raise ConfigError(
            "data.streaming", "auto", f"{problem}; where there is memory for that, say so", "false"
        )


def model_for(config: TrainingConfig, n_classes: int) -> Model:
    """The configured model, its outputs as the loss wants them for so many classes (0: values).

    Raises:
        ConfigError: it cannot have them.
    """
    loss = build_loss(config)

    def n_outputs(n_scores: int) -> int:
        return loss.n_outputs(n_classes) if n_scores == 1 else loss.n_outputs(n_classes, n_scores)

    return Model.from_config(config.model, n_outputs)
