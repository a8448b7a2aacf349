"""How long a run goes on, what is kept of it, and where it is logged."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from orchestrator.config.fields import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from orchestrator.config.section import Section
from orchestrator.errors import ConfigError


class RunConfig(Section):
    """How long, in what order, and when to stop."""

    section_name: ClassVar[str] = "run"

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Name of the run; made from data and time if absent.",
    )
    directory: str = Field("runs", min_length=1, description="Folder that holds one folder per run.")
    seed: int = Field(
        7,
        ge=0,
        lt=2**63,
        description="Seed of everything random: split, initial parameters, batches, shots.",
    )
    epochs: PositiveInt = Field(20, description="Passes over the training split.")
    batch_size: PositiveInt = Field(
        32, description="Samples per step; the last batch of an epoch may be smaller."
    )
    max_steps: PositiveInt | None = Field(None, description="Stop after this many steps, whatever the epoch.")
    early_stopping_patience: PositiveInt | None = Field(
        None,
        description="Stop after this many epochs without improvement; none: never.",
    )
    early_stopping_min_delta: NonNegativeFloat = Field(
        0.0, description="Smallest decrease of the monitored loss that counts."
    )


class StepsConfig(Section):
    """How the steps of training follow one another."""

    section_name: ClassVar[str] = "training"

    max_staleness: NonNegativeInt = Field(
        0,
        description="Updates by which parameters may have moved on since a gradient's circuits were sent, so that the circuits of so many "
        "further steps go out before those of the present one are back; 0: synchronous. See staleness.md.",
    )


class CheckpointConfig(Section):
    """What is kept to resume from."""

    section_name: ClassVar[str] = "checkpoint"

    every_epochs: PositiveInt = Field(1, description="Epochs between checkpoints.")
    every_seconds: PositiveFloat = Field(
        30.0,
        description="A checkpoint within an epoch after this many seconds without one.",
    )
    every_steps: PositiveInt | None = Field(
        None, description="Steps between checkpoints, beside the two above."
    )
    keep: PositiveInt = Field(3, description="Checkpoints kept (the newest ones).")


class TrackingConfig(Section):
    """Where runs are logged."""

    section_name: ClassVar[str] = "tracking"

    enabled: bool = Field(True, description="Log to MLflow.")
    uri: str | None = Field(
        None,
        description="MLflow tracking URI; none: MLFLOW_TRACKING_URI if set, else ./mlflow.db.",
    )
    experiment: str = Field("qfleet", min_length=1, description="MLflow experiment.")
    log_model: bool = Field(True, description="Log the trained model as an MLflow pyfunc.")
    registered_model: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        pattern=r"^[^/:\\'\"`]+$",
        description="Registered model that the trained model becomes a new version of; none: registered by hand (`qfleet register`).",
    )
    interactive_plots: bool = Field(
        True, description="Log the training curves also as a page to hover and zoom in, 1.3 MB."
    )
    circuit_log: bool = Field(
        False, description="Keep every circuit with its expectation values in the run's folder; see data.md."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Further tags of the run.")

    @model_validator(mode="after")
    def _what_is_registered_is_logged(self) -> Self:
        if self.registered_model is not None and not self.log_model:
            raise ConfigError(
                "tracking.log_model", False, "tracking.registered_model needs the model at MLflow", "true"
            )
        return self
