"""The data section: where the samples come from and how they become features."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.fields import Fraction, IntTuple, PositiveFloat, PositiveInt, StrTuple
from orchestrator.config.section import Section


class DataConfig(Section):
    """Where the samples come from and how they become features."""

    section_name: ClassVar[str] = "data"

    name: (
        Literal[
            "breast_cancer", "digits", "iris", "wine",
            "linearly_separable", "hidden_manifold", "two_curves", "bars_and_stripes", "arrays",
        ]
        | None
    ) = Field(
        None,
        description="A built-in data set: breast_cancer | digits | iris | wine (real), linearly_separable | hidden_manifold | "
        "two_curves | bars_and_stripes (generated, with the published split of arXiv 2403.07059); arrays: given in Python.",
    )  # fmt: skip
    dimension: PositiveInt | None = Field(
        None,
        description="Features of a generated data set, 2 to 20; bars_and_stripes: pixels of its square images, e.g. 16.",
    )
    path: str | None = Field(
        None,
        description="A .parquet, .csv or .arrow/.feather file (or a folder of Parquet files).",
    )
    target: str | None = Field(
        None,
        description="Column of the label or value to learn (files); an autoencoder needs none, and leaves it out where it is named.",
    )
    features: StrTuple | None = Field(
        None,
        description="Feature columns (files); all numeric ones but the target if absent.",
    )
    classes: IntTuple | StrTuple | None = Field(None, description="Keep these classes only, in this order.")
    test_fraction: Fraction = Field(
        0.2,
        description="Share of samples kept for the final test; generated data sets have a test split of their own.",
    )
    validation_fraction: Fraction = Field(
        0.15, description="Share of the remaining samples kept for validation."
    )
    max_samples: Annotated[int, Field(ge=8)] | None = Field(
        None, description="Draw at most this many samples (stratified)."
    )
    standardize: bool = Field(True, description="Zero mean and unit variance, fitted on the training split.")
    n_components: PositiveInt | None = Field(
        None, description="PCA components, fitted on the training split; none: no PCA."
    )
    angle_scale: PositiveFloat = Field(
        1.0,
        description="Radians per unit of a prepared feature (a standard deviation; with PCA, that of the first component).",
    )
    angle_limit: PositiveFloat | None = Field(
        None, description="Squash features smoothly into (-limit, limit) radians."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.path is None):
            raise ValueError("give exactly one of data.name and data.path")
        return self
