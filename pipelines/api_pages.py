"""What the API reference holds: its pages, and the names on each, as ``module:name`` in the form in which a user imports them."""

from __future__ import annotations

import ast
import inspect
from typing import NamedTuple

from orchestrator.registry import BACKENDS


class Page(NamedTuple):
    """One page of the reference.

    Attributes:
        title: its heading. lead: a paragraph below it, Markdown, relative to docs/api/.
        names: ``module:name`` of what is on it, in order.
    """

    title: str
    lead: str
    names: tuple[str, ...]


def pages() -> dict[str, Page]:
    """The pages by file name, without ``.md``, in the order of the index."""
    return {**_PAGES, "frontends": Page("Frontends", _FRONTENDS_LEAD, _frontends())}


def _frontends() -> tuple[str, ...]:
    """Whatever `pipelines.frontends` offers by name. Importing it imports none of the packages that its names are for."""
    import pipelines.frontends

    return tuple(f"pipelines.frontends:{name}" for name in pipelines.frontends.__all__)


def _errors() -> tuple[str, ...]:
    """Every error of `orchestrator.errors`, in the order of the file."""
    import orchestrator.errors

    tree = ast.parse(inspect.getsource(orchestrator.errors))
    return tuple(f"orchestrator.errors:{node.name}" for node in tree.body if isinstance(node, ast.ClassDef))


_FRONTENDS_LEAD = (
    "qfleet from other people's tools. Each is imported on first use; PyTorch and PennyLane are optional, and a name whose package is not "
    "installed says how to install it."
)

_PAGES = {
    "training": Page(
        "Training",
        "Train, resume, look on, predict. The keys of the configuration are in [configuration.md](../configuration.md).",
        (
            "pipelines:Trainer",
            "pipelines.result:TrainingResult",
            "pipelines:TrainingInterrupted",
            "pipelines:Callback",
            "pipelines.callbacks:TrainingStopped",
            "orchestrator.training.reports:StepReport",
            "orchestrator.training.reports:EpochReport",
            "orchestrator.training.reports:Totals",
            "orchestrator.training.state:TrainState",
            "pipelines.predictor:Predictor",
            "orchestrator:TrainingConfig",
        ),
    ),
    "models": Page(
        "Models",
        "A model is data: a circuit, what is measured, a head, and how parameters and features become angles ([models.md](../models.md)).",
        (
            "orchestrator:Model",
            "orchestrator.models.selection:ParamNames",
            "orchestrator.models.patches:Patches",
            "orchestrator.models.angle_map:AngleMap",
            "orchestrator.models.observables:Readout",
            "orchestrator.models.autoencoder:Autoencoder",
            "orchestrator.circuits.from_cirq:template_from_circuit",
            "orchestrator.circuits.template:CircuitTemplate",
            "orchestrator.circuits.template:Gate",
            "orchestrator.circuits.measured:MeasuredCircuit",
        ),
    ),
    "studies": Page(
        "Beyond one training",
        "What the commands `evaluate`, `compare`, `tune`, `finetune`, `federated`, `continual`, `kernel` and `circuits` do, from Python.",
        (
            "pipelines.evaluate:evaluate",
            "pipelines.evaluate:Evaluation",
            "pipelines.compare:compare",
            "pipelines.compare:settings_of",
            "pipelines.tune.study:tune",
            "pipelines.tune.settings:Settings",
            "pipelines.finetune:finetune",
            "pipelines.finetune:stages_of",
            "pipelines.federated:federated",
            "pipelines.federated:FederatedSettings",
            "pipelines.continual:ContinualTrainer",
            "pipelines.continual:Replay",
            "orchestrator.kernels.matrix:kernel_matrix",
            "pipelines:CircuitLog",
        ),
    ),
    "paid": Page(
        "Circuits that cost money",
        "Prices beforehand, IonQ's cloud on this machine, rehearsals, and training again on what was paid for ([ionq.md](../ionq.md)).",
        (
            "pipelines.run_setup:prepare_run",
            "pipelines.quote:quote",
            "actors.ionq.emulator:Emulator",
            "actors.ionq.emulator:EmulatorSettings",
            "pipelines.rehearse:rehearse",
            "pipelines.rehearsal_run:Conditions",
            "pipelines.replay:replay",
            "pipelines.replay:along",
        ),
    ),
    "extending": Page(
        "Extending",
        'What a part of your own must offer. It is named in the configuration as `"my_module:Thing"`; the '
        "[how-to pages](../how-to/) have one of each that runs.",
        (
            "orchestrator.registry:resolve",
            "orchestrator.models.ansatze:Ansatz",
            "orchestrator.models.ansatze:PairingAnsatz",
            "orchestrator.models.layers:Layer",
            "orchestrator.models.feature_maps.base:FeatureMap",
            "orchestrator.models.feature_maps.base:TransformedFeatureMap",
            "orchestrator.models.feature_maps.base:TrainableFeatureMap",
            "orchestrator.models.heads:Head",
            "orchestrator.losses.base:Loss",
            "orchestrator.optimizers.transform:GradientTransform",
            "orchestrator.kernels.base:Kernel",
            "orchestrator.kernels.base:KernelMatrix",
            "actors.noise.model:NoiseModel",
        ),
    ),
    "gradients": Page(
        "Gradient rules",
        "What a rule is given, what it may ask for, and what it returns. The rules that there are: [gradients.md](../gradients.md).",
        (
            "orchestrator.gradients.base:GradientRule",
            "orchestrator.gradients.base:Rule",
            "orchestrator.gradients.linear:AngleRule",
            "orchestrator.gradients.problem:GradientProblem",
            "orchestrator.gradients.problem:Backward",
            "orchestrator.gradients.base:GradientEstimate",
            "orchestrator.gradients.base:drive",
            "orchestrator.gradients.base:predict",
            "orchestrator.gradients.base:Prediction",
            "orchestrator.planning.plan:EvaluationPlan",
            "orchestrator.planning.plan:Evaluation",
            "orchestrator.planning.derivative:LinearDerivative",
            "orchestrator.planning.derivative:DirectDerivative",
            "orchestrator.planning.shift_rule:shift_rule",
            "orchestrator.coordinator:Coordinator",
        ),
    ),
    "backends": Page(
        "Backends and fleets",
        "Where circuits run, and who sends them there.",
        (
            "orchestrator.protocols:Backend",
            "orchestrator.protocols:Session",
            "orchestrator.protocols:Capabilities",
            "orchestrator.jobs:Job",
            "orchestrator.jobs:Displacements",
            "orchestrator.jobs:JobResult",
            "orchestrator.jobs:check_result",
            "orchestrator.protocols:Dispatcher",
            "orchestrator.protocols:DispatcherStats",
            "orchestrator.protocols:JobSpan",
            "orchestrator.protocols:WorkerStatus",
            "orchestrator.protocols:FleetEvent",
            "actors.serial:SerialDispatcher",
            "actors.ray_fleet:RayFleet",
            *BACKENDS.values(),
        ),
    ),
    "errors": Page(
        "Errors",
        "All are `QfleetError`s. An `InputError` means bad input and that nothing was started (exit code 2 of the commands), any "
        "other one a failure (exit code 1).",
        _errors(),
    ),
}
