"""TrainingConfig: everything that decides a run, frozen and validated before anything starts.

One object, three ways in: a TOML file, keyword arguments in Python, or ``--set section.key=value``. Whatever the way, an unknown
key, a wrong type or an impossible value raises `ConfigError` naming the key, the value and the nearest valid choice. Validation
imports no simulator, so a bad configuration is refused at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from orchestrator.errors import ConfigError, UnknownNameError, nearest
from orchestrator.registry import LAYERS, check_name


def _registered(kind: str, *also: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in also:
            try:
                check_name(kind, name)
            except UnknownNameError as error:
                known = UnknownNameError(kind, name, (*also, *error.choices))
                raise ValueError(str(known)) from None
        return name

    return AfterValidator(check)


def _thread_count(value: object) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not is_count and value != "auto":
        raise ValueError("must be 'auto' or a whole number from 1 on")
    return value


FeatureMapName = Annotated[str, _registered("feature map")]
AnsatzName = Annotated[str, _registered("ansatz")]
LayerName = Annotated[str, _registered("ansatz", *LAYERS)]
EntanglementName = Annotated[str, _registered("entanglement")]
HeadName = Annotated[str, _registered("head")]
LossName = Annotated[str, _registered("loss")]
OptimizerName = Annotated[str, _registered("optimizer")]
ScheduleName = Annotated[str, _registered("schedule")]
GradientRuleName = Annotated[str, _registered("gradient rule", "auto")]
BackendName = Annotated[str, _registered("backend")]
NoiseModelName = Annotated[str, _registered("noise model")]


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


PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
SkippedShare = Annotated[float, Field(gt=0, lt=1)]
ThreadCount = Annotated[int | str, BeforeValidator(_thread_count)]
IntTuple = Annotated[tuple[int, ...], Field(strict=False)]
ShotLevels = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)]
Selection = Annotated[tuple[int | str, ...], Field(strict=False)]
LayerNames = Annotated[tuple[LayerName, ...], Field(strict=False, min_length=1)]
Shape = Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1, max_length=2)]
NoiseScales = Annotated[tuple[float, ...], Field(strict=False)]
StrTuple = Annotated[tuple[str, ...], Field(strict=False)]
Pair = Annotated[tuple[int, int], Field(strict=False)]
Pairs = Annotated[tuple[Pair, ...], Field(strict=False)]
# by its type and not by trial, so that a misspelled name is told of names and a malformed pair of pairs
Entanglement = Annotated[
    Annotated[EntanglementName, Tag("name")] | Annotated[Pairs, Tag("pairs")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "pairs"),
]


class Section(BaseModel):
    """Base of every section: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    section_name: ClassVar[str] = ""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise config_error(type(self), error) from None


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
    ):
        if getattr(config, key) != wanted:
            suggestion = None if wanted is None else str(wanted).lower()
            raise ConfigError(f"model.{key}", getattr(config, key), why, suggestion)


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


class BackendConfig(Section):
    """Where circuits run."""

    section_name: ClassVar[str] = "backend"

    name: BackendName = Field(
        "ideal",
        description="ideal (batched state-vector engine) | noisy (with a noise model) | cirq (cirq's simulator, the reference) | ionq "
        "(IonQ's API, or the emulator of it) | recorded (what a run has paid for, see qfleet replay).",
    )
    shots: PositiveInt | None = Field(
        None, description="Repetitions of each circuit; none: exact expectation values."
    )
    noise: NoiseModelName | None = Field(
        None,
        description="Noise model of the backend noisy: aria-1 | aria-2 | forte-1, or 'module:function' returning a NoiseModel; "
        "none: aria-1. Of ionq's simulator: aria-1 | aria-2 | forte-1; none: ideal.",
    )
    target: str = Field(
        "simulator",
        min_length=1,
        description="ionq: simulator | qpu.aria-1 | qpu.forte-1 | ...; see qfleet quote.",
    )
    targets: StrTuple = Field(
        (),
        description="ionq: several targets that share the jobs of a run, in place of target, e.g. ['qpu.aria-1', 'qpu.forte-1'].",
    )
    share_by: Literal["speed", "price", "quality"] = Field(
        "speed",
        description="ionq with targets: a job goes where it is expected to be done soonest, by measured speed; price: soonest times its "
        "price; quality: soonest times the shots that the target's gate errors cost.",
    )
    gateset: Literal["qis", "native"] = Field(
        "qis", description="ionq: gates as IonQ compiles them, or Aria's native ones, compiled here."
    )
    error_mitigation: bool | None = Field(
        None,
        description="ionq: debiasing, at least 500 shots; none: the target's default, which on a QPU is on.",
    )
    noise_scales: NoiseScales = Field(
        (),
        description="Zero-noise extrapolation from circuits whose gates are folded to scale their noise by these factors, e.g. [1, 3, 5]; "
        "empty: off.",
    )
    extrapolation: Literal["linear", "richardson"] = Field(
        "linear",
        description="With noise_scales: the straight line of least squares, or the polynomial through all of them.",
    )
    noise_folding: Literal["two_qubit", "all"] = Field(
        "two_qubit",
        description="With noise_scales: fold the gates on two or more qubits (all, where there are none), or all gates.",
    )
    readout_mitigation: bool = Field(
        False,
        description="Measure how often each qubit is misread, with two circuits a session, and correct expectation values for it.",
    )
    calibration_shots: int = Field(
        4096, ge=2, description="With readout_mitigation: shots of each of the two circuits."
    )
    circuits_per_job: PositiveInt = Field(
        100,
        description="ionq: circuits sent as one job, at most. Decides how many jobs a step is, and what they cost.",
    )
    jobs_in_flight: PositiveInt = Field(
        10, description="ionq: jobs that each actor waits for at the same time."
    )
    lookup_seconds: PositiveFloat = Field(
        15.0,
        description="ionq: how long an accepted job may take to show up in the list of jobs. A submission whose outcome is unknown is "
        "looked up for so long before it is sent again.",
    )
    request_seconds: PositiveFloat = Field(
        30.0, description="ionq: how long a request may stay unanswered before it counts as lost."
    )
    outage_seconds: NonNegativeFloat = Field(
        3600.0,
        description="ionq: how long a job is kept at while IonQ fails or cannot be reached, before that counts as a failure. "
        "The fleet tries a job four times.",
    )
    host: str | None = Field(
        None, description="ionq: URL of the API; none: IONQ_REMOTE_HOST if set, else IonQ's cloud."
    )
    allow_cloud: bool = Field(False, description="ionq: let circuits leave this machine.")
    record: str | None = Field(
        None,
        min_length=1,
        description="recorded: folder of the run whose paid answers are served; see qfleet replay.",
    )
    then: BackendName | None = Field(
        None,
        description="recorded: backend that answers what is not recorded, e.g. noisy; none: the run stops there.",
    )
    on_failure: Literal["stop", "skip_samples", "simulate"] = Field(
        "stop",
        description="What follows in training when a job has failed for good: stop; leave its samples out of the batch; have it "
        "answered by a simulator, see fallback.",
    )
    max_skipped: SkippedShare = Field(
        0.5, description="Largest share of a batch that may be left out by on_failure = 'skip_samples'."
    )
    fallback: BackendName | None = Field(
        None,
        description="Simulator for on_failure = 'simulate'; none: noisy with the target's noise model if it has one, else ideal.",
    )
    precision: Literal["double", "single"] = Field(
        "double", description="Floating-point precision of the simulation, for backends that have both."
    )
    threads: ThreadCount = Field(
        "auto",
        description="Threads of each backend session, for backends that take them; auto: the whole CPUs reserved for an actor "
        "(fleet.cpus_per_actor), in this process one.",
    )

    @model_validator(mode="after")
    def _failures_and_targets_agree(self) -> Self:
        if self.fallback is not None and self.on_failure != "simulate":
            raise ConfigError(
                "backend.fallback",
                self.fallback,
                f"backend.on_failure = {self.on_failure!r} uses none; set it to 'simulate', or leave fallback out",
                "none",
            )
        if self.fallback == "ionq":
            raise ConfigError(
                "backend.fallback", self.fallback, "must be a simulator of this machine", "noisy"
            )
        if self.targets and (len(self.targets) < 2 or len(set(self.targets)) < len(self.targets)):
            raise ConfigError(
                "backend.targets",
                list(self.targets),
                "two different targets or more share the jobs of a run; for one, set backend.target",
            )
        return self


class FleetConfig(Section):
    """How many actors, and how they are fed."""

    section_name: ClassVar[str] = "fleet"

    dispatcher: Literal["ray", "serial"] = Field(
        "ray", description="ray: actors; serial: in this process, for debugging."
    )
    n_actors: PositiveInt = Field(
        2,
        description="Ray actors, each with its own backend session and circuit cache.",
    )
    cpus_per_actor: PositiveFloat = Field(1.0, description="CPUs reserved for each actor.")
    max_in_flight: PositiveInt = Field(
        2,
        description="Jobs an actor holds at most: one it works on, the others waiting.",
    )
    wait_for_nodes_seconds: NonNegativeFloat = Field(
        0.0,
        description="How long to wait for CPUs that an autoscaler has yet to add; 0: more actors than fit are refused.",
    )
    address: str | None = Field(
        None,
        description="Ray cluster to join; none: RAY_ADDRESS if set, else a local one.",
    )
    job_seconds: PositiveFloat = Field(
        0.06, description="Compute time a job aims at where there is that much work."
    )


class BudgetConfig(Section):
    """What a run may cost, where circuits cost money."""

    section_name: ClassVar[str] = "budget"

    max_usd: PositiveFloat | None = Field(
        None,
        description="Hard cap in dollars over the whole run, jobs in flight included; none: no cap.",
    )
    prices: str | None = Field(
        None,
        min_length=1,
        description="TOML file of prices that replace or join the built-in list prices, see docs/costs.md.",
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
    tags: dict[str, str] = Field(default_factory=dict, description="Further tags of the run.")


class TrainingConfig(Section):
    """All sections of a training run.

    >>> TrainingConfig(data=DataConfig(name="iris"), run=RunConfig(epochs=5)).run.epochs
    5
    """

    run: RunConfig = Field(default_factory=RunConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=lambda: DataConfig(name="breast_cancer", n_components=8))
    gradient: GradientConfig = Field(default_factory=GradientConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    backend: BackendConfig = Field(default_factory=BackendConfig)
    fleet: FleetConfig = Field(default_factory=FleetConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        is_autoencoder = self.loss.name == "trash_fidelity"
        if is_autoencoder and self.model.latent_qubits is None:
            problem = "the loss trash_fidelity needs the number of qubits to compress to"
            near = str(self.model.n_qubits // 2) if self.model.n_qubits > 1 else None
            raise ConfigError("model.latent_qubits", None, problem, near)
        if self.model.latent_qubits is not None and not is_autoencoder:
            raise ConfigError(
                "loss.name", self.loss.name, "model.latent_qubits makes an autoencoder", "trash_fidelity"
            )
        if self.data.path is not None and self.data.target is None and not is_autoencoder:
            raise ConfigError(
                "data.target", None, f"data.path needs the column to learn; {self.loss.name} learns one"
            )
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """From nested plain values, as TOML gives them."""
        return cls(**_sections(values))

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Iterable[str] = ()) -> TrainingConfig:
        """From a TOML file and ``section.key=value`` overrides.

        Raises:
            ConfigError: the file is missing or not TOML, or a key or value is refused.
        """
        return cls.from_dict(apply_overrides(read_toml(path), overrides))

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; absent optional values are left out, so that it can be written as TOML."""
        return self.model_dump(mode="json", exclude_none=True)

    def with_overrides(self, overrides: Iterable[str]) -> TrainingConfig:
        """A copy with ``section.key=value`` overrides applied."""
        return self.from_dict(apply_overrides(self.to_dict(), overrides))

    def flattened(self) -> dict[str, Any]:
        """``{"section.key": value}`` of every key, None included."""
        dump = self.model_dump(mode="json")
        return {f"{section}.{key}": value for section, keys in dump.items() for key, value in keys.items()}


def read_toml(path: str | Path) -> dict[str, Any]:
    """The file's tables.

    Raises:
        ConfigError: no such file, or not TOML; the text says where.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        close = nearest(path.name, siblings)
        raise ConfigError(
            "config",
            str(path),
            "no such file",
            str(path.with_name(close)) if close else None,
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("config", str(path), f"cannot be read as TOML: {error}") from None


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`values` with each ``section.key=value`` set; a value is read as TOML, else as a string; ``none`` removes the key."""
    result = {section: dict(keys) if isinstance(keys, Mapping) else keys for section, keys in values.items()}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not equals or not dot or not key:
            raise ConfigError("--set", override, "expected section.key=value, e.g. run.epochs=5")
        if not isinstance(result.setdefault(section, {}), dict):
            raise ConfigError(section, result[section], "is a value, not a section")
        if text.strip().lower() == "none":
            _check_key(section, key)
            result[section].pop(key, None)
        else:
            result[section][key] = _toml_value(text.strip())
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check_key(section: str, key: str) -> None:
    field = TrainingConfig.model_fields.get(section)
    if field is None:
        raise ConfigError(
            section,
            key,
            "no such section",
            nearest(section, TrainingConfig.model_fields),
        )
    names = _section_type(section).model_fields
    if key not in names:
        raise ConfigError(f"{section}.{key}", "none", "no such key", nearest(key, names))


def _section_type(section: str) -> type[Section]:
    annotation = TrainingConfig.model_fields[section].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, Section)
    return annotation


def _sections(values: Mapping[str, Any]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for section, keys in values.items():
        if section not in TrainingConfig.model_fields:
            raise ConfigError(
                section,
                keys,
                "no such section",
                nearest(section, TrainingConfig.model_fields),
            )
        if not isinstance(keys, Mapping):
            raise ConfigError(section, keys, f"is a section: write [{section}] and its keys below it")
        built[section] = _section_type(section)(**keys)
    return built


def config_error(section: type[Section], error: ValidationError) -> ConfigError:
    """The first thing pydantic found wrong, as our own error with the nearest valid choice."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in (section.section_name, *first["loc"][:1]) if str(part))
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return ConfigError(key, first["input"], "no such key", nearest(name, section.model_fields))
    if first["type"] == "literal_error":
        choices = [
            part.strip().strip("'") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")
        ]
        return ConfigError(
            key,
            first["input"],
            f"must be one of {', '.join(choices)}",
            nearest(first["input"], choices),
        )
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    bounds = [str(first["ctx"][bound]) for bound in ("ge", "le") if bound in first.get("ctx", {})]
    return ConfigError(key or "config", first["input"], message, bounds[0] if bounds else None)
