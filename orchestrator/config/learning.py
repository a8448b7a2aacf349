"""What is minimised, how gradients are obtained, and how parameters follow them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.fields import (
    Decay,
    GradientRuleName,
    LossName,
    NonNegativeFloat,
    OptimizerName,
    PositiveFloat,
    PositiveInt,
    ScheduleName,
    ShotLevels,
)
from orchestrator.config.section import Section
from orchestrator.errors import ConfigError


class GradientConfig(Section):
    """How gradients are obtained."""

    section_name: ClassVar[str] = "gradient"

    rule: GradientRuleName = Field(
        "auto",
        description="auto | parameter_shift | adjoint | finite_difference | stochastic_parameter_shift | random_coordinate | spsa | "
        "guided_spsa | natural_gradient | qn_spsa | adaptive | rotosolve; auto: adjoint where the backend is exact, else parameter_shift.",
    )
    stencil: Literal["central", "forward"] = Field(
        "central", description="finite_difference: two displaced circuits an angle, or one."
    )
    step: PositiveFloat | None = Field(
        None,
        description="finite_difference: displacement in radians; none: by the shots, so that bias and noise balance.",
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        0.25,
        description="stochastic_parameter_shift: share of the trainable circuit parameters that a step differentiates by.",
    )
    perturbations: PositiveInt = Field(
        1, description="spsa, guided_spsa: random directions averaged in a step, two circuits a sample each."
    )
    perturbation_size: PositiveFloat = Field(
        0.1, description="spsa, guided_spsa: size c of a perturbation in the first step, in radians."
    )
    perturbation_decay: NonNegativeFloat = Field(
        0.101, description="spsa, guided_spsa: step k perturbs by c / (k + 1)**decay."
    )
    metric: Literal["block", "full"] = Field(
        "block", description="natural_gradient: Fubini-Study metric within levels of gates, or the whole one."
    )
    regularization: PositiveFloat = Field(
        0.01, description="natural_gradient, qn_spsa: added to the metric's diagonal before solving."
    )
    guide_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="guided_spsa: share of a batch's samples differentiated by parameter shift."
    )
    shots_per_step: PositiveInt | None = Field(
        None,
        description="parameter_shift: shots of a whole step, shared out among its circuits in place of backend.shots; none: off.",
    )
    shot_allocation: Literal["uniform", "variance", "gradient"] = Field(
        "variance",
        description="With shots_per_step: the same for every circuit | where they lower the noise most, by the variances measured so "
        "far | gradient: so too, and no more in all than pay (gCANS, arXiv 2108.10434).",
    )
    allocation_rate: PositiveFloat | None = Field(
        None,
        description="shot_allocation gradient: the learning rate of plain descent for which shots pay; none: the best, one over a bound "
        "of the loss's second derivatives.",
    )

    shot_levels: ShotLevels = Field(
        (),
        description="adaptive: numbers of shots to choose from; none: a sixteenth, a quarter and all of backend.shots.",
    )
    circuit_overhead: NonNegativeFloat = Field(
        100.0,
        description="adaptive: price of a circuit beside its shots, in shots; where circuits cost dollars, these decide.",
    )
    explore_every: PositiveInt = Field(
        20,
        description="adaptive: a rule not used for so many steps is used once, to measure its noise again.",
    )

    coordinates: PositiveInt | None = Field(
        None, description="rotosolve: parameters that a step sets, in turn; none: each once."
    )

    @model_validator(mode="after")
    def _budget_is_used(self) -> Self:
        if self.shots_per_step is not None and self.rule not in ("auto", "parameter_shift"):
            raise ConfigError(
                "gradient.shots_per_step",
                self.shots_per_step,
                f"gradient.rule = {self.rule!r} shares out no shots; leave it out, or set gradient.rule = 'parameter_shift'",
                "none",
            )
        return self


class LossConfig(Section):
    """What is minimised."""

    section_name: ClassVar[str] = "loss"

    name: LossName = Field(
        "binary_cross_entropy",
        description="mse | binary_cross_entropy | cross_entropy | weighted_fidelity | trash_fidelity (autoencoder, with "
        "model.latent_qubits).",
    )


class OptimizerConfig(Section):
    """Update rule, learning-rate schedule, clipping and weight decay."""

    section_name: ClassVar[str] = "optimizer"

    name: OptimizerName = Field("adam", description="adam | sgd.")
    learning_rate: PositiveFloat = Field(0.05, description="Initial learning rate.")
    beta1: Decay = Field(0.9, description="Adam: decay of the first moment.")
    beta2: Decay = Field(0.999, description="Adam: decay of the second moment.")
    epsilon: PositiveFloat = Field(1e-8, description="Adam: added to the denominator.")
    momentum: Decay = Field(0.9, description="SGD: momentum.")
    nesterov: bool = Field(False, description="SGD: Nesterov momentum.")
    rates: dict[str, NonNegativeFloat] = Field(
        default_factory=dict,
        description="Factors of the learning rate by group of parameters, named as in model.frozen: {head = 5.0, layer0 = 0.1}.",
    )
    weight_decay: NonNegativeFloat = Field(
        0.0, description="Decoupled weight decay per step (times the learning rate)."
    )
    clip_value: PositiveFloat | None = Field(None, description="Clip every gradient component to [-v, v].")
    clip_norm: PositiveFloat | None = Field(None, description="Scale the gradient down to this norm.")
    schedule: ScheduleName = Field(
        "constant", description="constant | step | exponential | cosine | plateau."
    )
    schedule_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="step, plateau: factor; exponential: factor per epoch."
    )
    schedule_epochs: PositiveInt = Field(
        5, description="step: epochs between drops; plateau: epochs of patience."
    )
    minimum_learning_rate: NonNegativeFloat = Field(0.0, description="The schedule goes no lower.")

    @model_validator(mode="after")
    def _minimum_below_initial(self) -> Self:
        if self.minimum_learning_rate > self.learning_rate:
            raise ValueError("optimizer.minimum_learning_rate is above optimizer.learning_rate")
        return self
