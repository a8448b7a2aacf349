"""The data section: where the samples come from and how they become features."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.fields import Fraction, IntTuple, PositiveFloat, PositiveInt, StrTuple
from orchestrator.config.section import Section
from orchestrator.errors import ConfigError


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
        description="A .parquet, .csv or .arrow/.feather file, a folder of such files, hive-partitioned folders (site=a/...) or a glob; "
        "with image_size: a folder with one folder of JPEG or PNG files a class. See data.md.",
    )
    target: str | None = Field(
        None,
        description="Column of the label or value to learn (files); an autoencoder needs none, and leaves it out where it is named.",
    )
    features: StrTuple | None = Field(
        None,
        description="Feature columns (files); all numeric ones but the target if absent.",
    )
    filter: str | None = Field(
        None,
        min_length=1,
        description="Rows to keep (files), e.g. \"age > 40 and site in ['a', 'b']\"; col('mean radius') names a column with a space.",
    )
    streaming: bool | Literal["auto"] = Field(
        "auto",
        description="Prepare files batch by batch, and map the prepared samples from the run's folder: for data sets larger than memory; "
        "auto: where the raw table takes more than memory_limit_gb.",
    )
    memory_limit_gb: PositiveFloat = Field(
        1.0,
        description="Size of a raw table (8 bytes a value), in 2^30 bytes, above which streaming = auto streams.",
    )
    readers: PositiveInt | None = Field(
        None,
        description="Ray actors that read and prepare the files of a streamed data set, each its own; none: this process does.",
    )
    image_size: PositiveInt | None = Field(
        None,
        description="Pixels a side that images are scaled to: path is a folder with one folder of JPEG or PNG files a class.",
    )
    image_fit: Literal["crop", "letterbox"] = Field(
        "crop",
        description="How an image becomes square: its centre, or all of it between black bars (folders of images).",
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

    @model_validator(mode="after")
    def _keys_of_files(self) -> Self:
        defaults = type(self).model_fields
        for key in ("filter", "streaming", "readers", "image_size"):
            if self.name is not None and getattr(self, key) not in (None, False, defaults[key].default):
                problem = f"is for files, and data.name = {self.name!r} is none: give data.path"
                raise ConfigError(f"data.{key}", getattr(self, key), problem)
        if self.image_size is None and self.image_fit != defaults["image_fit"].default:
            raise ConfigError(
                "data.image_fit", self.image_fit, "is for folders of images: set data.image_size"
            )
        for key in ("target", "features", "filter") if self.image_size is not None else ():
            if getattr(self, key) is not None:
                problem = "means nothing to a folder of images, whose classes are its folders: leave it out"
                raise ConfigError(f"data.{key}", getattr(self, key), problem)
        if self.readers is not None and self.streaming is False:
            problem = "read what is streamed: leave data.streaming = false out"
            raise ConfigError("data.readers", self.readers, problem)
        return self
