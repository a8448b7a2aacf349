"""The model section: circuit, observables and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.fields import (
    AnsatzName,
    Entanglement,
    FeatureMapName,
    HeadName,
    LayerNames,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Selection,
    Shape,
    StrTuple,
)
from orchestrator.config.section import Section
from orchestrator.errors import ConfigError


class ModelConfig(Section):
    """The circuit, what is measured, and the classical head."""

    section_name: ClassVar[str] = "model"

    n_qubits: int = Field(8, ge=1, le=60, description="Number of qubits.")
    n_layers: PositiveInt = Field(2, description="Layers of the ansatz.")
    feature_map: FeatureMapName = Field(
        "angle",
        description="Data-dependent block: angle | amplitude (2**n_qubits features) | basis (features 0 or 1) | zz | iqp | "
        "reuploading (trainable weights and biases, in every layer).",
    )
    feature_axis: Literal["x", "y", "z"] = Field("y", description="Rotation axis of the angle feature map.")
    reuploading: bool = Field(False, description="Repeat the feature map before every layer.")
    n_features: PositiveInt | None = Field(
        None,
        description="Features of the reuploading feature map; none: three per qubit. Every other map has a number of its own.",
    )
    feature_repeats: PositiveInt = Field(
        2, description="zz, iqp: how often the block of Hadamards and phases is repeated."
    )
    ansatz: AnsatzName = Field(
        "three_rotation",
        description="Trainable block: three_rotation | hardware_efficient | strongly_entangling (rings of its own, whatever "
        "model.entanglement says); with _separable at the end of its name the same rotations without entangling gates.",
    )
    layers: LayerNames | None = Field(
        None,
        description="Layers one by one, in place of ansatz and n_layers: convolution | pooling (measure and control) | trace_out, which "
        "both hand on every second qubit | the name of an ansatz. E.g. ['convolution', 'pooling', 'convolution', 'pooling'].",
    )
    image_shape: Shape | None = Field(
        None,
        description="Quanvolution: a sample is a sequence [length] or an image [height, width], row by row, that the circuit slides over.",
    )
    patch_shape: Shape | None = Field(
        None, description="Quanvolution: the window that the circuit sees, e.g. [2, 2]."
    )
    patch_stride: PositiveInt | None = Field(
        None, description="Quanvolution: places from one window to the next; none: side by side."
    )
    entanglement: Entanglement = Field(
        "linear",
        description="Which qubits the two-qubit gates of a layer (and of zz, iqp) join: linear | circular | full, or a list of "
        "pairs such as [[0, 1], [2, 3]].",
    )
    observables: str | StrTuple = Field(
        "each",
        description="each | first | mean | parity, or a list such as ['Z0', 'Z0*Z1', '0.5*X0 - Z2'].",
    )
    head: HeadName = Field(
        "linear",
        description="Trainable classical map from expectation values to outputs.",
    )
    output_scale: PositiveFloat = Field(
        1.0,
        description="Head none: outputs = scale * <O>; head linear: scale of its initial weights.",
    )
    initial_scale: NonNegativeFloat = Field(
        0.1,
        description="Standard deviation of the initial circuit parameters, in radians.",
    )
    frozen: Selection = Field(
        (),
        description="Parameters that stay as they are and cost no circuit: numbers, names such as 'p7', ranges such as 'p3..p9', "
        "'layer0' (or 'layer-1', the last), 'circuit', 'head'.",
    )
    initial_run: str | None = Field(
        None,
        description="Folder of a trained run: parameters start from its best ones, wherever the names are the same (layers before the last "
        "of a deeper model, for example); the others start as ever.",
    )
    latent_qubits: PositiveInt | None = Field(
        None,
        description="An autoencoder that compresses to so many qubits, 1 to n_qubits - 1; the others are trash. With loss.name = "
        "'trash_fidelity'. Sets observables to the projector on |0...0> of the trash qubits and, if absent, head to 'none'.",
    )
    simplify: bool = Field(
        False,
        description="Train a circuit with fewer gates that gives the same expectation values, as far as that could be checked; parameters "
        "keep their number and names. See simplification.md.",
    )
    circuit: str | None = Field(
        None,
        description="'module:function' returning an orchestrator.Model of your own; replaces the blocks above.",
    )

    @model_validator(mode="before")
    @classmethod
    def _autoencoder_readout(cls, values: Any) -> Any:
        """What an autoencoder measures follows from its size; where that is impossible, `_autoencoder_fits` says so."""
        if not isinstance(values, dict) or not isinstance(values.get("latent_qubits"), int):
            return values
        n_qubits, n_latent = (
            values.get("n_qubits", cls.model_fields["n_qubits"].default),
            values["latent_qubits"],
        )
        found = {"head": "none", **values}
        if str(found.get("observables", "each")) == "each" or str(found["observables"]).startswith("zero("):
            found["observables"] = (
                f"zero({n_latent}..{n_qubits - 1})" if isinstance(n_qubits, int) else "each"
            )
        return found

    @model_validator(mode="after")
    def _autoencoder_fits(self) -> Self:
        if self.latent_qubits is not None:
            _check_autoencoder(self, self.latent_qubits)
        return self

    @model_validator(mode="after")
    def _pairs_fit(self) -> Self:
        if not isinstance(self.entanglement, str):
            _check_pairs(self.entanglement, self.n_qubits)
        return self

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        image, patch = self.image_shape, self.patch_shape
        if image is None or patch is None:
            for name in ("image_shape", "patch_shape", "patch_stride"):
                if getattr(self, name) is not None:
                    problem = "a quanvolution needs both model.image_shape and model.patch_shape"
                    raise ConfigError(f"model.{name}", getattr(self, name), problem)
            return self
        near = [min(a, b) for a, b in zip(patch + patch[-1:], image, strict=False)]
        if list(patch) != near:
            problem = f"no such window fits into a sample of the shape {list(image)}"
            raise ConfigError("model.patch_shape", list(patch), problem, str(near))
        return self


def _check_pairs(pairs: Sequence[tuple[int, int]], n_qubits: int) -> None:
    """Refuse custom entanglement of qubits that are not there, of a qubit with itself, or of the same two twice."""
    seen: set[frozenset[int]] = set()
    last = n_qubits - 1
    for first, second in pairs:
        near = [min(max(qubit, 0), last) for qubit in (first, second)]
        if near[0] == near[1] and last:
            near[1] += 1 if near[1] < last else -1
        pair = [first, second]
        if not (0 <= first <= last and 0 <= second <= last):
            problem = f"the qubits are numbered from 0 to {last}"
            raise ConfigError("model.entanglement", pair, problem, str(near) if last else None)
        if first == second:
            problem = "control and target are the same qubit"
            raise ConfigError("model.entanglement", pair, problem, str(near) if last else None)
        if frozenset(pair) in seen:
            raise ConfigError("model.entanglement", pair, "these two qubits are joined already; leave it out")
        seen.add(frozenset(pair))


def _check_autoencoder(config: ModelConfig, n_latent: int) -> None:
    """Refuse what is no autoencoder: nothing to compress, or a circuit other than one encoding followed by one encoder."""
    most = config.n_qubits - 1
    if n_latent > most:
        problem = f"some of the {config.n_qubits} qubits must be left to be compressed away"
        raise ConfigError("model.latent_qubits", n_latent, problem, str(most) if most else None)
    projector = f"zero({n_latent}..{most})"
    for key, wanted, why in (
        ("observables", projector, "the trash qubits are what an autoencoder measures: leave this key out"),
        ("head", "none", "the output of an autoencoder is the trash fidelity as it is measured"),
        ("output_scale", 1.0, "the output of an autoencoder is a probability"),
        (
            "reuploading",
            False,
            "an autoencoder compresses one state a sample, so features may not enter the encoder",
        ),
        (
            "circuit",
            None,
            "an autoencoder is told apart into encoding and encoder, and so made of the blocks above",
        ),
        ("image_shape", None, "an autoencoder compresses whole samples, no windows of them"),
        ("simplify", False, "an autoencoder is told apart into encoding and encoder, gate by gate"),
    ):
        if getattr(config, key) != wanted:
            suggestion = None if wanted is None else str(wanted).lower()
            raise ConfigError(f"model.{key}", getattr(config, key), why, suggestion)
